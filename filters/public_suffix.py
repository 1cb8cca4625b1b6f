"""Which part of a host name somebody can register: `bbc.co.uk` of `news.bbc.co.uk`.

By the Public Suffix List (publicsuffix.org), its private part included: under `github.io` or
`blogspot.com` every name has an owner of its own. The list is the one inside the package
publicsuffixlist, which is built anew each week, needs no network and nothing else, and answers in
3 us. (tldextract needs four packages and asks the network unless told not to; publicsuffix2 has the
list of 2019.)
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.metadata import version

from publicsuffixlist import PublicSuffixList

LIST_VERSION = version("publicsuffixlist")
"""Enters the settings of what is computed with the list."""


@lru_cache(maxsize=1 << 16)
def registered_domain(host: str) -> str:
    """The public suffix of a lower-case host and one label more.

    "" for a public suffix itself, and for what ends in no top-level domain of the list: an IP
    address, `localhost`, a file name.
    """
    return _list().privatesuffix(host) or ""


@cache
def _list() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=False)
