"""The object interface on local files, and what all storage shares: names, globs, ranged reads."""

from __future__ import annotations

import fnmatch
import io
import os
import re
import signal
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import objects
from storage.objects import ObjectNotFound, StorageError
from storage.ranged import FIRST_WINDOW_BYTES, LARGEST_WINDOW_BYTES, RangedReader, open_ranged

ROOT = Path(__file__).parents[2]


def names(folder: Path, pattern: str = "") -> list[str]:
    """Paths that `pattern` below `folder` (all by default) expands to, relative to it."""
    found = objects.expand(f"{folder}/{pattern}") if pattern else objects.list_objects(str(folder))
    return [info.path.removeprefix(f"{folder}/") for info in found]


def on_disk(folder: Path) -> list[str]:
    """Everything in a folder, also what listings do not show."""
    return [entry.name for entry in folder.iterdir()]


def make_tree(folder: Path, paths: list[str]) -> None:
    for path in paths:
        objects.write(f"{folder}/{path}", path.encode())


def test_write_then_read(tmp_path: Path) -> None:
    path = f"{tmp_path}/new/folder/object"
    objects.write(path, b"first, longer")
    objects.write(path, b"second")
    assert objects.read(path) == b"second"
    assert objects.size(path) == 6
    assert objects.exists(path)
    assert not objects.exists(f"{tmp_path}/new")  # a folder is no object
    objects.delete(path)
    objects.delete(path)
    assert not objects.exists(path)


def test_read_range(tmp_path: Path) -> None:
    path = f"{tmp_path}/object"
    objects.write(path, b"0123456789")
    assert objects.read_range(path, 3, 4) == b"3456"
    assert objects.read_range(path, 10, 0) == b""
    with pytest.raises(StorageError, match="ends early: asked for 4 bytes at offset 8, got 2"):
        objects.read_range(path, 8, 4)
    with pytest.raises(StorageError, match="must not be negative"):
        objects.read_range(path, -1, 4)


def test_listing_is_in_the_order_of_object_stores(tmp_path: Path) -> None:
    paths = ["a/b", "a.txt", "a/b.c/d", "a-b/c", "ab", "Z", "a/\u00e9", "a/z", "a b"]
    make_tree(tmp_path, paths)
    assert names(tmp_path) == sorted(paths)
    assert [info.size for info in objects.list_objects(str(tmp_path))] == [
        len(path.encode()) for path in sorted(paths)
    ]
    assert names(tmp_path / "nowhere") == []
    assert names(tmp_path / "Z") == []


def test_relative_paths_stay_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects.write("a/b.txt", b"")
    objects.write("c.txt", b"")
    assert [info.path for info in objects.expand("*.txt")] == ["c.txt"]
    assert [info.path for info in objects.expand("**")] == ["a/b.txt", "c.txt"]
    assert [info.path for info in objects.list_objects("a/")] == ["a/b.txt"]
    assert [info.path for info in objects.list_objects(".")] == ["./a/b.txt", "./c.txt"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["a.gz", "q?.txt"]),
        ("*.gz", ["a.gz"]),
        ("?.gz", ["a.gz"]),
        ("d/*", ["d/b.gz", "d/c.gz"]),
        ("*/b.gz", ["d/b.gz", "e/b.gz"]),
        ("**/b.gz", ["d/b.gz", "d/f/g/b.gz", "e/b.gz"]),
        ("d/**/b.gz", ["d/b.gz", "d/f/g/b.gz"]),
        ("d/**", ["d/b.gz", "d/c.gz", "d/f/g/b.gz"]),
        ("d", ["d/b.gz", "d/c.gz", "d/f/g/b.gz"]),
        ("d/", ["d/b.gz", "d/c.gz", "d/f/g/b.gz"]),
        ("**/*.gz", ["a.gz", "d/b.gz", "d/c.gz", "d/f/g/b.gz", "e/b.gz"]),
        ("d/f/*/b.gz", ["d/f/g/b.gz"]),
        ("q?.txt", ["q?.txt"]),  # exists literally
        ("e/b.gz", ["e/b.gz"]),
    ],
)
def test_expand(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    make_tree(tmp_path, ["a.gz", "d/b.gz", "d/c.gz", "d/f/g/b.gz", "e/b.gz", "q?.txt"])
    assert names(tmp_path, pattern) == expected


@given(
    paths=st.lists(st.text("ab./", min_size=1, max_size=8), max_size=8),
    pattern=st.text("ab./*?", min_size=1, max_size=6).filter(lambda p: "**" not in p),
)
def test_glob_agrees_with_fnmatch_segment_by_segment(paths: list[str], pattern: str) -> None:
    regex = re.compile(objects._glob_to_regex(pattern))
    for path in paths:
        segments, patterns = path.split("/"), pattern.split("/")
        expected = len(segments) == len(patterns) and all(
            fnmatch.fnmatchcase(segment, part)
            for segment, part in zip(segments, patterns, strict=True)
        )
        assert bool(regex.fullmatch(path)) == expected


def test_expanding_nothing_is_an_error_that_names_it(tmp_path: Path) -> None:
    for pattern in ("missing", "*.gz", "missing/**"):
        with pytest.raises(ObjectNotFound, match=r"nothing at .*(missing|\.gz)"):
            objects.expand(f"{tmp_path}/{pattern}")
    with pytest.raises(StorageError, match="the path is empty"):
        objects.expand("")


def test_a_glob_looks_no_deeper_than_it_says(tmp_path: Path) -> None:
    # A link back to the root would make an endless walk; "*.gz" never goes there.
    make_tree(tmp_path, ["a.gz", "d/b.gz"])
    (tmp_path / "d" / "loop").symlink_to(tmp_path)
    assert names(tmp_path, "*.gz") == ["a.gz"]
    assert names(tmp_path, "*/*.gz") == ["d/b.gz"]
    with pytest.raises(StorageError, match="d/loop/: this symbolic link leads back"):
        names(tmp_path)


def test_links_are_followed_and_broken_ones_named(tmp_path: Path) -> None:
    make_tree(tmp_path, ["there/x", "data/y"])
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "there")
    (tmp_path / "data" / "file").symlink_to(tmp_path / "there" / "x")
    assert names(tmp_path / "data") == ["file", "linked/x", "y"]
    (tmp_path / "data" / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="data/broken.*link"):
        names(tmp_path / "data")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("out", "a", "b"), "out/a/b"),
        (("out/", "a/b"), "out/a/b"),
        (("out", ""), "out"),
        (("", "a"), "a"),
        (("/", "a"), "/a"),
        (("s3://bucket", "a", "b"), "s3://bucket/a/b"),
    ],
)
def test_join(parts: tuple[str, ...], expected: str) -> None:
    assert objects.join(*parts) == expected


