"""A job with its project and footage: what is it, may it be opened, and opening it."""

from __future__ import annotations

import errno
import io
import os
import shutil
import socket
import stat
import struct
import sys
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchrender import disk
from watchrender.core.failure import Code, Failure
from watchrender.core.settle import Completeness, TreeSighting
from watchrender.spool.bundle import (
    Limits,
    Shape,
    UnpackStopped,
    ZipPlan,
    bundle_listing,
    inspect_zip,
    is_bundle,
    job_name,
    look,
    read_member,
    unpack,
    zip_complete,
)

MIB = 1024 * 1024
DEFAULT = Limits()
JOB = b'{"template": {"src": "spot.aep", "composition": "Main"}}'


def pack(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def pack_infos(path: Path, *infos: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("job.json", JOB)
        for info, data in infos:
            archive.writestr(info, data)
    return path


def plan_of(path: Path, limits: Limits = DEFAULT) -> ZipPlan:
    found = inspect_zip(path, limits)
    assert isinstance(found, ZipPlan), found
    return found


def refusal(path: Path, limits: Limits = DEFAULT) -> str:
    found = inspect_zip(path, limits)
    assert isinstance(found, Failure), found
    assert found.code is Code.JOB_INVALID
    assert found.cure
    return found.message


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- what is a folder? ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["job.json", "job.yaml", "job.yml", "JOB.JSON", "Job.Yaml"])
def test_a_folder_with_a_job_at_its_top_is_a_bundle(name: str) -> None:
    assert look([name, "spot.aep", "other.json"]) == Shape(job_file=name)


@pytest.mark.parametrize("names", [[], ["spot.json"], ["job.txt", "my job.json", "job.json.bak", "job"]])
def test_a_folder_without_one_is_a_sub_folder(names: list[str]) -> None:
    found = look(names)

    assert found == Shape()
    assert isinstance(found, Shape)
    assert not found.is_bundle


def test_two_jobs_in_one_bundle_are_refused_by_name() -> None:
    found = look(["job.yaml", "Job.json", "x"])

    assert isinstance(found, Failure)
    assert found.code is Code.JOB_INVALID
    assert "Job.json and job.yaml" in found.message


def test_a_folder_with_a_status_file_is_a_returned_job_and_never_a_bundle() -> None:
    found = look(["job.json", "spot.status.json"])

    assert isinstance(found, Shape)
    assert found.status_files == ("spot.status.json",)
    assert not found.is_bundle


def test_a_folder_on_the_disk_is_asked_for_its_job(tmp_path: Path) -> None:
    assert not is_bundle(tmp_path)
    assert isinstance(job_name(tmp_path), Failure)

    (tmp_path / "Job.json").write_bytes(JOB)
    assert is_bundle(tmp_path)
    assert job_name(tmp_path) == "Job.json"

    (tmp_path / "job.yml").write_bytes(b"template: x")
    assert is_bundle(tmp_path)  # a broken one, which somebody has to hear of
    assert isinstance(job_name(tmp_path), Failure)


def test_a_folder_that_is_gone_or_not_readable_is_a_failure_in_words(tmp_path: Path) -> None:
    found = job_name(tmp_path / "gone")

    assert isinstance(found, Failure)
    assert found.code is Code.JOB_UNREADABLE


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_link_called_job_json_does_not_make_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(JOB)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "job.json").symlink_to(tmp_path / "real")

    assert not is_bundle(tmp_path / "folder")


# -- looking at a whole tree ------------------------------------------------------------------------------------


def test_a_listing_tells_size_and_time_of_everything_below(tmp_path: Path) -> None:
    (tmp_path / "footage" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "job.json").write_bytes(JOB)
    (tmp_path / "footage" / "deep" / "a.mov").write_bytes(b"x" * 10)
    os.utime(tmp_path / "job.json", ns=(5, 7_000_000_000))

    found = list(bundle_listing(tmp_path))

    assert [(path, size) for path, size, _ in found] == [
        ("empty/", 0), ("footage/", 0), ("job.json", len(JOB)), ("footage/deep/", 0), ("footage/deep/a.mov", 10),
    ]  # fmt: skip
    assert found[2][2] == 7_000_000_000


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX kinds of files")
def test_links_pipes_and_sockets_are_listed_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x").write_bytes(b"x")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "self").symlink_to(folder)
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))

        found = list(bundle_listing(folder))  # an opened pipe would hang here

    assert [(path, size) for path, size, _ in found] == [
        ("dangling", -1), ("link", -1), ("pipe", -1), ("self", -1), ("socket", -1),
    ]  # fmt: skip


