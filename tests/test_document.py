"""The copy that nexrender gets holds nothing of the job that could lead it elsewhere, and all else of it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from watchrender.core.access import Facts, Policy
from watchrender.core.policy import Allowance, Use, objections, sources_of
from watchrender.render import nexrender
from watchrender.render.document import Built, Delivery, build, film_ext, frames, is_in_place, is_sequence
from watchrender.render.footage import Footage
from watchrender.render.nexrender import Nexrender
from watchrender.render.simulator.project import write_project

ATTACKS = Path(__file__).parent / "corpus" / "attacks"
OUTPUT_DIR = "/var/work/attempt/out"
LIFTED = {"uid", "output", "template", "assets", "actions"}


def job(*, assets: object = None, actions: object = None, **template: object) -> dict[str, Any]:
    document: dict[str, Any] = {"template": {"src": "spot.aep", "composition": "Main", **template}}
    if assets is not None:
        document["assets"] = assets
    if actions is not None:
        document["actions"] = actions
    return document


def built(document: Mapping[str, Any], *, ext: str = "mp4", stem: str = "spot", policy: Policy | None = None) -> Built:
    """A job as the worker builds it, its sources lying in one folder."""
    facts = Facts(root="/mnt/renders", base="/mnt/renders/inbox", windows=False, realpath=lambda path: path)
    failures, allowances = objections(document, facts, policy or Policy())
    assert failures == []
    resolved = {path: f"/mnt/footage/{number}.bin" for number, (path, _, _) in enumerate(sources_of(document))}
    return build(
        document,
        uid="A1b2",
        output_dir=OUTPUT_DIR,
        stem=stem,
        ext=ext,
        resolved={**resolved, "template.src": "/mnt/projects/spot.aep"},
        windows=False,
        allowances=allowances,
    )


def test_a_plain_job_is_used_in_place_with_our_own_uid_and_output() -> None:
    found = built(job(outputModule="H.264") | {"tags": "fast", "priority": 7, "ours": {"kept": [1]}})

    assert found.document == {
        "tags": "fast",
        "priority": 7,
        "ours": {"kept": [1]},
        "uid": "A1b2",
        "output": f"{OUTPUT_DIR}/spot.mp4",
        "template": {
            "src": "file:///mnt/projects/spot.aep",
            "name": "t.aep",
            "composition": "Main",
            "outputModule": "H.264",
            "outputExt": "mp4",
            "imageSequence": False,
            "useOriginal": True,
        },
        "assets": [],
        "actions": {"predownload": [], "postdownload": [], "prerender": [], "postrender": []},
    }
    assert (found.output, found.sequence, found.frames) == (f"{OUTPUT_DIR}/spot.mp4", False, None)


def test_on_windows_output_and_sources_are_windows_own() -> None:
    found = build(
        job(),
        uid="A1",
        output_dir="C:\\work\\out",
        stem="spot",
        ext="avi",
        resolved={"template.src": "\\\\nas\\projects\\100%.aep"},
        windows=True,
    )

    assert found.document["output"] == "C:\\work\\out\\spot.avi"
    assert found.document["template"]["src"] == "file://nas/projects/100%25.aep"


@pytest.mark.parametrize("name", sorted(file.stem for file in ATTACKS.glob("harmless-*.json")))
def test_nothing_of_an_attack_is_left_in_the_copy(name: str) -> None:
    document = json.loads((ATTACKS / f"{name}.json").read_text(encoding="utf-8"))

    copy = built(document).document

    assert (copy["uid"], copy["output"]) == ("A1b2", f"{OUTPUT_DIR}/spot.mp4")
    assert not {"workpath", "resultname", "scriptfile", "state", "timings", "onChange", "onRenderProgress"} & set(copy)
    assert all(not phase for phase in copy["actions"].values())
    for key, value in walk({key: copy[key] for key in ("template", "assets")}):
        assert key not in ("params", "dest", "output", "__proto__")
        if key == "name":
            assert re.fullmatch(r"[\w][\w.-]*", str(value)), value
        if key == "src":
            assert str(value).startswith("file:///mnt/")
    assert len({asset.get("name") for asset in copy["assets"]}) == len(copy["assets"])


def walk(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walk(inner)
    if isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def test_values_that_nexrender_takes_literally_are_what_the_job_means() -> None:
    assets = [
        {
            "type": "image",
            "src": "x.png",
            "layerName": "x",
            "layerIndex": None,
            "composition": None,
            "extension": "PNG",
        },
        {"type": "data", "layerIndex": "3", "property": "Opacity", "value": None, "expression": None, "src": "no"},
    ]

    copy = built(job(frameStart="5", frameEnd=9.0, outputModule=None, continueOnMissing=None, assets=assets)).document

    assert {"frameStart": 5, "frameEnd": 9}.items() <= copy["template"].items()
    assert not {"outputModule", "continueOnMissing"} & set(copy["template"])
    assert copy["assets"] == [
        {"type": "image", "src": "file:///mnt/footage/1.bin", "name": "a00.png", "layerName": "x", "useOriginal": True}
        | {"name": "a00.PNG"},
        {"type": "data", "layerIndex": 3, "property": "Opacity", "value": None},
    ]


def test_a_project_with_static_files_is_copied_beside_them() -> None:
    static = {"type": "static", "src": "x.png", "name": "Größe 1.png"}

    together = built(job(assets=[static])).document
    apart = built(job(assets=[static], useOriginal=True)).document

    assert "useOriginal" not in together["template"]
    assert together["assets"][0] == {"type": "static", "src": "file:///mnt/footage/1.bin", "name": "Größe 1.png"}
    assert apart["template"]["useOriginal"] is True
    assert (is_in_place(job()), is_in_place(job(assets=[static]))) == (True, False)


@pytest.mark.parametrize(
    ("given", "extension", "name"),
    [
        ("bg.png", None, "bg.png"),
        ("bg", "png", "bg.png"),
        ("sub/bg.png", None, "bg.png"),
        ("../bg.png", None, "bg.png"),
        ("-rf.png", None, "a00.png"),
        (".hidden", None, "a00.bin"),
        ("con.png", None, "a00.png"),
        ("tail.png.", None, "a00.bin"),
        ("t.aep", None, "a00.aep"),
        ("x" * 200 + ".png", None, "a00.png"),
        (None, None, "a00.bin"),
    ],
)
def test_a_static_file_keeps_its_name_where_that_is_safe(given: str | None, extension: str | None, name: str) -> None:
    asset = {"type": "static", "src": "x.bin"} | ({"name": given} if given else {})

    copy = built(job(assets=[asset | ({"extension": extension} if extension else {})])).document

    assert copy["assets"][0]["name"] == name


def test_no_two_static_files_share_a_name() -> None:
    assets = [{"type": "static", "src": "x.png", "name": name} for name in ("bg.png", "BG.png", "a03.bin", "bg.png")]

    names = [asset["name"] for asset in built(job(assets=assets)).document["assets"]]

    assert names[:3] == ["bg.png", "a01.png", "a03.bin"]
    assert len({name.casefold() for name in names}) == 4


# -- output --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "output", "platform", "ext"),
    [
        ({"outputExt": "MP4"}, None, "linux", "mp4"),
        ({"outputExt": ".mov"}, "x.avi", "linux", "mov"),
        ({"outputExt": "../x"}, None, "linux", "avi"),
        ({"output": "/x/y.webm"}, "x.avi", "linux", "webm"),
        ({}, "/a.b/x_[#####].exr", "linux", "exr"),
        ({}, "C:\\a.b\\x", "darwin", "mov"),
        ({"outputModule": "H.264 - Match Render Settings - 15 Mbps"}, None, "win32", "mp4"),
        ({"outputModule": "h264"}, None, "win32", "mp4"),
        ({"outputModule": "ProRes_422_HQ"}, None, "win32", "mov"),
        ({"outputModule": "PNG Sequence"}, None, "win32", "png"),
        ({"outputModule": "TIFF Sequence with Alpha"}, None, "win32", "tif"),
        ({"outputModule": "Multi-Machine Sequence"}, None, "win32", "avi"),
        ({"outputModule": "Lossless"}, None, "darwin", "mov"),
        ({"outputModule": "Lossless"}, None, "win32", "avi"),
        ({"outputModule": 5}, 7, "linux", "avi"),
    ],
)
def test_the_extension_to_ask_for(template: dict[str, Any], output: object, platform: str, ext: str) -> None:
    document = job(**template) | ({"output": output} if output else {})

    assert film_ext(document, platform=platform) == ext


@pytest.mark.parametrize(
    ("ext", "template", "sequence"),
    [
        ("png", {}, True),
        ("EXR", {}, True),
        ("psd", {}, True),
        ("dpx", {"imageSequence": False}, True),
        ("mp4", {}, False),
        ("mp4", {"imageSequence": True}, False),
        ("sxr", {"imageSequence": True}, True),
        ("sxr", {"output": "/x/f_[####].sxr"}, True),
        ("sxr", {}, False),
    ],
)
def test_formats_with_one_file_for_each_frame(ext: str, template: dict[str, Any], sequence: bool) -> None:
    assert is_sequence(job(**template), ext) is sequence


def test_a_sequence_gets_numbered_files_and_nexrender_is_told() -> None:
    found = built(job(frameStart=10, frameEnd=19, incrementFrame=3), ext="exr")

    assert found.output == f"{OUTPUT_DIR}/spot_[#####].exr"
    assert (found.document["template"]["imageSequence"], found.sequence) == (True, True)
    assert found.frames == range(10, 20, 3)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({}, None),
        ({"frameStart": 0}, None),
        ({"frameStart": 0, "frameEnd": 99}, range(100)),
        ({"frameStart": "5", "frameEnd": 5}, range(5, 6)),
        ({"frameStart": 9, "frameEnd": 5}, None),
        ({"frameStart": 0, "frameEnd": 9, "incrementFrame": 0}, range(10)),
    ],
)
def test_the_frames_that_a_job_asks_for(template: dict[str, Any], expected: range | None) -> None:
    assert frames(job(**template)) == expected


@pytest.mark.parametrize(
    ("stem", "safe"),
    [("spot", "spot"), ("Größe $HOME [#]/x", "Gr__e__HOME_____x"), ("...", "film"), ("", "film"), ("-rf", "rf")],
)
def test_the_stem_is_safe_for_aerender_and_for_every_disk(stem: str, safe: str) -> None:
    assert built(job(), stem=stem).stem == safe


# -- actions -------------------------------------------------------------------------------------------------------

COPY, ENCODE = "@nexrender/action-copy", "@nexrender/action-encode"


def test_an_encode_writes_beside_the_film_and_a_copy_becomes_a_delivery() -> None:
    post = [
        {"module": ENCODE, "preset": "mp4", "output": "web.mp4", "input": "result.avi"},
        {"module": ENCODE, "preset": "gif", "output": "small.gif", "input": "web.mp4"},
        {"module": COPY, "input": "web.mp4", "output": "/mnt/renders/web/"},
    ]

    found = built(job(actions={"postrender": post}, output="/mnt/renders/master/x.avi"), ext="avi")

    assert found.document["actions"]["postrender"] == [
        {"module": ENCODE, "preset": "mp4", "output": f"{OUTPUT_DIR}/web.mp4"},
        {"module": ENCODE, "preset": "gif", "output": f"{OUTPUT_DIR}/small.gif", "input": f"{OUTPUT_DIR}/web.mp4"},
    ]
    assert found.further == ("web.mp4", "small.gif")
    assert found.deliveries == (
        Delivery(path="actions.postrender[2]", to="/mnt/renders/web/", of="web.mp4"),
        Delivery(path="template.output", to="/mnt/renders/master/x.avi"),
    )


def test_the_film_and_a_further_output_never_share_a_stem() -> None:
    found = built(job(actions={"postrender": [{"module": ENCODE, "preset": "mp4", "output": "Spot.mp4"}]}), ext="avi")

    assert (found.stem, found.output) == ("spot-film", f"{OUTPUT_DIR}/spot-film.avi")


def test_an_encode_of_a_sequence_reads_its_frames() -> None:
    post = [{"module": ENCODE, "preset": "mp4", "output": "web.mp4"}]

    found = built(job(actions={"postrender": post}), ext="png")

    assert found.document["actions"]["postrender"][0]["input"] == f"{OUTPUT_DIR}/spot_%05d.png"


def test_a_trusted_action_keeps_its_fields_and_gets_the_film_where_it_names_it() -> None:
    action = {
        "module": "our-action",
        "input": "result.mp4",
        "output": "/mnt/renders/x",
        "deep": {"__proto__": 1, "a": 2},
    }
    document = job(actions={"prerender": [{"module": "our-action"}], "postrender": [action]})

    found = built(document, policy=Policy(actions=("our-action",)))

    assert found.document["actions"]["prerender"] == [{"module": "our-action"}]
    assert found.document["actions"]["postrender"] == [
        {"module": "our-action", "input": found.output, "output": "/mnt/renders/x", "deep": {"a": 2}}
    ]


def test_an_action_without_an_allowance_never_runs() -> None:
    document = job(actions={"postrender": [{"module": "/tmp/evil.js"}]})

    found = build(
        document,
        uid="A1",
        output_dir=OUTPUT_DIR,
        stem="spot",
        ext="mp4",
        resolved={"template.src": "/mnt/x.aep"},
        windows=False,
        allowances=[Allowance(path="actions.postrender[0]", use=Use.LEFT_OUT)],
    )

    assert found.document["actions"]["postrender"] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uid": ".."}, "uid"),
        ({"uid": "-rf"}, "uid"),
        ({"uid": "x" * 60}, "uid"),
        ({"ext": "mp4/../x"}, "extension"),
        ({"resolved": {}}, "template.src"),
        ({"resolved": {"template.src": "/mnt/$HOME.aep"}}, "environment"),
        ({"resolved": {"template.src": "/mnt/a|b.aep"}}, "handed over"),
        ({"resolved": {"template.src": "/mnt/x.aep", "assets[0].src": "/a'b'.png"}}, "apostrophe"),
    ],
)
def test_a_step_that_was_forgotten_is_an_error_and_never_a_render(changes: dict[str, Any], words: str) -> None:
    ready: dict[str, Any] = {"uid": "A1", "ext": "mp4", "output_dir": OUTPUT_DIR, "stem": "spot", "windows": False}
    ready["resolved"] = {"template.src": "/mnt/x.aep", "assets[0].src": "/mnt/x.png"}
    document = job(assets=[{"type": "image", "src": "https://example.com/x.png", "layerName": "x"}])

    with pytest.raises(ValueError, match=words):
        build(document, **(ready | changes))


def test_the_job_itself_is_never_changed() -> None:
    document = job(assets=[{"type": "data", "layerName": "x", "property": "Opacity", "value": {"a": [1]}}])
    before = json.dumps(document)

    copy = built(document).document
    copy["assets"][0]["value"]["a"].append(2)

    assert json.dumps(document) == before


# -- nexrender's own steps -----------------------------------------------------------------------------------------

STEPS = """
const {createRequire} = require('module');
const load = createRequire(process.argv[1] + '/');
const fs = require('fs');
const core = load.resolve('@nexrender/core').replace(/index\\.js$/, '');
const job = load('@nexrender/types/job').create(JSON.parse(fs.readFileSync(process.argv[2], 'utf8')));
const quiet = () => {};
const tracks = {track: quiet, trackCombined: quiet, trackSync: quiet};
const settings = {workpath: process.argv[3], logger: {log: quiet}, ...tracks};
const step = name => load(core + 'tasks/' + name)(job, settings);
step('setup').then(() => step('download')).then(() => step('script')).then(() => console.log(JSON.stringify({
    output: job.output, project: job.template.dest, assets: job.assets.map(asset => asset.dest),
    script: fs.readFileSync(job.scriptfile, 'utf8').split('/* start of custom user script */')[1],
    composition: /renderCompositionName: (.*),/.exec(fs.readFileSync(job.scriptfile, 'utf8'))[1],
}))).catch(error => { console.error(error); process.exit(1); });
"""

AWKWARD = ["100%.png", "a#b?c.png", "1+1=2 & $5, é 🎬.png", 'say "hi".png', "it's.png", "12:30.png", "a%20b;c@d.png"]


@pytest.mark.nexrender
def test_nexrender_finds_every_source_of_our_copy_under_its_very_name(nexrender_set: Nexrender, tmp_path: Path) -> None:
    project = tmp_path / "Project #1 (100%)" / "spot & $5.aep"
    project.parent.mkdir()
    for name in AWKWARD:
        (project.parent / name).write_bytes(b"x")
    project.write_bytes(b"x")
    assets: list[dict[str, Any]] = [{"type": "image", "src": name, "layerName": f"Bob's {name}"} for name in AWKWARD]
    assets.append({"type": "static", "src": AWKWARD[1], "name": "beside.png"})
    document = job(assets=assets, useOriginal=True) | {"uid": "..", "output": "/etc/passwd"}
    resolved = {path: str(project.parent / src) for path, src, _ in sources_of(document)}
    copy = build(
        document,
        uid="A1",
        output_dir=str(tmp_path / "out"),
        stem="spot",
        ext="png",
        resolved=resolved | {"template.src": str(project)},
        windows=False,
        environment={"HOME"},
    )

    told = run_steps(nexrender_set, copy, tmp_path)

    assert told["output"] == copy.output
    assert told["project"] == str(project)
    assert told["assets"] == [*(str(project.parent / name) for name in AWKWARD), str(tmp_path / "work/A1/beside.png")]
    assert (tmp_path / "work" / "A1" / "beside.png").read_bytes() == b"x"
    assert told["composition"] == "'Main'"
    assert f"replaceFootage(layer, '{project.parent}/it\\'s.png'" in told["script"]


def run_steps(nexrender_set: Nexrender, copy: Built, folder: Path) -> dict[str, Any]:
    """What nexrender's setup, download and script steps make of a job."""
    assert nexrender_set.root is not None
    (folder / "job.json").write_text(json.dumps(copy.document), encoding="utf-8")
    modules = str(nexrender_set.root / "node_modules")
    run = subprocess.run(
        [nexrender_set.command[0], "-e", STEPS, modules, str(folder / "job.json"), str(folder / "work")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"HOME": "/replaced"},
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


TEXTS = [
    "');evil();('",
    "\\",
    "\\'",
    "$value $& $' $`",
    "/*USERSCRIPT*/",
    '"',
    "line\nbreak",
    "</script>",
]

RUN_SCRIPT = """
const vm = require('vm');
const seen = [];
const layer = {};
const select = (composition, name, apply) => { seen.push([composition, name]); apply(layer); };
const nexrender = {selectLayersByName: select, selectLayersByIndex: select, replaceFootage: () => {},
    changeValueForKeypath: (_, keys, value) => seen.push([keys, value])};
const evil = () => { throw new Error('the job ran its own code'); };
let input = '';
process.stdin.on('data', part => input += part).on('end', () => {
    vm.runInNewContext(input, {nexrender, evil});
    console.log(JSON.stringify(seen));
});
"""


@pytest.mark.nexrender
def test_texts_of_a_job_stay_texts_in_the_script_that_nexrender_writes(
    nexrender_set: Nexrender, tmp_path: Path
) -> None:
    assets: list[dict[str, Any]] = [
        {"type": "data", "layerName": text, "composition": text, "property": f"{text}->Opacity", "value": text}
        for text in TEXTS
    ]
    assets += [{"type": "data", "layerIndex": 2, "property": "Source Text", "expression": text} for text in TEXTS]
    script = run_steps(nexrender_set, built(job(assets=assets)), tmp_path)["script"].split("/* end of custom")[0]

    run = subprocess.run(
        [nexrender_set.command[0], "-e", RUN_SCRIPT],
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen[0::2] == [[text, text] for text in TEXTS] + [[None, 2]] * len(TEXTS)
    values = [value for _, value in seen[1::2]]
    assert values == [{"value": text} for text in TEXTS] + [{"expression": text} for text in TEXTS]


RENDERED = ["100%", "a#b", "what?", "1+1", "a&b", "cost$5", "a,b", "it's", 'say "hi"', "two words", "Größe é", "🎬"]
ODD = ["12:30", "$HOME", "a|b"]
FAILING = {"missing_footage": "fail"}


@pytest.mark.nexrender
@pytest.mark.parametrize("name", [*RENDERED, *ODD])
def test_a_project_and_footage_of_any_name_are_rendered_by_the_real_nexrender(
    nexrender_set: Nexrender, simulator: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / f"projects {name}"
    folder.mkdir()
    project = write_project(
        folder / f"{name}.aep", frames=2, layers=["logo"], footage=[f"{name}.png"], behaviour=FAILING
    )
    (folder / f"{name}.png").write_bytes(b"beside the project")
    document = job(assets=[{"type": "image", "src": "logo", "layerName": "logo"}])
    resolved = {"template.src": project, "assets[0].src": folder / f"{name}.png"}
    for made in ("home", "work", "out"):
        (tmp_path / made).mkdir()
    env = nexrender.environment(home=tmp_path / "home", scratch=tmp_path / "work")
    footage = Footage(tmp_path)
    ready = footage.bring(document, resolved=resolved, links={}, folder=tmp_path / "in", environment=env)
    assert isinstance(ready, dict)
    copy = build(
        document,
        uid="A1",
        output_dir=str(tmp_path / "out"),
        stem=name,
        ext="mp4",
        resolved=ready,
        windows=False,
        environment=env,
    )
    (tmp_path / "job.json").write_text(json.dumps(copy.document), encoding="utf-8")

    words = nexrender.command_line(nexrender_set, simulator, tmp_path / "job.json", tmp_path / "work")
    run = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
    assert Path(copy.output).stat().st_size > 0
