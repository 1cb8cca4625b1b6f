"""Which rows of decided documents take part in the shuffle of an append.

A decided document can only pair with an undecided one, so of its 14 band hashes those matter that
an undecided document has too. The hashes of undecided documents, 8 bytes each and band, are
written once, one object per band; the task that reads a part's bands looks them up. So the shuffle
grows with the new documents, not with the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.config import CorpusConfig
from pipelines.duplicates.competing import Part
from pipelines.duplicates.features import read_bands
from pipelines.duplicates.ranking import RANKED
from pipelines.workplace import Workplace
from storage import objects

FOLDER = "new"


def write_hashes(config: CorpusConfig, place: Workplace, parts: Sequence[Part]) -> None:
    """Writes the distinct hashes of undecided documents, ascending, for each band."""
    undecided = [part for part in parts if _has_undecided(place, part)]
    for band in range(config.dedup.bands):
        found = [np.empty(0, np.uint64)]
        for part in undecided:
            for _, ranked, hashes in read_bands(place, part, [band]):
                found.append(hashes[ranked["rank"] >= place.num_standing])
        objects.write(_path(place, band), np.unique(np.concatenate(found)).tobytes())


def concerned(
    place: Workplace, band: int, ranks: np.ndarray, hashes: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    """Rows of undecided documents, and of decided ones that share a hash with one."""
    new = np.frombuffer(objects.read(_path(place, band)), np.uint64)
    undecided = ranks >= place.num_standing
    if len(new) == 0:
        return undecided
    places = np.minimum(np.searchsorted(new, hashes), len(new) - 1)
    return undecided | (new[places] == hashes)


def _has_undecided(place: Workplace, part: Part) -> bool:
    ranked = np.frombuffer(objects.read(place.ranks_path(part.name)), RANKED)
    return bool((ranked["rank"] >= place.num_standing).any())


def _path(place: Workplace, band: int) -> str:
    return objects.join(place.work, FOLDER, f"band-{band:03d}.bin")
