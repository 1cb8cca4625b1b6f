"""datatrove's four quality filters, run by benchmarks/signals.py in an environment of their own.

    PEER_PYTHON signals_peer.py DOCUMENTS.json   ->   CPU seconds of all filters on all documents

Each document goes through all four filters, whatever they say: all signals are computed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from datatrove.data import Document  # pyright: ignore
from datatrove.pipeline.filters import (  # pyright: ignore
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)


def main(documents: str) -> None:
    texts = json.loads(Path(documents).read_text())
    filters = [
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    ]
    run(filters, ["The first call loads the tokenizer. It is not timed."])
    start = time.process_time()
    run(filters, texts)
    print(time.process_time() - start)


def run(filters: list, texts: list[str]) -> None:
    for k, text in enumerate(texts):
        for each in filters:
            each.filter(Document(text=text, id=str(k)))


if __name__ == "__main__":
    main(sys.argv[1])
