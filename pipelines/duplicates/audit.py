"""`tilth dedup --audit`: how many planted near-duplicates are found, how many drops are right.

Recall: some kept documents are copied with a known share of their words replaced, and the copies
and originals go through the real stages with the corpus's dedup settings, in a rehearsal output
of its own (`<output>/audit/`), which is removed afterwards. A copy is *similar* when the exact
similarity with its original reaches the threshold, and *found* when one of the two is dropped.

Precision: of a sample of the corpus's near-duplicate drops, the exact similarity of the document
with the one it was dropped for. Nothing here changes a table of the corpus; the result is
`<output>/audit.json`, which the report shows. Documents and edits follow from content hashes.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from filters import lsh
from filters.shingles import containment_of_pairs, jaccard_of_pairs, shingle_hashes
from pipelines import annotate, ingest, select
from pipelines.config import CorpusConfig
from pipelines.duplicates import (
    competing,
    decide,
    exact,
    fuzzy,
    generations,
)
from pipelines.duplicates.competing import HASH, Part
from pipelines.duplicates.ranking import split_hashes
from pipelines.stages import Slice, require
from pipelines.views import iter_view, view_editors
from storage import commit, objects, tables
from storage.errors import UserError

RESULT, REHEARSAL = "audit.json", "audit"
EDIT_PERCENTS = (0, 1, 2, 3, 4, 5, 10, 20, 30)
COPIES_PER_RATE = 100
NUM_VERIFIED = 500
MIN_WORDS, MAX_BYTES = 50, 1 << 20
"""Of documents that are copied: in shorter ones one edit changes too much to speak of rates."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What became of the copies of one edit rate."""

    percent: int
    planted: int
    similar: int
    """Copies whose exact similarity with their original reaches the threshold."""
    found: int
    """Of `similar`: one of the two was dropped."""
    expected: float
    """How many of `similar` the LSH formula lets expect."""
    mistaken: int
    """Copies below the threshold of which one was dropped for the other."""
    similarity: float
    """Mean over all copies."""


@dataclass(frozen=True, slots=True)
class Audit:
    decisions: str
    """Fingerprint of the near-duplicate decisions that were audited."""
    rates: list[Rate]
    verified: int
    """Near-duplicate drops in the sample."""
    right: int
    """Of these, with an exact similarity at or above the threshold."""
    lowest: float
    """Exact similarity of the worst of them; 1 without any."""

    @property
    def similar(self) -> int:
        return sum(rate.similar for rate in self.rates)

    @property
    def found(self) -> int:
        return sum(rate.found for rate in self.rates)

    def table(self) -> str:
        """For a terminal."""
        lines = ["edited words  copies  similarity  similar  found  LSH formula  mistaken"]
        for rate in self.rates:
            lines.append(
                f"{rate.percent:>10} %  {rate.planted:>6}  {rate.similarity:>10.3f}  "
                f"{rate.similar:>7}  {rate.found:>5}  {rate.expected:>11.1f}  {rate.mistaken:>8}"
            )
        recall = f"{self.found / self.similar:.4f}" if self.similar else "-"
        precision = f"{self.right / self.verified:.4f}" if self.verified else "-"
        lines.append(f"recall {recall} ({self.found} of {self.similar} similar copies found)")
        lines.append(
            f"precision {precision} ({self.right} of {self.verified} drops verified by exact "
            f"similarity, lowest {self.lowest:.3f})"
        )
        return "\n".join(lines)


def run(config: CorpusConfig) -> Audit:
    """Audits a decided corpus. Raises UserError when dedup has not run, StorageError."""
    if not config.dedup.fuzzy:
        raise UserError("dedup --audit: dedup.fuzzy is false, so there is nothing to audit")
    require(config, decide.STAGE, "dedup")
    parts = competing.find_parts(config)
    texts = dict(_texts(config, parts, _choose_kept(config, parts)))
    rates = _rehearse(config, texts)
    verified = _verify_drops(config, parts)
    right = int((verified >= config.dedup.threshold).sum())
    lowest = float(np.min(verified, initial=1.0))
    audit = Audit(decisions_of(config), rates, len(verified), right, lowest)
    objects.write(config.path(RESULT), json.dumps(asdict(audit), indent=1).encode())
    return audit


def read(config: CorpusConfig) -> Audit | None:
    """The last audit of the corpus, whatever was decided since."""
    if not objects.exists(config.path(RESULT)):
        return None
    fields = json.loads(objects.read(config.path(RESULT)))
    return Audit(**fields | {"rates": [Rate(**rate) for rate in fields["rates"]]})


