"""RefinedWeb's clean-up of one page: which lines go, and phrases that are cut from short ones.

Penedo et al. 2023 (https://arxiv.org/abs/2306.01116, appendix G.2) name the rules; the values, the
order and the readings of Unicode are those of DCLM's code (Li et al. 2024,
https://arxiv.org/abs/2406.11794). Lines are str.split("\\n"). An empty line stays, but of more than
two newlines together only two do. Any other line goes for the first of

    uppercase   more than half of its characters are str.isupper
    numeric     all of its characters are str.isdigit (to one in a million)
    counter     the lower case line matches COUNTER: 3 likes, (1.2K views)
    few_words   it has fewer than 2 words of str.split

and from lines of at most 10 words three phrases are cut, in any case:

    items in cart       wherever it stands, with one white space before
    read more...        at the end, with one white space before. The dots of the published pattern
                        are any three characters: a line loses its end "read more on", too
    sign-in             at the start, with one white space after

A line of which nothing visible is left goes. The page is stripped after each step, so that the
first line has no white space in front when "sign-in" is looked for, nor the last one any at its end
when "read more..." is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.blocks import (
    BLOCK,
    bits_before,
    byte_from,
    equal_to,
    in_range,
    lowest_bit,
    num_bits,
)
from filters.kernels import inlined, leaf
from filters.unicode import CAPITAL, DECIMAL, NUMERAL, SPACE
from filters.utf8 import decode, flags_at, is_alnum, previous, strip

REASONS = ("uppercase", "numeric", "counter", "few_words", "phrase", "newlines", "whitespace")
"""Mark k is REASONS[k - 1]."""
UPPERCASE, NUMERIC, COUNTER, FEW_WORDS, PHRASE, NEWLINES, WHITESPACE = range(1, 8)
_KEPT = 0

COLUMNS = (
    "num_lines",
    "num_uppercase_lines",
    "num_numeric_lines",
    "num_counter_lines",
    "num_few_words_lines",
    "num_phrase_lines",
    "num_words",
    "num_removed_words",
)
"""Lines are those that are not empty; by reason the number of the column is the mark."""
NUM_LINES, NUM_WORDS, NUM_REMOVED_WORDS = 0, 6, 7

MAX_CAPITAL_RATIO = 0.5
MAX_NUMERAL_RATIO = 0.999999
MIN_WORDS = 2
MAX_PHRASE_WORDS = 10
NOUNS = (
    "likes",
    "shares",
    "comments",
    "retweets",
    "reposts",
    "quotes",
    "bookmarks",
    "upvotes",
    "downvotes",
    "downloads",
    "views",
    "followers",
)

_NEWLINE, _BLANK, _CASE = ord("\n"), ord(" "), 0x20
_KELVIN, _DOTTED_I, _DOTLESS_I, _LONG_S = 0x212A, 0x130, 0x131, 0x17F


def _bytes(*texts: str) -> np.ndarray:
    """uint8[texts, 16], padded with zeros."""
    return np.array([list(text.encode().ljust(16, b"\0")) for text in texts], np.uint8)


_NOUNS = _bytes(*NOUNS)
_CART, _MORE, _SIGN_IN = _bytes("items in cart", "read more", "sign-in")
_CART_ANCHOR = len("items in ")
_MORE_CHARS, _WILD_CHARS = len("read more"), len("...")


class Line(NamedTuple):
    """Counts of a line.

    num_words: of str.split; num_counted_words: of fastText's tokenizer (between NUL and ASCII white
    space, other than the separators 0x1C to 0x1F) that start with str.isalnum.
    """

    num_chars: int | np.int64
    num_capitals: int | np.int64
    num_numerals: int | np.int64
    num_words: int | np.int64
    num_counted_words: int | np.int64


@leaf
def clean_page(data, origin, stop, scratch, rest, marks, out):
    """Mark what is cut of the page data[origin:stop] and set `out` to COLUMNS.

    marks uint8 as long as data, zero in this range; scratch uint8 as long as the longest line, of
    which `rest` is a read-only view.
    """
    for column in range(out.size):
        out[column] = 0
    last = _last_line(data, origin, stop)
    has_first = has_kept = False
    line, num_newlines = origin, 0
    while line < stop:
        end = byte_from(data, line, stop, _NEWLINE)
        if end == line:
            num_newlines += 1
            if num_newlines > 2:
                marks[line] = NEWLINES
            line += 1
            continue
        num_newlines = 1
        counts = measure(data, line, end)
        mark = _judge(data, line, end, counts)
        words = counts.num_counted_words
        out[NUM_LINES] += 1
        out[NUM_WORDS] += words
        if mark == _KEPT:
            if counts.num_words <= MAX_PHRASE_WORDS:
                mark, has_first, words = _cut_phrases(
                    data, line, end, not has_first, line == last, words, scratch, rest, marks, out
                )
            else:
                has_first = True
        else:
            out[mark] += 1
        if mark != _KEPT:
            words = np.int64(0)
            _mark(marks, line, min(end + 1, stop), mark)
        elif not has_kept:
            has_kept = True
            words = _first_words(data, line, end, words, scratch, rest, marks)
        out[NUM_REMOVED_WORDS] += counts.num_counted_words - words
        line = end + 1
    _trim(data, origin, stop, marks)


@leaf
def _last_line(data, origin, stop):
    """The start of the last line that stays until "read more..." is looked for; -1: there is none.

    Lines after it are looked at twice.
    """
    while stop > origin:
        line = stop
        while line > origin and data[line - 1] != _NEWLINE:
            line -= 1
        if line < stop:
            counts = measure(data, line, stop)
            if _judge(data, line, stop, counts) == _KEPT and (
                counts.num_words > MAX_PHRASE_WORDS or not _is_all_carts(data, line, stop)
            ):
                return line
        stop = line - 1
    return np.int64(-1)


@leaf
def _first_words(data, start, stop, words, scratch, rest, marks):
    """The counted words of the first line that stays, which is stripped: an ideographic space in
    front of a word is a part of it for fastText."""
    if _BLANK < data[start] < 0x80 and not marks[start]:
        return words
    size = _copy_rest(data, start, stop, marks, scratch)
    begin, _ = strip(rest, 0, size)
    return measure(rest, begin, size).num_counted_words


@inlined
def _mark(marks, start, stop, mark):
    for i in range(start, stop):
        marks[i] = mark


@leaf
def _trim(data, origin, stop, marks):
    """Mark white space at both ends of what is left of the page."""
    while origin < stop:
        code_point, after = decode(data, origin, stop)
        if not marks[origin]:
            if not flags_at(code_point) & SPACE:
                break
            _mark(marks, origin, after, WHITESPACE)
        origin = after
    while origin < stop:
        before = previous(data, stop, origin)
        if not marks[before]:
            code_point, _ = decode(data, before, stop)
            if not flags_at(code_point) & SPACE:
                break
            _mark(marks, before, stop, WHITESPACE)
        stop = before


@leaf
def measure(data, start, stop):
    """The counts of the line data[start:stop]."""
    capitals = numerals = words = counted = np.int64(0)
    after_space = after_gap = np.uint64(1)
    for i in range(start, stop, BLOCK):
        inside = bits_before(i, stop)
        if in_range(data, i, 0x80, 0xFF) & inside:
            return _measure_characters(data, start, stop)
        breaks = in_range(data, i, 0x09, 0x0D) | equal_to(data, i, _BLANK)
        spaces = breaks | in_range(data, i, 0x1C, 0x1F)
        gaps = breaks | equal_to(data, i, 0)
        digits = in_range(data, i, ord("0"), ord("9"))
        letters = in_range(data, i, ord("a"), ord("z"), flip=_CASE)
        one = np.uint64(1)
        capitals += num_bits(in_range(data, i, ord("A"), ord("Z")) & inside)
        numerals += num_bits(digits & inside)
        words += num_bits(~spaces & (spaces << one | after_space) & inside)
        counted += num_bits((letters | digits) & (gaps << one | after_gap) & inside)
        after_space, after_gap = spaces >> np.uint64(63), gaps >> np.uint64(63)
    return Line(np.int64(stop - start), capitals, numerals, words, counted)


@leaf
def _measure_characters(data, i, stop):
    chars = capitals = numerals = words = counted = np.int64(0)
    after_space = after_gap = True
    while i < stop:
        code_point, after = decode(data, i, stop)
        flags = flags_at(code_point)
        is_space = flags & SPACE != 0
        is_gap = code_point in (0, _BLANK) or 0x09 <= code_point <= 0x0D
        chars += 1
        capitals += flags & CAPITAL != 0
        numerals += flags & NUMERAL != 0
        words += after_space and not is_space
        if after_gap and is_alnum(code_point):
            counted += 1
        after_space, after_gap, i = is_space, is_gap, after
    return Line(chars, capitals, numerals, words, counted)


@inlined
def _judge(data, start, stop, counts):
    """The mark of a line that is not empty, before phrases are looked for."""
    if counts.num_capitals / counts.num_chars > MAX_CAPITAL_RATIO:
        return UPPERCASE
    if counts.num_numerals / counts.num_chars > MAX_NUMERAL_RATIO:
        return NUMERIC
    if counts.num_words < MIN_WORDS:
        return FEW_WORDS
    if counts.num_numerals and is_counter(data, start, stop):
        return COUNTER
    return _KEPT


@leaf
def is_counter(data, i, stop):
    """Whether str.lower of the line data[i:stop] matches, with \\d, \\s and \\W of str patterns,

    ^\\W*\\d(,|\\.|\\d)*(k|m|b)?\\s+(likes|shares| ... |followers)\\W*$
    """
    i = _skip_nonword(data, i, stop)
    number = i
    while i < stop:
        code_point, after = decode(data, i, stop)
        if not flags_at(code_point) & DECIMAL and (i == number or code_point not in (44, 46)):
            break
        i = after
    if i in (number, stop):
        return False
    code_point, after = decode(data, i, stop)
    if _lower(code_point) in (ord("k"), ord("m"), ord("b")):
        i = after
    noun = i
    while noun < stop:
        code_point, after = decode(data, noun, stop)
        if not flags_at(code_point) & SPACE:
            break
        noun = after
    if noun == i:
        return False
    for which in range(_NOUNS.shape[0]):
        end = _end_of(data, noun, stop, _NOUNS[which], False)
        if end and _skip_nonword(data, end, stop) == stop:
            return True
    return False


@leaf
def _skip_nonword(data, i, stop):
    while i < stop:
        code_point, after = decode(data, i, stop)
        if code_point == ord("_") or is_alnum(code_point):
            break
        i = after
    return i


@inlined
def _lower(code_point):
    """str.lower of the letters that have an ASCII one."""
    if ord("A") <= code_point <= ord("Z"):
        return code_point | _CASE
    return ord("k") if code_point == _KELVIN else code_point


@inlined
def _fold(code_point):
    """The ASCII letter that re.IGNORECASE takes a character for, or itself."""
    if code_point in (_DOTTED_I, _DOTLESS_I):
        return ord("i")
    return ord("s") if code_point == _LONG_S else _lower(code_point)


@leaf
def _end_of(data, i, stop, text, folded):
    """Where a text that stands at byte i ends; 0 when it does not stand there."""
    k = 0
    while k < text.size and text[k]:
        if i == stop:
            return np.int64(0)
        code_point, i = decode(data, i, stop)
        if (_fold(code_point) if folded else _lower(code_point)) != text[k]:
            return np.int64(0)
        k += 1
    return np.int64(i)


@leaf
def _cut_phrases(data, start, stop, is_first, is_last, num_words, scratch, rest, marks, out):
    """Mark the phrases in a line of few words.

    Returns the mark of the line, whether a line has stayed until "sign-in" was looked for, and the
    counted words that are left.
    """
    first, last = strip(data, start, stop)
    begin, end = first if is_first else start, last if is_last else stop
    cart, _ = _find_cart(data, start, stop)
    if (
        cart == stop
        and _more_start(data, begin, end) == end
        and _end_of(data, begin, end, _SIGN_IN, True) == 0
    ):
        return _KEPT, True, num_words
    out[PHRASE] += 1
    _mark_carts(data, start, stop, marks)
    size = _copy_rest(data, start, stop, marks, scratch)
    begin, end = strip(rest, 0, size)
    if begin == end:
        return PHRASE, not is_first, np.int64(0)
    if not is_last:
        end = size
    more = _more_start(rest, 0, end)
    _mark_rest(marks, start, stop, more, end)
    size = _copy_rest(data, start, stop, marks, scratch)
    begin, end = strip(rest, 0, size)
    if begin == end:
        return PHRASE, not is_first, np.int64(0)
    if not is_first:
        begin = np.int64(0)
    signed = _end_of(rest, begin, size, _SIGN_IN, True)
    if signed:
        if signed < size:
            code_point, after = decode(rest, signed, size)
            if flags_at(code_point) & SPACE:
                signed = after
        _mark_rest(marks, start, stop, begin, signed)
        size = _copy_rest(data, start, stop, marks, scratch)
        begin, end = strip(rest, 0, size)
        if begin == end:
            return PHRASE, True, np.int64(0)
    return _KEPT, True, measure(rest, 0, size).num_counted_words


@leaf
def _find_cart(data, start, stop):
    """Where the first "items in cart" from byte `start` on stands; (stop, stop): there is none."""
    for i in range(start, stop, BLOCK - 1):  # one less: pairs of bytes in two blocks
        found = equal_to(data, i, ord("c"), _CASE) & bits_before(i, stop)
        found &= equal_to(data, i, _BLANK) << np.uint64(1)
        while found:
            at = i + lowest_bit(found)
            for _ in range(_CART_ANCHOR):
                at = previous(data, at, start) if at > start else at
            end = _end_of(data, at, stop, _CART, True)
            if end:
                return at, end
            found &= found - np.uint64(1)
    return stop, stop


@leaf
def _mark_carts(data, start, stop, marks):
    at, end = _find_cart(data, start, stop)
    while at < stop:
        _mark(marks, _with_space_before(data, start, at), end, PHRASE)
        start = end
        at, end = _find_cart(data, start, stop)


@leaf
def _is_all_carts(data, start, stop):
    """Whether nothing visible is left of a line without "items in cart"."""
    while start < stop:
        at, end = _find_cart(data, start, stop)
        first, last = strip(data, start, at)
        if first < last:
            return False
        start = end
    return True


@leaf
def _more_start(data, start, stop):
    """Where "read more..." begins that ends the line, with a space before; `stop`: it does not."""
    at = stop
    for _ in range(_WILD_CHARS):
        at = previous(data, at, start) if at > start else start
    if at == start or data[at - 1] | _CASE != ord("e"):
        return stop
    for _ in range(_MORE_CHARS):
        if at == start:
            return stop
        at = previous(data, at, start)
    if not _end_of(data, at, stop, _MORE, True):
        return stop
    return _with_space_before(data, start, at)


@leaf
def _with_space_before(data, start, at):
    """Byte `at`, or that of one white space character before it."""
    if at > start:
        before = previous(data, at, start)
        code_point, _ = decode(data, before, at)
        if flags_at(code_point) & SPACE:
            return before
    return at


@leaf
def _copy_rest(data, start, stop, marks, scratch):
    """Copy the bytes without a mark to `scratch`; returns how many there are."""
    size = np.int64(0)
    for i in range(start, stop):
        if not marks[i]:
            scratch[size] = data[i]
            size += 1
    return size


@leaf
def _mark_rest(marks, start, stop, first, last):
    """Mark the bytes without a mark from the number `first` to `last`."""
    k = np.int64(0)
    for i in range(start, stop):
        if not marks[i]:
            if first <= k < last:
                marks[i] = PHRASE
            k += 1
