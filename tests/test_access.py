"""A path or address that a job names is one it may use, or deliver to, or it is refused with what would allow it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from watchrender.config import ConfigError, load
from watchrender.core.access import NO_SETTING, Facts, Policy, delivery_target, source_objection
from watchrender.core.failure import Code, Failure
from watchrender.core.paths import Rule

ROOT = "/mnt/renders"
LINKS = {
    "/mnt/footage/link": "/etc",
    "/mnt/renders/out/link": "/etc",
    "/mnt/renders-link": ROOT,
    "/mnt/renders/films": "/mnt/renders/inbox",
}


def resolved(path: str) -> str:
    """A realpath over a made-up table of links."""
    for link, target in LINKS.items():
        if path == link or path.startswith(f"{link}/"):
            return target + path[len(link) :]
    return path


FACTS = Facts(
    root=ROOT,
    base=f"{ROOT}/inbox/clientA",
    windows=False,
    realpath=resolved,
    reserved=tuple(f"{ROOT}/{name}" for name in ("inbox", "active", "failed", "cancelled", "status")),
)
WINDOWS = Facts(
    root="\\\\nas\\renders",
    base="\\\\nas\\renders\\inbox",
    windows=True,
    realpath=lambda path: path,
    root_server="nas",
)


# -- roots, servers, links -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("src", "allowed"),
    [
        ("/mnt/footage/x.png", True),
        ("/mnt/footage/sub/x.png", True),
        ("/mnt/footage/../secret/x.png", False),
        ("/mnt/footages/x.png", False),
        ("/mnt/footage/link/passwd", False),
        ("/etc/passwd", False),
        ("x.png", False),
        ("file:///mnt/footage/%2e%2e/x.png", False),
    ],
)
def test_a_list_of_roots_means_only_there_with_links_resolved(src: str, allowed: bool) -> None:
    policy = Policy(roots=("/mnt/footage",))

    objection = source_objection(src, path="assets[0].src", facts=FACTS, policy=policy)

    assert (objection is None) is allowed
    assert objection is None or "policy.roots" in objection.cure


def test_without_a_list_any_disk_of_this_machine_is_open() -> None:
    for src in ("/etc/hosts", "/mnt/footage/link/x", "x.png"):
        assert source_objection(src, path="x", facts=FACTS, policy=Policy()) is None


def test_what_was_dropped_with_the_job_is_the_jobs_even_with_a_list_of_roots() -> None:
    own = f"{ROOT}/inbox/clientA/bundle"
    facts = replace(FACTS, base=own, own=own)
    policy = Policy(roots=("/mnt/footage",))

    assert source_objection("footage/x.png", path="x", facts=facts, policy=policy) is None
    assert source_objection("../x.png", path="x", facts=facts, policy=policy) is not None


@pytest.mark.parametrize(
    ("src", "policy", "allowed"),
    [
        ("\\\\nas\\footage\\x.png", Policy(), True),
        ("\\\\NAS\\footage\\x.png", Policy(), True),
        ("C:\\footage\\x.png", Policy(), True),
        ("x.png", Policy(), True),
        ("\\\\evil\\share\\x.png", Policy(), False),
        ("file://evil/share/x.png", Policy(), False),
        ("\\\\?\\UNC\\evil\\share\\x.png", Policy(), False),
        ("file:////evil/share/x.png", Policy(), False),
        ("\\\\archive\\share\\x.png", Policy(hosts=("archive",)), True),
        ("\\\\archive\\share\\x.png", Policy(roots=("\\\\archive\\share",)), True),
        ("\\\\archive\\other\\x.png", Policy(roots=("\\\\archive\\share",)), False),
        ("\\\\nas\\footage\\x.png", Policy(roots=("D:\\media",)), False),
        ("d:/MEDIA/x.png", Policy(roots=("D:\\media",)), True),
    ],
)
def test_on_windows_only_the_server_of_the_root_and_listed_ones_are_open(
    src: str, policy: Policy, allowed: bool
) -> None:
    objection = source_objection(src, path="x", facts=WINDOWS, policy=policy)

    assert (objection is None) is allowed


def test_links_are_never_resolved_on_a_server_that_is_not_allowed() -> None:
    asked: list[str] = []

    def realpath(path: str) -> str:
        asked.append(path)
        return path

    facts = replace(WINDOWS, realpath=realpath)
    policy = Policy(roots=("D:\\media",))
    source_objection("\\\\evil\\share\\x.png", path="x", facts=facts, policy=policy)
    delivery_target("\\\\evil\\share\\x.mp4", path="x", facts=facts, policy=policy)

    assert asked == []


def test_a_path_of_another_machine_fails_at_once_and_path_map_brings_it_here() -> None:
    objection = source_objection("M:\\x.aep", path="template.src", facts=FACTS, policy=Policy())
    mapped = replace(FACTS, rules=(Rule(origin="M:/", target="/mnt/media"),))

    assert objection is not None
    assert (objection.code, "path_map" in objection.cure) == (Code.TEMPLATE_MISSING, True)
    assert source_objection("M:\\x.aep", path="template.src", facts=mapped, policy=Policy()) is None


def test_nobody_is_sent_to_add_a_scheme_that_the_configuration_refuses() -> None:
    for scheme in ("ftp", "s3", "gopher"):
        objection = source_objection(f"{scheme}://b/x.png", path="x", facts=FACTS, policy=Policy())
        assert objection is not None and "policy.schemes can allow file, http, https, data and nothing else" in (
            objection.cure
        )
        with pytest.raises(ConfigError):
            load(f"root: /x\npolicy: {{schemes: [{scheme}]}}", "watchrender.yaml", {})


def test_schemes_can_be_taken_away() -> None:
    only_files = Policy(schemes=("file",))

    for src in ("https://example.com/x.png", "data:image/png;base64,AA=="):
        objection = source_objection(src, path="x", facts=FACTS, policy=only_files)
        assert objection is not None and "policy.schemes" in objection.cure
    assert source_objection("x.png", path="x", facts=FACTS, policy=Policy(schemes=("http",))) is not None


def test_listed_hosts_open_what_is_inside() -> None:
    policy = Policy(hosts=("wiki", "10.0.0.0/8", "*.local", "intern.example:8080"))
    for src in ("http://wiki/x", "http://10.1.2.3/x", "https://nas.local/x", "http://intern.example:8080/x"):
        assert source_objection(src, path="x", facts=FACTS, policy=policy) is None
    for src in ("http://wiki2/x", "http://11.0.0.1.local.evil/x", "http://192.168.0.1/x", "http://local/x"):
        objection = source_objection(src, path="x", facts=FACTS, policy=policy)
        assert (objection is None) is (src == "http://11.0.0.1.local.evil/x")


# -- deliveries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("/mnt/renders/out/x.mp4", "/mnt/renders/out/x.mp4"),
        ("/mnt/renders/out/", "/mnt/renders/out/"),
        ("file:///mnt/renders/out/a%20b.mp4", "/mnt/renders/out/a b.mp4"),
        ("out/x.mp4", "/mnt/renders/out/x.mp4"),
        ("/mnt/renders/out/{job}.{ext}", "/mnt/renders/out/{job}.{ext}"),
        ("/mnt/renders-link/out/x.mp4", "/mnt/renders-link/out/x.mp4"),
        ("/mnt/renders/done/x.mp4", "/mnt/renders/done/x.mp4"),
        ("/mnt/renders/out/../../x.mp4", "policy.roots"),
        ("/mnt/renders/out/link/x.mp4", "policy.roots"),
        ("/mnt/elsewhere/x.mp4", "policy.roots"),
        ("/mnt/renders/inbox/x.json", NO_SETTING),
        ("/mnt/renders/films/x.mp4", NO_SETTING),
        ("/mnt/renders/status", NO_SETTING),
        ("D:\\out\\x.mp4", "path_map"),
        ("\\\\evil\\share\\x.mp4", "path_map"),
        ("https://example.com/x", "under the root"),
    ],
)
def test_deliveries_go_under_the_root_only(text: str, target: str) -> None:
    found = delivery_target(text, path="output", facts=FACTS, policy=Policy())

    assert target in (found.cure if isinstance(found, Failure) else found)
    assert isinstance(found, Failure) or found == target


def test_a_list_of_roots_is_where_deliveries_go() -> None:
    policy = Policy(roots=("/mnt/films",))

    assert delivery_target("/mnt/films/x.mp4", path="output", facts=FACTS, policy=policy) == "/mnt/films/x.mp4"
    assert isinstance(delivery_target("/mnt/renders/x.mp4", path="output", facts=FACTS, policy=policy), Failure)


def test_a_windows_delivery_keeps_its_slash() -> None:
    assert delivery_target("//nas/renders/out/", path="output", facts=WINDOWS, policy=Policy()) == (
        "\\\\nas\\renders\\out\\"
    )
