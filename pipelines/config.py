"""The corpus file: YAML into strict models, checked whole before any work.

A minimal file is a name, an output and one source (`{name, format, paths}`). An unknown key, a
wrong type or an impossible combination is a ConfigError that names the key, the value and the
nearest valid key. The resolved configuration is stored with every output.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, model_validator

from filters.ccnet import NO_BUCKET, PERPLEXITIES
from filters.lsh import optimal_bands
from filters.vectors import MAX_DIMENSIONS
from storage import objects
from storage.errors import ConfigError
from storage.settings import (
    ConfigPath,
    NameOrConfigPath,
    OptionalConfigPath,
    Settings,
    load_yaml,
    set_values,
    validated,
)

MIB = 1 << 20
GIB = 1 << 30

STRATUM_COLUMNS = ("source", "language")


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value):
        raise ValueError("use 1-64 letters, digits, '-' or '_' (it becomes a folder name)")
    return value


Name = Annotated[str, AfterValidator(_name)]


def _column_name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", value):
        raise ValueError("use 1-41 small letters, digits or '_' (it becomes a column name)")
    return value


TermListName = Annotated[str, AfterValidator(_column_name)]


def _output(value: str) -> str:
    try:
        objects.require_supported(value)
    except objects.StorageError as error:
        raise ValueError(str(error)) from error
    return value.rstrip("/")


def lists_of(values: Any, *keys: str) -> Any:
    """`values` with a list of one where a key holds a single string."""
    if not isinstance(values, dict):
        return values
    return values | {key: [values[key]] for key in keys if isinstance(values.get(key), str)}


class SourceConfig(Settings):
    """One source: where raw files are and how to read them."""

    name: Name
    format: str
    """warc, text, wikipedia, repository, jsonl, parquet, or `package.module:Source`."""
    paths: list[ConfigPath] = Field(min_length=1)
    """Files, folders or globs; relative ones start at the corpus file's folder."""
    recipe: list[NameOrConfigPath] = []
    """Quality recipes by name (gopher, c4, fineweb, ...) or path; none means no quality rules."""
    license: str = ""
    """SPDX id of documents that do not say their own."""
    languages: list[str] = []
    """Expected ones, as the language model names them: others are dropped. Empty keeps all."""
    options: dict[str, Any] = {}
    """Options of the format, checked by the format."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, values: Any) -> Any:
        return lists_of(values, "paths", "recipe", "languages")


class IngestConfig(Settings):
    part_bytes: int = Field(default=128 * MIB, ge=64 << 10)
    """A large file is read in parts of this size; a kill costs at most one part per worker."""
    unit_bytes: int = Field(default=128 * MIB, ge=1)
    """Small files are put together up to this size."""
    max_document_bytes: int = Field(default=100 * MIB, ge=1)
    """A larger document is a casualty (kind `too_large`)."""
    redact: bool = False
    """Mask personal data in texts and titles before they are stored. It cannot be undone."""


class LanguageConfig(Settings):
    model: OptionalConfigPath | None = None
    """Path of a fastText model; none is the shipped lid.176.ftz."""
    max_chars: int = Field(default=1000, ge=1)


class ClassifierConfig(Settings):
    """A quality classifier, whose score is the signal `<name>_score`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    model: ConfigPath
    """Path of a model of `tilth classifier train` (.npz) or of fastText (.bin, .ftz)."""
    label: str = "hq"
    """Label of a fastText model whose probability is the score."""


