"""Decisions of the recipes compared with datatrove 0.10.1's own filters, document by document.

Recipe `c4` is compared with the published rules of TensorFlow Datasets in plain Python.

    python -m benchmarks.peer_quality --peer-python VENV/bin/python FILE...

FILE is JSON lines with a `text` field (.gz, .zst or plain) or a page of HTML (its plain text is
taken). The language of a document is what lid.176 says. datatrove runs as it comes: `en` as the
language of its word splitting, which is what FineWeb used. Each difference is printed with the
reasons of both sides and the values of ours, so that its cause can be found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from benchmarks.prose import open_text
from filters import c4, language, textstats
from filters.rules import RATIOS, Rule, evaluate, load_recipe

PEER = Path(__file__).with_name("peer_quality_filters.py")
FILTERS = {
    "gopher_repetition": load_recipe("gopher-repetition").rules,
    "gopher_quality": load_recipe("gopher-quality").rules,
    "c4": load_recipe("c4").rules,
    "c4_datatrove": load_recipe("c4-datatrove").rules,
    "fineweb_quality": (
        Rule(signal="num_nonblank_lines", min=1, reason="fineweb_empty"),
        Rule(signal="terminal_line_ratio", min=0.12, reason="fineweb_terminal_lines"),
        Rule(signal="short_line_ratio", max=0.67, reason="fineweb_short_lines"),
        Rule(signal="duplicate_char_ratio", max=0.01, reason="fineweb_duplicate_chars"),
        Rule(signal="newline_word_ratio", max=0.3, reason="fineweb_newlines"),
    ),
    "fineweb": load_recipe("fineweb").rules,
}
MIN_LANGUAGE_DOCUMENTS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description="agreement of decisions with datatrove")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--max-chars", type=int, default=20_000, help="of a document")
    parser.add_argument("--max-documents", type=int, default=1_000, help="of a file")
    options = parser.parse_args()
    texts = [
        text[: options.max_chars]
        for path in options.files
        for text, _ in zip(read_texts(path), range(options.max_documents), strict=False)
    ]
    texts = list(dict.fromkeys(text for text in texts if text.strip()))
    signals = compute_signals(texts)
    theirs = peer_reasons(options.peer_python, texts)
    ours = {name: evaluate(rules, signals).reason.to_pylist() for name, rules in FILTERS.items()}
    languages = signals.column("language").to_pylist()
    print_agreement(languages, ours, theirs)
    print_differences(signals, languages, ours, theirs)


def read_texts(path: Path) -> Iterator[str]:
    if ".json" in path.name and ".html" not in path.name:
        with open_text(path) as lines:
            for line in lines:
                with contextlib.suppress(json.JSONDecodeError):  # the example has damaged records
                    yield json.loads(line)["text"]
    else:
        with open_text(path, binary=True) as file:
            page = file.read()
        html = bytes_to_str(page, detect_encoding(page) or "utf-8")
        yield extract_plain_text(html, main_content=False)


def compute_signals(texts: list[str]) -> pa.Table:
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    parts = [
        textstats.compute(batch),
        language.compute(batch),
        *(c4.compute_with_edits(batch, params)[0] for params in c4.VARIANTS.values()),
    ]
    columns = {name: part.column(name) for part in parts for name in part.schema.names}
    return pa.table(columns)


def peer_reasons(python: str, texts: list[str]) -> dict[str, list[str]]:
    """Reason of each of datatrove's filters per document, empty when it keeps it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as documents:
        json.dump(texts, documents)
        documents.flush()
        command = [python, "-P", str(PEER), documents.name]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def print_agreement(
    languages: list[str], ours: dict[str, list[str]], theirs: dict[str, list[str]]
) -> None:
    """Share of documents with the same decision, by language and filter."""
    counts = Counter(languages)
    named = [code for code, n in counts.most_common() if n >= MIN_LANGUAGE_DOCUMENTS]
    print("| language | documents | " + " | ".join(FILTERS) + " |")
    print("|---|--:|" + "--:|" * len(FILTERS))
    for code in (*named, "others", "all"):
        rows = [
            row
            for row, found in enumerate(languages)
            if code in ("all", found) or (code == "others" and found not in named)
        ]
        shares = [
            sum(bool(ours[name][row]) == bool(theirs[name][row]) for row in rows)
            / max(1, len(rows))
            for name in FILTERS
        ]
        print(f"| {code} | {len(rows)} | " + " | ".join(f"{100 * s:.2f} %" for s in shares) + " |")
    print(f"\n{len(counts)} languages, {len(languages)} documents")


def print_differences(
    signals: pa.Table,
    languages: list[str],
    ours: dict[str, list[str]],
    theirs: dict[str, list[str]],
) -> None:
    print("\n| row | language | filter | ours | peer | our value |\n|--:|---|---|---|---|--:|")
    for name, rules in FILTERS.items():
        by_reason = {rule.reason: rule for rule in rules}
        for row, code in enumerate(languages):
            mine, other = ours[name][row], theirs[name][row]
            if bool(mine) != bool(other):
                value = _value(signals, by_reason[mine].signal, row) if mine else ""
                print(
                    f"| {row} | {code} | {name} | {mine or 'keep'} | {other or 'keep'} | {value} |"
                )


def _value(signals: pa.Table, signal: str, row: int) -> Any:
    one = signals.slice(row, 1)
    if signal in RATIOS:
        return round(float(RATIOS[signal].value(lambda c: one.column(c).to_numpy())[0]), 4)
    return one.column(signal)[0].as_py()


if __name__ == "__main__":
    main()
