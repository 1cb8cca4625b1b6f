from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipelines.sources import SourceFormat, load_source
from pipelines.sources.lines import split_lines
from pipelines.sources.records import PartRange
from pipelines.sources.streams import sniff
from storage.objects import ObjectNotFound
from tests.pipelines.sources.outcomes import read, read_parts

SOURCE = load_source("jsonl", {}, "corpus")
SAME_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


def write(folder: Path, *rows: Any) -> Path:
    """Rows as JSON, except bytes and strings, which are lines as they are."""
    lines = [
        row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else dumps(row)
        for row in rows
    ]
    path = folder / "data.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def dumps(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


def test_each_line_has_one_fate(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"text": "good"},
        "{not json",
        "[1, 2]",
        {"text": 7},
        {"body": "x"},
        {"text": "  \n"},
        {"text": None},
        "",
        "   ",
        {"text": "also good"},
    )
    outcomes = read(SOURCE, path)
    assert outcomes.texts == ["good", "also good"]
    assert outcomes.counts == {"document": 2, "invalid": 4, "skip:empty": 2}
    messages = [casualty.message for casualty in outcomes.casualties]
    assert "one JSON object, found list" in messages[1]
    assert "int, not a string" in messages[2]
    assert "found 'body'); name it with text_field" in messages[3]


def test_the_address_finds_the_raw_bytes(tmp_path: Path) -> None:
    path = write(tmp_path, {"text": "one"}, "", {"text": "zwei \u00e4"}, {"text": "three"})
    data = path.read_bytes()
    for document in read(SOURCE, path).documents:
        name, _, span = document.record.partition("#")
        offset, length = map(int, span.split("+"))
        assert name == "file"
        assert json.loads(data[offset : offset + length])["text"] == document.text


def test_layouts_people_exchange(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"text": "c4", "url": "http://a", "timestamp": "2019-04-25T12:57:54Z"},
        {
            "content": "oscar",
            "warc_headers": {
                "warc-target-uri": "http://b",
                "warc-date": "2022-11-26T21:47:24Z",
                "warc-record-id": "<urn:uuid:1>",
            },
            "metadata": {"identification": {"label": "de", "prob": 0.9}},
        },
        {
            "text": "dolma",
            "id": "doc-1",
            "added": "2023-04-07",
            "created": "2020-03-29",
            "metadata": {"url": "http://c", "language": "en", "title": "T"},
        },
        {"content": "stack", "path": "a/b.py", "max_stars_repo_licenses": ["MIT", "ISC"]},
    )
    c4, oscar, dolma, stack = read(SOURCE, path).documents
    assert (c4.url, c4.created, dict(c4.meta)) == ("http://a", "2019-04-25T12:57:54Z", {})
    assert (oscar.url, oscar.created) == ("http://b", "2022-11-26T21:47:24Z")
    assert oscar.meta == {"id": "<urn:uuid:1>", "language": "de"}
    assert (dolma.url, dolma.title, dolma.created) == ("http://c", "T", "2020-03-29")
    assert dolma.meta == {"id": "doc-1", "language": "en"}
    assert (stack.license, stack.meta) == ('["MIT", "ISC"]', {"path": "a/b.py"})


def test_named_fields_win_and_dotted_keys_too(tmp_path: Path) -> None:
    source = load_source(
        "jsonl", {"text_field": "doc.body", "meta_fields": ["score", "a.b"]}, "corpus"
    )
    path = write(
        tmp_path,
        {"text": "no", "doc": {"body": "yes"}, "score": 0.5, "a": {"b": [1]}},
        {"doc.body": "dotted key", "a.b": None},
        {"text": "no"},
    )
    outcomes = read(source, path)
    assert outcomes.texts == ["yes", "dotted key"]
    assert outcomes.documents[0].meta == {"score": "0.5", "a.b": "[1]"}
    assert outcomes.casualties[0].message.startswith("no field 'doc.body'")


def test_utf8_is_repaired_and_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        b'\xef\xbb\xbf{"text": "byte order mark"}',
        b'{"text": "broken \xff\xc3 bytes"}',
        rb'{"text": "lone \ud800 and pair \ud83d\ude00"}',
        b'{"text": "nul \\u0000 stays"}',
        {"text": "an honest \ufffd"},
    )
    documents = read(SOURCE, path).documents
    assert [document.text for document in documents] == [
        "byte order mark",
        "broken \ufffd\ufffd bytes",
        "lone \ufffd and pair \U0001f600",
        "nul \0 stays",
        "an honest \ufffd",
    ]
    assert documents[1].meta == {"utf8_repaired": "2"}
    assert documents[4].meta == {}


