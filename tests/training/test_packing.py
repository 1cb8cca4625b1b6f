import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.order import Layout
from training.packing import (
    PADDING,
    SEPARATOR,
    block_layout,
    copy_span,
    num_windows,
    piece_layout,
    window_spans,
)

separators = st.sampled_from([0, 1])
shard = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=6)


def strip_of(blocks: list[list[np.ndarray]], separator: int) -> list[int]:
    """The strip by its definition: pieces in turn, each behind its separator, and a last one."""
    strip = []
    for pieces in blocks:
        for piece in pieces:
            strip += [SEPARATOR] * separator + piece.tolist()
    return strip + [SEPARATOR] * separator


def numbered(shape: list[list[int]]) -> list[list[np.ndarray]]:
    tokens = iter(range(10**6))
    return [[np.array([next(tokens) for _ in range(n)]) for n in sizes] for sizes in shape]


def layouts(shape, separator, epoch=0):
    blocks = np.array([sum(sizes) + separator * len(sizes) for sizes in shape])
    pieces = [
        piece_layout(1, 0, epoch, 0, number, np.array(sizes) + separator)
        for number, sizes in enumerate(shape)
    ]
    return block_layout(1, 0, epoch, 0, blocks), pieces, int(blocks.sum())


def read_window(shape, window, raw_length, separator, epoch=0):
    blocks = numbered(shape)
    layout, pieces, size = layouts(shape, separator, epoch)
    tokens = np.full(raw_length + 1, PADDING, np.int32)
    documents = np.full(raw_length + 1, -1, np.int32)
    for span in window_spans(layout, size, window, raw_length):
        flat = np.concatenate(blocks[span.block]).astype(np.uint16)
        offsets = np.cumsum([0, *shape[span.block]])
        hidden = np.zeros(len(shape[span.block]), np.bool_)
        place = span.first, span.last, span.at
        inner = pieces[span.block]
        copy_span(flat, offsets, hidden, *inner, separator, place, tokens, documents)
    return tokens, documents


@settings(deadline=None)  # compiles a kernel
@given(shard, st.integers(1, 12), separators, st.integers(0, 3))
def test_windows_are_cuts_of_the_strip(shape, raw_length, separator, epoch):
    blocks = numbered(shape)
    layout, pieces, size = layouts(shape, separator, epoch)
    ordered = [[blocks[b][p] for p in pieces[b].permutation] for b in layout.permutation]
    strip = strip_of(ordered, separator)[:size]
    total = num_windows(sum(map(sum, shape)), sum(map(len, shape)), raw_length, separator)
    for window in range(int(total)):
        tokens, documents = read_window(shape, window, raw_length, separator, epoch)
        expected = strip[window * raw_length : (window + 1) * raw_length + 1]
        assert tokens[: len(expected)].tolist() == expected
        assert (tokens[len(expected) :] == PADDING).all()
        assert (documents[len(expected) :] == -1).all()


@settings(deadline=None)  # compiles a kernel
@given(shard, st.integers(1, 12), separators)
def test_every_token_is_an_input_exactly_once(shape, raw_length, separator):
    total = num_windows(sum(map(sum, shape)), sum(map(len, shape)), raw_length, separator)
    windows = [read_window(shape, w, raw_length, separator)[0][:-1] for w in range(int(total))]
    inputs = np.concatenate(windows)
    assert sorted(inputs[inputs >= 0].tolist()) == list(range(sum(map(sum, shape))))
    assert (inputs == SEPARATOR).sum() == separator * sum(map(len, shape))


@settings(deadline=None)  # compiles a kernel
@given(shard, st.integers(1, 12), separators)
def test_documents_are_told_apart_by_where_they_begin(shape, raw_length, separator):
    owner = {
        int(token): (b, p)
        for b, pieces in enumerate(numbered(shape))
        for p, piece in enumerate(pieces)
        for token in piece
    }
    tokens, documents = read_window(shape, 0, raw_length, separator)
    for at in range(1, raw_length + 1):
        if tokens[at] >= 0 and tokens[at - 1] >= 0:
            same = owner[int(tokens[at])] == owner[int(tokens[at - 1])]
            assert same == (documents[at] == documents[at - 1])
        if tokens[at] == SEPARATOR:
            assert documents[at] == at
    text = tokens != PADDING
    assert (tokens[documents[text]] != PADDING).all()
    assert (documents[text] <= np.flatnonzero(text)).all()


def test_a_document_that_was_taken_down_becomes_padding():
    tokens = np.full(8, PADDING, np.int32)
    documents = np.full(8, -1, np.int32)
    layout = Layout(np.array([0, 1]), np.array([0, 4]))
    copy_span(
        np.arange(5, dtype=np.uint16),
        np.array([0, 3, 5]),
        np.array([True, False]),
        *layout,
        1,
        (0, 7, 0),
        tokens,
        documents,
    )
    assert tokens.tolist() == [SEPARATOR, PADDING, PADDING, PADDING, SEPARATOR, 3, 4, PADDING]
    assert documents.tolist() == [0, -1, -1, -1, 4, 4, 4, -1]


@pytest.mark.parametrize(
    ("tokens", "docs", "expected"), [(0, 0, 0), (9, 1, 1), (10, 1, 2), (90, 10, 10), (91, 10, 11)]
)
def test_num_windows(tokens, docs, expected):
    assert num_windows(tokens, docs, 10, 1) == expected


def test_a_new_epoch_has_a_new_order_of_blocks_and_pieces():
    sizes = np.full(50, 3)
    one, two = (block_layout(1, 0, epoch, 0, sizes).permutation for epoch in (0, 1))
    assert (one != two).mean() > 0.8
    one, two = (piece_layout(1, 0, epoch, 0, 0, sizes).permutation for epoch in (0, 1))
    assert (one != two).mean() > 0.8