class AnnotateConfig(Settings):
    language: LanguageConfig = LanguageConfig()
    classifiers: list[ClassifierConfig] = []
    perplexity: dict[str, ConfigPath] = {}
    """Model of each language, as the language model names it, by path; `*` for all others."""
    pii: bool = False
    """Count personal data also where no rule or editor asks for it."""
    terms: dict[TermListName, ConfigPath] = {}
    """Lists of terms to count, by name: the column of `flagged` is `flagged_terms`."""

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = [classifier.name for classifier in self.classifiers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two classifiers are named {twice[0]!r}; names must differ")
        return self


class BucketsConfig(Settings):
    """Buckets of a signal, lowest values first; `pack.partition_by: [..., bucket]` uses them."""

    signal: str = "perplexity"
    names: list[Name] = ["head", "middle", "tail"]
    shares: list[Annotated[float, Field(gt=0, lt=1)]] = []
    """Of each language's documents that the rules keep, up to each bucket but the last."""
    bounds: dict[str, list[float]] | Literal["ccnet"] = {}
    """Upper bounds of each bucket but the last, by language; `*` for all others."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.shares) == bool(self.bounds):
            raise ValueError("buckets need either shares, as [0.3, 0.6], or bounds")
        if NO_BUCKET in self.names:
            raise ValueError(f"{NO_BUCKET!r} is the bucket of documents without a value")
        for limits in [self.shares] if self.shares else self.bounds_by_language.values():
            if len(limits) != len(self.names) - 1 or sorted(set(limits)) != list(limits):
                raise ValueError(
                    f"{list(limits)}: {len(self.names)} buckets need {len(self.names) - 1} "
                    "limits, ascending"
                )
        return self

    @property
    def bounds_by_language(self) -> dict[str, tuple[float, ...]]:
        if self.bounds == "ccnet":
            return PERPLEXITIES
        return {language: tuple(limits) for language, limits in self.bounds.items()}


class SelectConfig(Settings):
    languages: list[str] = []
    """Keep these languages only (lid.176 codes); empty keeps all."""
    min_language_score: float = Field(default=0.0, ge=0, le=1)
    buckets: BucketsConfig | None = None


class TakedownConfig(Settings):
    """Text files with one entry a line; they win over every other decision."""

    urls: list[ConfigPath] = []
    domains: list[ConfigPath] = []
    """Domains with all below them."""
    hashes: list[ConfigPath] = []
    """xxh3-128 of stored texts, as `tilth trace` shows them."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, values: Any) -> Any:
        return lists_of(values, "urls", "domains", "hashes")

    @property
    def is_set(self) -> bool:
        return bool(self.urls or self.domains or self.hashes)


class LicenseConfig(Settings):
    """Ids of SPDX, `*` for any run of characters, or families such as `share-alike`."""

    allow: list[str] = []
    """Empty allows all that is not denied."""
    deny: list[str] = []
    unknown: Literal["keep", "drop"] = "keep"
    """Documents without a licence that can be told."""
    reserved: Literal["keep", "drop"] = "keep"
    """Documents whose publisher reserved text and data mining."""

    @property
    def is_set(self) -> bool:
        return bool(self.allow or self.deny) or "drop" in (self.unknown, self.reserved)


class UrlsConfig(Settings):
    """Block lists, one entry a line; filters/url_lists.py says how they are compared."""

    categories: list[ConfigPath] = []
    """Folders as UT1 has them, with files `domains` and `urls`."""
    domains: list[ConfigPath] = []
    addresses: list[ConfigPath] = []
    words: list[ConfigPath] = []
    soft_words: list[ConfigPath] = []
    max_soft_words: int = Field(default=1, ge=0)
    """Different soft words that a URL may hold."""
    substrings: list[ConfigPath] = []

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, values: Any) -> Any:
        return lists_of(values, *URL_LISTS)

    @property
    def is_set(self) -> bool:
        return any(getattr(self, name) for name in URL_LISTS)


URL_LISTS = ("categories", "domains", "addresses", "words", "soft_words", "substrings")


