"""Paths from any machine mean one thing here, and nexrender's decoder reads our URIs back as exactly that."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchrender.core.paths import Kind, Rule, is_under, map_path, needs_copy, read_path, read_source, server_of, to_uri
from watchrender.render.nexrender import Nexrender

POSIX_BASE = "/mnt/renders/inbox/clientA"
WINDOWS_BASE = "R:\\renders\\inbox"

NAMES = [
    "plain.aep",
    "with blank.aep",
    "100%.aep",
    "a%20b.aep",
    "a%23b.aep",
    "a#b.aep",
    "what?.aep",
    "1+1.aep",
    "a&b.aep",
    "cost$5.aep",
    "a,b;c=d@e.aep",
    "it's.aep",
    'say "hi".aep',
    "[a](b){c}.aep",
    "Grüße é.aep",
    "film 🎬.aep",
    "e\u0301 decomposed.aep",
    "-dash.aep",
    "back`tick^~.aep",
    "tail .aep",
    "12:30:00.aep",
    "C:stays.aep",
]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("/mnt/x.aep", "/mnt/x.aep"),
        ("/mnt//a/./b/../x.aep", "/mnt/a/x.aep"),
        ("/../../x.aep", "/x.aep"),
        ("/mnt/back\\slash.aep", "/mnt/back\\slash.aep"),
        ("x.aep", "/mnt/renders/inbox/clientA/x.aep"),
        ("footage/x y.png", "/mnt/renders/inbox/clientA/footage/x y.png"),
        ("footage\\x.png", "/mnt/renders/inbox/clientA/footage/x.png"),
        ("../shared/x.png", "/mnt/renders/inbox/shared/x.png"),
        ("./x.png", "/mnt/renders/inbox/clientA/x.png"),
        ("file:x.png", "/mnt/renders/inbox/clientA/x.png"),
        ("file:footage/x%20y.png", "/mnt/renders/inbox/clientA/footage/x y.png"),
        ("file://x.png", "/mnt/renders/inbox/clientA/x.png"),
        ("file://./x.png", "/mnt/renders/inbox/clientA/x.png"),
        ("file:/mnt/x.aep", "/mnt/x.aep"),
        ("file:///mnt/x.aep", "/mnt/x.aep"),
        ("FILE:///mnt/x.aep", "/mnt/x.aep"),
        ("  file:///mnt/x.aep\n", "/mnt/x.aep"),
        ("file://localhost/mnt/x.aep", "/mnt/x.aep"),
        ("file:////mnt/12:30.aep", "/mnt/12:30.aep"),
        ("file:///mnt/a%20b.aep", "/mnt/a b.aep"),
        ("file:///mnt/a b.aep", "/mnt/a b.aep"),
        ("file:///mnt/a%23b.aep", "/mnt/a#b.aep"),
        ("file:///mnt/a#b?c.aep", "/mnt/a#b?c.aep"),
        ("file:///mnt/100%.aep", "/mnt/100%.aep"),
        ("file:///mnt/100%25.aep", "/mnt/100%.aep"),
        ("file:///mnt/%C3%A9.aep", "/mnt/é.aep"),
        ("file:///mnt/é.aep", "/mnt/é.aep"),
        ("file:///mnt/%FF.aep", "/mnt/\udcff.aep"),
        ("file:///mnt/%2e%2e/etc/passwd", "/etc/passwd"),
        ("/mnt/cost$HOME.aep", "/mnt/cost$HOME.aep"),
        ("~/x.aep", "/mnt/renders/inbox/clientA/~/x.aep"),
    ],
)
def test_a_source_on_posix_is_one_absolute_path(written: str, path: str) -> None:
    source = read_source(written, base=POSIX_BASE, windows=False)

    assert (source.kind, source.text) == (Kind.LOCAL, path)


@pytest.mark.parametrize(
    ("written", "path", "server"),
    [
        ("C:\\x.aep", "C:\\x.aep", None),
        ("C:/a/../x.aep", "C:\\x.aep", None),
        ("x.aep", "R:\\renders\\inbox\\x.aep", None),
        ("..\\x.aep", "R:\\renders\\x.aep", None),
        ("file:///C:/a%20b.aep", "C:\\a b.aep", None),
        ("file:///C|/x.aep", "C:\\x.aep", None),
        ("file://C:/x.aep", "C:\\x.aep", None),
        ("file:C:/x.aep", "C:\\x.aep", None),
        ("file:///C:\\x.aep", "C:\\x.aep", None),
        ("\\\\NAS\\share\\x.aep", "\\\\NAS\\share\\x.aep", "nas"),
        ("//nas/share/x.aep", "\\\\nas\\share\\x.aep", "nas"),
        ("//nas/share/../../../x.aep", "\\\\nas\\share\\x.aep", "nas"),
        ("file://nas/share/x.aep", "\\\\nas\\share\\x.aep", "nas"),
        ("file:////nas/share/x.aep", "\\\\nas\\share\\x.aep", "nas"),
        ("file://///nas/share/x.aep", "\\\\nas\\share\\x.aep", "nas"),
        ("\\\\?\\C:\\x.aep", "C:\\x.aep", None),
        ("\\\\?\\UNC\\nas\\share\\x.aep", "\\\\nas\\share\\x.aep", "nas"),
    ],
)
def test_a_source_on_windows_is_one_absolute_path(written: str, path: str, server: str | None) -> None:
    source = read_source(written, base=WINDOWS_BASE, windows=True)

    assert (source.kind, source.text, source.server) == (Kind.LOCAL, path, server)


@pytest.mark.parametrize(
    ("written", "windows", "text", "server"),
    [
        ("C:\\x.aep", False, "C:/x.aep", None),
        ("file:///C:/x.aep", False, "C:/x.aep", None),
        ("\\\\nas\\share\\x.aep", False, "//nas/share/x.aep", "nas"),
        ("file://nas/share/x.aep", False, "//nas/share/x.aep", "nas"),
        ("/mnt/x.aep", True, "/mnt/x.aep", None),
        ("\\x.aep", True, "/x.aep", None),
    ],
)
def test_a_path_of_another_machine_is_told_apart(written: str, windows: bool, text: str, server: str | None) -> None:
    source = read_source(written, base=WINDOWS_BASE if windows else POSIX_BASE, windows=windows)

    assert (source.kind, source.text, source.server) == (Kind.FOREIGN, text, server)


@pytest.mark.parametrize(
    ("written", "kind", "text"),
    [
        ("http://example.com/x.png", Kind.HTTP, "http://example.com/x.png"),
        ("HTTPS://example.com/x.png", Kind.HTTP, "HTTPS://example.com/x.png"),
        ("data:image/png;base64,AAAA", Kind.DATA, "data:image/png;base64,AAAA"),
        ("s3://bucket/x.png", Kind.OTHER, "s3"),
        ("javascript:alert(1)", Kind.OTHER, "javascript"),
        ("ht\ntp://example.com", Kind.BROKEN, "it contains a line break or another control character"),
        ("/mnt/a\x00b", Kind.BROKEN, "it contains a line break or another control character"),
        ("file:///mnt/a%00b", Kind.BROKEN, "it contains a line break or another control character"),
        ("", Kind.BROKEN, "it is empty"),
        ("file://$ASSETS/x.aep", Kind.BROKEN, "$ASSETS is not filled in from the environment; write the whole path"),
        ("C:x.aep", Kind.BROKEN, "C: without a slash depends on where a program stands; write C:/x.aep"),
        ("\\\\.\\pipe\\x", Kind.BROKEN, "device paths are not files"),
        ("\\\\?\\Volume{1}\\x", Kind.BROKEN, "device paths are not files"),
    ],
)
def test_what_is_no_path_is_named(written: str, kind: Kind, text: str) -> None:
    source = read_source(written, base=POSIX_BASE, windows=False)

    assert (source.kind, source.text) == (kind, text)


@pytest.mark.parametrize("name", ["CON", "con.txt", "nul .png", "COM1", "x.aep:stream", "a?.png", "secret.aep.", "x "])
def test_names_that_windows_reads_as_something_else_are_broken(name: str) -> None:
    source = read_source(f"C:\\footage\\{name}\\x.png", base=WINDOWS_BASE, windows=True)

    assert source.kind is Kind.BROKEN


RULES = [
    Rule(origin="/Volumes/Media", target="M:/"),
    Rule(origin="/Volumes/Media/Archive", target="\\\\nas\\archive"),
    Rule(origin="P:\\Projekte", target="/mnt/projects/"),
    Rule(origin="\\\\NAS\\share", target="/mnt/share"),
]


@pytest.mark.parametrize(
    ("path", "mapped"),
    [
        ("/Volumes/Media/a/x.aep", "M:/a/x.aep"),
        ("/Volumes/Media", "M:/"),
        ("/Volumes/Media/Archive/x.aep", "//nas/archive/x.aep"),
        ("/Volumes/MediaX/x.aep", "/Volumes/MediaX/x.aep"),
        ("/volumes/media/x.aep", "/volumes/media/x.aep"),
        ("p:/projekte/spot/x.aep", "/mnt/projects/spot/x.aep"),
        ("P:\\Projekte\\spot\\x.aep", "/mnt/projects/spot/x.aep"),
        ("//nas/Share/x.aep", "/mnt/share/x.aep"),
        ("file:///Volumes/Media/a%20b.aep", "M:/a b.aep"),
        ("file:///P:/Projekte/x.aep", "/mnt/projects/x.aep"),
        ("relative/x.aep", "relative/x.aep"),
    ],
)
def test_path_map_rewrites_whole_leading_components_longest_first(path: str, mapped: str) -> None:
    assert map_path(path, RULES) == mapped


def test_path_map_brings_a_mac_path_to_windows_and_a_windows_path_to_posix() -> None:
    there = read_source("/Volumes/Media/x.aep", base=WINDOWS_BASE, windows=True, rules=RULES)
    back = read_source("file:///P:/Projekte/../Projekte/x.aep", base=POSIX_BASE, windows=False, rules=RULES)
    share = read_path("\\\\nas\\share\\x.mp4", base=POSIX_BASE, windows=False, rules=RULES)

    assert (there.kind, there.text) == (Kind.LOCAL, "M:\\x.aep")
    assert (back.kind, back.text) == (Kind.LOCAL, "/mnt/projects/x.aep")
    assert (share.kind, share.text) == (Kind.LOCAL, "/mnt/share/x.mp4")


def test_a_rule_does_not_apply_to_a_path_that_leaves_its_folder_by_dots() -> None:
    source = read_source("/Volumes/Media/../x.aep", base=WINDOWS_BASE, windows=True, rules=RULES)

    assert (source.kind, source.text) == (Kind.FOREIGN, "/Volumes/x.aep")


@pytest.mark.parametrize(
    ("path", "folder", "windows", "expected"),
    [
        ("/mnt/a/b", "/mnt/a", False, True),
        ("/mnt/a", "/mnt/a", False, True),
        ("/mnt/ab", "/mnt/a", False, False),
        ("/mnt/A/b", "/mnt/a", False, False),
        ("C:\\A\\b", "c:/a", True, True),
        ("\\\\NAS\\s\\b", "//nas/S", True, True),
        ("\\\\nas2\\s\\b", "\\\\nas\\s", True, False),
        ("/anything", "/", False, True),
    ],
)
def test_under_means_whole_components(path: str, folder: str, windows: bool, expected: bool) -> None:
    assert is_under(path, folder, windows=windows) is expected


def test_only_network_paths_have_a_server() -> None:
    assert server_of("\\\\NAS\\share") == "nas"
    assert server_of("//nas/share") == "nas"
    assert server_of("C:\\x") is None
    assert server_of("/mnt/x") is None


@pytest.mark.parametrize(
    ("path", "windows", "uri"),
    [
        ("/mnt/a b#c?d.aep", False, "file:///mnt/a b#c?d.aep"),
        ("/mnt/100%.aep", False, "file:///mnt/100%25.aep"),
        ("/mnt/12:30.aep", False, "file:////mnt/12:30.aep"),
        ("C:\\a b.aep", True, "file:///C:/a b.aep"),
        ("\\\\nas\\share\\x.aep", True, "file://nas/share/x.aep"),
        ("\\\\localhost\\c$\\x.aep", True, "file:////localhost/c$/x.aep"),
        ("\\\\nas.2\\s\\x.aep", True, "file:////nas.2/s/x.aep"),
        ("\\\\10.0.0.5\\s\\x.aep", True, "file://10.0.0.5/s/x.aep"),
    ],
)
def test_the_uri_that_nexrender_gets(path: str, windows: bool, uri: str) -> None:
    assert to_uri(path, windows=windows) == uri


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/mnt/$HOME.aep", "environment"),
        ("/mnt/x$PATHy/$path.aep", "environment"),
        ("/mnt/a|b.aep", "colon"),
        ("/mnt/a\nb.aep", "URI"),
        ("/mnt/\udcff.aep", "URI"),
        ("/mnt/a');evil();('.png", "apostrophe"),
    ],
)
def test_files_that_nexrender_cannot_be_given_in_place(path: str, reason: str) -> None:
    why = needs_copy(path, windows=False, environment={"HOME", "PATH"}, in_script=True)

    assert why is not None and reason in why


def test_files_that_can_be_given_in_place() -> None:
    for path in ("/mnt/it's.png", "/mnt/cost$5.png", "/mnt/$NOT_SET.png", "/mnt/$$HOME.png", "/mnt/a$ b.png"):
        assert needs_copy(path, windows=False, environment={"HOME"}, in_script=True) is None
    assert needs_copy("/mnt/two 'quotes'.aep", windows=False, environment=()) is None
    assert needs_copy("/mnt/cost$5.png", windows=False) is None
    assert needs_copy("/mnt/$ANY.png", windows=False) is not None
    assert needs_copy("C:\\" + "x" * 300, windows=True) is not None


LETTERS = st.characters(exclude_characters="/\x00", exclude_categories=("Cs", "Cc", "Zl", "Zp"))
PARTS = st.lists(st.text(LETTERS, min_size=1, max_size=12).filter(lambda part: part not in (".", "..")), min_size=1)


@given(PARTS)
def test_a_path_written_as_a_uri_is_read_back_by_us(parts: list[str]) -> None:
    path = "/mnt/" + "/".join(parts)
    source = read_source(to_uri(path, windows=False), base=POSIX_BASE, windows=False)

    # Blanks at the very end are taken as an accident of typing, as they are in every other value of a job.
    assert source.text == path or path != path.strip()


@given(PARTS)
def test_a_uri_of_pathlib_names_the_same_file(parts: list[str]) -> None:
    path = "/mnt/" + "/".join(parts)

    assert read_source(Path(path).as_uri(), base=POSIX_BASE, windows=False).text == path


@given(st.text())
def test_any_text_is_read_without_an_error_and_never_leaves_a_dot_behind(text: str) -> None:
    for windows, base in ((False, POSIX_BASE), (True, WINDOWS_BASE)):
        source = read_source(text, base=base, windows=windows, rules=RULES)
        if source.kind is Kind.LOCAL:
            assert ".." not in source.text.replace("\\", "/").split("/")
            assert read_path(source.text, base=base, windows=windows).text == source.text


DECODER = """
const path = require('path');
if (process.argv[2] === 'windows') path.sep = '\\\\';
const {createRequire} = require('module');
const read = createRequire(process.argv[1] + '/')('file-uri-to-path');
let input = '';
process.stdin.on('data', part => input += part).on('end', () => console.log(JSON.stringify(
    JSON.parse(input).map(uri => {
        new URL(uri); decodeURI(path.posix.basename(uri).split('?')[0]); return read(uri);
    }))));
