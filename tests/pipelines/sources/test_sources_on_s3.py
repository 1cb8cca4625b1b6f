"""Every format reads the same from S3 as from disk."""

from __future__ import annotations

import bz2
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources import load_source
from storage import objects
from storage.objects import ObjectNotFound
from tests.pipelines.sources.outcomes import read, read_parts
from tests.pipelines.sources.test_archives import make_tar, make_zip
from tests.pipelines.sources.test_warc import page as web_page
from tests.pipelines.sources.test_wikipedia import HEAD, TAIL
from tests.pipelines.sources.test_wikipedia import page as wiki_page


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": [f"row {i}" for i in range(50)]}), buffer, row_group_size=10)
    return buffer.getvalue()


WIKI = [HEAD, *(wiki_page(i, f"Text {i}") for i in range(30)), TAIL]
FILES = {
    ("jsonl", "a.jsonl"): b'{"text": "one"}\n{"text": "two"}\nbroken\n' * 50,
    ("jsonl", "b.jsonl.gz"): gzip.compress(b'{"text": "one"}\n' * 50)[:-4],
    ("text", "a.txt"): "caf\u00e9\n".encode() * 50,
    ("warc", "a.warc.gz"): b"".join(gzip.compress(web_page(f"Page {i}")) for i in range(20)),
    ("wikipedia", "a.xml.bz2"): b"".join(bz2.compress(piece.encode()) for piece in WIKI),
    ("repository", "a.tar.gz"): gzip.compress(make_tar({"p/a.py": b"x", "p/b.py": b"y"})),
    ("repository", "a.zip"): make_zip({"p/a.py": b"x", "p/b.py": b"y"}),
    ("repository", "a.py"): b"x = 1\n",
    ("parquet", "a.parquet"): parquet(),
}


@pytest.mark.parametrize(("format", "name"), FILES)
def test_s3_gives_what_the_disk_gives(
    format: str, name: str, s3_folder: str, tmp_path: Path
) -> None:
    data = FILES[format, name]
    source = load_source(format, {}, "any")
    local, remote = tmp_path / name, f"{s3_folder}/sources/{name}"
    local.write_bytes(data)
    objects.write(remote, data)
    expected = read(source, local)
    assert expected.documents
    assert read(source, remote) == expected
    assert source.can_enter(remote) == source.can_enter(str(local))
    if source.can_enter(remote):
        assert read_parts(source, remote, len(data), len(data) // 5) == expected


def test_a_missing_object_stops(s3_folder: str) -> None:
    for format, name in (("warc", "none.warc.gz"), ("jsonl", "none.jsonl"), ("text", "none.txt")):
        with pytest.raises(ObjectNotFound):
            read(load_source(format, {}, "any"), f"{s3_folder}/{name}")
