"""safetensors files through storage objects, tensor by tensor.

The format (github.com/huggingface/safetensors): eight bytes of header length, a JSON header with
dtype, shape and byte range of each tensor, the bytes. It is written and read here as a stream, so
that memory holds one tensor beside the model and s3:// works as local folders do; the files are
those of the safetensors library, and the tests read them with it.
"""

import json
from collections.abc import Iterator
from typing import BinaryIO

import torch
import xxhash
from torch import Tensor

from storage import objects

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER_BYTES = 100_000_000  # the bound of the safetensors library


class TensorFileError(ValueError):
    """A file that is not what its header or its checksum says."""


def write_tensors(
    path: str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> tuple[int, str]:
    """Write a safetensors file; returns its size in bytes and its xxh3-128 (hex)."""
    digest = xxhash.xxh3_128()
    num_bytes = 0
    with objects.open_write(path) as file:
        for piece in _pieces(tensors, metadata):
            file.write(piece)
            digest.update(piece)
            num_bytes += len(piece)
    return num_bytes, digest.hexdigest()


def _pieces(tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> Iterator[bytes]:
    # Largest alignment first, as the library does: readers that map the file then find every
    # tensor aligned. Names break ties, so that equal tensors give equal bytes.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        header[name] = {
            "dtype": NAMES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        yield flat.view(torch.uint8).numpy().tobytes()


def read_tensors(path: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file, on the CPU, and the xxh3-128 (hex) of all its bytes.

    Raises TensorFileError when it is truncated or no safetensors file, StorageError when absent.
    """
    digest = xxhash.xxh3_128()
    with objects.open_read(path) as file:
        header_bytes = int.from_bytes(_take(file, 8, path, digest), "little")
        if header_bytes > MAX_HEADER_BYTES:
            raise TensorFileError(f"{path}: its header would be {header_bytes} bytes")
        header = _header(_take(file, header_bytes, path, digest), path)
        tensors: dict[str, Tensor] = {}
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            start, end = entry["data_offsets"]
            data = _take(file, end - start, path, digest)
            tensors[name] = _tensor(data, entry, path, name)
    return tensors, digest.hexdigest()


def _header(text: bytes, path: str) -> dict[str, dict]:
    try:
        header = json.loads(text)
    except ValueError as error:
        raise TensorFileError(f"{path} is no safetensors file: {error}") from error
    header.pop("__metadata__", None)
    return header


def _tensor(data: bytes, entry: dict, path: str, name: str) -> Tensor:
    dtype = DTYPES.get(entry["dtype"])
    if dtype is None:
        raise TensorFileError(f"{path}: tensor {name} has the unknown dtype {entry['dtype']!r}")
    if not data:
        return torch.empty(entry["shape"], dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(entry["shape"])


def _take(file: BinaryIO, num_bytes: int, path: str, digest: xxhash.xxh3_128) -> bytes:
    data = file.read(num_bytes)
    if len(data) != num_bytes:
        raise TensorFileError(f"{path} is truncated: {num_bytes} bytes expected, {len(data)} there")
    digest.update(data)
    return data
