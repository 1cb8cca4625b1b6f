"""The YAML of docs/safety.md is taken as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from filters.rules import load_recipe
from filters.terms import make_list
from pipelines.config import CorpusConfig
from pipelines.license import policy
from pipelines.text_lists import parse_lists

ROOT = Path(__file__).parent.parent
PAGE, TERMS = ROOT / "docs" / "safety.md", ROOT / "examples" / "terms"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
SOURCES = {"sources": [{"name": "web", "format": "warc", "paths": "*.gz"}]}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split(":")[0])
def test_examples_are_valid(block: str, tmp_path: Path) -> None:
    if block.startswith("# rules.yaml"):
        path = tmp_path / "rules.yaml"
        path.write_text(block)
        assert load_recipe(str(path)).rules
    else:
        values = {"name": "corpus", "output": "out", **SOURCES, **yaml.safe_load(block)}
        policy(CorpusConfig.model_validate(values))


def test_there_are_examples() -> None:
    assert len(BLOCKS) == 8


def test_example_lists_of_terms_are_apart() -> None:
    lists = {path.stem: parse_lists([str(path)], str) for path in TERMS.glob("*.txt")}
    assert len(lists["british-en"]) == len(lists["american-en"])
    everything = [term for listed in lists.values() for term in listed]
    assert len(everything) == len(set(everything)) > 40
    for name, listed in lists.items():
        assert make_list(name, listed).column == f"{name}_terms"
