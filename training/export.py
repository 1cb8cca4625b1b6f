"""`tilth export`: a checkpoint as a Hugging Face folder.

    config.json   generation_config.json   model.safetensors
    tokenizer.json   tokenizer_config.json

Parameters keep their names: the decoder is Llama's, or Qwen3's when queries and keys are
normalised. `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained` load the
folder without code of ours, with equal logits. It can be written to s3:// as well.
"""

import json
from typing import Any

from storage import objects
from training.models.decoder import DecoderConfig
from training.models.restore import RestoredModel, restore_model
from training.tensors import write_tensors
from training.vocabulary import tokenizer_with_separator


def run(checkpoint: str, folder: str) -> str:
    """Export a checkpoint folder, or the newest one of a run; returns `folder`.

    Raises CheckpointError, StorageError.
    """
    model = restore_model(checkpoint)
    parameters = {name: p.detach() for name, p in model.decoder.named_parameters()}
    write_tensors(objects.join(folder, "model.safetensors"), parameters, {"format": "pt"})
    tokenizer = tokenizer_with_separator(model.tokenizer, model.vocabulary)
    objects.write(objects.join(folder, "tokenizer.json"), tokenizer.to_str(pretty=True).encode())
    _write_json(folder, "tokenizer_config.json", tokenizer_config(model))
    _write_json(folder, "generation_config.json", _control_tokens(model.vocabulary.separator_id))
    # The last file is the one that loaders look for first.
    _write_json(folder, "config.json", model_config(model))
    return folder


def model_config(model: RestoredModel) -> dict[str, Any]:
    """config.json of LlamaForCausalLM or Qwen3ForCausalLM."""
    shape = model.decoder.config
    family = "Qwen3ForCausalLM" if shape.qk_norm else "LlamaForCausalLM"
    return {
        "architectures": [family],
        "model_type": "qwen3" if shape.qk_norm else "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dtype": "float32",
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "mlp_bias": False,
        "use_cache": True,
        **_shape(shape),
        # transformers 5 reads rope_parameters, earlier ones rope_theta.
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "rope_theta": shape.rope_theta,
        **_control_tokens(model.vocabulary.separator_id),
    }


def _shape(shape: DecoderConfig) -> dict[str, Any]:
    names = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
        "rms_norm_eps",
        "tie_word_embeddings",
    )
    return {name: getattr(shape, name) for name in names}


def tokenizer_config(model: RestoredModel) -> dict[str, Any]:
    """The separator begins and ends documents; nothing is added to a text by itself."""
    separator = model.vocabulary.separator
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": separator,
        "eos_token": separator,
        "pad_token": separator,
        "model_max_length": model.decoder.config.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
    }


def _control_tokens(separator_id: int) -> dict[str, int]:
    return dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), separator_id)


def _write_json(folder: str, name: str, value: dict[str, Any]) -> None:
    data = json.dumps(value, indent=2, sort_keys=True) + "\n"
    objects.write(objects.join(folder, name), data.encode())
