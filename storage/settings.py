"""Strict settings from YAML, shared by corpus and training files.

A mistake stops before any work, with one line that names the file, the key, the value and the
nearest valid key.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo

from storage import objects
from storage.errors import ConfigError


class Settings(BaseModel):
    """Base of every settings model: unknown keys fail, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=Settings)
_FILE = "file"  # in the context of a validation: the path of the file that the values are from


def validated(model: type[Model], values: dict[str, Any], path: str) -> Model:
    """The settings in the file at `path`, whose paths start at its folder. Raises ConfigError."""
    try:
        return model.model_validate(values, context={_FILE: path})
    except ValidationError as error:
        raise ConfigError(explain(path, error, model)) from error


def _below_file(value: str, info: ValidationInfo) -> str:
    return _absolute(value, info.context[_FILE]) if info.context else value


ConfigPath = Annotated[str, AfterValidator(_below_file)]
"""A path in a file of settings; a relative one starts at the file's folder."""


def _if_given(value: str, info: ValidationInfo) -> str:
    return _below_file(value, info) if value else value


OptionalConfigPath = Annotated[str, AfterValidator(_if_given)]
"""A path, or nothing."""


def _if_file(value: str, info: ValidationInfo) -> str:
    return _below_file(value, info) if value.endswith(".yaml") else value


NameOrConfigPath = Annotated[str, AfterValidator(_if_file)]
"""The name of something shipped, or a path that ends in .yaml."""


def load_settings(model: type[Model], path: str, overrides: list[str] | None = None) -> Model:
    """Reads a YAML file, applies `key=value` overrides and checks the whole. Raises ConfigError."""
    values = load_yaml(path)
    set_values(values, overrides or [])
    return validated(model, values, path)


def load_yaml(path: str) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError when it is missing or not a mapping."""
    try:
        text = objects.read(path).decode("utf-8")
        values = yaml.safe_load(text)
    except objects.StorageError as error:
        raise ConfigError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}, expected keys and values")
    return values


def _absolute(value: str, config_path: str) -> str:
    """`value` as it is when absolute or a URL, else below the folder of the configuration file."""
    if "://" in value or value.startswith("/"):
        return value
    if "://" in config_path:
        scheme, _, rest = config_path.partition("://")
        return f"{scheme}://{os.path.normpath(PurePosixPath(rest).parent / value)}"
    return os.path.normpath(Path(config_path).resolve().parent / value)


def set_values(values: dict[str, Any], overrides: list[str]) -> None:
    """Applies `a.b=value` overrides in place; values are read as YAML, `a.0.b` enters lists."""
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {override!r}: expected key=value, as in dedup.threshold=0.8")
        *parents, last = key.split(".")
        node: Any = values
        for parent in parents:
            node = _child(node, parent, override)
        if isinstance(node, list):
            node[_index(node, last, override)] = _parse_value(text, override)
        elif isinstance(node, dict):
            node[last] = _parse_value(text, override)
        else:
            raise ConfigError(f"--set {override!r}: {parents[-1]!r} is a value, it has no keys")


def _parse_value(text: str, override: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--set {override!r}: {text!r} is not valid YAML: {reason}") from error


def _child(node: Any, key: str, override: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, key, override)]
    if not isinstance(node, dict):
        raise ConfigError(f"--set {override!r}: {key!r} is below a value that has no keys")
    if node.get(key) is None:
        node[key] = {}
    return node[key]


def _index(node: list[Any], key: str, override: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise ConfigError(f"--set {override!r}: {key!r} is no index of a list of {len(node)}")
    return int(key)


def explain(path: str, error: ValidationError, model: type[BaseModel]) -> str:
    """One line per mistake: file, key, value, what is wrong, the nearest valid key."""
    return "\n".join(_explain_one(path, dict(item), model) for item in error.errors())


def _explain_one(path: str, item: dict[str, Any], model: type[BaseModel]) -> str:
    location = [str(part) for part in item["loc"]]
    key = ".".join(location) or "(top level)"
    if item["type"] == "extra_forbidden":
        fields = _fields_at(model, location[:-1])
        near = difflib.get_close_matches(location[-1], fields, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}"
        return f"{path}: unknown key {key!r}; {hint}"
    if item["type"] == "missing":
        return f"{path}: key {key!r} is missing"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error" and not location:
        return f"{path}: {message}"
    if isinstance(item["input"], dict):  # a rule of several keys, which the message names
        return f"{path}: {key}: {message}"
    return f"{path}: {key} = {item['input']!r}: {message}"


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        if part.isdigit():
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        nested = [field.annotation, *get_args(field.annotation)]
        models = [one for one in nested if isinstance(one, type) and issubclass(one, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)
