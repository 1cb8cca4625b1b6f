"""Rules and recipes: decisions, reasons, composition and what a user's mistake says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import (
    c4,
    classifier,
    language,
    paragraph_language,
    pii,
    refinedweb,
    script,
    source_code,
    space_words,
    textstats,
)
from filters.classifier import ClassifierParams
from filters.rules import (
    RATIOS,
    RecipeError,
    Rule,
    breaks,
    check_signals,
    combine_recipes,
    evaluate,
    in_scope,
    load_recipe,
    recipe_names,
    rules_of_source,
)

SIGNALS = pa.table(
    {
        "num_words": pa.array([10, 60, 60, 200_000], pa.int64()),
        "num_hashes": pa.array([0, 30, 0, 0], pa.int64()),
        "score": pa.array([0.5, 0.5, float("nan"), 0.9], pa.float32()),
        "language": pa.array(["en", "de", "en", "fr"]),
    }
)
SHORT = Rule(signal="num_words", min=50, reason="short")
LONG = Rule(signal="num_words", max=100_000, reason="long")
HASHES = Rule(signal="hash_word_ratio", max=0.1, reason="hashes")
SCORE = Rule(signal="score", min=0.6, reason="score")
LANGUAGE = Rule(signal="language", in_=("en", "de"), reason="language")


def test_the_first_broken_rule_is_the_reason() -> None:
    drop, reason, first, marginal = evaluate([SHORT, LONG, HASHES, SCORE, LANGUAGE], SIGNALS)
    assert reason.to_pylist() == ["short", "hashes", "score", "long"]
    assert drop.to_pylist() == [True] * 4
    assert first == {"short": 1, "long": 1, "hashes": 1, "score": 1, "language": 0}
    assert marginal == {"short": 1, "long": 1, "hashes": 1, "score": 3, "language": 1}


def test_kept_documents_have_no_reason() -> None:
    drop, reason, first, marginal = evaluate([SHORT, HASHES], SIGNALS)
    assert drop.to_pylist() == [True, True, False, False]
    assert reason.to_pylist() == ["short", "hashes", "", ""]
    assert first == marginal == {"short": 1, "hashes": 1}


def test_bounds_are_inclusive() -> None:
    exact = Rule(signal="num_words", min=60, max=60, reason="sixty")
    assert evaluate([exact], SIGNALS).drop.to_pylist() == [True, False, False, True]


def test_rules_have_a_scope_of_languages_and_sources() -> None:
    german = SHORT.model_copy(update={"languages": ("de",), "min": 100.0})
    assert evaluate([german], SIGNALS).drop.to_pylist() == [False, True, False, False]
    web = SHORT.model_copy(update={"sources": ("web",)})
    assert rules_of_source([web, LONG], "books") == [LONG]
    assert rules_of_source([web, LONG], "web") == [web, LONG]


def test_rules_apply_where_another_signal_has_a_value() -> None:
    given = {"signal": "num_words", "min": 100, "reason": "short"}
    where = Rule.model_validate({**given, "where": {"language": ["de", "en"]}})
    assert evaluate([where], SIGNALS).drop.to_pylist() == [True, True, True, False]
    both = Rule.model_validate({**where.model_dump(), "unless": {"language": ["en"]}})
    assert evaluate([both], SIGNALS).drop.to_pylist() == [False, True, False, False]
    assert in_scope(both, SIGNALS).tolist() == [False, True, False, False]
    assert both.columns == ("num_words", "language", "language")
    again = Rule.model_validate(both.model_dump(mode="json"))
    assert again == both
    assert hash(again) == hash(both)
    unknown = Rule.model_validate({**given, "unless": {"lang": ["en"]}})
    with pytest.raises(RecipeError, match="rule 'short': unknown signal 'lang'"):
        evaluate([unknown], SIGNALS)


def test_no_rules_and_no_rows() -> None:
    assert evaluate([], SIGNALS).drop.to_pylist() == [False] * 4
    drop, reason, first, marginal = evaluate([SHORT, LANGUAGE], SIGNALS.slice(0, 0))
    assert (len(drop), len(reason)) == (0, 0)
    assert first == marginal == {"short": 0, "language": 0}


NUMBERS = {
    "words": st.integers(0, 10),
    "lines": st.integers(0, 4),
    "score": st.sampled_from([0.0, 0.3, 0.5, 1.0, float("nan")]),
    "mass": st.sampled_from([0.0, 0.3, 2.5, float("inf"), float("nan")]),
    "language": st.sampled_from(["en", "de", "fr", None]),
}
TYPES = {
    "words": pa.int64(),
    "lines": pa.uint32(),
    "score": pa.float32(),
    "mass": pa.float64(),
    "language": pa.string(),
}
RULES = (
    Rule(signal="words", min=3, reason="few"),
    Rule(signal="words", min=2, max=7, reason="between", languages=("en", "fr")),
    Rule(signal="words / words", max=0.5, reason="some"),
    Rule(signal="words / lines", max=2.5, reason="long_lines"),
    Rule(signal="score", min=0.3, reason="low"),
    Rule(signal="mass", max=0.3, reason="heavy", where=(("language", ("de",)),)),
    Rule(signal="score / mass", min=0.1, reason="density"),
    Rule(signal="language", in_=("en", "de"), reason="language"),
    Rule(signal="language", in_=("fr",), reason="low", unless=(("language", ("en",)),)),
)


def is_broken(rule: Rule, row: dict[str, Any]) -> bool:
    """The definition, for one document."""
    languages = rule.languages and row["language"] not in rule.languages
    where = any(row[name] not in values for name, values in rule.where or ())
    unless = any(row[name] in values for name, values in rule.unless or ())
    if languages or where or unless:
        return False
    if rule.in_ is not None:
        return row[rule.signal] not in rule.in_
    above, _, below = rule.signal.partition(" / ")
    value, low, high = row[above], rule.min, rule.max
    if below:
        value = value / max(row[below], 1)
    elif above == "score":  # stored as float32, and so compared
        low, high = (bound if bound is None else float(np.float32(bound)) for bound in (low, high))
    return not ((low is None or value >= low) and (high is None or value <= high))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.fixed_dictionaries(NUMBERS), max_size=12),
    st.permutations(RULES),
    st.integers(1, 3000),
    st.booleans(),
)
def test_decisions_equal_their_definition(
    rows: list[dict[str, Any]], rules: list[Rule], copies: int, encoded: bool
) -> None:
    table = pa.Table.from_pylist(rows, pa.schema(list(TYPES.items())))
    rows = table.to_pylist()  # with scores as they are stored
    table = table.take(pa.array(np.repeat(np.arange(len(rows)), copies)))
    if encoded:
        table = table.set_column(4, "language", table["language"].dictionary_encode())
    drop, reason, first, marginal = evaluate(rules, table)
    broken = [[rule.reason for rule in rules if is_broken(rule, row)] for row in rows]
    assert drop.to_pylist() == [bool(ones) for ones in broken for _ in range(copies)]
    assert reason.to_pylist() == [(ones or [""])[0] for ones in broken for _ in range(copies)]
    for name in {rule.reason for rule in rules}:
        assert first[name] == copies * sum(ones[:1] == [name] for ones in broken)
        assert marginal[name] == copies * sum(ones.count(name) for ones in broken)
    for rule in rules:
        alone = [is_broken(rule, row) for row in rows for _ in range(copies)]
        assert breaks(rule, table).tolist() == alone


def test_shipped_recipes_use_signals_that_exist() -> None:
    columns = {*textstats.COLUMNS, *classifier.schema(ClassifierParams("dclm", "")).names}
    for group in (language, paragraph_language, pii, refinedweb, script, source_code, space_words):
        columns |= set(group.SCHEMA.names)
    for params in c4.VARIANTS.values():
        columns |= set(c4.schema(params).names)
    for name in recipe_names():
        recipe = load_recipe(name)
        check_signals(recipe.rules, columns)
        assert recipe.rules or recipe.editors
    for ratio in RATIOS.values():
        assert columns.issuperset(ratio.columns), ratio.name


def reasons(recipe: str, text: str) -> set[str]:
    """All rules of a recipe that a text breaks."""
    batch = pa.record_batch({"text": pa.array([text], pa.large_string())})
    counts = [textstats.compute(batch), space_words.compute(batch)]
    signals = pa.table({name: part.column(name) for part in counts for name in part.schema.names})
    marginal = evaluate(load_recipe(recipe).rules, signals).marginal
    return {reason for reason, count in marginal.items() if count}


def test_variants_of_gopher_differ_as_their_systems_do() -> None:
    distinct = " ".join(f"{chr(97 + k % 26)}ord{chr(97 + k // 26)}" for k in range(60))
    assert reasons("gopher", f"the {distinct} the") == {"gopher_few_stop_words"}
    assert reasons("gopher-dclm", f"the {distinct} the") == set()
    starred = "\n".join(f"* {line} the of" for line in distinct.split())
    assert "gopher_dclm_bullet_lines" in reasons("gopher-dclm", starred)
    assert "gopher_bullet_lines" not in reasons("gopher", starred)
    assert [rule.reason for rule in load_recipe("massivetext").rules[:1]] == ["gopher_few_words"]


BOOK = {  # a novel's counts
    "num_words": 60_000,
    "num_nonsymbol_words": 50_000,
    "num_alpha_words": 49_500,
    "nonsymbol_word_chars": 215_000,
    "num_stop_words": 8_500,
    "num_sentences": 2_500,
    "num_newlines": 5_000,
    "num_chars": 280_000,
    "duplicate_piece_chars": 500,
    "language": "en",
}


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({}, set()),
        ({"num_nonsymbol_words": 1_999, "num_alpha_words": 1_999, "num_sentences": 100},
         {"books_few_words"}),
        ({"num_alpha_words": 44_000}, {"books_numbers"}),
        ({"nonsymbol_word_chars": 149_000}, {"books_broken_words"}),
        ({"nonsymbol_word_chars": 149_000, "num_stop_words": 0, "language": "zh"}, set()),
        ({"num_stop_words": 3_900}, {"books_few_stop_words"}),
        ({"num_sentences": 499}, {"books_few_sentences"}),
        ({"num_newlines": 25_000}, {"books_short_lines"}),
        ({"duplicate_piece_chars": 57_000}, {"books_duplicate_lines"}),
    ],
)  # fmt: skip
def test_books_are_dropped_for_what_is_no_prose(changed: dict, broken: set[str]) -> None:
    signals = pa.Table.from_pylist([BOOK | changed])
    marginal = evaluate(load_recipe("books").rules, signals).marginal
    assert {reason for reason, count in marginal.items() if count} == broken


def test_fineweb2_has_thresholds_by_language() -> None:
    words = [f"{chr(97 + k % 26)}ord{chr(97 + k // 26)}" for k in range(120)]
    rows = [" ".join(words[k : k + 6]) for k in range(0, 120, 6)]
    ended = "\n".join(rows) + "."  # one line of 20 ends in a mark; 19 newlines, 121 words
    assert reasons("fineweb2-fra", ended) == {"fineweb2_fra_terminal_lines"}
    assert reasons("fineweb2-deu", ended) == {"fineweb2_deu_newlines"}
    assert reasons("fineweb2-kor", ended) == {"fineweb2_kor_terminal_lines"}


def test_fineweb2_asks_each_language_by_its_own_thresholds() -> None:
    rules = load_recipe("fineweb2").rules
    french = [rule for rule in rules if rule.languages == ("fr",)]
    alone = [rule.model_copy(update={"languages": None}) for rule in french]
    assert alone == list(load_recipe("fineweb2-fra").rules)
    num_codes = len([name for name in recipe_names() if name.startswith("fineweb2-")])
    assert len({rule.languages for rule in rules}) == num_codes


def test_an_included_recipe_is_asked_of_some_languages(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "rules:\n"
        "  - {signal: num_words, min: 50, reason: short}\n"
        "  - {signal: num_words, max: 90, reason: long, languages: [en, fr]}\n"
        "  - {signal: num_words, max: 70, reason: longer, languages: [it]}\n"
    )
    (tmp_path / "mine.yaml").write_text("include: [base.yaml: {languages: [de, fr]}]\n")
    recipe = load_recipe(str(tmp_path / "mine.yaml"))
    assert {rule.reason: rule.languages for rule in recipe.rules} == {
        "short": ("de", "fr"),
        "long": ("fr",),
    }
    assert evaluate(recipe.rules, SIGNALS).reason.to_pylist() == ["", "", "", "long"]


def test_recipes_are_put_together() -> None:
    both = combine_recipes([load_recipe("gopher"), load_recipe("c4"), load_recipe("fineweb")])
    assert both.name == "gopher+c4+fineweb"
    assert [editor.name for editor in both.editors] == ["c4", "c4_fineweb"]
    reasons = [rule.reason for rule in both.rules]
    assert len(reasons) == len(set(reasons)) == 24 + 4 + 8


def test_a_recipe_file_includes_others(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("rules:\n  - {signal: num_words, min: 5, reason: short}\n")
    (tmp_path / "mine.yaml").write_text("include: [base.yaml, mc4]\neditors: [c4]\n")
    recipe = load_recipe(str(tmp_path / "mine.yaml"))
    assert recipe.name == "mine"
    assert [rule.reason for rule in recipe.rules] == ["short", "mc4_few_long_lines"]
    assert [editor.name for editor in recipe.editors] == ["c4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rules: [{signal: a, reason: b}]", "rules.0: .*needs min, max or in"),
        ("rules: [{signal: a, min: 2, max: 1, reason: b}]", "min 2.0 is above max 1.0"),
        ("rules: [{signal: a, minimum: 2, reason: b}]", "rules.0.minimum"),
        ("editors: [c5]", "unknown editor 'c5'; did you mean 'c4'"),
        ("include: [gofer]", "unknown recipe 'gofer'; did you mean 'gopher'"),
        ("include: [x.yaml]", "includes itself"),
        ("include: [c4: {languages: [en]}]", "'c4' edits texts, which is done in all languages"),
        ("include: [gopher: {language: [en]}]", "include.0.*languages"),
        ("rules: [", "is not YAML"),
        ("- 1", "has no keys"),
        (
            "rules: [{signal: a, min: 1, reason: b}, {signal: a, min: 2, reason: b}]",
            "second, different rule for the reason 'b'",
        ),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=message):
        load_recipe(str(path))


def test_unknown_names_get_the_nearest_one() -> None:
    with pytest.raises(RecipeError, match="did you mean 'fineweb'"):
        load_recipe("finweb")
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe("missing.yaml")
    with pytest.raises(RecipeError, match=r"'num_word'; did you mean 'num_words'"):
        evaluate([Rule(signal="num_word", min=1, reason="r")], SIGNALS)
    with pytest.raises(RecipeError, match="mean_word_chars needs the signal"):
        evaluate([Rule(signal="mean_word_chars", min=1, reason="r")], SIGNALS)
    with pytest.raises(RecipeError, match="use `in`"):
        evaluate([Rule(signal="language", min=1, reason="r")], SIGNALS)
