"""Recipes with signals or editors of their own, from raw files to decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import tables
from tests.command_line import CommandLine, write_corpus, write_documents

PART = "one/0000000-0000.parquet"
PROSE = (
    "The old mill stood by the river, and the people of that town have walked to it with bread "
    "since anyone could remember. In spring they painted its doors; in autumn they swept leaves "
    "from a yard where hens had scratched all year. Nobody asked who owned the wheel or why it "
    "turned so slowly after rain, for there was always something else to be done before dark."
)


@pytest.fixture
def tilth(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def reasons(folder: Path) -> list[str]:
    path = folder / "out" / "decisions" / "select" / PART
    return tables.read_table(str(path))["reason"].to_pylist()


def groups(folder: Path) -> set[str]:
    return {path.name for path in (folder / "out" / "signals").iterdir()}


def test_refinedweb_cuts_lines_and_drops_pages_that_lose_many(
    tilth: CommandLine, tmp_path: Path
) -> None:
    texts = [f"{PROSE}\n12 likes\nMENU", f"{PROSE}\n" + "Menu\n" * 20 + "end of it", PROSE]
    write_documents(tmp_path / "raw" / "a.jsonl", texts)
    corpus = write_corpus(tmp_path, {"recipe": "refinedweb"})
    for stage in ("ingest", "annotate", "select"):
        tilth.succeeds(stage, corpus)
    assert reasons(tmp_path)[0] == ""
    assert reasons(tmp_path)[2] == ""
    assert groups(tmp_path) >= {"refinedweb", "space_words"}
    assert "code" not in groups(tmp_path)
    edits = tables.read_table(str(tmp_path / "out" / "edits" / "refinedweb" / PART))
    cut = [(edit["row"], edit["reason"]) for edit in edits.to_pylist()]
    assert cut[:3] == [(0, "whitespace"), (0, "counter"), (0, "uppercase")]
    hashes = tables.read_table(str(tmp_path / "out" / "signals" / "hash" / PART))
    digests = hashes["content_hash"].to_pylist()
    assert digests[0] == digests[2] != digests[1]  # of the text with the lines cut


def test_rules_for_code_go_by_the_language_of_a_file(tilth: CommandLine, tmp_path: Path) -> None:
    line = "some_words = 1 # " + "and a remark on them " * 50
    for name in ("a.py", "b.md"):
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / name).write_text(f"{line}\n" * 3)
    source = {"format": "repository", "recipe": "code-stack"}
    corpus = write_corpus(tmp_path, source)
    for stage in ("ingest", "annotate", "select"):
        tilth.succeeds(stage, corpus)
    found = {
        reason
        for path in (tmp_path / "out" / "decisions" / "select").rglob("*.parquet")
        for reason in tables.read_table(str(path))["reason"].to_pylist()
    }
    assert found == {"code_long_line", ""}


def test_a_recipe_with_a_classifier_says_that_it_needs_one(
    tilth: CommandLine, tmp_path: Path
) -> None:
    write_documents(tmp_path / "raw" / "a.jsonl", [PROSE])
    corpus = write_corpus(tmp_path, {"recipe": "dclm"})
    message = tilth.fails(2, "ingest", corpus)
    assert "rule 'dclm_low_score': unknown signal 'dclm_score'" in message
    assert message.endswith("a classifier named 'dclm' in annotate.classifiers gives it")
