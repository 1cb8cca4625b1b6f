"""Pre-training: the loop that turns a stream of windows into checkpoints.

    corpus -> Stream -> causal examples -> Learner -> records, validation, checkpoints

A run is its output folder:

    config.resolved.yaml   metrics.jsonl   tensorboard/   baselines.json   checkpoints/step-.../

The same command starts a run, or continues it from the newest complete checkpoint: parameters,
optimiser, random states and the stream's counters come from there, and on a CPU with the same
number of threads every later loss is bit for bit that of a run that was never stopped. SIGTERM and
Ctrl-C end a run after the step in progress, with a checkpoint.
"""

import math
import time
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from storage import objects
from storage.errors import UserError
from storage.manifest import CorpusManifest, load_manifest
from training.baselines import BaselineScore
from training.checkpoint import Checkpoint, find_checkpoint, newest_checkpoint, save_checkpoint
from training.comparison import ComparedLoss, baseline_scores, compare, format_table
from training.config import TrainConfig, dump_train_config
from training.learner import Learner
from training.objectives.causal import causal
from training.reporter import Reporter
from training.runtime import Runtime, start_runtime
from training.step import StepResult
from training.stop import StopRequest, stop_on_signals
from training.stream import RawBatch, Shares, Stream
from training.validation import read_validation
from training.validation_loss import validation_losses
from training.vocabulary import (
    Vocabulary,
    check_same_encoding,
    choose_vocabulary,
    read_tokenizer,
)


class TrainingError(UserError):
    """A run that cannot go on; the message says at which step and what to change."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run ended with. `validation` has one row per stratum, then the total."""

    checkpoint: str
    num_steps: int
    num_tokens: int
    num_parameters: int
    seconds: float
    """Of this process; a resumed run had more."""
    is_finished: bool
    """False when a signal ended it before its last step."""
    validation: list[ComparedLoss]


def train(config: TrainConfig) -> TrainResult:
    """Start or continue the run that `config` describes, to its last step.

    Raises ConfigError, StorageError, CheckpointError, TrainingError.
    """
    started = time.monotonic()
    with start_runtime(config.runtime) as runtime, stop_on_signals() as stop:
        corpus = load_manifest(config.corpus)
        resumed = _resumable(config, corpus)
        with Stream(
            corpus,
            config.stream,
            batch_size=config.batch_size,
            shares=Shares(runtime.rank, runtime.world_size),
            state=resumed.state["stream"] if resumed else None,
            agree=runtime.agree_on_blocks,
        ) as stream:
            trainer = Trainer(config, corpus, stream, resumed, runtime)
            with closing(trainer):
                is_finished = trainer.run(stop)
            return trainer.result(is_finished, time.monotonic() - started)


def summary(result: TrainResult) -> str:
    """What a run ended with, for a terminal."""
    head = (
        f"{result.num_parameters:,} parameters, {result.num_steps:,} steps, "
        f"{result.num_tokens:,} tokens, {result.seconds:.0f} s in this process\n"
        f"checkpoint: {result.checkpoint}"
    )
    if not result.is_finished:
        return f"{head}\nstopped before the last step: the same command continues"
    return f"{head}\n\n{format_table(result.validation)}"


def _resumable(config: TrainConfig, corpus: CorpusManifest) -> Checkpoint | None:
    checkpoint = newest_checkpoint(config.output)
    if checkpoint is not None:
        vocabulary = Vocabulary(**checkpoint.config["vocabulary"])
        check_same_encoding(vocabulary, corpus, find_checkpoint(config.output))
    return checkpoint


