"""Reading raw corpora: CPU time per format, with the plain library loop beside it.

    python -m benchmarks.sources warc=crawl.warc.gz wikipedia=enwiki.xml.bz2 jsonl=c4.json.gz ...

`take` walks the records without parsing them (what a restarted task does with finished parts),
`parse` makes documents of all of them. MB are decompressed bytes of the file. Peers do less: they
do not verify that records are whole, and stop at the first damage.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import fsspec
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from pipelines.sources import SourceFormat, load_source
from pipelines.sources.records import WHOLE_FILE, Document
from pipelines.sources.streams import DamagedStreamError, decoded_chunks
from storage import objects

MAX_DOCUMENT_BYTES = 100 << 20
REPEATS = 3
PEER_SAMPLE_PAGES = 60


def main(arguments: list[str]) -> None:
    if not arguments or not all("=" in argument for argument in arguments):
        raise SystemExit(__doc__)
    print(f"CPU seconds on one core, median of {REPEATS}")
    for argument in arguments:
        name, _, path = argument.partition("=")
        measure(load_source(name, {}, name), path)


def measure(source: SourceFormat, path: str) -> None:
    num_bytes = decoded_bytes(path)
    print(f"\n{source.name} {path}: {num_bytes / 1e6:.1f} MB decompressed")
    report("take", seconds(lambda: take(source, path)), num_bytes)
    num_documents = parse(source, path)
    report(f"parse, {num_documents} documents", seconds(lambda: parse(source, path)), num_bytes)
    peers = PEERS[source.name](path) if source.name in PEERS else ()
    for label, run, peer_bytes in peers:
        report(label, seconds(run), peer_bytes or num_bytes)


def take(source: SourceFormat, path: str) -> int:
    return sum(1 for _ in source.read(path, "file", WHOLE_FILE, MAX_DOCUMENT_BYTES))


def parse(source: SourceFormat, path: str) -> int:
    records = source.read(path, "file", WHOLE_FILE, MAX_DOCUMENT_BYTES)
    return sum(isinstance(record.parse(), Document) for record in records)


def decoded_bytes(path: str) -> int:
    try:
        return sum(map(len, decoded_chunks(path)))
    except DamagedStreamError:
        return objects.size(path)


def seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def report(name: str, cpu_seconds: float, num_bytes: int) -> None:
    print(f"  {name:40} {cpu_seconds:8.3f} s {num_bytes / 1e6 / cpu_seconds:10.1f} MB/s")


# (label, what to time, its bytes where they are not the whole file's)
Runs = Iterator[tuple[str, Callable[[], object], int]]


def fastwarc_loop(path: str) -> Runs:
    def walk() -> None:
        with objects.open_read(path) as file:
            for record in ArchiveIterator(file, parse_http=False):
                record.reader.consume()

    def extract() -> None:
        with objects.open_read(path) as file:
            for record in ArchiveIterator(
                file, record_types=WarcRecordType.response, parse_http=True, auto_decode="all"
            ):
                if "html" in (record.http_content_type or ""):
                    html = record.reader.read()
                    text = bytes_to_str(html, detect_encoding(html) or "utf-8")
                    extract_plain_text(text, main_content=True)

    yield "fastwarc: records", walk, 0
    yield "fastwarc and resiliparse: text", extract, 0


def mwparserfromhell_sample(path: str) -> Runs:
    import mwparserfromhell
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    from pipelines.sources.wikitext import to_text

    data = b"".join(decoded_chunks(path))
    pages = re.findall(rb"<page>.*?</page>", data, re.S)[:PEER_SAMPLE_PAGES]
    texts = [etree.fromstring(page).findtext("revision/text") or "" for page in pages]
    num_bytes = sum(len(text.encode()) for text in texts)

    def strip() -> None:
        for text in texts:
            mwparserfromhell.parse(text).strip_code()

    def ours() -> None:
        for text in texts:
            to_text(text)

    yield f"mwparserfromhell: wikitext of {len(texts)} pages", strip, num_bytes
    yield "here: the same pages", ours, num_bytes


def json_loop(path: str) -> Runs:
    def loads() -> None:
        with fsspec.open(path, "rb", compression="infer") as lines:
            for line in lines:
                json.loads(line)

    yield "python: json.loads per line", loads, 0


PEERS: dict[str, Callable[[str], Runs]] = {
    "warc": fastwarc_loop,
    "wikipedia": mwparserfromhell_sample,
    "jsonl": json_loop,
}


if __name__ == "__main__":
    main(sys.argv[1:])
