"""Licences and consent: what a document says it may be used for, held against a policy.

Licences are SPDX expressions (spdx.org; ids and operators are checked by `packaging`, which has the
list inside). What sources write instead (`CC BY-SA 4.0`, a URL of Creative Commons, `Apache 2`) is
brought to its id first. A family names what a licence asks for:

    public-domain      nothing
    permissive         attribution at most
    share-alike        the same licence for what is made of it: GPL, MPL, CC-BY-SA, ODbL, ...
    non-commercial     no commercial use
    no-derivatives     nothing may be made of it, commercial or not
    other, unknown     another known licence; none, or one that is no SPDX expression

A reservation is what a publisher stated in a machine-readable way against text and data mining:
the HTTP header of the TDM Reservation Protocol (W3C community group, 2024), or `noai`,
`noimageai` or `notrain` in X-Robots-Tag. Tags within a page are not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

VERSION = 1
UNKNOWN, DENIED, NOT_ALLOWED = "license_unknown", "license_denied", "license_not_allowed"
RESERVED = "rights_reserved"

_SHARE_ALIKE = """cc-by-sa-* gpl-* lgpl-* agpl-* mpl-* epl-* eupl-* odbl-* gfdl-* osl-* cddl-*
    cecill-2* ms-rl cpl-* rpl-* sspl-* cdla-sharing-* copyleft-next-*"""
_PERMISSIVE = """mit mit-* apache-* bsd-* isc 0bsd zlib cc-by-[0-9]* bsl-1.0 psf-2.0 python-2.0
    ncsa postgresql artistic-2.0 odc-by-* ms-pl ofl-* vim x11 unicode-* cdla-permissive-* upl-* w3c
    w3c-* afl-* ecl-* hpnd blueoak-*"""
_PUBLIC_DOMAIN = "cc0-* cc-pddc pddl-* unlicense wtfpl licenseref-public-domain"
_FAMILIES = (
    ("no-derivatives", ("cc-by-nd-*", "cc-by-nc-nd-*")),
    ("non-commercial", ("cc-by-nc-*", "polyform-noncommercial-*")),
    ("share-alike", tuple(_SHARE_ALIKE.split())),
    ("permissive", tuple(_PERMISSIVE.split())),
    ("public-domain", tuple(_PUBLIC_DOMAIN.split())),
)
FAMILIES = ("other", *(name for name, _ in _FAMILIES), "unknown")
"""From the strictest to the mildest; a licence that is not known may ask for anything."""

_CC_URL = re.compile(
    r"creativecommons\.org/(?:licenses/(?P<kind>by(?:-nc)?(?:-nd|-sa)?)/(?P<version>\d\.\d)"
    r"|publicdomain/(?P<public>zero|mark)/1\.0)"
)
_CC = re.compile(r"cc[ -](by(?:[ -]nc)?(?:[ -](?:nd|sa))?)[ -]?v?(\d(?:\.\d)?)?(?: international)?")
_GNU = re.compile(r"(?:gnu )?([al]?gpl)[ -]?v?(\d)(?:\.(\d))?(\+| or later)?")
_ALIASES = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "cc0": "CC0-1.0",
    "cc0 1.0": "CC0-1.0",
    "expat": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "mozilla public license 2.0": "MPL-2.0",
    "public domain": "LicenseRef-Public-Domain",
    "public-domain": "LicenseRef-Public-Domain",
    "publicdomain": "LicenseRef-Public-Domain",
}
_MAX_CHARS, _MAX_BRACKETS = 1000, 20
_PD_MARK = "LicenseRef-Public-Domain"


class LicensePolicy(NamedTuple):
    """Patterns are SPDX ids, `*` for any run of characters, or families; case does not count.

    allow: empty allows all; deny wins over allow.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    drop_unknown: bool = False
    drop_reserved: bool = False


@lru_cache(maxsize=1 << 14)
def normalise(text: str) -> str:
    """The SPDX expression that a licence field means, "" when it cannot be told."""
    text = " ".join(text.split())
    if text.startswith("["):
        return _of_list(text)
    if len(text) > _MAX_CHARS or text.count("(") > _MAX_BRACKETS:
        return ""
    found = _known(text.lower().rstrip("/."))
    if found:
        return found
    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return ""


def _of_list(text: str) -> str:
    """Of a JSON list, as code corpora have it: all of its licences hold."""
    try:
        found = [normalise(str(one)) for one in json.loads(text)]
    except ValueError:
        return ""
    if not found or not all(found):
        return ""
    return found[0] if len(found) == 1 else " AND ".join(f"({one})" for one in found)


