"""`tilth evaluate`: the newest checkpoint of a run on the validation split of its corpus."""

from storage.errors import ConfigError
from storage.manifest import load_manifest
from training.comparison import ComparedLoss, baseline_scores, compare, format_table
from training.config import TrainConfig
from training.models.restore import restore_model
from training.runtime import start_runtime
from training.validation import read_validation
from training.validation_loss import validation_losses
from training.vocabulary import check_same_encoding


def evaluate(config: TrainConfig) -> list[ComparedLoss]:
    """Rows per stratum, then the total. Raises ConfigError, CheckpointError, StorageError."""
    with start_runtime(config.runtime) as runtime:
        corpus = load_manifest(config.corpus)
        model = restore_model(config.output)
        check_same_encoding(model.vocabulary, corpus, model.folder)
        length = model.decoder.config.max_position_embeddings
        if config.stream.plan.raw_length != length:
            raise ConfigError(
                f"stream.plan.raw_length = {config.stream.plan.raw_length}: {model.folder} was "
                f"trained on windows of {length} tokens"
            )
        strips = read_validation(corpus, config.validation.max_tokens)
        losses = validation_losses(
            model.decoder.to(runtime.device),
            strips,
            separator_id=model.vocabulary.separator_id,
            document_masks=config.objective.document_masks,
            batch_rows=config.micro_batch_size or config.batch_size,
            runtime=runtime,
        )
        return compare(losses, baseline_scores(config, corpus, strips))


def run(config: TrainConfig) -> str:
    """The rows of `evaluate` as a table for a terminal."""
    return format_table(evaluate(config))
