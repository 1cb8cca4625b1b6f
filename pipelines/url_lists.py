"""The block lists of URLs that a corpus file names, read once per process.

Lists are in the format of UT1 (University of Toulouse): a folder per category with files `domains`
and `urls`, one entry a line. Its `expressions` are not read. Single files are named by what they
hold.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from functools import cache

from filters import url_lists, urls
from filters.groups import SignalGroup, url_group
from filters.rules import Rule
from filters.url_lists import UrlLists
from filters.url_parts import host
from pipelines.config import URL_LISTS, UrlsConfig
from pipelines.text_lists import parse_lists
from storage import objects
from storage.errors import ConfigError


def rules(settings: UrlsConfig) -> list[Rule]:
    """The rules that drop what is listed, in the order they are tried."""
    limits = (
        ("url_domains", 0, "url_domain"),
        ("url_addresses", 0, "url_address"),
        ("url_words", 0, "url_word"),
        ("url_soft_words", settings.max_soft_words, "url_soft_words"),
        ("url_substrings", 0, "url_substring"),
    )
    return [Rule(signal=signal, max=most, reason=reason) for signal, most, reason in limits]


def group(settings: UrlsConfig) -> SignalGroup:
    """The signals of the lists. Raises ConfigError for a file or a line that cannot be read."""
    return _group(tuple(tuple(getattr(settings, name)) for name in URL_LISTS))


@cache
def _group(paths: tuple[tuple[str, ...], ...]) -> SignalGroup:
    return url_group(_load(*paths))


def _load(
    categories: Sequence[str],
    domains: Sequence[str],
    addresses: Sequence[str],
    words: Sequence[str],
    soft_words: Sequence[str],
    substrings: Sequence[str],
) -> UrlLists:
    for folder in categories:
        files = [objects.join(folder, name) for name in ("domains", "urls")]
        if not any(map(objects.exists, files)):
            raise ConfigError(f"urls.categories: {folder} holds neither `domains` nor `urls`")
    inside = {
        name: [path for folder in categories if objects.exists(path := objects.join(folder, name))]
        for name in ("domains", "urls")
    }
    return UrlLists(
        url_lists.hash_all(_domains([*inside["domains"], *domains])),
        url_lists.hash_all(
            urls.normalise(f"http://{line}" if "://" not in line else line)
            for line in _lines([*inside["urls"], *addresses])
        ),
        frozenset(parse_lists(words, _word)),
        frozenset(parse_lists(soft_words, _word)),
        tuple(sorted(set(parse_lists(substrings, _word)))),
    )


def _domains(paths: Sequence[str]) -> Iterator[str]:
    for line in _lines(paths):
        yield line if line.isascii() else host(f"//{line}")


def _lines(paths: Sequence[str]) -> Iterator[str]:
    """Lower-case entries; one line at a time, because categories have millions."""
    for path in paths:
        try:
            data = io.BytesIO(objects.read(path))
        except objects.StorageError as error:
            raise ConfigError(str(error)) from error
        for line in data:
            entry = line.strip()
            if entry and not entry.startswith(b"#"):
                yield entry.decode("utf-8", "replace").lower()


def _word(line: str) -> str:
    word = line.lower()
    if not re.fullmatch(r"[a-z0-9]+", word):
        raise ValueError(f"{line!r}: only ASCII letters and digits of a URL are compared")
    return word
