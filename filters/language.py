"""Language of a document by fastText (Joulin et al., arXiv:1607.01759), lid.176 by default.

lid.176.ftz (0.9 MB, 176 languages, CC-BY-SA-3.0) ships with the package; any supervised fastText
model, such as GlotLID, is taken by path. The label is what follows `__label__` in the model: ISO
639 codes for lid.176, `eng_Latn` for GlotLID. Only the beginning of a text is looked at: the cost
is linear in the length, and what 1,000 characters do not show, more do not show either.

fastText reads one line per prediction, split at white space and NUL. Line ends therefore become
spaces, and so does `</s>`, which is fastText's own end of line and would hide what follows it (it
is also the strike-through tag of old HTML). Scores are rounded to 1e-4, because their last bits
differ between processors, and capped at 1, which a quantised model exceeds by rounding.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.columns import text_bytes

VERSION = 1
DEFAULT_MODEL = Path(__file__).parent / "models" / "lid.176.ftz"
UNDETERMINED = "und"  # ISO 639-2: no language could be told
_LABEL_PREFIX = "__label__"
_MAX_UTF8_BYTES = 4

SCHEMA = pa.schema(
    [
        pa.field("language", pa.string(), nullable=False),
        pa.field("language_score", pa.float32(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class LanguageParams:
    """Settings of the `language` signal group; model_path None means the model that ships."""

    model_path: str | None = None
    max_chars: int = 1000


def compute(batch: pa.RecordBatch, params: LanguageParams = LanguageParams()) -> pa.RecordBatch:
    """The `language` signals of a batch with a `text` column, aligned by row."""
    columns = predict(batch.column("text"), params.model_path, params.max_chars)
    return pa.record_batch(list(columns), schema=SCHEMA)


def predict(
    text: pa.Array, model_path: str | None = None, max_chars: int = 1000
) -> tuple[pa.StringArray, pa.FloatArray]:
    """The most probable language of each text and its probability, string and float32.

    A text whose first `max_chars` characters are blank is `und` with score 0. Raises ValueError
    when the model cannot be read.
    """
    if max_chars < 1:
        raise ValueError(f"max_chars is {max_chars}; at least 1 character is needed")
    lines = _first_lines(text, max_chars)
    rows = [row for row, line in enumerate(lines) if line]
    languages = np.full(len(lines), UNDETERMINED, dtype=object)
    scores = np.zeros(len(lines), np.float32)
    if rows:
        labels, probabilities = _model(model_path).predict([lines[row] for row in rows])
        languages[rows] = [_language(row_labels) for row_labels in labels]
        scores[rows] = [_score(row_scores) for row_scores in probabilities]
    return pa.array(languages, pa.string()), pa.array(scores, pa.float32())


def _first_lines(text: pa.Array, max_chars: int) -> list[str]:
    """The first `max_chars` characters of each text as one line; "" where they are blank."""
    offsets, data = text_bytes(text)
    view = data.data
    bounds = offsets.tolist()
    lines = []
    for start, stop in itertools.pairwise(bounds):
        stop = min(stop, start + _MAX_UTF8_BYTES * max_chars)
        line = str(view[start:stop], "utf-8", "ignore")[:max_chars]
        line = line.replace("\n", " ").replace("\0", " ").replace("</s>", " ")
        lines.append("" if line.isspace() else line)
    return lines


def _language(labels: list[str]) -> str:
    return labels[0].removeprefix(_LABEL_PREFIX) if labels else UNDETERMINED


def _score(probabilities: npt.NDArray[np.float32]) -> float:
    return min(1.0, round(float(probabilities[0]), 4)) if len(probabilities) else 0.0


@functools.cache
def _model(model_path: str | None) -> Any:
    """The fastText model, read once per process."""
    import fasttext

    path = str(model_path or DEFAULT_MODEL)
    try:
        return fasttext.load_model(path)
    except ValueError as error:
        raise ValueError(
            f"language model {path}: {error}; give the path of a fastText .bin or .ftz file"
        ) from error
