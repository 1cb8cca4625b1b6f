"""The survivor policy: of several duplicates, which one is the best to keep.

    longest, shortest   bytes of the view
    newest              `created` of the documents, where it is a date in ISO 8601
    signal              the highest value of a numeric signal (`dedup.survivor_signal`)
    source_priority     the order of the sources in the corpus file

A policy is a number for each document, lower is better. Documents without a value (no date, a null
or NaN signal) come last. What the policy leaves equal, the content hash decides.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import ingest
from pipelines.annotate import signals_stage, source_annotations
from pipelines.config import CorpusConfig
from pipelines.duplicates.competing import HASH, Part
from storage import tables
from storage.errors import ConfigError

UInt64Array = npt.NDArray[np.uint64]

WORST = np.uint64((1 << 63) - 1)
"""Policies have 63 bits; the one above tells validation from training."""
ISO_DATE = (
    r"(?s)^(?P<date>\d{4}(?:-\d{2}(?:-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?)?)?)(?:[^0-9].*)?$"
)
DATE_DIGITS = 14


def policy_of(config: CorpusConfig, part: Part, policy: str = "") -> UInt64Array:
    """The policy of each document of a part, uint64[num_docs]; by default `dedup.survivor`.

    Raises ConfigError, StorageError.
    """
    policy = policy or config.dedup.survivor
    if policy == "source_priority":
        names = [source.name for source in config.sources]
        return np.full(part.num_docs, names.index(part.source), np.uint64)
    if policy == "newest":
        path = config.path("documents", f"{part.name}.parquet")
        return WORST - date_keys(tables.read_table(path, ["created"])["created"])
    if policy == "signal":
        name = config.dedup.survivor_signal
        path = config.path(signal_stage(config, part.source), f"{part.name}.parquet")
        return WORST - value_keys(tables.read_table(path, [name])[name])
    path = config.path(HASH, f"{part.name}.parquet")
    num_bytes = tables.read_table(path, ["text_bytes"])["text_bytes"].to_numpy()
    return num_bytes if policy == "shortest" else WORST - num_bytes


def signal_stage(config: CorpusConfig, source: str) -> str:
    """The table that holds `dedup.survivor_signal` for a source. Raises ConfigError."""
    name = config.dedup.survivor_signal
    annotations = source_annotations(config, source)
    known: list[str] = []
    for group in (*annotations.editors, *annotations.signal_groups):
        known += [one.name for one in group.schema if _is_number(one.type)]
        if name in known:
            return signals_stage(group.name)
    raise ConfigError(
        f"dedup.survivor_signal = {name!r}: source {source!r} has no such numeric signal; "
        f"it has {', '.join(known)}"
    )


def inputs(config: CorpusConfig) -> list[str]:
    """The stages whose tables the policy reads."""
    if config.dedup.survivor != "signal":
        return [ingest.STAGE]
    stages = {signal_stage(config, source.name) for source in config.sources}
    return [ingest.STAGE, *sorted(stages)]


def settings(config: CorpusConfig) -> dict[str, object]:
    """What of the configuration decides the policy."""
    dedup = config.dedup
    chosen: dict[str, object] = {"survivor": dedup.survivor}
    if dedup.survivor == "signal":
        chosen["signal"] = dedup.survivor_signal
    if dedup.survivor == "source_priority":
        chosen["sources"] = [source.name for source in config.sources]
    return chosen


def date_keys(created: pa.ChunkedArray) -> UInt64Array:
    """ISO 8601 dates as numbers YYYYMMDDhhmmss, greater is newer; 0 for anything else.

    Missing parts count as 0, and time zones are not looked at.
    """
    found = pc.call_function("extract_regex", [created], pc.ExtractRegexOptions(ISO_DATE))
    dates = pc.call_function("struct_field", [found], pc.StructFieldOptions("date"))
    digits = pc.call_function(
        "replace_substring_regex", [dates], pc.ReplaceSubstringOptions("[^0-9]", "")
    )
    digits = pc.call_function("utf8_rpad", [digits], pc.PadOptions(DATE_DIGITS, "0"))
    return pc.fill_null(digits, "0").cast(pa.uint64()).to_numpy()


def value_keys(values: pa.ChunkedArray) -> UInt64Array:
    """Numbers as integers of 63 bits in the same order; 0 for null and NaN.

    The bits of a float64, with the sign turned so that they order as integers; the last one goes.
    """
    numbers = values.cast(pa.float64(), safe=False).to_numpy() + 0.0  # -0.0 becomes 0.0
    bits = numbers.view(np.uint64)
    sign = np.uint64(1 << 63)
    ordered = np.where(bits & sign, ~bits, bits | sign) >> np.uint64(1)
    return np.where(np.isnan(numbers), np.uint64(0), ordered)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)
