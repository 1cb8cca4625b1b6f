"""A first guess at the license of a repository: SPDX ids by telling phrases of license files.

A full text that contains all phrases of a license, and none of those that would make it another
one, is that license. Names in README files, source headers and package metadata are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from pipelines.sources.encoding import decode
from storage import objects

MAX_LICENSE_BYTES = 256 << 10
# Looked for in the folders of a repository that is not an archive; each costs a request.
COMMON_NAMES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING")
_NAME = re.compile(r"(?:un)?licen[sc]es?(?:[.-][\w.-]{1,20})?|copying(?:\.\w{1,8})?", re.I)
_NO_WORD = re.compile(r"(?:[^\w.]|_)+")

_COPYLEFT = "everyone is permitted to copy and distribute verbatim copies"
_BSD = "redistribution and use in source and binary forms"
_MIT = "permission is hereby granted free of charge to any person obtaining a copy"
_ISC = (
    "permission to use copy modify and or distribute this software for any purpose with or without"
)
_CC = "creative commons"

# (SPDX id, phrases that must occur, phrases that must not), the first match counts. Text is lower
# case with every run of other characters than letters, digits and full stops as one space.
_RULES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("AGPL-3.0", ("gnu affero general public license version 3 19 november 2007", _COPYLEFT), ()),
    ("LGPL-3.0", ("gnu lesser general public license version 3 29 june 2007",), ()),
    ("LGPL-2.1", ("gnu lesser general public license version 2.1 february 1999", _COPYLEFT), ()),
    ("LGPL-2.0", ("gnu library general public license version 2 june 1991", _COPYLEFT), ()),
    ("GPL-3.0", ("gnu general public license version 3 29 june 2007", _COPYLEFT), ()),
    ("GPL-2.0", ("gnu general public license version 2 june 1991", _COPYLEFT), ()),
    ("GFDL-1.3", ("gnu free documentation license version 1.3 3 november 2008",), ()),
    ("Apache-2.0", ("apache license version 2.0 january 2004", "grant of patent license"), ()),
    ("MPL-2.0", ("mozilla public license version 2.0", "covered software"), ()),
    ("EPL-2.0", ("eclipse public license v 2.0",), ()),
    ("EPL-1.0", ("eclipse public license v 1.0",), ()),
    ("EUPL-1.2", ("european union public licence", "v. 1.2"), ()),
    ("OFL-1.1", ("sil open font license version 1.1",), ()),
    ("Artistic-2.0", ("the artistic license 2.0",), ()),
    ("BSL-1.0", ("boost software license version 1.0",), ()),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",), ()),
    ("WTFPL", ("do what the fuck you want to public license",), ()),
    ("MS-PL", ("microsoft public license ms pl",), ()),
    ("CC0-1.0", ("cc0 1.0 universal",), ()),
    ("CC-BY-NC-ND-4.0", (_CC, "attribution noncommercial noderivatives 4.0 international"), ()),
    ("CC-BY-NC-SA-4.0", (_CC, "attribution noncommercial sharealike 4.0 international"), ()),
    ("CC-BY-NC-4.0", (_CC, "attribution noncommercial 4.0 international"), ()),
    ("CC-BY-ND-4.0", (_CC, "attribution noderivatives 4.0 international"), ()),
    ("CC-BY-SA-4.0", (_CC, "attribution sharealike 4.0 international"), ()),
    ("CC-BY-4.0", (_CC, "attribution 4.0 international"), ()),
    ("BSD-4-Clause", (_BSD, "all advertising materials mentioning features"), ()),
    ("BSD-3-Clause", (_BSD, "endorse or promote products derived from"), ()),
    ("BSD-2-Clause", (_BSD, "this list of conditions and the following disclaimer"), ()),
    ("Zlib", ("altered source versions must be plainly marked as such",), ()),
    ("NCSA", (_MIT, "university of illinois ncsa"), ()),
    ("MIT", (_MIT, "the above copyright notice and this permission notice"), ("not evil",)),
    ("MIT-0", (_MIT, "provided as is"), ("subject to the following conditions",)),
    ("ISC", (_ISC, "provided that the above copyright notice"), ()),
    ("0BSD", (_ISC, "the software is provided as is"), ("provided that the above",)),
    ("PostgreSQL", ("permission to use copy modify and distribute this software and its "
                    "documentation for any purpose without fee and without a written agreement",),
     ()),
    ("PSF-2.0", ("python software foundation license version 2",), ()),
    ("Vim", ("vim license",), ()),
)  # fmt: skip


def is_license_file(name: str) -> bool:
    """Whether a file name (without folders) is one that license texts go by."""
    return _NAME.fullmatch(name) is not None


def guess(text: str) -> str:
    """The SPDX id of a license text, "" when it is none that is known here."""
    words = _NO_WORD.sub(" ", text.lower())
    for identifier, required, forbidden in _RULES:
        is_match = all(phrase in words for phrase in required)
        if is_match and not any(phrase in words for phrase in forbidden):
            return identifier
    return ""


def nearest(folders: Mapping[str, str], path: str) -> str:
    """The license of the closest folder above `path` that has one ("" is the top folder)."""
    folder = path
    while folder:
        folder = folder.rpartition("/")[0]
        if folder in folders:
            return folders[folder]
    return ""


def of_file(path: str, record_prefix: str) -> str:
    """The license of a file in a plain folder: of the nearest license file above it, up to the
    source's root (`path` without `record_prefix`)."""
    if not path.endswith("/" + record_prefix):
        return ""
    root = path.removesuffix(record_prefix)
    folder = record_prefix
    while folder:
        folder = folder.rpartition("/")[0]
        identifier = _of_folder(root + folder)
        if identifier:
            return identifier
    return ""


@lru_cache(maxsize=8192)
def _of_folder(folder: str) -> str:
    for name in COMMON_NAMES:
        path = objects.join(folder, name)
        if objects.exists(path):
            num_bytes = min(objects.size(path), MAX_LICENSE_BYTES)
            return guess(decode(objects.read_range(path, 0, num_bytes))[0])
    return ""
