from __future__ import annotations

import bz2
import re
from collections import Counter
from pathlib import Path

import mwparserfromhell
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from pipelines.sources.wikitext import MAX_DEPTH, to_text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Bold''' ''italic'' '''''both''''' l''''avion'''", "Bold italic both l'avion"),
        ("[[apple]]s, [[World religions|faiths]], [[Rust (language)|]]", "apples, faiths, Rust"),
        ("a [[File:X.jpg|thumb|A ''caption'' with [[link|links]]]] b", "a b"),
        ("a [[Datei:X.jpg|mini]] b[[Kategorie:K]]", "a b"),
        ("[[:Category:Shown]] [[Help:Page]] [[de:Seite]]", "Category:Shown Help:Page"),
        ("[http://x.org a label] [https://x.org] [//x.org y]", "a label y"),
        ("one {{cite|a={{nested|[[x]]}}}}two", "one two"),
        ("{{lang|fr|oui}} {{lang-de|ja}} {{nowrap|a b}}", "oui ja a b"),
        ("{{convert|5|km|mi}} {{cvt|1|to|2|km}} a{{ndash}}b", "5 km 1 to 2 km a\u2013b"),
        ("a\n{| class=x\n|-\n| cell {{t}} || [[b|c]]\n|}\nd", "a\n\nd"),
        ("a<ref>note [[x]]</ref> b<ref name=x/> c<ref name=y />.", "a b c."),
        ("a<!-- {{ [[ -->b", "ab"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<div class='x'>kept <b>text</b></div>", "kept text"),
        ("<nowiki>[[not a link]] ''quotes''</nowiki>", "[[not a link]] ''quotes''"),
        ("<math>x_{i} < {{y}}</math>", "$x_{i} < {{y}}$"),
        ("<syntaxhighlight lang=c>\n  a[[0]] = '';\n</syntaxhighlight>", "a[[0]] = '';"),
        ("* one\n** two\n# three\n: indented\n; term", "- one\n- two\n- three\nindented\nterm"),
        ("&nbsp;x&amp;y &lt;b&gt; &#8211;", "x&y <b> \u2013"),
        ("__NOTOC__\nText\n----\nMore", "Text\n\nMore"),
        ("Empty ({{x}}) brackets ({{y}}; {{z}})", "Empty brackets"),
        ("-{zh-hans:\u4e00;zh-hant:\u4e8c}- -{A}-", "\u4e00 A"),
        ("unclosed {{template and [[link", "unclosed {{template and [[link"),
        ("stray }} and ]]", "stray }} and ]]"),
        ("[[a {{b]] c}} d", "a {{b c}} d"),
        ("{{{1|default}}} x", "x"),
        ("", ""),
    ],
)  # fmt: skip
def test_markup(wikitext: str, text: str) -> None:
    dropped = {"file", "datei", "category", "kategorie"}
    assert to_text(wikitext, dropped) == text


def test_headings_stay_unless_their_section_is_empty() -> None:
    wikitext = """Lead
== History ==
=== Early ===
Text.
=== Late ===
{{empty}}
== References ==
<references/>
== Notes ==
=== Sub ===
== See also ==
* [[x]]
"""
    assert to_text(wikitext) == "Lead\n\nHistory\n\nEarly\n\nText.\n\nSee also\n\n- x"


MARKUP = st.lists(
    st.sampled_from(
        ["{{", "}}", "{|", "|}", "[[", "]]", "|", "'''", "<ref>", "</ref>", "<nowiki>", "</nowiki>",
         "<!--", "-->", "\n==", "== ", "\n*", "a", " ", "[http://x ", "]", "-{", "}-", "File:"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@given(st.one_of(MARKUP, st.text(max_size=60)))
def test_any_text_converts(wikitext: str) -> None:
    text = to_text(wikitext)
    assert text == text.strip()
    assert not re.search("[\ufdd0-\ufdef]", text)


@given(st.text(alphabet="abc xyz.,\u00e4\n", max_size=80))
def test_plain_text_stays(wikitext: str) -> None:
    assert to_text(wikitext).split() == wikitext.split()


@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH * 50])
def test_deep_nesting_is_bounded(depth: int) -> None:
    assert "after" in to_text("{{a|" * depth + "x" + "}}" * depth + " after")


@pytest.mark.parametrize(
    "piece", ["[[", "{{", "<ref>", "[http://x ", "-{", "<!--", "''", "{|", "<b", "\n= a ="]
)
def test_hostile_repeats_finish(piece: str) -> None:
    """Quadratic time would take minutes here."""
    to_text(piece * 20_000)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_real_leads(number: int, shared_data: Path) -> None:
    """The lead section of a real article against the text that people wrote down for it."""
    base = shared_data / f"wikipedia/abstract_gold/AbstractExtractorTest{number}"
    wikitext = base.with_suffix(".wiki").read_text()
    gold = base.with_name(f"{base.name}-gold.txt").read_text()
    lead = " ".join(to_text(wikitext.partition("\n==")[0]).split())
    assert lead == " ".join(gold.split())


def test_agrees_with_a_full_parser_on_real_articles(shared_data: Path) -> None:
    """Words of mwparserfromhell's text, with what it does not take out removed beforehand."""
    name = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    with bz2.open(shared_data / "wikipedia/gensim" / name) as file:
        data = file.read(800_000)
    num_articles = 0
    for page in re.findall(rb"<page>.*?</page>", data, re.S):
        wikitext = etree.fromstring(page).findtext("revision/text") or ""
        if len(wikitext) > 60_000 or wikitext.lower().startswith("#redirect"):
            continue
        num_articles += 1
        assert _overlap(_words(to_text(wikitext)), _words(_reference(wikitext))) > 0.95
    assert num_articles >= 3


def _reference(wikitext: str) -> str:
    code = mwparserfromhell.parse(wikitext)
    for node in code.filter_tags(matches=lambda tag: tag.tag in ("ref", "table")):
        code.replace(node, "") if node in code.nodes else None
    for link in code.filter_wikilinks(matches=r"^\[\[(File|Image|Category):"):
        if code.contains(link):
            code.remove(link)
    return str(code.strip_code())


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


def _overlap(one: Counter[str], other: Counter[str]) -> float:
    return 2 * (one & other).total() / (one.total() + other.total())
