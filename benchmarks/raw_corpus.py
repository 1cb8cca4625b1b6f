"""Raw corpora of any size for benchmarks, made from the example corpus; the same on every run.

    python -m benchmarks.raw_corpus FOLDER [--megabytes 200] [--files 8]

Three quarters of the text is prose as JSONL.zst: passages of the example's books with every seventh
word replaced by another of the same book, so that passages differ although the books are few. One
quarter is HTML in a WARC: the example's pages, their words replaced in the same way. Some documents
repeat an earlier one exactly, some nearly, and some are junk, so that every stage has work to do.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
import zstandard

from pipelines.sources.gzip_members import Gap, members
from pipelines.sources.records import WHOLE_FILE
from pipelines.sources.warc_records import WarcRecord, read_records
from storage import objects

EXAMPLE = Path(__file__).parent.parent / "examples" / "quickstart"
MEDIAN_WORDS = 700
REPLACED = 0.15
NEARLY_REPLACED = 0.01
EXACT_EVERY, NEAR_EVERY, JUNK_EVERY = 50, 10, 20
HTML_PER_TEXT = 2.0
"""Bytes of the example's pages for one of the text in them."""
MAX_PAGE_BYTES = 16 << 20
_TEXT_NODE = re.compile(r">([^<>]{20,})<")

Words = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class RawCorpus:
    """A folder with raw files and the corpus file that reads them."""

    folder: Path

    @property
    def corpus_file(self) -> Path:
        return self.folder / "corpus.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description="a raw corpus: prose as JSONL.zst, pages as WARC")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=200, help="of text")
    parser.add_argument("--files", type=int, default=8, help="per source")
    options = parser.parse_args()
    print(write_raw_corpus(options.folder, options.megabytes, options.files, {}).corpus_file)


def write_raw_corpus(
    folder: Path, megabytes: float, num_files: int, settings: dict[str, Any]
) -> RawCorpus:
    """About `megabytes` of text in `num_files` files of each source; `settings` are sections."""
    folder.mkdir(parents=True, exist_ok=True)
    books = [book_words(path) for path in sorted((EXAMPLE / "data/books").glob("*.gz"))]
    pages = example_pages(EXAMPLE / "data/web/debian.warc.gz")
    num_bytes = int(megabytes * 1e6 / num_files)
    for number in range(num_files):
        write_prose(folder / f"prose-{number:03d}.jsonl.zst", books, num_bytes * 3 // 4, number)
        html_bytes = int(num_bytes / 4 * HTML_PER_TEXT)
        write_warc(folder / f"web-{number:03d}.warc.gz", pages, html_bytes, number)
    corpus = RawCorpus(folder)
    corpus.corpus_file.write_text(yaml.safe_dump(_config(folder, settings)))
    return corpus


def _config(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    prose = {"format": "jsonl", "paths": str(folder / "prose-*"), "recipe": ["gopher", "c4"]}
    web = {"format": "warc", "paths": str(folder / "web-*"), "recipe": str(EXAMPLE / "web.yaml")}
    sources = [{"name": "prose", **prose}, {"name": "web", **web}]
    return {"name": "benchmark", "output": str(folder / "out"), "sources": sources, **settings}


def book_words(path: Path) -> Words:
    """The words of a book; the last one of a paragraph ends in a newline."""
    text = gzip.decompress(path.read_bytes()).decode("utf-8", "replace").replace("\r\n", "\n")
    words: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        words += paragraph.split()
        if words:
            words[-1] = words[-1].rstrip("\n") + "\n"
    return np.array(words, object)


def write_prose(path: Path, books: list[Words], num_bytes: int, seed: int) -> None:
    """JSON lines in mC4's form with `num_bytes` of text."""
    with zstandard.open(path, "wb", cctx=zstandard.ZstdCompressor(3)) as file:
        for number, text in enumerate(_prose(books, num_bytes, seed)):
            row = {"text": text, "url": f"https://books.example/{seed}/{number}"}
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _prose(books: list[Words], num_bytes: int, seed: int) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    earlier, book = books[0][:MEDIAN_WORDS], books[0]
    number = written = 0
    while written < num_bytes:
        number += 1
        if number % EXACT_EVERY == 0:
            words = earlier
        elif number % NEAR_EVERY == 0:
            words = replace_words(earlier, book, NEARLY_REPLACED, rng)
        elif number % JUNK_EVERY == 1:
            words = np.tile(book[:7], 40)
        else:
            book = books[int(rng.integers(len(books)))]
            length = min(len(book), int(rng.lognormal(np.log(MEDIAN_WORDS), 0.8)) + 20)
            start = int(rng.integers(len(book) - length + 1))
            words = replace_words(book[start : start + length], book, REPLACED, rng)
            earlier = words
        text = " ".join(words).replace("\n ", "\n")
        written += len(text.encode())
        yield text


def replace_words(words: Words, vocabulary: Words, share: float, rng: np.random.Generator) -> Words:
    """A copy with a random `share` of the words replaced by random words of `vocabulary`."""
    changed = words.copy()
    places = np.flatnonzero(rng.random(len(words)) < share)
    changed[places] = vocabulary[rng.integers(len(vocabulary), size=len(places))]
    return changed


def example_pages(path: Path) -> list[tuple[str, str]]:
    """(URL, HTML) of the undamaged pages in a WARC."""
    pages = []
    with objects.open_read(str(path)) as file:
        for member in members(file, path.stat().st_size, WHOLE_FILE):
            if isinstance(member, Gap):
                continue
            for record in read_records(member.content, MAX_PAGE_BYTES):
                if isinstance(record, WarcRecord) and record.headers["warc-type"] == "response":
                    html = record.content.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
                    pages.append((record.headers["warc-target-uri"], html))
    return pages


def write_warc(path: Path, pages: list[tuple[str, str]], num_bytes: int, seed: int) -> None:
    """Responses with `num_bytes` of HTML, one gzip member each."""
    rng = random.Random(seed)
    written = number = 0
    with path.open("wb") as file:
        while written < num_bytes:
            url, html = pages[rng.randrange(len(pages))]
            page = edit_page(html, rng).encode()
            file.write(gzip.compress(_response(f"{url}?{seed}-{number}", page), 6, mtime=0))
            number += 1
            written += len(page)


def edit_page(html: str, rng: random.Random) -> str:
    """The page with a share of the words of its longer text nodes replaced by others of them."""
    vocabulary = [word for node in _TEXT_NODE.findall(html) for word in node.split()]
    share = NEARLY_REPLACED if rng.randrange(NEAR_EVERY) == 0 else REPLACED

    def edited(node: re.Match[str]) -> str:
        words = node[1].split(" ")
        for place in range(len(words)):
            if words[place] and rng.random() < share:
                words[place] = vocabulary[rng.randrange(len(vocabulary))]
        return f">{' '.join(words)}<"

    return _TEXT_NODE.sub(edited, html) if vocabulary else html


def _response(url: str, page: bytes) -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
    http += f"Content-Length: {len(page)}\r\n\r\n".encode() + page
    warc = [
        "WARC/1.1",
        "WARC-Type: response",
        "WARC-Date: 2026-01-01T00:00:00Z",
        f"WARC-Target-URI: {url}",
        "Content-Type: application/http; msgtype=response",
        f"Content-Length: {len(http)}",
    ]
    return "\r\n".join(warc).encode() + b"\r\n\r\n" + http + b"\r\n\r\n"


if __name__ == "__main__":
    main()
