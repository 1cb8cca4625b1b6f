from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.sources import load_source
from pipelines.sources.records import PartRange
from tests.pipelines.sources.outcomes import Outcomes, read, read_parts
from tests.pipelines.sources.test_streams import lz4

SOURCE = load_source("warc", {}, "web")
SAME_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


def record(kind: str, content: bytes, length: int | None = None, **headers: str) -> bytes:
    named = {
        "WARC-Type": kind,
        "WARC-Target-URI": "http://example.org/",
        "WARC-Date": "2024-01-02T03:04:05Z",
        "Content-Length": str(len(content) if length is None else length),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return b"WARC/1.0\r\n" + lines.encode() + b"\r\n" + content + b"\r\n\r\n"


def html(text: str, **kwargs: str) -> bytes:
    return http(f"<html lang=en><title>T</title><p>{text}</p>".encode(), **kwargs)


def http(body: bytes, status: str = "200 OK", media: str = "text/html", **headers: str) -> bytes:
    lines = {"Content-Type": media, **{k.replace("_", "-"): v for k, v in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def page(text: str, **headers: str) -> bytes:
    return record("response", html(text), None, **headers)


def write(folder: Path, *members: bytes, name: str = "a.warc.gz") -> Path:
    """A gzip member for each argument, or one after another when the name is not .gz."""
    path = folder / name
    pack: Callable[[bytes], bytes] = gzip.compress if name.endswith(".gz") else bytes
    path.write_bytes(b"".join(map(pack, members)))
    return path


def test_each_kind_of_record_has_one_fate(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        record("warcinfo", b"software: x\r\n"),
        record("request", b"GET / HTTP/1.1\r\n\r\n"),
        page("Hello"),
        record("metadata", b"a: b"),
        record("revisit", b""),
        record("resource", b"<p>x"),
        record("nonsense", b"x"),
        record("response", http(b"moved", status="301 Moved")),
        record("response", http(b"GIF89a", media="image/gif")),
        record("response", html("")),
        record("conversion", "Text, \u00e4".encode(), Content_Type="text/plain"),
    )
    outcomes = read(SOURCE, path)
    assert outcomes.texts == ["Hello", "Text, \u00e4"]
    assert outcomes.counts == {
        "document": 2,
        "skip:warcinfo": 1,
        "skip:request": 1,
        "skip:metadata": 1,
        "skip:revisit": 1,
        "skip:resource": 1,
        "skip:unknown_type": 1,
        "skip:http_status": 1,
        "skip:media_type": 1,
        "skip:empty": 1,
    }


def test_a_document_carries_where_it_is_from(tmp_path: Path) -> None:
    path = write(tmp_path, record("warcinfo", b""), page("Hi", WARC_Record_ID="<urn:x>"))
    [document] = read(SOURCE, path).documents
    assert (document.url, document.title) == ("http://example.org/", "T")
    assert document.created == "2024-01-02T03:04:05Z"
    assert document.meta == {"id": "<urn:x>", "language": "en"}
    offset, length = map(int, document.record.removeprefix("file#").split("+"))
    member = path.read_bytes()[offset : offset + length]
    assert gzip.decompress(member) == page("Hi", WARC_Record_ID="<urn:x>")


@pytest.mark.parametrize("name", ["a.warc", "one-member.warc.gz", "a.warc.zst", "a.warc.lz4"])
def test_every_container_gives_the_same_documents(name: str, tmp_path: Path) -> None:
    pages = [page(f"Page {i}") for i in range(20)]
    data = b"".join(pages)
    packed = {".zst": zstandard.compress, ".lz4": lz4, ".gz": gzip.compress}
    path = tmp_path / name
    path.write_bytes(packed.get(path.suffix, bytes)(data))
    outcomes = read(SOURCE, path)
    assert outcomes.texts == [f"Page {i}" for i in range(20)]
    assert len({document.record for document in outcomes.documents}) == 20
    if name == "a.warc":
        offset, length = map(int, outcomes.documents[7].record.removeprefix("file#").split("+"))
        assert data[offset : offset + length] == pages[7]
        joined = [
            outcome
            for start in range(0, len(data), 500)
            for outcome in read(SOURCE, path, PartRange(start, start + 500))
        ]
        assert joined == outcomes


def chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


BODY = b"<title>T</title><p>" + b"All of the body. " * 50 + b"</p>"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content_Encoding": "gzip"}, gzip.compress(BODY)),
        ({"Content_Encoding": "deflate"}, zlib.compress(BODY)),
        ({"Content_Encoding": "deflate"}, zlib.compress(BODY, wbits=-15)),
        ({"Content_Encoding": "zstd"}, zstandard.compress(BODY)),
        ({"Transfer_Encoding": "chunked"}, chunked(BODY) + b"0\r\n\r\n"),
        ({"Transfer_Encoding": "chunked"}, chunked(BODY[:7]) + chunked(BODY[7:]) + b"0;a=b\r\n"),
        # Decoded by the crawler, headers left as they were.
        ({"Content_Encoding": "gzip", "Transfer_Encoding": "chunked"}, BODY),
    ],
    # Named, because gzip notes the time: workers that collect a second apart would see other ids.
    ids=["gzip", "zlib", "deflate", "zstd", "chunked", "two-chunks", "decoded-by-crawler"],
)  # fmt: skip
def test_http_codings(headers: dict[str, str], body: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, record("response", http(body, **headers)))
    [document] = read(SOURCE, path).documents
    assert document.text == "All of the body. " * 49 + "All of the body."
    assert "http_truncated" not in document.meta


def test_brotli(tmp_path: Path) -> None:
    brotli = pytest.importorskip("brotli")
    path = write(tmp_path, record("response", http(brotli.compress(BODY), Content_Encoding="br")))
    assert read(SOURCE, path).counts == {"document": 1}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content_Encoding": "gzip"}, gzip.compress(BODY)[:-20]),
        ({"Content_Encoding": "deflate"}, zlib.compress(BODY)[:-10]),
        ({"Transfer_Encoding": "chunked"}, chunked(BODY)[:400]),
        ({"Content_Length": str(len(BODY))}, BODY[:400]),
    ],
    ids=["gzip", "zlib", "chunked", "content-length"],
)
def test_a_body_that_ends_early_is_kept_and_marked(
    headers: dict[str, str], body: bytes, tmp_path: Path
) -> None:
    path = write(tmp_path, record("response", http(body, **headers)))
    [document] = read(SOURCE, path).documents
    assert document.text.startswith("All of the body.")
    assert document.meta["http_truncated"] == "1"


