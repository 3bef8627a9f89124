"""The hot folder on a real SMB server (Debian's smbd on loopback), and another machine that keeps files open there.

Two arrangements, as people have them: the service sees the share as a mount, where the server's refusals reach it; and
the service runs on the file server itself, where the folder is a local one that others reach by SMB. A kernel's own SMB
client is not on every machine, so the mount is FUSE that speaks the protocol by smbprotocol (`smb_mount.py`): the
refusals are the server's, the errors those that Linux makes of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuse import Mount, cannot_mount
from tests.line import Line, serving, until
from tests.process import Lived, living
from tests.smb import SmbClient, SmbServer, cannot_serve
from watchrender import finish

pytestmark = [
    pytest.mark.samba,
    pytest.mark.skipif((cannot_serve() or cannot_mount()) is not None, reason=cannot_serve() or cannot_mount() or ""),
]

_LONG = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SmbServer]:
    folder = tmp_path / "exported"
    folder.mkdir()
    made = SmbServer(folder)
    yield made
    made.end()


@pytest.fixture
def client(server: SmbServer) -> Iterator[SmbClient]:
    made = server.client()
    yield made
    made.close()


@pytest.fixture
def home(tmp_path: Path, server: SmbServer) -> Iterator[Path]:
    """A home whose `root` is the share, mounted."""
    folder = tmp_path / "home"
    root = folder / "root"
    mount = Mount("tests.smb_mount", root, str(server.port), server.user, str(root))
    yield folder
    mount.end()


def test_files_that_another_client_keeps_open_at_claim_and_at_delivery_are_waited_for(
    home: Path, client: SmbClient
) -> None:
    lived = Lived(home)
    with living(lived):
        assert (lived.said()["health"]["share"], lived.said()["health"]["volume"]) == (True, "fuse.smb")
        (lived.root / "inbox" / "_PAUSE").touch()
        until(lambda: lived.said().get("paused"), _LONG)
        client.write("inbox/p90_held.json", json.dumps(lived.job()).encode())
        client.write("inbox/free.json", json.dumps(lived.job()).encode())
        for name in ("held", "free"):
            lived.wait(name, "queued", _LONG)
        opened = client.open("inbox/p90_held.json")
        (lived.root / "inbox" / "_PAUSE").unlink()

        lived.wait("free", "completed", _LONG)
        waits = until(lambda: (s := lived.status("held")).get("waiting_for") and s, _LONG)
        assert (waits["state"], waits["attempts"]) == ("queued", [])
        assert "p90_held.json" in waits["waiting_for"][0] and "open" in waits["waiting_for"][0]
        opened.close()
        done = lived.wait("held", "completed", _LONG)
        assert (done["attempt"], len(done["attempts"]), done["waiting_for"]) == (1, 1, [])

        (lived.root / "inbox" / "_PAUSE").touch()
        until(lambda: lived.said().get("paused"), _LONG)
        client.write("inbox/p90_late.json", json.dumps(lived.job()).encode())
        lived.wait("late", "queued", _LONG)
        opened = client.open("inbox/p90_late.json", shared="rwd")  # so it may be moved, but not the folder around it
        (lived.root / "inbox" / "_PAUSE").unlink()
        client.write("inbox/next.json", json.dumps(lived.job()).encode())
        lived.wait("next", "completed", _LONG)
        late = until(lambda: (s := lived.status("late")).get("waiting_for") and s, _LONG)
        assert (late["state"], late["progress"]["stage"]) == ("rendering", "delivering")
        assert "active/late" in late["waiting_for"][0].replace("\\", "/") and "late" not in client.listing("done")
        opened.close()
        done = lived.wait("late", "completed", _LONG)
        assert (len(done["attempts"]), done["waiting_for"]) == (1, [])
        assert {"p90_late.json", "late.mp4", "late.status.json", "late.log"} <= set(client.listing("done/late"))
        assert client.listing("active") == []
        assert "a fault in watchrender itself" not in lived.output()
        assert lived.terminate() == 0


def test_a_film_whose_folder_stays_open_is_copied_away_in_the_end(
    home: Path, client: SmbClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "COPY_AFTER_SECONDS", 1.0)
    line = Line(home)
    line.mark("_PAUSE")
    with serving(line):
        line.drop("held.json")
        line.wait("held", "queued", _LONG)
        opened = client.open("inbox/held.json", shared="rwd")
        (line.root / "inbox" / "_PAUSE").unlink()

        done = line.wait("held", "completed", _LONG)

        assert done["folder"] == "done/held"
        assert {"held.json", "held.mp4", "held.status.json"} <= set(client.listing("done/held"))
        assert client.listing("active/held") == ["held.json"]
        opened.close()
        until(lambda: client.listing("active") == [], _LONG)


def test_a_reader_of_a_status_file_sees_a_whole_one_and_does_not_stop_the_next(home: Path, client: SmbClient) -> None:
    line = Line(home)
    line.mark("_PAUSE")
    with serving(line):
        line.drop("read.json")
        line.wait("read", "queued", _LONG)
        opened = client.open("status/read.status.json")
        (line.root / "inbox" / "_PAUSE").unlink()

        line.wait("read", "completed", _LONG)

        assert json.loads(opened.read())["state"] == "queued"
        opened.close()


def test_on_the_file_server_itself_nobody_outside_holds_up_a_job(
    tmp_path: Path, server: SmbServer, client: SmbClient
) -> None:
    lived = Lived(tmp_path / "home")
    lived.change(root=str(tmp_path / "exported"))
    lived.root = tmp_path / "exported"
    (lived.root / "inbox").mkdir()
    (lived.root / "inbox" / "_PAUSE").touch()
    with living(lived):
        client.write("inbox/held.json", json.dumps(lived.job()).encode())
        lived.wait("held", "queued", _LONG)
        opened = [client.open("inbox/held.json"), client.open("status/held.status.json")]
        (lived.root / "inbox" / "_PAUSE").unlink()
        done = lived.wait("held", "completed", _LONG)
        assert (len(done["attempts"]), client.listing("done/held").count("held.mp4")) == (1, 1)
        for file in opened:
            assert json.loads(file.read())
            file.close()
        assert lived.terminate() == 0
