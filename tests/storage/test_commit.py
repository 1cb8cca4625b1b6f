"""Commit markers, recipe ids, fingerprints and document addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import commit
from storage.addresses import MAX_PARTS, MAX_ROWS, MAX_UNITS, doc_ids, pack_doc_id, unpack_doc_id
from storage.commit import PartMarker, WrittenObject

UNITS, PARTS, ROWS = (st.integers(0, limit - 1) for limit in (MAX_UNITS, MAX_PARTS, MAX_ROWS))


@given(unit=UNITS, part=PARTS, row=ROWS)
def test_addresses_round_trip(unit, part, row):
    doc_id = pack_doc_id(unit, part, row)
    assert 0 <= doc_id < 2**63
    assert unpack_doc_id(doc_id) == (unit, part, row)


def test_addresses_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="part 4096 does not fit"):
        pack_doc_id(0, MAX_PARTS, 0)
    with pytest.raises(ValueError, match="row"):
        doc_ids(0, 0, MAX_ROWS - 1, 2)


def marker(part: str, digest: str = "d") -> PartMarker:
    written = WrittenObject(f"documents/{part}.parquet", "documents", part, 3, 100, digest)
    return PartMarker("ingest", part, "r1", [written], {"documents": 3})


def test_a_part_is_finished_only_under_its_recipe(tmp_path):
    output = str(tmp_path)
    assert not commit.is_finished(output, "ingest", "web/0000000-0000", "r1")
    commit.write_marker(output, marker("web/0000000-0000"))
    assert commit.is_finished(output, "ingest", "web/0000000-0000", "r1")
    assert not commit.is_finished(output, "ingest", "web/0000000-0000", "r2")


def test_markers_are_read_back_in_order(tmp_path):
    markers = [marker("b/0000001-0000"), marker("a/0000000-0001"), marker("a/0000000-0000")]
    for one in markers:
        commit.write_marker(str(tmp_path), one)
    assert commit.read_markers(str(tmp_path), "ingest") == sorted(markers, key=lambda m: m.part)


@given(st.permutations([marker("a/0"), marker("b/0"), marker("c/0", "e")]))
def test_fingerprint_ignores_order_and_sees_digests(markers):
    expected = commit.fingerprint([marker("a/0"), marker("b/0"), marker("c/0", "e")])
    assert commit.fingerprint(markers) == expected
    assert commit.fingerprint([marker("a/0"), marker("b/0"), marker("c/0")]) != expected


def test_recipe_id_depends_on_each_ingredient():
    base = ("stage", 1, {"a": 1}, ["x"])
    others = [("stage2", 1, {"a": 1}, ["x"]), ("stage", 2, {"a": 1}, ["x"]),
              ("stage", 1, {"a": 2}, ["x"]), ("stage", 1, {"a": 1}, ["y"])]  # fmt: skip
    assert len({commit.recipe_id(*one) for one in [base, *others]}) == 5
    assert commit.recipe_id("s", 1, {"a": 1, "b": 2}, []) == commit.recipe_id(
        "s", 1, {"b": 2, "a": 1}, []
    )