def test_all_of_a_large_folder_is_listed_in_one_order_and_the_first_files_are_opened(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.mov").write_bytes(b"x" * number)

    found = list(bundle_listing(tmp_path, opened=10))

    assert sorted(size for _, size, _ in found) == list(range(30))
    assert found == list(bundle_listing(tmp_path)) == list(bundle_listing(tmp_path, opened=0))


def test_a_folder_that_is_gone_raises_and_one_gone_within_does_not(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        list(bundle_listing(tmp_path / "gone"))


def test_a_growing_file_anywhere_keeps_the_whole_folder_from_settling(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "job.json").write_bytes(JOB)
    quiet = TreeSighting.of(bundle_listing(tmp_path), at=0.0)
    assert TreeSighting.of(bundle_listing(tmp_path), at=5.0).digest == quiet.digest

    with open(tmp_path / "a" / "new.mov", "wb") as growing:
        growing.write(b"x")
        growing.flush()
        first = TreeSighting.of(bundle_listing(tmp_path), at=6.0)
        growing.write(b"y")
        growing.flush()
        second = TreeSighting.of(bundle_listing(tmp_path), at=9.0)

    assert len({quiet.digest, first.digest, second.digest}) == 3


# -- zips that are right ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_unpacked_into_a_new_folder(tmp_path: Path, compression: int) -> None:
    members = {"job.json": JOB, "spot.aep": b"aep" * 1000, "footage/clip é 🎬.mov": b"mov", "footage/empty.txt": b""}
    path = pack(tmp_path / "spot.zip", members, compression)

    plan = plan_of(path)

    assert plan.job == "job.json"
    assert set(plan.names) == set(members)
    assert plan.size == sum(map(len, members.values()))
    assert unpack(path, plan, tmp_path / "work") is None
    assert tree(tmp_path / "work") == members
    assert sorted(os.listdir(tmp_path)) == ["spot.zip", "work"]


def test_one_folder_at_the_top_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "spot.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("spot")
        archive.writestr("spot/Job.YAML", b"template: x")
        archive.writestr("spot/footage/a.mov", b"m")
        archive.writestr("__MACOSX/spot/._Job.YAML", b"junk")
        archive.writestr("spot/.DS_Store", b"junk")

    plan = plan_of(path)

    assert plan.job == "Job.YAML"
    assert set(plan.names) == {"Job.YAML", "footage/a.mov"}


def test_names_that_begin_with_the_folder_itself_are_names_at_its_top(tmp_path: Path) -> None:
    path = tmp_path / "spot.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("./", b"")
        archive.writestr("./job.json", JOB)
        archive.writestr("./footage/a.mov", b"m")

    assert set(plan_of(path).names) == {"job.json", "footage/a.mov"}
    assert unpack(path, plan_of(path), tmp_path / "work") is None
    assert tree(tmp_path / "work") == {"job.json": JOB, "footage/a.mov": b"m"}


def test_a_file_beside_the_top_folder_keeps_it(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB, "spot/a.mov": b"m"})

    assert set(plan_of(path).names) == {"job.json", "spot/a.mov"}


def test_names_that_macos_writes_without_saying_that_they_are_utf8_are_read_right(tmp_path: Path) -> None:
    path = _without_utf8_flag(tmp_path / "mac.zip", "é.png".encode())

    assert "é.png" in plan_of(path).names
    assert unpack(path, plan_of(path), tmp_path / "work") is None
    assert (tmp_path / "work" / "é.png").is_file()


def _without_utf8_flag(path: Path, name: bytes) -> Path:
    """A zip as macOS makes it: UTF-8 bytes in the name, and no flag that says so."""
    marker = b"N" * len(name)
    pack(path, {"job.json": JOB, marker.decode(): b"x"})
    path.write_bytes(path.read_bytes().replace(marker, name))
    return path


def test_one_member_is_read_without_unpacking_and_never_more_than_the_limit(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"top/job.json": JOB, "top/big.bin": b"0" * MIB})
    plan = plan_of(path)

    assert read_member(path, plan, plan.job, MIB) == JOB
    assert len(read_member(path, plan, "big.bin", 1000)) == 1001
    with pytest.raises(ValueError, match="not in the zip"):
        read_member(path, plan, "other", 10)


