"""Rules over signals, and recipes: named lists of editors and rules, kept as YAML.

    rules:
      - {signal: num_words, min: 50, max: 100000, reason: word_count}
      - {signal: language, in: [en, de], reason: language}
      - {signal: mean_word_chars, max: 12, reason: long_words, languages: [de], sources: [web]}
      - {signal: quality_score, top: 0.1, reason: low_quality}
      - {signal: num_chars, max: 5000, reason: large, where: {code_language: [JSON, YAML]}}

A document breaks a rule when its value is below `min`, above `max`, not a number, or not `in` the
list. `top` and `bottom` are shares of documents, which shares.py turns into `min` and `max`. A
document is dropped for the first rule that it breaks. A signal is a stored column or a ratio of
two: by name (gopher.py, fineweb.py), or as `flagged_terms / num_words`. No text is read: 20 rules
take about 0.1 us a document.

A recipe file has `include` (recipes by name or path, put first), `editors` and `rules`. An editor
is a name, or a name with settings: `pii: {mask: [email, phone]}`. So is an included recipe, whose
rules then apply to some languages only: `fineweb2-fra: {languages: [fr]}`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from filters import (
    c4,
    fineweb,
    gopher,
    paragraph_language,
    refinedweb,
    script,
    source_code,
    space_words,
)
from filters.bounds import mark_outside, mark_ratio_outside, mark_unlisted
from filters.groups import Editor, pii_editor
from filters.pii import PiiParams
from filters.ratios import Ratio

RATIOS = {
    ratio.name: ratio
    for ratio in (
        *gopher.RATIOS,
        *fineweb.RATIOS,
        *paragraph_language.RATIOS,
        *refinedweb.RATIOS,
        *space_words.RATIOS,
        *source_code.RATIOS,
        *script.RATIOS,
    )
}
_IN = AliasChoices("in", "in_")  # `in` is a keyword of Python
_FOLDER = Path(__file__).parent / "recipes"


def ratio_of(signal: str) -> Ratio | None:
    """The ratio of that name, or of two columns as in `flagged_terms / num_words`."""
    above, slash, below = signal.partition(" / ")
    return Ratio(signal, above, below) if slash else RATIOS.get(signal)


class RecipeError(ValueError):
    """A recipe or rule that cannot be used; the message says where and what instead."""


_Values = Annotated[
    tuple[tuple[str, tuple[str, ...]], ...],
    BeforeValidator(lambda entry: tuple(entry.items()) if isinstance(entry, dict) else entry),
    PlainSerializer(lambda pairs: {name: list(values) for name, values in pairs}),
]
"""Names of signals with lists of values; pairs, so that rules can be hashed."""


class Rule(BaseModel):
    """What a signal must be for a document to stay. Bounds are inclusive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    signal: str
    min: float | None = None
    max: float | None = None
    in_: tuple[str, ...] | None = Field(
        default=None, validation_alias=_IN, serialization_alias="in"
    )
    top: float | None = Field(default=None, gt=0, lt=1)
    """Share of documents that stays, those with the highest values."""
    bottom: float | None = Field(default=None, gt=0, lt=1)
    """The same with the lowest values."""
    per: tuple[Literal["source", "language"], ...] = ()
    """A share of each source or language, not of all of them together."""
    reason: str = Field(min_length=1)
    languages: tuple[str, ...] | None = None
    """Only documents in these languages; None is all."""
    sources: tuple[str, ...] | None = None
    """Only documents of these sources; None is all."""
    where: _Values | None = None
    """Only documents of which all these signals have one of their values."""
    unless: _Values | None = None
    """No documents of which one of these signals has one of its values."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        has_range = self.min is not None or self.max is not None
        kinds = (has_range, self.in_ is not None, self.top is not None, self.bottom is not None)
        if not any(kinds):
            raise ValueError("a rule needs min, max or in, or one of the shares top and bottom")
        if sum(kinds) > 1:
            raise ValueError("a rule has either a range, a list or one share")
        if self.per and self.share is None:
            raise ValueError("`per` goes with the shares top and bottom only")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: nothing would stay")
        return self

    @property
    def share(self) -> float | None:
        """Of documents that stay, when it is given as such."""
        return self.bottom if self.top is None else self.top

    @property
    def columns(self) -> tuple[str, ...]:
        """The stored columns it reads."""
        ratio = ratio_of(self.signal)
        scope = ("language",) if self.languages or "language" in self.per else ()
        scope += tuple(name for name, _ in (*(self.where or ()), *(self.unless or ())))
        return (*(ratio.columns if ratio else (self.signal,)), *scope)


class Recipe(NamedTuple):
    """Editors in the order they are applied, and rules in the order they are tried."""

    name: str
    editors: tuple[Editor, ...]
    rules: tuple[Rule, ...]


class Decisions(NamedTuple):
    """One row per document, and how many documents each rule drops, by reason."""

    drop: pa.BooleanArray
    reason: pa.DictionaryArray
    """Distinct strings; that of documents that stay is ""."""
    first: dict[str, int]
    """Those for which it is the first broken rule: together the dropped documents."""
    marginal: dict[str, int]
    """Those that it alone would drop."""


class _Scope(BaseModel):
    """Where the rules of an included recipe apply."""

    model_config = ConfigDict(extra="forbid")

    languages: list[str] = Field(min_length=1)


_Included = Annotated[
    dict[str, _Scope | None],
    BeforeValidator(lambda entry: {entry: None} if isinstance(entry, str) else entry),
]


class _RecipeFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include: list[_Included] = []
    editors: list[str | dict[str, dict[str, Any]]] = []
    rules: list[Rule] = []


def recipe_names() -> list[str]:
    """The recipes that ship with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_recipe(name: str) -> Recipe:
    """The recipe of that name, or of the file when it ends in .yaml. Raises RecipeError."""
    return _load(name, ())


