"""Which rows of a batch a rank and its workers read.

A batch is sorted by lane, and a rank takes consecutive rows, so that a lane's block is open on one
rank. Which rows there are does not depend on the number of ranks, only who reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.order import WINDOW_DTYPE


@dataclass(frozen=True, slots=True)
class Shares:
    """Which rows of each batch to read: a rank's, or one of its workers'."""

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    num_workers: int = 1
    micro_rows: int = 1
    """Rows of a micro-batch; workers take micro-batches in turn."""


def sort_batch(rows: NDArray[np.void]) -> NDArray[np.void]:
    """The rows of one batch by (lane, stratum, k): a rank's consecutive rows share few lanes."""
    return rows[np.lexsort((rows["k"], rows["stratum"], rows["lane"]))]


def rank_rows(num_rows: int, rank: int, world_size: int) -> slice:
    """Rows of a sorted batch that belong to a rank; ranks differ by at most one row."""
    return slice(rank * num_rows // world_size, (rank + 1) * num_rows // world_size)


def worker_rows(num_rows: int, worker: int, num_workers: int, micro_rows: int) -> NDArray[np.int64]:
    """A rank's rows that belong to a worker: workers take micro-batches in turn."""
    rows = np.arange(num_rows)
    return rows[rows // micro_rows % num_workers == worker]


def share_rows(batch: NDArray[np.void], batch_size: int, shares: Shares) -> NDArray[np.void]:
    """Rows of a sorted batch for one rank and worker; short ranks get rows with g = -1."""
    rows_per_rank = -(-batch_size // shares.world_size)
    mine = batch[rank_rows(batch.size, shares.rank, shares.world_size)]
    rows = np.zeros(rows_per_rank, WINDOW_DTYPE)
    rows["g"] = -1
    rows[: mine.size] = mine
    return rows[worker_rows(rows_per_rank, shares.worker, shares.num_workers, shares.micro_rows)]
