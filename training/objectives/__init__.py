"""Objectives: raw windows in, training examples out. Vectorised numpy, no torch, no global state.

An objective is a pure function of raw windows, its settings and a generator that is keyed by (seed,
g) per row, so an example does not depend on ranks, workers or what was drawn before. Control ids
(separator, mask, sentinels) lie at or above the tokenizer's `vocab_size`.
"""

from __future__ import annotations

import numpy as np

IGNORED = -100
"""Label of a position without a loss, as torch's cross entropy and transformers have it."""


def window_generator(seed: int, g: int) -> np.random.Generator:
    """The generator of window g: counter-based Philox (Salmon et al., SC 2011) keyed (seed, g)."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, g], np.uint64)))
