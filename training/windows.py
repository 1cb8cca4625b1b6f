"""Raw windows: the tokens at a list of places in the order, read from blocks.

A raw window holds ordinary text ids, SEPARATOR between documents and PADDING where there is no
token. `documents` tells documents apart: for each token, the position in the row where its document
begins, -1 on padding. A separator belongs to the document that it begins.

A block that stays damaged leaves padding at its positions; its neighbours in the window are not
affected, because positions follow from the block table alone. `spans` says which block each part of
a window comes from: journals, quarantine and traces need no more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.shards import BlockCorrupt
from training.block_cache import CachedBlock
from training.blocks import BlockStore
from training.order import Layout
from training.packing import (
    PADDING,
    SEPARATOR,
    Span,
    block_layout,
    copy_span,
    piece_layout,
    window_spans,
)
from training.plan import Plan

SPAN_DTYPE = np.dtype(
    [
        ("row", "<i4"),  # of the batch
        ("at", "<i4"),  # first position in the window
        ("length", "<i4"),
        ("shard", "<i8"),  # row in the plan's table of shards
        ("block", "<i4"),
        ("first", "<i8"),  # first position in this epoch's layout of the block
    ]
)
MAX_LAYOUTS = 4096
"""Layouts of shards kept in memory, about 2 KB each."""
ROWS_AT_ONCE = 64
"""Bounds the blocks that one call keeps alive beside the cache."""

BlockKey = tuple[int, int]


@dataclass(frozen=True, slots=True)
class RawWindows:
    """tokens, documents: int32[R, T + 1]; spans: SPAN_DTYPE; damaged: (shard, block) -> why."""

    tokens: NDArray[np.int32]
    documents: NDArray[np.int32]
    spans: NDArray[np.void]
    damaged: dict[BlockKey, str]


class _Place(NamedTuple):
    """Where a row of a batch is read from; `tar` is the shard's row in the plan's table."""

    row: int
    stratum: int
    epoch: int
    shard: int
    window: int
    tar: int


class WindowReader:
    """Reads windows of a plan through a store. Calls must not overlap; blocks load in parallel."""

    def __init__(self, plan: Plan, store: BlockStore, num_threads: int):
        self._plan = plan
        self._config = plan.config
        self._store = store
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="fetch")
        self._layouts: OrderedDict[tuple[int, int, int], tuple[Layout, int]] = OrderedDict()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, rows: NDArray[np.void], given_up: Iterable[BlockKey] = ()) -> RawWindows:
        """Windows of the rows (WINDOW_DTYPE [R]; g = -1 is a row of padding).

        given_up: blocks that are not asked for again. Raises StorageError, but not for damage.
        """
        shape = (rows.size, self._config.raw_length + 1)
        raw = RawWindows(
            np.full(shape, PADDING, np.int32),
            np.full(shape, -1, np.int32),
            np.zeros(0, SPAN_DTYPE),
            dict.fromkeys(given_up, ""),
        )
        places = self._places(rows)
        spans = [
            self._read_some(places[first : first + ROWS_AT_ONCE], raw)
            for first in range(0, len(places), ROWS_AT_ONCE)
        ]
        damaged = {key: reason for key, reason in raw.damaged.items() if reason}
        return replace(raw, spans=np.concatenate([raw.spans, *spans]), damaged=damaged)

    def _places(self, rows: NDArray[np.void]) -> list[_Place]:
        numbers = np.flatnonzero(rows["g"] >= 0)
        fields = rows[numbers][["stratum", "epoch", "shard", "window"]].tolist()
        return [
            _Place(row, stratum, epoch, shard, window, int(self._plan.rows[stratum][shard]))
            for row, (stratum, epoch, shard, window) in zip(numbers.tolist(), fields, strict=True)
        ]

    def _read_some(self, places: list[_Place], raw: RawWindows) -> NDArray[np.void]:
        """Fills the rows of some places, and returns their spans."""
        self._load_layouts(places)
        spans = [self._spans(place) for place in places]
        blocks = self._request(places, spans, raw.damaged)
        for place, parts in zip(places, spans, strict=True):
            for span in parts:
                self._fill(place, span, blocks, raw)
            if self._config.separator:
                self._close(place, raw)
        table = [
            (place.row, span.at, span.last - span.first, place.tar, span.block, span.first)
            for place, parts in zip(places, spans, strict=True)
            for span in parts
            if not self._is_separator(span)
        ]
        return np.array(table, SPAN_DTYPE)

    def _load_layouts(self, places: list[_Place]) -> None:
        """Block tables of several shards arrive in parallel."""
        missing = {place.tar for place in places if place[1:4] not in self._layouts}
        list(self._pool.map(self._store.table, missing))

    def _spans(self, place: _Place) -> list[Span]:
        return window_spans(*self._layout(place), place.window, self._config.raw_length)

    def _layout(self, place: _Place) -> tuple[Layout, int]:
        """Layout of a shard's blocks in an epoch, and the size of its strip."""
        key = (place.stratum, place.epoch, place.shard)
        if key not in self._layouts:
            table = self._store.table(place.tar)
            separators = table["docs"].astype(np.int64) * self._config.separator
            sizes = table["tokens"].astype(np.int64) + separators
            layout = block_layout(self._config.seed, *key, sizes)
            self._layouts[key] = (layout, int(sizes.sum()))
            if len(self._layouts) > MAX_LAYOUTS:
                self._layouts.popitem(last=False)
        return self._layouts[key]

    def _request(
        self, places: list[_Place], spans: list[list[Span]], damaged: dict[BlockKey, str]
    ) -> dict[BlockKey, CachedBlock | Future[CachedBlock]]:
        """Blocks of the spans: those in memory at once, the others on their way."""
        blocks: dict[BlockKey, CachedBlock | Future[CachedBlock]] = {}
        for place, parts in zip(places, spans, strict=True):
            for span in parts:
                key = (place.tar, span.block)
                if key not in blocks and key not in damaged and not self._is_separator(span):
                    cached = self._store.cached(*key)
                    blocks[key] = cached or self._pool.submit(self._store.get, *key)
        return blocks

    def _is_separator(self, span: Span) -> bool:
        """A window's last label is often the separator that begins a block: no need to fetch it."""
        return self._config.separator == 1 and span.first == 0 and span.last == 1

    def _fill(
        self,
        place: _Place,
        span: Span,
        blocks: dict[BlockKey, CachedBlock | Future[CachedBlock]],
        raw: RawWindows,
    ) -> None:
        """Fills one span of a window, or leaves its padding."""
        tokens, documents = raw.tokens[place.row], raw.documents[place.row]
        if self._is_separator(span):
            tokens[span.at], documents[span.at] = SEPARATOR, span.at
            return
        key = (place.tar, span.block)
        if key in raw.damaged:
            return
        try:
            block = blocks[key]
            block = block if isinstance(block, CachedBlock) else block.result()
        except BlockCorrupt as error:
            raw.damaged[key] = str(error)
            return
        layout = self._pieces(place, span.block, block)
        arrays = block.tokens, block.offsets, block.hidden, layout.permutation, layout.start
        positions = span.first, span.last, span.at
        copy_span(*arrays, self._config.separator, positions, tokens, documents)

    def _pieces(self, place: _Place, number: int, block: CachedBlock) -> Layout:
        if place.epoch not in block.layouts:
            sizes = np.diff(block.offsets) + self._config.separator
            key = place.stratum, place.epoch, place.shard, number
            for old in list(block.layouts)[:-1]:
                block.layouts.pop(old, None)
            block.layouts[place.epoch] = piece_layout(self._config.seed, *key, sizes)
        return block.layouts[place.epoch]

    def _close(self, place: _Place, raw: RawWindows) -> None:
        """The separator that closes a strip, in its last window."""
        end = self._layout(place)[1] - place.window * self._config.raw_length
        if end <= self._config.raw_length:
            raw.tokens[place.row, end] = SEPARATOR
            raw.documents[place.row, end] = end
