from __future__ import annotations

import gzip
import importlib.util
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from pipelines.sources.html import ExtractionError, HtmlOptions, extract, refuse_hostile
from storage.settings import ConfigError

PAGE = b"""<!doctype html><html lang="de-AT"><head><title> Ein
  Titel </title></head><body>
<nav><a href=/>Start</a> <a href=/x>Mehr</a></nav>
<main><article><h1>Kopf</h1><p>Der erste Absatz mit genug Text, um einer zu sein.</p>
<img alt="Bildtext"><p>Der zweite Absatz.</p></article>
<div class="comments"><p>Ein Kommentar, der auch genug Text hat.</p></div></main>
<script>var x = "code";</script></body></html>"""


def test_main_text_title_and_language() -> None:
    page = extract(PAGE, "", HtmlOptions())
    assert "Der erste Absatz" in page.text
    assert "Der zweite Absatz." in page.text
    assert (page.title, page.language) == ("Ein Titel", "de-AT")
    for noise in ("Mehr", "Bildtext", "code", "Kommentar"):
        assert noise not in page.text


def test_options_keep_more() -> None:
    assert "Kommentar" in extract(PAGE, "", HtmlOptions(comments=True)).text
    assert "Mehr" in extract(PAGE, "", HtmlOptions(main_content=False)).text


def test_nothing_and_anything_parse() -> None:
    assert extract(b"", "", HtmlOptions()).text == ""
    assert extract(bytes(range(256)) * 20, "nonsense-charset", HtmlOptions()) is not None


@pytest.mark.skipif(bool(importlib.util.find_spec("trafilatura")), reason="it is installed")
def test_a_missing_extractor_names_the_package() -> None:
    with pytest.raises(ConfigError, match="pip install trafilatura"):
        extract(PAGE, "", HtmlOptions(extractor="trafilatura"))


@pytest.mark.parametrize(
    "markup",
    [
        "<div>" * 6_000,
        "<DIV class=x>" * 300 + "<p>x</p>" * 30_000,
        "<article>" * 6_000,
        "<p " + "a='' " * 20_000 + ">",
    ],
)
def test_markup_that_would_take_seconds_is_refused(markup: str) -> None:
    with pytest.raises(ExtractionError):
        refuse_hostile(markup)


def test_large_ordinary_markup_is_not_refused() -> None:
    row = "<div class=row><div><p>text</p></div><div><a href=x>link</a></div></div>"
    refuse_hostile("<div><div><div>" + row * 50_000 + "</div></div></div>")
    refuse_hostile(f"<img src='data:{'A' * 500_000}'>")


def test_the_published_score_holds_on_real_pages(shared_data: Path) -> None:
    """F1 over 4-grams of words as the article extraction benchmark defines it (METRIC.md)."""
    folder = shared_data / "web/aeb"
    truth = json.loads((folder / "ground-truth.dev.json").read_text())
    precisions, recalls = [], []
    for name, page in truth.items():
        html = gzip.decompress((folder / "html" / f"{name}.html.gz").read_bytes())
        found = _shingles(extract(html, "", HtmlOptions()).text)
        wanted = _shingles(page["articleBody"])
        common = (found & wanted).total()
        precisions += [common / found.total()] if found else []
        recalls += [common / wanted.total()] if wanted else []
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    assert 2 * precision * recall / (precision + recall) > 0.93
    assert len(truth) == 76


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    starts = range(max(1, len(words) - 3)) if words else range(0)
    return Counter(tuple(words[start : start + 4]) for start in starts)
