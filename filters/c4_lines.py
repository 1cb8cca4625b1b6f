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

from filters.bits import hash_bytes
from filters.blocks import (
    BLOCK,
    bits_before,
    byte_from,
    count_chars,
    equal_to,
    highest_bit,
    lowest_bit,
    num_bits,
)
from filters.chunk_table import (
    NUM_WORDS,
    find_chunk,
    grown,
    has_room,
    learn_chunk,
)
from filters.chunks import (
    SOLO_LETTER,
    Place,
    ascii_space,
    plain_word,
    read_chunks,
    skip_space,
    skip_word,
    word_starts,
)
from filters.contractions import MAX_LETTERS
from filters.kernels import inlined, leaf
from filters.lines import SHORT_LINE_CHARS, has_slot, insert, new_hash_set, next_break, with_room
from filters.segment import contraction
from filters.unicode import DECIMAL, PUNCT, SPACE, TERMINAL
from filters.utf8 import decode, flags_at, previous, strip

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
_CASE = 0x20  # the bit by which lower case letters differ

(
    NUM_LINES,
    NUM_KEPT_LINES,
    NUM_CITATIONS,
    NUM_SENTENCES,
    NUM_KEPT_WORDS,
    NUM_CHARS,
    NUM_NEWLINES,
    NUM_NONBLANK_LINES,
    NUM_TERMINAL_LINES,
    NUM_SHORT_LINES,
    DUPLICATE_NONBLANK_LINE_CHARS,
) = range(7, 18)
COLUMNS = (
    *(f"num_{reason}_lines" for reason in REASONS[:7]),
    "num_lines",
    "num_kept_lines",
    "num_citations",
    "num_sentences",
    "num_words",
    "num_chars",
    "num_newlines",
    "num_nonblank_lines",
    "num_terminal_lines",
    "num_short_lines",
    "duplicate_nonblank_line_chars",
)

_PHRASES = (  # with letters that are rare together; where the last one stands is looked at closely
    (LOREM_IPSUM, "ps", "lorem ipsum"),
    (JAVASCRIPT, "j", "javascript"),
    (POLICY, "ms", "terms of use"),
    (POLICY, "va", "privacy policy"),
    (POLICY, "ok", "cookie policy"),
    (POLICY, "ok", "uses cookies"),
    (POLICY, "ok", "use of cookies"),
    (POLICY, "ok", "use cookies"),
)
_PHRASE_LETTERS = np.array([ord(rare[-1]) for _, rare, _ in _PHRASES], np.uint8)
_PHRASE_REASONS = np.array([reason for reason, _, _ in _PHRASES], np.int64)
_PHRASE_ANCHORS = np.array(
    [text.index(rare) + len(rare) - 1 for _, rare, text in _PHRASES], np.int64
)
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


@inlined
def _push(spans, row, start, end, newline, reason):
    """One more span, for which there is room."""
    n = spans.used[0]
    spans.values[n, ROW] = row
    spans.values[n, START] = start
    spans.values[n, END] = end
    spans.values[n, NEWLINE] = newline
    spans.values[n, REASON] = reason
    spans.used[0] = n + 1


class Progress(NamedTuple):
    """How far a page is judged.

    line: the next line's first byte; settled: data[origin:settled] is kept or in a span; word,
    last: bytes of lines that stay, with only white space between them, whose words are not counted
    yet; cited: whether they are one line in `scratch`; sentence_ended: before them; needed_spans:
    of the next line, if known; bracket, telling: the first such byte of the page from the next line
    on, or from an earlier one: most pages have few, and lines are shorter than two blocks.
    """

    line: int | np.int64
    settled: int | np.int64
    cited: bool
    word: int | np.int64
    last: int | np.int64
    sentence_ended: int | np.int64
    needed_spans: int | np.int64
    bracket: int | np.int64
    telling: int | np.int64


