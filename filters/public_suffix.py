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
def registered_domain(host: str, accept_unknown: bool = False) -> str:
    """The public suffix of a lower-case host and one label more; "" for a public suffix itself.

    What ends in no top-level domain of the list (a file name, an IP address) has none, or, with
    `accept_unknown`, its last two labels, as the list's algorithm has it.
    """
    return _list(accept_unknown).privatesuffix(host) or ""


@cache
def _list(accept_unknown: bool) -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=accept_unknown)