def decisions_of(config: CorpusConfig) -> str:
    """Fingerprint of the present near-duplicate decisions."""
    return commit.fingerprint(commit.read_markers(config.output, fuzzy.STAGE))


def edited(text: str, percent: int, seed: int) -> str:
    """The text with that share of its words replaced by words of its own, at least one.

    Text without spaces is edited character by character.
    """
    if percent == 0:
        return text
    rng = random.Random(seed)
    pieces = re.findall(r"\s+|\S+", text)
    if len(pieces) < len(text) / 20:
        pieces = list(text)
    words = [place for place, piece in enumerate(pieces) if not piece.isspace()]
    count = min(len(words), max(1, round(len(words) * percent / 100)))
    originals = list(pieces)
    for place in rng.sample(words, count):
        pieces[place] = f"{originals[rng.choice(words)]}{rng.randrange(10**6)}"
    return "".join(pieces)


def _choose_kept(config: CorpusConfig, parts: Sequence[Part]) -> dict[int, int]:
    """Kept documents with the lowest content hashes: doc_id -> the hash's lower half."""
    chosen: list[tuple[int, int]] = []
    limit = COPIES_PER_RATE * len(EDIT_PERCENTS)
    for part in parts:
        final = tables.read_table(config.path(decide.STAGE, f"{part.name}.parquet"), ["kept"])
        signals = tables.read_table(
            config.path(HASH, f"{part.name}.parquet"), ["content_hash", "text_bytes"]
        )
        shingles = tables.read_table(
            config.path(competing.MINHASH, f"{part.name}.parquet"), ["num_shingles"]
        )["num_shingles"].to_numpy()
        rows = final["kept"].to_numpy() & (shingles >= MIN_WORDS)
        rows &= signals["text_bytes"].to_numpy() <= MAX_BYTES
        low = split_hashes(signals["content_hash"]).low[rows]
        chosen += zip(low.tolist(), part.doc_ids[rows].tolist(), strict=True)
        chosen = sorted(chosen)[:limit]
    return {doc_id: low for low, doc_id in chosen}


def _texts(
    config: CorpusConfig, parts: Sequence[Part], chosen: dict[int, int]
) -> Iterator[tuple[int, str]]:
    """(lower half of the content hash, text of the view) of the chosen documents."""
    wanted = np.array(sorted(chosen), np.uint64)
    for part in parts:
        mine = wanted[part.slice_of(wanted)]
        for doc_id, text in _read_texts(config, part, mine):
            yield chosen[doc_id], text


def _read_texts(config: CorpusConfig, part: Part, doc_ids: np.ndarray) -> Iterator[tuple[int, str]]:
    rows, start = part.rows_of(doc_ids), 0
    if len(rows) == 0:
        return
    for batch in iter_view(config.output, part.name, view_editors(config, part.source), ["text"]):
        here = rows[(rows >= start) & (rows < start + batch.num_rows)]
        for row in here.tolist():
            yield part.first_doc_id + row, batch.column("text")[row - start].as_py()
        start += batch.num_rows


def _rehearse(config: CorpusConfig, texts: dict[int, str]) -> list[Rate]:
    """Originals and copies through all stages up to the final decisions."""
    numbered = sorted(texts.items())
    copies = [
        edited(text, EDIT_PERCENTS[number % len(EDIT_PERCENTS)], seed)
        for number, (seed, text) in enumerate(numbered)
    ]
    originals = [text for _, text in numbered]
    folder = config.path(REHEARSAL)
    objects.delete_tree(folder)
    lines = [
        json.dumps({"text": text, "title": f"{number} {kind}"})
        for number, pair in enumerate(zip(originals, copies, strict=True))
        for kind, text in zip(("original", "copy"), pair, strict=True)
    ]
    path = objects.join(folder, "documents.jsonl")
    objects.write(path, "".join(f"{line}\n" for line in lines).encode())
    rehearsal = _rehearsal_config(config, folder, path)
    _decide(rehearsal)
    fates = dict(_read_fates(rehearsal))
    objects.delete_tree(folder)
    similarity = similarities(config, originals, copies)
    return [
        _rate(
            config, percent, np.arange(number, len(copies), len(EDIT_PERCENTS)), similarity, fates
        )
        for number, percent in enumerate(EDIT_PERCENTS)
    ]


