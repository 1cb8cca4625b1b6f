"""Formats of raw corpora, by name.

A format is a module (or a user's own object) with

    Options                                      settings, a storage.settings.Settings
    SUFFIXES                                     endings of the files it takes from a folder
    can_enter(path, options)                     whether reading may start at any byte offset
    read(path, record_prefix, part, options, max_document_bytes) -> Iterator[RawRecord]

`read` yields the records that start in `part`, in order of their offsets, whatever the format: one
that cannot be entered in the middle is read from its beginning and the records before the part are
passed over. A missing or unreadable file raises StorageError; a damaged one yields casualties.

A user's own format is named `package.module` (a module as above) or `package.module:name`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import pydantic

from pipelines.sources.records import PartRange, RawRecord
from storage.settings import ConfigError, Settings, explain

FORMATS = {
    name: f"pipelines.sources.{name}"
    for name in ("jsonl", "parquet", "repository", "text", "warc", "wikipedia")
}


class Format(Protocol):
    """What a format's module offers."""

    Options: type[Settings]
    SUFFIXES: tuple[str, ...]

    def can_enter(self, path: str, options: Any) -> bool: ...

    def read(
        self,
        path: str,
        record_prefix: str,
        part: PartRange,
        options: Any,
        max_document_bytes: int,
    ) -> Iterator[RawRecord]: ...


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """A format with its options."""

    name: str
    format: Format
    options: Settings

    def takes(self, path: str) -> bool:
        """Whether a file found in a folder belongs to this format, by its suffix."""
        suffixes = self.format.SUFFIXES
        return not suffixes or path.lower().endswith(suffixes)

    def can_enter(self, path: str) -> bool:
        """Whether the parts of `path` can be read on their own, without what comes before."""
        return self.format.can_enter(path, self.options)

    def read(
        self, path: str, record_prefix: str, part: PartRange, max_document_bytes: int
    ) -> Iterator[RawRecord]:
        """The raw records of `path` that start in `part`; `record_prefix` begins their address.

        Raises StorageError when the file cannot be read.
        """
        return self.format.read(path, record_prefix, part, self.options, max_document_bytes)


def load_source(name: str, options: Mapping[str, Any], source: str) -> SourceFormat:
    """The format called `name` with checked options; `source` names the source in errors.

    Raises ConfigError for an unknown format or an option that the format refuses.
    """
    format = _find(name, source)
    try:
        return SourceFormat(name, format, format.Options.model_validate(dict(options)))
    except pydantic.ValidationError as error:
        raise ConfigError(explain(f"options of source {source!r}", error, format.Options)) from None


def _find(name: str, source: str) -> Format:
    if name in FORMATS:
        return cast(Format, importlib.import_module(FORMATS[name]))
    module_name, _, attribute = name.partition(":")
    if "." not in module_name:
        near = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(FORMATS)}"
        raise ConfigError(f"source {source!r}: no format is called {name!r}; {hint}")
    try:
        found = importlib.import_module(module_name)
        found = getattr(found, attribute) if attribute else found
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"source {source!r}: format {name!r}: {error}") from error
    missing = [
        part for part in ("Options", "SUFFIXES", "can_enter", "read") if not hasattr(found, part)
    ]
    if missing:
        raise ConfigError(f"source {source!r}: format {name!r} has no {', '.join(missing)}")
    return cast(Format, found)
