"""Gopher's quality and repetition rules (Rae et al. 2021, https://arxiv.org/abs/2112.11446, A.1.1).

The recipes `gopher-quality` and `gopher-repetition` hold the thresholds, `gopher` both. Where
published systems read the paper differently, datatrove 0.10's reading is taken:

    words               punctuation marks are words; `num_nonsymbol_words` are those with a letter,
                        digit or other character that is no symbol
    word length         mean characters of non-symbol words (dolma: median)
    hashes, ellipses    occurrences of "#", of "..." and U+2026, per word
    bullets             lines whose first character is U+2022 or "-"
    stop words          how many of the eight occur, in lower case (dolma: how often)
    duplicates          what occurred before: the first copy counts as original
    n-gram fractions    characters of n-grams over all characters of the text, white space included

What Dolma and DCLM count by words of str.split is in space_words.py.
"""

from __future__ import annotations

from filters.ngrams import DUPLICATE_NGRAMS, TOP_NGRAMS
from filters.ratios import Ratio

QUALITY_RATIOS = (
    Ratio("mean_word_chars", "nonsymbol_word_chars", "num_nonsymbol_words"),
    Ratio("hash_word_ratio", "num_hashes", "num_words"),
    Ratio("ellipsis_word_ratio", "num_ellipses", "num_words"),
    Ratio("bullet_line_ratio", "num_bullet_lines", "num_lines"),
    Ratio("ellipsis_line_ratio", "num_ellipsis_lines", "num_lines"),
    Ratio("bullet_line_ratio_dclm", "num_bullet_lines_dclm", "num_lines"),
    Ratio("ellipsis_line_ratio_dclm", "num_ellipsis_lines_dclm", "num_lines"),
    Ratio("alpha_word_ratio", "num_alpha_words", "num_words"),
)
REPETITION_RATIOS = (
    Ratio("duplicate_line_ratio", "num_duplicate_pieces", "num_pieces"),
    Ratio("duplicate_paragraph_ratio", "num_duplicate_paragraphs", "num_paragraphs"),
    Ratio("duplicate_line_char_ratio", "duplicate_piece_chars", "num_chars"),
    Ratio("duplicate_paragraph_char_ratio", "duplicate_paragraph_chars", "num_chars"),
    *(Ratio(f"top_{n}gram_char_ratio", f"top_{n}gram_chars", "num_chars") for n in TOP_NGRAMS),
    *(
        Ratio(f"duplicate_{n}gram_char_ratio", f"duplicate_{n}gram_chars", "num_chars")
        for n in DUPLICATE_NGRAMS
    ),
)
RATIOS = (*QUALITY_RATIOS, *REPETITION_RATIOS)
