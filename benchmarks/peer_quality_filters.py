"""datatrove's quality filters, run by benchmarks/peer_quality.py in an environment of their own.

PEER_PYTHON peer_quality_filters.py DOCUMENTS.json   ->   {filter: [reason or "", ...]}

Beside them C4's rules as TensorFlow Datasets publishes them (Raffel et al. 2020, section 2.2, and
c4_utils), in plain Python. Its sentences are NLTK's there; here datatrove's splitter counts them.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from datatrove.data import Document  # pyright: ignore
from datatrove.pipeline.filters import (  # pyright: ignore
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.word_tokenizers import load_word_tokenizer  # pyright: ignore

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
POLICY = re.compile(
    "terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
)
MAX_PAGE_CHARS, MAX_WORD_CHARS, MIN_WORDS, MIN_SENTENCES = 190_000, 1000, 5, 3


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
    reasons["c4"] = [published_c4(text, tokenizer.sent_tokenize) for text in texts]
    print(json.dumps(reasons))


def reason(filters: list, text: str) -> str:
    """Of the first filter that drops the document; C4's changes what the next one sees."""
    document = Document(text=text, id="0")
    for each in filters:
        result = each.filter(document)
        if result is not True:
            return result[1] if isinstance(result, tuple) else "dropped"
    return ""


def published_c4(text: str, sentences: Callable[[str], list[str]]) -> str:
    """Why the published C4 drops a page, empty when it keeps it."""
    if len(text) > MAX_PAGE_CHARS:
        return "long_page"
    num_sentences = 0
    for raw in text.splitlines():
        line = CITATION.sub("", raw.strip())
        if any(len(word) > MAX_WORD_CHARS for word in raw.split()):
            continue
        if not line.endswith((".", "?", "!", '"')) or line.endswith("..."):
            continue
        if len(line.split()) < MIN_WORDS:
            continue
        lower = line.lower()
        if "lorem ipsum" in lower:
            return "lorem_ipsum"
        if "javascript" in lower:
            continue
        if "{" in line:
            return "curly_bracket"
        if not POLICY.search(lower):
            num_sentences += len(sentences(line))
    return "" if num_sentences >= MIN_SENTENCES else "few_sentences"


if __name__ == "__main__":
    main(sys.argv[1])
