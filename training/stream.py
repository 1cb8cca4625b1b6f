"""Streams batches of raw windows to one rank; resuming is an integer.

    with Stream(corpus, config, batch_size=256, rank=0, world_size=8, state=saved) as stream:
        for batch in stream:
            ...                              # the optimiser's step
            stream.commit(batch)             # the state moves on
            checkpoint(stream.state_dict())

A batch is the next `batch_size` windows of the order, sorted by lane; each rank takes consecutive
rows. So the union over ranks is the same for any world size, and a stream that starts from a saved
state yields the rest of the uninterrupted one. Batches are read ahead in threads, but reading ahead
never moves the state: it moves when the trainer commits a batch.

Damage. A block that stays damaged stops the stream, or is quarantined: its tokens become padding,
which has no weight, and its windows keep their places. Ranks must agree on that before they step,
so every batch calls `agree` with what this rank found; it returns what all ranks found (the default
is for one process). A batch with news in `quarantined` is to be followed by saving the state before
the step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.errors import ConfigError
from storage.manifest import CorpusManifest
from storage.objects import StorageError
from training.blocks import BlockStore, FetchCounts
from training.mixture import Mixture, Schedule
from training.order import Order
from training.packing import PADDING
from training.plan import Plan, identity, make_plan
from training.quotas import QuotaTable
from training.shares import Shares, share_rows, sort_batch
from training.stream_config import StreamConfig, warn_of_a_small_cache
from training.stream_state import (
    QuarantinedBlock,
    ScheduleEntry,
    StreamState,
    check_identity,
    next_unskipped,
    read_state,
)
from training.windows import BlockKey, RawWindows, WindowReader

SPLIT = "train"

Agree = Callable[[dict[BlockKey, str]], dict[BlockKey, str]]
"""Damaged blocks that this rank found -> those that all ranks found; called for every batch."""


@dataclass(frozen=True, slots=True)
class RawBatch:
    """The rows of one batch that belong to one rank (and worker).

    windows: WINDOW_DTYPE [R], g = -1 in a row of padding that evens out the ranks; tokens,
    documents: int32[R, T + 1], see training/windows.py; spans: SPAN_DTYPE. first_g and next_g
    bound the whole batch; quarantined: blocks given up in this batch, by any rank.
    """

    windows: NDArray[np.void]
    tokens: NDArray[np.int32]
    documents: NDArray[np.int32]
    spans: NDArray[np.void]
    first_g: int
    next_g: int
    quarantined: tuple[QuarantinedBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class _Ahead:
    windows: NDArray[np.void]
    first_g: int
    next_g: int
    raw: Future[RawWindows]


def agree_alone(found: dict[BlockKey, str]) -> dict[BlockKey, str]:
    """For one process: what it found is what all found."""
    return found


class Stream:
    """Iterator of RawBatch. Raises StorageError, ConfigError; ends with a capped mixture."""

    def __init__(
        self,
        corpus: CorpusManifest,
        config: StreamConfig,
        *,
        batch_size: int,
        shares: Shares = Shares(),
        state: dict[str, Any] | None = None,
        agree: Agree = agree_alone,
    ):
        _check_agreement(config, shares, agree)
        self.plan = make_plan(corpus, config.plan, SPLIT)
        self._config = config
        self._batch_size = batch_size
        self._shares = shares
        self._agree = agree
        self._state = self._first_state(state)
        self._order = make_order(self.plan, self._state)
        self._given_up = {self._key(entry) for entry in self._state.quarantine}
        self._store = BlockStore(corpus, self.plan.shards, config.fetch)
        self._reader = WindowReader(self.plan, self._store, config.fetch.num_threads)
        self._assembler = ThreadPoolExecutor(1, thread_name_prefix="assemble")
        self._ahead: deque[_Ahead] = deque()
        self._delivered_g = self._planned_g = self._state.g
        warn_of_a_small_cache(self.plan, config.fetch, shares.world_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the threads; reads in flight finish first."""
        self._assembler.shutdown(cancel_futures=True)
        self._reader.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> RawBatch:
        while len(self._ahead) <= self._config.prefetch_batches and self._read_ahead():
            pass
        if not self._ahead:
            raise StopIteration
        ahead = self._ahead.popleft()
        raw = ahead.raw.result()
        news = self._settle(raw.damaged, ahead.first_g)
        self._mask(raw)
        self._delivered_g = ahead.next_g
        return RawBatch(
            ahead.windows,
            raw.tokens,
            raw.documents,
            raw.spans,
            ahead.first_g,
            ahead.next_g,
            news,
        )

    @property
    def counts(self) -> FetchCounts:
        return self._store.counts

    @property
    def seed(self) -> int:
        return self.plan.config.seed

    def commit(self, batch: RawBatch) -> None:
        """The optimiser has stepped on this batch: the state moves to the window after it."""
        assert batch.next_g > self._state.g, "a batch is committed once"
        self._state = self._state.model_copy(update={"g": batch.next_g})

    def state_dict(self) -> dict[str, Any]:
        """JSON-able; the same on every rank."""
        return self._state.model_dump(mode="json")

    def skip(self, first: int, last: int) -> None:
        """Leave out windows [first, last); for windows not delivered yet, equal on all ranks."""
        self._state = self._state.with_skip(first, last)
        self._replan()

    def change_mixture(self, mixture: Mixture) -> None:
        """Another mixture from the next cycle on; must be called alike on all ranks."""
        cycle = self.plan.config.cycle
        self._state = self._state.with_mixture(mixture, self._delivered_g, cycle)
        self._order = make_order(self.plan, self._state)
        self._replan()

    def _first_state(self, saved: dict[str, Any] | None) -> StreamState:
        config = self._config
        described = identity(self.plan.corpus, config.plan, SPLIT)
        if saved is None:
            entry = ScheduleEntry(first_cycle=0, mixture=config.mixture)
            return StreamState(
                fingerprint=self.plan.fingerprint,
                identity=described,
                schedule=(entry,),
                configured=config.mixture,
            )
        state = read_state(saved)
        check_identity(state, self.plan.fingerprint, described)
        if config.mixture == state.configured:
            return state
        changed = state.with_mixture(config.mixture, state.g, config.plan.cycle)
        return changed.model_copy(update={"configured": config.mixture})

    def _read_ahead(self) -> bool:
        """Starts to read the next batch; false at the end of the stream."""
        g = self._planned_g
        end = self._order.end(g + self._batch_size + sum(b - a for a, b in self._state.skips))
        indices = next_unskipped(g, self._batch_size, self._state.skips, end)
        if indices.size == 0:
            return False
        batch = sort_batch(self._order.windows(indices))
        rows = share_rows(batch, self._batch_size, self._shares)
        raw = self._assembler.submit(self._reader.read, rows, frozenset(self._given_up))
        self._planned_g = int(indices[-1]) + 1
        self._ahead.append(_Ahead(rows, int(indices[0]), self._planned_g, raw))
        return True

    def _replan(self) -> None:
        for ahead in self._ahead:
            ahead.raw.cancel()
        self._ahead.clear()
        self._planned_g = self._delivered_g

    def _settle(self, damaged: dict[BlockKey, str], first_g: int) -> tuple[QuarantinedBlock, ...]:
        """Agrees with the other ranks on new damage, and quarantines it or stops."""
        agreed = self._agree({k: why for k, why in damaged.items() if k not in self._given_up})
        news = tuple(
            QuarantinedBlock(
                shard=self.plan.path(shard), block=block, first_g=first_g, reason=agreed[key]
            )
            for key in sorted(agreed)
            if key not in self._given_up
            for shard, block in [key]
        )
        if not news:
            return ()
        self._check_policy(news)
        self._given_up.update(agreed)
        quarantine = (*self._state.quarantine, *news)
        self._state = self._state.model_copy(update={"quarantine": quarantine})
        return news

    def _check_policy(self, news: tuple[QuarantinedBlock, ...]) -> None:
        number, limit = len(self._state.quarantine) + len(news), self._config.max_quarantined
        if self._config.on_damage == "stop":
            raise StorageError(
                f"{news[0].reason}; restore the shard, or set stream.on_damage: quarantine to go "
                "on without this block"
            )
        if number > limit:
            raise StorageError(
                f"{news[0].reason}; {number} damaged blocks are more than "
                f"stream.max_quarantined: {limit}; check the storage, or raise the limit"
            )

    def _mask(self, raw: RawWindows) -> None:
        """Padding for quarantined blocks, also where they were read before the agreement."""
        if not self._given_up:
            return
        for span in raw.spans:
            if (int(span["shard"]), int(span["block"])) in self._given_up:
                part = slice(int(span["at"]), int(span["at"] + span["length"]))
                raw.tokens[span["row"], part] = PADDING
                raw.documents[span["row"], part] = -1

    def _key(self, entry: QuarantinedBlock) -> BlockKey:
        row = pc.index(self.plan.shards["path"], entry.shard).as_py()  # pyright: ignore
        return row, entry.block


def _check_agreement(config: StreamConfig, shares: Shares, agree: Agree) -> None:
    several = shares.world_size * shares.num_workers > 1
    if several and config.on_damage == "quarantine" and agree is agree_alone:
        raise ConfigError(
            f"on_damage: quarantine with {shares.world_size} ranks and {shares.num_workers} "
            "workers needs `agree`: all of them must leave out the same blocks"
        )


def make_order(plan: Plan, state: StreamState) -> Order:
    """The order of a plan under the schedule of a state."""
    history = [
        (entry.first_cycle, Schedule(entry.mixture, plan.names, plan.num_windows))
        for entry in state.schedule
    ]
    config = plan.config
    quotas = QuotaTable(history, config.cycle)
    return Order(
        plan.strata, quotas, seed=config.seed, cycle=config.cycle, num_lanes=config.num_lanes
    )
