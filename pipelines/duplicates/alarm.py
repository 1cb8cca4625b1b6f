"""The alarm: dedup stops when it would take too much of one source.

A wrong threshold or a template in every page shows as a source that all but vanishes (859,092
documents to 2 in one audit). The decisions of the stages stay for a look; the final decisions are
not written, so nothing after dedup sees them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipelines.config import CorpusConfig
from pipelines.duplicates import competing, exact, fuzzy, semantic
from pipelines.duplicates.competing import Part
from storage.errors import UserError


def check(config: CorpusConfig, parts: Sequence[Part]) -> None:
    """Raises UserError for a source that loses more than `dedup.max_removed_per_source`."""
    limit = config.dedup.max_removed_per_source
    entered: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    for stage in deciding_stages(config):
        for name, marker in competing.stage_markers(config, stage, parts).items():
            source, counts = name.partition("/")[0], marker.counts
            removed[source] += counts["documents"] - counts["kept"]
            if stage == deciding_stages(config)[0]:
                entered[source] += counts["documents"]
    for source in sorted(removed):
        if removed[source] > limit * entered[source]:
            raise UserError(
                f"dedup would drop {removed[source]:,} of the {entered[source]:,} documents of "
                f"source {source!r}, more than dedup.max_removed_per_source = {limit}; no final "
                f"decision was changed: look at the clusters in {config.path('decisions')}, then "
                "raise the limit or dedup.threshold"
            )


def deciding_stages(config: CorpusConfig) -> list[str]:
    """The stages of dedup that are switched on, in order."""
    dedup = config.dedup
    switched = (
        (bool(dedup.url), exact.URL_STAGE),
        (dedup.exact, exact.STAGE),
        (dedup.fuzzy, fuzzy.STAGE),
        (dedup.semantic is not None, semantic.STAGE),
    )
    return [stage for is_on, stage in switched if is_on]