# -- zips that are refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("../evil.txt", "../evil.txt would leave the folder"),
        ("a/../../evil.txt", "a/../../evil.txt would leave the folder"),
        ("a/./b", "a/./b would leave the folder"),
        ("/etc/passwd", "/etc/passwd has an absolute path"),
        ("C:/x.txt", "C:/x.txt has an absolute path"),
        ("a//b", "a//b has a folder without a name"),
        ("a\\b.txt", "a\\b.txt has a backslash in its name"),
        ("..\\evil.txt", "has a backslash in its name"),
        ("CON", "Windows keeps that name for a device"),
        ("footage/nul.mov", "Windows keeps that name for a device"),
        ("trailing./x", "it ends with a dot or a blank"),
        ("ab:stream", "not every system can hold"),
        ("what?.mov", "not every system can hold"),
        ("line\nend", "not every system can hold"),
        ("x" * 250, "too long for a disk"),
        ("/".join(["x" * 40] * 30), "too long for a disk"),
        ("/".join(["x"] * 40), "lies deeper than 32 folders"),
    ],
)
def test_a_member_that_could_land_elsewhere_or_on_no_disk_is_refused_by_name(
    tmp_path: Path, member: str, words: str
) -> None:
    info = zipfile.ZipInfo("X")
    info.filename = member
    path = pack_infos(tmp_path / "spot.zip", (info, b"x"))

    message = refusal(path)

    assert message.startswith("spot.zip: ")
    assert words in message


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (stat.S_IFLNK, "is a link; pack the file itself"),
        (stat.S_IFIFO, "is neither a file nor a folder"),
        (stat.S_IFCHR, "is neither a file nor a folder"),
        (stat.S_IFSOCK, "is neither a file nor a folder"),
    ],
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: int, words: str) -> None:
    info = zipfile.ZipInfo("odd")
    info.external_attr = (kind | 0o777) << 16

    assert f"odd {words}" in refusal(pack_infos(tmp_path / "spot.zip", (info, b"/etc/passwd")))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("A.mov", "a.mov"), "are one name on many disks"),
        (("Café.mov", "Cafe\u0301.mov"), "are one name on many disks"),
        (("x/A.mov", "X/a.mov"), "are one name on many disks"),
        (("footage", "footage/a.mov"), "is a file, and footage/a.mov needs a folder there"),
        (("Footage", "footage/x/a.mov"), "is a file, and footage/x/a.mov needs a folder there"),
        (("JOB.JSON",), "holds JOB.JSON and job.json"),
        (("job.yaml",), "holds job.json and job.yaml"),
    ],
)
def test_names_that_are_one_on_some_disk_are_refused(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB} | dict.fromkeys(names, b"x"))

    assert words in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = pack_infos(tmp_path / "spot.zip", (zipfile.ZipInfo("a"), b"1"), (zipfile.ZipInfo("a"), b"2"))

    assert "a is in it twice" in refusal(path)


def test_folders_that_differ_by_case_are_merged_by_disks_that_do_and_harm_nobody(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB, "Footage/a.mov": b"1", "footage/b.mov": b"2"})

    assert unpack(path, plan_of(path), tmp_path / "work") is None


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_bounds_are_refused(tmp_path: Path, compression: int) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB}, compression)

    assert "pack it with the usual method" in refusal(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)

    assert "job.json is encrypted; pack it without a password" in refusal(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not a zip"),
        (b"hello" * 100, "is not a zip"),
        (b"Rar!\x1a\x07\x00" * 20, "is not a zip"),
        (b"PK\x03\x04" + b"x" * 100, "is cut off"),
        (b"PK\x05\x06" + b"\0" * 18, "holds no job"),
        (b"PK\x05\x06" + b"\xff" * 18, "is not a zip"),
        (b"PK\x05\x06" + struct.pack("<4H2LH", 1, 0, 1, 1, 46, 0, 0), "is one part of a zip in several"),
        (b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 1, 1, 46, 0, 0), "cannot be read as a zip"),
        (b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 20_000, 20_000, 46, 0, 0), "holds more than 10000 files"),
    ],
)
def test_what_is_no_whole_zip_is_told(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "spot.zip"
    path.write_bytes(data)

    assert words in refusal(path)


def test_a_zip_without_a_job_says_where_it_belongs(tmp_path: Path) -> None:
    assert "there is no job.json, job.yaml, job.yml at its top" in refusal(
        pack(tmp_path / "a.zip", {"x/y/job.json": JOB})
    )


def test_the_caps_on_count_single_and_total_size_hold(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB} | {f"{number}.bin": b"0" * 1000 for number in range(20)})

    assert "holds more than 20 files" in refusal(path, Limits(members=20))
    assert "0.bin would unpack to 1000B; a file may have 999B" in refusal(path, Limits(single=999))
    assert "would unpack to 19.6KiB; a bundle may have 10KiB" in refusal(path, Limits(total=10 * 1024))
    assert isinstance(inspect_zip(path, Limits(members=21, single=1000)), ZipPlan)


