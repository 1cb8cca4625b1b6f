"""The report of a small corpus that went the whole way, with documents that attack the page."""

from __future__ import annotations

import copy
import json
import random
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import lxml.html
import pytest

from pipelines import annotate, dedup, ingest, pack, report, select
from pipelines.config import CorpusConfig
from pipelines.duplicates.audit import Audit, Rate
from pipelines.report import Page, make_page, render
from pipelines.stages import Slice
from storage import commit, objects
from storage.errors import UserError

SCRIPT = "<script>document.title = 'attacked'</script>"
HOSTILE = (
    f"{SCRIPT}</script></pre></details><!-- <img src=x onerror=\"document.title='attacked'\"> "
    "&lt;b&gt; &amp; {{ config }} {% raw %} \x00 \x1b[31mred\x1b[0m \u202eabc\u202c "
    "\u2066x\u2069 \ufeff \u2028 'quoted' \"double\" </title><style>*{display:none}</style>"
)
REASON = f"few_words {SCRIPT} \u202e \x1b[2J"
WORDS = ["field", "barley", "oats", "farmers", "sown", "care", "harvested", "the", "and", "with"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMIUM_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--virtual-time-budget=5000", "--dump-dom"),
]


def prose(seed: int, num_words: int) -> str:
    chosen = random.Random(seed)
    return " ".join(f"{chosen.choice(WORDS)}{chosen.randrange(50)}" for _ in range(num_words))


def web_rows() -> list[dict[str, str]]:
    rows = [{"text": prose(n, 60 + n), "url": f"https://example.org/{n}"} for n in range(12)]
    rows.append(rows[0])
    rows.append({**rows[2], "text": rows[2]["text"] + " and one more"})
    texts = [f"{HOSTILE} {prose(n, 80)}" for n in (50, 51)]
    texts += [f"{HOSTILE} {prose(60, 400)}", f"{HOSTILE} {prose(60, 400)} and more", f"{SCRIPT} 1"]
    return rows + [{"text": text, "url": HOSTILE, "title": HOSTILE} for text in texts]


