"""The command line: one command per stage.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. Heavy imports (Beam, torch,
transformers) stay inside the commands that need them.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Optional, cast

import typer

from storage.errors import ConfigError, UserError

if TYPE_CHECKING:
    from pipelines.config import CorpusConfig

app = typer.Typer(
    help="Tilth turns raw corpora into trained models.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
classifier_app = typer.Typer(help="Quality classifiers.")
app.add_typer(classifier_app, name="classifier")
perplexity_app = typer.Typer(help="Language models that tell usual text from unusual.")
app.add_typer(perplexity_app, name="perplexity")
INTERRUPTED = 130
"""What typer returns after Ctrl-C."""
BEAM = {"allow_extra_args": True}
"""Commands that hand flags after `--` to Beam."""

CorpusFile = Annotated[str, typer.Argument(metavar="CORPUS.yaml", help="The corpus file.")]
TrainFile = Annotated[str, typer.Argument(metavar="TRAIN.yaml", help="The training file.")]
Checkpoint = Annotated[str, typer.Argument(help="A checkpoint folder, or the run that holds it.")]
SetValues = Annotated[
    Optional[list[str]],  # noqa: UP045 (typer reads it)
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in dedup.threshold=0.8."),
]
Sample = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="Rehearse on this share of the records, in <output>-sample."),
]
OnlySlice = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--slice", metavar="I/N", help="Only every N-th task from I, without Beam."),
]


@app.command(context_settings=BEAM)
def run(
    context: typer.Context,
    corpus: CorpusFile,
    values: SetValues = None,
    sample: Sample = None,
) -> None:
    """All stages of a corpus, skipping what is finished. Flags after `--` go to Beam."""
    from pipelines import run as corpus_run

    corpus_run.run(_corpus(context, corpus, values, sample))


@app.command(context_settings=BEAM)
def ingest(
    context: typer.Context,
    corpus: CorpusFile,
    values: SetValues = None,
    sample: Sample = None,
    only: OnlySlice = None,
) -> None:
    """Raw files to documents and casualties, annotated on the way."""
    from pipelines import ingest, preflight

    config = _corpus(context, corpus, values, sample)
    preflight.check(config)
    ingest.run(config, _slice(only))


@app.command(context_settings=BEAM)
def annotate(
    context: typer.Context,
    corpus: CorpusFile,
    values: SetValues = None,
    sample: Sample = None,
    only: OnlySlice = None,
) -> None:
    """Signals and edits that the documents lack."""
    from pipelines import annotate

    annotate.run(_corpus(context, corpus, values, sample), _slice(only))


@app.command(context_settings=BEAM)
def takedown(
    context: typer.Context,
    corpus: CorpusFile,
    values: SetValues = None,
    sample: Sample = None,
    only: OnlySlice = None,
) -> None:
    """Documents that somebody asked to have removed; packed ones are hidden from training."""
    from pipelines import takedown

    config = _corpus(context, corpus, values, sample)
    takedown.run(config, _slice(only))
    print(takedown.summary(config))


@app.command(context_settings=BEAM)
def license(
    context: typer.Context,
    corpus: CorpusFile,
    values: SetValues = None,
    sample: Sample = None,
    only: OnlySlice = None,
) -> None:
    """Licences and reservations held against the policy of the corpus."""
    from pipelines import license

    license.run(_corpus(context, corpus, values, sample), _slice(only))


@app.command(context_settings=BEAM)
def select(
    context: typer.Context,
    corpus: CorpusFile,
    values: SetValues = None,
    sample: Sample = None,
    only: OnlySlice = None,
) -> None:
    """Rules over signals to decisions; no text is read."""
    from pipelines import select

    config, mine = _corpus(context, corpus, values, sample), _slice(only)
    markers = select.run(config, mine)
    if mine is None:
        print(select.summary(config, markers))


@app.command()
def tune(
    context: typer.Context,
    corpus: CorpusFile,
    rule: Annotated[str, typer.Option(help="Reason or signal of a rule; none: all rules.")] = "",
    values: SetValues = None,
    sample: Sample = None,
) -> None:
    """What each rule drops, and what other thresholds would keep; nothing is written."""
    from pipelines import tune

    print(tune.run(_corpus(context, corpus, values, sample), rule))


@app.command()
def thresholds(
    context: typer.Context,
    corpus: CorpusFile,
    output: Annotated[str, typer.Option(help="The recipe to write.")] = "thresholds.yaml",
    method: Annotated[str, typer.Option(help="quantile, mean_std or tail.")] = "quantile",
    reference: Annotated[str, typer.Option(help="Language that the bounds were made for.")] = "en",
    tail: Annotated[float, typer.Option(help="Share that each bound drops, for tail.")] = 0.1,
    min_documents: Annotated[int, typer.Option(min=2, help="Per language.")] = 1000,
    values: SetValues = None,
) -> None:
    """The corpus's rules with bounds for each language, as a recipe."""
    from pipelines import thresholds
    from pipelines.thresholds import Derivation, Method

    derivation = Derivation(cast(Method, method), reference, tail, min_documents)
    print(thresholds.run(_corpus(context, corpus, values), output, derivation))


