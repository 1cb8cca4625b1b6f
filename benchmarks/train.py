"""Training speed: tokens per second and MFU of our presets, next to transformers' Llama.

    python -m benchmarks.train --presets 1m 3m 10m                    on a CPU
    python -m benchmarks.train --presets 135m 1b --length 2048 --batch-size 8 --compile --peer

A step is the real one (forward, loss, backward, clipping, optimiser) on random tokens that are
already in memory, so that data loading is not in it. `--peer` measures LlamaForCausalLM of the same
shape with its own loss and torch's AdamW, in turn with ours. On a CPU shared with others compare
tokens per CPU second; on a GPU wall time is what counts, and MFU is PaLM's (training/metrics.py).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import training  # noqa: F401  isort: skip (before torch, whose OpenMP it tunes)

import numpy as np
import torch

from training.config import ModelConfig, RuntimeConfig
from training.metrics import flops_per_token, model_flops_utilisation
from training.models.decoder import Decoder, DecoderConfig
from training.models.presets import PRESETS
from training.objectives.causal import CausalExamples
from training.optimizer import OptimizerConfig, build_optimizers
from training.runtime import Runtime, start_runtime
from training.step import CausalLoss, training_step

Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians over steps."""

    wall_seconds: float
    cpu_seconds: float


def main() -> None:
    options = parse_options()
    runtime_config = RuntimeConfig(
        device=options.device, precision=options.precision, num_threads=options.threads
    )
    with start_runtime(runtime_config) as runtime:
        print(
            f"{runtime.device_name}, {runtime.dtype}, {torch.get_num_threads()} threads, "
            f"{options.batch_size} x {options.length} tokens a step, torch {torch.__version__}\n"
        )
        print("| preset | code | parameters | tokens/s | tokens/CPU s | ms/step | MFU |")
        print("|---|---|--:|--:|--:|--:|--:|")
        for preset in options.presets:
            measure_preset(preset, options, runtime)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="tokens per second and MFU of training steps")
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=["1m", "3m"])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--micro-batch-size", type=int, help="rows per forward pass")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--vocab-size", type=int, default=4097)
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="adamw")
    parser.add_argument("--document-masks", action="store_true")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peer", action="store_true", help="also transformers' Llama")
    parser.add_argument("--steps", type=int, default=10)
    return parser.parse_args()


def measure_preset(preset: str, options: argparse.Namespace, runtime: Runtime) -> None:
    """Measures each code's steps in turn, so that both see the same machine, and prints rows."""
    shape = ModelConfig(preset=preset).decoder(options.vocab_size, options.length)
    examples = random_examples(options)
    steps = {"tilth": our_step(shape, examples, options, runtime)}
    if options.peer:
        steps["transformers"] = peer_step(shape, examples, options, runtime)
    speeds = measure(steps, options.steps, runtime)
    for name, speed in speeds.items():
        print_row(preset, name, shape, speed, options, runtime)


def random_examples(options: argparse.Namespace) -> CausalExamples:
    random = np.random.default_rng(0)
    shape = (options.batch_size, options.length)
    return CausalExamples(
        input_ids=random.integers(0, options.vocab_size, shape),
        labels=random.integers(0, options.vocab_size, shape),
        loss_weights=np.ones(shape, np.float32),
        document_ids=np.broadcast_to(np.arange(options.length) // 100, shape).astype(np.int64),
        positions=np.broadcast_to(np.arange(options.length) % 100, shape).astype(np.int64),
    )


def our_step(
    shape: DecoderConfig, examples: CausalExamples, options: argparse.Namespace, runtime: Runtime
) -> Step:
    decoder = Decoder(shape).to(runtime.device)
    optimizers = build_optimizers(decoder, OptimizerConfig(name=options.optimizer))
    if options.compile:
        decoder.compile()
    module = CausalLoss(decoder, options.document_masks)

    def step() -> None:
        training_step(
            module,
            None,
            optimizers,
            examples,
            total_weight=float(examples.labels.size),
            micro_rows=options.micro_batch_size or options.batch_size,
            gradient_clip=1.0,
            runtime=runtime,
        )

    return step


def peer_step(
    shape: DecoderConfig, examples: CausalExamples, options: argparse.Namespace, runtime: Runtime
) -> Step:
    """transformers' model with its own loss, SDPA attention and fused AdamW."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.num_hidden_layers,
            num_attention_heads=shape.num_attention_heads,
            num_key_value_heads=shape.num_key_value_heads,
            head_dim=shape.head_dim,
            max_position_embeddings=shape.max_position_embeddings,
            tie_word_embeddings=True,
            use_cache=False,
            attn_implementation="sdpa",  # pyright: ignore
        )
    ).to(runtime.device)  # pyright: ignore
    if options.compile:
        model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    micro_rows = options.micro_batch_size or options.batch_size

    def step() -> None:
        for start in range(0, options.batch_size, micro_rows):
            ids = runtime.to_device(examples.input_ids[start : start + micro_rows])
            with runtime.autocast():
                loss = model(input_ids=ids, labels=ids).loss
            (loss * micro_rows / options.batch_size).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(steps: dict[str, Step], num_steps: int, runtime: Runtime) -> dict[str, Speed]:
    for step in steps.values():
        for _ in range(3):  # compilation, allocators, caches
            step()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(num_steps):
        for name, step in steps.items():
            times[name].append(timed(step, runtime))
    return {
        name: Speed(*(statistics.median(column) for column in zip(*rows, strict=True)))
        for name, rows in times.items()
    }


def timed(step: Step, runtime: Runtime) -> tuple[float, float]:
    """Wall and CPU seconds of one step, the device's work included."""
    synchronise(runtime)
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    synchronise(runtime)
    return time.perf_counter() - wall, time.process_time() - cpu


def synchronise(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize()


def print_row(
    preset: str,
    name: str,
    shape: DecoderConfig,
    speed: Speed,
    options: argparse.Namespace,
    runtime: Runtime,
) -> None:
    with torch.device("meta"):
        num_parameters = sum(parameter.numel() for parameter in Decoder(shape).parameters())
    num_tokens = options.batch_size * options.length
    rate = num_tokens / speed.wall_seconds
    flops = flops_per_token(shape, num_parameters, options.length)
    utilisation = model_flops_utilisation(rate, flops, runtime.device_name)
    print(
        f"| {preset} | {name} | {num_parameters / 1e6:,.2f} M | {rate:,.0f} "
        f"| {num_tokens / speed.cpu_seconds:,.0f} | {speed.wall_seconds * 1e3:,.1f} "
        f"| {'n/a' if utilisation is None else f'{utilisation:.1%}'} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
