"""Content digests: xxh3-128 over canonical column values, not over file bytes.

Two tables have one digest iff their column names, types and values are equal, whatever the
batches they were written in, the Parquet version or the compression. A dictionary is its values.
Every column feeds three streams (validity, lengths, values), so that batch boundaries cannot show.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash


class ColumnDigest:
    """Running digest of one column; nested columns delegate their values to a child."""

    def __init__(self, arrow_type: pa.DataType) -> None:
        self._type = arrow_type
        self._validity = xxhash.xxh3_128()
        self._lengths = xxhash.xxh3_128()
        self._values = xxhash.xxh3_128()
        self._children = [ColumnDigest(child) for child in _child_types(arrow_type)]

    def update(self, array: pa.Array) -> None:
        self._validity.update(_validity(array).data)
        kind = self._type
        if _is_binary(kind):
            self._update_binary(array)
        elif pa.types.is_map(kind):
            self._update_lengths(array)
            for child, values in zip(self._children, _map_children(array), strict=True):
                child.update(values)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            self._update_lengths(array)
            self._children[0].update(array.flatten())
        elif pa.types.is_fixed_size_list(kind):
            self._children[0].update(array.flatten())
        elif pa.types.is_boolean(kind):
            self._values.update(array.fill_null(False).to_numpy(zero_copy_only=False).tobytes())
        elif pa.types.is_fixed_size_binary(kind):
            self._values.update(_fixed_binary_bytes(array))
        else:
            filled = array.fill_null(0) if array.null_count else array
            values = np.ascontiguousarray(filled.to_numpy(zero_copy_only=False))
            self._values.update(values.astype(values.dtype.newbyteorder("<"), copy=False).data)

    def digest(self) -> bytes:
        mine = self._validity.digest() + self._lengths.digest() + self._values.digest()
        return mine + b"".join(child.digest() for child in self._children)

    def _update_binary(self, array: pa.Array) -> None:
        array = array.fill_null(b"" if pa.types.is_large_binary(self._type) else "")
        wide = "<i8" if pa.types.is_large_string(self._type) else "<i4"
        if pa.types.is_large_binary(self._type):
            wide = "<i8"
        buffers = array.buffers()
        offsets = np.frombuffer(buffers[1], wide, len(array) + 1 + array.offset)[array.offset :]
        self._lengths.update(np.diff(offsets).astype("<i8").tobytes())
        if buffers[2] is not None and offsets[-1] > offsets[0]:
            self._values.update(memoryview(buffers[2])[offsets[0] : offsets[-1]])

    def _update_lengths(self, array: pa.Array) -> None:
        offsets = np.asarray(array.offsets)
        self._lengths.update(np.diff(offsets).astype("<i8").tobytes())


def _value_type(kind: pa.DataType) -> pa.DataType:
    """What a column holds: of a dictionary, its values."""
    return kind.value_type if isinstance(kind, pa.DictionaryType) else kind


def _validity(array: pa.Array) -> npt.NDArray[np.uint8]:
    """1 for each value that is there."""
    if array.null_count == 0:
        return np.ones(len(array), np.uint8)
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=np.uint8)


def _is_binary(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )


def _child_types(kind: pa.DataType) -> list[pa.DataType]:
    if isinstance(kind, pa.MapType):
        return [kind.key_type, kind.item_type]
    if isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        return [kind.value_type]
    return []


def _map_children(array: pa.MapArray) -> tuple[pa.Array, pa.Array]:
    """Keys and items of the visible rows only: MapArray.keys ignores a slice's offset."""
    first, last = (array.offsets[0].as_py(), array.offsets[-1].as_py()) if len(array) else (0, 0)
    return array.keys[first:last], array.items[first:last]


def _fixed_binary_bytes(array: pa.Array) -> memoryview | bytes:
    width = array.type.byte_width
    if array.null_count:
        array = array.fill_null(b"\0" * width)
    data = array.buffers()[1]
    if data is None:
        return b""
    return memoryview(data)[array.offset * width : (array.offset + len(array)) * width]


class TableDigest:
    """Digest of a table written batch by batch."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._types = [_value_type(kind) for kind in schema.types]
        self._columns = [ColumnDigest(kind) for kind in self._types]

    def update(self, batch: pa.RecordBatch) -> None:
        for column, array in zip(self._columns, batch.columns, strict=True):
            is_dictionary = isinstance(array, pa.DictionaryArray)
            column.update(array.dictionary_decode() if is_dictionary else array)

    def hexdigest(self) -> str:
        total = xxhash.xxh3_128()
        names = self._schema.names
        for name, kind, column in zip(names, self._types, self._columns, strict=True):
            total.update(f"{name}\0{kind}\0".encode())
            total.update(column.digest())
        return total.hexdigest()


def table_digest(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
    digest = TableDigest(schema)
    for batch in batches:
        digest.update(batch)
    return digest.hexdigest()
