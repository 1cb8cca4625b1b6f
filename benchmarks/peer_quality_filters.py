"""datatrove's quality filters, run by benchmarks/peer_quality.py in an environment of their own.

PEER_PYTHON peer_quality_filters.py DOCUMENTS.json   ->   {filter: [reason or "", ...]}
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

from datatrove.data import Document  # pyright: ignore
from datatrove.pipeline.filters import (  # pyright: ignore
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.word_tokenizers import load_word_tokenizer  # pyright: ignore


def main(documents: str) -> None:
    texts = json.loads(Path(documents).read_text())
    tokenizer = load_word_tokenizer("en")
    for method in ("word_tokenize", "sent_tokenize"):
        kept = functools.lru_cache(1 << 16)(getattr(tokenizer, method))
        setattr(tokenizer, method, kept)
    filters = {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        "c4_datatrove": C4QualityFilter(),
        "fineweb_quality": FineWebQualityFilter(),
    }
    fineweb = [
        filters["gopher_repetition"],
        filters["gopher_quality"],
        C4QualityFilter(filter_no_terminal_punct=False),
        filters["fineweb_quality"],
    ]
    chains = {name: [each] for name, each in filters.items()} | {"fineweb": fineweb}
    reasons = {name: [] for name in chains}
    for text in texts:
        for name, chain in chains.items():
            reasons[name].append(reason(chain, text))
    print(json.dumps(reasons))


def reason(filters: list, text: str) -> str:
    """Of the first filter that drops the document; C4's changes what the next one sees."""
    document = Document(text=text, id="0")
    for each in filters:
        result = each.filter(document)
        if result is not True:
            return result[1] if isinstance(result, tuple) else "dropped"
    return ""


if __name__ == "__main__":
    main(sys.argv[1])
