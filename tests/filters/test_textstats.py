"""The counts of signal group `text` against plain Python definitions."""

from __future__ import annotations

import functools
import itertools
import re
import string
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters import contractions, textstats, unicode
from filters.chunk_table import _FIRST_CHUNKS, STOP_WORDS

# --- words -----------------------------------------------------------------------------------


def has(flag: int, char: str) -> bool:
    return bool(flags_of(char) & flag)


@functools.cache
def flags_of(char: str) -> int:
    """The shipped table, looked up without a kernel."""
    return int(table()[ord(char)])


@functools.cache
def table() -> np.ndarray:
    blocks, classes, flags = unicode.load()
    return flags[classes.reshape(-1, 128)[blocks].ravel()]


@functools.cache
def chars_with(flag: int) -> str:
    """A regular expression class of all characters with a flag."""
    edges = np.flatnonzero(np.diff(np.pad(table() & flag != 0, 1).astype(np.int8)))
    return "[" + "".join(rf"\U{a:08x}-\U{b - 1:08x}" for a, b in edges.reshape(-1, 2)) + "]"


@functools.cache
def infix() -> re.Pattern[str]:
    letter, lower, upper = (chars_with(f) for f in (unicode.LETTER, unicode.LOWER, unicode.UPPER))
    quote, icon, hyphen = (chars_with(f) for f in (unicode.QUOTE, unicode.ICON, unicode.HYPHEN))
    return re.compile(
        "|".join(
            (
                r"\.\.+|\u2026",
                icon,
                r"(?<=[0-9])[-+*^](?=[0-9-])",
                rf"(?:(?<={lower})|(?<={quote}))\.(?:(?={upper})|(?={quote}))",
                rf"(?<={letter}),(?={letter})",
                rf"(?:(?<={letter})|(?<=[0-9]))(?:{hyphen}|[:<>=/]|--|---|\u2014\u2014)(?={letter})",
            )
        )
    )


@functools.cache
def suffix() -> re.Pattern[str]:
    lower, upper, cut, money = (
        chars_with(f) for f in (unicode.LOWER, unicode.UPPER, unicode.SUFFIX, unicode.CURRENCY)
    )
    units = "(?:[kdcm]?m[23]?|ha|[um]g|um|nm|yd|in|ft|kg|g|t|lb|oz|m/s|km/h|kmh|mph|h?Pa|mbar|%"
    units = (units + "|[mkg]b|[MKGT]B|tb|[TGMK])").replace("[23]", "[²³]").replace("u", "µ")
    return re.compile(
        "|".join(
            (
                r"\.\.+$",
                rf"{cut}$",
                r"['\u2019][sS]$",
                rf"(?<=[0-9])(?:\+|{money}|{units})$",
                rf"(?:(?<=[0-9%²+-])|(?<={lower})|(?<={cut}))\.$",
                rf"(?<={upper}{upper})\.$",
            )
        )
    )


def prefix_length(text: str) -> int:
    if has(unicode.PREFIX, text[0]):
        return 1
    match = re.match(r"\.\.+|\+(?![0-9])", text)
    return match.end() if match else 0


def is_address(text: str) -> bool:
    host = re.split("://", text, maxsplit=1)[-1].rsplit("@", 1)[-1]
    match = re.match(r"([^/?#:]*)($|[/?#]|:[0-9])", host)
    if not match or "." not in match[1]:
        return False
    *labels, top = match[1].split(".")
    fine = all(label and not label.endswith("-") for label in labels)
    inner = all(
        has(unicode.LETTER | unicode.DIGIT, c) or ord(c) >= 0xA1 or c in "-_"
        for c in "".join(labels)
    )
    return fine and inner and len(top) > 1 and all(has(unicode.LOWER, c) for c in top)


