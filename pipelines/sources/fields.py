"""Which field of a JSON object or Parquet row becomes which column of a document.

The defaults understand the layouts that people exchange corpora in: C4/mC4 (text, url, timestamp),
OSCAR (content, warc_headers, metadata), Dolma (id, text, added, created, metadata), CCNet
(raw_content, url, date_download), RedPajama (text, meta), The Stack (content, path, licenses).
A name is a key or a dotted path; a key that itself contains dots wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.sources.encoding import repair
from pipelines.sources.records import Casualty, Document, Outcome, Skip
from storage.settings import Settings

TEXT = ("text", "content", "raw_content")
ID = ("id", "warc_headers.warc-record-id", "doc_id", "hexsha", "blob_id")
URL = ("url", "metadata.url", "meta.url", "warc_headers.warc-target-uri", "source_url")
TITLE = ("title", "metadata.title", "meta.title")
LICENSE = ("license", "metadata.license", "meta.license", "licenses", "max_stars_repo_licenses")
CREATED = (
    "created",
    "timestamp",
    "date",
    "warc_headers.warc-date",
    "metadata.date",
    "meta.timestamp",
    "date_download",
)
LANGUAGE = (
    "language",
    "lang",
    "metadata.language",
    "meta.language",
    "metadata.identification.label",
)
PATH = ("path", "max_stars_repo_path")
MAX_META_BYTES = 16 << 10


class FieldOptions(Settings):
    """Names of fields; None takes the first of the usual names that a record has."""

    text_field: str | None = None
    id_field: str | None = None
    url_field: str | None = None
    title_field: str | None = None
    license_field: str | None = None
    created_field: str | None = None
    meta_fields: list[str] = []
    """Further fields to keep in `meta`, under the same name; values are stored as JSON."""

    def names(self) -> list[str]:
        """Every field name that `to_document` may look at."""
        chosen = (self.text_field, self.id_field, self.url_field)
        chosen += (self.title_field, self.license_field, self.created_field)
        usual = (TEXT, ID, URL, TITLE, LICENSE, CREATED)
        names = [
            name
            for one, candidates in zip(chosen, usual, strict=True)
            for name in ([one] if one else candidates)
        ]
        return [*names, *LANGUAGE, *PATH, *self.meta_fields]


def to_document(
    row: Mapping[str, Any],
    record: str,
    options: FieldOptions,
    max_document_bytes: int,
    extra_meta: Mapping[str, str] | None = None,
) -> Outcome:
    """The document in `row`, or why there is none."""
    names = [options.text_field] if options.text_field else TEXT
    text = _first(row, names)
    if text is None and any(name in row for name in names):
        return Skip("empty")
    if not isinstance(text, str):
        return Casualty(record, "invalid", _no_text(row, text, options.text_field))
    if not text.strip():
        return Skip("empty")
    text = repair(text)
    if len(text) * 4 > max_document_bytes and len(text.encode()) > max_document_bytes:
        return Casualty(record, "too_large", f"text above max_document_bytes={max_document_bytes}")
    return Document(
        text=text,
        record=record,
        url=_string(row, options.url_field, URL),
        title=_string(row, options.title_field, TITLE),
        license=_string(row, options.license_field, LICENSE),
        created=_string(row, options.created_field, CREATED),
        meta={**_meta(row, options), **(extra_meta or {})},
    )


def look_up(row: Mapping[str, Any], name: str) -> Any:
    """The value at a key or dotted path; None when there is none."""
    if name in row:
        return row[name]
    head, dot, rest = name.partition(".")
    inner = row.get(head) if dot else None
    return look_up(inner, rest) if isinstance(inner, dict) else None


def to_string(value: Any) -> str:
    """A field's value for a string column: strings as they are, the rest as JSON, None as ""."""
    if value is None:
        return ""
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, default=str)
    return repair(value)[:MAX_META_BYTES]


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        value = look_up(row, name)
        if value is not None:
            return value
    return None


def _string(row: Mapping[str, Any], chosen: str | None, usual: Sequence[str]) -> str:
    return to_string(_first(row, [chosen] if chosen else usual))


def _meta(row: Mapping[str, Any], options: FieldOptions) -> dict[str, str]:
    meta = {
        "id": _string(row, options.id_field, ID),
        "language": _string(row, None, LANGUAGE),
        "path": _string(row, None, PATH),
        **{name: to_string(look_up(row, name)) for name in options.meta_fields},
    }
    return {name: value for name, value in meta.items() if value}


def _no_text(row: Mapping[str, Any], text: Any, chosen: str | None) -> str:
    wanted = repr(chosen) if chosen else " or ".join(map(repr, TEXT))
    if text is not None:
        return f"field {wanted} is {type(text).__name__}, not a string"
    keys = ", ".join(repr(key)[:40] for key in sorted(map(str, row))[:8]) or "no fields"
    return f"no field {wanted} (found {keys}); name it with text_field"
