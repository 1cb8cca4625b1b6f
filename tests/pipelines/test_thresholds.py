"""Bounds for each language: what each method promises, and the recipe that is written."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from filters.rules import Rule, load_recipe
from pipelines.thresholds import Derivation, derive
from storage import tables
from storage.errors import ConfigError
from tests.command_line import CommandLine, write_corpus, write_documents

MIN = Rule(signal="x", min=10.0, reason="low")
MAX = Rule(signal="x", max=10.0, reason="high")
ENGLISH = "The committee will publish its report on the future of the railway next spring"
GERMAN = "Der Ausschuss wird im Herbst seinen Bericht zur Zukunft der Eisenbahn vorlegen"


@pytest.fixture
def tilth(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def samples() -> dict[str, np.ndarray]:
    """Of `de` each value is three times that of `en`; `xx` has few documents."""
    english = np.sort(np.random.default_rng(0).lognormal(3, 0.8, 5000))
    return {"en": english, "de": 3 * english, "xx": english[:5]}


def dropped(rule: Rule, values: np.ndarray) -> float:
    low = values < (-math.inf if rule.min is None else rule.min)
    high = values > (math.inf if rule.max is None else rule.max)
    return float((low | high).mean())


@pytest.mark.parametrize("rule", [MIN, MAX])
def test_quantile_drops_the_same_share_in_each_language(rule: Rule) -> None:
    found = {one.languages: one for one in derive(rule, samples(), Derivation("quantile"))}
    assert set(found) == {("de",), ("en",)}
    share = dropped(rule, samples()["en"])
    for names, one in found.items():
        assert names is not None
        assert dropped(one, samples()[names[0]]) == pytest.approx(share, abs=2 / 5000)
    german = found["de",].min or found["de",].max
    assert german == pytest.approx(30, rel=0.01)
    assert found["de",].reason == f"{rule.reason}_de"


@pytest.mark.parametrize("rule", [MIN, MAX])
def test_mean_std_follows_a_change_of_unit(rule: Rule) -> None:
    found = {one.languages: one for one in derive(rule, samples(), Derivation("mean_std"))}
    assert (found["de",].min or found["de",].max) == pytest.approx(30, rel=1e-4)
    assert (found["en",].min or found["en",].max) == pytest.approx(10, rel=1e-4)


@pytest.mark.parametrize("rule", [MIN, MAX])
def test_tail_drops_its_share(rule: Rule) -> None:
    for one in derive(rule, samples(), Derivation("tail", tail=0.2)):
        assert one.languages is not None
        values = samples()[one.languages[0]]
        assert dropped(one, values) == pytest.approx(0.2, abs=2 / 5000)


def test_language_scores_have_a_formula_of_their_own() -> None:
    rule = Rule(signal="language_score", min=0.65, reason="score")
    scores = {"aa": np.full(2000, 0.95), "bb": np.full(2000, 0.1), "cc": np.linspace(0, 1, 2001)}
    bounds = {one.languages: one.min for one in derive(rule, scores, Derivation())}
    assert bounds["aa",] == 0.9
    assert bounds["bb",] == 0.3
    assert bounds["cc",] == 0.3


def test_a_reference_language_is_needed() -> None:
    few = {"de": np.arange(5000.0)}
    with pytest.raises(ConfigError, match="reference language 'en'"):
        derive(MIN, few, Derivation())
    assert len(derive(MIN, few, Derivation("tail"))) == 1
    assert derive(MIN, {}, Derivation()) == []


def test_the_recipe_decides_by_language(tilth: CommandLine, tmp_path: Path) -> None:
    texts = [
        " ".join([sentence] * repeats) + f" {repeats}."
        for sentence in (ENGLISH, GERMAN)
        for repeats in range(1, 11)
    ]
    write_documents(tmp_path / "raw" / "a.jsonl", texts)
    (tmp_path / "rules.yaml").write_text(
        "rules: [{signal: num_words, min: 50, reason: few_words}]\n"
    )
    corpus = write_corpus(tmp_path, {"recipe": "rules.yaml"})
    tilth.succeeds("ingest", corpus)
    tilth.succeeds("annotate", corpus)
    output = tmp_path / "by-language.yaml"
    options = ("--output", str(output), "--min-documents", "5", "--method", "tail", "--tail", "0.3")
    shown = tilth.succeeds("thresholds", corpus, *options)
    assert "2 rules from 1, by language: de 1, en 1" in shown
    assert [rule.languages for rule in load_recipe(str(output)).rules] == [("de",), ("en",)]
    corpus = write_corpus(tmp_path, {"recipe": str(output), "languages": ["en", "fr"]})
    tilth.succeeds("select", corpus)
    path = tmp_path / "out" / "decisions" / "select" / "one" / "0000000-0000.parquet"
    reasons = tables.read_table(str(path))["reason"].to_pylist()
    assert reasons[:10].count("few_words_en") == 2  # the bound itself stays
    assert reasons[:10].count("") == 8
    assert reasons[10:].count("few_words_de") == 2
    assert reasons[10:].count("unexpected_language") == 8
    assert "--method" in tilth.fails(2, "thresholds", corpus, "--method", "median")
    assert "must end in .yaml" in tilth.fails(2, "thresholds", corpus, "--output", "x.txt")