@numba.njit(nogil=True)
def clean_page(
    data, origin, stop, row, line_rules, table, chunk, chunks, scratch, uncited, spans, out
):
    """Judge the lines of the page data[origin:stop] and set `out` to COLUMNS.

    A line with citations is copied to `scratch`, without them; `uncited` is a read-only array of
    the same memory, which must have room for the page. Returns the chunk table and the spans.
    """
    for column in range(out.size):
        out[column] = 0
    seen = new_hash_set(64)
    zero, none = np.int64(0), np.int64(-1)
    progress = Progress(origin, origin, False, zero, zero, zero, np.int64(2), none, none)
    while progress.line < stop or progress.word < progress.last:
        if not has_room(table):
            table = grown(table)
        seen, spans = with_room(seen), _with_room(spans, progress.needed_spans)
        progress = _clean_lines(
            data, origin, stop, row, line_rules, table, chunk, chunks, scratch, uncited, seen,
            spans, out, progress,
        )  # fmt: skip
    spans = _with_room(spans, 1)
    if progress.settled < stop:
        _push(spans, row, progress.settled - origin, stop - origin, False, WHITESPACE)
    return table, spans


@leaf
def _clean_lines(
    data, origin, stop, row, line_rules, table, chunk, chunks, scratch, uncited, seen, spans, out,
    progress,
):  # fmt: skip
    """Judge lines as long as there is room; returns the progress."""
    line, settled, cited, word, word_stop, ended, needed, bracket, telling = progress
    while True:
        is_last = line >= stop or not has_slot(seen)
        if word < word_stop and (cited or is_last):
            left = uncited if cited else data
            word, ended = _count_words(left, word, word_stop, ended, table, chunk, chunks, out)
        if is_last or (cited and word < word_stop):
            break
        end, after = next_break(data, line, stop)
        first, last = strip(data, line, end)
        if bracket < first:
            bracket = byte_from(data, first, stop, _BRACKET)
        if telling < first:
            telling = _telling_byte(data, first, stop)
        left, left_start, left_stop = data, first, last
        if bracket < last:
            left, left_start = uncited, np.int64(0)
            left_stop = _copy_line(data, first, last, scratch)
        num_cut = last - first - (left_stop - left_start)
        needed = 2 + num_cut // 2
        if spans.used[0] + needed > spans.values.shape[0]:
            break
        is_telling = telling < last or num_cut > 0
        fate = _judge(data, first, last, left, left_start, left_stop, line_rules, is_telling)
        if fate == _KEPT and num_cut:
            first, last = _visible(data, first, last)
            left_start, left_stop = strip(left, left_start, left_stop)
            fate = np.int64(CITATION if first == last else _KEPT)
        if fate == _KEPT and word < word_stop and (num_cut or settled != word_stop):
            word, ended = _count_words(data, word, word_stop, ended, table, chunk, chunks, out)
            if word < word_stop:
                break
        out[NUM_LINES] += 1
        line = after
        if fate == _KEPT:
            _join(data, origin, settled, first, out[NUM_KEPT_LINES] > 0, row, spans)
            if num_cut:
                _cut_citations(data, origin, first, last, row, spans, out)
            _count_line(left, left_start, left_stop, seen, out)
            settled, cited = last, num_cut > 0
            if word == word_stop:
                word, ended = left_start if cited else first, np.int64(0)
            word_stop = left_stop if cited else last
        else:
            _push(spans, row, settled - origin, end - origin, False, fate)
            settled = end
            if fate < CITATION:
                out[fate] += 1
    return Progress(line, settled, cited, word, word_stop, ended, needed, bracket, telling)