@pytest.mark.parametrize("part", ["/etc/passwd", "..", "../x", "a/../../x", "a/.."])
def test_join_stays_in_its_folder(part: str) -> None:
    with pytest.raises(StorageError, match="would leave the folder out"):
        objects.join("out", part)


def test_exception_in_the_block_leaves_the_old_object(tmp_path: Path) -> None:
    path = f"{tmp_path}/object"
    objects.write(path, b"old")

    def write_and_fail() -> None:
        with objects.open_write(path) as handle:
            handle.write(b"new" * 1_000_000)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write_and_fail()
    assert objects.read(path) == b"old"
    assert on_disk(tmp_path) == ["object"]


def test_handle_closed_inside_the_block_still_publishes(tmp_path: Path) -> None:
    with objects.open_write(f"{tmp_path}/object") as handle:
        handle.write(b"whole")
        handle.close()
        assert not objects.exists(f"{tmp_path}/object")
    assert objects.read(f"{tmp_path}/object") == b"whole"


KILLED_WRITER = """
import sys, time
from storage import objects
with objects.open_write(sys.argv[1]) as handle:
    handle.write(b"half" * 1_000_000)
    handle.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def kill_writer(path: str) -> None:
    """SIGKILL a process in the middle of writing to `path`."""
    command = [sys.executable, "-c", KILLED_WRITER, path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)


def test_sigkill_in_the_middle_leaves_nothing_visible(tmp_path: Path) -> None:
    objects.write(f"{tmp_path}/old", b"old")
    kill_writer(f"{tmp_path}/new")
    kill_writer(f"{tmp_path}/old")
    assert len(on_disk(tmp_path)) == 3  # the remains are there
    assert names(tmp_path) == ["old"]
    assert names(tmp_path, "*") == ["old"]
    assert objects.read(f"{tmp_path}/old") == b"old"
    assert not objects.exists(f"{tmp_path}/new")
    assert objects.discard_unfinished(str(tmp_path)) == 2
    assert on_disk(tmp_path) == ["old"]


def test_a_users_own_tmp_files_are_listed(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a.tmp", "b.tmp-1", "c.tmp-12-xyz", "d.tmp-1-00000000.gz"])
    assert len(names(tmp_path)) == 4


def test_delete_tree(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/b", "a/c/d", "ab"])
    (tmp_path / "a" / "x.tmp-1-00000000").touch()
    objects.delete_tree(f"{tmp_path}/a")
    objects.delete_tree(f"{tmp_path}/a")
    assert on_disk(tmp_path) == ["ab"]
    for folder in ("", "/", ".", "..", "s3://bucket", "s3://bucket/", "gs://b//"):
        with pytest.raises(StorageError, match="refusing to delete"):
            objects.delete_tree(folder)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("hdfs://x/y", "hdfs:// is not supported; use a local path"),
        ("{tmp}", "is a folder; name a file"),
        ("{tmp}/file/below", r"no such file|not a directory"),
        ("{tmp}/missing", "missing: no such file"),
        ("{tmp}/nul\0byte", r"nul\\x00byte: embedded null byte"),
        ("{tmp}/\x1b[31mred", r"\\x1b\[31mred: no such file"),
        ("{tmp}/" + "n" * 300, "file name too long; choose a shorter name"),
    ],
)
def test_unreadable_paths_are_one_clear_line(tmp_path: Path, path: str, message: str) -> None:
    make_tree(tmp_path, ["file"])
    for read in (objects.read, objects.open_read):
        with pytest.raises(StorageError, match=message) as caught:
            read(path.format(tmp=tmp_path))
        assert "\n" not in str(caught.value)


def test_unwritable_paths_are_one_clear_line(tmp_path: Path) -> None:
    make_tree(tmp_path, ["file"])
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        objects.write(f"{tmp_path}/file/below", b"")
    with pytest.raises(StorageError, match="that is a folder; name a file"):
        objects.write(str(tmp_path), b"")
    assert names(tmp_path) == ["file"]


FULL_DISK = """
import resource, signal, sys
from storage import objects
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    objects.write(sys.argv[1], bytes(3_000_000))
except objects.StorageError as error:
    print(error)
