"""KenLM models (Heafield 2011), with SentencePiece beside them as cc_net's have it: optional.

`en.arpa.bin` is split into the pieces of `en.sp.model` when that file lies beside it, otherwise at
white space. Each line of a text is a sentence of its own, after which its end counts as a word.
Lines are normalised much as cc_net does it, and not exactly so: compatibility forms (NFKC), lower
case, no accents, each digit 0.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SUFFIXES = (".arpa", ".bin", ".klm")


@dataclass(frozen=True, slots=True)
class KenlmModel:
    model: Any
    pieces: Any
    """SentencePiece processor, or None."""


def load(path: str) -> KenlmModel:
    """Raises ValueError for a file that KenLM cannot read, or when it is not installed."""
    require(path)
    import kenlm  # pyright: ignore[reportMissingImports]

    try:
        model = kenlm.Model(path)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"language model {path} cannot be read by KenLM: {reason}") from error
    return KenlmModel(model, _load_pieces(piece_path(path)))


def require(path: str) -> None:
    """Raises ValueError when a package that a model needs is missing, or it is no KenLM file."""
    if not path.endswith(SUFFIXES):
        known = ", ".join((".npz", *SUFFIXES))
        raise ValueError(f"language model {path} must end in one of {known}")
    needed = ["kenlm"] + (["sentencepiece"] if piece_path(path).exists() else [])
    for name in needed:
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"language model {path} needs the package {name}: pip install 'tilth[kenlm]' "
                "(which compiles), or train a model with `tilth perplexity train`"
            )


def piece_path(path: str) -> Path:
    """Where the SentencePiece model of a KenLM model is, if it has one."""
    found = Path(path)
    return found.with_name(f"{found.name.partition('.')[0]}.sp.model")


def log_scores(
    model: KenlmModel, text: pa.Array
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """log10 of the probability of each text, and how many words and ends of lines it has."""
    scores, num_words = np.zeros(len(text)), np.zeros(len(text), np.int64)
    for row, document in enumerate(text):
        for line in (document.as_py() or "").split("\n"):
            words = _words(model, line)
            if words:
                scores[row] += model.model.score(" ".join(words), bos=True, eos=True)
                num_words[row] += len(words) + 1
    return scores, num_words


def normalised(line: str) -> str:
    """As above; for text in the models that cc_net published."""
    decomposed = unicodedata.normalize("NFKD", line.lower())
    kept = (char for char in decomposed if unicodedata.category(char) != "Mn")
    composed = unicodedata.normalize("NFKC", "".join(kept))
    return "".join("0" if char.isdecimal() else char for char in composed).strip()


def _words(model: KenlmModel, line: str) -> list[str]:
    line = normalised(line)
    return model.pieces.encode(line, out_type=str) if model.pieces else line.split()


def _load_pieces(path: Path) -> Any:
    if not path.exists():
        return None
    import sentencepiece  # pyright: ignore[reportMissingImports]

    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} is no SentencePiece model: {error}") from error
