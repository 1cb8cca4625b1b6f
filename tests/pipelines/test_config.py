"""The corpus file: what is refused, and what the message says."""

import pytest
import yaml

from pipelines.config import dump_config, load_config
from pipelines.runner import check_runner, num_workers
from storage.errors import ConfigError

MINIMAL = {
    "name": "tiny",
    "output": "out",
    "sources": [{"name": "web", "format": "warc", "paths": ["raw/*.warc.gz"]}],
}


def write(tmp_path, values) -> str:
    path = tmp_path / "corpus.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return str(path)


def test_a_minimal_file_resolves_with_defaults(tmp_path):
    config = load_config(write(tmp_path, MINIMAL))
    assert config.output == str(tmp_path / "out")
    assert config.sources[0].paths == [str(tmp_path / "raw/*.warc.gz")]
    assert (config.dedup.bands, config.dedup.rows, config.dedup.threshold) == (14, 8, 0.8)
    assert yaml.safe_load(dump_config(config))["ingest"]["part_bytes"] == 128 << 20


def test_paths_may_climb_and_be_remote(tmp_path):
    values = {**MINIMAL, "output": "s3://bucket/corpus/"}
    values["sources"] = [{"name": "web", "format": "warc", "paths": "../raw/x.warc"}]
    config = load_config(write(tmp_path, values))
    assert config.output == "s3://bucket/corpus"
    assert config.sources[0].paths == [str(tmp_path.parent / "raw/x.warc")]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dedup.treshold=0.7", r"unknown key 'dedup\.treshold'; did you mean 'threshold'"),
        ("dedpu.threshold=0.7", r"unknown key 'dedpu'; did you mean 'dedup'"),
        ("dedup.threshold=2", r"dedup\.threshold = 2: .*less than or equal to 1"),
        ("ingest.part_bytes=64MB", r"ingest\.part_bytes = '64MB'"),
        ("sources.0.path=x", r"unknown key 'sources\.0\.path'; did you mean 'paths'"),
        ("sources.3.name=x", r"'3' is no index of a list of 1"),
        ("sources.0.name=../x", r"sources\.0\.name = '\.\./x': use 1-64 letters"),
        ("dedup", r"expected key=value"),
        ("name.x=1", r"is a value, it has no keys"),
    ],
)
def test_a_wrong_key_or_value_names_itself(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, MINIMAL), [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML"),
        ("- a", "holds list"),
        ("name: x\noutput: y\n", "key 'sources' is missing"),
        ("name: x\noutput: y\nsources: []\n", "sources = "),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml"):
        load_config(str(tmp_path / "nothing.yaml"))


def test_two_sources_need_two_names(tmp_path):
    values = {**MINIMAL, "sources": MINIMAL["sources"] * 2}
    with pytest.raises(ConfigError, match="two sources are named 'web'"):
        load_config(write(tmp_path, values))


def test_a_rehearsal_has_its_own_output(tmp_path):
    config = load_config(write(tmp_path, MINIMAL), sample=0.001)
    assert config.output.endswith("out-sample")
    assert config.sample == 0.001


@pytest.mark.parametrize(
    ("override", "options"),
    [
        ("runner.name=DirectRunner", []),
        ("runner.workers=2", ["--direct_running_mode=multi_threading"]),
        ("runner.workers=2", ["--experiments=data_buffer_time_limit_ms=100"]),
        ("runner.workers=2", ["--runner=PrismRunner"]),
    ],
)
def test_runners_that_lose_data_are_refused(tmp_path, override, options):
    config = load_config(write(tmp_path, MINIMAL), [override], beam_options=options)
    with pytest.raises(ConfigError):
        check_runner(config.runner)


def test_small_jobs_stay_in_one_process(tmp_path):
    config = load_config(write(tmp_path, MINIMAL)).runner
    assert num_workers(config, num_tasks=50, num_bytes=1 << 20) == 1
    assert num_workers(config.model_copy(update={"workers": 3}), 50, 1 << 20) == 3
    assert num_workers(config.model_copy(update={"workers": 3}), 2, 1 << 40) == 2


def test_stray_arguments_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'other' is no flag"):
        load_config(write(tmp_path, MINIMAL), beam_options=["other"])
