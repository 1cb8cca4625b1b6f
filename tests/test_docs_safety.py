"""The YAML of docs/safety.md is taken as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from filters.rules import load_recipe
from pipelines.config import CorpusConfig
from pipelines.license import policy

PAGE = Path(__file__).parent.parent / "docs" / "safety.md"
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