@pytest.mark.parametrize(
    ("charset", "media", "markup"),
    [
        ("iso-8859-1", "text/html; charset=ISO-8859-1", ""),
        ("windows-1251", "text/html", "<meta charset='windows-1251'>"),
        ("gb18030", "text/html", "<meta content='text/html; charset=gb2312'>"),
        ("utf-8", "text/html; charset=iso-8859-1", ""),  # valid UTF-8 beats the declaration
        ("iso-2022-jp", "text/html; charset=iso-2022-jp", ""),
    ],
)  # fmt: skip
def test_charsets(charset: str, media: str, markup: str, tmp_path: Path) -> None:
    texts = {
        "windows-1251": "\u0436\u0443\u043a",
        "gb18030": "\u4e2d\u6587",
        "iso-2022-jp": "\u65e5\u672c",
    }
    text = texts.get(charset, "caf\u00e9")
    body = f"{markup}<p>{text}</p>".encode(charset)
    path = write(tmp_path, record("response", http(body, media=media)))
    assert read(SOURCE, path).texts == [text]


def test_surrogates_in_markup_are_repaired(tmp_path: Path) -> None:
    path = write(tmp_path, page("lone &#xD800; one"))
    [text] = read(SOURCE, path).texts
    assert text.encode()


def test_limits_and_bombs_are_casualties(tmp_path: Path) -> None:
    big = b"<p>" + b"x" * (2 << 20)
    bomb = http(gzip.compress(bytes(50 << 20)), Content_Encoding="gzip")
    nested = b"<div>" * 6_000 + b"x"
    quoteless = b"<p " + b"a " * 60_000 + b">x"
    path = write(
        tmp_path,
        record("response", http(big)),
        record("response", http(b"\0" * (2 << 20), media="video/mp4")),
        record("conversion", b"x" * (2 << 20)),
        record("response", bomb),
        record("response", http(nested)),
        record("response", http(quoteless)),
        page("after"),
    )
    outcomes = read(SOURCE, path)
    assert outcomes.counts == {
        "too_large": 3,
        "skip:media_type": 1,
        "extraction": 2,
        "document": 1,
    }
    messages = [casualty.message for casualty in outcomes.casualties]
    assert "max_document_bytes=1048576" in messages[0]
    assert "levels of <div>" in messages[3]
    assert "60001 attributes" in messages[4]


def test_a_wrong_length_costs_one_record(tmp_path: Path) -> None:
    """Too small, it leaves bytes; too large, it swallows records: both are found out, and what
    was swallowed is read."""
    content = html("wrong")
    for length in (len(content) - 9, len(content) + 40, len(content) + 700):
        wrong = record("response", content, length=length)
        for name in ("a.warc", "a.warc.gz"):
            data = page("one"), wrong, page("two"), page("three")
            outcomes = read(SOURCE, write(tmp_path, b"".join(data), name=name))
            assert outcomes.texts == ["one", "two", "three"]
            assert len(outcomes.casualties) == 1
            outcomes = read(SOURCE, write(tmp_path, *data, name="b.warc.gz"))
            assert outcomes.texts == ["one", "two", "three"]


def test_headers_without_end_or_length(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        b"garbage first\r\n",
        page("one"),
        b"WARC/1.0\r\n" + b"a: b\r\n" * 20_000,
        page("two"),
        b"WARC/1.0\r\nContent-Length: many\r\n\r\n",
        b"WARC/1.0\r\nContent-Length: \xc2\xb2\r\n\r\n",
        page("three"),
        name="a.warc",
    )
    outcomes = read(SOURCE, path)
    assert outcomes.texts == ["one", "two", "three"]
    assert outcomes.counts["corrupt"] == 4