def make_config(folder: Path) -> CorpusConfig:
    """Two sources; the first has a rule with a hostile reason, an editor and a broken line."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    lines = [json.dumps(row) for row in web_rows()]
    (raw / "a<img src=x>.jsonl").write_text("\n".join([*lines, '{"text": ']))
    notes = [{"text": f"Note {n}. It ends here."} for n in range(5)]
    (raw / "notes.jsonl").write_text("\n".join(map(json.dumps, notes)))
    rules = [
        {"signal": "num_words", "min": 45, "reason": REASON},
        {"signal": "num_hashes", "max": 0, "reason": "hashes"},
    ]
    (folder / "recipe.yaml").write_text(json.dumps({"rules": rules}))
    web = {"name": "web", "format": "jsonl", "paths": [str(raw / "a*.jsonl")]}
    web["recipe"] = [str(folder / "recipe.yaml")]
    other = {"name": "notes", "format": "jsonl", "paths": [str(raw / "notes.jsonl")]}
    return CorpusConfig.model_validate(
        {
            "name": "small",
            "output": str(folder / "out"),
            "sources": [web, {**other, "recipe": ["c4"]}],
            "tokenizer": {"vocab_size": 300},
            "pack": {"validation_fraction": 0.1},
            "runner": {"workers": 1},
        }
    )


def decide(config: CorpusConfig) -> None:
    """All stages before pack; without Beam where a stage can do without."""
    ingest.run(config, Slice(0, 1))
    annotate.run(config, Slice(0, 1))
    select.run(config, Slice(0, 1))
    dedup.run(config)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusConfig:
    config = make_config(tmp_path_factory.mktemp("report"))
    decide(config)
    pack.run(config, Slice(0, 1))
    return config


@pytest.fixture(scope="module")
def page(corpus: CorpusConfig) -> Page:
    return make_page(corpus)


def parsed(html: str) -> lxml.html.HtmlElement:
    return lxml.html.document_fromstring(html)


def shown(text: str) -> str:
    """`text` as a reader of the page sees it."""
    hidden = re.compile("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2028\u2066-\u2069\ufeff]")
    return hidden.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def without_times(html: str) -> str:
    start, end = "<!-- times:", "<!-- end of times -->"
    assert html.count(start) == html.count(end) == 1
    return html[: html.index(start)] + html[html.index(end) :]


def hostile_page(page: Page) -> Page:
    """Markup in what sources and models write, too."""
    data = copy.deepcopy(page.data)
    lost = dict.fromkeys(("record", "kind", "message"), HOSTILE)
    data.casualties = [{"source": "web", **lost}]
    data.languages.documents[HOSTILE, True] = 1
    data.funnels[0].skipped[HOSTILE] = 1
    return replace(page, data=data)


def test_markup_in_documents_is_shown_and_makes_no_element(page: Page) -> None:
    html = render(hostile_page(page))
    tree = parsed(html)
    assert not tree.xpath("//script | //img | //link | //iframe | //object | //*[@src]")
    assert not [name for one in tree.iter() for name in one.attrib if name.startswith("on")]
    assert all(link.startswith("#") for link in tree.xpath("//@href"))
    assert len(tree.xpath("//style")) == len(tree.xpath("//title")) == 1
    assert tree.findtext(".//title") == "small: corpus report"
    wanted = shown(HOSTILE)
    texts = [one.text_content() for one in tree.xpath("//pre")]
    # three documents, what one of them was dropped for, and these two again in their cluster
    assert sum(wanted in text for text in texts) == 6
    titles = [one.text_content() for one in tree.xpath("//summary/bdi[1]")]
    assert wanted in titles
    rows = [one.text_content() for one in tree.xpath("//td")]
    assert rows.count(wanted) == 3  # of the casualty
    assert any(wanted in row and row.startswith("skipped") for row in rows)
    for place in ("//summary/span", "//section//span[@class='name']"):
        assert shown(REASON) in [one.text_content() for one in tree.xpath(place)]
    assert any(shown(REASON) in one.text_content() for one in tree.xpath("//small"))
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ufeff]", html)
    policy = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0]
    assert "default-src 'none'" in policy
    assert "script" not in policy


def browse(folder: Path, html: str) -> str:
    """The document after a browser has opened it and run what it runs."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    file = folder / "page.html"
    file.write_text(html)
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [CHROMIUM, *CHROMIUM_FLAGS, profile, file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def test_a_browser_runs_nothing_of_it(page: Page, tmp_path: Path) -> None:
    control = f"<title>safe</title><p>{SCRIPT}</p>"
    assert "<title>attacked</title>" in browse(tmp_path, control)
    dom = browse(tmp_path, render(hostile_page(page)))
    assert "<title>small: corpus report</title>" in dom
    assert dom.count("<h2") == 10  # the page is whole: nothing closed or hid a part of it


def test_the_policy_alone_stops_a_script(page: Page, tmp_path: Path) -> None:
    html = render(page).replace("</body>", f"{SCRIPT}</body>")
    assert "<title>small: corpus report</title>" in browse(tmp_path, html)


def test_every_record_has_one_fate(page: Page) -> None:
    web, notes = page.data.funnels
    assert [web.source, notes.source] == ["web", "notes"]  # in the order of the configuration
    assert (web.records, web.documents, web.casualties) == (20, 19, {"invalid": 1})
    assert web.dropped == {
        REASON: 1,
        "exact_duplicate": 1,
        "near_duplicate": 1,
        "near_validation": 1,
    }
    assert web.kept == web.packed == 15
    assert notes.dropped == {"c4_few_sentences": 5}
    assert notes.kept == notes.tokens == 0
    assert web.tokens > web.validation_tokens > 0
    steps = web.steps(page.data.stages)
    assert [step.documents for step in steps] == [20, 19, 19, 18, 17, 15]
    assert steps[-1].num_bytes == web.kept_bytes == web.packed_bytes
    assert page.data.is_packed
    assert page.data.cluster_sizes == {2: 3}


def test_a_lost_document_is_noticed(page: Page) -> None:
    funnel = replace(page.data.funnels[0])
    funnel.records += 1
    with pytest.raises(AssertionError):
        funnel.check()
    funnel = replace(page.data.funnels[0], kept=page.data.funnels[0].kept - 1)
    with pytest.raises(AssertionError):
        funnel.check()


def test_samples_say_what_was_decided(page: Page) -> None:
    by_reason = {sample.fate.reason: sample for sample in page.dropped}
    few = by_reason[REASON]
    assert [reading.is_broken for reading in few.readings] == [True, False]
    assert few.readings[0].allowed == "at least 45"
    near = by_reason["near_duplicate"]
    assert near.survivor is not None
    assert near.fate.similarity > 0.8
    same = by_reason["exact_duplicate"]
    assert same.survivor is not None
    assert same.survivor.view == same.shown.view
    assert len(page.kept) == 15
    assert len(page.dropped) == 9
    assert {sample.fate.reason for sample in page.kept} == {""}


def test_the_page_changes_in_its_times_only(corpus: CorpusConfig, page: Page) -> None:
    before = render(page)
    for marker in commit.read_markers(corpus.output, "ingest"):
        commit.write_marker(corpus.output, replace(marker, seconds={"busy": 3600.0}))
    after = render(make_page(corpus))
    assert before != after
    assert without_times(before) == without_times(after)
    assert "h 00 min" in after


def test_numbers_without_times(corpus: CorpusConfig, page: Page) -> None:
    html = render(replace(page, times=[]))
    assert "No stage has noted its time" in html


def test_stale_shards_are_said(page: Page) -> None:
    html = render(replace(page, data=replace(page.data, is_packed=False)))
    assert "pack again" in html


def test_a_corpus_before_pack_and_without_kept_documents(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    with pytest.raises(UserError, match="tilth run"):
        ingest.run(config, Slice(0, 1))
        report.run(config)
    nothing = config.select.model_copy(update={"languages": ["xx"]})
    config = config.model_copy(update={"select": nothing})
    decide(config)
    written = report.run(config)
    html = objects.read(written.path).decode()
    assert written.manifest is None
    assert "No document is kept" in html
    assert sum(funnel.kept for funnel in written.data.funnels) == 0
    assert sum(funnel.dropped["language"] for funnel in written.data.funnels) > 0
    assert parsed(html).findtext(".//title") == "small: corpus report"


def test_duplicates_are_shown_by_source_and_cluster_beside_their_survivors(
    corpus: CorpusConfig, page: Page
) -> None:
    found = page.duplicates
    dropped = sum(number for _, _, number, _ in found.source_pairs)
    funnels = page.data.funnels
    assert dropped == sum(f.dropped_by(stage) for f in funnels for stage in ("exact", "fuzzy"))
    assert {(a, b) for a, b, _, _ in found.source_pairs} <= {("web", "web"), ("notes", "notes")}
    sizes = page.data.cluster_sizes
    assert [one.size for one in found.clusters] == sorted(sizes.elements(), reverse=True)[:5]
    for cluster in found.clusters:
        assert 1 <= cluster.num_kept < cluster.size
        assert all(member.shown.doc_id != member.survivor.doc_id for member in cluster.members)
    text = parsed(render(page)).text_content()
    assert "Not audited" in text
    assert "The biggest clusters" in text


def test_an_audit_is_on_the_page_until_decisions_change(corpus: CorpusConfig, page: Page) -> None:
    rates = [Rate(1, 10, 8, 7, 7.5, 0, 0.9)]
    for current, notice in ((True, False), (False, True)):
        duplicates = replace(
            page.duplicates,
            audit=Audit("fingerprint", rates, 4, 3, 0.5),
            audit_is_current=current,
        )
        text = parsed(render(replace(page, duplicates=duplicates))).text_content()
        assert "87.5 %, 7 of 8" in text
        assert "75.0 %, 3 of 4" in text
        assert ("decisions have changed" in text) == notice