def words_of_chunk(text: str) -> list[str]:
    entries = plain_entries()
    front: list[str] = []
    back: list[str] = []
    while text and key(text) not in entries:
        n = prefix_length(text)
        if n and key(text[n:]) in entries:
            front.append(text[:n])
            text = text[n:]
            break
        match = suffix().search(text[n:])
        m = len(match[0]) if match else 0
        if m and key(text[:-m]) in entries:
            back.append(text[-m:])
            text = text[:-m]
            break
        if not n and not m:
            break
        front += [text[:n]] if n else []
        back += [text[len(text) - m :]] if m else []
        text = text[n : len(text) - m]
    return front + words_inside(text) + back[::-1]


def words_inside(text: str) -> list[str]:
    if not text or is_address(text):
        return [text] if text else []
    if key(text) in plain_entries():
        ends = [0]
        for word in plain_entries()[key(text)]:
            ends.append(ends[-1] + len(word))
        return [text[a:b] for a, b in itertools.pairwise(ends)]
    words, start = [], 0
    for match in infix().finditer(text):
        if match.start() > 0:
            words += [text[start : match.start()], match[0]]
            start = match.end()
    return [word for word in [*words, text[start:]] if word]


def key(text: str) -> str:
    return text.replace("\u2019", "'")


@functools.cache
def plain_entries() -> dict[str, tuple[str, ...]]:
    return {key(text): words for text, words in contractions.entries().items()}


def chunks(text: str) -> list[str]:
    found = []
    for run in "".join(" " if c.isspace() else c for c in text).split(" "):
        i = 0
        while i < len(run):
            j = i + 1
            if has(unicode.SOLO, run[i]):
                while j < len(run) and has(unicode.MARK, run[j]):
                    j += 1
            else:
                while j < len(run) and not has(unicode.SOLO, run[j]):
                    j += 1
            found.append(run[i:j])
            i = j
    return found


def words(text: str) -> list[str]:
    return [word for chunk in chunks(text) for word in words_of_chunk(chunk)]


# --- counts ----------------------------------------------------------------------------------


def duplicates(elements: list[str]) -> tuple[int, int]:
    """How many elements occurred before, and their characters."""
    seen: set[str] = set()
    repeated = [e for e in elements if e in seen or seen.add(e)]
    return len(repeated), sum(map(len, repeated))


def top_ngram_chars(found: list[str], n: int) -> int:
    counter = Counter(" ".join(found[i : i + n]) for i in range(len(found) - n + 1))
    return (
        max((count, len(gram) * count) for gram, count in counter.most_common(1))[1]
        if counter
        else 0
    )


