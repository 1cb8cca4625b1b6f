"""Compiles the largest kernels before they are needed, on all cores.

    python -m filters.compile_kernels

Numba compiles a kernel when it is first called and keeps it on disk. Those of signal group `text`
and of C4's editor take half a minute and more each, which the first run of a corpus would spend one
after the other.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pyarrow as pa

from filters.groups import minhash_group, text_group
from filters.minhash import MinHashParams
from filters.rules import Rule, evaluate, load_recipe

GROUPS = ("text", "c4", "minhash", "rules")
RULES = (
    Rule(signal="words / lines", max=100, reason="long_lines"),
    Rule(signal="words", min=50, reason="few_words"),
    Rule(signal="score", min=0.5, reason="low_score"),
    Rule(signal="language", in_=("en",), reason="language"),
)


def compile_kernels(name: str) -> None:
    """Calls the kernels of a group or editor with two short texts, those of rules with counts."""
    batch = pa.record_batch({"text": pa.array(["One text.", "Autre texte."], pa.large_string())})
    if name == "rules":
        score = pa.array([0.5], pa.float32())
        evaluate(RULES, pa.table({"words": [1], "lines": [1], "score": score, "language": ["en"]}))
    elif name == "c4":
        [editor] = load_recipe("c4").editors
        editor.compute(batch)
    else:
        group = text_group() if name == "text" else minhash_group(MinHashParams())
        group.compute(batch)


def main() -> None:
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(compile_kernels, GROUPS))


if __name__ == "__main__":
    main()