class EvaluationConfig(Settings):
    """An evaluation set whose texts must not be trained on."""

    name: Name
    paths: list[ConfigPath] = Field(min_length=1)
    """JSON Lines, Parquet or Arrow files (as `datasets` saves them), folders or globs of them."""
    fields: list[str] = []
    """Columns or dotted paths whose text is looked for, each on its own; `a+b` puts two together.
    None takes every string."""
    ngram: int | None = Field(default=None, ge=1, le=100)
    """Words that must agree; none is `decontamination.ngram`."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, values: Any) -> Any:
        return lists_of(values, "paths", "fields")


class DecontaminationConfig(Settings):
    evaluations: list[EvaluationConfig] = []
    ngram: int = Field(default=13, ge=1, le=100)
    min_ngrams: int = Field(default=1, ge=1)
    """N-grams in common at and above which a document is dropped."""
    cut: list[str] = []
    """Sources of which the shared spans are cut, and no document is dropped: books, say."""

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = [evaluation.name for evaluation in self.evaluations]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two evaluations are named {twice[0]!r}; names must differ")
        return self


class RepeatsConfig(Settings):
    """Text that kept documents share, cut as edits; 0 switches a kind off."""

    lines: int = Field(default=0, ge=0)
    """Cut all but the first copy of a line that the corpus holds at least this often."""
    paragraphs: int = Field(default=0, ge=0)
    sentences: int = Field(default=0, ge=0)
    """The same for spans of three sentences."""
    boilerplate: int = Field(default=0, ge=0)
    """Cut every copy of a line that at least this many documents of one domain hold."""
    words: int = Field(default=0, ge=0)
    """Cut all but the first copy of any run of at least this many words."""
    min_words: int = Field(default=1, ge=1)
    """Lines, paragraphs and sentences with fewer words are left alone."""
    drop_share: float = Field(default=1.0, ge=0, le=1)
    """A document that would lose a larger share of its bytes is cut whole."""

    @model_validator(mode="after")
    def _repeats_are_at_least_two(self) -> Self:
        for kind in ("lines", "paragraphs", "sentences", "boilerplate"):
            if getattr(self, kind) == 1:
                raise ValueError(f"repeats.{kind} = 1 would cut all text; 2 is the least, 0 is off")
        if 0 < self.words < MIN_REPEATED_WORDS:
            raise ValueError(
                f"repeats.words = {self.words}: runs of fewer than {MIN_REPEATED_WORDS} words "
                "repeat by chance; 50 is usual, 0 is off"
            )
        return self


class SemanticConfig(Settings):
    """Documents that mean the same, by embeddings of a model or a function of one's own."""

    model: OptionalConfigPath = ""
    """Folder of a Hugging Face model with its tokenizer and safetensors; nothing is downloaded."""
    function: str = ""
    """`package.module:function`: RecordBatch with `text` -> floats [rows, dimensions]."""
    dimensions: int | None = Field(default=None, ge=1, le=MAX_DIMENSIONS)
    """Of the vectors of `function`; a model's folder tells its own."""
    max_tokens: int = Field(default=256, ge=8, le=8192)
    """Of a document, the first so many tokens are embedded (`model` only)."""
    threshold: float = Field(default=0.95, gt=0, le=1)
    """Cosine at and above which two documents are duplicates."""
    clusters: int = Field(default=0, ge=0)
    """Of k-means, within which documents are compared; `auto`, which is 0, follows their number."""

    @model_validator(mode="before")
    @classmethod
    def _auto_is_zero(cls, values: Any) -> Any:
        is_auto = isinstance(values, dict) and values.get("clusters") == AUTO
        return values | {"clusters": 0} if is_auto else values

    @model_validator(mode="after")
    def _one_embedding(self) -> Self:
        if bool(self.model) == bool(self.function):
            raise ValueError(
                f"model = {self.model!r} and function = {self.function!r}: give the folder of a "
                "model, or `package.module:function`, and not both"
            )
        if self.function and not re.fullmatch(r"[\w.]+:\w+", self.function):
            raise ValueError(f"function = {self.function!r}: expected package.module:function")
        if bool(self.function) != (self.dimensions is not None):
            raise ValueError(
                f"dimensions = {self.dimensions}: a function needs the length of its vectors, as "
                "in `dimensions: 384`; a model's folder tells it"
            )
        return self


MIN_REPEATED_WORDS = 8
AUTO, AUTO_PERMUTATIONS, MAX_PERMUTATIONS = "auto", 112, 4096


