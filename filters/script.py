"""The script a document is written in: the Unicode script that most of its characters belong to.

    script             ISO 15924 code, as Latn, Cyrl, Jpan; Zyyy without a character of any script
    script_chars       characters of it
    scripted_chars     characters of any script: neither Common (digits, marks) nor Inherited

`script_ratio` is the share of the second in the third. Japanese is Hiragana, Katakana and Han
together: `Jpan` when kana are at least a tenth of the three, else Han is `Hani` and kana are
counted by themselves. Of scripts with equally many characters the first by code is taken.

The table of scripts is data (`models/scripts.npz`), pinned to the Unicode version of unicode.py;
`python -m filters.script` writes it anew, with the package regex.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.columns import text_bytes
from filters.ratios import Ratio
from filters.unicode import NUM_CODE_POINTS, UNICODE_VERSION
from filters.utf8 import decode

VERSION = 1
TABLE_PATH = Path(__file__).parent / "models" / "scripts.npz"
NO_SCRIPT = "Zyyy"
JAPANESE = "Jpan"
MAX_CHARS_A_KANA = 10
"""Of kana and Han together, in Japanese."""
SCHEMA = pa.schema(
    [
        pa.field("script", pa.string(), nullable=False),
        pa.field("script_chars", pa.uint64(), nullable=False),
        pa.field("scripted_chars", pa.uint64(), nullable=False),
    ]
)
RATIOS = (Ratio("script_ratio", "script_chars", "scripted_chars"),)
_LATIN, _HAN, _HIRAGANA, _KATAKANA = "Latn", "Hani", "Hira", "Kana"
# ISO 15924 codes that are values of Unicode's Script property, but for Common and Inherited
_CODES = """
Adlm Aghb Ahom Arab Armi Armn Avst Bali Bamu Bass Batk Beng Bhks Bopo Brah Brai Bugi Buhd Cakm Cans
Cari Cham Cher Chrs Copt Cpmn Cprt Cyrl Deva Diak Dogr Dsrt Dupl Egyp Elba Elym Ethi Geor Glag Gong
Gonm Goth Gran Grek Gujr Guru Hang Hani Hano Hatr Hebr Hira Hluw Hmng Hmnp Hung Ital Java Kali Kana
Khar Khmr Khoj Kits Knda Kthi Lana Laoo Latn Lepc Limb Lina Linb Lisu Lyci Lydi Mahj Maka Mand Mani
Marc Medf Mend Merc Mero Mlym Modi Mong Mroo Mtei Mult Mymr Nand Narb Nbat Newa Nkoo Nshu Ogam Olck
Orkh Orya Osge Osma Ougr Palm Pauc Perm Phag Phli Phlp Phnx Plrd Prti Rjng Rohg Runr Samr Sarb Saur
Sgnw Shaw Shrd Sidd Sind Sinh Sogd Sogo Sora Soyo Sund Sylo Syrc Tagb Takr Tale Talu Taml Tang Tavt
Telu Tfng Tglg Thaa Thai Tibt Tirh Tnsa Toto Ugar Vaii Vith Wara Wcho Xpeo Xsux Yezi Yiii Zanb
"""


class ScriptTable(NamedTuple):
    """Of code point c: `codes[scripts[blocks[c >> 7] << 7 | c & 127]]`; codes[0] is NO_SCRIPT.

    blocks uint8[8704]; scripts uint8[128 * distinct blocks]; codes: of ISO 15924.
    """

    blocks: npt.NDArray[np.uint8]
    scripts: npt.NDArray[np.uint8]
    codes: tuple[str, ...]


def compute(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The `script` signals of a batch with a `text` column, aligned by row."""
    counts, codes = count_scripts(batch.column("text"))
    counts, codes = _with_japanese(counts, codes)
    total = counts.sum(axis=1)
    order = np.argsort(codes, kind="stable")  # so that ties go to the first code
    best = order[np.argmax(counts[:, order], axis=1)]
    names = np.where(total > 0, np.array(codes, object)[best], NO_SCRIPT)
    chars = counts[np.arange(len(counts)), best]
    columns = [pa.array(names, pa.string()), pa.array(chars), pa.array(total)]
    columns = [column.cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def count_scripts(text: pa.Array) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Characters of each script: int64[texts, scripts], and the scripts' codes."""
    table = load()
    offsets, data = text_bytes(text)
    latin = table.codes.index(_LATIN)
    counts = _count(offsets, data, table.blocks, table.scripts, len(table.codes), latin)
    return counts[:, 1:], list(table.codes[1:])


def _with_japanese(
    counts: npt.NDArray[np.int64], codes: list[str]
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Another column, to which Han and kana of Japanese texts are moved."""
    kana = counts[:, codes.index(_HIRAGANA)] + counts[:, codes.index(_KATAKANA)]
    together = kana + counts[:, codes.index(_HAN)]
    is_japanese = (kana > 0) & (MAX_CHARS_A_KANA * kana >= together)
    moved = np.column_stack([counts, np.where(is_japanese, together, 0)])
    for code in (_HAN, _HIRAGANA, _KATAKANA):
        moved[is_japanese, codes.index(code)] = 0
    return moved, [*codes, JAPANESE]


@cache
def load() -> ScriptTable:
    """The table that ships with the package."""
    with np.load(TABLE_PATH, allow_pickle=False) as arrays:
        codes = tuple(arrays["codes"].tolist())
        return ScriptTable(arrays["blocks"], arrays["scripts"], codes)


@numba.njit(cache=True, nogil=True)
def _count(offsets, data, blocks, scripts, num_scripts, latin):
    num_docs = offsets.size - 1
    counts = np.zeros((num_docs, num_scripts), np.int64)
    for doc in range(num_docs):
        i, stop = offsets[doc], offsets[doc + 1]
        num_latin = np.int64(0)  # of ASCII: most bytes of most texts
        while i < stop:
            byte = data[i]
            if byte < 128:
                num_latin += np.uint8((byte | 0x20) - 0x61) < 26
                i += 1
                continue
            code_point, i = decode(data, i, stop)
            counts[doc, scripts[np.int64(blocks[code_point >> 7]) << 7 | code_point & 127]] += 1
        counts[doc, latin] += num_latin
    return counts


def build() -> ScriptTable:
    """The table of the package regex, for the characters that this Python's Unicode has."""
    import regex

    assigned = "".join(c for c in map(chr, range(NUM_CODE_POINTS)) if _is_assigned(c))
    everything = np.zeros(NUM_CODE_POINTS, np.uint8)
    codes = [NO_SCRIPT]
    for code in _CODES.split():
        found = regex.findall(rf"\p{{Script={code}}}", assigned)
        if found:  # else the script is younger than this Unicode
            everything[[ord(char) for char in found]] = len(codes)
            codes.append(code)
    distinct, blocks = np.unique(everything.reshape(-1, 128), axis=0, return_inverse=True)
    assert len(distinct) <= 256
    return ScriptTable(blocks.ravel().astype(np.uint8), distinct.ravel(), tuple(codes))


def _is_assigned(char: str) -> bool:
    return unicodedata.category(char) not in ("Cn", "Cs")


if __name__ == "__main__":
    if unicodedata.unidata_version != UNICODE_VERSION:
        raise SystemExit(
            f"this Python has Unicode {unicodedata.unidata_version}; the table is pinned to "
            f"{UNICODE_VERSION} (Python 3.11)"
        )
    table = build()
    codes = np.array(table.codes)
    np.savez_compressed(TABLE_PATH, blocks=table.blocks, scripts=table.scripts, codes=codes)