def _rehearsal_config(config: CorpusConfig, folder: str, path: str) -> CorpusConfig:
    dedup = config.dedup.model_copy(
        update={
            "mode": "rebuild",
            "url": "",
            "survivor": "longest",
            "survivor_signal": "",
            "max_removed_per_source": 1.0,
            "semantic": None,
        }
    )
    return CorpusConfig.model_validate(
        {
            "name": config.name,
            "output": objects.join(folder, "corpus"),
            "sources": [{"name": "planted", "format": "jsonl", "paths": [path]}],
            "dedup": dedup.model_dump(),
            "pack": {"validation_fraction": 0.0},
            "runner": {"workers": 1},
        }
    )


def _decide(config: CorpusConfig) -> None:
    for stage in (ingest, annotate, select):
        stage.run(config, Slice(0, 1))
    parts = competing.find_parts(config)
    generation = generations.begin(config, parts)
    if config.dedup.exact:
        exact.run(config, parts, generation)
    fuzzy.run(config, parts, generation)
    decide.run(config, parts)


def _read_fates(config: CorpusConfig) -> Iterator[tuple[str, tuple[bool, str]]]:
    """By title: whether a document is kept, and the title of its survivor."""
    titles: dict[int, str] = {}
    rows = []
    for part in competing.find_parts(config):
        names = tables.read_table(
            config.path("documents", f"{part.name}.parquet"), ["doc_id", "title"]
        )
        titles |= dict(zip(names["doc_id"].to_pylist(), names["title"].to_pylist(), strict=True))
        columns = ["doc_id", "kept", "survivor"]
        path = config.path(decide.STAGE, f"{part.name}.parquet")
        rows += tables.read_table(path, columns).to_pylist()
    for row in rows:
        yield titles[row["doc_id"]], (row["kept"], titles[row["survivor"]])


def _rate(
    config: CorpusConfig,
    percent: int,
    numbers: np.ndarray,
    similarity: np.ndarray,
    fates: dict[str, tuple[bool, str]],
) -> Rate:
    own = similarity[numbers]
    similar = own >= config.dedup.threshold
    either, other = np.zeros(len(numbers), bool), np.zeros(len(numbers), bool)
    for place, number in enumerate(numbers.tolist()):
        names = [f"{number} original", f"{number} copy"]
        either[place] = not all(fates[name][0] for name in names)
        other[place] = any(
            not fates[name][0] and fates[name][1] == twin
            for name, twin in zip(names, names[::-1], strict=True)
        )
    formula = lsh.probability(own[similar], config.dedup.bands, config.dedup.rows)
    return Rate(
        percent,
        len(numbers),
        int(similar.sum()),
        int((either & similar).sum()),
        round(float(formula.sum()), 2),
        int((other & ~similar).sum()),
        round(float(own.mean()), 4) if len(own) else 0.0,
    )


def similarities(config: CorpusConfig, one: Sequence[str], other: Sequence[str]) -> np.ndarray:
    """Exact similarity of the shingle sets of texts pair by pair, as the settings define it."""
    dedup = config.dedup
    left, right = (
        shingle_hashes(pa.array(texts, pa.large_string()), dedup.ngram, dedup.shingle)
        for texts in (one, other)
    )
    rows = np.arange(len(one))
    measure = jaccard_of_pairs if dedup.similarity == "jaccard" else containment_of_pairs
    return measure(left, right, rows, rows)


def _verify_drops(config: CorpusConfig, parts: Sequence[Part]) -> np.ndarray:
    """Exact similarity of a sample of near-duplicate drops with their survivors."""
    drops: list[tuple[int, int, int]] = []
    for part in parts:
        path = config.path(fuzzy.STAGE, f"{part.name}.parquet")
        table = tables.read_table(path, ["doc_id", "drop", "survivor"])
        rows = table["drop"].to_numpy()
        hashes = tables.read_table(config.path(HASH, f"{part.name}.parquet"), ["content_hash"])
        low = split_hashes(hashes["content_hash"]).low[rows]
        pairs = (table[name].to_numpy()[rows].tolist() for name in ("doc_id", "survivor"))
        drops = sorted([*drops, *zip(low.tolist(), *pairs, strict=True)])[:NUM_VERIFIED]
    wanted = np.unique(np.array([ids for _, *ids in drops], np.uint64).ravel())
    texts: dict[int, str] = {}
    for part in parts:
        texts |= dict(_read_texts(config, part, wanted[part.slice_of(wanted)]))
    found = [similarities(config, [texts[a]], [texts[b]]) for _, a, b in drops]
    return np.concatenate([np.empty(0), *found])
