"""The plan of a stream: what is fixed for the life of a run, and its fingerprint.

A plan is the shards of a split, grouped by stratum, with the number of windows in each, and the
settings that decide the order. It is made from shards.parquet alone, with array operations: a
million shards take a fraction of a second, and no shard is opened. The mixture is no part of it,
because a mixture may change during a run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray
from pydantic import Field, field_validator

from storage.errors import ConfigError
from storage.manifest import CorpusManifest
from storage.settings import Settings
from training.order import StratumWindows
from training.packing import num_windows

ORDER_VERSION = 1
"""Raised by any change to training/{mixture,order,packing}.py that changes what is at a g."""


class PlanConfig(Settings):
    """What decides the order of a run, beside the corpus and the mixture."""

    raw_length: int = Field(gt=0)
    """Tokens per window, T; a window carries one more, the label of its last token."""
    seed: int = Field(default=0, ge=0, lt=1 << 64)
    packing: str = "concat"
    separator: Literal[0, 1] = 1
    """1: one position per document for the separator that objectives turn into an id."""
    num_lanes: int = Field(default=256, gt=0)
    """Places of an epoch that are read at once, per stratum; a power of two."""
    cycle: int = Field(default=4096, gt=0)
    """Windows per cycle of quotas: how often a mixture can change."""

    @field_validator("packing")
    @classmethod
    def _known_packing(cls, packing: str) -> str:
        if packing != "concat":
            raise ValueError(f"{packing!r} is not available; use packing: concat")
        return packing

    @field_validator("num_lanes")
    @classmethod
    def _power_of_two(cls, num_lanes: int) -> int:
        if num_lanes.bit_count() != 1:
            raise ValueError(f"{num_lanes} is not a power of two, as 256 is")
        return num_lanes


@dataclass(frozen=True)
class Plan:
    """Strata in order of name; `rows[s][i]` is the row in `shards` of the i-th shard of s."""

    config: PlanConfig
    corpus: CorpusManifest
    shards: pa.Table
    strata: tuple[StratumWindows, ...]
    rows: tuple[NDArray[np.int64], ...]
    fingerprint: str

    @property
    def names(self) -> list[str]:
        return [stratum.name for stratum in self.strata]

    @property
    def num_windows(self) -> NDArray[np.int64]:
        """Windows of one epoch, int64[S]."""
        return np.array([stratum.num_windows for stratum in self.strata], np.int64)

    def path(self, row: int) -> str:
        """Path of a shard's tar, relative to the manifest."""
        return self.shards["path"][row].as_py()


def make_plan(corpus: CorpusManifest, config: PlanConfig, split: str = "train") -> Plan:
    """The plan of a split. Raises ConfigError when it has no shards."""
    shards = corpus.select(split)
    if shards.num_rows == 0:
        raise ConfigError(f"the corpus at {corpus.root} has no shards in its split {split!r}")
    windows = num_windows(
        shards["tokens"].to_numpy(), shards["docs"].to_numpy(), config.raw_length, config.separator
    )
    strata, rows = _group(shards["stratum"], windows)
    return Plan(config, corpus, shards, strata, rows, _fingerprint(corpus, config, split))


def _group(
    stratum: pa.ChunkedArray, windows: NDArray[np.int64]
) -> tuple[tuple[StratumWindows, ...], tuple[NDArray[np.int64], ...]]:
    encoded = stratum.combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy()
    grouped = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[grouped], np.arange(len(names) + 1))
    strata, rows = [], []
    for code in sorted(range(len(names)), key=names.__getitem__):
        members = grouped[edges[code] : edges[code + 1]]
        counts = windows[members]
        strata.append(StratumWindows(names[code], counts, int(counts.sum())))
        rows.append(members)
    return tuple(strata), tuple(rows)


def identity(corpus: CorpusManifest, config: PlanConfig, split: str) -> dict[str, Any]:
    """What the order depends on, beside the mixture."""
    return {
        "order_version": ORDER_VERSION,
        "corpus": corpus.fingerprint,
        "encoding_hash": corpus.tokenizer.encoding_hash,
        "split": split,
        **config.model_dump(),
    }


def _fingerprint(corpus: CorpusManifest, config: PlanConfig, split: str) -> str:
    settings = json.dumps(identity(corpus, config, split), sort_keys=True)
    return xxhash.xxh3_128_hexdigest(settings.encode())