@inlined
def _count_line(left, start, stop, seen, out):
    """Count a line that stays, which is stripped and not empty, as lines.py does."""
    chars = count_chars(left, start, stop)
    out[NUM_NEWLINES] += out[NUM_KEPT_LINES] > 0
    out[NUM_CHARS] += chars + (out[NUM_KEPT_LINES] > 0)
    out[NUM_KEPT_LINES] += 1
    out[NUM_SENTENCES] += 1
    out[NUM_NONBLANK_LINES] += 1
    out[NUM_SHORT_LINES] += chars <= SHORT_LINE_CHARS
    if insert(seen, hash_bytes(left, start, stop)):
        out[DUPLICATE_NONBLANK_LINE_CHARS] += chars
    code_point, _ = decode(left, previous(left, stop, start), stop)
    out[NUM_TERMINAL_LINES] += (flags_at(code_point) & TERMINAL) != 0


@inlined
def _join(data, origin, settled, first, joins, row, spans):
    """Leave one newline between two kept lines, and nothing before the first one."""
    if joins:
        if first != settled + 1 or data[settled] != _NEWLINE:
            _push(spans, row, settled - origin, first - origin, True, WHITESPACE)
    elif first > settled:
        _push(spans, row, settled - origin, first - origin, False, WHITESPACE)


@leaf
def _copy_line(data, first, last, scratch):
    """Copy data[first:last] without citations to `scratch`; returns where it ends."""
    i, size = first, np.int64(0)
    while i < last:
        bracket = byte_from(data, i, last, _BRACKET)
        cited = _citation(data, bracket, last) if bracket < last else 0
        end = bracket if cited else min(bracket + 1, last)
        for k in range(end - i):
            scratch[size + k] = data[i + k]
        size += end - i
        i = end + cited
    return size


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
def _cut_citations(data, origin, first, last, row, spans, out):
    i = byte_from(data, first, last, _BRACKET)
    while i < last:
        cited = _citation(data, i, last)
        if cited:
            _push(spans, row, i - origin, i + cited - origin, False, CITATION)
            out[NUM_CITATIONS] += 1
        i = byte_from(data, i + max(1, cited), last, _BRACKET)


@inlined
def _judge(page, first, last, left, start, stop, line_rules, is_telling):
    """The first reason to cut the line page[first:last]; left[start:stop] has no citations.

    If it is not telling it has no byte that a phrase or a curly bracket needs.
    """
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
    return _find_phrase(left, start, stop) if is_telling else _KEPT


@leaf
def _has_long_word(data, i, stop, max_chars):
    """Whether a word of str.split in data[i:stop], where one may start, has more characters."""
    while stop - i > max_chars:
        after = _after_last_space(data, i, i + max_chars)
        if after > i:  # no word before it is too long, as they have fewer bytes
            i = after
            continue
        i = skip_space(data, i, stop)
        i, num_chars = skip_word(data, i, stop)
        if num_chars > max_chars:
            return True
    return False


@leaf
def _after_last_space(data, i, stop):
    """The byte after the last ASCII white space in data[i:stop], or i."""
    block = stop
    while block > i:
        block = max(i, block - BLOCK)
        spaces = ascii_space(data, block) & bits_before(block, stop)
        if spaces:
            return block + highest_bit(spaces) + 1
    return i


@inlined
def _has_words(data, i, stop, at_least):
    """Whether data[i:stop] has so many words of str.split."""
    found, after_space = np.int64(0), np.uint64(1)
    while i < stop and found < at_least:
        starts, after_space = word_starts(data, i, stop, after_space)
        found += num_bits(starts)
        i += BLOCK
    return found >= at_least


@inlined
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


@inlined
def _find_phrase(left, start, stop):
    """The reason of the first check that left[start:stop] fails, in the order of REASONS."""
    reason = _NONE
    for i in range(start, stop, BLOCK - 1):  # one less: pairs of letters in two blocks
        found = _telling_bytes(left, i) & bits_before(i, stop)
        while found:
            reason = min(reason, _reason_at(left, start, i + lowest_bit(found), stop))
            found &= found - np.uint64(1)
    return _KEPT if reason == _NONE else reason


