"""Results that `pairs/` holds from an earlier run, and which of them are still good.

A pairs file says in its metadata at which threshold estimates were accepted and under which recipe
the signatures of each part in it were made (which covers the text, the editors and the shingles).
A row is good while the recipes of both its parts are the present ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pipelines.duplicates.candidates import PAIR
from pipelines.duplicates.pieces import address_of
from pipelines.duplicates.verification import ESTIMATE
from storage import objects, tables

THRESHOLD, RECIPES = "threshold", "minhash_recipes"


class KnownPairs(NamedTuple):
    """Good rows: PAIR rows sorted by (a, b), their similarity, and whether it is exact."""

    pairs: np.ndarray
    jaccard: npt.NDArray[np.float64]
    exact: npt.NDArray[np.bool_]
    threshold: float
    """At which estimates were accepted; nan when there is no file."""

    @classmethod
    def read(cls, path: str, recipes: Mapping[int, str], methods: Collection[str]) -> Self:
        """`recipes`: the present minhash recipe of each part, by its address; rows found by other
        `methods` than these are of another similarity."""
        if not objects.exists(path):
            return cls(np.empty(0, PAIR), np.empty(0), np.empty(0, bool), math.nan)
        with tables.open_table(path) as parquet:
            metadata = parquet.metadata.metadata or {}
            table = parquet.read(["doc_a", "doc_b", "jaccard", "method"])
        pairs = np.empty(table.num_rows, PAIR)
        pairs["a"], pairs["b"] = table["doc_a"].to_numpy(), table["doc_b"].to_numpy()
        written = json.loads(metadata.get(RECIPES.encode(), b"{}"))
        good = [number for number, recipe in recipes.items() if written.get(str(number)) == recipe]
        fresh = np.isin(address_of(pairs["a"]), np.array(good, np.uint64))
        fresh &= np.isin(address_of(pairs["b"]), np.array(good, np.uint64))
        method = np.asarray(table["method"].to_pylist(), object)
        fresh &= np.isin(method, list(methods))
        exact = method != ESTIMATE
        threshold = float(metadata.get(THRESHOLD.encode(), b"nan"))
        return cls(pairs[fresh], table["jaccard"].to_numpy()[fresh], exact[fresh], threshold)

    def only_exact(self) -> Self:
        """The rows whose similarity is exact."""
        exact = self.exact
        return type(self)(self.pairs[exact], self.jaccard[exact], exact[exact], self.threshold)

    def places_of(self, pairs: np.ndarray) -> npt.NDArray[np.int64]:
        """For each of `pairs`, sorted and without repeats, its row here or -1."""
        a = np.concatenate([self.pairs["a"], pairs["a"]])
        b = np.concatenate([self.pairs["b"], pairs["b"]])
        order = np.lexsort((b, a))  # stable: of two equals the known one comes first
        same = np.zeros(len(order), bool)
        same[1:] = (np.diff(a[order]) == 0) & (np.diff(b[order]) == 0)
        places = np.full(len(order), -1)
        places[order[same]] = order[np.flatnonzero(same) - 1]
        return places[len(self.pairs) :]


def metadata_of(pairs: np.ndarray, threshold: float, recipes: Mapping[int, str]) -> dict[str, str]:
    """What a file of these pairs says about itself."""
    here: Iterable[int] = np.union1d(address_of(pairs["a"]), address_of(pairs["b"])).tolist()
    written = {str(number): recipes[number] for number in here}
    return {THRESHOLD: repr(threshold), RECIPES: json.dumps(written, sort_keys=True)}
