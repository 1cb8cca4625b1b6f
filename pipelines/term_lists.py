"""The lists of terms that a corpus file names (filters/terms.py), read once per process."""

from __future__ import annotations

from functools import cache

from filters import terms
from filters.groups import SignalGroup, terms_group
from filters.terms import TermList
from pipelines.config import CorpusConfig
from pipelines.text_lists import parse_lists
from storage.errors import ConfigError


def load(config: CorpusConfig) -> tuple[TermList, ...]:
    """In the order of the file. Raises ConfigError for a list that cannot be read."""
    return tuple(_load(name, path) for name, path in config.annotate.terms.items())


def group(config: CorpusConfig) -> SignalGroup:
    return terms_group(load(config))


@cache
def _load(name: str, path: str) -> TermList:
    try:
        return terms.make_list(name, parse_lists([path], str))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