def duplicate_ngram_chars(found: list[str], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    total = i = 0
    while i + n <= len(found):
        gram = tuple(found[i : i + n])
        if gram in seen:
            total += len("".join(gram))
            i += n
        else:
            seen.add(gram)
            i += 1
    return total


def num_sentences(found: list[str]) -> int:
    starts, ended = min(1, len(found)), False
    for word in found:
        if len(word) == 1 and has(unicode.TERMINAL, word):
            ended = True
        elif ended and not all(has(unicode.PUNCT, c) for c in word):
            starts, ended = starts + 1, False
    return starts


def line_counts(text: str) -> dict[str, int]:
    lines = text.splitlines()
    nonblank = [line for line in text.split("\n") if line.strip()]
    pieces = re.split(r"\n+", text) if text else []
    paragraphs = re.split(r"\n{2,}", text.strip()) if text else []
    return {
        "num_chars": len(text),
        "num_newlines": text.count("\n"),
        "num_lines": len(lines),
        "num_bullet_lines": sum(line.lstrip().startswith(("\u2022", "-")) for line in lines),
        "num_bullet_lines_dolma": sum(
            line.startswith(("*", "-")) and bool(line.strip()) for line in lines
        ),
        "num_bullet_lines_dclm": sum(
            line.lstrip().startswith(("\u25cf", "\u2022", "*", "-")) for line in lines
        ),
        "num_ellipsis_lines": sum(line.rstrip().endswith(("...", "\u2026")) for line in lines),
        "num_ellipsis_lines_dolma": sum(line.endswith("\u2026") for line in lines),
        "num_ellipsis_lines_dclm": sum(
            line.rstrip().endswith(("...", ". . .", "\u2026")) for line in lines
        ),
        "num_pieces": len(pieces),
        "num_duplicate_pieces": duplicates(pieces)[0],
        "duplicate_piece_chars": duplicates(pieces)[1],
        "num_nonblank_lines": len(nonblank),
        "num_terminal_lines": sum(has(unicode.TERMINAL, line[-1]) for line in nonblank),
        "num_short_lines": sum(len(line) <= 30 for line in nonblank),
        "num_long_lines": sum(len(line) >= 200 for line in text.split("\n")),
        "duplicate_nonblank_line_chars": duplicates(nonblank)[1],
        "num_paragraphs": len(paragraphs),
        "num_duplicate_paragraphs": duplicates(paragraphs)[0],
        "duplicate_paragraph_chars": duplicates(paragraphs)[1],
    }


def word_counts(text: str) -> dict[str, int]:
    found = words(text)
    nonsymbol = [word for word in found if not all(has(unicode.SYMBOL, c) for c in word)]
    stop_words = [word for word in found if word in STOP_WORDS]
    return {
        "num_words": len(found),
        "num_nonsymbol_words": len(nonsymbol),
        "nonsymbol_word_chars": sum(map(len, nonsymbol)),
        "num_alpha_words": sum(any(c.isalpha() for c in word) for word in found),
        "num_stop_words": len(stop_words),
        "num_distinct_stop_words": len(set(stop_words)),
        "num_space_words": len(text.split()),
        "num_hashes": text.count("#"),
        "num_ellipses": text.count("...") + text.count("\u2026"),
        "num_curly_brackets": text.count("{"),
        "num_sentences": num_sentences(found),
        **{f"top_{n}gram_chars": top_ngram_chars(found, n) for n in (2, 3, 4)},
        **{f"duplicate_{n}gram_chars": duplicate_ngram_chars(found, n) for n in range(5, 11)},
    }


def counted(texts: list[str]) -> list[dict[str, int]]:
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    return textstats.compute(batch).to_pylist()


# --- properties ------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
PIECES_TEXT = (
    "a b the of, To don't can\u2019t it's Mr. U.S. e.g. 5km 3-4 well-known end.Next a,b x/y :) "
    "(see \u201cquote\u201d www.a-b.org/x me@host.com ... \u2026 . ! ? - -- \u2022 * # {x} $5 20% "
    "\u3002 \u4f60\u597d \u0e44\u0e17\u0e22 \u0e01\u0e48 \u0928\u092e\u0938\u094d\u0924\u0947 "
    "\u041c\u0438\u0440. \u2603 \u00e9"
)
SPACES = [
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\x0b",
    "\x1c",
    "\x85",
    "\u2028",
    "\t",
    "\xa0",
    "\u3000",
    "\x1f",
]
PIECES = st.sampled_from([*PIECES_TEXT.split(), "\x00", *SPACES, " ", " ", " ", "\n", "\n\n"])
PIECED_TEXT = st.lists(PIECES, max_size=40).map("".join)
SPACED_TEXT = st.lists(PIECES, max_size=40).map(" ".join)
REPETITIVE_TEXT = st.lists(st.sampled_from(["a", "bb", "c", ",", ".\n", "\n\n"]), max_size=80).map(
    " ".join
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ANY_TEXT | PIECED_TEXT | SPACED_TEXT | REPETITIVE_TEXT, max_size=4))
@example(["", "\n", "\n\n", " \n \n", "a\n\n\nb", "\n a \n\n a \n"])
@example(["a\r\nb\rc\x0bd\x1ce\x85f\u2028g", "...\n. . .\n\u2026 \n"])
def test_counts_equal_their_definition(texts: list[str]) -> None:
    for text, counts in zip(texts, counted(texts), strict=True):
        assert counts == line_counts(text) | word_counts(text)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(PIECES, min_size=50, max_size=400).map("".join), min_size=1, max_size=2))