@app.command(context_settings=BEAM)
def decontaminate(
    context: typer.Context,
    corpus: CorpusFile,
    values: SetValues = None,
    sample: Sample = None,
    only: OnlySlice = None,
) -> None:
    """Documents that hold text of evaluation sets are dropped; no text is read."""
    from pipelines import decontaminate

    decontaminate.run(_corpus(context, corpus, values, sample), _slice(only))


@app.command(context_settings=BEAM)
def dedup(
    context: typer.Context,
    corpus: CorpusFile,
    values: SetValues = None,
    sample: Sample = None,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit", help="Then plant near-duplicates in a rehearsal: recall, precision."
        ),
    ] = False,
) -> None:
    """Exact and near-duplicates, verified; then the final decisions."""
    from pipelines import dedup

    config = _corpus(context, corpus, values, sample)
    dedup.run(config)
    if audit:
        from pipelines.duplicates import audit as dedup_audit

        print(dedup_audit.run(config).table())


@app.command(context_settings=BEAM)
def pack(
    context: typer.Context,
    corpus: CorpusFile,
    values: SetValues = None,
    sample: Sample = None,
    only: OnlySlice = None,
) -> None:
    """Kept documents to tokens in WebDataset shards, and the manifest."""
    from pipelines import pack

    if pack.run(_corpus(context, corpus, values, sample), _slice(only)) is None:
        print(
            "pack: what other slices do is missing; when all slices have ended, run them again",
            file=sys.stderr,
        )


@app.command()
def report(
    context: typer.Context,
    corpus: CorpusFile,
    values: SetValues = None,
    sample: Sample = None,
) -> None:
    """One HTML page about the corpus, which opens offline."""
    from pipelines import report

    print(report.run(_corpus(context, corpus, values, sample)).path)


@app.command("export-text", context_settings=BEAM)
def export_text(
    context: typer.Context,
    corpus: CorpusFile,
    values: SetValues = None,
    sample: Sample = None,
    folder: Annotated[str, typer.Option(help="Where to write; default <output>/text.")] = "",
    file_format: Annotated[str, typer.Option("--format", help="parquet or jsonl.")] = "parquet",
) -> None:
    """The kept documents with their signals, as datasets.load_dataset reads them."""
    from pipelines import export_text

    config = _corpus(context, corpus, values, sample)
    print(export_text.run(config, folder or config.path("text"), file_format))


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(help="A table, a shard, a manifest or a folder of them.")],
    rows: Annotated[int, typer.Option(min=0, help="Sample rows shown.")] = 3,
) -> None:
    """Schema, rows and samples of a table, shard or manifest."""
    from pipelines import inspect

    print(inspect.describe(path, rows))


@app.command()
def trace(
    context: typer.Context,
    corpus: CorpusFile,
    url: Annotated[str, typer.Option(help="Every document with this URL.")] = "",
    doc: Annotated[Optional[int], typer.Option(help="A document id.")] = None,  # noqa: UP045
    shard: Annotated[str, typer.Option(help="A shard, with --sample-index.")] = "",
    sample_index: Annotated[int, typer.Option("--sample", help="Document in the shard.")] = 0,
    values: SetValues = None,
) -> None:
    """From a URL to its fate, or from a packed sample back to the raw record."""
    from pipelines import trace

    config = _corpus(context, corpus, values)
    print(trace.run(config, url=url, doc_id=doc, shard=shard, sample=sample_index))