def test_hostile_json_is_a_casualty(tmp_path: Path) -> None:
    path = write(tmp_path, "[" * 200_000, '{"text": ' + "9" * 5_000 + "}", {"text": "after"})
    outcomes = read(SOURCE, path)
    assert outcomes.counts == {"invalid": 2, "document": 1}


def test_a_line_above_the_limit_is_measured_and_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, {"text": "before"}, "x" * 3_000_000, {"text": "after"}, "y" * 3_000_000)
    outcomes = read(SOURCE, path)
    assert outcomes.texts == ["before", "after"]
    first, last = outcomes.casualties
    assert first.kind == last.kind == "too_large"
    assert first.message == "a line of 3000000 bytes, above max_document_bytes=1048576"
    assert last.record.endswith("+3000000")


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_truncated_file_gives_what_came_before_and_a_casualty(
    compress: Any, tmp_path: Path
) -> None:
    rows = [{"text": f"{i} " + str(i**50) * 20} for i in range(2_000)]
    path = write(tmp_path, *rows)
    compressed = compress(path.read_bytes())
    path.write_bytes(compressed[: len(compressed) // 2])
    outcomes = read(SOURCE, path)
    assert 500 < len(outcomes.documents) < 1_500
    assert outcomes.texts == [row["text"] for row in rows[: len(outcomes.documents)]]
    assert outcomes.counts["truncated"] == 1
    assert len(outcomes) == len(outcomes.documents) + 1


def test_a_missing_file_stops(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound):
        read(SOURCE, tmp_path / "none.jsonl")


LINES = st.lists(
    st.one_of(
        st.binary(max_size=12).map(lambda data: data.replace(b"\n", b" ")),
        st.text(max_size=8).map(lambda text: dumps({"text": text})),
    ),
    max_size=20,
)


@SAME_FOLDER
@given(lines=LINES, part_bytes=st.integers(1, 60), last_newline=st.booleans())
def test_parts_hold_each_record_once(
    tmp_path: Path, lines: list[bytes], part_bytes: int, last_newline: bool
) -> None:
    """Whatever the bytes and the part size, the parts joined are the whole file."""
    data = b"\n".join(lines) + b"\n" * last_newline
    assume(not sniff(data))  # what begins with the magic of gzip is read as gzip
    path = tmp_path / "data.jsonl"
    path.write_bytes(data)
    assert read_parts(SOURCE, path, len(data), part_bytes) == read(SOURCE, path)


@SAME_FOLDER
@given(lines=LINES, part_bytes=st.integers(1, 60))
def test_compressed_parts_are_cut_by_decompressed_offset(
    tmp_path: Path, lines: list[bytes], part_bytes: int
) -> None:
    data = b"\n".join(lines)
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress(data))
    joined = [
        outcome
        for start in range(0, len(data), part_bytes)
        for outcome in read(SOURCE, path, PartRange(start, start + part_bytes))
    ]
    assert joined == read(SOURCE, path)
    assert not SOURCE.can_enter(str(path))


@given(st.lists(st.binary(max_size=9)), st.integers(0, 6))
def test_splitting_loses_no_byte(chunks: list[bytes], limit: int) -> None:
    data = b"".join(chunks)
    expected = [
        (offset, line)
        for offset, line in zip(_starts(data), data.split(b"\n"), strict=True)
        if line.strip() or len(line) > limit
    ]
    found = list(split_lines(chunks, 0, limit))
    assert [(line.offset, line.num_bytes) for line in found] == [
        (offset, len(line)) for offset, line in expected
    ]
    assert [line.data for line in found] == [
        line if len(line) <= limit else None for _, line in expected
    ]


def _starts(data: bytes) -> list[int]:
    return [0, *(index + 1 for index, byte in enumerate(data) if byte == ord("\n"))]


@pytest.mark.parametrize(
    ("path", "num_documents"),
    [
        ("jsonl/data-juicer/arxiv.jsonl", 11),
        ("jsonl/data-juicer/stack_exchange.jsonl", 70),
        ("jsonl/dolma/000.json.gz", 10),
        ("jsonl/dolma/cc_en_head-0091.jsonl.gz", 10),
        ("multilingual/mc4_form/c4-ar.tfrecord-00000-of-00001.json.gz", None),
        ("train/gutenberg_en_valid.jsonl.zst", None),
    ],
)
def test_real_files(shared_data: Path, path: str, num_documents: int | None) -> None:
    source: SourceFormat = SOURCE
    outcomes = read(source, shared_data / path, max_document_bytes=100 << 20)
    assert set(outcomes.counts) == {"document"}
    assert num_documents is None or len(outcomes) == num_documents