def test_a_dense_zip_is_refused_beyond_a_hundred_mebibytes_and_told_which_member(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB, "zeros.bin": b"\0" * (2 * MIB)})

    assert isinstance(inspect_zip(path), ZipPlan)  # below 100 MiB it may be as dense as it likes
    message = refusal(path, Limits(ratio_from=MIB))
    assert "would unpack to 2MiB, more than 100 times its size; the largest is zeros.bin" in message


# -- zips that lie ----------------------------------------------------------------------------------------------


def patched(path: Path, signature: bytes, offset: int, value: bytes, *, last: bool = False) -> Path:
    """Overwrite a field of a record of a zip."""
    data = bytearray(path.read_bytes())
    at = (data.rindex if last else data.index)(signature) + offset
    data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


def nothing_is_left(folder: Path, *known: str) -> bool:
    return sorted(os.listdir(folder)) == sorted(known)


def test_a_member_that_claims_to_be_smaller_than_it_is_is_refused_while_unpacking(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB, "zeros.bin": b"\0" * (5 * MIB)})
    patched(path, b"PK\x01\x02", 24, struct.pack("<L", 10), last=True)
    plan = plan_of(path)

    failure = unpack(path, plan, tmp_path / "work")

    assert failure is not None
    assert (failure.code, "zeros.bin" in failure.message) == (Code.JOB_INVALID, True)
    assert nothing_is_left(tmp_path, "spot.zip")


def test_a_member_that_claims_to_be_larger_than_it_is_is_refused_while_unpacking(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB, "short.bin": b"abc"})
    patched(path, b"PK\x01\x02", 24, struct.pack("<L", 1000), last=True)

    failure = unpack(path, plan_of(path), tmp_path / "work")

    assert failure is not None
    assert "short.bin" in failure.message
    assert nothing_is_left(tmp_path, "spot.zip")


def test_a_damaged_member_is_refused_while_unpacking(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB, "a.bin": b"payload" * 10}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"payload", b"PAYLOAD", 1))

    failure = unpack(path, plan_of(path), tmp_path / "work")

    assert failure is not None
    assert "a.bin cannot be unpacked" in failure.message
    assert nothing_is_left(tmp_path, "spot.zip")


def test_members_that_share_their_packed_bytes_are_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB, "a": b"0" * 5000, "b": b"0" * 5000})
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)  # of `a`
    second = data.index(b"PK\x01\x02", first + 1)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    path.write_bytes(data)

    assert "lies over another member" in refusal(path)


def test_a_list_of_members_that_hides_its_length_is_not_read_into_memory(tmp_path: Path) -> None:
    record = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    records = record * 700_000
    path = tmp_path / "spot.zip"
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(records), 0, 0)
    path.write_bytes(records + end)

    tracemalloc.start()
    try:
        message = refusal(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert "holds more than 10000 files" in message
    assert peak < 5 * MIB


def test_a_second_record_at_the_end_does_not_get_a_long_list_past_the_check(tmp_path: Path) -> None:
    record = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    records = record * 200_000
    size = len(records)
    large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 200_000, 200_000, size, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, size, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 46, 0, 0)  # it says one member; the other says 200 000
    path = tmp_path / "spot.zip"
    path.write_bytes(records + large + locator + end)

    tracemalloc.start()
    try:
        refusal(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 5 * MIB


def test_a_zip_that_was_exchanged_after_it_was_judged_is_not_unpacked(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB})
    plan = plan_of(path)
    pack(path, {"job.json": JOB, "more.bin": b"x"})

    failure = unpack(path, plan, tmp_path / "work")

    assert failure is not None
    assert "was changed" in failure.message
    assert nothing_is_left(tmp_path, "spot.zip")


SAMPLE = {"job.json": JOB, "spot.aep": b"aep" * 50, "footage/a.mov": bytes(range(256))}


