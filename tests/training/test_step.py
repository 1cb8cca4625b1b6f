import numpy as np
import pytest
import torch

from storage.errors import ConfigError
from tests.training.test_decoder import SMALL
from training.config import RuntimeConfig
from training.models.decoder import Decoder
from training.objectives.causal import CausalExamples
from training.runtime import Runtime, choose_device, choose_dtype
from training.step import CausalLoss, micro_batches, training_step

CPU = Runtime(torch.device("cpu"), torch.float32)


def uneven_examples(num_rows: int = 8, length: int = 10) -> CausalExamples:
    """Rows of very different numbers of valid tokens, 0 included."""
    random = np.random.default_rng(0)
    ids = random.integers(0, SMALL.vocab_size, (num_rows, length + 1))
    valid = np.arange(length) < random.integers(0, length + 1, num_rows)[:, None]
    valid[3] = False
    return CausalExamples(
        input_ids=ids[:, :-1],
        labels=np.where(valid, ids[:, 1:], -100),
        loss_weights=valid.astype(np.float32),
        document_ids=np.zeros((num_rows, length), np.int64),
        positions=np.zeros((num_rows, length), np.int64),
    )


def step_with(micro_rows: int, examples: CausalExamples) -> tuple[float, list[torch.Tensor]]:
    """Sum of nats and gradients of one step that moves nothing."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = CausalLoss(Decoder(SMALL), document_masks=False)
    gradients: list[torch.Tensor] = []
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
    optimizer.register_step_pre_hook(
        lambda *_: gradients.extend(p.grad for p in module.parameters() if p.grad is not None)
    )
    result = training_step(
        module,
        None,
        [optimizer],
        examples,
        total_weight=float(examples.loss_weights.sum()),
        micro_rows=micro_rows,
        gradient_clip=1e9,
        runtime=CPU,
    )
    return result.nll.item(), gradients


@pytest.mark.parametrize("micro_rows", [1, 3, 4])
def test_accumulation_does_not_change_loss_or_gradients(micro_rows: int):
    """1 x 8 = 2 x 4 = ..., though the micro-batches have unequal numbers of valid tokens."""
    examples = uneven_examples()
    nll, gradients = step_with(8, examples)
    other_nll, other_gradients = step_with(micro_rows, examples)
    assert other_nll == pytest.approx(nll, rel=1e-6)
    for one, other in zip(gradients, other_gradients, strict=True):
        assert (one - other).norm() <= 1e-6 * one.norm() + 1e-9


def test_the_loss_is_the_mean_over_valid_tokens():
    """Not the mean of row means: a dense model evaluated token by token agrees."""
    examples = uneven_examples()
    nll, _ = step_with(2, examples)
    torch.manual_seed(0)
    decoder = Decoder(SMALL)
    logits = decoder.logits(decoder(torch.from_numpy(examples.input_ids)))
    labels = torch.from_numpy(examples.labels)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert nll / examples.loss_weights.sum() == pytest.approx(expected.item(), rel=1e-5)


def test_a_batch_without_valid_tokens_has_no_gradient():
    examples = uneven_examples()
    examples.loss_weights[:] = 0
    _, gradients = step_with(8, examples)
    assert all((gradient == 0).all() for gradient in gradients)


def test_micro_batches_cover_the_rows_once():
    slices = list(micro_batches(7, 3))
    assert [list(range(7))[rows] for rows, _ in slices] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [last for _, last in slices] == [False, False, True]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_clear_error():
    with pytest.raises(ConfigError, match=r"runtime\.device = 'cuda'.*no GPU.*device=cpu"):
        choose_device(RuntimeConfig(device="cuda"))
    assert choose_device(RuntimeConfig()).type == "cpu"


def test_precision_asked_for_is_taken():
    cpu = torch.device("cpu")
    assert choose_dtype(RuntimeConfig(precision="bfloat16"), cpu) == torch.bfloat16
    assert choose_dtype(RuntimeConfig(precision="float32"), cpu) == torch.float32