@example([":)\x00 ;) ;)\x00 5km\x00... 5\U0001006b\U0001006d the\x00"])
def test_counts_of_long_texts_equal_their_definition(texts: list[str]) -> None:
    for text, counts in zip(texts, counted(texts), strict=True):
        assert counts == line_counts(text) | word_counts(text)


@settings(max_examples=20, deadline=None)
@given(st.lists(PIECED_TEXT, min_size=1, max_size=6), st.data())
def test_counts_do_not_depend_on_the_batch(texts: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(texts)))
    batch = pa.record_batch({"text": pa.array(["left out", *texts], pa.large_string())})
    assert textstats.compute(batch.slice(1 + first)).to_pylist() == counted(texts)[first:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't think it's U.S. law, e.g.", "I|do|n't|think|it|'s|U.S.|law|,|e.g."),
        ("(well-known) end.Next: $5m+", "(|well|-|known|)|end|.|Next|:|$|5m+"),
        ("see www.a-b.org/x?y, me@host.com!", "see|www.a-b.org/x?y|,|me@host.com|!"),
        (
            "\u201cHe\u2019d go\u2026\u201d 20% of 3-4",
            "\u201c|He|\u2019d|go|\u2026|\u201d|20|%|of|3|-|4",
        ),
        ("2020\u5e74 \u4f60\u597d\u3002", "2020|\u5e74|\u4f60|\u597d|\u3002"),
    ],
)
def test_words_of_the_definition(text: str, expected: str) -> None:
    assert words(text) == expected.split("|")


def test_long_chunks_are_cut_and_counted_in_full() -> None:
    text = "a\u00e9" * 50_000
    (counts,) = counted([text])
    assert counts["num_chars"] == counts["nonsymbol_word_chars"] == 100_000
    assert counts["num_space_words"] == 1
    assert counts["num_words"] == pytest.approx(len(text.encode()) / 1016, rel=0.01)


def test_counts_survive_the_growth_of_the_chunk_table() -> None:
    chunks = [f"(w{k}.)" for k in range(_FIRST_CHUNKS + 1000)]
    # The table grows by the number of chunks, then by the words and bytes of long ones. The last
    # document has both kinds again, and reads what the others left in the table.
    long = ["ab-3," * 180 + chunk for chunk in chunks[:400]]
    texts = [" ".join(chunks), " ".join(long), " ".join(chunks[::3] + long[::3])]
    for batch in (texts, [texts[1], texts[0], texts[2]]):
        for text, counts in zip(batch, counted(batch), strict=True):
            assert counts == line_counts(text) | word_counts(text)


def test_threads_know_their_own_chunks() -> None:
    batches = [[f"(w{k}.) a-{k % (n + 2)}, 'b{k}'" for k in range(400)] for n in range(6)]
    alone = [counted(texts) for texts in batches]
    with ThreadPoolExecutor(3) as threads:
        for _ in range(5):
            assert list(threads.map(counted, batches)) == alone


def test_a_batch_that_failed_leaves_no_chunks_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["(one.) two-three", "(four.)"]
    expected = counted(texts)

    def fail(offsets: object, data: object, counts: object, known: tuple[np.ndarray, ...]) -> None:
        known[0][:] = 1 << 40  # as after a growth whose arrays were lost
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(textstats, "_count_documents", fail)
        with pytest.raises(MemoryError):
            counted(texts)
    assert counted(texts) == expected


def test_terminal_marks_are_the_published_set() -> None:
    marks = re.findall(chars_with(unicode.TERMINAL), "".join(map(chr, range(0x110000))))
    assert len(marks) == 159
    assert all(unicodedata.category(c) in ("Po", "Cn") for c in marks)
    assert set(marks) >= set(".!?\u3002\u061f\u0964\uff01")


def test_symbols_hold_all_ascii_punctuation() -> None:
    assert all(has(unicode.SYMBOL, c) for c in string.punctuation)
    assert not any(has(unicode.SYMBOL, c) for c in string.ascii_letters + string.digits + "\t\n ")
