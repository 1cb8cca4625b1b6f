"""The model of a checkpoint, ready to evaluate, generate or export."""

from dataclasses import dataclass

import torch

from training.checkpoint import Checkpoint, CheckpointError, find_checkpoint, load_checkpoint
from training.models.decoder import Decoder, DecoderConfig
from training.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class RestoredModel:
    folder: str
    step: int
    decoder: Decoder
    vocabulary: Vocabulary
    tokenizer: bytes
    """tokenizer.json of the corpus, without the separator."""


def restore_model(path: str) -> RestoredModel:
    """The model at `path`: a checkpoint folder, or a run (its newest complete checkpoint).

    Parameters are on the CPU. Raises CheckpointError.
    """
    folder = find_checkpoint(path)
    checkpoint = load_checkpoint(folder, with_optimizer=False)
    try:
        config = DecoderConfig(**checkpoint.config["model"])
        vocabulary = Vocabulary(**checkpoint.config["vocabulary"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}/config.json describes no decoder: {error}") from error
    decoder = Decoder(config)
    load_parameters(decoder, checkpoint, folder)
    return RestoredModel(folder, checkpoint.step, decoder.eval(), vocabulary, checkpoint.tokenizer)


def load_parameters(decoder: Decoder, checkpoint: Checkpoint, folder: str) -> None:
    """Copy a checkpoint's parameters. Raises CheckpointError naming the first that does not fit."""
    parameters = dict(decoder.named_parameters())
    for name in sorted(parameters.keys() | checkpoint.model.keys()):
        ours, theirs = parameters.get(name), checkpoint.model.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            raise CheckpointError(
                f"{folder} does not fit this model: {name} has shape "
                f"{_shape(theirs)} there and {_shape(ours)} here; use the model section of its "
                "config.json, or another output folder for a new run"
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(checkpoint.model[name])


def _shape(tensor: torch.Tensor | None) -> str:
    return "no parameter" if tensor is None else str(tuple(tensor.shape))
