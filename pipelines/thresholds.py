"""`tilth thresholds`: a corpus's rules with bounds for each language, from its own signals.

A bound that suits English keeps or drops everything in another language. FineWeb-2 (Penedo et al.,
arXiv:2506.20920) therefore derives bounds from a reference corpus of each language. The methods:

    quantile   the bound that drops the same share as the rule drops in the reference language
    mean_std   as many standard deviations from the mean as the rule's bound in that language
    tail       the bound that drops a given share (their 10Tail: one document in ten)

Rules on `language_score` are the exception: median less standard deviation, within [0.3, 0.9].
Whether a bound is good depends on the reference corpus: take pages that you trust, Wikipedia say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import yaml

from filters.rules import Rule, numbers
from pipelines import annotate, select
from pipelines.config import CorpusConfig
from pipelines.ingest import document_parts
from pipelines.recipes import source_rules
from pipelines.stages import require
from storage import objects
from storage.errors import ConfigError

Method = Literal["quantile", "mean_std", "tail"]
SCORE = "language_score"
SCORE_RANGE = (0.3, 0.9)

Samples = dict[str, npt.NDArray[np.float64]]
"""Values of a signal by language, ascending, without those that are no number."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """How bounds are derived."""

    method: Method = "quantile"
    reference: str = "en"
    """The language for which the rules' bounds are right."""
    tail: float = 0.1
    """Share that each bound drops, for `tail`."""
    min_documents: int = 1000
    """Languages with fewer get no bounds."""

    def check(self) -> None:
        """Raises ConfigError."""
        if self.method not in get_args(Method):
            known = ", ".join(get_args(Method))
            raise ConfigError(f"--method {self.method!r}: there are {known}")
        if not 0 < self.tail < 1:
            raise ConfigError(f"--tail {self.tail}: give a share between 0 and 1")


def run(config: CorpusConfig, path: str, derivation: Derivation) -> str:
    """Writes the recipe `path`; returns what was derived, for a user. Raises ConfigError."""
    derivation.check()
    if not path.endswith(".yaml"):
        raise ConfigError(f"--output {path!r} must end in .yaml, so that a corpus can name it")
    require(config, annotate.STAGE, "annotate")
    rules = _rules(config)
    if not rules:
        raise ConfigError(f"{config.name}: no source has a rule with min or max for all languages")
    derived = [one for rule in rules for one in derive(rule, _samples(config, rule), derivation)]
    if not derived:
        raise ConfigError(
            f"no language has {derivation.min_documents} documents; lower --min-documents"
        )
    objects.write(path, dump_recipe(derived).encode())
    counts = Counter(language for rule in derived for language in rule.languages or ())
    shown = ", ".join(f"{language} {number}" for language, number in sorted(counts.items()))
    return f"{len(derived)} rules from {len(rules)}, by language: {shown}\n{path}"


def derive(rule: Rule, samples: Samples, derivation: Derivation) -> list[Rule]:
    """The rule for each language with enough documents, by language.

    Raises ConfigError when the reference language is needed and has too few.
    """
    enough = {
        name: values
        for name, values in sorted(samples.items())
        if len(values) >= derivation.min_documents
    }
    by_reference = derivation.method != "tail" and rule.signal != SCORE
    if enough and by_reference and derivation.reference not in enough:
        raise ConfigError(
            f"rule {rule.reason!r}: only {len(samples.get(derivation.reference, ()))} documents "
            f"are in the reference language {derivation.reference!r}, "
            f"{derivation.min_documents} are needed; choose another with --reference"
        )
    derived = []
    for language, values in enough.items():
        reference = enough[derivation.reference] if by_reference else values
        bounds = {
            side: _rounded(_bound(rule, side, bound, values, reference, derivation))
            for side, bound in (("min", rule.min), ("max", rule.max))
            if bound is not None
        }
        if len(bounds) == 2:
            bounds["max"] = max(bounds.values())
        reason = f"{rule.reason}_{language}"
        derived.append(
            rule.model_copy(update={**bounds, "languages": (language,), "reason": reason})
        )
    return derived


def dump_recipe(rules: Sequence[Rule]) -> str:
    """The rules as a recipe file."""
    rows: list[dict[str, Any]] = [
        rule.model_dump(mode="json", by_alias=True, exclude_none=True) for rule in rules
    ]
    return yaml.safe_dump({"rules": rows}, sort_keys=False, allow_unicode=False)


def _bound(
    rule: Rule,
    side: str,
    bound: float,
    values: npt.NDArray[np.float64],
    reference: npt.NDArray[np.float64],
    derivation: Derivation,
) -> float:
    if rule.signal == SCORE:
        return float(np.clip(np.median(values) - values.std(), *SCORE_RANGE))
    if derivation.method == "tail":
        share = derivation.tail if side == "min" else 1 - derivation.tail
        return float(np.quantile(values, share, method="lower" if side == "min" else "higher"))
    if derivation.method == "mean_std":
        spread = reference.std()
        distance = (bound - reference.mean()) / spread if spread else 0.0
        return float(values.mean() + distance * values.std())
    if side == "min":
        share = np.searchsorted(reference, bound, "left") / len(reference)
        return float(np.quantile(values, share, method="lower"))
    share = np.searchsorted(reference, bound, "right") / len(reference)
    return float(np.quantile(values, share, method="higher"))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _rules(config: CorpusConfig) -> list[Rule]:
    """The rules of all sources with a range and no languages of their own, once each."""
    rules: dict[str, Rule] = {}
    for source in config.sources:
        for rule in source_rules(config, source.name):
            if rule.in_ is None and rule.share is None and rule.languages is None:
                rules.setdefault(rule.reason, rule)
    return list(rules.values())


def _samples(config: CorpusConfig, rule: Rule) -> Samples:
    """Values of the documents of all sources that have the rule."""
    having = {
        source.name
        for source in config.sources
        if rule.reason in {one.reason for one in source_rules(config, source.name)}
    }
    found: dict[str, list[npt.NDArray[np.float64]]] = {}
    for marker in document_parts(config):
        if marker.part.partition("/")[0] not in having:
            continue
        wanted = rule.model_copy(update={"languages": ("",)})  # to have the column `language`
        signals = select.read_signals(config, marker.part, [wanted])
        values = numbers(rule.signal, signals).astype(np.float64)
        languages = np.asarray(signals["language"].to_pylist(), object)
        for language in sorted(set(languages.tolist())):
            found.setdefault(language, []).append(values[languages == language])
    samples = {name: np.concatenate(pieces) for name, pieces in found.items()}
    return {name: np.sort(values[~np.isnan(values)]) for name, values in samples.items()}
