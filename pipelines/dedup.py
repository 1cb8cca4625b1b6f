"""Stage `dedup`: pages of one URL, exact and near-duplicates, then the fate of every document.

    documents.url    -> decisions/url            (duplicates/same_url.py)
    signals/hash     -> decisions/exact          (duplicates/exact.py)
    signals/minhash  -> candidates -> pairs/     (duplicates/candidates.py, pair_steps.py)
    pairs/           -> decisions/fuzzy          (duplicates/resolution.py)
    signals/embedding -> decisions/semantic      (duplicates/semantic.py: by option)
    decisions/*      -> decisions/final          (duplicates/decide.py)
    text that repeats -> edits/                  (repeats/: of kept documents, by option)
    decisions/final  -> generations/             (duplicates/generations.py: to append to)

Only documents that earlier decisions keep compete. The one shuffle carries packed band hashes;
text is read for pairs near the threshold only. The outcome depends on the documents and the
configuration, not on how they are cut into parts, on the runner, or on interruptions.
"""

from __future__ import annotations

from collections import Counter

from pipelines import select
from pipelines.config import CorpusConfig
from pipelines.duplicates import (
    alarm,
    competing,
    decide,
    decisions,
    exact,
    fuzzy,
    generations,
    same_url,
    semantic,
)
from pipelines.repeats import stage as repeats
from pipelines.stages import require
from storage import commit


def run(config: CorpusConfig) -> Counter[str]:
    """Decides all documents; returns the counts of the final decisions.

    A corpus without any document that earlier stages keep is decided and counted like any other.
    Raises UserError when an earlier stage has not finished or a source would lose too much,
    StorageError, StageError.
    """
    parts = competing.find_parts(config)
    if not parts:  # nothing ingested yet, or nothing to ingest
        require(config, select.STAGE, "select")
    generation = generations.begin(config, parts)
    if config.dedup.url:
        same_url.run(config, parts, generation)
    else:
        decisions.forget(config, same_url.STAGE)
    if config.dedup.exact:
        exact.run(config, parts, generation)
    else:
        decisions.forget(config, exact.STAGE)
    if config.dedup.fuzzy:
        fuzzy.run(config, parts, generation)
    else:
        decisions.forget(config, fuzzy.STAGE)
        commit.delete_marker(config.output, fuzzy.SUMMARY, fuzzy.ALL)
    if config.dedup.semantic:
        semantic.run(config, parts, generation)
    else:
        semantic.forget(config)
    alarm.check(config, parts)
    counts = decide.run(config, parts)
    generation.finish(parts)
    repeats.run(config, parts)
    return counts