@classifier_app.command("train")
def train_classifier(
    path: Annotated[str, typer.Argument(metavar="CLASSIFIER.yaml", help="The classifier's file.")],
    values: SetValues = None,
) -> None:
    """A quality classifier from labelled examples, with metrics of held-out ones."""
    from pipelines import train_classifier
    from storage.settings import load_settings

    config = load_settings(train_classifier.TrainClassifierConfig, path, values)
    print(train_classifier.run(config))


@perplexity_app.command("train")
def train_perplexity(
    path: Annotated[str, typer.Argument(metavar="MODEL.yaml", help="The model's file.")],
    values: SetValues = None,
) -> None:
    """An n-gram model of the texts of a language, with its perplexity of held-out ones."""
    from pipelines import train_perplexity
    from storage.settings import load_settings

    config = load_settings(train_perplexity.TrainPerplexityConfig, path, values)
    print(train_perplexity.run(config))


@app.command()
def train(path: TrainFile, values: SetValues = None) -> None:
    """Pre-train a model on shards; an interrupted run resumes."""
    from storage.settings import load_settings
    from training import trainer
    from training.config import TrainConfig

    result = trainer.train(load_settings(TrainConfig, path, values))
    print(trainer.summary(result))
    if not result.is_finished:
        raise UserError(f"stopped after step {result.num_steps}; the same command goes on")


@app.command()
def evaluate(path: TrainFile, values: SetValues = None) -> None:
    """Validation loss of the newest checkpoint beside unigram and Kneser-Ney bigram models."""
    from storage.settings import load_settings
    from training import evaluate
    from training.config import TrainConfig

    print(evaluate.run(load_settings(TrainConfig, path, values)))


@app.command()
def generate(
    checkpoint: Checkpoint,
    prompt: Annotated[str, typer.Option(help="Text to continue.")],
    max_tokens: Annotated[int, typer.Option(min=1)] = 100,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=0, help="0: no limit.")] = 50,
    top_p: Annotated[float, typer.Option(min=0, max=1)] = 1.0,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Continue a prompt with a trained model."""
    from training import generate

    print(
        generate.run(
            checkpoint,
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
        )
    )


@app.command()
def export(
    checkpoint: Checkpoint,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Hugging Face folder to write.")],
) -> None:
    """Weights and tokenizer that AutoModelForCausalLM and AutoTokenizer load."""
    from training import export

    print(export.run(checkpoint, folder))


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code.

    A user's mistake ends in one line on stderr, not in a traceback.
    """
    _quiet_logging()
    _show_what_cannot_be_encoded()
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        code = app(arguments or ["--help"], prog_name="tilth", standalone_mode=False)
        sys.stdout.flush()
    except typer.BadParameter as error:
        return _fail(error.format_message(), 2)
    except (typer.TyperException, ConfigError) as error:
        return _fail(error, 2)
    except UserError as error:
        return _fail(error, 1)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere
        return _fail(f"cannot write to standard output: {error.strerror}", 1)
    if code == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would be a traceback
        return _fail("interrupted; the same command goes on where it stopped", 1)
    return 0


def _quiet_logging() -> None:
    """Warnings as plain lines; without Beam's note at every import that clients are missing."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: "apitools not found" not in str(record.msg))


def _show_what_cannot_be_encoded() -> None:
    """A terminal that knows ASCII only gets escapes for other characters, not a failure."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _corpus(
    context: typer.Context, path: str, values: list[str] | None, sample: float | None = None
) -> CorpusConfig:
    from pipelines.config import load_config

    return load_config(path, values, sample=sample, beam_options=context.args)


def _slice(text: str | None):
    from pipelines.stages import Slice

    return Slice.parse(text) if text is not None else None


def _fail(error: object, code: int) -> int:
    """Says what went wrong; what files and settings hold cannot act on the terminal."""
    from storage.backend import printable

    lines = "\n".join(printable(line) for line in str(error).splitlines())
    print(f"tilth: {lines}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