"""


def decoded(nexrender_set: Nexrender, uris: list[str], *, windows: bool) -> list[str]:
    """What the decoder inside an installed nexrender makes of these URIs."""
    assert nexrender_set.root is not None
    run = subprocess.run(
        [
            nexrender_set.command[0],
            "-e",
            DECODER,
            str(nexrender_set.root / "node_modules"),
            "windows" if windows else "posix",
        ],
        input=json.dumps(uris),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: list[str] = json.loads(run.stdout)
    return found


@pytest.mark.nexrender
def test_nexrender_reads_our_uris_back_as_the_very_path(nexrender_set: Nexrender) -> None:
    paths = [f"/mnt/a folder/{name}" for name in NAMES]

    assert decoded(nexrender_set, [to_uri(path, windows=False) for path in paths], windows=False) == paths


@pytest.mark.nexrender
def test_nexrender_on_windows_reads_our_uris_back_as_the_very_path(nexrender_set: Nexrender) -> None:
    legal = [name for name in NAMES if not set(name) & set('<>:"|?*')]
    shares = ("nas\\share", "localhost\\c$", "nas.2\\s", "10.0.0.5\\s")
    heads = ["C:\\a folder\\", *(f"\\\\{share}\\" for share in shares)]
    paths = [head + name for head in heads for name in legal]

    assert decoded(nexrender_set, [to_uri(path, windows=True) for path in paths], windows=True) == paths
