"""What lies under deploy/ works: alerts fire on what /metrics really says, proxies let streams through."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from tests.line import Line, serving, until
from tests.waiting import free_port

DEPLOY = Path(__file__).parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "watchrender.rules.yml"
TOKEN = "a-token-for-this-test-only"


# ------------------------------------------------------------------------------------------------------------ metrics


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """What /metrics says of a service that has seen a film, a failure and a wait: name → the labels of its samples."""
    line = Line(tmp_path_factory.mktemp("metrics"), server={"enabled": True, "port": 0}, retry={"max_retries": 0})
    with serving(line):
        line.drop("good.json")
        line.wait("good", "completed")
        line.drop("bad.json", line.job("Crash"))
        line.drop("nonsense.json", {"template": 1})
        line.wait("bad", "failed")
        line.wait("nonsense", "failed")
        line.drop("full.json", line.job("Full"))
        assert line.service is not None
        until(lambda: line.service is not None and line.service.gate.waiting())
        host, port = line.service.web.address

        def told() -> str:
            # The service's document is asked for every now and then: the first one may be older than the first look.
            text = httpx2.get(f"http://{host}:{port}/metrics", trust_env=False).text
            return text if "\nwatchrender_scan_age_seconds " in text and 'code="DISK_FULL"' in text else ""

        text = until(told)
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append({**sample.labels, "": str(sample.value)})
    return found


def value(samples: dict[str, list[dict[str, str]]], name: str, **labels: str) -> float:
    return sum(float(found[""]) for found in samples[name] if labels.items() <= found.items())


def test_metrics_count_what_happened(samples: dict[str, list[dict[str, str]]]) -> None:
    assert value(samples, "watchrender_jobs", state="completed") == 1
    assert value(samples, "watchrender_jobs", state="failed") == 2
    assert value(samples, "watchrender_jobs_finished_total", state="failed", code="JOB_INVALID") == 1
    assert value(samples, "watchrender_attempts_total", result="completed") == 1
    assert value(samples, "watchrender_attempts_total", result="failed") == 1
    assert value(samples, "watchrender_failures_total", code="RENDER_CRASHED") == 1
    assert value(samples, "watchrender_failures_total", code="JOB_INVALID") == 1
    # Its zero is there before the first of a kind: `increase` would not see that one else.
    assert {"TEMPLATE_MISSING", "RENDER_STALLED"} <= {found["code"] for found in samples["watchrender_failures_total"]}
    assert value(samples, "watchrender_render_seconds_count", result="completed") == 1
    assert value(samples, "watchrender_wait_seconds_count") >= 2
    assert value(samples, "watchrender_waiting", code="DISK_FULL") == 1
    assert value(samples, "watchrender_disk_free_bytes", place="root") > 0
    assert value(samples, "watchrender_queue_depth") == 1
    assert value(samples, "watchrender_oldest_queued_seconds") >= 0


def expressions() -> dict[str, str]:
    """Where it stands → the expression, of rules and dashboard."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    found = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    dashboard = json.loads((DEPLOY / "grafana" / "watchrender.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    return found


def test_every_name_and_label_of_rules_and_dashboard_exists(samples: dict[str, list[dict[str, str]]]) -> None:
    unknown = []
    for where, expression in expressions().items():
        for name, selector in re.findall(r"(watchrender_\w+)(\{[^}]*\})?", expression):
            labels = {label for found in samples.get(name, ()) for label in found}
            asked = set(re.findall(r"(\w+)\s*(?:=~|=|!=)", selector)) - {"instance", "job"}
            if name not in samples or not asked <= labels:
                unknown.append(f"{where}: {name}{selector}")

    assert unknown == []
    assert len(expressions()) > 20


def test_every_metric_that_is_promised_is_looked_at() -> None:
    said = " ".join(expressions().values())
    promised = ("jobs", "failures_total", "attempts_total", "render_seconds", "wait_seconds", "queue_depth",
                "oldest_queued_seconds", "frames_per_second", "disk_free_bytes", "scan_seconds", "stream_readers",
                "waiting")  # fmt: skip

    assert [name for name in promised if f"watchrender_{name}" not in said] == []


promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here (Debian: prometheus)")


def prom(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *map(str, words)], capture_output=True, text=True, cwd=RULES.parent, timeout=60, check=False
    )


@promtool
def test_the_rules_are_rules() -> None:
    done = prom("check", "rules", RULES.name)

    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    done = prom("test", "rules", "watchrender.rules.test.yml")

    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_a_broken_rule_would_be_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(RULES.read_text(encoding="utf-8").replace("== 0", "=== 0"), encoding="utf-8")

    assert prom("check", "rules", broken).returncode != 0


