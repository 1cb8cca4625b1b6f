from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources import load_source
from pipelines.sources.gutenberg import strip
from tests.pipelines.sources.outcomes import read

BOOKS = load_source("text", {"headers": "gutenberg"}, "books")
MODERN = """The Project Gutenberg EBook of A Tale, by Jane Doe

Title: A Tale
       of One Line

Author: Jane Doe

Release Date: June 17, 2008 [EBook #84]
[Last updated: May 1, 2010]

Language: English

Character set encoding: ISO-8859-1

*** START OF THIS PROJECT GUTENBERG EBOOK A TALE
OF ONE LINE ***


Produced by a volunteer

    It was a line.



End of the Project Gutenberg EBook of A Tale, by
Jane Doe

*** END OF THIS PROJECT GUTENBERG EBOOK A TALE ***

***** This file should be named 84.txt *****
"""
LEGACY = """**The Project Gutenberg Etext of Frankenstein, by Shelley**

Please take a look at the important information in this header.

October, 1993  [Etext #84]

***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***
Why is this "Small Print!" statement here? You know: lawyers.

*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*
[Portions of this header are copyright (C) 2001 by M.
and may be reprinted only when these Etexts are free.]


Letter 1

End of this story, said Project Manager.

End of The Project Gutenberg Etext of Frankenstein
"""


def test_modern_header_and_footer() -> None:
    book = strip(MODERN)
    assert book.text == "Produced by a volunteer\n\n    It was a line."
    assert book.title == "A Tale of One Line"
    assert book.created == "June 17, 2008"
    assert book.meta == {"author": "Jane Doe", "language": "English", "gutenberg_id": "84"}


def test_legacy_header_and_footer() -> None:
    book = strip(LEGACY)
    assert book.text == "Letter 1\n\nEnd of this story, said Project Manager."
    assert (book.title, book.meta["author"]) == ("Frankenstein", "Shelley")
    assert book.meta["gutenberg_id"] == "84"


def test_a_text_without_markers_is_unchanged() -> None:
    text = "\n\nA plain text.\nThe end.\n"
    assert strip(text).text == text
    assert strip(text).meta == {"gutenberg_header": "none"}


def test_the_declared_charset_decides(tmp_path: Path) -> None:
    """Too short for detection: only the header tells latin-2 from latin-1."""
    path = tmp_path / "b.txt"
    polish = MODERN.replace("a line", "za\u017c\u00f3\u0142\u0107").replace("8859-1", "8859-2")
    path.write_bytes(polish.encode("iso-8859-2"))
    [document] = read(BOOKS, path).documents
    assert "za\u017c\u00f3\u0142\u0107" in document.text
    assert document.meta["encoding"] == "iso8859-2"


PIECES = st.sampled_from([*MODERN.splitlines(), *LEGACY.splitlines(), "", "***", "text"])


@given(st.one_of(st.text(), st.lists(PIECES, max_size=40).map("\n".join)))
def test_strip_never_fails_and_only_cuts(text: str) -> None:
    assert strip(text).text in text


def test_real_headers_and_footers(shared_data: Path) -> None:
    """The text between the true marker lines, except that the closing line before the end marker
    (`End of Project Gutenberg's ...`) and the wrapped rest of a marker go too."""
    with (shared_data / "books/HEADER_TRUTH.dev.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        path = shared_data / "books" / row["path"]
        [document] = read(BOOKS, path, max_document_bytes=10 << 20).documents
        truth = _between_markers(path, row)
        assert document.text in truth, row["path"]
        cut = truth.replace(document.text, "", 1).strip()
        assert len(cut) < 340, (row["path"], cut)
        assert not cut or "Gutenberg" in cut or cut.endswith("***"), (row["path"], cut)
        assert document.title, row["path"]
        if row["language_declared"] != "-":
            assert document.meta["language"] == row["language_declared"]
    assert len(rows) == 54


def _between_markers(path: Path, row: dict[str, str]) -> str:
    encoding = "utf-8" if row["encoding_declared"] == "UTF-8" else "cp1252"
    text = gzip.decompress(path.read_bytes()).decode(encoding)
    lines = text.replace("\r\n", "\n").split("\n")
    end = int(row["end_marker_line"]) - 1 if row["end_marker_line"] != "-" else len(lines)
    return "\n".join(lines[int(row["start_marker_line"]) : end])


@pytest.mark.parametrize("name", ["quality/pg_directory_listing_junk.txt.gz"])
def test_a_directory_listing_has_no_header(name: str, shared_data: Path) -> None:
    [document] = read(BOOKS, shared_data / name, max_document_bytes=10 << 20).documents
    assert document.meta["gutenberg_header"] == "none"
