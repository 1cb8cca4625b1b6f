"""How kernels are compiled: on first use, then from numba's cache on disk.

Numba's cache notices a change of the file that a kernel is in, but not of the modules that it calls
into. The kernels here span several modules, so a cached kernel takes the digest of their sources as
a closure variable, which is part of the cache's key.

Numba counts references to every array that a function takes, with an atomic instruction each. Small
functions that are called for each word and allocate nothing are compiled without (`leaf`): that
alone halved the time of the word counts. In inner loops they are also inlined (`inlined`), because
an array is seven arguments: that halved it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba


def leaf(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel's helper that neither allocates nor returns arrays: no reference counts."""
    options: dict[str, Any] = {"nogil": True, "_nrt": False}
    return numba.njit(**options)(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A `leaf` for inner loops, made part of its caller."""
    options: dict[str, Any] = {"nogil": True, "_nrt": False, "forceinline": True}
    return numba.njit(**options)(function)


def sources_digest(*modules: ModuleType) -> str:
    """Digest of the source files of the modules a kernel is made of."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()