def sample_bytes(compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in SAMPLE.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]).map(sample_bytes),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4),
)
def test_a_zip_damaged_anywhere_is_unpacked_refused_in_words_and_never_half(
    tmp_path: Path, data: bytes, damages: list[tuple[int, bytes]]
) -> None:
    damaged = bytearray(data)
    for where, value in damages:
        at = where % len(damaged)
        damaged[at : at + len(value)] = value
    base = Path(tempfile.mkdtemp(dir=tmp_path))
    path = base / "spot.zip"
    path.write_bytes(damaged)

    zip_complete(path)
    found = inspect_zip(path)
    failure = unpack(path, found, base / "work") if isinstance(found, ZipPlan) else found

    if failure is None:
        assert isinstance(found, ZipPlan)
        assert set(tree(base / "work")) == set(found.names)
    else:
        assert failure.code is Code.JOB_INVALID
        failure.message.encode("utf-8")
        assert nothing_is_left(base, "spot.zip")
    shutil.rmtree(base)


def test_a_zip_with_the_long_records_of_large_ones_is_a_zip(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", SAMPLE)
    data = path.read_bytes()
    _, _, _, _, members, list_size, list_offset, _ = struct.unpack("<4s4H2LH", data[-22:])
    large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, members, members, list_size, list_offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(data) - 22, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(data[:-22] + large + locator + end)

    assert zip_complete(path) is Completeness.OPAQUE
    assert set(plan_of(path).names) == set(SAMPLE)
    many = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 99_999, 99_999, list_size, list_offset)
    path.write_bytes(data[:-22] + many + locator + end)
    assert "holds more than 10000 files" in refusal(path)


# -- unpacking that is cut off ----------------------------------------------------------------------------------


def test_unpacking_can_be_stopped_and_leaves_nothing(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB, "a.bin": b"0" * MIB})

    with pytest.raises(UnpackStopped):
        unpack(path, plan_of(path), tmp_path / "work", should_stop=lambda: True)

    assert nothing_is_left(tmp_path, "spot.zip")


def test_what_an_earlier_life_left_half_unpacked_is_removed_first(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB})
    (tmp_path / ".work.unpacking").mkdir()
    (tmp_path / ".work.unpacking" / "junk").touch()

    assert unpack(path, plan_of(path), tmp_path / "work") is None
    assert tree(tmp_path / "work") == {"job.json": JOB}


def test_a_target_that_is_there_is_never_touched(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB})
    (tmp_path / "work").mkdir()

    with pytest.raises(FileExistsError):
        unpack(path, plan_of(path), tmp_path / "work")

    assert tree(tmp_path / "work") == {}
    assert nothing_is_left(tmp_path, "spot.zip", "work")


def test_a_full_disk_is_the_disks_fault_not_the_zips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB})
    faults = tmp_path / "faults"
    faults.write_text("ENOSPC *.unpacking")
    monkeypatch.setattr("watchrender.disk._hooks", disk._Hooks({"WATCHRENDER_FAULTS": str(faults)}))

    with pytest.raises(OSError) as refused:
        unpack(path, plan_of(path), tmp_path / "work")

    assert refused.value.errno == errno.ENOSPC


# -- complete or not --------------------------------------------------------------------------------------------


def test_a_zip_tells_by_its_end_whether_it_may_be_all_there(tmp_path: Path) -> None:
    path = pack(tmp_path / "spot.zip", {"job.json": JOB, "a.bin": os.urandom(1000)})
    data = path.read_bytes()
    assert zip_complete(path) is Completeness.OPAQUE  # only time can tell

    for cut in (0, 1, 3, 4, 100, len(data) // 2, len(data) - 22, len(data) - 1):
        path.write_bytes(data[:cut])
        assert zip_complete(path) is Completeness.CUT_OFF, cut
    path.write_bytes(data[:-100] + b"\0" * 100)
    assert zip_complete(path) is Completeness.CUT_OFF
    path.write_bytes(b"\0" * 5000)
    assert zip_complete(path) is Completeness.CUT_OFF


def test_what_is_no_zip_is_broken_at_once(tmp_path: Path) -> None:
    path = tmp_path / "spot.zip"
    path.write_bytes(b"hello")

    assert zip_complete(path) is Completeness.BROKEN


def test_a_zip_with_a_comment_and_one_behind_other_bytes_are_zips(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = b"made by hand"
        archive.writestr("job.json", JOB)
    path = tmp_path / "spot.zip"
    path.write_bytes(b"#!/bin/sh\n" + buffer.getvalue())

    assert zip_complete(path) is Completeness.OPAQUE
    assert plan_of(path).job == "job.json"