class DedupConfig(Settings):
    mode: Literal["rebuild", "append"] = "rebuild"
    """`append` leaves what an earlier run decided, and decides new documents against it."""
    scope: Literal["global", "source", "dump"] = "global"
    """Which documents may be duplicates of each other; validation competes in every scope."""
    url: Literal["", "newest", "best"] = ""
    """Of the pages of one URL keep the newest, or the best by `survivor`; "" keeps all."""
    exact: bool = True
    fuzzy: bool = True
    shingle: Literal["word", "char"] = "word"
    """Unit of shingles; of scripts without spaces each letter is a word."""
    ngram: int = Field(default=5, ge=1, le=64)
    """Words, or characters, per shingle."""
    bands: int = Field(default=14, ge=1, le=512)
    """`auto` for both `bands` and `rows` solves them from threshold and permutations."""
    rows: int = Field(default=8, ge=1, le=512)
    permutations: int | None = Field(default=None, ge=1, le=MAX_PERMUTATIONS)
    """Hash functions of a signature; bands x rows of them by default, 112 for `auto`."""
    false_positive_weight: float = Field(default=0.03, gt=0, lt=1)
    """For `auto`: a candidate in vain against a missed pair. Candidates are verified: it is low."""
    similarity: Literal["jaccard", "containment"] = "jaccard"
    """Share of common shingles in the union of both documents, or in the shorter of them."""
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Similarity at and above which two documents are near-duplicates."""
    survivor: Literal["longest", "shortest", "newest", "signal", "source_priority"] = "longest"
    survivor_signal: str = ""
    """With `survivor: signal`: the signal whose highest value survives."""
    max_removed_per_source: float = Field(default=1.0, ge=0, le=1)
    """Largest share of a source's documents that dedup may drop; above it the run stops."""
    seed: int = Field(default=1, ge=0)
    memory_bytes: int = Field(default=2 * GIB, ge=64 * MIB)
    """Bound of one sort, and of one shuffle; more data means more ranges and passes."""
    max_resolve_edges: int = Field(default=200_000_000, ge=0)
    """Accepted pairs up to which one process resolves them; more are resolved in rounds by all."""
    semantic: SemanticConfig | None = None
    """Off unless a model or a function is given."""
    repeats: RepeatsConfig = RepeatsConfig()

    @model_validator(mode="after")
    def _signal_has_a_name(self) -> Self:
        if (self.survivor == "signal") != bool(self.survivor_signal):
            raise ValueError(
                f"survivor = {self.survivor!r} with survivor_signal = {self.survivor_signal!r}: "
                "`survivor: signal` and `survivor_signal: NAME` go together"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _solve_bands(cls, values: Any) -> Any:
        """Numbers for `auto`; what is no number is left to the checks of the fields."""
        if not isinstance(values, dict) or AUTO not in (values.get("bands"), values.get("rows")):
            return values
        if values.get("bands", AUTO) != AUTO or values.get("rows", AUTO) != AUTO:
            raise ValueError("bands and rows are solved together: set both to auto, or neither")
        permutations = values.get("permutations") or AUTO_PERMUTATIONS
        threshold = values.get("threshold", cls.model_fields["threshold"].default)
        weight = cls.model_fields["false_positive_weight"].default
        weight = values.get("false_positive_weight", weight)
        given = (permutations, threshold, weight)
        if not all(isinstance(value, int | float) and value > 0 for value in given):
            return values | {"bands": 1, "rows": 1}
        if threshold >= 1 or weight >= 1 or permutations > MAX_PERMUTATIONS:
            raise ValueError(
                f"bands of {permutations} permutations for threshold {threshold} and "
                f"false_positive_weight {weight}: threshold and weight must be below 1, "
                f"permutations at most {MAX_PERMUTATIONS}"
            )
        bands, rows = optimal_bands(threshold, int(permutations), weight)
        return values | {"bands": bands, "rows": rows, "permutations": permutations}

    @model_validator(mode="after")
    def _enough_permutations(self) -> Self:
        needed = self.bands * self.rows
        if needed > MAX_PERMUTATIONS:
            raise ValueError(
                f"bands x rows = {self.bands} x {self.rows} = {needed} permutations; "
                f"at most {MAX_PERMUTATIONS}"
            )
        if self.permutations is not None and needed > self.permutations:
            raise ValueError(
                f"bands x rows = {self.bands} x {self.rows} = {needed} exceeds "
                f"permutations = {self.permutations}; raise permutations or lower bands"
            )
        return self

    @property
    def num_permutations(self) -> int:
        return self.permutations or self.bands * self.rows


class TokenizerConfig(Settings):
    path: OptionalConfigPath | None = None
    """A tokenizer.json; none trains a byte-level BPE on a sample of the kept documents."""
    vocab_size: int = Field(default=32_000, ge=257)
    sample_bytes: int = Field(default=200 * MIB, ge=1)
    min_frequency: int = Field(default=2, ge=1)


class PackConfig(Settings):
    partition_by: list[Literal["source", "language", "license", "bucket"]] = ["source"]
    """What has shards of its own; `license` is the family of the licence, as share-alike, `bucket`
    that of `select.buckets`."""
    shard_bytes: int = Field(default=128 * MIB, ge=64 << 10)
    block_bytes: int = Field(default=MIB, ge=4 << 10)
    validation_fraction: float = Field(default=0.01, ge=0, lt=1)
    """Share of documents, by content hash, held out for validation."""


class ReportConfig(Settings):
    samples: int = Field(default=20, ge=0, le=1000)
    """Kept, and dropped, documents shown."""


class RunnerConfig(Settings):
    """Where stages run. In no hash: it cannot change the output."""

    name: str = "FnApiRunner"
    workers: int = Field(default=0, ge=0)
    """Local worker processes; 0 is one per core."""
    options: list[str] = []
    """Beam flags, as after `--` on the command line."""


class CorpusConfig(Settings):
    name: Name
    output: Annotated[ConfigPath, AfterValidator(_output)]
    sources: list[SourceConfig] = Field(min_length=1)
    sample: float = Field(default=1.0, gt=0, le=1)
    """Share of records read, by a hash of their address: a rehearsal of the whole run."""
    ingest: IngestConfig = IngestConfig()
    annotate: AnnotateConfig = AnnotateConfig()
    takedown: TakedownConfig = TakedownConfig()
    license: LicenseConfig = LicenseConfig()
    urls: UrlsConfig = UrlsConfig()
    select: SelectConfig = SelectConfig()
    decontamination: DecontaminationConfig = DecontaminationConfig()
    dedup: DedupConfig = DedupConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    pack: PackConfig = PackConfig()
    report: ReportConfig = ReportConfig()
    runner: RunnerConfig = RunnerConfig()

    @model_validator(mode="after")
    def _unique_sources(self) -> Self:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are named {twice[0]!r}; source names must differ")
        unknown = [name for name in self.decontamination.cut if name not in names]
        if unknown:
            raise ValueError(
                f"decontamination.cut names {unknown[0]!r}, which is no source; "
                f"there are {', '.join(names)}"
            )
        if "bucket" in self.pack.partition_by and self.select.buckets is None:
            raise ValueError("pack.partition_by names bucket: say which, in select.buckets")
        return self

    def source(self, name: str) -> SourceConfig:
        return next(source for source in self.sources if source.name == name)

    def path(self, *parts: str) -> str:
        """A path below the output."""
        return objects.join(self.output, *parts)


def load_config(
    path: str,
    overrides: list[str] | None = None,
    *,
    sample: float | None = None,
    beam_options: list[str] | None = None,
) -> CorpusConfig:
    """Reads a corpus file, applies `key=value` overrides and checks the whole.

    `sample` rehearses on a share of the records, in an output of its own (`<output>-sample`).
    `beam_options` are added to `runner.options`.

    Relative paths of sources, output and models are taken from the folder of the file, so that a
    recipe can be moved with its data. Raises ConfigError.
    """
    values = load_yaml(path)
    set_values(values, overrides or [])
    if sample is not None:
        values |= {
            "sample": sample,
            "output": f"{str(values.get('output', '')).rstrip('/')}-sample",
        }
    for option in beam_options or []:
        if not option.startswith("--"):
            raise ConfigError(f"{option!r} is no flag; after the corpus file come Beam flags only")
    config = validated(CorpusConfig, values, path)
    runner = config.runner
    options = [*runner.options, *(beam_options or [])]
    return config.model_copy(update={"runner": runner.model_copy(update={"options": options})})


def dump_config(config: CorpusConfig) -> str:
    """The resolved configuration as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=False)
