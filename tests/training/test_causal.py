import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.objectives import IGNORED, window_generator
from training.objectives.causal import causal, cut_rows
from training.packing import PADDING, SEPARATOR

SEPARATOR_ID = 1000


def windows_of(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Raw windows from tokens; a document begins at each separator and behind padding."""
    tokens = np.array(rows, np.int32)
    documents = np.full(tokens.shape, -1, np.int32)
    for row, ids in enumerate(rows):
        begin = 0
        for at, token in enumerate(ids):
            if token == SEPARATOR or (at and ids[at - 1] == PADDING):
                begin = at
            if token != PADDING:
                documents[row, at] = begin
    return tokens, documents


tokens_of_row = st.one_of(st.integers(0, 99), st.just(SEPARATOR), st.just(PADDING))
raw_windows = st.lists(st.lists(tokens_of_row, min_size=9, max_size=9), min_size=1, max_size=3)


def test_the_example_of_the_docstring():
    tokens, documents = windows_of([[SEPARATOR, 1, 2, 3, SEPARATOR, 4, 5, PADDING]])
    examples = causal(tokens, documents, SEPARATOR_ID)
    assert examples.input_ids.tolist() == [[1000, 1, 2, 3, 1000, 4, 5]]
    assert examples.labels.tolist() == [[1, 2, 3, 1000, 4, 5, IGNORED]]
    assert examples.loss_weights.tolist() == [[1, 1, 1, 1, 1, 1, 0]]
    assert examples.document_ids.tolist() == [[0, 0, 0, 0, 4, 4, 4]]
    assert examples.positions.tolist() == [[0, 1, 2, 3, 0, 1, 2]]


@given(raw_windows)
def test_a_label_is_the_next_input_and_padding_has_no_loss(rows):
    tokens, documents = windows_of(rows)
    examples = causal(tokens, documents, SEPARATOR_ID)
    assert (examples.input_ids >= 0).all()
    for row, ids in enumerate(rows):
        for at in range(8):
            padded = PADDING in ids[at : at + 2]
            assert examples.loss_weights[row, at] == (not padded)
            expected = SEPARATOR_ID if ids[at + 1] == SEPARATOR else ids[at + 1]
            assert examples.labels[row, at] == (IGNORED if padded else expected)
            assert (examples.document_ids[row, at] == -1) == (ids[at] == PADDING)


@given(raw_windows)
def test_positions_count_from_the_beginning_of_each_document(rows):
    tokens, documents = windows_of(rows)
    examples = causal(tokens, documents, SEPARATOR_ID)
    for positions, ids in zip(examples.positions, examples.document_ids, strict=True):
        for document in set(ids.tolist()) - {-1}:
            inside = positions[ids == document]
            assert inside.tolist() == list(range(inside.size))


@given(raw_windows, st.sampled_from([1, 2, 4, 8]))
def test_cut_rows_keeps_every_label_and_every_document_apart(rows, parts):
    tokens, documents = windows_of(rows)
    whole = causal(tokens, documents, SEPARATOR_ID)
    cut_tokens, cut_documents = cut_rows(tokens, documents, parts)
    cut = causal(cut_tokens, cut_documents, SEPARATOR_ID)
    assert cut.input_ids.shape == (len(rows) * parts, 8 // parts)
    for name in ("input_ids", "labels", "loss_weights"):
        np.testing.assert_array_equal(getattr(cut, name).ravel(), getattr(whole, name).ravel())
    shape = (len(rows) * parts, 8 // parts)
    before = whole.document_ids.reshape(shape)
    for row, ids in zip(before, cut.document_ids, strict=True):
        np.testing.assert_array_equal(row[1:] == row[:-1], ids[1:] == ids[:-1])
        np.testing.assert_array_equal(row == -1, ids == -1)
    assert (cut.positions <= whole.positions.reshape(shape)).all()
    assert cut.positions.max() < 8 // parts


def test_rows_that_cannot_be_cut_are_refused():
    tokens, documents = windows_of([[1] * 9])
    with pytest.raises(ValueError, match="windows of 8 tokens cannot be cut in 3 rows"):
        cut_rows(tokens, documents, 3)


def test_a_generator_belongs_to_its_window():
    one, again, other, seed = (
        window_generator(*key).integers(0, 1 << 60, 4).tolist()
        for key in ((1, 2), (1, 2), (1, 3), (2, 2))
    )
    assert one == again
    assert one != other
    assert one != seed
    assert window_generator(2**64 - 1, 2**62).random() < 1
