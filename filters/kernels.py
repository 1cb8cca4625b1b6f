"""How kernels are compiled: on first use, then from numba's cache on disk.

Numba's cache notices a change of the file that a kernel is in, but not of the modules that it calls
into. The kernels here span several modules, so a cached kernel takes the digest of their sources as
a closure variable, which is part of the cache's key.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType


def sources_digest(*modules: ModuleType) -> str:
    """Digest of the source files of the modules a kernel is made of."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()
