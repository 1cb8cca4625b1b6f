"""What is exported is loaded by transformers in another process, without code of ours."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.runs import text_corpus, train_config
from training import export
from training.models.restore import restore_model
from training.trainer import train
from training.vocabulary import tokenizer_with_separator

LOAD = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)

def load(folder, text):
    model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model.eval()(ids).logits
    generated = model.generate(ids, max_new_tokens=4, do_sample=False)
    return {
        "class": type(model).__name__, "ids": ids.tolist(), "logits": logits.tolist(),
        "loading": {key: sorted(map(str, value)) for key, value in loading.items()},
        "eos": [tokenizer.eos_token, tokenizer.eos_token_id],
        "text": tokenizer.decode(ids[0]), "new": generated.shape[1] - ids.shape[1],
    }

loaded = [load(folder, sys.argv[1]) for folder in sys.argv[2:]]
assert not any(name.split(".")[0] == "training" for name in sys.modules)
print(json.dumps(loaded))
"""
TEXT = "the cat sees a small bird ."


FAMILIES = {
    "LlamaForCausalLM": [],
    "Qwen3ForCausalLM": [
        "model.qk_norm=true",
        "model.tie_word_embeddings=false",
        "model.rope_theta=500000",
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run and its export for each family."""
    folder = tmp_path_factory.mktemp("export")
    text_corpus(folder / "corpus")
    for family, overrides in FAMILIES.items():
        config = train_config(folder, f"output={folder / family}", *overrides, num_steps=6)
        export.run(train(config).checkpoint, str(folder / f"hf-{family}"))
    return folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> dict[str, Any]:
    """What transformers makes of the exports, in a process that has none of our code."""
    folders = [f"hf-{family}" for family in FAMILIES]
    command = [sys.executable, "-c", LOAD, TEXT, *folders]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(FAMILIES, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_ids_are_equal_in_another_process(folder: Path, loaded, family: str):
    theirs = loaded[family]
    model = restore_model(str(folder / family))
    tokenizer = tokenizer_with_separator(model.tokenizer, model.vocabulary)
    ids = tokenizer.encode(TEXT).ids
    with torch.no_grad():
        ours = model.decoder.logits(model.decoder(torch.tensor([ids])))
    assert theirs["class"] == family
    assert theirs["ids"] == [ids]
    assert theirs["text"] == TEXT
    assert theirs["eos"] == ["<|endoftext|>", model.vocabulary.separator_id]
    assert not any(theirs["loading"].values())
    assert (torch.tensor(theirs["logits"]) - ours).abs().max() < 1e-5
    assert theirs["new"] <= 4
