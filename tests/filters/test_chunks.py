"""Chunks read 64 bytes at a time against their definition, at every edge of a block."""

from __future__ import annotations

import re

import numba
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters import chunks, contractions, unicode

_CLASSES = unicode.load()


def has(flag: int, char: str) -> bool:
    code_point = ord(char)
    block = int(_CLASSES.blocks[code_point >> 7])
    return bool(_CLASSES.flags[_CLASSES.classes[block << 7 | code_point & 127]] & flag)


def chunks_of_run(run: str) -> list[str]:
    """Without white space: letters of scripts without spaces, each with its marks, and the rest."""
    found: list[str] = []
    after_solo = False
    for char in run:
        solo = has(unicode.SOLO, char)
        after_solo = after_solo and has(unicode.MARK, char)
        if found and (after_solo or not (solo or ends_solo(found[-1]))):
            found[-1] += char
        else:
            found.append(char)
        after_solo = after_solo or solo
    return [piece for chunk in found for piece in without_closing_mark(chunk)]


def ends_solo(chunk: str) -> bool:
    return has(unicode.SOLO, chunk[0])


def is_solo_letter(chunk: str) -> bool:
    marks = all(has(unicode.MARK, char) for char in chunk[1:])
    return marks and ends_solo(chunk) and has(unicode.ALPHA, chunk[0])


def without_closing_mark(chunk: str) -> list[str]:
    if not re.fullmatch("[A-Za-z]+[,;:!?.]", chunk):
        return [chunk]
    if chunk[-1] == "." and (chunk[-2].isupper() or chunk in contractions.entries()):
        return [chunk]
    return [chunk[:-1], chunk[-1]]


def definition(text: str) -> tuple[list[str], int]:
    runs = "".join(" " if char.isspace() else char for char in text).split()
    return [chunk for run in runs for chunk in chunks_of_run(run)], len(runs)


@numba.njit
def read_all(data, start, stop, bounds):
    work = chunks.new_chunks()
    place = chunks.Place(np.int64(start), np.int64(start) - 1)
    total = after_space = 0
    while place.at < stop:
        found, spaced, place = chunks.read_chunks(data, place, stop, work)
        for k in range(found):
            bounds[total, 0], bounds[total, 1] = work.starts[k], work.ends[k]
            bounds[total, 2] = work.kinds[k]
            total += 1
        after_space += spaced
    return total, after_space


def read(text: str, before: str = "", after: str = "") -> tuple[list[str], int]:
    """The chunks of a text that stands between others in an array, and how many follow a space."""
    start = len(before.encode())
    stop = start + len(text.encode())
    data = (before + text + after).encode()
    bounds = np.zeros((len(data) + 1, 3), np.int64)
    total, after_space = read_all(np.frombuffer(data, np.uint8), start, stop, bounds)
    found = [(data[first:last], kind) for first, last, kind in bounds[:total].tolist()]
    for chunk, kind in found:
        assert kind != chunks.ASCII_LETTERS or chunk.isalpha()
        assert kind != chunks.SOLO_LETTER or is_solo_letter(chunk.decode())
    return [chunk.decode() for chunk, _ in found], after_space


PIECES = st.sampled_from(
    [
        *("a", "Zq", "word", "etc", "U", ".", ",", "?", "3", "{", "'s", "\u00e9", "\u0301"),
        *("\u4e2d", "\u3002", "\u0e01", "\u0e31", "\uac00", "\u1ebf", "\u0939", "\U00020000"),
        *("\u3007", "\u2019", "\u201c", "\uff0c", "\U0001f600", " ", " ", "\n", "\xa0", "\u3000"),
        *("\x85", "\u2003", "\x1f"),
    ]
)
TEXT = st.lists(PIECES, max_size=150).map("".join)  # no run that is cut for its length


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT, TEXT)
@example("etc. etc, U. word." * 20, "", "x")
@example("a, b. \u4e2d\u6587\u3002 " * 400, "x", "")  # more than a window
@example("a" * 62 + "\xa0b, " + "c" * 55 + ". " + "\u4e2d" * 30 + ",", "", "\u0301")
def test_chunks_equal_their_definition(text: str, before: str, after: str) -> None:
    assert read(text, before, after) == definition(text)


@given(st.integers(0, 70), st.integers(890, 3100))
@settings(max_examples=40, deadline=None)
def test_long_runs_are_cut_between_characters(num_before: int, num_chars: int) -> None:
    text = "b " * num_before + "a\u00e9" * num_chars + " c"
    found, after_space = read(text)
    assert after_space == num_before + 2
    assert "".join(found[num_before:-1]) == "a\u00e9" * num_chars
    assert all(1010 <= len(chunk.encode()) <= 1024 for chunk in found[num_before:-2])


def test_letters_and_marks_are_nothing_else() -> None:
    # So a chunk of them is one word, whatever the rules cut.
    others = unicode.SPACE | unicode.DIGIT | unicode.PUNCT | unicode.PREFIX | unicode.SUFFIX
    others |= unicode.ICON | unicode.QUOTE | unicode.CURRENCY | unicode.HYPHEN | unicode.SYMBOL
    assert not any(flags & unicode.LETTER and flags & others for flags in _CLASSES.flags.tolist())


@numba.njit
def starts_of_words(data, start, stop, places):
    i, after_space, found = start, np.uint64(1), 0
    while i < stop:
        starts, after_space = chunks.word_starts(data, i, stop, after_space)
        for bit in range(64):
            if starts >> np.uint64(bit) & np.uint64(1):
                places[found] = i - start + bit
                found += 1
        i += 64
    return found


WHITE = [chr(c) for c in range(0x110000) if chr(c).isspace()]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WHITE) | PIECES, max_size=120).map("".join), TEXT, TEXT)
@example("".join("w" * k + char for k, char in enumerate(WHITE * 3)), "", "")
def test_words_start_where_str_split_starts_them(text: str, before: str, after: str) -> None:
    start, stop = len(before.encode()), len((before + text).encode())
    data = np.frombuffer((before + text + after).encode(), np.uint8)
    places = np.zeros(len(text) + 1, np.int64)
    found = starts_of_words(data, start, stop, places)
    white = "".join(WHITE)
    words = re.finditer(f"[^{re.escape(white)}]+", text)
    expected = [len(text[: word.start()].encode()) for word in words]
    assert places[:found].tolist() == expected
    assert found == len(text.split())
