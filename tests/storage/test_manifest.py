from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storage import manifest
from storage.manifest import SHARDS, CorpusManifest, TokenizerEntry, load_manifest, write_manifest
from storage.objects import StorageError

TOKENIZER: dict[str, Any] = {
    "added_tokens": [
        {"id": 3, "content": "<|end|>", "special": True},
        {"id": 4, "content": "  ", "special": False},
    ],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel"},
    "post_processor": None,
    "model": {"type": "BPE", "unk_token": None, "vocab": {"a": 0, "b": 1, "ab": 2}},
}
TOKENIZER["model"]["merges"] = [["a", "b"]]


def shard_row(split: str, stratum: str, shard: int, tokens: int) -> dict[str, Any]:
    return {
        "path": f"shards/{split}/{stratum}-{shard:05d}.tar",
        "split": split,
        "stratum": stratum,
        "shard": shard,
        "bytes": 2 * tokens,
        "docs": 3,
        "documents": 2,
        "tokens": tokens,
        "text_bytes": 4 * tokens,
        "sha256": "0" * 64,
    }


def make_manifest(root: str) -> CorpusManifest:
    rows = [
        shard_row("train", "books", 0, 10),
        shard_row("train", "web", 0, 20),
        shard_row("train", "web", 1, 30),
        shard_row("validation", "web", 0, 5),
    ]
    entry = TokenizerEntry("tokenizer.json", 3, 5, "uint16", "e", "s", {"<|end|>": 3}, "fastokens")
    shards = pa.Table.from_pylist(rows, SHARDS)
    return CorpusManifest(root, "demo", {"seed": 1}, entry, "f" * 32, shards)


@pytest.mark.parametrize("name", ["", "/", "/manifest.json"])
def test_a_manifest_comes_back(tmp_path: Path, name: str) -> None:
    written = make_manifest(str(tmp_path))
    write_manifest(written)
    assert load_manifest(f"{tmp_path}{name}") == written


def test_sums_by_stratum_and_split(tmp_path: Path) -> None:
    corpus = make_manifest(str(tmp_path))
    assert corpus.totals["train"] == {
        "documents": 6,
        "docs": 9,
        "tokens": 60,
        "text_bytes": 240,
        "bytes": 120,
        "shards": 3,
    }
    assert [(row["split"], row["stratum"], row["tokens"]) for row in corpus.strata] == [
        ("train", "books", 10),
        ("train", "web", 50),
        ("validation", "web", 5),
    ]
    assert corpus.select("train", "web")["shard"].to_pylist() == [0, 1]
    assert corpus.select("train").num_rows == 3


def test_no_path_of_this_machine_is_inside(tmp_path: Path) -> None:
    write_manifest(make_manifest(str(tmp_path)))
    for path in tmp_path.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 1, "name": 2}'])
def test_a_damaged_manifest_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StorageError, match=r"manifest\.json is not a manifest"):
        load_manifest(str(tmp_path))


def test_a_missing_manifest_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="tilth pack"):
        load_manifest(str(tmp_path))


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"version": 99}))
    with pytest.raises(StorageError, match="version 99"):
        load_manifest(str(tmp_path))


def changed(path: str, value: Any) -> dict[str, Any]:
    tokenizer = copy.deepcopy(TOKENIZER)
    *parents, last = path.split(".")
    node = tokenizer
    for parent in parents:
        node = node[parent]
    node[last] = value
    return tokenizer


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.vocab", {"a": 1, "b": 0, "ab": 2}),
        ("model.merges", []),
        ("model.byte_fallback", True),
        ("normalizer", {"type": "NFC"}),
        ("pre_tokenizer", None),
        ("added_tokens", TOKENIZER["added_tokens"][:1]),
    ],
)
def test_encoding_hash_sees_what_changes_ordinary_ids(path: str, value: Any) -> None:
    assert manifest.encoding_hash(changed(path, value)) != manifest.encoding_hash(TOKENIZER)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("added_tokens", TOKENIZER["added_tokens"][1:]),
        ("post_processor", {"type": "TemplateProcessing"}),
        ("model.merges", ["a b"]),
        ("model.vocab", {"a": 0, "b": 1, "ab": 2, "<|end|>": 3}),
        ("model.ignore_merges", False),
    ],
)
def test_encoding_hash_ignores_control_tokens_and_spelling(path: str, value: Any) -> None:
    assert manifest.encoding_hash(changed(path, value)) == manifest.encoding_hash(TOKENIZER)


def test_specials_hash_sees_control_tokens() -> None:
    fewer = changed("added_tokens", TOKENIZER["added_tokens"][1:])
    assert manifest.specials_hash(fewer) != manifest.specials_hash(TOKENIZER)
    assert manifest.special_tokens(TOKENIZER) == {"<|end|>": 3}


def test_the_unknown_token_is_ordinary() -> None:
    tokenizer = changed("model.unk_token", "<|end|>")
    assert manifest.special_tokens(tokenizer) == {}
    unigram = changed("model", {"type": "Unigram", "unk_id": 0, "vocab": [["<|end|>", 0.0]]})
    assert manifest.special_tokens(unigram) == {}