PAGES = [page(f"Page {i} " + "text " * i) for i in range(8)]
MEMBERS = [gzip.compress(data, mtime=0) for data in PAGES]
TEXTS = [(f"Page {i} " + "text " * i).strip() for i in range(8)]


@SAME_FOLDER
@given(cut=st.integers(1, sum(map(len, MEMBERS)) - 1))
def test_a_truncated_file_is_a_prefix_and_a_casualty(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(MEMBERS)[:cut])
    outcomes = read(SOURCE, path)
    ends = [sum(map(len, MEMBERS[: i + 1])) for i in range(8)]
    num_whole = sum(end <= cut for end in ends)
    assert outcomes.texts == TEXTS[:num_whole]
    assert len(outcomes.casualties) == (0 if cut in ends else 1)


@SAME_FOLDER
@given(position=st.integers(0, sum(map(len, MEMBERS)) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_one_record_at_most(tmp_path: Path, position: int, bit: int) -> None:
    data = bytearray(b"".join(MEMBERS))
    data[position] ^= 1 << bit
    path = tmp_path / "a.warc.gz"
    path.write_bytes(data)
    outcomes = read(SOURCE, path)
    hit = next(i for i in range(8) if position < sum(map(len, MEMBERS[: i + 1])))
    assert outcomes.texts in (TEXTS, TEXTS[:hit] + TEXTS[hit + 1 :])
    if len(outcomes.texts) < 8:
        assert len(outcomes.casualties) == 1


@SAME_FOLDER
@given(
    lengths=st.lists(st.integers(0, 300), max_size=12),
    part_bytes=st.integers(1, 900),
    junk=st.sampled_from([b"", b"junk \x1f\x8b\x08 between", bytes(600)]),
)
def test_parts_hold_each_record_once(
    tmp_path: Path, lengths: list[int], part_bytes: int, junk: bytes
) -> None:
    members = [gzip.compress(page(f"{i} " + "ab" * length)) for i, length in enumerate(lengths)]
    if len(members) > 2:
        members.insert(2, junk)
    data = b"".join(members)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(data)
    whole = read(SOURCE, path)
    assert len(whole.documents) == len(lengths)
    if data:
        parts = read_parts(SOURCE, path, len(data), part_bytes)
        assert parts.documents == whole.documents
        assert parts.offsets == sorted(parts.offsets)


def test_real_archives(shared_data: Path) -> None:
    """Record counts as warcio finds them; where it stops at damage, what is documented here."""
    beyond_warcio = {
        "warc/warcio/example-bad-non-chunked.warc.gz": {"document": 1, "skip:warcinfo": 2,
            "skip:request": 2, "skip:revisit": 1},
        "warc/warcio/example-bad.warc.gz.bad": {"document": 1, "skip:warcinfo": 1,
            "skip:request": 2, "skip:revisit": 1, "skip:http_status": 1},
        "warc/gowarc/corrupted-trailing-bytes.warc.gz.open": {"document": 30, "corrupt": 1},
        "warc/gowarc/good.warc.gz.open": {"document": 50},
        "warc/gowarc/skip-non-open.warc.gz": {"document": 10},
        "wet/cc_net/sample.warc.txt": {"corrupt": 4},  # edited by hand, all lengths wrong
        "warc/pywb/bad.arc": {"corrupt": 1},  # ARC is not read
        "warc/pywb/example.arc.gz": {"corrupt": 2},
    }  # fmt: skip
    with (shared_data / "web/WARC_EXPECTED.dev.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        path = shared_data / "web" / row["path"]
        outcomes = read(SOURCE, path, max_document_bytes=100 << 20)
        if row["path"] in beyond_warcio:
            assert outcomes.counts == beyond_warcio[row["path"]], row["path"]
        else:
            _check_counts(row, outcomes)
    assert len(rows) == 41


def _check_counts(row: dict[str, str], outcomes: Outcomes) -> None:
    assert outcomes.casualties == [], row["path"]
    assert len(outcomes) == int(row["records_total"]), row["path"]
    expected = dict(item.split("=") for item in row["by_type"].split(",") if item)
    for kind in ("warcinfo", "request", "metadata", "revisit", "resource"):
        assert outcomes.counts.get(f"skip:{kind}", 0) == int(expected.get(kind, 0)), row["path"]
    html_pages = len(outcomes.documents) + outcomes.counts.get("skip:empty", 0)
    converted = int(expected.get("conversion", 0))
    assert html_pages - converted == int(row["responses_http200_html"]), row["path"]


def test_real_parts(shared_data: Path) -> None:
    path = shared_data / "web/warc/dolma/sample-0000.warc.gz"
    whole = read(SOURCE, path)
    assert read_parts(SOURCE, path, path.stat().st_size, 10_000) == whole


def test_a_wet_file_declares_languages(shared_data: Path) -> None:
    path = shared_data / "web/wet/whirlwind-python/whirlwind.warc.wet.gz"
    [document] = read(SOURCE, path).documents
    assert document.meta["language"] == "spa"
