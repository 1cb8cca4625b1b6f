from pathlib import Path

import pytest
import torch

from storage.errors import ConfigError
from tests.training.runs import text_corpus, train_config
from tests.training.test_decoder import SMALL, VARIANTS, build
from training import generate
from training.checkpoint import CheckpointError
from training.generate import Sampling, continue_ids, draw
from training.models.decoder import DecoderConfig
from training.trainer import train

GREEDY = Sampling(temperature=0)


@pytest.mark.parametrize("config", VARIANTS)
def test_cached_generation_equals_full_recomputation(config: DecoderConfig):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    decoder, ids = build(config), [3, 1, 4, 1, 5]
    generator = torch.Generator().manual_seed(0)
    found = continue_ids(decoder, ids, 12, GREEDY, generator, -1, config.vocab_size)
    expected = list(ids)
    with torch.inference_mode():
        for _ in range(12):
            logits = decoder.logits(decoder(torch.tensor([expected])))
            expected.append(int(logits[0, -1].argmax()))
    assert found == expected[5:]


def test_generation_ends_before_the_separator_and_never_draws_padding():
    torch.manual_seed(0)
    decoder, generator = build(SMALL), torch.Generator().manual_seed(0)
    everything = Sampling(temperature=2.0, top_k=0)
    ids = continue_ids(decoder, [1], 60, everything, generator, -1, num_ids=7)
    assert set(ids) <= set(range(7))
    generator.manual_seed(0)
    stopped = continue_ids(decoder, [1], 60, everything, generator, ids[10], num_ids=7)
    assert stopped == ids[: ids.index(ids[10])]


def drawn(logits: torch.Tensor, sampling: Sampling, count: int = 400) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    return [draw(logits, sampling, generator) for _ in range(count)]


def test_sampling_limits():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()[torch.tensor([2, 0, 3, 1])]
    assert set(drawn(logits, Sampling(1.0, top_k=0))) == {0, 1, 2, 3}
    assert set(drawn(logits, Sampling(1.0, top_k=2))) == {1, 3}
    assert set(drawn(logits, Sampling(1.0, top_k=0, top_p=0.6))) == {1, 3}
    assert set(drawn(logits, Sampling(1.0, top_k=0, top_p=0.4))) == {1}
    assert set(drawn(logits, GREEDY, 3)) == {1}


def test_temperature_follows_its_formula():
    logits = torch.tensor([1.0, 0.0])
    share = drawn(logits, Sampling(0.5, top_k=0), 4000).count(0) / 4000
    assert share == pytest.approx(1 / (1 + 2.718281828**-2), abs=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"temperature": -1}, "temperature"), ({"top_p": 0}, "top_p"), ({"top_k": -1}, "top_k")],
)
def test_impossible_sampling_is_refused(settings: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        Sampling(**settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("generate")
    text_corpus(folder / "corpus")
    return train(train_config(folder, num_steps=4)).checkpoint


def test_the_same_seed_gives_the_same_text(run: str):
    texts = [generate.run(run, "the cat", max_tokens=8, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert all(text.startswith("the cat") for text in texts)


def test_a_control_token_in_the_prompt_is_ordinary_text(run: str):
    text = generate.run(run, "<|endoftext|>", max_tokens=1)
    assert text.startswith("<|endoftext|>")


def test_terminal_escapes_are_shown_not_sent(run: str):
    text = generate.run(run, "the\x1b[31m\tcat\n", max_tokens=1)
    assert text.startswith("the\ufffd[31m\tcat\n")


def test_a_prompt_beyond_the_context_is_refused(run: str):
    with pytest.raises(ConfigError, match="more than the 16 positions"):
        generate.run(run, "the cat sees a dog", max_tokens=30)


def test_no_checkpoint_is_a_clear_error(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no complete checkpoint at"):
        generate.run(str(tmp_path), "the")
