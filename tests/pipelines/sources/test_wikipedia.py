from __future__ import annotations

import bz2
import csv
import gzip
import itertools
import re
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.sources import load_source
from tests.pipelines.sources.outcomes import read, read_parts

SOURCE = load_source("wikipedia", {}, "wiki")
HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" xml:lang="de">
  <siteinfo>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""
TAIL = "</mediawiki>\n"
SAME_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)


def page(number: int, text: str, ns: str = "<ns>0</ns>", extra: str = "") -> str:
    return f"""  <page>
    <title>Seite &amp; {number}</title>{ns}<id>{number}</id>{extra}
    <revision><id>{number + 1000}</id><timestamp>2020-01-02T03:04:05Z</timestamp>
      <text xml:space="preserve">{text}</text>
    </revision>
  </page>
"""


def write(folder: Path, *pages: str, head: str = HEAD, tail: str = TAIL) -> Path:
    path = folder / "wiki.xml"
    path.write_text(head + "".join(pages) + tail)
    return path


def test_each_page_has_one_fate(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        page(1, "Ein '''Artikel''' &lt;b&gt;fett&lt;/b&gt; [[Datei:X.jpg|mini|weg]]"),
        page(2, "x", ns="<ns>1</ns>"),
        page(3, "x", extra='<redirect title="Y" />'),
        page(4, "#REDIRECT [[Y]]"),
        page(5, "{{leer}}"),
        page(6, "x", ns=""),
        page(7, "x", ns="").replace("Seite &amp;", "Kategorie:"),
        page(8, "x").replace("<text", "<model>css</model><text"),
        page(9, "kaputt</b>"),
        page(10, "letzter"),
    )
    outcomes = read(SOURCE, path)
    assert outcomes.texts == ["Ein Artikel fett", "x", "letzter"]
    assert outcomes.counts == {
        "document": 3,
        "skip:namespace": 2,
        "skip:redirect": 2,
        "skip:empty": 1,
        "skip:content_model": 1,
        "corrupt": 1,
    }
    first = outcomes.documents[0]
    assert first.url == "https://de.wikipedia.org/wiki/Seite_%26_1"
    assert (first.title, first.record) == ("Seite & 1", "file#page=1")
    assert first.created == "2020-01-02T03:04:05Z"
    assert first.meta == {"id": "1", "revision": "1001", "language": "de"}


def test_other_namespaces_and_the_last_revision(tmp_path: Path) -> None:
    source = load_source("wikipedia", {"namespaces": [1]}, "wiki")
    revisions = "<revision><text>alt</text></revision>"
    path = write(tmp_path, page(1, "neu", ns="<ns>1</ns>", extra=revisions), page(2, "x"))
    assert read(source, path).texts == ["neu"]


