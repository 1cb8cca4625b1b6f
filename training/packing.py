"""Concat packing: a shard's tokens as one strip per epoch, cut into windows of T tokens.

The strip is the shard's blocks in one permutation and the pieces of each block in another, both new
in each epoch. With `separator = 1` a piece (a document, or one part of a document larger than a
block) takes one position more than it has tokens, in front of it, and one separator closes the
strip:

    S d d d d S d d S d d d ... S d d d S        size = tokens + pieces, and the closing one
    |---- window 0 ----|
                     |---- window 1 ----|        w covers [wT, wT + T + 1): neighbours share a token

A separator is the end of one document as a label and the beginning of the next as an input. So
every text token and every end of a document is a label exactly once per epoch, each is predicted
from its own document alone, and `num_windows` needs only the counts in the block table. With
`separator = 0` the strip is the text tokens alone.

Windows of one shard are a formula, so nothing is stored; best-fit packing would need a stored
column per raw length, and is not available.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.order import BLOCK, PIECE, Layout, hash64, lay_out

SEPARATOR = -1
"""Between documents in a raw window; objectives replace it by an id above the base vocabulary."""
PADDING = -2
"""No token: the tail of a strip, a quarantined block or a document that was taken down."""


class Span(NamedTuple):
    """Positions [first, last) of a block's layout, which fill a window from `at` on."""

    block: int
    first: int
    last: int
    at: int


def num_windows(
    num_tokens: ArrayLike, num_pieces: ArrayLike, raw_length: int, separator: int
) -> NDArray[np.int64]:
    """Windows of shards with so many tokens and pieces: ceil((tokens + pieces * sep) / T)."""
    size = np.asarray(num_tokens, np.int64) + np.asarray(num_pieces, np.int64) * separator
    return -(-size // raw_length)


def block_layout(
    seed: int, stratum: int, epoch: int, shard: int, block_sizes: NDArray[np.int64]
) -> Layout:
    """An epoch's order of a shard's blocks; sizes in positions (tokens + pieces * separator)."""
    blocks = np.arange(block_sizes.size)
    return lay_out(hash64(seed, BLOCK, stratum, epoch, shard, blocks), block_sizes)


def piece_layout(
    seed: int, stratum: int, epoch: int, shard: int, block: int, piece_sizes: NDArray[np.int64]
) -> Layout:
    """An epoch's order of a block's pieces; sizes in positions (tokens + separator)."""
    pieces = np.arange(piece_sizes.size)
    return lay_out(hash64(seed, PIECE, stratum, epoch, shard, block, pieces), piece_sizes)


def window_spans(layout: Layout, size: int, window: int, raw_length: int) -> list[Span]:
    """Parts of blocks that make up a window, in order.

    size: of the strip without its closing separator, in positions.
    """
    first = window * raw_length
    last = min(first + raw_length + 1, size)
    spans = []
    for turn in range(int(layout.locate(first)), int(layout.locate(last - 1)) + 1):
        start = int(layout.start[turn])
        end = int(layout.start[turn + 1]) if turn + 1 < layout.start.size else size
        begin, stop = max(first, start), min(last, end)
        block = int(layout.permutation[turn])
        spans.append(Span(block, begin - start, stop - start, begin - first))
    return spans


@numba.njit(cache=True, nogil=True)
def copy_span(
    tokens, offsets, hidden, permutation, start, separator, span, window, documents
):  # pragma: no cover (compiled)
    """Copy positions [first, last) of a block's layout into a window from `at` on.

    tokens: uint16 or uint32; offsets: int64[num_pieces + 1], where each piece begins in `tokens`;
    hidden: bool[num_pieces]; permutation, start: the epoch's Layout of the pieces; span: (first,
    last, at). Writes `window` and `documents` (int32); tokens of hidden pieces become padding.
    """
    first, last, at = span
    turn = np.searchsorted(start, first, side="right") - 1
    shift = at - first
    while first < last:
        piece = permutation[turn]
        text = start[turn] + separator
        end = min(last, text + offsets[piece + 1] - offsets[piece])
        documents[first + shift : end + shift] = first + shift
        if first < text:
            window[first + shift] = SEPARATOR
            first = text
        if hidden[piece]:
            window[first + shift : end + shift] = PADDING
            documents[first + shift : end + shift] = -1
        else:
            source = offsets[piece] - text
            for position in range(first, end):
                window[position + shift] = tokens[position + source]
        first = end
        turn += 1
