import numpy as np
import pyarrow as pa
import pytest

from storage import tables
from storage.manifest import EXCLUSIONS_TABLE
from storage.objects import StorageError
from tests.training.corpora import exclude, small_corpus
from training.exclusions import read_exclusions


def test_no_table_excludes_nothing(tmp_path):
    assert read_exclusions(small_corpus(tmp_path)).size == 0


def test_doc_ids_are_sorted_and_distinct(tmp_path):
    corpus = small_corpus(tmp_path)
    exclude(corpus, [9, 2, 9, 2**63])
    np.testing.assert_array_equal(read_exclusions(corpus), np.array([2, 9, 2**63], np.uint64))


@pytest.mark.parametrize("columns", [{"doc_id": ["a"]}, {"document": [1]}])
def test_another_table_is_refused(tmp_path, columns):
    corpus = small_corpus(tmp_path)
    table = pa.table(columns)
    tables.write_table(corpus.location(EXCLUSIONS_TABLE), table, table.schema)
    with pytest.raises(StorageError, match="expected doc_id as uint64"):
        read_exclusions(corpus)
