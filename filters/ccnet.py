"""What cc_net published (Wenzek et al., arXiv:1911.00359): bounds of head, middle and tail.

The 30 % and 60 % percentiles of perplexity under its own KenLM models, trained on Wikipedia in
pieces of SentencePiece. Under another model they mean nothing.
"""

NO_BUCKET = "all"
"""Of documents without a perplexity."""
PERPLEXITIES: dict[str, tuple[float, ...]] = {
    "ar": (490, 790),
    "de": (370, 590),
    "en": (340, 520),
    "es": (180, 290),
    "fr": (180, 330),
    "hi": (480, 790),
    "it": (220, 360),
    "ja": (1110, 1450),
    "ko": (920, 2130),
    "pt": (170, 270),
    "ru": (210, 310),
    "zh": (1460, 1950),
}
