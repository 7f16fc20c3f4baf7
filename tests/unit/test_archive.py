# SPDX-License-Identifier: MIT
"""Archives: what goes in comes out, and what a hostile host sends goes nowhere."""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pybatch_async as pb
from pybatch_async.protocols.archive import CHUNK, END, PART, Member, tar_stream
from pybatch_async.protocols.files.copying import Receiver, expected_names
from pybatch_async.protocols.files.placing import Target, find_target
from pybatch_async.protocols.files.unpack import Unpacker

# Names of unfinished copies (archive.PART) are the library's own: it copies none of them.
NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..") and not name.startswith(PART) and len(name.encode()) <= 255
)
ROUNDS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def packed(*members: Member) -> bytes:
    return b"".join([chunk async for chunk in tar_stream(members)])


def archive(*entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:
    """Make an archive that says whatever it is told to."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format, errors="surrogateescape") as tar:
        for entry in entries:
            info, content = entry if isinstance(entry, tuple) else (entry, b"")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime = kind, target, mode, 1_000_000_000
    return info


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[..., Path]:
    """Unpack an archive, in pieces of a size, into a new directory."""
    count = iter(range(1_000_000))

    def unpack(data: bytes, piece: int = 1 << 20) -> Path:
        root = tmp_path / "outer" / str(next(count))
        root.mkdir(parents=True)
        unpacker = Unpacker(root)
        try:
            for start in range(0, len(data), piece):
                unpacker.feed(data[start : start + piece])
            unpacker.finish()
        finally:
            unpacker.close()
        return root

    return unpack


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# Packing


async def test_archive_is_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o750)
    (tmp_path / "d" / "f").write_bytes(b"x" * 1000)
    (tmp_path / "d" / "l").symlink_to("f")
    data = await packed(Member("script", b"#!/bin/sh\n", 0o755), Member("in/put", tmp_path / "d"))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["script", "in/put", "in/put/f", "in/put/l", END]
        assert [stat.filemode(tar.getmember(name).mode) for name in ("script", "in/put")] == [
            "?rwxr-xr-x",
            "?rwxr-x---",
        ]
        assert tar.getmember("in/put/l").linkname == "f"
        assert {member.uname for member in tar} == {""}


async def test_memory_is_bounded_and_small_files_share_a_chunk(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / str(number)).write_bytes(bytes(2000))
    (tmp_path / "large").write_bytes(bytes(3 * CHUNK))
    sizes = [len(chunk) async for chunk in tar_stream([Member("all", tmp_path)])]
    assert max(sizes) <= 2 * CHUNK
    assert len(sizes) <= 5


async def test_a_missing_file_is_named() -> None:
    with pytest.raises(pb.PathMissing, match="/no/such"):
        await packed(Member("x", Path("/no/such")))


def readable_file(directory: str) -> Path:
    return next(path for path in Path(directory).iterdir() if path.is_file() and os.access(path, os.R_OK))


async def test_file_that_shrinks_under_way_is_an_error() -> None:
    # The size of files in /proc and of some in /sys is not what they hold: here 4096 against a few bytes.
    shrinking = readable_file("/sys/kernel")
    with pytest.raises(pb.TransferFailed, match="shorter"):
        await packed(Member("x", shrinking))


async def test_set_user_id_bits_stay_behind(tmp_path: Path) -> None:
    (tmp_path / "tool").touch()
    (tmp_path / "tool").chmod(0o6755)
    with tarfile.open(fileobj=io.BytesIO(await packed(Member("tool", tmp_path / "tool")))) as tar:
        assert tar.getmember("tool").mode == 0o755


# There and back


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("piece", [1, 100, 512, 1 << 20])
def test_every_format_and_piece_size_is_read(unpack: Callable[..., Path], format: int, piece: int) -> None:
    long = "/".join(["é" * 70] * 5)
    root = unpack(
        archive(
            named("./top/", tarfile.DIRTYPE, mode=0o2755),
            (named("./top/file", mode=0o6751), b"content" * 200),
            (named(f"top/{long}"), b"long"),
            named("top/link", tarfile.SYMTYPE, "t" * 200),
            named("top/hard", tarfile.LNKTYPE, "./top/file"),
            (named("top/empty"), b""),
            format=format,
        ),
        piece,
    )
    assert contents(root) == {
        "top/file": b"content" * 200,
        "top/hard": b"content" * 200,
        f"top/{long}": b"long",
        "top/empty": b"",
    }
    assert os.readlink(root / "top" / "link") == "t" * 200
    assert stat.S_IMODE((root / "top" / "file").stat().st_mode) == 0o751 & ~umask()
    assert stat.S_IMODE((root / "top").stat().st_mode) == 0o755 & ~umask()
    assert (root / "top" / "file").stat().st_mtime == (root / "top").stat().st_mtime == 1_000_000_000


def umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@ROUNDS
@given(files=st.dictionaries(NAMES, st.binary(max_size=3000), max_size=5), piece=st.integers(1, 5000))
async def test_any_names_and_contents_come_back(
    unpack: Callable[..., Path], files: dict[str, bytes], piece: int
) -> None:
    data = await packed(*(Member(f"tree/{name}", content) for name, content in files.items()))
    assert contents(unpack(data, piece)) == {f"tree/{name}": content for name, content in files.items()} | {END: b""}


@pytest.mark.parametrize("name", ["socket", "fifo"])
async def test_a_socket_or_a_fifo_is_left_out_of_a_directory_but_refused_by_name(
    tmp_path: Path, unpack: Callable[..., Path], name: str
) -> None:
    (tmp_path / "d").mkdir()
    make_special(tmp_path / "d" / name)
    assert list((unpack(await packed(Member("d", tmp_path / "d"))) / "d").iterdir()) == []
    with pytest.raises(pb.TransferFailed, match="neither a file nor a directory"):
        await packed(Member("s", tmp_path / "d" / name))


def make_special(path: Path) -> None:
    if path.name == "fifo":
        os.mkfifo(path)
        return
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(str(path))


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_what_is_special_in_a_directory_is_never_made(unpack: Callable[..., Path], kind: bytes) -> None:
    special, link = named("d/special", kind), named("d/again", tarfile.LNKTYPE, "d/special")
    root = unpack(archive(named("d", tarfile.DIRTYPE), special, link, (named("d/f"), b"f"), named(END)))
    assert contents(root) == {"d/f": b"f", END: b""}


@ROUNDS
@given(st.data())
async def test_archive_cut_anywhere_is_refused(unpack: Callable[..., Path], data: st.DataObject) -> None:
    whole = await packed(Member("a", b"x" * 700), Member("b", b"y"))
    cut = data.draw(st.integers(0, len(whole) - 1024))
    with pytest.raises(pb.TransferFailed, match="did not arrive whole"):
        unpack(whole[:cut])


# Hostile archives

HOSTILE: dict[str, Iterable[tarfile.TarInfo]] = {
    "absolute": [named("/tmp/owned")],
    "upward": [named("a/../../owned")],
    "upward alone": [named("..", tarfile.DIRTYPE)],
    "through a symlink": [named("d", tarfile.SYMTYPE, ".."), named("d/owned")],
    "through a symlink, late": [named("d", tarfile.SYMTYPE, "/tmp"), named("x"), named("d/e/owned")],
    "a directory over a symlink": [named("d", tarfile.SYMTYPE, ".."), named("d", tarfile.DIRTYPE), named("d/owned")],
    "a symlink over a directory": [named("d", tarfile.DIRTYPE), named("d", tarfile.SYMTYPE, "..")],
    "below a file": [named("f"), named("f/owned")],
    "twice": [named("f"), named("f")],
    "hard link to outside": [named("f", tarfile.LNKTYPE, "/etc/passwd")],
    "hard link upward": [named("f", tarfile.LNKTYPE, "../secret")],
    "hard link to a symlink": [named("s", tarfile.SYMTYPE, "/etc/passwd"), named("f", tarfile.LNKTYPE, "s")],
    "hard link to a directory": [named("d", tarfile.DIRTYPE), named("f", tarfile.LNKTYPE, "d")],
    "hard link to nothing": [named("f", tarfile.LNKTYPE, "nothing")],
    "character device": [named("null", tarfile.CHRTYPE)],
    "block device": [named("disk", tarfile.BLKTYPE)],
    "fifo": [named("pipe", tarfile.FIFOTYPE)],
    "sparse": [named("holes", tarfile.GNUTYPE_SPARSE)],
    "no name": [named(".")],
    "long name": [named("n" * 300)],
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
def test_hostile_member_is_refused(tmp_path: Path, unpack: Callable[..., Path], entries: list[tarfile.TarInfo]) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(pb.TransferFailed):
        unpack(archive(*entries))
    assert not list(tmp_path.rglob("owned"))
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("pax", [{"path": "../owned"}, {"path": "/tmp/owned"}, {"path": "a\0b"}, {"size": "-5"}])
def test_hostile_pax_header_is_refused(unpack: Callable[..., Path], pax: dict[str, str]) -> None:
    info = named("harmless")
    info.pax_headers = pax
    with pytest.raises(pb.TransferFailed):
        unpack(archive((info, b"x"), format=tarfile.PAX_FORMAT))


@ROUNDS
@given(st.binary(min_size=512, max_size=3000).filter(lambda data: any(data[:512])))
def test_what_is_no_archive_is_refused(unpack: Callable[..., Path], data: bytes) -> None:
    with pytest.raises(pb.TransferFailed):
        unpack(data)


@ROUNDS
@given(st.data())
def test_damaged_archive_writes_nothing_outside(
    tmp_path: Path, unpack: Callable[..., Path], data: st.DataObject
) -> None:
    whole = bytearray(
        archive(named("d", tarfile.DIRTYPE), (named("d/f"), b"x" * 600), named("l", tarfile.SYMTYPE, "d"))
    )
    for _ in range(data.draw(st.integers(1, 20))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(bytes(whole), data.draw(st.integers(1, 3000)))
    except pb.TransferFailed:
        pass
    assert sorted(os.listdir(tmp_path)) == ["outer"]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (["result"], [".bashrc"]),
        (["result"], ["result", ".bashrc"]),
        (["a", "b"], ["a"]),
        (["."], [".ssh/authorized_keys"]),
        (["."], ["one/x", "two/x"]),
        (["."], ["file"]),
    ],
)
async def test_what_was_not_asked_for_is_not_put_in_place(tmp_path: Path, asked: list[str], sent: list[str]) -> None:
    with pytest.raises(pb.TransferFailed, match="not what was asked for"):
        async with Receiver(Target(tmp_path, None), asked, "mark", "gaia") as receiver:
            await receiver.take(b"noise mark\n" + archive(*(named(name) for name in sent)))
            await receiver.flush()
            await receiver.finish()
    assert not os.listdir(tmp_path)


def test_names_that_only_the_host_knows_are_counted() -> None:
    assert expected_names(["a/b", "/c/", "d/.", "./~"]) == ({"b", "c", "d", "~"}, 0)
    assert expected_names([".", "..", "~", "~/", "a/..", "~/x"]) == ({"x"}, 5)


@pytest.mark.parametrize(("path", "count"), [("no/new", 1), ("new/", 1), ("new", 2), ("no/..", 1)])
def test_place_that_does_not_exist_is_named(tmp_path: Path, path: str, count: int) -> None:
    with pytest.raises(pb.PathMissing, match=path):
        find_target(f"{tmp_path}/{path}", count)
