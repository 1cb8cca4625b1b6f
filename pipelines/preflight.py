"""What a corpus file names, checked before any work: formats, recipes, models, the tokenizer.

Otherwise a misspelt recipe would be found hours later, by the stage that reads it.
"""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa

from filters import classifier, perplexity
from filters.classifier import ClassifierParams
from pipelines import embedding, evaluations, license, select, takedown
from pipelines.config import CorpusConfig
from pipelines.packing import tokenizer
from pipelines.runner import check_runner
from pipelines.sources import load_source
from storage.errors import ConfigError


def check(config: CorpusConfig) -> None:
    """Raises ConfigError for the first thing that a stage could not use."""
    check_runner(config.runner)
    _check_language_model(config.annotate.language.model)
    for one in config.annotate.classifiers:
        _check_classifier(f"annotate.classifiers.{one.name}", one.model, one.label)
    if config.dedup.semantic:
        embedding.check(config.dedup.semantic)
    for name, path in config.annotate.perplexity.items():
        _check_perplexity(f"annotate.perplexity.{name}", path)
    for source in config.sources:
        load_source(source.format, source.options, source.name)
        select.groups_read(config, source.name)
    takedown.read_lists(config)
    license.policy(config)
    if config.decontamination.evaluations:
        evaluations.index(evaluations.configured(config))
    if config.tokenizer.path:
        tokenizer.check_given(config.tokenizer.path)


def _check_language_model(path: str | None) -> None:
    if path is not None:
        _check_fasttext("annotate.language.model", path)


def _check_classifier(key: str, path: str, label: str) -> None:
    if not path.endswith(".npz"):
        _check_fasttext(key, path)
    try:
        text = pa.record_batch({"text": pa.array(["a text"], pa.large_string())})
        classifier.compute(text, ClassifierParams("check", path, label))
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error


def _check_perplexity(key: str, path: str) -> None:
    try:
        perplexity.load(path)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error


def _check_fasttext(key: str, path: str) -> None:
    # In a process of its own: fastText crashes on a file that is cut short.
    program = "import sys, fasttext; fasttext.load_model(sys.argv[1]).predict(['a text'])"
    command = [sys.executable, "-c", program, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2] or "fastText crashes on it"
        raise ConfigError(f"{key}: {path} is not a fastText .bin or .ftz file: {reason}")