@promtool
def test_how_to_scrape_is_read_by_prometheus(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    token = tmp_path / "token"
    token.touch()
    text = (DEPLOY / "prometheus" / "scrape.yml").read_text(encoding="utf-8")
    (tmp_path / "prometheus.yml").write_text(
        text.replace("/etc/prometheus/watchrender.token", str(token)), encoding="utf-8"
    )

    done = prom("check", "config", tmp_path / "prometheus.yml")

    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_prometheus_reads_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$instance", ".*")}
        for number, text in enumerate(expressions().values())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")

    done = prom("check", "rules", file)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_panels_of_the_dashboard_do_not_lie_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((DEPLOY / "grafana" / "watchrender.json").read_text(encoding="utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


# ------------------------------------------------------------------------------------------------------------ proxies


def certificate(folder: Path) -> tuple[Path, Path]:
    made = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=render.example.com",
         "-addext", "subjectAltName=DNS:render.example.com", "-out", str(made[0]), "-keyout", str(made[1])],
        capture_output=True, check=True,
    )  # fmt: skip
    return made


@contextmanager
def running(command: list[str], port: int, log: Path, **environment: str) -> Iterator[None]:
    with open(log, "wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, **environment})
    try:
        until(lambda: process.poll() is not None or _answers(port))
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def nginx(folder: Path, port: int, upstream: int) -> Iterator[None]:
    cert, key = certificate(folder)
    text = (DEPLOY / "nginx" / "watchrender.conf").read_text(encoding="utf-8")
    for old, new in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("listen 80;", f"listen 127.0.0.1:{free_port()};"),
        ("127.0.0.1:8790", f"127.0.0.1:{upstream}"),
        ("/etc/ssl/render.example.com.crt", str(cert)),
        ("/etc/ssl/render.example.com.key", str(key)),
    ):
        assert old in text
        text = text.replace(old, new)
    text = "\n".join(found for found in text.splitlines() if "[::]" not in found)
    (folder / "site.conf").write_text(text, encoding="utf-8")
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"daemon off; pid {folder}/pid; error_log stderr; user root; events {{}} http {{ access_log off; {places}"
    if os.geteuid() != 0:
        main = main.replace("user root;", "")
    (folder / "nginx.conf").write_text(f"{main} include {folder}/site.conf; }}", encoding="utf-8")
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with running(command, port, folder / "nginx.log"):
        yield


@contextmanager
def caddy(folder: Path, port: int, upstream: int) -> Iterator[None]:
    cert, key = certificate(folder)
    text = (DEPLOY / "caddy" / "Caddyfile").read_text(encoding="utf-8")
    for old, new in (
        ("\nrender.example.com {", f"\nhttps://render.example.com:{port} {{\n\ttls {cert} {key}"),
        ("127.0.0.1:8790", f"127.0.0.1:{upstream}"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text, encoding="utf-8")
    command = ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    with running(command, port, folder / "caddy.log", XDG_DATA_HOME=str(folder), XDG_CONFIG_HOME=str(folder)):
        yield


@pytest.mark.skipif(os.name == "nt", reason="tried on POSIX")
@pytest.mark.parametrize("proxy", [nginx, caddy], ids=["nginx", "caddy"])
def test_the_page_and_its_streams_come_through_a_proxy_as_they_happen(proxy: Any, tmp_path: Path) -> None:
    program = "nginx" if proxy is nginx else "caddy"
    for needed in (program, "openssl"):
        if shutil.which(needed) is None:
            pytest.skip(f"no {needed} here")
    line = Line(tmp_path, server={"enabled": True, "port": 0, "token": TOKEN, "allowed_hosts": ["render.example.com"]})
    (tmp_path / "proxy").mkdir()
    port = free_port()
    with serving(line):
        assert line.service is not None
        with proxy(tmp_path / "proxy", port, line.service.web.address[1]):
            _try_it(line, port)


def _try_it(line: Line, port: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    known = {"Host": "render.example.com", "Authorization": f"Bearer {TOKEN}"}
    sni = {"sni_hostname": "render.example.com"}
    url = f"https://127.0.0.1:{port}"
    with httpx2.Client(verify=context, trust_env=False, timeout=15) as client:
        assert client.get(f"{url}/", headers={"Host": "render.example.com"}, extensions=sni).status_code == 401
        assert client.get(f"{url}/api/v1/status", headers=known, extensions=sni).json()["node"] == "render-01"
        paused = client.post(
            f"{url}/api/v1/queue/pause", headers=known | {"Origin": "https://render.example.com"}, extensions=sni
        )
        assert paused.status_code == 200
        foreign = client.post(
            f"{url}/api/v1/queue/resume", headers=known | {"Origin": "https://evil.example"}, extensions=sni
        )
        assert foreign.status_code == 403
        with client.stream("GET", f"{url}/api/v1/events", headers=known, extensions=sni) as events:
            lines = events.iter_lines()
            assert next(found for found in lines if found.startswith("event:")) == "event: snapshot"
            line.drop("spot.json")  # the stream is open, and nothing is held back until there is more
            began = time.monotonic()
            assert next(found for found in lines if '"spot"' in found)
            assert time.monotonic() - began < 5
    _try_websocket(line, port, context)


def _try_websocket(line: Line, port: int, context: ssl.SSLContext) -> None:
    with connect(
        "wss://render.example.com/api/v1/ws",
        sock=socket.create_connection(("127.0.0.1", port)),
        ssl=context,
        server_hostname="render.example.com",
        origin="https://render.example.com",  # type: ignore[arg-type]
        additional_headers={"Authorization": f"Bearer {TOKEN}"},
        proxy=None,
    ) as messages:
        assert json.loads(messages.recv(timeout=10))["type"] == "snapshot"
        line.drop("next.json")
        while "next" not in str(messages.recv(timeout=10)):
            pass
