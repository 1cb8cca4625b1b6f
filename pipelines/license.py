"""Stage `license`: drops documents whose licence or whose publisher's reservation rules them out.

Reads `license` and `meta` of the documents; filters/licenses.py says what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from filters import licenses
from filters.licenses import LicensePolicy
from pipelines import ingest, row_decisions
from pipelines.config import CorpusConfig
from pipelines.ingest import document_parts
from pipelines.stages import Slice, Task, require, run_tasks
from storage import commit
from storage.commit import PartMarker
from storage.errors import ConfigError

STAGE = "decisions/license"
VERSION = 1
COLUMNS = ["license", "meta"]


def run(config: CorpusConfig, only: Slice | None = None) -> None:
    """Decides all documents; a policy that drops nothing has nothing to decide.

    Raises ConfigError, UserError when ingest has not finished, StorageError, StageError.
    """
    if not config.license.is_set:
        row_decisions.forget(config, STAGE)
        return
    require(config, ingest.STAGE, "ingest")
    settings = [licenses.VERSION, *policy(config)]
    tasks = []
    for part in document_parts(config):
        documents = part.object("documents")
        recipe = commit.recipe_id(STAGE, VERSION, settings, [documents.digest])
        tasks.append(Task(part.part, recipe, documents.rows))
    run_tasks(config, STAGE, tasks, LicensePart(config), only)


def policy(config: CorpusConfig) -> LicensePolicy:
    """What the corpus file asks for. Raises ConfigError for an id that does not exist."""
    settings = config.license
    try:
        return licenses.make_policy(
            settings.allow,
            settings.deny,
            drop_unknown=settings.unknown == "drop",
            drop_reserved=settings.reserved == "drop",
        )
    except ValueError as error:
        raise ConfigError(f"license: {error}") from error


@dataclass(frozen=True, slots=True)
class LicensePart:
    """The work of one task: one decision table."""

    config: CorpusConfig

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        rules = policy(self.config)
        yield row_decisions.decide(
            self.config, STAGE, task, COLUMNS, lambda batch: licenses.reasons(batch, rules)
        )
