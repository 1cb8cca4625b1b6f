"""What learns: the decoder with its optimisers, and how far they have come.

It knows nothing of streams, metrics or files: examples go in, a loss comes out, and its whole state
can be taken as a Checkpoint and put back.
"""

from dataclasses import asdict
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from training.checkpoint import Checkpoint, random_state, restore_random_state
from training.config import TrainConfig
from training.models.decoder import Decoder
from training.models.restore import load_parameters
from training.objectives.causal import CausalExamples
from training.optimizer import (
    build_optimizers,
    load_state_tensors,
    set_learning_rates,
    state_tensors,
)
from training.runtime import Runtime
from training.schedule import learning_rate_factor
from training.step import CausalLoss, StepResult, training_step
from training.vocabulary import Vocabulary


class Learner:
    """Model and optimisers at a step, on one rank."""

    def __init__(self, config: TrainConfig, vocabulary: Vocabulary, runtime: Runtime) -> None:
        self._config, self._vocabulary, self._runtime = config, vocabulary, runtime
        self.num_steps = 0
        self.num_tokens = 0
        """Valid tokens learned from, over all ranks."""
        self.decoder = self._build()
        self._loss = CausalLoss(self.decoder, config.objective.document_masks)
        self._parallel = DistributedDataParallel(self._loss) if runtime.world_size > 1 else None
        self._optimizers = build_optimizers(self.decoder, config.optimizer)

    def _build(self) -> Decoder:
        config = self._config
        shape = config.model.decoder(self._vocabulary.num_ids, config.stream.plan.raw_length)
        torch.manual_seed(config.seed)
        decoder = Decoder(shape).to(self._runtime.device)
        if config.runtime.compile:
            decoder.compile()
        return decoder

    def close(self) -> None:
        """Lets go of what exchanges gradients, before the runtime ends."""
        self._parallel = None

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.decoder.parameters())

    @property
    def learning_rate(self) -> float:
        """Rate of the embeddings, AdamW's in both optimisers, at the last step."""
        return self._optimizers[-1].param_groups[0]["lr"]

    def learn(self, examples: CausalExamples, total_weight: float) -> StepResult:
        """One step on this rank's examples; `total_weight` sums the weights of all ranks."""
        config = self._config
        factor = learning_rate_factor(config.schedule, self.num_steps, config.num_steps)
        set_learning_rates(self._optimizers, factor)
        result = training_step(
            self._loss,
            self._parallel,
            self._optimizers,
            examples,
            total_weight=total_weight,
            micro_rows=config.micro_batch_size or len(examples.labels),
            gradient_clip=config.gradient_clip,
            runtime=self._runtime,
        )
        self.num_steps += 1
        self.num_tokens += int(total_weight)
        return result

    def checkpoint(self, stream_state: dict[str, Any], tokenizer: bytes) -> Checkpoint:
        """The whole state. Paths are left out: a checkpoint can be moved, equal runs are equal."""
        config = self._config.model_dump(mode="json", exclude={"corpus", "output", "runtime"})
        return Checkpoint(
            step=self.num_steps,
            model={name: p.detach() for name, p in self.decoder.named_parameters()},
            optimizer=state_tensors(self.decoder, self._optimizers),
            state={
                "step": self.num_steps,
                "num_tokens": self.num_tokens,
                "stream": stream_state,
                "random": random_state(),
            },
            config={
                "model": asdict(self.decoder.config),
                "vocabulary": self._vocabulary.as_json(),
                "train": config,
            },
            tokenizer=tokenizer,
        )

    def restore(self, checkpoint: Checkpoint, folder: str) -> None:
        """Put back what `checkpoint` took. Raises CheckpointError when it is of another model."""
        load_parameters(self.decoder, checkpoint, folder)
        if checkpoint.step > 0:
            load_state_tensors(self.decoder, self._optimizers, checkpoint.optimizer)
        restore_random_state(checkpoint.state["random"])
        self.num_steps = checkpoint.step
        self.num_tokens = checkpoint.state["num_tokens"]
