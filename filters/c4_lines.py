"""C4's clean-up of one page: which lines stay, what is cut from them, and the text that is left.

Each line of str.splitlines, stripped, is judged in this order (Raffel et al. 2020, section 2.2; the
order is that of the published code):

    long_word         a word of str.split has more than `max_word_chars` characters
    citations such as [1], [], [edit], [citation needed] are cut from it
    no_terminal_mark  it ends in none of the end marks, or in "..."  (if `require_terminal`)
    few_words         it has fewer than `min_words` words; counted before citations were cut
                      (if `count_cited_words`) or after
    lorem_ipsum       says so in any case; drops the page
    javascript        likewise; drops the line
    curly_bracket     has a "{"; drops the page
    policy            one of six phrases on cookies, privacy and terms of use

What is left is the kept lines joined by a newline and stripped, exactly; the spans give that text
when they are cut. The published code stops at the first line that drops the page; here such lines
are cut and counted and the rest is judged, too, so that the counts do not depend on a rule.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.bits import (
    CASE_BITS,
    are_letters,
    byte_from,
    bytes_equal_to,
    hash_bytes,
    load_word,
    lowest_byte,
)
from filters.kernels import inlined, leaf
from filters.lines import next_break
from filters.segment import contraction
from filters.strings import chunk_end, grown, has_room, skip_space, skip_word, string_of_chunk
from filters.unicode import DECIMAL, SPACE
from filters.utf8 import decode, flags_at, strip

REASONS = (
    "long_word",
    "no_terminal_mark",
    "few_words",
    "lorem_ipsum",
    "javascript",
    "curly_bracket",
    "policy",
    "citation",
    "whitespace",
)
(
    LONG_WORD,
    NO_TERMINAL_MARK,
    FEW_WORDS,
    LOREM_IPSUM,
    JAVASCRIPT,
    CURLY_BRACKET,
    POLICY,
    CITATION,
    WHITESPACE,
) = range(9)
_KEPT = -1
_NONE = len(REASONS)
_NEWLINE, _BRACKET = ord("\n"), ord("[")

NUM_LINES, NUM_KEPT_LINES, NUM_CITATIONS, NUM_SENTENCES, NUM_WORDS = range(7, 12)
LINE_COLUMNS = (
    *(f"num_{reason}_lines" for reason in REASONS[:7]),
    "num_lines",
    "num_kept_lines",
    "num_citations",
    "num_sentences",
    "num_words",
)

_PHRASES = (  # a letter that is rare in English, and what it must stand in
    (LOREM_IPSUM, "m", "lorem ipsum"),
    (JAVASCRIPT, "j", "javascript"),
    (POLICY, "m", "terms of use"),
    (POLICY, "v", "privacy policy"),
    (POLICY, "k", "cookie policy"),
    (POLICY, "k", "uses cookies"),
    (POLICY, "k", "use of cookies"),
    (POLICY, "k", "use cookies"),
)
_PHRASE_LETTERS = np.array([ord(letter) for _, letter, _ in _PHRASES], np.uint8)
_PHRASE_REASONS = np.array([reason for reason, _, _ in _PHRASES], np.int64)
_PHRASE_ANCHORS = np.array([text.index(letter) for _, letter, text in _PHRASES], np.int64)
_PHRASE_SIZES = np.array([len(text) for _, _, text in _PHRASES], np.int64)
_PHRASE_BYTES = np.array([list(text.ljust(16).encode()) for _, _, text in _PHRASES], np.uint8)
_CITED = np.array(
    [list(text.ljust(16).encode()) for text in ("edit]", "citation needed]")], np.uint8
)
_CITED_SIZES = np.array([5, 16], np.int64)
_SAME = np.arange(256, dtype=np.uint8)
_LOWER = np.array([ord(chr(b).lower()) if b < 128 else b for b in range(256)], np.uint8)


class LineRules(NamedTuple):
    """The settings of one variant, see above. end_marks uint8: bytes, one of which must be last."""

    max_word_chars: int
    min_words: int
    require_terminal: bool
    count_cited_words: bool
    end_marks: npt.NDArray[np.uint8]


class Spans(NamedTuple):
    """What is cut: int64[5] each, by the column numbers ROW to REASON.

    Bytes START to END of the page in row ROW are replaced by a newline if NEWLINE is 1, else by
    nothing; REASON indexes REASONS. used int64[1]: how many rows of `values` are in use.
    """

    used: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]


ROW, START, END, NEWLINE, REASON = range(5)


@numba.njit(nogil=True)
def new_spans():
    """No spans."""
    return Spans(np.zeros(1, np.int64), np.empty((1024, 5), np.int64))


@numba.njit(nogil=True)
def _with_room(spans, num_spans):
    """The spans with room for `num_spans` more."""
    used, size = spans.used[0], spans.values.shape[0]
    if used + num_spans <= size:
        return spans
    values = np.empty((max(used + num_spans, 2 * size), 5), np.int64)
    for k in range(used):
        for column in range(5):
            values[k, column] = spans.values[k, column]
    return Spans(spans.used, values)


@leaf
def _push(spans, row, start, end, newline, reason):
    """One more span, for which there is room."""
    n = spans.used[0]
    spans.values[n, ROW] = row
    spans.values[n, START] = start
    spans.values[n, END] = end
    spans.values[n, NEWLINE] = newline
    spans.values[n, REASON] = reason
    spans.used[0] = n + 1


@numba.njit(nogil=True)
def clean_page(page, row, line_rules, table, chunk, view, left, spans, out):
    """Judge the lines of a page (uint8); set `out` to LINE_COLUMNS and view[:n] to what is left.

    `left` is a read-only array of the same memory as `view`, which must have room for the page.
    Returns n, the string table and the spans.
    """
    for column in range(out.size):
        out[column] = 0
    size = line = settled = np.int64(0)  # page[:settled] is kept or in a span
    while line < page.size:
        end, after = next_break(page, line, page.size)
        first, last = strip(page, line, end)
        start = size + (size > 0)
        stop = _copy_line(page, first, last, view, start)
        fate = _judge(page, first, last, left, start, stop, line_rules)
        num_cut = last - first - (stop - start)
        spans = _with_room(spans, 2 + num_cut // 2)
        if fate == _KEPT and num_cut:
            first, last = _visible(page, first, last)
            stop = _strip_in_place(view, left, start, stop)
            fate = CITATION if first == last else _KEPT
        out[NUM_LINES] += 1
        if fate == _KEPT:
            out[NUM_KEPT_LINES] += 1
            _join(page, settled, first, size > 0, row, spans)
            if num_cut:
                _cut_citations(page, first, last, row, spans, out)
            table = _count_words(left, start, stop, table, chunk, out)
            if size:
                view[size] = _NEWLINE
            size, settled = stop, last
        else:
            _push(spans, row, settled, end, False, fate)
            settled = end
            if fate < CITATION:
                out[fate] += 1
        line = after
    if settled < page.size:
        _push(spans, row, settled, page.size, False, WHITESPACE)
    return size, table, spans


@leaf
def _join(page, settled, first, joins, row, spans):
    """Leave one newline between two kept lines, and nothing before the first one."""
    if joins:
        if first != settled + 1 or page[settled] != _NEWLINE:
            _push(spans, row, settled, first, True, WHITESPACE)
    elif first > settled:
        _push(spans, row, settled, first, False, WHITESPACE)


@leaf
def _copy_line(page, first, last, view, start):
    """Copy page[first:last] without citations to view[start:]; returns where it ends."""
    i = first
    while i < last:
        bracket = byte_from(page, i, last, _BRACKET)
        cited = _citation(page, bracket, last) if bracket < last else 0
        end = bracket if cited else min(bracket + 1, last)
        for k in range(end - i):
            view[start + k] = page[i + k]
        start += end - i
        i = end + cited
    return start


@leaf
def _citation(page, i, last):
    """Bytes of a citation that starts with the bracket at byte i, 0 when it is none."""
    k = i + 1
    while k < last:
        code_point, after = decode(page, k, last)
        if not flags_at(code_point) & DECIMAL:
            break
        k = after
    if k < last and page[k] == ord("]"):
        return k + 1 - i
    for which in range(_CITED_SIZES.size):
        if _stands_at(page, i + 1, last, _CITED[which], _CITED_SIZES[which], _SAME):
            return 1 + _CITED_SIZES[which]
    return 0


@leaf
def _stands_at(data, i, stop, text, size, case):
    """Whether text[:size] stands at byte i of data[:stop], whose bytes are looked up in `case`."""
    if i + size > stop:
        return False
    k = 0
    while k < size and case[data[i + k]] == text[k]:
        k += 1
    return k == size


@leaf
def _visible(page, first, last):
    """The range of page[first:last] without citations and white space at its ends."""
    start = end = i = last if first == last else first
    found = False
    while i < last:
        cited = _citation(page, i, last) if page[i] == _BRACKET else 0
        if cited:
            i += cited
            continue
        code_point, after = decode(page, i, last)
        if not flags_at(code_point) & SPACE:
            start = start if found else i
            found = True
            end = after
        i = after
    return (start, end) if found else (last, last)


@leaf
def _strip_in_place(view, left, start, stop):
    """Strip view[start:stop] and move it to `start`; returns where it ends."""
    first, last = strip(left, start, stop)
    for k in range(last - first):
        view[start + k] = view[first + k]
    return start + last - first


@leaf
def _cut_citations(page, first, last, row, spans, out):
    i = byte_from(page, first, last, _BRACKET)
    while i < last:
        cited = _citation(page, i, last)
        if cited:
            _push(spans, row, i, i + cited, False, CITATION)
            out[NUM_CITATIONS] += 1
        i = byte_from(page, i + max(1, cited), last, _BRACKET)


@leaf
def _judge(page, first, last, left, start, stop, line_rules):
    """The first reason to cut the line page[first:last]; left[start:stop] has no citations."""
    if _has_long_word(page, first, last, line_rules.max_word_chars):
        return LONG_WORD
    if line_rules.require_terminal and not _is_terminated(left, start, stop, line_rules.end_marks):
        return NO_TERMINAL_MARK
    if line_rules.count_cited_words:
        enough = _has_words(page, first, last, line_rules.min_words)
    else:
        enough = _has_words(left, start, stop, line_rules.min_words)
    if not enough:
        return FEW_WORDS
    return _find_phrase(left, start, stop)


@leaf
def _has_long_word(data, i, stop, max_chars):
    if stop - i <= max_chars:
        return False
    num_chars = np.int64(0)
    while i < stop and num_chars <= max_chars:
        i = skip_space(data, i, stop)
        i, num_chars = skip_word(data, i, stop)
    return num_chars > max_chars


@leaf
def _has_words(data, i, stop, at_least):
    found = 0
    while found < at_least:
        i = skip_space(data, i, stop)
        if i == stop:
            return False
        i, _ = skip_word(data, i, stop)
        found += 1
    return True


@leaf
def _is_terminated(left, start, stop, end_marks):
    if start == stop:
        return False
    mark = left[stop - 1]
    if mark == ord(".") and stop - start >= 3:
        return left[stop - 2] != mark or left[stop - 3] != mark
    k = 0
    while k < end_marks.size and end_marks[k] != mark:
        k += 1
    return k < end_marks.size


@leaf
def _find_phrase(left, start, stop):
    """The reason of the first check that left[start:stop] fails, in the order of REASONS."""
    reason = _NONE
    for i in range(start, stop, 8):
        found = _telling_bytes(load_word(left, i, stop))
        while found:
            reason = min(reason, _reason_at(left, start, i + lowest_byte(found), stop))
            found &= found - np.uint64(1)
    return _KEPT if reason == _NONE else reason


@inlined
def _telling_bytes(word):
    """The high bits of the bytes that are `{` or the letter of a phrase, and of a few others."""
    lower = word | CASE_BITS
    letters = bytes_equal_to(lower, ord("j")) | bytes_equal_to(lower, ord("k"))
    letters |= bytes_equal_to(lower, ord("m")) | bytes_equal_to(lower, ord("v"))
    return letters | bytes_equal_to(word, ord("{"))


@leaf
def _reason_at(left, start, i, stop):
    """The first reason that byte i gives: a curly bracket, or a phrase that it is part of."""
    if left[i] == ord("{"):
        return CURLY_BRACKET
    reason = _NONE
    letter = _LOWER[left[i]]
    for which in range(_PHRASE_LETTERS.size):
        at = i - _PHRASE_ANCHORS[which]
        if letter == _PHRASE_LETTERS[which] and at >= start and _PHRASE_REASONS[which] < reason:
            size = _PHRASE_SIZES[which]
            if _stands_at(left, at, stop, _PHRASE_BYTES[which], size, _LOWER):
                reason = _PHRASE_REASONS[which]
    return reason


@numba.njit(nogil=True)
def _count_words(left, i, stop, table, chunk, out):
    """Add the words and sentences of a line to the counts; returns the string table."""
    out[NUM_SENTENCES] += 1
    ended = 0
    while i < stop:
        if not has_room(table):
            table = grown(table)
        i, ended = _count_chunks(left, i, stop, ended, table, chunk, out)
    return table


@leaf
def _count_chunks(left, i, stop, ended, table, chunk, out):
    """Count the chunks of a line from byte i on, as long as the table has room.

    Returns the first one that is left, and whether a sentence ended before it. Words of plain
    letters are counted without being looked up.
    """
    strings = table.strings
    while i < stop and has_room(table):
        end = chunk_end(left, i, stop)
        if are_letters(left, i, end) and not contraction(hash_bytes(left, i, end)):
            out[NUM_WORDS] += 1
            out[NUM_SENTENCES] += ended
            ended = 0
        else:
            record = strings[string_of_chunk(table, left, i, end, chunk)]
            out[NUM_WORDS] += record.num_words
            out[NUM_SENTENCES] += record.sentence_starts[ended]
            ended = np.int64(record.sentence_ended[ended])
        i = skip_space(left, end, stop)
    return i, ended
