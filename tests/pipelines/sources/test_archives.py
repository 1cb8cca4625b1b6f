from __future__ import annotations

import contextlib
import io
import stat
import struct
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.archives import ArchiveError, has_unsafe_name, tar_members, zip_members
from pipelines.sources.pull import PullReader

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def make_tar(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT, **pax: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, pax_headers=pax) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def reader(data: bytes, chunk: int = 700) -> PullReader:
    return PullReader(data[start : start + chunk] for start in range(0, len(data), chunk))


def read_tar(data: bytes) -> tuple[list[tuple[str, bytes]], list[ArchiveError]]:
    """(name and content of the good files, errors)."""
    files: list[tuple[str, bytes]] = []
    errors: list[ArchiveError] = []
    for member in tar_members(reader(data)):
        try:
            files.append((member.name, member.read(1 << 20)))
        except ArchiveError as error:
            errors.append(error)
    return files, errors


NAMES = st.lists(
    st.text(alphabet="ab\u00e4\u4e2d/", min_size=1, max_size=90).map(
        lambda name: name.replace("//", "x").strip("/") or "n"
    ),
    unique=True,
    max_size=5,
)


@given(NAMES, st.data())
def test_reads_what_python_writes(names: list[str], data: st.DataObject) -> None:
    """All three formats; long and non-ASCII names need extended headers."""
    files = {name: data.draw(st.binary(max_size=1_500)) for name in names}
    for format in FORMATS[1:]:
        assert read_tar(make_tar(files, format)) == (list(files.items()), [])


def test_ustar_prefixes() -> None:
    name = "folder/" * 20 + "file"
    assert read_tar(make_tar({name: b"x"}, tarfile.USTAR_FORMAT)) == ([(name, b"x")], [])


def test_content_need_not_be_read() -> None:
    data = make_tar({"a": b"a" * 5_000, "b": b"b" * 10, "c": b"c"})
    names = [member.name for member in tar_members(reader(data))]
    assert names == ["a", "b", "c"]
    first_bytes = [member.read(2) for member in tar_members(reader(data))]
    assert first_bytes == [b"aa", b"bb", b"c"]


@given(st.integers(0, 4_095))
def test_a_cut_tar_is_a_prefix_and_one_error(cut: int) -> None:
    files = {"a": b"a" * 600, "b" * 120: b"b" * 10, "c": b"c"}
    data = make_tar(files)
    good, errors = read_tar(data[:cut])
    assert good == list(files.items())[: len(good)]
    assert [error.kind for error in errors] == ["truncated"]


@given(st.integers(0, 511), st.integers(0, 7))
def test_a_damaged_header_is_found_out(position: int, bit: int) -> None:
    data = bytearray(make_tar({"a": b"x", "b": b"y"}, tarfile.USTAR_FORMAT))
    data[1024 + position] ^= 1 << bit
    good, errors = read_tar(bytes(data))
    harmless = good == [("a", b"x"), ("b", b"y")]  # padding of the checksum field
    assert harmless or (good == [("a", b"x")] and [e.kind for e in errors] == ["corrupt"])


def test_kinds_of_members_and_the_commit() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", pax_headers={"comment": commit}) as archive:
        for name, type in [
            ("file", tarfile.REGTYPE),
            ("link", tarfile.SYMTYPE),
            ("hard", tarfile.LNKTYPE),
            ("folder", tarfile.DIRTYPE),
            ("pipe", tarfile.FIFOTYPE),
            ("disk", tarfile.BLKTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.type = type
            info.linkname = "/etc/passwd"
            archive.addfile(info)
    members = list(tar_members(reader(buffer.getvalue())))
    assert [member.kind for member in members] == [
        "file", "link", "link", "folder", "device", "device",
    ]  # fmt: skip
    assert {member.commit for member in members} == {commit}


def test_huge_sizes_in_headers_take_no_memory() -> None:
    data = bytearray(make_tar({"a": b"x"}, tarfile.USTAR_FORMAT))
    for type in (b"0", b"x", b"L"):
        data[124:136] = b"\x80\0\0\0" + struct.pack(">Q", 1 << 60)
        data[156:157] = type
        data[148:156] = b" " * 8
        data[148:156] = b"%06o\0 " % sum(data[:512])
        _, errors = read_tar(bytes(data))
        assert len(errors) == 1


def make_zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_zip_members_in_order_of_their_offsets() -> None:
    files = {"b": b"bb" * 100, "a/": b"", "a/c": b"c"}
    members = list(zip_members(io.BytesIO(make_zip(files))))
    assert [(member.name, member.kind) for member in members] == [
        ("b", "file"),
        ("a/", "folder"),
        ("a/c", "file"),
    ]
    assert [member.read(1_000) for member in members] == [b"bb" * 100, b"", b"c"]
    assert members[0].read(3) == b"bbb"
    assert [member.offset for member in members] == sorted(member.offset for member in members)


def test_zip_links_and_encrypted_members() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("secret", "x")
    data = bytearray(buffer.getvalue())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 8] |= 1
    link_member, secret = zip_members(io.BytesIO(data))
    assert link_member.kind == "link"
    with pytest.raises(ArchiveError, match="encrypted"):
        secret.read(10)


def test_zip_damage() -> None:
    data = make_zip({"a": b"content " * 100, "b": b"fine"})
    with pytest.raises(ArchiveError, match="no zip directory"):
        list(zip_members(io.BytesIO(data[:-30])))
    broken = bytearray(data)
    broken[40] ^= 0xFF
    first, second = zip_members(io.BytesIO(broken))
    with pytest.raises(ArchiveError):
        first.read(10_000)
    assert second.read(10) == b"fine"


@given(st.integers(0, 8 * 200), st.sampled_from(["a", "\u00e4"]))
def test_no_flipped_bit_gives_another_error(bit: int, name: str) -> None:
    data = bytearray(make_zip({name: b"content " * 10, "b": b"fine"}))
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    try:
        members = list(zip_members(io.BytesIO(data)))
    except ArchiveError:
        return
    for member in members:
        with contextlib.suppress(ArchiveError):
            member.read(1_000)


def test_overlapping_zip_members_are_refused() -> None:
    """The bomb of D. Fifield (WOOT 2019): every directory entry points to the same stream."""
    data = make_zip({"a": b"0" * 10_000, "b": b"0" * 10_000})
    second = data.rindex(b"PK\x01\x02")
    bomb = bytearray(data)
    bomb[second + 42 : second + 46] = bytes(4)
    first, copy = zip_members(io.BytesIO(bomb))
    assert len(first.read(20_000)) == 10_000
    with pytest.raises(ArchiveError, match="shares bytes"):
        copy.read(10)


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "C:\\x", "..\\x", "\\\\host\\x", "a\x1b[2Jb", "a\0b", ""],
)
def test_unsafe_names(name: str) -> None:
    assert has_unsafe_name(name)
    assert not has_unsafe_name("a/b..c/..d/\u00e4.py")
