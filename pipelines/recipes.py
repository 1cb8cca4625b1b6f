"""The quality rules of a source: its named recipes put together, then the corpus's own rules."""

from __future__ import annotations

from functools import cache
from math import inf

from filters.rules import (
    Recipe,
    RecipeError,
    Rule,
    combine_recipes,
    load_recipe,
    rules_of_source,
)
from pipelines import url_lists
from pipelines.config import CorpusConfig, SelectConfig
from storage.errors import ConfigError


def source_recipe(config: CorpusConfig, source: str) -> Recipe:
    """Editors and rules of a source's recipes, in order. Raises ConfigError."""
    try:
        return _combined(tuple(config.source(source).recipe))
    except RecipeError as error:
        raise ConfigError(f"source {source!r}: {error}") from error


def source_rules(config: CorpusConfig, source: str) -> list[Rule]:
    """All rules that decide on a source's documents: on its URLs, its recipes', the corpus's."""
    rules = url_lists.rules(config.urls) if config.urls.is_set else []
    rules += [*source_recipe(config, source).rules, *_corpus_rules(config.select)]
    expected = tuple(config.source(source).languages)
    if expected:
        rules.append(Rule(signal="language", in_=expected, reason="unexpected_language"))
    return rules_of_source(rules, source)


def source_reads(config: CorpusConfig, source: str) -> list[Rule]:
    """The source's rules, and one that stands for what buckets are told by."""
    rules = source_rules(config, source)
    buckets = config.select.buckets
    return [*rules, reading(buckets.signal)] if buckets else rules


def reading(signal: str) -> Rule:
    """A rule that drops nothing which has a number, and reads the signal and `language`."""
    return Rule(signal=signal, min=-inf, languages=("",), reason="bucket")


@cache
def _combined(names: tuple[str, ...]) -> Recipe:
    return combine_recipes([load_recipe(name) for name in names])


def _corpus_rules(select: SelectConfig) -> list[Rule]:
    rules: list[Rule] = []
    if select.languages:
        languages = tuple(select.languages)
        rules.append(Rule(signal="language", in_=languages, reason="language"))
    if select.min_language_score > 0:
        score = select.min_language_score
        rules.append(Rule(signal="language_score", min=score, reason="language_score"))
    return rules
