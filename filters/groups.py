"""Signal groups: what one kernel pass computes, stored as one aligned table per documents part.

A group has a version (raised whenever a value it computes changes) and settings; both enter the
recipe id of its parts, so a changed kernel or setting recomputes that group only, and a new group
writes only itself. `view` says which text a group sees: the documents as they are stored, or with
the source's editors applied.

An editor is a group that also returns spans of the stored text to cut (EDITS rows, see edits.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import xxhash

from filters import (
    classifier,
    decontamination,
    hashing,
    kenlm_model,
    language,
    minhash,
    paragraph_language,
    perplexity,
    pii,
    public_suffix,
    script,
    source_code,
    space_words,
    terms,
    textstats,
    url_lists,
    urls,
)
from filters.classifier import ClassifierParams
from filters.decontamination import NgramIndex
from filters.language import LanguageParams
from filters.minhash import MinHashParams
from filters.perplexity import PerplexityParams
from filters.pii import PiiParams
from filters.terms import TermList
from filters.url_lists import UrlLists


@dataclass(frozen=True, slots=True)
class SignalGroup:
    """A kernel pass with its settings bound."""

    name: str
    version: int
    settings: dict[str, Any]
    """JSON-able; everything besides the version that can change a value."""
    schema: pa.Schema
    compute: Callable[[pa.RecordBatch], pa.RecordBatch]
    """Batch with `text` -> signals, row by row."""
    view: Literal["stored", "edited"] = "stored"
    columns: tuple[str, ...] = ("text",)
    """Of the documents, which `compute` reads."""
    reads: tuple[str, ...] = ()
    """Groups computed before it, whose signals are columns of its batch too."""


@dataclass(frozen=True, slots=True)
class Editor:
    """A signal group whose pass also finds spans to cut."""

    name: str
    version: int
    settings: dict[str, Any]
    schema: pa.Schema
    compute: Callable[[pa.RecordBatch], tuple[pa.RecordBatch, pa.Table]]
    """Batch with `text` -> (signals, EDITS rows with `row` counted within the batch)."""
    in_view: bool = True
    """Whether its spans are cut; otherwise they are stored, and only looked at."""


def text_group() -> SignalGroup:
    return SignalGroup("text", textstats.VERSION, {}, textstats.SCHEMA, textstats.compute)


def language_group(params: LanguageParams) -> SignalGroup:
    settings = {**asdict(params), "model_path": _file_digest(params.model_path)}
    compute = partial(language.compute, params=params)
    return SignalGroup("language", language.VERSION, settings, language.SCHEMA, compute)


def paragraph_language_group(params: LanguageParams) -> SignalGroup:
    settings = {**asdict(params), "model_path": _file_digest(params.model_path)}
    compute = partial(paragraph_language.compute, params=params)
    schema = paragraph_language.SCHEMA
    return SignalGroup("paragraph_language", paragraph_language.VERSION, settings, schema, compute)


def space_words_group() -> SignalGroup:
    return SignalGroup(
        space_words.NAME, space_words.VERSION, {}, space_words.SCHEMA, space_words.compute
    )


def code_group() -> SignalGroup:
    return SignalGroup(
        source_code.NAME,
        source_code.VERSION,
        {},
        source_code.SCHEMA,
        source_code.compute,
        columns=("text", "meta"),
    )


def classifier_group(params: ClassifierParams) -> SignalGroup:
    """Named after the classifier, so that one can be added without the others being written."""
    settings = {**asdict(params), "model_path": _file_digest(params.model_path)}
    compute = partial(classifier.compute, params=params)
    name = f"classifier_{params.name}"
    return SignalGroup(
        name, classifier.VERSION, settings, classifier.schema(params), compute, "edited"
    )


def perplexity_group(params: PerplexityParams, languages: SignalGroup) -> SignalGroup:
    """`languages` is the group that says which model a document gets.

    Raises ValueError when a package that a model needs is missing, OSError without the model.
    """
    digests: dict[str, list[str]] = {}
    for name, path in params.models:
        digests[name] = [_file_digest(path)]
        if not path.endswith(".npz"):
            kenlm_model.require(path)
            pieces = kenlm_model.piece_path(path)
            digests[name] += [_file_digest(str(pieces))] if pieces.exists() else []
    settings = {
        "models": digests,
        "language": {"version": languages.version, "settings": languages.settings},
    }
    compute = partial(perplexity.compute, params=params)
    return SignalGroup(
        "perplexity",
        perplexity.VERSION,
        settings,
        perplexity.SCHEMA,
        compute,
        "edited",
        reads=(languages.name,),
    )


def hash_group() -> SignalGroup:
    return SignalGroup("hash", hashing.VERSION, {}, hashing.SCHEMA, hashing.compute, "edited")


def minhash_group(params: MinHashParams) -> SignalGroup:
    compute = partial(minhash.compute, params=params)
    return SignalGroup(
        "minhash", minhash.VERSION, asdict(params), minhash.schema(params), compute, "edited"
    )


def decontamination_editor(
    settings: dict[str, Any], load_index: Callable[[], NgramIndex], in_view: bool
) -> Editor:
    """`settings` say what `load_index` returns; it is called by workers, when text comes."""

    def compute(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.Table]:
        return decontamination.compute_with_edits(batch, load_index())

    return Editor(
        "decontamination",
        decontamination.VERSION,
        settings,
        decontamination.SCHEMA,
        compute,
        in_view,
    )


def pii_group() -> SignalGroup:
    settings = {"public_suffixes": public_suffix.LIST_VERSION}
    return SignalGroup("pii", pii.VERSION, settings, pii.SCHEMA, pii.compute)


def pii_editor(params: PiiParams) -> Editor:
    """Masks personal data; its signals are those of `pii_group`."""
    settings = {**asdict(params), "public_suffixes": public_suffix.LIST_VERSION}
    compute = partial(pii.compute_with_edits, params=params)
    return Editor("pii", pii.VERSION, settings, pii.SCHEMA, compute)


def url_group(lists: UrlLists) -> SignalGroup:
    settings = {
        "lists": lists.digest(),
        "urls_version": urls.VERSION,
        "public_suffixes": public_suffix.LIST_VERSION,
    }
    compute = partial(url_lists.compute, lists=lists)
    return SignalGroup(
        "url", url_lists.VERSION, settings, url_lists.SCHEMA, compute, columns=("url",)
    )


def script_group() -> SignalGroup:
    return SignalGroup("script", script.VERSION, {}, script.SCHEMA, script.compute)


def terms_group(lists: Sequence[TermList]) -> SignalGroup:
    settings = {one.name: one.digest() for one in lists}
    compute = partial(terms.compute, lists=lists)
    return SignalGroup("terms", terms.VERSION, settings, terms.schema(lists), compute, "edited")


@cache
def _file_digest(path: str | None) -> str:
    """Models enter settings by content: a moved model is the same model."""
    model = Path(path) if path else language.DEFAULT_MODEL
    digest = xxhash.xxh3_128()
    with model.open("rb") as file:  # of KenLM there are models of several GB
        while piece := file.read(1 << 24):
            digest.update(piece)
    return digest.hexdigest()
