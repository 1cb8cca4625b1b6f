"""The manifest of a packed corpus: what training needs to know, and nothing about where it ran.

    <output>/manifest.json     name, version, config, tokenizer, totals, strata, fingerprint
    <output>/shards.parquet    SHARDS, one row per shard, sorted by (split, stratum, shard)

Paths are relative to the folder of the manifest; there are no times, hosts or absolute paths, so a
corpus can be moved, and equal input gives equal bytes.

Two hashes describe a tokenizer. `encoding_hash` (vocabulary, merges, normaliser, pre-tokenizer and
the added tokens that ordinary text may hold) must match at training; `specials_hash` (control
tokens) may differ, because shards hold ordinary text ids only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from storage import objects, tables
from storage.objects import ObjectNotFound, StorageError

VERSION = 1
MANIFEST = "manifest.json"
SHARDS_TABLE = "shards.parquet"
EXCLUSIONS_TABLE = "exclusions.parquet"
"""Documents in shards that training must not see: `doc_id` uint64."""

SHARDS = pa.schema(
    [
        ("path", pa.string()),  # of the tar, relative to the manifest
        ("split", pa.string()),
        ("stratum", pa.string()),
        ("shard", pa.uint32()),
        ("bytes", pa.uint64()),  # of the tar
        ("docs", pa.uint64()),  # entries of `lengths`: pieces of documents
        ("documents", pa.uint64()),  # whole documents
        ("tokens", pa.uint64()),
        ("text_bytes", pa.uint64()),  # UTF-8 bytes of the documents' texts
        ("sha256", pa.string()),  # of the tar
    ]
)
SUMMED = ("documents", "docs", "tokens", "text_bytes", "bytes")


@dataclass(frozen=True, slots=True)
class TokenizerEntry:
    """How the tokens of the shards were made."""

    path: str
    """tokenizer.json, relative to the manifest."""
    vocab_size: int
    """Ids in shards are below this; control tokens of training lie at or above it."""
    num_ids: int
    """One more than the largest id that tokenizer.json uses, its control tokens included."""
    dtype: str
    """uint16 or uint32."""
    encoding_hash: str
    specials_hash: str
    special_tokens: dict[str, int]
    """Control tokens of tokenizer.json; their ids never occur in shards."""
    encoder: str
    """Library that encoded, with the reason when it is not the fast one."""


@dataclass(frozen=True)
class CorpusManifest:
    """A packed corpus. `shards` has the columns of SHARDS."""

    root: str
    """Folder of the manifest."""
    name: str
    config: dict[str, Any]
    tokenizer: TokenizerEntry
    fingerprint: str
    shards: pa.Table

    @property
    def strata(self) -> list[dict[str, Any]]:
        """Sums per (split, stratum), sorted: documents, docs, tokens, text_bytes, bytes, shards."""
        return summarise(self.shards, ["split", "stratum"])

    @property
    def totals(self) -> dict[str, dict[str, int]]:
        """Sums per split."""
        rows = summarise(self.shards, ["split"])
        return {row.pop("split"): row for row in rows}

    def select(self, split: str, stratum: str | None = None) -> pa.Table:
        """Shards of a split, of one stratum or of all, in manifest order."""
        wanted = pc.field("split") == split
        if stratum is not None:
            wanted = wanted & (pc.field("stratum") == stratum)
        return self.shards.filter(wanted)

    def location(self, relative_path: str) -> str:
        """Where an object that the manifest names can be opened."""
        return objects.join(self.root, relative_path)


def summarise(shards: pa.Table, by: list[str]) -> list[dict[str, Any]]:
    """Sums of SUMMED and the number of shards per group, sorted by group."""
    sums = [(column, "sum") for column in SUMMED]
    grouped = shards.group_by(by).aggregate([*sums, ("path", "count")])
    renamed = grouped.rename_columns([*by, *SUMMED, "shards"])
    return renamed.sort_by([(column, "ascending") for column in by]).to_pylist()


def write_manifest(manifest: CorpusManifest) -> None:
    """Writes shards.parquet, then manifest.json: a reader that finds the second has both."""
    tables.write_table(manifest.location(SHARDS_TABLE), manifest.shards, SHARDS)
    fields = {
        "version": VERSION,
        "name": manifest.name,
        "config": manifest.config,
        "tokenizer": asdict(manifest.tokenizer),
        "shards": SHARDS_TABLE,
        "strata": manifest.strata,
        "totals": manifest.totals,
        "fingerprint": manifest.fingerprint,
    }
    data = json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=True) + "\n"
    objects.write(manifest.location(MANIFEST), data.encode())


def load_manifest(path: str) -> CorpusManifest:
    """The packed corpus at `path`: an output folder or its manifest.json, local or s3://.

    Raises StorageError when there is none, or when it is not one this version can read.
    """
    root = path.removesuffix(MANIFEST).rstrip("/") or "."
    location = objects.join(root, MANIFEST)
    try:
        fields = json.loads(objects.read(location))
        version = fields["version"]
        if version != VERSION:
            raise StorageError(f"{location} has version {version}, this program reads {VERSION}")
        return CorpusManifest(
            root=root,
            name=fields["name"],
            config=fields["config"],
            tokenizer=TokenizerEntry(**fields["tokenizer"]),
            fingerprint=fields["fingerprint"],
            shards=tables.read_table(objects.join(root, fields["shards"]), SHARDS.names),
        )
    except ObjectNotFound as error:
        raise StorageError(
            f"no packed corpus at {path} ({error}); `tilth pack` writes manifest.json"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{location} is not a manifest of a corpus: {error!r}") from error


def encoding_hash(tokenizer: dict[str, Any]) -> str:
    """Hash of all in a parsed tokenizer.json that decides the ids of ordinary text."""
    specials = set(special_tokens(tokenizer))
    ordinary = [token for token in _added(tokenizer) if token["content"] not in specials]
    model = _significant(tokenizer["model"])
    model["vocab"] = sorted(_vocab_items(tokenizer, specials))
    model["merges"] = [
        merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", [])
    ]
    return _hash([model, tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer"), ordinary])


def specials_hash(tokenizer: dict[str, Any]) -> str:
    """Hash of the control tokens and of the template that would insert them."""
    return _hash([sorted(special_tokens(tokenizer).items()), tokenizer.get("post_processor")])


def special_tokens(tokenizer: dict[str, Any]) -> dict[str, int]:
    """Control tokens by content. The unknown token is none: ordinary text encodes to it."""
    unknown = unknown_token(tokenizer)
    added = sorted(_added(tokenizer), key=lambda token: token["id"])
    return {
        token["content"]: token["id"]
        for token in added
        if token.get("special") and token["content"] != unknown
    }


def unknown_token(tokenizer: dict[str, Any]) -> str | None:
    """What text outside the vocabulary encodes to, for models that have it."""
    model = tokenizer["model"]
    unk_id = model.get("unk_id")
    if model["type"] == "Unigram" and unk_id is not None:
        return model["vocab"][unk_id][0]
    return model.get("unk_token")


def vocabulary(tokenizer: dict[str, Any]) -> dict[str, int]:
    """The model's own tokens and ids; Unigram stores them as a list of (token, score)."""
    vocab = tokenizer["model"]["vocab"]
    if isinstance(vocab, list):
        return {token: number for number, (token, _) in enumerate(vocab)}
    return vocab


def _vocab_items(tokenizer: dict[str, Any], specials: set[str]) -> list[list[Any]]:
    vocab = tokenizer["model"]["vocab"]
    if isinstance(vocab, list):
        items = [[token, number, score] for number, (token, score) in enumerate(vocab)]
    else:
        items = [[token, number] for token, number in vocab.items()]
    return [item for item in items if item[0] not in specials]


def _added(tokenizer: dict[str, Any]) -> list[dict[str, Any]]:
    return tokenizer.get("added_tokens") or []


def _significant(fields: dict[str, Any]) -> dict[str, Any]:
    """Without absent and false flags, which versions of the format write or leave out."""
    return {key: value for key, value in fields.items() if value is not None and value is not False}


def _hash(value: Any) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(value, sort_keys=True).encode())
