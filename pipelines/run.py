"""`tilth run`: all stages of a corpus in order, skipping what is finished, and a summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from pipelines import (
    annotate,
    decontaminate,
    dedup,
    ingest,
    license,
    pack,
    preflight,
    report,
    select,
    takedown,
)
from pipelines.config import CorpusConfig, dump_config
from pipelines.report import Report
from storage import objects

RESOLVED_CONFIG = "config.resolved.yaml"
STAGES: tuple[tuple[str, Callable[[CorpusConfig], object]], ...] = (
    ("ingest", ingest.run),
    ("annotate", annotate.run),
    ("takedown", takedown.run),
    ("license", license.run),
    ("select", select.run),
    ("decontaminate", decontaminate.run),
    ("dedup", dedup.run),
    ("pack", pack.run),
)


def run(config: CorpusConfig) -> Report:
    """Raw files to shards and a report. Raises UserError for what a user can mend.

    A corpus of which nothing is kept has a report too, which says why; then the error is raised.
    """
    preflight.check(config)
    objects.write(config.path(RESOLVED_CONFIG), dump_config(config).encode())
    try:
        for name, stage in STAGES:
            started = time.monotonic()
            stage(config)
            print(f"{name:<13}{time.monotonic() - started:7.1f} s", file=sys.stderr)
    except pack.EmptyCorpusError:
        print_summary(report.run(config))
        raise
    objects.discard_unfinished(config.output)
    written = report.run(config)
    print_summary(written)
    return written


def print_summary(written: Report) -> None:
    """The funnel per source, what could not be read, shards and where the report is."""
    width = None if sys.stdout.isatty() else 120
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    console.print(_funnel_table(written))
    folder = written.path.removesuffix(report.REPORT) + "casualties"
    for funnel in written.data.funnels:
        if funnel.casualties:
            kinds = ", ".join(f"{kind} {n:,}" for kind, n in funnel.casualties.most_common())
            console.print(
                f"could not be read: {kinds}; listed in {folder}/{funnel.source}/", soft_wrap=True
            )
    manifest = written.manifest
    if manifest is not None:
        shards = manifest.shards.num_rows
        tokens = sum(funnel.tokens for funnel in written.data.funnels)
        console.print(f"{tokens:,} tokens in {shards} shards, fingerprint {manifest.fingerprint}")
    console.print(f"report: {written.path}", soft_wrap=True)


def _funnel_table(written: Report) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("source")
    for title in ("documents", "kept", "tokens"):
        table.add_column(title, justify="right")
    table.add_column("dropped, by reason")
    for funnel in written.data.funnels:
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in funnel.dropped.most_common())
        counts = (f"{count:,}" for count in (funnel.documents, funnel.kept, funnel.tokens))
        table.add_row(funnel.source, *counts, dropped or "-")
    return table
