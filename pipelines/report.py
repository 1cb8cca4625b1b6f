"""Stage `report`: one self-contained HTML page that opens offline.

The page has no script, and a policy that forbids any: charts are HTML and SVG made here. Text from
documents is data: the template escapes everything, and control characters are made visible
(report_format.py).

    report_data.py      counts: funnel, reasons, languages, lengths, clusters
    report_times.py     all wall-clock figures: the same corpus gives the same page but for these
    report_choice.py    which documents are shown
    report_samples.py   their text and signals
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import jinja2

from pipelines.config import CorpusConfig, dump_config
from pipelines.reporting import format as report_format
from pipelines.reporting.data import ReportData, decided_parts, gather
from pipelines.reporting.duplicates import Duplicates
from pipelines.reporting.duplicates import find as find_duplicates
from pipelines.reporting.funnel import STAGE_TITLES, Funnel
from pipelines.reporting.leaks import Leaks, find_leaks
from pipelines.reporting.samples import Sample, read_samples
from pipelines.reporting.sensitive import Occurrences, count_sensitive
from pipelines.reporting.times import StageTime, stage_times
from storage import objects
from storage.manifest import MANIFEST, CorpusManifest, load_manifest

REPORT = "report.html"
MAX_LANGUAGES = 80


@dataclass(frozen=True, slots=True)
class Report:
    path: str
    manifest: CorpusManifest | None
    data: ReportData


@dataclass(frozen=True, slots=True)
class Page:
    """What the template shows."""

    config: CorpusConfig
    manifest: CorpusManifest | None
    """None when the corpus is not packed."""
    data: ReportData
    sensitive: list[Occurrences]
    leaks: list[Leaks]
    """Of each evaluation that the configuration names."""
    times: list[StageTime]
    duplicates: Duplicates
    """Who duplicates whom, the biggest clusters and the audit."""
    kept: list[Sample]
    dropped: list[Sample]


def run(config: CorpusConfig) -> Report:
    """Writes report.html of a decided corpus. Raises UserError, StorageError."""
    page = make_page(config)
    path = config.path(REPORT)
    objects.write(path, render(page).encode("utf-8"))
    return Report(path, page.manifest, page.data)


def make_page(config: CorpusConfig) -> Page:
    """Reads all that the page shows. Raises UserError, StorageError."""
    packed = objects.exists(config.path(MANIFEST))
    manifest = load_manifest(config.output) if packed else None
    data = gather(config, manifest)
    parts = [part.part for part in decided_parts(config)]
    kept, dropped = read_samples(config, parts)
    sensitive = count_sensitive(config, parts)
    leaks = find_leaks(config, parts)
    times = stage_times(config, data.funnels)
    duplicates = find_duplicates(config, parts)
    return Page(config, manifest, data, sensitive, leaks, times, duplicates, kept, dropped)


def render(page: Page) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (
        report_format.visible,
        report_format.count,
        report_format.num_bytes,
        report_format.percent,
        report_format.duration,
        report_format.signal,
        report_format.width,
        report_format.log_width,
        report_format.length_range,
    )
    environment.filters.update({one.__name__: one for one in filters})
    data, dedup = page.data, page.config.dedup
    languages = sorted(data.languages.shares(), key=lambda share: -share.documents)
    return environment.get_template("report.html.j2").render(
        {one.name: getattr(page, one.name) for one in fields(page)},
        total=Funnel.total(data.funnels, "all sources"),
        stage_titles=STAGE_TITLES,
        languages=languages[:MAX_LANGUAGES],
        num_languages=len(languages),
        lengths=data.lengths.shares(),
        clusters=report_format.cluster_ranges(data.cluster_sizes),
        curve=report_format.curve(dedup.bands, dedup.rows, dedup.threshold),
        config_yaml=dump_config(page.config),
    )
