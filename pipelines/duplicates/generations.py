"""Growth: what earlier runs of dedup decided, which `dedup.mode: append` leaves as it is.

A generation is one finished run. Its final decisions are kept as `generations/<number>/`, and the
marker `_done/generations/dedup.json` names the last one. A rebuild is generation 0 and knows no
earlier one. An append stands on the last generation:

- a document kept then is kept, and outranks all new ones;
- a document dropped then for one that is still kept stays dropped, and takes no part;
- all others are decided now: new ones, those that select lets in now, and those whose survivor is
  gone (a take-down). So the components of removed documents are resolved again.

The outcome of an append is a function of the generation it stands on and of the present inputs, so
a killed one starts again and ends the same. The history of a generation is a hash over the inputs
of all appends since the rebuild; it enters the recipes of the decisions and the fingerprint of the
corpus, because the order of appends can change what is kept. That of a rebuild is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.config import CorpusConfig
from pipelines.duplicates import clusters, competing, survivors
from pipelines.duplicates.competing import HASH, MINHASH, Part
from storage import commit, objects, tables
from storage.commit import PartMarker, WrittenObject
from storage.tables import FINAL

STAGE = "generations"
VERSION = 1
OTHER_SETTINGS = {
    "mode",
    "memory_bytes",
    "max_resolve_edges",
    "max_removed_per_source",
    "survivor",
    "survivor_signal",
    "semantic",
    "repeats",
}
"""Of `dedup`: what cannot change an outcome of the stages up to `fuzzy`, and the policy, which has
settings of its own."""
LAST = "dedup"
"""Part of the marker that names the last finished generation."""
DEDUP_STAGES = ("url", "exact", "fuzzy", "semantic")

UInt64Array = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.bool_]


class Standing(NamedTuple):
    """What the rows of one part bring from the generation before: arrays [num_docs]."""

    kept: Rows
    """Kept then and competing now."""
    dropped: Rows
    """Dropped then, by a stage of dedup, for a document that is kept still."""
    stage: npt.NDArray[np.str_]
    """The stage that dropped, as in `exact`."""
    reason: npt.NDArray[np.str_]
    cluster: UInt64Array
    survivor: UInt64Array
    similarity: npt.NDArray[np.float64]

    def dropped_by(self, stage: str) -> Rows:
        return self.dropped & (self.stage == stage)


@dataclass(frozen=True)
class Generation:
    """The generation that a run makes, and the one it stands on."""

    config: CorpusConfig
    number: int
    inputs: str
    """Hash of the settings and of everything that is decided on."""
    history: str = ""
    """Empty for a rebuild."""
    decided: tuple[str, ...] = ()
    """Parts that the generation before decided, with the same documents as now."""
    survivors: UInt64Array | None = None
    """Documents kept then that compete now, ascending."""

    @property
    def is_append(self) -> bool:
        return bool(self.decided)

    def of(self, part: Part) -> Standing:
        """What one part brings."""
        fates = self._fates(part)
        if fates is None:
            ids, none = part.doc_ids, np.zeros(part.num_docs, bool)
            blank = np.full(part.num_docs, "", "U8")
            return Standing(none, none, blank, blank, ids, ids, np.zeros(part.num_docs))
        return fates

    def _fates(self, part: Part) -> Standing | None:
        if part.name not in self.decided:
            return None
        fates = _read(self.config, self.number - 1, part)
        competes = _competing_rows(self.config, part)
        assert self.survivors is not None
        dropped = competes & np.isin(fates.stage, DEDUP_STAGES)
        dropped &= _are_among(fates.survivor, self.survivors)
        return fates._replace(kept=fates.kept & competes, dropped=dropped)

    def finish(self, parts: Sequence[Part]) -> None:
        """Keeps the final decisions for the next append; forgets all but the last two."""
        hashes = competing.stage_markers(self.config, HASH, parts)
        folder = _folder(self.number)
        if _last(self.config) != self._marker():
            self._forget({_folder(self.number - 1)})
            for part in parts:
                name = f"{part.name}.parquet"
                final = tables.read_table(self.config.path("decisions/final", name))
                stats = tables.write_table(self.config.path(folder, name), final, FINAL)
                written = [WrittenObject.of_table(folder, part.name, stats)]
                digest = hashes[part.name].object(HASH).digest
                commit.write_marker(
                    self.config.output, PartMarker(folder, part.name, digest, written)
                )
            commit.write_marker(self.config.output, self._marker())
        self._forget({_folder(self.number), _folder(self.number - 1)})

    def _marker(self) -> PartMarker:
        written = [WrittenObject("", STAGE, LAST, self.number, 0, self.history)]
        return PartMarker(STAGE, LAST, self.inputs, written if self.history else [])

    def _forget(self, kept: set[str]) -> None:
        for base in (self.config.path(STAGE), self.config.path(commit.DONE, STAGE)):
            for info in objects.list_objects(base):
                number, slash, _ = info.path[len(base) + 1 :].partition("/")
                if slash and f"{STAGE}/{number}" not in kept:
                    objects.delete(info.path)


def begin(config: CorpusConfig, parts: Sequence[Part]) -> Generation:
    """The generation of this run: the last one again when nothing has changed."""
    last = _last(config)
    inputs = _inputs(config, parts)
    if config.dedup.mode == "rebuild" or last is None:
        return Generation(config, 0, inputs)
    number = last.objects[0].rows if last.objects else 0
    history = last.objects[0].digest if last.objects else ""
    if last.recipe_id != inputs:
        number += 1
        history = commit.recipe_id(STAGE, VERSION, history, [inputs])
    if number == 0:
        return Generation(config, 0, inputs)
    decided = _decided(config, number - 1, parts)
    kept = [np.empty(0, np.uint64)]
    for part in parts:
        if part.name in decided:
            stays = _read(config, number - 1, part).kept & _competing_rows(config, part)
            kept.append(part.doc_ids[stays])
    return Generation(config, number, inputs, history, decided, np.concatenate(kept))


def fingerprint_markers(config: CorpusConfig) -> list[PartMarker]:
    """What the history of appends adds to the fingerprint of a corpus: nothing after a rebuild."""
    last = _last(config)
    return [last] if last is not None and last.objects else []


def _inputs(config: CorpusConfig, parts: Sequence[Part]) -> str:
    settings = config.dedup.model_dump(exclude=OTHER_SETTINGS) | survivors.settings(config)
    settings |= clusters.settings(config)
    settings["validation_fraction"] = config.pack.validation_fraction
    stages = [*survivors.inputs(config), HASH, *competing.earlier_stages(config)]
    stages += [MINHASH] if config.dedup.fuzzy else []
    stages += [clusters.EMBEDDING] if config.dedup.semantic else []
    digest = competing.inputs_digest(config, stages, parts)
    return commit.recipe_id(STAGE, VERSION, settings, [digest])


def _last(config: CorpusConfig) -> PartMarker | None:
    return commit.read_marker(config.output, STAGE, LAST)


def _decided(config: CorpusConfig, number: int, parts: Sequence[Part]) -> tuple[str, ...]:
    """Parts whose documents are those that a generation decided."""
    then = {one.part: one.recipe_id for one in commit.read_markers(config.output, _folder(number))}
    now = competing.stage_markers(config, HASH, parts)
    return tuple(
        part.name for part in parts if then.get(part.name) == now[part.name].object(HASH).digest
    )


def _read(config: CorpusConfig, number: int, part: Part) -> Standing:
    """The fates of one part in a generation, whether or not they still stand."""
    path = config.path(_folder(number), f"{part.name}.parquet")
    table = tables.read_table(path)
    assert table.num_rows == part.num_docs, f"{path} is not aligned with documents/{part.name}"
    kept = table["kept"].to_numpy()
    return Standing(
        kept,
        ~kept,
        np.asarray(table["stage"].to_pylist(), "U32"),
        np.asarray(table["reason"].to_pylist(), "U32"),
        *(table[name].to_numpy() for name in ("cluster", "survivor", "similarity")),
    )


def _are_among(doc_ids: UInt64Array, ascending: UInt64Array) -> Rows:
    if len(ascending) == 0:
        return np.zeros(len(doc_ids), bool)
    places = np.minimum(np.searchsorted(ascending, doc_ids), len(ascending) - 1)
    return ascending[places] == doc_ids


def _competing_rows(config: CorpusConfig, part: Part) -> Rows:
    return competing.competing_rows(config, part, competing.earlier_stages(config))


def _folder(number: int) -> str:
    return f"{STAGE}/{number}"