"""


def test_a_file_that_cannot_grow_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, f"{tmp_path}/object"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot write {tmp_path}/object: file too large;")
    assert done.stderr == ""
    assert on_disk(tmp_path) == []


def test_no_space_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # /dev/full is the one device that is always full; the temporary file becomes a link to it.
    from storage import local

    class FullDisk(local._ReportingFile):
        def __init__(self, path: str, mode: str, shown_as: str | None = None) -> None:
            Path(path).symlink_to("/dev/full")
            super().__init__(path, mode.replace("x", "w"), shown_as)

    monkeypatch.setattr(local, "_ReportingFile", FullDisk)
    with pytest.raises(StorageError, match="no space left on device; free some space or choose"):
        objects.write(f"{tmp_path}/object", b"x")
    assert on_disk(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission_denied(tmp_path: Path) -> None:
    make_tree(tmp_path, ["file"])
    (tmp_path / "file").chmod(0)
    with pytest.raises(StorageError, match="permission denied; check the permissions"):
        objects.read(f"{tmp_path}/file")


READS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 700_000)),
        st.tuples(st.just("seek"), st.integers(0, 3_100_000)),
        st.tuples(st.just("back"), st.integers(1, 400_000)),
        st.tuples(st.just("end"), st.integers(0, 300_000)),
        st.tuples(st.just("line"), st.just(0)),
    ),
    max_size=12,
)


def act(handle: io.BufferedIOBase, action: str, number: int) -> bytes | int:
    if action == "read":
        return handle.read(number)
    if action == "line":
        return handle.readline()
    if action == "seek":
        return handle.seek(number)
    if action == "end":
        return handle.seek(-number, os.SEEK_END)
    return handle.seek(max(0, handle.tell() - number))


LINES = "\n".join(string.ascii_letters[: i % 53] for i in range(110_000)).encode()


@given(actions=READS)
def test_ranged_reader_behaves_like_a_file(actions: list[tuple[str, int]]) -> None:
    fetched: list[tuple[int, int]] = []

    def fetch(offset: int, length: int) -> bytes:
        assert 0 < length <= LARGEST_WINDOW_BYTES
        assert offset + length <= len(LINES)
        fetched.append((offset, length))
        return LINES[offset : offset + length]

    expected = io.BytesIO(LINES)
    handle = open_ranged(len(LINES), fetch)
    for action, number in actions:
        assert act(handle, action, number) == act(expected, action, number)  # type: ignore[arg-type]
        assert handle.tell() == expected.tell()


def test_ranged_reader_fetches_little_after_seeks_and_much_in_sequence() -> None:
    size, fetched = 100 << 20, list[int]()

    def fetch(offset: int, length: int) -> bytes:
        fetched.append(length)
        return bytes(length)

    reader = RangedReader(size, fetch)
    for offset in range(0, size, 10 << 20):
        reader.seek(offset)
        reader.read(10)
    assert fetched == [FIRST_WINDOW_BYTES] * 10
    fetched.clear()
    reader.seek(0)
    while reader.read(1 << 20):
        pass
    assert sum(fetched) == size
    assert len(fetched) < size / LARGEST_WINDOW_BYTES + 5


def test_empty_ranged_object() -> None:
    def fetch(offset: int, length: int) -> bytes:
        raise AssertionError("nothing to fetch")

    handle = open_ranged(0, fetch)
    assert handle.read() == b""
    with pytest.raises(ValueError, match="before the start"):
        RangedReader(0, fetch).seek(-1)
