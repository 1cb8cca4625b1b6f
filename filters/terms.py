"""Lists of words and phrases, counted: flagged words, pronouns, named groups, regional spellings.

A count says how often the terms of a list occur, whole words only, and nothing about what is meant:
lists of flagged words hit medicine, law and the people they name (Dodge et al. 2021,
arXiv:2104.08758, section 5). So no recipe that ships drops by them; the report shows them, and a
rule may use one, best as a share: `{signal: flagged_terms / num_words, max: 0.01}`.

Words are those of shingles.py: lower case, without accents, and each letter of a script without
spaces is a word; so lists for Japanese or Thai work too. Longer terms overlap shorter ones: both
count.

    <list>_terms    int64, occurrences in the text that is packed
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from filters.shingles import Ragged, shingles, word_hashes

VERSION = 1
MAX_WORDS = 20

Hashes = npt.NDArray[np.uint64]


class TermList(NamedTuple):
    """by_length uint64: the sorted hashes of its terms of n words at n - 1."""

    name: str
    by_length: tuple[Hashes, ...]

    @property
    def column(self) -> str:
        return f"{self.name}_terms"

    def digest(self) -> str:
        state = xxhash.xxh3_128(self.name.encode())
        for hashes in self.by_length:
            state.update(len(hashes).to_bytes(8, "little") + hashes.tobytes())
        return state.hexdigest()


def make_list(name: str, terms: Sequence[str]) -> TermList:
    """Raises ValueError for a term without words, or with more than MAX_WORDS."""
    words = word_hashes(pa.array(terms, pa.large_string()))
    lengths = np.diff(words.offsets)
    for term, length in zip(terms, lengths.tolist(), strict=True):
        if not 1 <= length <= MAX_WORDS:
            raise ValueError(f"the term {term!r} has {length} words, expected 1 to {MAX_WORDS}")
    longest = int(lengths.max(initial=0))
    by_length = tuple(
        np.unique(_of_rows(shingles(words, n), lengths == n)) for n in range(1, longest + 1)
    )
    return TermList(name, by_length)


def schema(lists: Sequence[TermList]) -> pa.Schema:
    return pa.schema([pa.field(one.column, pa.int64(), nullable=False) for one in lists])


def compute(batch: pa.RecordBatch, lists: Sequence[TermList]) -> pa.RecordBatch:
    """The `terms` signals of a batch with a `text` column, aligned by row."""
    words = word_hashes(batch.column("text"))
    counts = {one.name: np.zeros(batch.num_rows, np.int64) for one in lists}
    for n in range(1, 1 + max((len(one.by_length) for one in lists), default=0)):
        runs = shingles(words, n)
        for one in lists:
            if n <= len(one.by_length) and len(one.by_length[n - 1]):
                counts[one.name] += _count(runs, one.by_length[n - 1])
    arrays = [pa.array(count) for count in counts.values()]
    return pa.RecordBatch.from_arrays(arrays, schema=schema(lists))


def _of_rows(runs: Ragged, rows: npt.NDArray[np.bool_]) -> Hashes:
    return runs.values[np.repeat(rows, np.diff(runs.offsets))]


def _count(runs: Ragged, listed: Hashes) -> npt.NDArray[np.int64]:
    """How many of each row's hashes are listed."""
    places = np.minimum(np.searchsorted(listed, runs.values), len(listed) - 1)
    found = np.concatenate([[0], np.cumsum(listed[places] == runs.values)])
    return found[runs.offsets[1:]] - found[runs.offsets[:-1]]