def test_what_is_no_dump_is_a_casualty(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    for content in (b"<html></html>", b"", b"\0" * 100):
        path.write_bytes(content)
        assert read(SOURCE, path).counts == {"invalid": 1}


def test_a_cut_dump_is_its_whole_pages_and_a_casualty(tmp_path: Path) -> None:
    pages = [page(i, f"Text {i}") for i in range(5)]
    whole = (HEAD + "".join(pages) + TAIL).encode()
    ends = [len(HEAD) + sum(map(len, pages[: i + 1])) - 1 for i in range(5)]
    path = tmp_path / "a.xml"
    for cut in range(len(HEAD), len(whole) - len("</mediawiki>\n"), 7):
        path.write_bytes(whole[:cut])
        outcomes = read(SOURCE, path)
        assert outcomes.texts == [f"Text {i}" for i in range(sum(end <= cut for end in ends))]
        assert outcomes.counts["truncated"] == 1
    path.write_bytes(gzip.compress(whole, mtime=0)[:-100])
    assert read(SOURCE, path).counts["truncated"] == 1


def test_limits(tmp_path: Path) -> None:
    path = write(tmp_path, page(1, "x" * (3 << 20)), page(2, "y " * (600 << 10)), page(3, "z"))
    outcomes = read(SOURCE, path)
    assert outcomes.counts == {"too_large": 2, "document": 1}


def test_entity_bombs_and_deep_trees_are_casualties(tmp_path: Path) -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    outside = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    path = write(
        tmp_path,
        page(1, "&b;"),
        page(2, "&e;"),
        page(3, "<a>" * 100_000),
        page(4, "after"),
        head=laughs + outside + HEAD,
    )
    outcomes = read(SOURCE, path)
    assert outcomes.counts == {"corrupt": 3, "document": 1}


def test_broken_utf8_in_a_page_is_repaired(tmp_path: Path) -> None:
    path = write(tmp_path, page(1, "a?b"))
    path.write_bytes(path.read_bytes().replace(b"a?b", b"a\xffb"))
    assert read(SOURCE, path).texts == ["a\ufffdb"]


PAGES = [page(i, f"Text {i} " * (i + 1)) for i in range(12)]
TEXTS = [(f"Text {i} " * (i + 1)).strip() for i in range(12)]


def streams(cuts: list[int]) -> list[bytes]:
    """The dump of PAGES as a bzip2 stream between every two cuts, wherever they fall."""
    data = (HEAD + "".join(PAGES) + TAIL).encode()
    borders = [0, *sorted({cut % len(data) for cut in cuts} - {0}), len(data)]
    return [bz2.compress(data[start:end]) for start, end in itertools.pairwise(borders)]


@SAME_FOLDER
@given(cuts=st.lists(st.integers(1, 10_000), max_size=8), part_bytes=st.integers(20, 2_000))
def test_parts_hold_each_page_once(tmp_path: Path, cuts: list[int], part_bytes: int) -> None:
    """Multistream dumps and pbzip2, whose streams end in the middle of pages."""
    data = b"".join(streams(cuts))
    path = tmp_path / "a.xml.bz2"
    path.write_bytes(data)
    whole = read(SOURCE, path)
    assert whole.texts == TEXTS
    assert read_parts(SOURCE, path, len(data), part_bytes) == whole


@SAME_FOLDER
@given(cuts=st.lists(st.integers(1, 10_000), min_size=2, max_size=8), data=st.data())
def test_damage_costs_one_stream(tmp_path: Path, cuts: list[int], data: st.DataObject) -> None:
    """Pages that touch no damaged stream are all there, in parts as in the whole."""
    packed = streams(cuts)
    hit = data.draw(st.integers(0, len(packed) - 1))
    position = data.draw(st.integers(4, len(packed[hit]) - 1))
    broken = bytearray(packed[hit])
    broken[position] ^= 0x40
    content = b"".join([*packed[:hit], broken, *packed[hit + 1 :]])
    path = tmp_path / "a.xml.bz2"
    path.write_bytes(content)
    whole = read(SOURCE, path)
    assert whole.casualties or whole.texts == TEXTS  # the last byte has padding bits
    if whole.counts == {"invalid": 1}:  # its very first bytes say that it is no bzip2 file
        assert hit == 0
        assert position < 10
        return
    untouched = b"".join(map(bz2.decompress, packed[:hit])).count(b"</page>")
    untouched += b"".join(map(bz2.decompress, packed[hit + 1 :])).count(b"<page>")
    lost = bz2.decompress(packed[hit])
    assert untouched - 2 <= len(whole.documents) <= 12
    assert set(whole.texts) <= set(TEXTS)
    if lost.count(b"<page>") == lost.count(b"</page>") and hit > 0:
        assert read_parts(SOURCE, path, len(content), 150).documents == whole.documents


def test_real_dumps(shared_data: Path) -> None:
    every = load_source("wikipedia", {"namespaces": list(range(-2, 3_000))}, "wiki")
    with (shared_data / "EXPECTED_COUNTS.dev.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    dumps = [row for row in rows if row["path"].startswith("wikipedia/")]
    for row in dumps:
        path = shared_data / row["path"]
        expected = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", row["note"])}
        outcomes = read(SOURCE, path, max_document_bytes=10 << 20)
        assert outcomes.casualties == [], row["path"]
        assert len(outcomes) == int(row["items"].removeprefix("pages=")), row["path"]
        in_articles = len(outcomes) - outcomes.counts.get("skip:namespace", 0)
        assert in_articles == expected["ns0"], row["path"]
        # One redirect of tinywiki is only in the text, and enwiki need not be read twice.
        if not re.search("tinywiki|enwiki", row["path"]):
            redirects = read(every, path, max_document_bytes=10 << 20).counts.get(
                "skip:redirect", 0
            )
            assert redirects == expected["redirects"], row["path"]
    assert len(dumps) > 80


def test_real_parts(shared_data: Path) -> None:
    path = shared_data / "wikipedia/dbpedia_minidumps/en/wiki.xml.bz2"
    whole = read(SOURCE, path, max_document_bytes=10 << 20)
    assert read_parts(SOURCE, path, path.stat().st_size, 100_000) == whole
