"""Units: append-only, never renumbered, raw files immutable."""

import pytest

from pipelines.config import CorpusConfig
from pipelines.registry import update_registry
from storage.errors import ConfigError


def config_for(tmp_path, *paths, unit_bytes=100) -> CorpusConfig:
    return CorpusConfig.model_validate(
        {
            "name": "c",
            "output": str(tmp_path / "out"),
            "ingest": {"unit_bytes": unit_bytes},
            "sources": [
                {"name": "s", "format": "text", "paths": [str(tmp_path / path) for path in paths]}
            ],
        }
    )


def write(tmp_path, name, num_bytes):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * num_bytes)


def numbering(units) -> dict[str, int]:
    return {file.path: unit.number for unit in units for file in unit.files}


def test_small_files_share_a_unit_and_large_ones_have_their_own(tmp_path):
    for name, size in {"raw/a.txt": 40, "raw/b.txt": 50, "raw/c.txt": 60, "raw/d.txt": 500}.items():
        write(tmp_path, name, size)
    units = update_registry(config_for(tmp_path, "raw"))
    assert numbering(units) == {"a.txt": 0, "b.txt": 0, "c.txt": 1, "d.txt": 2}
    assert [unit.num_bytes for unit in units] == [90, 60, 500]


def test_new_files_become_new_units_and_nothing_is_renumbered(tmp_path):
    write(tmp_path, "raw/m.txt", 10)
    first = numbering(update_registry(config_for(tmp_path, "raw")))
    write(tmp_path, "raw/a.txt", 10)
    write(tmp_path, "raw/z.txt", 10)
    second = numbering(update_registry(config_for(tmp_path, "raw")))
    assert second["m.txt"] == first["m.txt"] == 0
    assert second["a.txt"] == second["z.txt"] == 1
    assert numbering(update_registry(config_for(tmp_path, "raw"))) == second


def test_a_changed_raw_file_stops(tmp_path):
    write(tmp_path, "raw/a.txt", 10)
    update_registry(config_for(tmp_path, "raw"))
    write(tmp_path, "raw/a.txt", 11)
    with pytest.raises(ConfigError, match=r"a\.txt has 11 bytes, 10 when it was registered"):
        update_registry(config_for(tmp_path, "raw"))


def test_a_vanished_raw_file_stops(tmp_path):
    write(tmp_path, "raw/a.txt", 10)
    write(tmp_path, "raw/b.txt", 10)
    update_registry(config_for(tmp_path, "raw"))
    (tmp_path / "raw/a.txt").unlink()
    with pytest.raises(ConfigError, match=r"'a\.txt' is in .*registry\.parquet but no longer"):
        update_registry(config_for(tmp_path, "raw"))


def test_an_empty_source_and_a_missing_path_stop(tmp_path):
    write(tmp_path, "raw/a.txt", 0)
    with pytest.raises(ConfigError, match="source 's'.* holds no data"):
        update_registry(config_for(tmp_path, "raw"))
    with pytest.raises(ConfigError, match="source 's'.*nowhere"):
        update_registry(config_for(tmp_path, "nowhere"))


def test_two_files_of_one_address_are_refused(tmp_path):
    write(tmp_path, "one/a.txt", 5)
    write(tmp_path, "two/a.txt", 5)
    with pytest.raises(ConfigError, match="both 'a.txt' below their roots"):
        update_registry(config_for(tmp_path, "one", "two"))


def test_what_a_folder_holds_besides_is_said(tmp_path, capsys):
    write(tmp_path, "raw/a.txt", 5)
    write(tmp_path, "raw/picture.png", 5)
    assert list(numbering(update_registry(config_for(tmp_path, "raw")))) == ["a.txt"]
    assert "1 of 2 files" in capsys.readouterr().err
