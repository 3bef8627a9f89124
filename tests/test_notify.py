"""Whoever wants to know is told: once, signed, after a restart too, and nobody waits for a receiver that is ill."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.line import Line, serving, until
from watchrender.config import Config, load
from watchrender.core.failure import Code, fail
from watchrender.core.job import Job
from watchrender.core.states import Event, State
from watchrender.ledger.ledger import OUTBOX, Ledger
from watchrender.notify import Notifier, Recipient, of_test, send, trouble
from watchrender.notify import notifier as notifiers
from watchrender.notify.message import Message
from watchrender.notify.send import Refusal

# ---------------------------------------------------------------------------------------------------------- receivers


@dataclass
class Receiver:
    """A web server that keeps what it is sent, and answers what it is told to, then 204."""

    answers: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    def types(self) -> list[str]:
        return [f"{body['type']} {body['data'].get('job', '')}".strip() for body in self.bodies()]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            code = kept.answers.pop(0) if kept.answers else 204
            if code < 300:
                kept.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(code)
            for name, value in kept.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    kept.url = f"http://127.0.0.1:{server.server_port}/hook"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield kept
    server.shutdown()
    server.server_close()


@pytest.fixture
def post_office() -> Iterator[tuple[int, list[str]]]:
    """An SMTP server: its port, and the letters that came."""
    letters: list[str] = []

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                word = line[:4].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = b""
                    while (more := self.rfile.readline()) != b".\r\n":
                        text += more
                    letters.append(text.decode())
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                if word == b"QUIT":
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1], letters
        server.shutdown()


# -------------------------------------------------------------------------------------------------------------- farms


def configured(**targets: dict[str, Any]) -> Config:
    return load(json.dumps({"root": "/mnt/renders", "notify": targets}), "watchrender.yaml", {})


def notifier(config: Config, ledger: Ledger, **more: Any) -> Notifier:
    """One whose thread does not run: `turn` does what the thread would."""
    made = Notifier(config, ledger, node="render-01", **{"backoff": lambda _tries: 0.0, **more})
    ledger.listen(made.heard)
    made._catch_up()
    return made


def queued(ledger: Ledger, name: str = "spot", **fields: Any) -> Job:
    job = ledger.add(why="dropped", name=name, file=f"{name}.json", folder="inbox", **fields)
    ledger.apply(job.id, Event.CHECK, "complete")
    return ledger.apply(job.id, Event.ACCEPT, "accepted")


def rendering(ledger: Ledger, name: str = "spot", **fields: Any) -> Job:
    job = queued(ledger, name, **fields)
    return ledger.apply(job.id, Event.START, "next", launches=job.launches + 1, begun=True)


def failed(ledger: Ledger, name: str = "spot", **fields: Any) -> Job:
    job = rendering(ledger, name, **fields)
    error = fail(Code.COMPOSITION_NOT_FOUND, "there is no Mian").to_dict()
    return ledger.apply(job.id, Event.GIVE_UP, "no comp", error=error, folder=f"failed/{name}")


def completed(ledger: Ledger, name: str = "spot", **fields: Any) -> Job:
    job = rendering(ledger, name, **fields)
    return ledger.apply(
        job.id, Event.FINISH, "good", folder=f"done/{name}", outputs=({"path": "spot.mp4", "bytes": 9},)
    )


# ----------------------------------------------------------------------------------------------------- what is told


def test_a_target_is_told_what_it_asked_for_and_nothing_else(ledger: Ledger, receiver: Receiver) -> None:
    config = configured(all={"url": receiver.url, "on": ["started", "completed", "failed", "cancelled"]})
    it = notifier(config, ledger)

    completed(ledger, "good")
    failed(ledger, "bad")
    ledger.apply(queued(ledger, "gone").id, Event.CANCEL, "withdrawn")
    it.turn()

    assert receiver.types() == [
        "job.started good",
        "job.completed good",
        "job.started bad",
        "job.failed bad",
        "job.cancelled gone",
    ]
    body = receiver.bodies()[3]
    assert body["data"]["error"]["code"] == "COMPOSITION_NOT_FOUND"
    assert body["timestamp"].endswith("Z")
    assert "history" not in body["data"]
    assert it.pending() == 0


def test_by_default_failures_are_told_and_successes_are_not(ledger: Ledger, receiver: Receiver) -> None:
    it = notifier(configured(ops={"url": receiver.url}), ledger)

    completed(ledger, "good")
    failed(ledger, "bad")
    it.turn()

    assert receiver.types() == ["job.failed bad"]


def test_a_failure_is_told_after_the_last_try_only(ledger: Ledger, receiver: Receiver) -> None:
    it = notifier(configured(ops={"url": receiver.url, "on": ["started", "failed"]}), ledger)

    job = rendering(ledger)
    ledger.apply(job.id, Event.RETRY, "try 1 failed", attempts=({"number": 1},))
    ledger.apply(job.id, Event.START, "again", launches=2)
    it.turn()
    before = receiver.types()
    ledger.apply(job.id, Event.GIVE_UP, "for good", error=fail(Code.RENDER_CRASHED).to_dict())
    it.turn()

    assert before == ["job.started spot"]
    assert receiver.types() == ["job.started spot", "job.failed spot"]


def test_a_job_names_whom_to_tell_of_its_end(ledger: Ledger, receiver: Receiver) -> None:
    config = configured(anna={"url": receiver.url, "on": ["environment"]})
    it = notifier(config, ledger)

    completed(ledger, settings={"sidecar": {"notify": ["anna", "nobody"]}})
    it.turn()

    assert receiver.types() == ["job.completed spot"]


def test_who_is_configured_and_named_by_the_job_is_told_once(ledger: Ledger, receiver: Receiver) -> None:
    it = notifier(configured(ops={"url": receiver.url, "on": ["completed"]}), ledger)

    completed(ledger, settings={"sidecar": {"notify": ["ops"]}})
    it.turn()

    assert receiver.types() == ["job.completed spot"]


def test_a_trouble_of_the_machine_and_its_end_are_told(ledger: Ledger, receiver: Receiver) -> None:
    it = notifier(configured(ops={"url": receiver.url}), ledger)

    it.environment([fail(Code.LICENSE)])
    it.turn()
    it.environment([fail(Code.LICENSE)])
    it.turn()
    it.environment([])
    it.turn()

    first, second = receiver.bodies()
    assert [found["code"] for found in first["data"]["waiting"]] == ["LICENSE"]
    assert first["type"] == "service.environment"
    assert (second["data"]["waiting"], second["data"]["over"]) == ([], ["LICENSE"])


def test_a_trouble_that_comes_and_goes_is_told_once_in_ten_minutes(ledger: Ledger, receiver: Receiver) -> None:
    now = [1000.0]
    it = notifier(configured(ops={"url": receiver.url}), ledger, clock=lambda: now[0])

    for waiting in ([fail(Code.SHARE_OFFLINE)], []) * 10:
        it.environment(waiting)
        it.turn()
    flapping = len(receiver.got)
    it.environment([fail(Code.SHARE_OFFLINE)])
    it.turn()
    now[0] += notifiers.ENVIRONMENT_SECONDS
    it.turn()

    assert flapping == 2
    assert [len(body["data"]["waiting"]) for body in receiver.bodies()] == [1, 0, 1]


def test_an_empty_queue_is_told_when_the_last_render_is_over(ledger: Ledger, receiver: Receiver) -> None:
    it = notifier(configured(ops={"url": receiver.url, "on": ["queue-empty"]}), ledger)

    waiting = queued(ledger, "second")
    completed(ledger, "first")
    it.turn()
    before = receiver.types()
    ledger.apply(waiting.id, Event.START, "next", launches=1)
    ledger.apply(waiting.id, Event.FINISH, "good")
    it.turn()

    assert before == []
    assert receiver.types() == ["service.queue-empty"]


def test_a_held_job_does_not_keep_the_queue_from_being_empty(ledger: Ledger, receiver: Receiver) -> None:
    it = notifier(configured(ops={"url": receiver.url, "on": ["queue-empty"]}), ledger)

    queued(ledger, "held", marked_hold=True)
    completed(ledger, "last")
    it.turn()

    assert receiver.bodies()[0]["data"] == {"node": "render-01", "last": "last", "held": 1}


def test_what_is_brought_back_from_the_folders_is_no_news(ledger: Ledger, receiver: Receiver) -> None:
    it = notifier(configured(ops={"url": receiver.url, "on": ["completed"]}), ledger)

    ledger.add(why="brought back", name="old", state=State.COMPLETED, history=({"at": "2020-01-01T00:00:00.000Z"},))
    it.turn()

    assert receiver.got == []


# ------------------------------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize("secret", ["whsec_" + base64.b64encode(b"k" * 24).decode(), "a-plain-text"])
def test_a_webhook_is_signed_as_standard_webhooks_has_it(receiver: Receiver, secret: str) -> None:
    message = of_test(message_id="msg_1", node="render-01", at="2026-11-24T12:00:00.000Z")

    assert send(Recipient(url=receiver.url, secret=secret), message) is None

    headers, body = receiver.got[0]
    key = b"k" * 24 if secret.startswith("whsec_") else secret.encode()
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-id"] == "msg_1"
    assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def test_the_example_of_the_standard_gives_its_own_signature() -> None:
    from watchrender.notify import signature

    found = signature.headers(
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        at=1614265330,
        body=b'{"test": 2432232314}',
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )

    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_id_stays_the_same_when_it_is_sent_again(ledger: Ledger, receiver: Receiver) -> None:
    seen: list[str] = []

    def through(recipient: Recipient, message: Message) -> Refusal | None:
        seen.append(message.id)
        return send(recipient, message)

    receiver.answers = [503, 503]
    it = notifier(configured(ops={"url": receiver.url}), ledger, send=through)
    job = failed(ledger)
    it.turn()

    assert seen == [f"{job.id}.failed"] * 3
    assert receiver.types() == ["job.failed spot"]


# ------------------------------------------------------------------------------------------------------- the outbox


def test_what_could_not_be_sent_is_sent_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    config = configured(ops={"url": receiver.url})
    before = Ledger(tmp_path / "ledger", sync="never")
    receiver.answers = [500]
    it = notifier(config, before, backoff=lambda _tries: 3600.0)
    failed(before)
    it.turn()
    before.close()

    after = Ledger(tmp_path / "ledger", sync="never")
    notifier(config, after).turn()

    assert receiver.types() == ["job.failed spot"]
    assert len(after.db.documents(OUTBOX)) == 0
    after.close()


def test_what_was_heard_and_not_kept_when_the_process_ended_is_told_after_the_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    config = configured(ops={"url": receiver.url, "on": ["completed", "failed"]})
    before = Ledger(tmp_path / "ledger", sync="never")
    it = notifier(config, before)
    completed(before, "told")
    it.turn()
    failed(before, "cut-off")  # heard, and the process ends before its thread turns
    before.close()

    after = Ledger(tmp_path / "ledger", sync="never")
    notifier(config, after).turn()
    notifier(config, after).turn()

    assert receiver.types() == ["job.completed told", "job.failed cut-off"]
    after.close()


def test_the_first_start_with_a_target_tells_nothing_of_the_past(tmp_path: Path, receiver: Receiver) -> None:
    before = Ledger(tmp_path / "ledger", sync="never")
    failed(before)

    notifier(configured(ops={"url": receiver.url}), before).turn()

    assert receiver.got == []
    before.close()


def test_one_target_that_does_not_answer_keeps_no_other_waiting(ledger: Ledger, receiver: Receiver) -> None:
    config = configured(dead={"url": "http://127.0.0.1:9/x"}, ops={"url": receiver.url})
    it = notifier(config, ledger, backoff=lambda _tries: 3600.0)

    failed(ledger, "one")
    failed(ledger, "two")
    it.turn()

    assert receiver.types() == ["job.failed one", "job.failed two"]
    assert it.pending() == 2


def test_messages_of_one_target_keep_their_order(ledger: Ledger, receiver: Receiver) -> None:
    receiver.answers = [500, 429, 502]
    it = notifier(configured(ops={"url": receiver.url, "on": ["started", "completed"]}), ledger)

    completed(ledger)
    it.turn()

    assert receiver.types() == ["job.started spot", "job.completed spot"]


def test_a_message_that_the_receiver_calls_wrong_is_given_up_and_the_next_one_sent(
    ledger: Ledger, receiver: Receiver
) -> None:
    receiver.answers = [400] * 5
    it = notifier(configured(ops={"url": receiver.url}), ledger)

    failed(ledger, "odd")
    failed(ledger, "next")
    it.turn()

    assert receiver.types() == ["job.failed next"]


def test_a_target_that_is_gone_for_good_is_not_asked_again(ledger: Ledger, receiver: Receiver) -> None:
    receiver.answers = [410]
    it = notifier(configured(ops={"url": receiver.url}), ledger)

    failed(ledger, "one")
    failed(ledger, "two")
    it.turn()

    assert (receiver.got, it.pending()) == ([], 0)


def test_a_receiver_says_when_to_come_again(ledger: Ledger, receiver: Receiver) -> None:
    now = [100.0]
    receiver.answers, receiver.headers = [429], {"retry-after": "120"}
    it = notifier(configured(ops={"url": receiver.url}), ledger, clock=lambda: now[0])

    failed(ledger)
    it.turn()
    now[0] += 119
    it.turn()
    early = len(receiver.got)
    now[0] += 2
    it.turn()

    assert (early, len(receiver.got)) == (0, 1)


def test_what_could_not_be_sent_for_a_day_is_given_up(tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    now = [datetime(2026, 11, 24, tzinfo=UTC)]
    ledger = Ledger(tmp_path / "ledger", sync="never", now=lambda: now[0])
    it = notifier(configured(dead={"url": "http://127.0.0.1:9/x"}), ledger, backoff=lambda _tries: 3600.0)

    failed(ledger)
    it.turn()
    kept = it.pending()
    now[0] += timedelta(days=1, seconds=1)
    it.turn()

    assert (kept, it.pending()) == (1, 0)
    ledger.close()


def test_the_outbox_has_a_bound(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchrender.notify import outbox

    monkeypatch.setattr(outbox, "MOST_ROWS", 3)
    it = notifier(configured(dead={"url": "http://127.0.0.1:9/x"}), ledger, backoff=lambda _tries: 3600.0)

    for number in range(5):
        failed(ledger, f"job{number}")
    it.turn()

    assert [row["message"]["title"].split()[0] for row in ledger.db.documents(OUTBOX).values()] == [
        "job2",
        "job3",
        "job4",
    ]


def test_a_target_that_is_not_configured_any_more_is_forgotten(tmp_path: Path, receiver: Receiver) -> None:
    before = Ledger(tmp_path / "ledger", sync="never")
    it = notifier(configured(old={"url": "http://127.0.0.1:9/x"}), before, backoff=lambda _tries: 3600.0)
    failed(before)
    it.turn()

    after = notifier(configured(ops={"url": receiver.url}), before)
    after.turn()

    assert (after.pending(), receiver.got) == (0, [])
    before.close()


def test_the_waits_grow_and_have_a_longest() -> None:
    waits = [notifiers._wait(tries) for tries in (1, 3, 6, 50)]

    assert waits == sorted(waits)
    assert waits[0] < 10
    assert waits[-1] <= 605


def test_the_thread_sends_by_itself_and_ends_when_asked(ledger: Ledger, receiver: Receiver) -> None:
    it = Notifier(configured(ops={"url": receiver.url}), ledger, node="n")
    ledger.listen(it.heard)
    it.start()

    failed(ledger)
    until(lambda: receiver.got)
    it.stop()

    assert not it._thread.is_alive()


def test_a_fault_in_sending_does_not_end_the_thread(ledger: Ledger) -> None:
    tried = threading.Event()

    def broken(_recipient: Recipient, _message: Message) -> Refusal | None:
        tried.set()
        raise RuntimeError("a bug")

    it = Notifier(configured(ops={"url": "http://127.0.0.1:9/x"}), ledger, node="n", send=broken)
    ledger.listen(it.heard)
    it.start()

    failed(ledger)
    until(tried.is_set)

    assert it._thread.is_alive()
    it.stop()


# ------------------------------------------------------------------------------------------- addresses that jobs name


def test_an_address_that_a_job_names_may_not_lead_inside(receiver: Receiver) -> None:
    port = int(receiver.url.split(":")[2].split("/")[0])
    message = of_test(message_id="m", node="n", at="2026-11-24T12:00:00.000Z")
    inside: Callable[..., Refusal | None] = partial(send, resolve=lambda _host, _port: ["127.0.0.1"])

    refused = inside(Recipient(url=f"http://looks-public.example:{port}/", hosts=()), message)
    allowed = inside(Recipient(url=f"http://looks-public.example:{port}/", hosts=("looks-public.example",)), message)

    assert refused is not None and refused.gone
    assert allowed is None
    assert json.loads(receiver.got[0][1])["type"] == "service.test"


def test_no_redirect_is_followed(receiver: Receiver) -> None:
    receiver.answers, receiver.headers = [302], {"location": "http://127.0.0.1:9/"}

    refused = send(Recipient(url=receiver.url), of_test(message_id="m", node="n", at="2026-11-24T12:00:00.000Z"))

    assert refused is not None and "redirects are not followed" in refused.words


def test_the_address_of_a_job_is_kept_to_https(ledger: Ledger, receiver: Receiver) -> None:
    it = notifier(configured(), ledger)

    completed(ledger, settings={"sidecar": {"notify": [receiver.url]}})
    it.turn()

    assert (receiver.got, it.pending()) == ([], 0)


# ------------------------------------------------------------------------------------------------------------ apprise


def test_a_letter_is_sent_by_apprise(ledger: Ledger, post_office: tuple[int, list[str]]) -> None:
    port, letters = post_office
    url = f"mailto://127.0.0.1:{port}?from=farm@studio.example&to=anna@studio.example&mode=insecure"
    it = notifier(configured(anna={"url": url}), ledger)

    failed(ledger)
    it.turn()

    assert "spot failed (COMPOSITION_NOT_FOUND)" in letters[0]
    assert "there is no Mian" in letters[0]


def test_many_letters_at_once_become_one(ledger: Ledger, post_office: tuple[int, list[str]]) -> None:
    port, letters = post_office
    url = f"mailto://127.0.0.1:{port}?from=farm@studio.example&to=anna@studio.example&mode=insecure"
    it = notifier(configured(anna={"url": url}), ledger)

    for number in range(30):
        failed(ledger, f"job{number:02}")
    it.turn()

    assert len(letters) == 1
    assert "job00 failed" in letters[0]
    assert "and 10 more" in letters[0]
    assert it.pending() == 0


def test_a_letter_that_the_server_refuses_stays_in_the_outbox(ledger: Ledger) -> None:
    it = notifier(
        configured(anna={"url": "mailto://127.0.0.1:9?from=a@b.example&to=c@d.example"}),
        ledger,
        backoff=lambda _tries: 3600.0,
    )

    failed(ledger)
    it.turn()

    assert it.pending() == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("foo://x", "apprise does not understand"),
        ("https://x.webhook.office.com/webhookb2/abc", "retired"),
    ],
)
def test_an_address_that_cannot_work_is_told(url: str, words: str) -> None:
    wrong = trouble(url, None)

    assert wrong is not None and words in wrong[0]


def test_chats_are_told_by_apprise_and_other_https_addresses_by_ourselves() -> None:
    from watchrender.notify.address import way

    assert way("https://hooks.slack.com/services/T/B/X") == "apprise"
    assert way("https://prod-1.westus.logic.azure.com:443/workflows/x") == "apprise"
    assert way("https://studio.example/hooks.slack.com") == "webhook"
    assert way("https://hooks.slack.com.evil.example/") == "webhook"


def test_without_the_extra_the_word_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    from watchrender.notify import address

    monkeypatch.setattr(address, "find_spec", lambda _name: None)

    wrong = trouble("https://hooks.slack.com/services/T/B/SECRET", None)

    assert wrong is not None
    assert "watchrender[notify]" in wrong[1]
    assert "SECRET" not in " ".join(wrong)
    assert trouble("https://studio.example/hook", None) is None


def test_a_secret_that_cannot_be_one_is_told() -> None:
    wrong = trouble("https://studio.example/hook", "whsec_***")

    assert wrong is not None and "base64" in wrong[0]


# ------------------------------------------------------------------------------------------------- the whole service


def test_the_service_tells_of_a_film_and_of_a_machine_that_cannot_render(tmp_path: Path, receiver: Receiver) -> None:
    events = ["started", "completed", "environment", "queue-empty"]
    line = Line(tmp_path, notify={"ops": {"url": receiver.url, "on": events}})
    line.drop("spot.json")

    with serving(line):
        until(lambda: len(receiver.got) >= 3)
        line.drop("next.json", line.job("Full"))
        until(lambda: len(receiver.got) >= 5)

    assert receiver.types()[:3] == ["job.started spot", "job.completed spot", "service.queue-empty"]
    assert receiver.bodies()[4]["data"]["waiting"][0]["code"] == "DISK_FULL"


def test_the_command_tests_all_targets_and_says_what_became_of_each(tmp_path: Path, receiver: Receiver) -> None:
    targets = {"ops": {"url": receiver.url}, "dead": {"url": "http://127.0.0.1:9/x"}}
    file = tmp_path / "watchrender.yaml"
    file.write_text(json.dumps({"root": str(tmp_path), "notify": targets}), encoding="utf-8")
    command = [sys.executable, "-m", "watchrender", "notify", "test", "-c", str(file)]

    both = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60, check=False)
    one = subprocess.run([*command, "ops"], capture_output=True, text=True, timeout=60, check=False)
    none = subprocess.run([*command, "nobody"], capture_output=True, text=True, timeout=60, check=False)

    assert [(answer["target"], answer["ok"]) for answer in json.loads(both.stdout)] == [("ops", True), ("dead", False)]
    assert (both.returncode, one.returncode, none.returncode) == (1, 0, 2)
    assert receiver.types() == ["service.test", "service.test"]


def test_a_full_disk_keeps_nobody_from_starting(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    made = notifier(configured(), ledger)
    add, refusals = made._outbox.add, [OSError(28, "No space left on device")]

    def full_at_first(*said: Any) -> None:
        if refusals:
            raise refusals.pop()
        add(*said)

    monkeypatch.setattr(made._outbox, "add", full_at_first)
    made.start()
    made.stop()

    assert made._outbox.heard is not None
