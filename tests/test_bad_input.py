"""A clumsy user: wrong settings, wrong files. One clear line, nothing lost, no traceback."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from storage import commit
from tests.command_line import (
    NUM_DOCUMENTS,
    CommandLine,
    casualties,
    documents,
    error_line,
    write_corpus,
    write_documents,
)
from tests.whole_line import ROOT, command, environment, tilth


@pytest.fixture
def line(capsys) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> str:
    """The corpus file of a finished run."""
    import tilth

    folder = tmp_path_factory.mktemp("finished")
    corpus = write_corpus(folder)
    assert tilth.main(["run", corpus]) == 0
    return corpus


USAGE = [
    (["run"], "CORPUS.yaml"),
    (["bogus"], "bogus"),
    (["run", "corpus.yaml", "--bogus"], "--bogus"),
    (["run", "missing.yaml"], "missing.yaml: no such file"),
    (["run", "CORPUS", "other.yaml"], "'other.yaml' is no flag"),
    (["run", "CORPUS", "--", "--bogus_flag=1"], "no flag --bogus_flag"),
    (["run", "CORPUS", "--", "--direct_num_workers=many"], "--direct_num_workers=many"),
    (["run", "CORPUS", "--", "--runner=DirectRunner"], "runner.name"),
    (["run", "CORPUS", "--set", "runner.name=DirectRunner"], "'DirectRunner'"),
    (["run", "CORPUS", "--set", "dedup.treshold=0.5"], "did you mean 'threshold'?"),
    (["run", "CORPUS", "--set", "dedupp.threshold=0.5"], "did you mean 'dedup'?"),
    (["run", "CORPUS", "--set", "dedup.threshold=high"], "dedup.threshold = 'high'"),
    (["run", "CORPUS", "--set", "dedup.threshold"], "expected key=value"),
    (["run", "CORPUS", "--set", "dedup=["], "is not valid YAML"),
    (["run", "CORPUS", "--set", "sources.3.name=x"], "'3' is no index"),
    (["run", "CORPUS", "--set", "sources.0.name=../up"], "sources.0.name = '../up'"),
    (["run", "CORPUS", "--sample", "2"], "sample = 2.0"),
    (["run", "CORPUS", "--sample", "some"], "--sample"),
    (["ingest", "CORPUS", "--slice", "2/2"], "--slice '2/2'"),
    (["ingest", "CORPUS", "--slice", "first"], "--slice 'first'"),
    (["trace", "CORPUS"], "exactly one of --url"),
    (["export-text", "CORPUS", "--format", "csv"], "csv"),
]


@pytest.mark.parametrize(("arguments", "named"), USAGE, ids=[" ".join(a) for a, _ in USAGE])
def test_wrong_usage_names_itself(line, finished, arguments, named):
    arguments = [finished if word == "CORPUS" else word for word in arguments]
    assert named in line.fails(2, *arguments)


SOURCES = [
    ({"paths": "nowhere/*.jsonl"}, "nowhere/*.jsonl"),
    ({"format": "jsnol"}, "did you mean 'jsonl'?"),
    ({"format": "no.such.module"}, "no.such.module"),
    ({"recipe": "gophr"}, "did you mean 'gopher'?"),
    ({"recipe": "missing.yaml"}, "missing.yaml' does not exist"),
    ({"options": {"text_fild": "x"}}, "did you mean 'text_field'?"),
]


@pytest.mark.parametrize(("source", "named"), SOURCES, ids=[str(s) for s, _ in SOURCES])
def test_a_wrong_source_stops_before_any_work(line, tmp_path, source, named):
    message = line.fails(2, "run", write_corpus(tmp_path, source))
    assert "source 'one'" in message
    assert named in message
    assert not (tmp_path / "out" / "_done").exists()


RECIPES = [
    (b"rules: [{signal: num_wrds, min: 3, reason: short}]", "did you mean 'num_words'?"),
    (b"rules: [{signal: num_words, mn: 3, reason: short}]", "rules.0.mn"),
    (b"rules: [{signal: num_words, min: 3}]", "rules.0.reason"),
    (b"editors: [c5]", "unknown editor 'c5'"),
    (b"include: [loop.yaml]", "loop.yaml"),
    (b"rules: [}", "is not YAML"),
    (b"\xff\xfe\x00", "cannot be read"),
    (b"", "has no keys"),
]


@pytest.mark.parametrize(("text", "named"), RECIPES, ids=[named for _, named in RECIPES])
def test_a_wrong_recipe_names_its_mistake(line, tmp_path, text, named):
    (tmp_path / "mine.yaml").write_bytes(text)
    message = line.fails(2, "run", write_corpus(tmp_path, {"recipe": "mine.yaml"}))
    assert "source 'one'" in message
    assert named in message


@pytest.mark.parametrize(
    "text",
    [None, b"", b"{}", b"[]", b"\xff\xfe", b'{"model": {"type": "BPE", "vocab": {"a": "b"}}}'],
    ids=["missing", "empty", "no model", "a list", "binary", "wrong vocabulary"],
)
def test_an_unreadable_tokenizer_stops_before_any_work(line, tmp_path, text):
    if text is not None:
        (tmp_path / "mine.json").write_bytes(text)
    corpus = write_corpus(tmp_path, tokenizer={"path": "mine.json"})
    message = line.fails(2, "run", corpus)
    assert message.startswith("tokenizer.path: ")
    assert "mine.json" in message
    assert not (tmp_path / "out" / "_done").exists()


@pytest.mark.parametrize("text", [None, b"no model of fastText"])
def test_an_unreadable_language_model_stops_before_any_work(line, tmp_path, text):
    if text is not None:
        (tmp_path / "mine.ftz").write_bytes(text)
    corpus = write_corpus(tmp_path, annotate={"language": {"model": "mine.ftz"}})
    message = line.fails(2, "run", corpus)
    assert message.startswith("annotate.language.model: ")
    assert "mine.ftz" in message
    assert not (tmp_path / "out" / "_done").exists()


def test_an_empty_source_is_no_corpus(line, tmp_path):
    corpus = write_corpus(tmp_path)
    (tmp_path / "raw" / "a.jsonl").write_bytes(b"")
    assert "source 'one'" in line.fails(2, "run", corpus)


@pytest.mark.parametrize("text", ["", "- a list", "name: [", "name: \x00"])
def test_a_file_that_is_no_corpus_file(line, tmp_path, text):
    path = tmp_path / "corpus.yaml"
    path.write_text(text)
    assert str(path) in line.fails(2, "run", str(path))


@pytest.mark.parametrize(
    ("stage", "needed"),
    [
        ("annotate", "tilth ingest"),
        ("select", "tilth annotate"),
        ("dedup", "tilth select"),
        ("pack", "tilth dedup"),
        ("report", "tilth dedup"),
        ("export-text", "tilth dedup"),
    ],
)
def test_a_stage_before_the_one_it_needs(line, tmp_path, stage, needed):
    assert needed in line.fails(1, stage, write_corpus(tmp_path))


def test_a_raw_file_that_changed_or_vanished(line, tmp_path):
    corpus = write_corpus(tmp_path)
    line.succeeds("ingest", corpus)
    raw = tmp_path / "raw" / "a.jsonl"
    raw.write_text(raw.read_text() + "{}\n")
    assert "a.jsonl" in line.fails(2, "ingest", corpus)
    raw.rename(tmp_path / "raw" / "b.jsonl")
    assert "'a.jsonl'" in line.fails(2, "ingest", corpus)


def test_an_empty_corpus_after_filtering_has_its_report(line, tmp_path):
    (tmp_path / "all.yaml").write_text(
        "rules: [{signal: num_words, min: 1000, reason: word_count}]"
    )
    corpus = write_corpus(tmp_path, {"recipe": "all.yaml"})
    outcome = line.call("run", corpus)
    assert outcome.code == 1
    assert "no document is kept" in outcome.err
    assert f"word_count {NUM_DOCUMENTS}" in outcome.out
    assert "word_count" in (tmp_path / "out" / "report.html").read_text()
    assert len(documents(tmp_path)) == NUM_DOCUMENTS
    line.succeeds("run", write_corpus(tmp_path))


def test_invalid_utf8_is_repaired_and_counted(line, tmp_path):
    corpus = write_corpus(tmp_path)
    good = b'{"text": "' + b"hens lay eggs all day long " * 4 + b'"}\n'
    bad = good.replace(b"eggs", b"\xff\xfe\x80")
    (tmp_path / "raw" / "a.jsonl").write_bytes(good + bad)
    line.succeeds("run", corpus)
    rows = documents(tmp_path)
    assert [dict(row["meta"]).get("utf8_repaired") for row in rows] == [None, "12"]
    assert "\ufffd\ufffd\ufffd" in rows[1]["text"]


def test_a_truncated_gzip_gives_what_is_before_the_damage(line, tmp_path):
    corpus = write_corpus(tmp_path)
    path = tmp_path / "raw" / "b.jsonl.gz"
    write_documents(tmp_path / "more.jsonl", [f"{n} hens, {n} eggs" for n in range(20_000)])
    path.write_bytes(gzip.compress((tmp_path / "more.jsonl").read_bytes())[:-5000])
    out = line.succeeds("run", corpus)
    lost = casualties(tmp_path)
    assert [row["kind"] for row in lost] == ["truncated"]
    assert lost[0]["record"].startswith("b.jsonl.gz#")
    assert NUM_DOCUMENTS < len(documents(tmp_path)) < 20_000
    assert f"could not be read: truncated 1; listed in {tmp_path}/out/casualties/one/" in out


def test_a_warc_record_with_a_wrong_length(line, tmp_path):
    def record(number: int, num_bytes: int | None = None) -> bytes:
        text = f"Page {number} about hens that lay {number} eggs.".encode()
        length = len(text) if num_bytes is None else num_bytes
        return (
            b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Type: text/plain\r\n"
            b"WARC-Target-URI: https://example.org/%d\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n"
            % (number, length, text)
        )

    corpus = write_corpus(tmp_path, {"format": "warc", "paths": "web/*"})
    (tmp_path / "web").mkdir()
    pieces = [record(0), record(1, 7), record(2), record(3, 90_000), record(4)]
    (tmp_path / "web" / "a.warc").write_bytes(b"".join(pieces))
    assert "could not be read: " in line.succeeds("run", corpus)
    assert [row["url"][-1] for row in documents(tmp_path)] == ["0", "2", "4"]
    assert {row["record"].partition("#")[0] for row in casualties(tmp_path)} == {"a.warc"}
    assert len(casualties(tmp_path)) == 2


@pytest.mark.slow
def test_a_document_of_200_mb_is_a_casualty_among_its_neighbours(line, finished, tmp_path):
    """It is above the default limit, and is passed over without being held in memory."""
    corpus = write_corpus(tmp_path)
    good = b'{"text": "' + b"hens lay eggs all day long " * 4 + b'"}\n'
    with (tmp_path / "raw" / "a.jsonl").open("wb") as file:
        file.write(good + b'{"text": "')
        for _ in range(200):
            file.write(b"a hen lays an egg. " * 52_632)
        file.write(b'"}\n' + good)
    before = peak_bytes()  # of a small run: `finished` is one
    assert "could not be read: too_large 1" in line.succeeds("run", corpus)
    assert peak_bytes() - before < 150e6
    assert len(documents(tmp_path)) == 2
    assert [row["kind"] for row in casualties(tmp_path)] == ["too_large"]


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_goes_on(tmp_path):
    """Ctrl-C reaches the whole process group: the command and its worker processes."""
    corpus = write_corpus(tmp_path)
    process = subprocess.Popen(
        command("run", corpus, "--set", "runner.workers=2"),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (tmp_path / "out" / "registry.parquet").exists():
        assert process.poll() is None
        time.sleep(0.02)
    while process.poll() is None:  # an interrupt that meets a destructor or a C callback is lost
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.5)
    assert process.stderr is not None
    stderr = process.stderr.read()
    assert process.returncode == 1
    assert "interrupted; the same command goes on" in error_line(stderr)
    assert tilth("run", corpus).returncode == 0


def test_a_sample_has_an_output_of_its_own(line, tmp_path):
    corpus = write_corpus(tmp_path)
    write_documents(
        tmp_path / "raw" / "b.jsonl", [f"{n} hens lay {n * n} eggs" for n in range(500)]
    )
    line.succeeds("run", corpus, "--sample", "0.1")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out-sample" / "manifest.json").exists()


def test_the_command_line_imports_nothing_heavy():
    heavy = ["apache_beam", "numba", "numpy", "pyarrow", "tokenizers", "torch", "transformers"]
    assert imported_with("tilth", heavy) == []


def test_stages_do_not_import_beam_before_a_pipeline_runs():
    modules = "pipelines.run, pipelines.dedup, pipelines.repeats.stage"
    assert imported_with(modules, ["apache_beam"]) == []


def imported_with(modules: str, heavy: list[str]) -> list[str]:
    program = f"import sys, {modules}; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_help_without_arguments(line):
    assert "Commands" in line.succeeds()
    assert "--prompt" in line.succeeds("generate", "--help")


@pytest.mark.parametrize("number", [0, 2, 3])
def test_accounting_is_asserted_by_the_program(line, tmp_path, number):
    """A marker whose counts do not add up stops the stage that wrote it."""
    stages = ["ingest", "annotate", "select", "dedup"]
    corpus = write_corpus(tmp_path)
    for stage in stages[: number + 1]:
        line.succeeds(stage, corpus)
    name = ["ingest", "", "decisions/select", "decisions/final"][number]
    output = str(tmp_path / "out")
    marker = next(one for one in commit.read_markers(output, name) if one.objects)
    commit.write_marker(output, replace(marker, counts=marker.counts | {"documents": 9}))
    with pytest.raises(AssertionError):
        line.call(stages[number], corpus)
