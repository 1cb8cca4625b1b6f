import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import ConfigError
from storage.objects import StorageError
from storage.shards import read_blocks_table
from tests.training.corpora import exclude, flip_byte, random_documents, write_corpus
from training.packing import PADDING, SEPARATOR
from training.validation import ValidationStrip, read_validation

SIZES = [5, 200, 1, 64, 30]  # 200 tokens are cut in pieces of 64


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    validation = {
        "books": [random_documents(SIZES), random_documents([7, 8], 1)],
        "web": [random_documents([9, 3], 2)],
    }
    return write_corpus(tmp_path_factory.mktemp("corpus"), {}, validation)


def test_documents_are_whole_and_in_order(corpus):
    books, web = read_validation(corpus)
    documents = [*random_documents(SIZES), *random_documents([7, 8], 1)]
    expected = [SEPARATOR]
    for tokens in documents:
        expected += [*tokens.tolist(), SEPARATOR]
    assert (books.stratum, web.stratum) == ("books", "web")
    assert books.tokens.tolist() == expected
    assert books.num_documents == 7
    assert books.num_bytes == 3 * sum(map(len, documents))
    assert books.num_labels == sum(map(len, documents)) + 7


@pytest.mark.parametrize(
    ("max_tokens", "documents"), [(1, 1), (6, 1), (206, 1), (207, 2), (208, 2), (209, 3)]
)
def test_the_cap_takes_whole_documents(corpus, max_tokens, documents):
    books = read_validation(corpus, max_tokens)[0]
    assert books.num_documents == documents
    assert books.num_bytes == 3 * sum(SIZES[:documents])


documents_strategy = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1)


@settings(deadline=None)
@given(documents_strategy, st.integers(1, 20))
def test_every_label_is_there_once_whatever_the_length(documents, raw_length):
    tokens = [SEPARATOR]
    for document in documents:
        tokens += [*document, SEPARATOR]
    strip = ValidationStrip("s", np.array(tokens, np.int32), len(documents), 0)
    windows, owners = strip.windows(raw_length)
    assert windows.shape == (-(-strip.num_labels // raw_length), raw_length + 1)
    labels = windows[:, 1:].ravel()
    assert labels[labels != PADDING].tolist() == tokens[1:]
    for row, starts in zip(windows, owners, strict=True):
        begin = 0
        for at, token in enumerate(row):
            begin = at if token == SEPARATOR else begin
            assert starts[at] == (-1 if token == PADDING else begin)


def test_damage_is_an_error(tmp_path):
    corpus = write_corpus(tmp_path, {}, {"web": [random_documents([9, 30])]})
    tar = tmp_path / corpus.shards["path"][0].as_py()
    flip_byte(tar, int(read_blocks_table(str(tar))["offset"][0]) + 700)
    with pytest.raises(StorageError, match="damaged"):
        read_validation(corpus)


def test_documents_that_were_taken_down_are_left_out(tmp_path):
    documents = random_documents(SIZES)
    corpus = write_corpus(tmp_path, {}, {"web": [documents]})
    exclude(corpus, [1, 2])
    (strip,) = read_validation(corpus)
    assert strip.num_documents == 3
    assert strip.num_bytes == 3 * sum(SIZES[2:])
    assert strip.tokens[1] == documents[2][0]


def test_no_validation_split_is_an_error(tmp_path):
    corpus = write_corpus(tmp_path, {"web": [random_documents([9])]})
    with pytest.raises(ConfigError, match="has no validation split"):
        read_validation(corpus)
