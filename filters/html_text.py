"""How much of a page of HTML is text: characters outside of tags, comments, scripts and styles.

A scanner in linear time, as a tokenizer of HTML reads (https://html.spec.whatwg.org, 13.2.5),
without a tree: source files may be templates, fragments or a million open tags. White space alone
between two tags is one character, as is a reference (`&amp;`): so BeautifulSoup counts, too, which
the published rule on text in HTML was made with.
"""

from __future__ import annotations

import numpy as np

from filters.blocks import byte_from, count_chars
from filters.kernels import inlined, leaf

_LESS, _GREATER, _AMPERSAND, _SEMICOLON, _SLASH = (ord(char) for char in "<>&;/")
_DASH, _EQUALS, _BANG, _QUESTION, _HASH = (ord(char) for char in "-=!?#")
_DOUBLE_QUOTE, _SINGLE_QUOTE = ord('"'), ord("'")
_CASE = 0x20
_MAX_REFERENCE_BYTES = 33  # of the longest name, with & and ;
_RAW = np.array([list(name.ljust(6).encode()) for name in ("script", "style")], np.uint8)
_RAW_SIZES = np.array([6, 5], np.int64)


@leaf
def count_text_chars(data, i, stop):
    """The characters of text in the markup data[i:stop]."""
    num_chars = np.int64(0)
    seen = i
    while i < stop:
        tag = byte_from(data, seen, stop, _LESS)
        after = _skip_markup(data, tag, stop) if tag < stop else stop + 1
        if after == tag:  # a `<` that starts nothing is text
            seen = tag + 1
        else:
            num_chars += _count_text(data, i, tag)
            i = seen = after
    return num_chars


@leaf
def _count_text(data, i, stop):
    """The characters of data[i:stop], in which nothing is markup."""
    if _is_blank(data, i, stop):
        return np.int64(i < stop)
    num_chars = count_chars(data, i, stop)
    i = byte_from(data, i, stop, _AMPERSAND)
    while i < stop:
        size = _reference_bytes(data, i, stop)
        num_chars -= max(0, size - 1)
        i = byte_from(data, i + max(1, size), stop, _AMPERSAND)
    return num_chars


@leaf
def _is_blank(data, i, stop):
    while i < stop and (data[i] == ord(" ") or np.uint8(data[i] - 9) < 5):
        i += 1
    return i == stop


@leaf
def _reference_bytes(data, i, stop):
    """Bytes of the character reference at byte i, 0 when it is none."""
    k = i + 2 if i + 1 < stop and data[i + 1] == _HASH else i + 1
    first, limit = k, min(stop, i + _MAX_REFERENCE_BYTES)
    while k < limit and (_is_letter(data[k]) or np.uint8(data[k] - ord("0")) < 10):
        k += 1
    return k + 1 - i if first < k < limit and data[k] == _SEMICOLON else 0


@leaf
def _skip_markup(data, i, stop):
    """The byte after the tag, comment, script or style that starts with the `<` at byte i; or i."""
    if i + 1 >= stop:
        return i
    byte = data[i + 1]
    if _is_letter(byte):
        after = _tag_end(data, i + 1, stop)
        for which in range(_RAW_SIZES.size):
            if _has_name(data, i + 1, stop, which):
                return _raw_end(data, after, stop, which)
        return after
    if byte == _BANG and i + 3 < stop and data[i + 2] == _DASH and data[i + 3] == _DASH:
        return _comment_end(data, i + 2, stop)
    if byte in (_BANG, _QUESTION) or (byte == _SLASH and i + 2 < stop):
        return min(stop, byte_from(data, i + 1, stop, _GREATER) + 1)
    return i


@leaf
def _tag_end(data, i, stop):
    """The byte after a tag's `>`; one in a quoted value does not count."""
    while i < stop and data[i] != _GREATER:
        is_value = data[i] == _EQUALS
        i += 1
        while is_value and i < stop and data[i] <= ord(" "):
            i += 1
        if is_value and i < stop and data[i] in (_DOUBLE_QUOTE, _SINGLE_QUOTE):
            i = byte_from(data, i + 1, stop, data[i]) + 1
    return min(stop, i + 1)


@leaf
def _comment_end(data, i, stop):
    """The byte after a comment, whose `--` is at byte i; `<!-->` is one."""
    while i < stop:
        i = byte_from(data, i, stop, _GREATER)
        if i < stop and data[i - 1] == _DASH and data[i - 2] == _DASH:
            return i + 1
        i += 1
    return stop


@leaf
def _raw_end(data, i, stop, which):
    """The byte after the end tag of a script or style, whose content starts at byte i."""
    while i < stop:
        i = byte_from(data, i, stop, _LESS)
        if i + 2 < stop and data[i + 1] == _SLASH and _has_name(data, i + 2, stop, which):
            return min(stop, byte_from(data, i, stop, _GREATER) + 1)
        i += 1
    return stop


@leaf
def _has_name(data, i, stop, which):
    """Whether the name of a tag at byte i is that of raw element `which`, in any case."""
    size = _RAW_SIZES[which]
    if i + size >= stop:
        return False
    for k in range(size):
        if data[i + k] | _CASE != _RAW[which, k]:
            return False
    after = data[i + size]
    return after <= ord(" ") or after in (_SLASH, _GREATER)


@inlined
def _is_letter(byte):
    return np.uint8((byte | _CASE) - ord("a")) < 26
