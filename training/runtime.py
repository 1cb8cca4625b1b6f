"""Where a run computes: device, precision, determinism, and the other ranks.

One process is rank 0 of 1. Under torchrun (RANK, WORLD_SIZE, LOCAL_RANK in the environment) the
ranks form a group: nccl on GPUs, gloo on CPUs. What ranks exchange beside gradients are sums of
numbers and JSON, never pickles.
"""

import gc
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from storage.errors import ConfigError
from training.config import RuntimeConfig
from training.windows import BlockKey


@dataclass(frozen=True, slots=True)
class Runtime:
    device: torch.device
    dtype: torch.dtype
    """float32, or bfloat16 for autocast around the forward pass."""
    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"

    def autocast(self) -> AbstractContextManager[Any]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def to_device(self, array: np.ndarray) -> Tensor:
        """Copies an array, without waiting for the copy when the device is a GPU."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def sum_over_ranks(self, values: list[float]) -> list[float]:
        """Element-wise sums over all ranks, in float64."""
        if self.world_size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def wait_for_all(self) -> None:
        """Return when every rank has come here."""
        self.sum_over_ranks([0.0])

    def gather_json(self, value: Any) -> list[Any]:
        """The JSON-able `value` of every rank, in the order of ranks."""
        if self.world_size == 1:
            return [value]
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in self._ranks]
        dist.all_gather(sizes, torch.tensor([len(data)], device=self.device))
        longest = max(int(size) for size in sizes)
        mine = torch.zeros(longest, dtype=torch.uint8, device=self.device)
        mine[: len(data)] = data
        pieces = [torch.zeros_like(mine) for _ in self._ranks]
        dist.all_gather(pieces, mine)
        texts = [bytes(p[: int(n)].cpu().tolist()) for p, n in zip(pieces, sizes, strict=True)]
        return [json.loads(text) for text in texts]

    def agree_on_blocks(self, found: dict[BlockKey, str]) -> dict[BlockKey, str]:
        """Damaged blocks that any rank found, for Stream; one small sum when there are none."""
        if self.sum_over_ranks([float(len(found))])[0] == 0:
            return {}
        rows = [[shard, block, reason] for (shard, block), reason in found.items()]
        return {
            (shard, block): reason
            for rank_rows in self.gather_json(rows)
            for shard, block, reason in rank_rows
        }

    @property
    def _ranks(self) -> range:
        return range(self.world_size)


@contextmanager
def start_runtime(config: RuntimeConfig) -> Iterator[Runtime]:
    """The runtime that the configuration and torchrun's environment ask for. Raises ConfigError."""
    world_size, rank = _environment("WORLD_SIZE", 1), _environment("RANK", 0)
    device = choose_device(config, _environment("LOCAL_RANK", 0))
    runtime = Runtime(device, choose_dtype(config, device), rank, world_size)
    torch.set_num_threads(config.num_threads or os.cpu_count() or 1)
    _set_determinism(choose_determinism(config, device))
    if world_size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield runtime
    finally:
        if world_size > 1:
            # A reducer that outlives its group destroys it with the GIL held, and waits there for
            # gloo's thread, which may wait for the GIL: the process hangs at its end. Reducers are
            # in reference cycles.
            gc.collect()
            dist.destroy_process_group()


def choose_device(config: RuntimeConfig, local_rank: int = 0) -> torch.device:
    """Raises ConfigError when a GPU is asked for and there is none."""
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.device == "cpu" or (config.device == "auto" and num_gpus == 0):
        return torch.device("cpu")
    if local_rank >= num_gpus:
        raise ConfigError(
            f"runtime.device = {config.device!r}: process {local_rank} of this machine has no GPU "
            f"({num_gpus} usable, torch {torch.__version__}); use runtime.device=cpu, or install "
            "a CUDA build of torch and its driver"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def choose_dtype(config: RuntimeConfig, device: torch.device) -> torch.dtype:
    if config.precision == "auto":
        native = _has_bfloat16(device)
        return torch.bfloat16 if native else torch.float32
    return getattr(torch, config.precision)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities.startswith("AVX512") and torch.cpu._is_avx512_bf16_supported()


def choose_determinism(config: RuntimeConfig, device: torch.device) -> bool:
    return device.type == "cpu" if config.deterministic is None else config.deterministic


def _set_determinism(deterministic: bool) -> None:
    if deterministic:
        # cuBLAS repeats its sums only with a fixed workspace.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    # Filling fresh memory finds bugs, not differences between runs; it costs 3 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore


def _environment(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit():
        raise ConfigError(f"{name}={text!r} in the environment is no number; start with torchrun")
    return int(text)
