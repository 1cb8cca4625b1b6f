from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from pipelines.sources import FORMATS, load_source
from pipelines.sources.records import Document, PartRange, RawRecord
from storage.settings import ConfigError, Settings


def test_unknown_format_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="source 'web': no format is called 'json'.*'jsonl'"):
        load_source("json", {}, "web")


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="options of source 'web'.*'text_feild'.*'text_field'"):
        load_source("jsonl", {"text_feild": "x"}, "web")


def test_an_impossible_combination_of_options_is_refused() -> None:
    with pytest.raises(ConfigError, match="headers: gutenberg needs split: file"):
        load_source("text", {"split": "line", "headers": "gutenberg"}, "books")


class Options(Settings):
    greeting: str = "hello"


class Greetings:
    """A format as a user would write it."""

    Options = Options
    SUFFIXES = (".hi",)

    @staticmethod
    def can_enter(path: str, options: Options) -> bool:
        return False

    @staticmethod
    def read(
        path: str, record_prefix: str, part: PartRange, options: Options, max_document_bytes: int
    ) -> Iterator[RawRecord]:
        yield RawRecord(0, lambda: Document(options.greeting, record_prefix))


@pytest.fixture
def user_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("a_users.package")
    module.greetings = Greetings  # type: ignore[attr-defined]
    module.nothing = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_users", ModuleType("a_users"))
    monkeypatch.setitem(sys.modules, "a_users.package", module)
    return module


@pytest.mark.usefixtures("user_module")
def test_a_users_own_format_plugs_in() -> None:
    source = load_source("a_users.package:greetings", {"greeting": "hi"}, "mine")
    assert source.takes("x/Y.HI")
    assert not source.takes("x/y.txt")
    [record] = source.read("x", "file", PartRange(), 10)
    assert record.parse() == Document("hi", "file")


@pytest.mark.usefixtures("user_module")
def test_a_plug_in_that_is_no_format_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="has no Options, SUFFIXES, can_enter, read"):
        load_source("a_users.package:nothing", {}, "mine")
    with pytest.raises(ConfigError, match="no attribute 'absent'"):
        load_source("a_users.package:absent", {}, "mine")
    with pytest.raises(ConfigError, match="No module named 'not_there'"):
        load_source("not_there.package", {}, "mine")


@pytest.mark.parametrize("name", FORMATS)
def test_every_built_in_format_loads(name: str) -> None:
    source = load_source(name, {}, "any")
    takes_all = name == "repository"
    assert source.takes("folder/file.unknown") == takes_all