def combine_recipes(recipes: Iterable[Recipe]) -> Recipe:
    """One recipe after the other; what they share counts once.

    Raises RecipeError when two different rules give the same reason, or an editor has two settings.
    """
    recipes = list(recipes)
    editors: dict[str, Editor] = {}
    rules: dict[str, Rule] = {}
    for recipe in recipes:
        for editor in recipe.editors:
            if editors.setdefault(editor.name, editor).settings != editor.settings:
                raise RecipeError(
                    f"recipe {recipe.name!r} has the editor {editor.name!r} with other settings "
                    "than a recipe before it; name it in one of them only"
                )
        for rule in recipe.rules:
            if rules.setdefault(rule.reason, rule) != rule:
                raise RecipeError(
                    f"recipe {recipe.name!r} has a second, different rule for the reason "
                    f"{rule.reason!r}; reasons are unique, so name one of them differently"
                )
    name = "+".join(recipe.name for recipe in recipes)
    return Recipe(name, tuple(editors.values()), tuple(rules.values()))


def rules_of_source(rules: Iterable[Rule], source: str) -> list[Rule]:
    """The rules that apply to documents of a source."""
    return [rule for rule in rules if rule.sources is None or source in rule.sources]


def check_signals(rules: Iterable[Rule], columns: Iterable[str]) -> None:
    """Raises RecipeError, naming the nearest signal, for a rule that the columns cannot decide."""
    known = set(columns)
    ratios = {name for name, ratio in RATIOS.items() if known.issuperset(ratio.columns)}
    for rule in rules:
        missing = [column for column in rule.columns if column not in known]
        if missing and rule.signal in RATIOS:
            raise RecipeError(
                f"rule {rule.reason!r}: {rule.signal} needs the signal {missing[0]!r}"
            )
        if missing:
            hint = _nearest(missing[0], known | ratios)
            if missing[0].endswith("_score"):
                name = missing[0].removesuffix("_score")
                hint += f"; a classifier named {name!r} in annotate.classifiers gives it"
            raise RecipeError(f"rule {rule.reason!r}: unknown signal {missing[0]!r}{hint}")