class Trainer:
    """One run in one process: it moves data to the learner and its state to storage."""

    def __init__(
        self,
        config: TrainConfig,
        corpus: CorpusManifest,
        stream: Stream,
        resumed: Checkpoint | None,
        runtime: Runtime,
    ) -> None:
        self._config, self._stream, self._runtime = config, stream, runtime
        self._tokenizer = read_tokenizer(corpus)
        self._vocabulary = choose_vocabulary(corpus.tokenizer)
        self._learner = Learner(config, self._vocabulary, runtime)
        if resumed:
            self._learner.restore(resumed, find_checkpoint(config.output))
        self._saved_step = resumed.step if resumed else -1
        self._strips = read_validation(corpus, config.validation.max_tokens)
        self._baselines = self._first_outputs(corpus)
        self._validation: list[ComparedLoss] = []
        self._validated_step = -1
        self._reporter = Reporter(
            config,
            self._learner.decoder.config,
            self._learner.num_parameters,
            self._learner.num_steps,
            runtime,
        )

    def _first_outputs(self, corpus: CorpusManifest) -> list[BaselineScore]:
        """The resolved configuration, and the baselines, which only the first rank needs."""
        if not self._runtime.is_first:
            return []
        text = dump_train_config(self._config)
        objects.write(objects.join(self._config.output, "config.resolved.yaml"), text.encode())
        return baseline_scores(self._config, corpus, self._strips)

    def close(self) -> None:
        self._learner.close()
        self._reporter.close()

    def run(self, stop: StopRequest) -> bool:
        """Step to the last step or the end of a capped mixture; false if asked to stop before."""
        self._reporter.go_on()
        while self._learner.num_steps < self._config.num_steps:
            batch = next(self._stream, None)
            if batch is None:
                break
            if self._advance(batch, stop) and self._learner.num_steps < self._config.num_steps:
                self._save()
                self._runtime.wait_for_all()
                return False
        self._validate()
        self._save()
        self._runtime.wait_for_all()
        return True

    def result(self, is_finished: bool, seconds: float) -> TrainResult:
        return TrainResult(
            checkpoint=find_checkpoint(self._config.output),
            num_steps=self._learner.num_steps,
            num_tokens=self._learner.num_tokens,
            num_parameters=self._learner.num_parameters,
            seconds=seconds,
            is_finished=is_finished,
            validation=self._validation,
        )

    def _advance(self, batch: RawBatch, stop: StopRequest) -> bool:
        """Learn from one batch, then report, validate and save as due; true if asked to stop."""
        if batch.quarantined:
            self._record_quarantine(batch)
        examples = causal(batch.tokens, batch.documents, self._vocabulary.separator_id)
        weight, num_stops = self._runtime.sum_over_ranks(
            [float(examples.loss_weights.sum(dtype=np.float64)), float(stop.is_set)]
        )
        result = self._learner.learn(examples, weight)
        self._stream.commit(batch)
        self._reporter.count(int(weight))
        step, config = self._learner.num_steps, self._config
        if self._is_due(config.log.every_steps) or self._is_due(config.checkpoint.every_steps):
            self._report(result)
        if self._is_due(config.validation.every_steps):
            self._validate()
        if step % config.checkpoint.every_steps == 0:
            self._save()
        return num_stops > 0

    def _is_due(self, every_steps: int) -> bool:
        step = self._learner.num_steps
        return step % every_steps == 0 or step == self._config.num_steps

    def _report(self, result: StepResult) -> None:
        [nll] = self._runtime.sum_over_ranks([result.nll.item()])
        step, loss = self._learner.num_steps, nll / max(result.weight, 1.0)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {step}: lower optimizer.learning_rate or lengthen "
                f"schedule.warmup_steps; the checkpoints in {self._config.output} are from before"
            )
        values = {
            "loss": loss,
            "gradient_norm": result.gradient_norm.item(),
            "learning_rate": self._learner.learning_rate,
            "num_tokens": self._learner.num_tokens,
        }
        self._reporter.train(step, values)

    def _validate(self) -> None:
        """Validate once per step."""
        if self._validated_step == self._learner.num_steps:
            return
        self._validated_step = self._learner.num_steps
        self._reporter.pause()
        losses = validation_losses(
            self._learner.decoder,
            self._strips,
            separator_id=self._vocabulary.separator_id,
            document_masks=self._config.objective.document_masks,
            batch_rows=self._config.micro_batch_size or self._config.batch_size,
            runtime=self._runtime,
        )
        if self._runtime.is_first:
            self._validation = compare(losses, self._baselines)
            self._reporter.validation(self._learner.num_steps, self._validation)
        self._reporter.go_on()

    def _save(self) -> None:
        """Save once per step; the records of a step are durable before its checkpoint."""
        if self._saved_step == self._learner.num_steps or not self._runtime.is_first:
            return
        self._reporter.pause()
        self._reporter.flush()
        checkpoint = self._learner.checkpoint(self._stream.state_dict(), self._tokenizer)
        save_checkpoint(self._config.output, checkpoint, self._config.checkpoint.keep_last)
        self._saved_step = self._learner.num_steps
        self._reporter.go_on()

    def _record_quarantine(self, batch: RawBatch) -> None:
        """Blocks given up are saved before the step, so that a resumed run gives up the same."""
        for block in batch.quarantined:
            self._reporter.event("quarantine", self._learner.num_steps, block.model_dump())
        self._saved_step = -1
        self._save()
