"""Training of a byte-level BPE: texts in, the text of a tokenizer.json out.

`BpeTrainer` breaks ties by token ids and ignores the order of documents, so equal samples give
equal files, whatever the number of threads (tests/pipelines/test_bpe.py). The vocabulary has at
most `vocab_size` ids; control tokens lie above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

CONTROL_TOKENS = ("<|bos|>", "<|eos|>", "<|pad|>", "<|cls|>", "<|sep|>", "<|mask|>")
MAX_WORD_CHARS = 64
_LONG_WORD = re.compile(rf"\w{{{MAX_WORD_CHARS}}}")

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Pre-tokens of Qwen 3.5 (Qwen team 2026): combining marks stay with their letters, which Indic and
Semitic scripts need, and digits are single. fastokens has a compiled path for it."""


def train(texts: Iterable[str], vocab_size: int, min_frequency: int) -> str:
    """A byte-level BPE of at most `vocab_size` ids, as the text of a tokenizer.json."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(break_long_words, texts), trainer)
    tokenizer.add_special_tokens(list(CONTROL_TOKENS))
    return tokenizer.to_str(pretty=True)


def break_long_words(text: str) -> str:
    """Cuts words of more than MAX_WORD_CHARS by line breaks, for training only.

    BPE training scans a word at each merge that touches it: one megabase of DNA would take hours.
    """
    if max(map(len, text.split()), default=0) <= MAX_WORD_CHARS:
        return text
    return _LONG_WORD.sub(r"\g<0>\n", text)
