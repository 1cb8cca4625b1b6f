"""A model's validation loss beside those of a unigram and a Kneser-Ney bigram model.

A model that does not beat the second has learned less than pairs of tokens. The baselines depend
on the corpus and the settings alone, so they are scored once per run and kept in
`<output>/baselines.json`.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from storage import objects
from storage.manifest import CorpusManifest
from storage.shards import BlockCorrupt
from training.baselines import BaselineScore, score_baselines
from training.config import TrainConfig
from training.metrics import bits_per_byte
from training.validation import ValidationStrip
from training.validation_loss import TOTAL, StratumLoss

BASELINES = "baselines.json"


@dataclass(frozen=True, slots=True)
class ComparedLoss:
    """One stratum, or the total. Losses in nats per token."""

    stratum: str
    num_tokens: int
    num_bytes: int
    loss: float
    perplexity: float
    bits_per_byte: float
    unigram_loss: float | None
    """None where the baselines could not be counted."""
    unigram_bits_per_byte: float | None
    bigram_loss: float | None
    bigram_bits_per_byte: float | None


def baseline_scores(
    config: TrainConfig, corpus: CorpusManifest, strips: Sequence[ValidationStrip]
) -> list[BaselineScore]:
    """The baselines of a run: from its output folder, or counted now and stored there.

    Empty when a training block is damaged and the stream's policy is to go on without it: a
    comparison must not end a run that the damage does not end. Else raises BlockCorrupt.
    """
    path = objects.join(config.output, BASELINES)
    identity = {
        "corpus": corpus.fingerprint,
        "validation_tokens": config.validation.max_tokens,
        "baseline_tokens": config.validation.baseline_tokens,
    }
    if objects.exists(path):
        stored = json.loads(objects.read(path))
        if stored["identity"] == identity:
            return [BaselineScore(**score) for score in stored["scores"]]
    try:
        scores = score_baselines(corpus, strips, config.validation.baseline_tokens)
    except BlockCorrupt as error:
        if config.stream.on_damage == "stop":
            raise
        warnings.warn(f"no unigram and bigram models beside the loss: {error}", stacklevel=2)
        return []
    stored = {"identity": identity, "scores": [asdict(score) for score in scores]}
    objects.write(path, (json.dumps(stored, indent=1) + "\n").encode())
    return scores


def compare(
    losses: Sequence[StratumLoss], baselines: Sequence[BaselineScore]
) -> list[ComparedLoss]:
    """Rows in the order of `losses`, whose last one is the total."""
    scores = [*baselines, _total(baselines)] if baselines else []
    by_stratum = {score.stratum: score for score in scores}
    return [_compare_one(loss, by_stratum.get(loss.stratum)) for loss in losses]


def _compare_one(loss: StratumLoss, score: BaselineScore | None) -> ComparedLoss:
    return ComparedLoss(
        stratum=loss.stratum,
        num_tokens=loss.num_tokens,
        num_bytes=loss.num_bytes,
        loss=loss.loss,
        perplexity=loss.perplexity,
        bits_per_byte=loss.bits_per_byte,
        unigram_loss=score and score.unigram_nll / loss.num_tokens,
        unigram_bits_per_byte=score and bits_per_byte(score.unigram_nll, loss.num_bytes),
        bigram_loss=score and score.bigram_nll / loss.num_tokens,
        bigram_bits_per_byte=score and bits_per_byte(score.bigram_nll, loss.num_bytes),
    )


def _total(scores: Sequence[BaselineScore]) -> BaselineScore:
    return BaselineScore(
        TOTAL,
        sum(score.num_labels for score in scores),
        sum(score.num_bytes for score in scores),
        sum(score.unigram_nll for score in scores),
        sum(score.bigram_nll for score in scores),
    )


def format_table(rows: Sequence[ComparedLoss]) -> str:
    """Aligned columns: nats per token of the three models, perplexity and bits per byte."""
    head = ["validation", "tokens", "loss", "perplexity", "bits/byte", "bigram KN", "unigram"]
    lines = [
        [
            row.stratum,
            f"{row.num_tokens:,}",
            f"{row.loss:.3f}",
            f"{row.perplexity:,.1f}",
            f"{row.bits_per_byte:.3f}",
            _three_digits(row.bigram_loss),
            _three_digits(row.unigram_loss),
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in [head, *lines]
    )


def _three_digits(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
