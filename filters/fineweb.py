"""FineWeb's own rules (Penedo et al. 2024, https://arxiv.org/abs/2406.17557, section 3.6).

They see the text that C4's line editor leaves (variant `c4_fineweb`), so their counts exist twice:
of the stored text in signal group `text`, and of what is left in each C4 group, with its name in
front. Recipe `fineweb` uses `c4_fineweb_terminal_line_ratio` and so on.

    terminal_line_ratio     lines that end in a terminal mark, of lines with a visible character
    short_line_ratio        lines of at most 30 characters, likewise
    duplicate_char_ratio    characters in lines that occurred before, of all but newlines
    newline_word_ratio      newlines per word ("list_ratio")
"""

from __future__ import annotations

from filters.c4 import VARIANTS
from filters.ratios import Ratio


def line_ratios(group: str = "") -> tuple[Ratio, ...]:
    """The four ratios of the stored text, or of what a C4 group leaves."""
    p = f"{group}_" if group else ""
    lines = f"{p}num_nonblank_lines"
    duplicates = f"{p}duplicate_nonblank_line_chars"
    return (
        Ratio(f"{p}terminal_line_ratio", f"{p}num_terminal_lines", lines),
        Ratio(f"{p}short_line_ratio", f"{p}num_short_lines", lines),
        Ratio(f"{p}duplicate_char_ratio", duplicates, f"{p}num_chars", f"{p}num_newlines"),
        Ratio(f"{p}newline_word_ratio", f"{p}num_newlines", f"{p}num_words"),
    )


RATIOS = tuple(ratio for group in ("", *VARIANTS) for ratio in line_ratios(group))
