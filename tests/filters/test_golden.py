"""Stored signals are reused while a group's version stays, so its output must stay with it.

After a change that is meant, raise the group's VERSION, run the test, and put the digest that it
names in place of the old one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash

from filters import (
    c4,
    hashing,
    kneser_ney,
    minhash,
    perplexity,
    pii,
    refinedweb,
    script,
    source_code,
    space_words,
    textstats,
)
from filters.minhash import MinHashParams
from filters.pii import PiiParams
from filters.shingles import word_hashes

_FIXTURES = Path(__file__).parent.parent / "fixtures"

Tables = tuple[pa.RecordBatch | pa.Table, ...]


def _c4(name: str) -> tuple[int, Callable[[pa.RecordBatch], Tables]]:
    return c4.VERSION, lambda batch: c4.compute_with_edits(batch, c4.VARIANTS[name])


def _perplexity(batch: pa.RecordBatch) -> Tables:
    """Of a model of every second text."""
    words = word_hashes(batch.column("text").take(pa.array(range(0, len(batch), 2))))
    values = perplexity.perplexities(kneser_ney.train(words, 3), batch.column("text"))
    return (pa.record_batch([pa.array(values.round(perplexity.DECIMALS))], names=["value"]),)


GROUPS: dict[str, tuple[int, Callable[[pa.RecordBatch], Tables]]] = {
    "text": (textstats.VERSION, lambda batch: (textstats.compute(batch),)),
    **{name: _c4(name) for name in c4.VARIANTS},
    "refinedweb": (refinedweb.VERSION, refinedweb.compute_with_edits),
    "space_words": (space_words.VERSION, lambda batch: (space_words.compute(batch),)),
    "code": (source_code.VERSION, lambda batch: (source_code.compute(batch),)),
    "hash": (hashing.VERSION, lambda batch: (hashing.compute(batch),)),
    "minhash": (minhash.VERSION, lambda batch: (minhash.compute(batch, MinHashParams()),)),
    "perplexity": (perplexity.VERSION, _perplexity),
    "script": (script.VERSION, lambda batch: (script.compute(batch),)),
    "pii": (pii.VERSION, lambda batch: pii.compute_with_edits(batch, PiiParams())),
}


def digest(tables: Tables) -> str:
    """Of names, types and values, whatever the layout in memory."""
    state = xxhash.xxh3_128()
    for table in tables:
        state.update(str(table.schema.remove_metadata()).encode())
        state.update(repr(table.to_pylist()).encode())
    return state.hexdigest()


@pytest.fixture(scope="module")
def batch() -> pa.RecordBatch:
    rows = (_FIXTURES / "golden.jsonl").read_text(encoding="utf-8").split("\n")
    texts = [json.loads(row)["text"] for row in rows if row]
    meta = pa.array([[("lang", "Python")]] * len(texts), pa.map_(pa.string(), pa.string()))
    return pa.record_batch({"text": pa.array(texts, pa.large_string()), "meta": meta})


@pytest.mark.parametrize("group", GROUPS)
def test_output_changes_only_with_the_version(group: str, batch: pa.RecordBatch) -> None:
    version, compute = GROUPS[group]
    golden = json.loads((_FIXTURES / "golden.json").read_text(encoding="utf-8"))
    found = digest(compute(batch))
    assert golden[group] == {"version": version, "digest": found}, (
        f"the output of signal group {group!r} changed: raise its VERSION, then record {found}"
    )
