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
from dataclasses import dataclass

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


class WindowReader:
    """Reads windows of a plan through a store. Calls must not overlap; blocks load in parallel."""

    def __init__(self, plan: Plan, store: BlockStore, num_threads: int):
        self._plan = plan
        self._store = store
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="fetch")
        self._layouts: OrderedDict[tuple[int, int, int], tuple[Layout, int]] = OrderedDict()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, rows: NDArray[np.void], given_up: Iterable[BlockKey] = ()) -> RawWindows:
        """Windows of the rows (WINDOW_DTYPE [R]; g = -1 is a row of padding).

        given_up: blocks that are not asked for again. Raises StorageError, but not for damage.
        """
        length = self._plan.config.raw_length + 1
        tokens = np.full((rows.size, length), PADDING, np.int32)
        documents = np.full((rows.size, length), -1, np.int32)
        damaged = dict.fromkeys(given_up, "given up before")
        known = len(damaged)
        spans = [np.zeros(0, SPAN_DTYPE)]
        for first in range(0, rows.size, ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            part_spans = self._spans(rows[part])
            self._fill(rows[part], part_spans, tokens[part], documents[part], damaged)
            spans += [self._span_rows(rows[part], part_spans, first)]
        found = dict(list(damaged.items())[known:])
        return RawWindows(tokens, documents, np.concatenate(spans), found)

    def _spans(self, rows: NDArray[np.void]) -> list[list[Span]]:
        real = rows[rows["g"] >= 0]
        list(self._pool.map(self._store.table, {self._shard(row) for row in real}))
        raw_length = self._plan.config.raw_length
        return [
            window_spans(*self._layout(row), int(row["window"]), raw_length)
            if row["g"] >= 0
            else []
            for row in rows
        ]

    def _shard(self, row: np.void) -> int:
        return int(self._plan.rows[row["stratum"]][row["shard"]])

    def _layout(self, row: np.void) -> tuple[Layout, int]:
        """Layout of a shard's blocks in an epoch, and the size of its strip."""
        key = (int(row["stratum"]), int(row["epoch"]), int(row["shard"]))
        if key not in self._layouts:
            table = self._store.table(self._shard(row))
            separators = table["docs"].astype(np.int64) * self._plan.config.separator
            sizes = table["tokens"].astype(np.int64) + separators
            layout = block_layout(self._plan.config.seed, *key, sizes)
            self._layouts[key] = (layout, int(sizes.sum()))
            if len(self._layouts) > MAX_LAYOUTS:
                self._layouts.popitem(last=False)
        return self._layouts[key]

    def _fill(
        self,
        rows: NDArray[np.void],
        spans: list[list[Span]],
        tokens: NDArray[np.int32],
        documents: NDArray[np.int32],
        damaged: dict[BlockKey, str],
    ) -> None:
        blocks = self._request(rows, spans, damaged)
        for index, row in enumerate(rows):
            for span in spans[index]:
                self._fill_span(row, span, tokens[index], documents[index], blocks, damaged)
            if spans[index] and self._plan.config.separator:
                self._close(row, tokens[index], documents[index])

    def _request(
        self, rows: NDArray[np.void], spans: list[list[Span]], damaged: dict[BlockKey, str]
    ) -> dict[BlockKey, Future[CachedBlock]]:
        blocks: dict[BlockKey, Future[CachedBlock]] = {}
        for row, row_spans in zip(rows, spans, strict=True):
            for span in row_spans:
                key = (self._shard(row), span.block)
                if key not in blocks and key not in damaged and not self._is_separator(span):
                    blocks[key] = self._pool.submit(self._store.get, *key)
        return blocks

    def _is_separator(self, span: Span) -> bool:
        """A window's last label is often the separator that begins a block: no need to fetch it."""
        return self._plan.config.separator == 1 and span.first == 0 and span.last == 1

    def _fill_span(
        self,
        row: np.void,
        span: Span,
        tokens: NDArray[np.int32],
        documents: NDArray[np.int32],
        blocks: dict[BlockKey, Future[CachedBlock]],
        damaged: dict[BlockKey, str],
    ) -> None:
        """Fills one span of a window, or leaves its padding."""
        if self._is_separator(span):
            tokens[span.at], documents[span.at] = SEPARATOR, span.at
            return
        key = (self._shard(row), span.block)
        if key in damaged:
            return
        try:
            block = blocks[key].result()
        except BlockCorrupt as error:
            damaged[key] = str(error)
            return
        layout = self._pieces(row, span.block, block)
        arrays = block.tokens, block.offsets, block.hidden, layout.permutation, layout.start
        place = span.first, span.last, span.at
        copy_span(*arrays, self._plan.config.separator, place, tokens, documents)

    def _pieces(self, row: np.void, number: int, block: CachedBlock) -> Layout:
        epoch = int(row["epoch"])
        if epoch not in block.layouts:
            sizes = np.diff(block.offsets) + self._plan.config.separator
            place = int(row["stratum"]), epoch, int(row["shard"]), number
            for old in list(block.layouts)[:-1]:
                block.layouts.pop(old, None)
            block.layouts[epoch] = piece_layout(self._plan.config.seed, *place, sizes)
        return block.layouts[epoch]

    def _close(self, row: np.void, tokens: NDArray[np.int32], documents: NDArray[np.int32]) -> None:
        """The separator that closes a strip, in its last window."""
        end = self._layout(row)[1] - int(row["window"]) * self._plan.config.raw_length
        if end < tokens.size:
            tokens[end], documents[end] = SEPARATOR, end

    def _span_rows(
        self, rows: NDArray[np.void], spans: list[list[Span]], first_row: int
    ) -> NDArray[np.void]:
        table = [
            (first_row + index, s.at, s.last - s.first, self._shard(rows[index]), s.block, s.first)
            for index, row_spans in enumerate(spans)
            for s in row_spans
            if not self._is_separator(s)
        ]
        return np.array(table, SPAN_DTYPE)