def evaluate(rules: Sequence[Rule], signals: pa.Table | pa.RecordBatch) -> Decisions:
    """Which documents to drop, and why, from their signals; rows stay aligned.

    The scope of sources is the caller's (`rules_of_source`). Raises RecipeError for an unknown
    signal.
    """
    check_signals(rules, signals.schema.names)
    codes = np.zeros(signals.num_rows, np.uint16)
    columns = _Columns(signals)
    broken = [
        _mark_broken(rule, columns, codes, code)
        for code, rule in reversed(list(enumerate(rules, 1)))  # so that the first is what stays
    ]
    reasons = [rule.reason for rule in rules]
    first = np.bincount(codes, minlength=len(rules) + 1)[1:]
    return Decisions(
        pa.array(codes != 0),
        _decoded(codes, ["", *reasons]),
        _by_reason(reasons, first.tolist()),
        _by_reason(reasons, broken[::-1]),
    )


def breaks(rule: Rule, signals: pa.Table | pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Which rows break one rule."""
    check_signals([rule], signals.schema.names)
    codes = np.zeros(signals.num_rows, np.uint16)
    _mark_broken(rule, _Columns(signals), codes, 1)
    return codes != 0


def in_scope(rule: Rule, signals: pa.Table | pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """The rows that the rule looks at, by their language and by its `where` and `unless`."""
    return _scope(rule, _Columns(signals))


def numbers(name: str, signals: pa.Table | pa.RecordBatch) -> npt.NDArray:
    """The values of a stored signal or a ratio."""
    return _Columns(signals).numbers(name)


class _Columns:
    """The columns as numpy arrays, each converted once."""

    def __init__(self, signals: pa.Table | pa.RecordBatch) -> None:
        self._signals = signals
        self._numbers: dict[str, npt.NDArray] = {}
        self._values: dict[str, tuple[pa.Array, npt.NDArray[np.int32]]] = {}
        self.all_rows = np.ones(signals.num_rows, np.bool_)

    def numbers(self, name: str) -> npt.NDArray:
        """A stored column or a ratio."""
        if name not in self._numbers:
            ratio = ratio_of(name)
            self._numbers[name] = ratio.value(self.numbers) if ratio else self._stored(name)
        return self._numbers[name]

    def isin(self, name: str, values: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        """The rows with one of the values."""
        places, listed = self.listed(name, values)
        return listed.take(places)

    def listed(
        self, name: str, values: tuple[str, ...]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """The place of each row's value among those that occur, and which of these are listed."""
        if name not in self._values:
            self._values[name] = _distinct(self._signals.column(name))
        distinct, places = self._values[name]
        options = pc.SetLookupOptions(pa.array(values, distinct.type))
        found = pc.call_function("is_in", [distinct], options).to_numpy(zero_copy_only=False)
        return places, np.append(found, False)

    def _stored(self, name: str) -> npt.NDArray:
        column = self._signals.column(name)
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            raise RecipeError(f"signal {name!r} is {column.type}: use `in`, not min or max")
        return np.asarray(column)


def _distinct(
    column: pa.Array | pa.ChunkedArray,
) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """The values that occur, and the place of each row's among them; null is behind the last."""
    encoded = column.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    places = encoded.indices.fill_null(len(encoded.dictionary))
    return encoded.dictionary, places.to_numpy()


def _mark_broken(rule: Rule, columns: _Columns, codes: npt.NDArray[np.uint16], code: int) -> int:
    """Writes `code` where the rule is broken; returns how many rows that are."""
    has_bound = (rule.in_, rule.min, rule.max) != (None, None, None)
    assert has_bound, f"{rule.reason}: shares are turned into bounds first"
    rows = _scope(rule, columns)
    if rule.in_ is not None:
        places, listed = columns.listed(rule.signal, rule.in_)
        return mark_unlisted(places, listed, rows, codes, code)
    lowest, highest = -inf if rule.min is None else rule.min, inf if rule.max is None else rule.max
    ratio = ratio_of(rule.signal)
    if ratio is not None:
        above, below = ratio.above(columns.numbers), ratio.below(columns.numbers)
        if above.dtype == below.dtype == np.int64:
            return mark_ratio_outside(above, below, lowest, highest, rows, codes, code)
    return mark_outside(columns.numbers(rule.signal), lowest, highest, rows, codes, code)


def _scope(rule: Rule, columns: _Columns) -> npt.NDArray[np.bool_]:
    """The rows that the rule looks at."""
    rows = columns.all_rows
    if rule.languages is not None:
        rows = rows & columns.isin("language", rule.languages)
    for signal, values in rule.where or ():
        rows = rows & columns.isin(signal, values)
    for signal, values in rule.unless or ():
        rows = rows & ~columns.isin(signal, values)
    return rows


def _decoded(codes: npt.NDArray[np.uint16], reasons: list[str]) -> pa.DictionaryArray:
    """The reason of each code; rules that differ by language may share one."""
    distinct = {reason: place for place, reason in enumerate(dict.fromkeys(reasons))}
    places = np.array([distinct[reason] for reason in reasons], np.int32)
    return pa.DictionaryArray.from_arrays(places.take(codes), pa.array(distinct, pa.string()))


def _by_reason(reasons: list[str], counts: list[int]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for reason, count in zip(reasons, counts, strict=True):
        totals[reason] = totals.get(reason, 0) + count
    return totals


def _load(name: str, including: tuple[str, ...]) -> Recipe:
    path = _path(name)
    if name in including:
        raise RecipeError(f"recipe {name!r} includes itself: {' > '.join((*including, name))}")
    content = _parse(name, path)
    included = [
        _in_scope(name, _load(_beside(path, other), (*including, name)), scope)
        for entry in content.include
        for other, scope in entry.items()
    ]
    editors = tuple(editor for entry in content.editors for editor in _editors(name, entry))
    combined = combine_recipes([*included, Recipe(name, editors, tuple(content.rules))])
    return combined._replace(name=path.stem)


def _beside(path: Path, other: str) -> str:
    """The name or path of a recipe that the file at `path` includes."""
    return str(path.parent / other) if other.endswith(".yaml") else other


def _in_scope(including: str, recipe: Recipe, scope: _Scope | None) -> Recipe:
    """The recipe with rules for the languages of `scope` only; what it says itself is narrowed."""
    if scope is None:
        return recipe
    if recipe.editors:
        raise RecipeError(
            f"recipe {including!r}: {recipe.name!r} edits texts, which is done in all languages; "
            "include it without languages"
        )
    rules = []
    for rule in recipe.rules:
        languages = [one for one in scope.languages if one in (rule.languages or (one,))]
        if languages:
            rules.append(rule.model_copy(update={"languages": tuple(languages)}))
    return recipe._replace(rules=tuple(rules))


def _path(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise RecipeError(f"recipe file {name!r} does not exist")
        return path
    if name not in recipe_names():
        raise RecipeError(f"unknown recipe {name!r}{_nearest(name, recipe_names())}")
    return _FOLDER / f"{name}.yaml"


def _parse(name: str, path: Path) -> _RecipeFile:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise RecipeError(f"recipe {name!r} has no keys; it needs include, editors or rules")
        return _RecipeFile.model_validate(content)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {name!r} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {name!r} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RecipeError(f"recipe {name!r}: {where}: {first['msg']}") from error


def _editors(recipe: str, entry: str | dict[str, dict[str, Any]]) -> list[Editor]:
    named = {entry: {}} if isinstance(entry, str) else entry
    return [_editor(recipe, name, settings) for name, settings in named.items()]


def _editor(recipe: str, name: str, settings: dict[str, Any]) -> Editor:
    known = [*c4.VARIANTS, "pii", refinedweb.NAME]
    if name not in known:
        raise RecipeError(f"recipe {recipe!r}: unknown editor {name!r}{_nearest(name, known)}")
    if name == "pii":
        return pii_editor(_pii_params(recipe, settings))
    if settings:
        raise RecipeError(f"recipe {recipe!r}: the editor {name!r} has no settings")
    if name == refinedweb.NAME:
        compute = refinedweb.compute_with_edits
        return Editor(name, refinedweb.VERSION, {}, refinedweb.SCHEMA, compute)
    params = c4.VARIANTS[name]
    compute = partial(c4.compute_with_edits, params=params)
    return Editor(name, c4.VERSION, params._asdict(), c4.schema(params), compute)


def _pii_params(recipe: str, settings: dict[str, Any]) -> PiiParams:
    try:
        return TypeAdapter(PiiParams).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("pii", *first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"recipe {recipe!r}: {where}: {message}") from error


def _nearest(name: str, known: Iterable[str]) -> str:
    """A hint for the end of a message."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(known))}"
