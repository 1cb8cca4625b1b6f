"""Builds `data/`, the example corpus, from freely licensed material.

Not needed to run the example: `data/` is part of the repository. The material is a folder with

    debian/<guide>/<locale>/<page>.html.gz   from Debian's debian-handbook, installation-guide
    mc4/c4-<language>*.json.gz               the same guides' text in the form of mC4
    books/<number>/<edition>.txt.gz          Project Gutenberg editions, headers and footers kept
    wikipedia/wiki.xml.bz2                   a sample of the English Wikipedia's XML dump
    stackexchange/<site>/Posts.xml           data dumps of Stack Exchange sites
    plos/*.xml.gz                            PLOS articles in JATS
    code/*.tar.gz                            source distributions of small MIT or BSD packages

Duplicates, near-duplicates, junk and a damaged WARC record are put in on purpose, so that the
report has something to show. The output depends on the material alone.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from lxml import etree

CAPTURED = "2024-05-18T12:00:00Z"
RECAPTURED = "2024-06-22T12:00:00Z"
MAX_PAGES_PER_LOCALE = 6
BOOKS = (
    # (number, editions): several editions of one book are near-duplicates
    ("11", ("11-0", "11", "old_alice30")),
    ("84", ("84-0", "old_frank14")),
    ("98", ("98-0",)),
    ("145", ("145-8",)),
    ("345", ("345", "old_dracu10")),
    ("599", ("599",)),
    ("766", ("766-0",)),
    ("972", ("972",)),
    ("1342", ("1342-0", "old_pandp12")),
    ("1400", ("1400-0",)),
    ("2701", ("2701-0",)),
    ("2554", ("2554-0",)),
    ("3261", ("3261",)),
    ("4300", ("4300-0",)),
    ("7000", ("7000-8",)),
    ("16215", ("16215-8",)),
    ("24675", ("24675-8",)),
    ("44157", ("44157-0",)),
)
MC4_LANGUAGES = ("ca", "da", "de", "el", "en", "es", "fr", "it", "ja", "ko", "pt", "ru", "zh-CN")
SITES = ("coffee.stackexchange.com", "beer.stackexchange.com")
LOREM = "Lorem ipsum dolor sit amet, consectetur adipiscing elit. " * 12
JUNK_PAGES = {
    "https://shop.example/cart": "<p>Sign in</p><p>0 items in cart</p><p>Menu</p><p>Help</p>",
    "https://blog.example/new": f"<article><p>{LOREM}</p></article>",
    "https://spam.example/buy": f"<p>{'buy cheap watches now ' * 120}</p>",
    "https://app.example/": "<p>Please enable javascript in your browser to use this app.</p>",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the example corpus.")
    parser.add_argument("material", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data")
    arguments = parser.parse_args()
    build_web(arguments.material / "debian", arguments.out / "web")
    build_books(arguments.material / "books", arguments.out / "books")
    copy(arguments.material / "wikipedia" / "wiki.xml.bz2", arguments.out / "wikipedia")
    for language in MC4_LANGUAGES:
        for path in sorted((arguments.material / "mc4").glob(f"c4-{language}.*")):
            copy(path, arguments.out / "mc4")
    build_questions(arguments.material / "stackexchange", arguments.out / "questions")
    build_science(arguments.material / "plos", arguments.out / "science")
    for path in sorted((arguments.material / "code").glob("*.tar.gz")):
        copy(path, arguments.out / "code")


def copy(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / path.name)


def build_web(pages: Path, folder: Path) -> None:
    """A WARC as a crawler writes it: one gzip member per record, one member damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    members = [gzip_member(warcinfo())]
    captures = list(debian_pages(pages))
    for url, page in captures:
        members += [gzip_member(request(url)), gzip_member(response(url, CAPTURED, page))]
    again = [one for one in captures if "/en-US/" in one[0] or "/en/" in one[0]]
    for url, page in again[:3]:  # the same page captured a second time
        members.append(gzip_member(response(url, RECAPTURED, page)))
    for url, page in again[3:6]:  # a mirror with one more line
        mirrored = page.replace(b"</body>", b"<p>This copy is kept by mirror.example.</p></body>")
        mirror = url.replace("debian.org", "mirror.example")
        members.append(gzip_member(response(mirror, RECAPTURED, mirrored)))
    for url, body in JUNK_PAGES.items():
        page = f"<html><head><title>{url}</title></head><body>{body}</body></html>".encode()
        members.append(gzip_member(response(url, CAPTURED, page)))
    members.append(gzip_member(response("https://api.example/", CAPTURED, b"{}", "text/json")))
    damaged = bytearray(gzip_member(response(*damaged_page(again))))
    damaged[len(damaged) // 2] ^= 0xFF
    members.insert(len(members) // 2, bytes(damaged))
    (folder / "debian.warc.gz").write_bytes(b"".join(members))


def damaged_page(captures: list[tuple[str, bytes]]) -> tuple[str, str, bytes]:
    url, page = captures[-1]
    return url + "?damaged", RECAPTURED, page


def debian_pages(folder: Path) -> Iterator[tuple[str, bytes]]:
    for guide in sorted(path for path in folder.iterdir() if path.is_dir()):
        for locale in sorted(path for path in guide.iterdir() if path.is_dir()):
            for path in sorted(locale.glob("*.html.gz"))[:MAX_PAGES_PER_LOCALE]:
                url = f"https://www.debian.org/doc/{guide.name}/{locale.name}/{path.stem}"
                yield url, gzip.decompress(path.read_bytes())


def warcinfo() -> bytes:
    body = b"software: examples/quickstart/build_data.py\r\nformat: WARC File Format 1.1\r\n"
    return warc_record("warcinfo", "", CAPTURED, "application/warc-fields", body)


def request(url: str) -> bytes:
    host = url.split("/")[2]
    body = f"GET /{url.split('/', 3)[3]} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    return warc_record("request", url, CAPTURED, "application/http; msgtype=request", body)


def response(url: str, date: str, page: bytes, media_type: str = "text/html") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {len(page)}\r\n\r\n"
    kind = "application/http; msgtype=response"
    return warc_record("response", url, date, kind, head.encode() + page)


def warc_record(kind: str, url: str, date: str, content_type: str, body: bytes) -> bytes:
    digest = hashlib.sha256(f"{kind} {url} {date}".encode() + body).hexdigest()
    record_id = f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
    head = [
        "WARC/1.1",
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: <urn:uuid:{record_id}>",
        f"WARC-Date: {date}",
        *([f"WARC-Target-URI: {url}"] if url else []),
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body + b"\r\n\r\n"


def gzip_member(record: bytes) -> bytes:
    return gzip.compress(record, compresslevel=9, mtime=0)


def build_books(editions: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, names in BOOKS:
        for name in names:
            shutil.copyfile(editions / number / f"{name}.txt.gz", folder / f"{name}.txt.gz")


def build_questions(sites: Path, folder: Path) -> None:
    """Posts as JSONL.zst; one line is broken and one post is repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    for site in SITES:
        lines = [json.dumps(post, ensure_ascii=False) for post in posts(sites / site, site)]
        lines.insert(len(lines) // 2, '{"text": "cut off in the mid')
        lines.append(lines[0])
        data = "\n".join(lines).encode() + b"\n"
        compressed = zstandard.ZstdCompressor(19, write_checksum=True).compress(data)
        (folder / f"{site}.jsonl.zst").write_bytes(compressed)


def posts(folder: Path, site: str) -> Iterator[dict[str, str]]:
    for _, row in etree.iterparse(str(folder / "Posts.xml"), tag="row", resolve_entities=False):
        body = html.unescape(re.sub(r"<[^>]+>", "", row.get("Body", "")))
        title = row.get("Title", "")
        yield {
            "text": f"{title}\n\n{body}".strip(),
            "url": f"https://{site}/q/{row.get('Id')}",
            "created": row.get("CreationDate", ""),
            "license": row.get("ContentLicense", "CC BY-SA 4.0").replace(" ", "-"),
        }
        row.clear()


def build_science(articles: Path, folder: Path) -> None:
    """Articles as Parquet in the form of OSCAR: content, warc_headers, metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in sorted(articles.glob("*.xml.gz")):
        tree = etree.fromstring(gzip.decompress(path.read_bytes()))
        paragraphs = [" ".join("".join(p.itertext()).split()) for p in tree.iter("p")]
        doi = path.name.removesuffix(".xml.gz")
        url = f"https://journals.plos.org/article?id=10.1371/{doi}"
        rows.append(
            {
                "content": "\n\n".join(paragraph for paragraph in paragraphs if paragraph),
                "warc_headers": {"warc-target-uri": url, "warc-date": CAPTURED},
                "metadata": {"identification": {"label": "en", "prob": 1.0}},
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), folder / "plos.parquet", compression="zstd")


if __name__ == "__main__":
    main()
