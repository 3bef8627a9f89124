"""The letters, word for word: what people read when something did not go.

The texts lie in tests/data/letters; WATCHRENDER_LETTERS=write writes them anew, to be read before they are kept.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchrender.core import letters
from watchrender.core.access import Facts, Policy
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.core.policy import objections
from watchrender.core.states import State
from watchrender.render.outputs import Outputs
from watchrender.render.transcript import Transcript
from watchrender.render.verdict import Exit, Expect, judge
from watchrender.spool import jobfile

LETTERS = Path(__file__).parent / "data" / "letters"


def _job(**more: object) -> Job:
    fields = {
        "id": "01KJMN8K206RVB2HR6K8WTD53G",
        "serial": 1,
        "arrival": 1,
        "name": "spot",
        "sub": "clientA",
        "file": "p80_spot.json",
        "state": State.FAILED,
        "finished_at": "2026-03-01T12:00:00.000Z",
    }
    return Job(**{**fields, **more})  # type: ignore[arg-type]


_LINE = {"at": "2026-03-01T12:00:00.000Z", "from": "queued", "to": "cancelled"}
_TRIES = ({"number": 1}, {"number": 2}, {"number": 3}, {"number": 4})


def _refused_for(refusal: object) -> str:
    """The letter for a refusal as the reader of jobs, the policy or the verdict words it."""
    assert isinstance(refusal, Failure)
    return letters.why(_job(sidecar="spot.yaml"), refusal)


def _policy_says(action: dict[str, object]) -> Failure:
    document = {"template": {"src": "/x/spot.aep", "composition": "Main"}, "actions": {"postrender": [action]}}
    facts = Facts(root="/mnt/renders", base="/mnt/renders/inbox", windows=False, realpath=str)
    return objections(document, facts, Policy())[0][0]


def _verdict_says(composition: str, *known: str) -> Failure | None:
    transcript = Transcript()
    transcript.feed("aerender ERROR: No comp was found with the given name.", 0.0)
    expect = Expect(composition=composition, template="spot.aep")
    return judge(Exit(code=1), transcript, Outputs(), expect=expect, known_compositions=known).failure


CASES: dict[str, str] = {
    "composition": _refused_for(_verdict_says("mian", "Main", "Intro", "End card")),
    "composition-unknown": _refused_for(_verdict_says("mian")),
    "module": _refused_for(_policy_says({"module": "@nexrender/action-cpoy", "output": "/x/"})),
    "module-by-path": _refused_for(_policy_says({"module": "../evil.js"})),
    "settings-key": _refused_for(
        jobfile.read_sidecar(b"prority: 80\nhold: yes\nexpect: {frame: 100}\noutput: /x/{jb}.mov\n", "spot.yaml")
    ),
    "settings-priority": _refused_for(jobfile.read_sidecar(b"tags: [a]\npriority: urgnet\n", "spot.yaml")),
    "broken-json": letters.why(
        _job(),
        Failure(
            code=Code.JOB_UNREADABLE,
            message='p80_spot.json:3:14: a comma is missing between two entries; write {"a": 1, "b": 2}',
            cure="Mend the file at the place named and drop it again.",
            line=3,
            column=14,
        ),
    ),
    "policy": letters.why(
        _job(),
        fail(
            Code.POLICY_DENIED,
            'actions.postrender[0].module: "@nexrender/action-upload" is not allowed here (in "postrender").',
            cure='Take the action out, or ask the operator to add "@nexrender/action-upload" to policy.actions.',
            path="actions.postrender[0].module",
        ),
    ),
    "settings": letters.why(
        _job(sidecar="spot.yaml"),
        Failure(
            code=Code.SIDECAR_INVALID,
            message="spot.yaml:2: priority is 5000; write a number from 0 to 100, or urgent, high, normal, low",
            cure="Correct the sidecar at the place named and drop job and sidecar again.",
            path="priority",
            line=2,
            column=1,
        ),
    ),
    "bundle": letters.why(
        _job(form=Form.BUNDLE, file="spot"),
        fail(Code.ASSET_MISSING, "assets[0].src: footage/logo.png is not there", path="assets[0].src"),
    ),
    "tried-four-times": letters.why(
        _job(attempts=_TRIES), fail(Code.RENDER_CRASHED, "After Effects ended in the middle of frame 51 of 120")
    ),
    "many-faults": letters.why(
        _job(form=Form.ZIP, file="spot.zip"),
        fail(Code.JOB_INVALID, "job.json:2: template.src is missing\njob.json:3: composition is 7; write a text"),
    ),
    "cancelled": letters.why(
        _job(state=State.CANCELLED, history=({**_LINE, "why": "cancelled by the control file spot.cancel"},)), None
    ),
    "superseded": letters.why(
        _job(
            state=State.CANCELLED,
            superseded_by="01KJMN8K20N089D1JHXKH63EMC",
            history=({**_LINE, "why": "superseded by clientA/spot~2 (01KJMN8K20N089D1JHXKH63EMC)"},),
        ),
        None,
    ),
    "lone-project": letters.lone_project("Spot 2026.aep"),
    "folder-named-like-a-job": letters.folder_named_like("spot", "the job in done/spot"),
    "lone-project-with-quotes": letters.lone_project("it's #1: final.aep"),
    "no-such-job": letters.no_such_job("spto.cancel", "spto", None, ["spot", "other"]),
    "no-such-job-at-all": letters.no_such_job("x.p90", "x", None, ["spot"]),
    "already-over": letters.no_such_job("spot.cancel", "spot", _job(state=State.COMPLETED, folder="done/clientA/spot")),
    "withdrawn": letters.no_such_job("spot.cancel", "spot", _job(state=State.CANCELLED, folder="")),
    "elsewhere": letters.no_such_job("spot.cancel", "spot", None, ["spto"], ["", "clientA/show"]),
    "denied": letters.order_denied("spot.cancel", "the film of spot is finished; it can no longer be cancelled"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_letter_reads_as_it_should(name: str) -> None:
    path = LETTERS / f"{name}.txt"
    if os.environ.get("WATCHRENDER_LETTERS") == "write":
        path.write_text(CASES[name], encoding="utf-8")

    assert CASES[name] == path.read_text(encoding="utf-8")


ABOUT_NO_JOB = ("lone-project", "lone-project-with-quotes", "folder-named-like-a-job")


@pytest.mark.parametrize("name", [name for name in CASES if name not in ABOUT_NO_JOB])
def test_a_letter_about_a_job_says_what_and_how_to_go_on(name: str) -> None:
    text = CASES[name]

    if "did nothing" not in text:
        assert "What happened\n" in text
        assert "How to try again\n" in text
        assert "watchrender retry clientA/spot" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_every_code_makes_a_letter() -> None:
    for code in Code:
        text = letters.why(_job(), fail(code, "something happened"))
        assert str(code) in text
        assert "What to do\n" in text


def test_the_lines_to_write_are_a_job_that_is_read() -> None:
    import re

    from watchrender.core.failure import Failure as Refusal
    from watchrender.spool import jobfile

    for name in ("film.aep", "it's #1: final.aep", "[a] {b} & *c.aep", "- dash.aep", "yes.aep", "123.aep"):
        text = letters.lone_project(name)
        found = re.search(r"( {4}template:.*\n)( {4}composition: Main\n)", text)
        assert found is not None
        lines = "".join(line[4:] + "\n" for line in found[0].splitlines())
        read = jobfile.read(lines.encode(), "x.yaml", 10_000)
        assert not isinstance(read, Refusal), (name, read)
        assert read.document["template"]["src"] == name