@leaf
def _telling_byte(page, i, stop):
    """The first byte from i on that is telling, or `stop`."""
    while i < stop:
        found = _telling_bytes(page, i)
        if found:
            return min(stop, i + lowest_bit(found))
        i += BLOCK - 1
    return stop


@inlined
def _telling_bytes(left, i):
    """Which of left[i:i + 64] are `{`, or may stand at the anchor of a phrase."""
    return (
        equal_to(left, i, ord("{"))
        | equal_to(left, i, ord("j"), _CASE)
        | _pair(left, i, ord("o"), ord("k"))
        | _pair(left, i, ord("m"), ord("s"))
        | _pair(left, i, ord("v"), ord("a"))
        | _pair(left, i, ord("p"), ord("s"))
    )


@inlined
def _pair(left, i, first, second):
    """Where the second of two letters stands, in any case."""
    return equal_to(left, i, second, _CASE) & (equal_to(left, i, first, _CASE) << np.uint64(1))


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


@leaf
def _count_words(left, i, stop, ended, table, chunk, chunks, out):
    """Count the words and sentences of lines from byte i on, as long as the table has room.

    `i` is where the word before ended, if one was counted; returns where the last one did, or
    `stop`, and whether a sentence ended there.
    """
    place, before = Place(i, i), i
    while place.at < stop:
        found, _, place = read_chunks(left, place, stop, chunks)
        counted, before, ended = _count_chunks(
            left, chunks, found, before, ended, table, chunk, out
        )
        if counted < found:
            return before, ended
    return stop, ended


@inlined
def _count_chunks(left, chunks, num_chunks, before, ended, table, chunk, out):
    """Count chunks after byte `before`, where a sentence has ended or not, while there is room.

    Returns how many, where the last one stops and whether a sentence ended there. The end of a line
    ends sentences, too; those are counted by line. One ASCII character, a word of ASCII letters, a
    letter that is a word or a word that starts with a three-byte letter is not looked up. Other
    words are: decoding all of their letters takes longer.
    """
    words = sentences = np.int64(0)
    k = np.uint64(0)
    while k < np.uint64(num_chunks):
        start, stop = chunks.starts[k], chunks.ends[k]
        if ended and _line_ends(left, before, start):
            ended = np.int64(0)
        byte, size = left[np.uint64(start)], stop - start
        kind = chunks.kinds[k]
        if kind == SOLO_LETTER or (kind and not _may_be_contraction(left, start, stop)):
            words += 1
            sentences += ended
            ended = np.int64(0)
        elif size == 1 and byte < 0x80:
            flags = flags_at(np.int64(byte))
            no_mark = np.int64((flags & PUNCT) == 0)
            words += 1
            sentences += ended & no_mark
            ended = (ended & ~no_mark) | np.int64((flags & TERMINAL) != 0)
        else:
            value = hash_bytes(left, start, stop)
            if byte >= 0xE0 and plain_word(left, start, stop, value):
                words += 1
                sentences += ended
                ended = np.int64(0)
            else:
                number = find_chunk(table, value, left, start, stop)
                if number < 0:
                    if not has_room(table):
                        break
                    number = learn_chunk(table, value, left, start, stop, chunk)
                record = table.chunks[number]
                words += np.int64(record.counts[NUM_WORDS])
                sentences += np.int64(record.sentence_starts[ended])
                ended = np.int64(record.sentence_ended[ended])
        before = stop
        k += np.uint64(1)
    out[NUM_KEPT_WORDS] += words
    out[NUM_SENTENCES] += sentences
    return np.int64(k), before, ended


@inlined
def _may_be_contraction(left, start, stop):
    """Whether a chunk of ASCII letters may be a contraction."""
    return stop - start <= MAX_LETTERS and contraction(hash_bytes(left, start, stop)) > 0


@leaf
def _line_ends(data, i, stop):
    return i < stop and next_break(data, i, stop)[0] < stop