def _known(text: str) -> str:
    if text in _ALIASES:
        return _ALIASES[text]
    match = _CC_URL.search(text)
    if match is not None:
        if match["public"]:
            return "CC0-1.0" if match["public"] == "zero" else _PD_MARK
        return f"CC-{match['kind'].upper()}-{match['version']}"
    match = _CC.fullmatch(text)
    if match is not None:
        version = match[2] or "4.0"  # the one that is meant when none is named
        version = version if "." in version else f"{version}.0"
        return f"CC-{match[1].upper().replace(' ', '-')}-{version}"
    match = _GNU.fullmatch(text)
    if match is not None:
        suffix = "-or-later" if match[4] else "-only"
        return f"{match[1].upper()}-{match[2]}.{match[3] or '0'}{suffix}"
    return ""


@lru_cache(maxsize=1 << 14)
def family(text: str) -> str:
    """What a licence field asks for; of several licences the strictest, or with OR the mildest."""
    expression = normalise(text)
    return FAMILIES[_family_rank(expression)] if expression else "unknown"


def _family_rank(expression: str) -> int:
    def rank(identifier: str) -> int:
        for name, patterns in _FAMILIES:
            if any(fnmatchcase(identifier.lower(), pattern) for pattern in patterns):
                return FAMILIES.index(name)
        return FAMILIES.index("other")

    return _evaluate(expression, rank, strictest=min, mildest=max)


def _evaluate(
    expression: str,
    leaf: Callable[[str], int],
    strictest: Callable[[list[int]], int],
    mildest: Callable[[list[int]], int],
) -> int:
    """The value of an SPDX expression: `strictest` of an AND, `mildest` of an OR."""
    tokens = expression.replace("(", " ( ").replace(")", " ) ").split()

    def either() -> int:
        values = [both()]
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            values.append(both())
        return mildest(values)

    def both() -> int:
        values = [one()]
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            values.append(one())
        return strictest(values)

    def one() -> int:
        token = tokens.pop(0)
        if token == "(":
            value = either()
            tokens.pop(0)
            return value
        if tokens and tokens[0] == "WITH":
            del tokens[:2]  # an exception only ever permits more
        return leaf(token)

    return either()


def _pattern(text: str) -> str:
    if text in FAMILIES or "*" in text:
        return text
    identifier = normalise(text)
    if not identifier or " " in identifier:
        raise ValueError(
            f"{text!r} is no SPDX id and no family; families are {', '.join(FAMILIES)}"
        )
    return identifier


@lru_cache(maxsize=1 << 14)
def reason(text: str, policy: LicensePolicy) -> str:
    """Why a licence field is refused, "" when it is not."""
    expression = normalise(text)
    if not expression:
        is_refused = policy.drop_unknown or "unknown" in policy.deny
        return UNKNOWN if is_refused else ""
    verdicts = ("", NOT_ALLOWED, DENIED)

    def verdict(identifier: str) -> int:
        if _matches(identifier, policy.deny):
            return 2
        return 0 if not policy.allow or _matches(identifier, policy.allow) else 1

    return verdicts[_evaluate(expression, verdict, strictest=max, mildest=min)]


def _matches(identifier: str, patterns: Iterable[str]) -> bool:
    own = family(identifier)
    name = identifier.lower()
    return any(pattern == own or fnmatchcase(name, pattern.lower()) for pattern in patterns)


def reasons(batch: pa.RecordBatch, policy: LicensePolicy) -> list[str]:
    """Why each document is dropped, "" where it is not; `batch` has `license` and `meta`."""
    found = [reason(text or "", policy) for text in batch.column("license").to_pylist()]
    if policy.drop_reserved:
        for row in np.flatnonzero(reserved(batch.column("meta"))):
            found[row] = found[row] or RESERVED
    return found


_RESERVATION_KEYS = ("tdm-reservation", "tdm_reservation")
_ROBOTS_KEYS = ("x-robots-tag", "x_robots_tag", "robots")
_NO_TRAINING = re.compile(r"(?<![a-z])(?:noai|noimageai|notrain)(?![a-z])")


def reserved(meta: pa.Array) -> npt.NDArray[np.bool_]:
    """Which documents' publishers reserved text and data mining: bool[rows] of a map column."""
    rows = [dict(entries or ()) for entries in meta.to_pylist()]
    return np.array([_is_reserved(entries) for entries in rows], np.bool_)


def _is_reserved(entries: dict[str, str]) -> bool:
    values = [entries.get(key, "") for key in _RESERVATION_KEYS]
    if any((value or "").strip() == "1" for value in values):
        return True
    robots = [entries.get(key, "") for key in _ROBOTS_KEYS]
    return any(_NO_TRAINING.search((value or "").lower()) for value in robots)


def make_policy(
    allow: Sequence[str], deny: Sequence[str], *, drop_unknown: bool, drop_reserved: bool
) -> LicensePolicy:
    """Raises ValueError for a pattern that can match nothing."""
    allowed, denied = (tuple(map(_pattern, patterns)) for patterns in (allow, deny))
    return LicensePolicy(allowed, denied, drop_unknown, drop_reserved)
