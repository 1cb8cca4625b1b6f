"""The training file: YAML into strict models, checked whole before any work.

A minimal file names a corpus, an output, the window length and a number of steps. An unknown key,
a wrong type or an impossible combination is a ConfigError that names the key, the value and the
nearest valid key. The resolved configuration is stored with the output and in every checkpoint.
"""

from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, Field, model_validator

from storage.errors import ConfigError
from storage.settings import ConfigPath, Settings
from training.models.decoder import DecoderConfig
from training.models.presets import PRESETS
from training.optimizer import OptimizerConfig
from training.schedule import ScheduleConfig
from training.stream_config import StreamConfig


class ObjectiveConfig(Settings):
    name: Literal["causal"] = "causal"
    document_masks: bool = False
    """Attention stays inside each document; otherwise it crosses the documents of a window."""


class ModelConfig(Settings):
    """A named shape (models/presets.py); any size given beside it overrides the preset's."""

    preset: str = "10m"
    hidden_size: int | None = Field(default=None, ge=8)
    intermediate_size: int | None = Field(default=None, ge=8)
    num_hidden_layers: int | None = Field(default=None, ge=1)
    num_attention_heads: int | None = Field(default=None, ge=1)
    num_key_value_heads: int | None = Field(default=None, ge=1)
    head_dim: int | None = Field(default=None, ge=2)
    qk_norm: bool = False
    tie_word_embeddings: bool = True
    rope_theta: float = Field(default=10_000.0, gt=0)
    vocab_multiple: int = Field(default=64, ge=1)
    """The vocabulary is padded to this multiple: tensor cores and vector units like it."""

    @model_validator(mode="after")
    def _known_preset(self) -> Self:
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is unknown; use one of {', '.join(PRESETS)}")
        return self

    def decoder(self, num_ids: int, sequence_length: int) -> DecoderConfig:
        """The decoder's shape for a vocabulary of `num_ids` ids. Raises ConfigError."""
        preset = PRESETS[self.preset]
        try:
            return DecoderConfig(
                vocab_size=-(-num_ids // self.vocab_multiple) * self.vocab_multiple,
                hidden_size=self.hidden_size or preset.hidden_size,
                intermediate_size=self.intermediate_size or preset.intermediate_size,
                num_hidden_layers=self.num_hidden_layers or preset.num_hidden_layers,
                num_attention_heads=self.num_attention_heads or preset.num_attention_heads,
                num_key_value_heads=self.num_key_value_heads or preset.num_key_value_heads,
                head_dim=self.head_dim or preset.head_dim,
                max_position_embeddings=sequence_length,
                rope_theta=self.rope_theta,
                qk_norm=self.qk_norm,
                tie_word_embeddings=self.tie_word_embeddings,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error


class ValidationConfig(Settings):
    every_steps: int = Field(default=500, ge=1)
    """Validation also runs after the last step."""
    max_tokens: int = Field(default=1 << 20, ge=1)
    """Per stratum; the same first documents every time."""
    baseline_tokens: int = Field(default=50_000_000, ge=1)
    """Training tokens that the unigram and bigram models beside the loss are counted on."""


class CheckpointConfig(Settings):
    every_steps: int = Field(default=500, ge=1)
    keep_last: int = Field(default=2, ge=1)


class LogConfig(Settings):
    every_steps: int = Field(default=10, ge=1)
    tensorboard: bool = True
    """Event files in `<output>/tensorboard`; for an output that is not a local folder, none."""


class RuntimeConfig(Settings):
    """Where and how a run computes. In no hash: another device is the same run."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 autocast where the device multiplies it natively, else float32."""
    compile: bool = False
    """torch.compile of the decoder: faster steps after a minute or more of compilation."""
    num_threads: int = Field(default=0, ge=0)
    """CPU threads; 0 is one per core. Bit-exact resumption needs the same number."""
    deterministic: bool | None = None
    """Deterministic kernels only, so that a resumed run repeats the uninterrupted one bit for bit;
    none: on a CPU yes, on a GPU no, where they are slower."""


class TrainConfig(Settings):
    name: str = "run"
    corpus: ConfigPath
    """Output folder of a packed corpus, or its manifest.json."""
    output: Annotated[ConfigPath, AfterValidator(lambda path: path.rstrip("/"))]
    """Folder of checkpoints, metrics.jsonl, TensorBoard events and config.resolved.yaml."""
    num_steps: int = Field(ge=1)
    batch_size: int = Field(default=64, ge=1)
    """Windows per optimiser step, over all ranks and micro-batches."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Windows per forward pass on one rank; none is the rank's whole share."""
    gradient_clip: float = Field(default=1.0, gt=0)
    """Largest norm of all gradients together."""
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    """Of the initial weights; the order of data has its own, stream.plan.seed."""
    stream: StreamConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.micro_batch_size and self.micro_batch_size > self.batch_size:
            raise ValueError(
                f"micro_batch_size={self.micro_batch_size} is above batch_size={self.batch_size}"
            )
        if self.schedule.warmup_steps > self.num_steps:
            raise ValueError(
                f"schedule.warmup_steps={self.schedule.warmup_steps} is above "
                f"num_steps={self.num_steps}: the peak learning rate would never be reached"
            )
        return self


def dump_train_config(config: TrainConfig) -> str:
    """The resolved configuration as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=False)
