"""`bentoml config`: every value and its origin, in three forms; what a key means."""

import json
from pathlib import Path

import pytest

from bentoml import config as configuration
from bentoml.config import explain
from bentoml.config.http import Cors
from bentoml.config.tree import Config
from tests._cli import invoke

FILE = """
api_server: {http: {port: 3005}}
runners:
  batching: {max_batch_size: 7}
  resources: {cpu: 2, nvidia.com/gpu: [0]}
  iris.v1: {batching: {max_latency_ms: 5}}
  "yes": {traffic: {timeout: 3}}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(FILE)
    return str(path)


def rows(*args: str, **env: str) -> dict[str, tuple[object, str]]:
    result = invoke("config", *args, "-o", "json", **env)
    assert result.exit_code == 0, result.stderr
    return {row["key"]: (row["value"], row["origin"]) for row in json.loads(result.stdout)}


def test_every_key_is_shown_with_its_default() -> None:
    shown = rows()
    assert set(shown) == {key.name for key in explain.all_keys()}
    assert {key.name: (key.default, "default") for key in explain.all_keys()} == shown


def test_values_name_who_set_them(file: str) -> None:
    shown = rows(BENTOML_CONFIG=file, BENTOML_CONFIG_OPTIONS="api_server.backlog=128 runners.resources.cpu=4")
    assert shown["api_server.http.port"] == (3005, file)
    assert shown["api_server.backlog"] == (128, "BENTOML_CONFIG_OPTIONS")
    assert shown["api_server.http.host"] == ("0.0.0.0", "default")
    assert shown["runners.resources"] == ({"cpu": 4, "nvidia.com/gpu": [0]}, f"BENTOML_CONFIG_OPTIONS, {file}")
    assert shown["runners.iris.v1.batching.max_latency_ms"] == (5.0, file)
    assert "runners.iris.v1.batching.max_batch_size" not in shown


def test_a_file_in_this_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bentoml_configuration.yaml").write_text("api_server: {workers: 3}")
    assert rows("api_server.workers") == {"api_server.workers": (3, str(tmp_path / "bentoml_configuration.yaml"))}


def test_the_table_has_a_row_for_each_key(file: str) -> None:
    result = invoke("config", "api_server.http", BENTOML_CONFIG=file)
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["Key", "Value", "From"],
        ["api_server.http.host", '"0.0.0.0"', "default"],
        ["api_server.http.port", "3005", file],
        ["api_server.http.unix_socket", "null", "default"],
        ["api_server.http.max_body_size", "104857600", "default"],
        *[
            [f"api_server.http.cors.{name}", "false" if name == "enabled" else "null", "default"]
            for name in Cors.__struct_fields__
        ],
        ["api_server.http.response.trace_id", "false", "default"],
        ["api_server.http.response.server_timing", "false", "default"],
        ["api_server.http.response.gzip.enabled", "false", "default"],
        ["api_server.http.response.gzip.min_bytes", "1024", "default"],
        ["api_server.http.response.gzip.level", "1", "default"],
    ]


@pytest.mark.parametrize("args", [[], ["api_server.auth"], ["api_server.auth.api_keys"], ["api_server.ssl"]])
@pytest.mark.parametrize("form", ["table", "yaml", "json"])
def test_secrets_are_shown_to_nobody(tmp_path: Path, args: list[str], form: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "api_server: {auth: {api_keys: ['${KEY}', hidden-too]}, ssl: {certfile: c.pem, keyfile_password: hidden}}"
    )
    result = invoke("config", *args, "-o", form, BENTOML_CONFIG=str(file), KEY="hidden")
    assert result.exit_code == 0, result.stderr
    assert "hidden" not in result.output
    assert "********" in result.output
    assert str(file) in result.output


def test_masked_secrets_are_as_many_as_there_are() -> None:
    shown = rows("api_server.auth", BENTOML_CONFIG_OPTIONS="api_server.auth.api_keys=[a,b]")
    assert shown["api_server.auth.api_keys"] == (["********", "********"], "BENTOML_CONFIG_OPTIONS")


def test_a_key_alone_is_shown_for_one_runner_too(file: str) -> None:
    assert rows("runners.iris.batching.max_batch_size", BENTOML_CONFIG=file) == {
        "runners.iris.batching.max_batch_size": (7, file)
    }
    assert rows("runners.yes", BENTOML_CONFIG=file) == {"runners.yes.traffic.timeout": (3.0, file)}


def test_a_former_name_shows_the_key_of_today() -> None:
    assert rows("api_server.port") == {"api_server.http.port": (3000, "default")}


@pytest.mark.parametrize("text", ["", FILE])
def test_the_yaml_is_a_configuration_file_of_the_same_values(tmp_path: Path, text: str) -> None:
    before, after = tmp_path / "before.yaml", tmp_path / "after.yaml"
    before.write_text(text)
    after.write_text(invoke("config", "-o", "yaml", BENTOML_CONFIG=str(before)).stdout)
    first, second = configuration.load(file=before), configuration.load(file=after)
    assert second.config == first.config
    assert {name: second.runner(name) for name in second.named_runners} == {
        name: first.runner(name) for name in first.named_runners
    }


def test_the_yaml_says_in_comments_who_set_a_value(file: str) -> None:
    lines = invoke("config", "-o", "yaml", BENTOML_CONFIG=file).stdout.splitlines()
    assert lines[0] == "version: 1"
    assert f"    port: 3005  # {file}" in lines
    assert '    host: "0.0.0.0"' in lines
    assert "  'yes':" in lines


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("prot", "did you mean api_server.http.port?"),
        ("apiserver", "did you mean api_server?"),
        ("api_server.http.prot", "did you mean api_server.http.port?"),
        ("runners.iris.bathcing", "did you mean runners.batching?"),
        ("zzz", "`bentoml config` lists them all"),
    ],
)
def test_an_unknown_key_is_refused_with_one_that_is_alike(key: str, hint: str) -> None:
    for args in ([key], ["--explain", key]):
        result = invoke("config", *args)
        assert result.stderr == f"Error: `config` failed: there is no configuration key {key!r} (hint: {hint})\n"
        assert result.exit_code == 1


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    result = invoke("config", BENTOML_CONFIG=str(missing))
    assert result.stderr == f"Error: `config` failed: the configuration file does not exist: {missing}\n"
    result = invoke("config", BENTOML_CONFIG_OPTIONS="api_server.wrokers=2")
    assert (
        "unknown key `api_server.wrokers` (set by BENTOML_CONFIG_OPTIONS) (hint: did you mean `workers`?)"
        in result.stderr
    )


def test_explain_says_what_a_key_does() -> None:
    assert invoke("config", "--explain", "api_server.http.port").stdout == (
        "api_server.http.port\n"
        "  TCP port to listen on; 0 takes a free one.\n"
        "  type     integer, at least 0 and at most 65535\n"
        "  default  3000\n"
    )
    assert json.loads(invoke("config", "--explain", "runners.iris.traffic.timeout", "-o", "json").stdout) == [
        {
            "name": "runners.iris.traffic.timeout",
            "type": "number",
            "limits": "above 0",
            "default": 900.0,
            "description": "Seconds that one call of a runner may take; more is a 504.",
        }
    ]
    assert invoke("config", "--explain", "models").stdout.startswith("models.version_check\n")


@pytest.mark.parametrize(
    ("name", "type_", "limits"),
    [
        ("api_server.workers", "integer or null", "above 0"),
        ("api_server.http.response.trace_id", "boolean", ""),
        ("api_server.metrics.namespace", "text", "matches ^[a-zA-Z_][a-zA-Z0-9_]*$"),
        ("api_server.metrics.duration.buckets", "list of numbers or null", ""),
        ("models.version_check", "error, ignore or warn", ""),
        ("runners.resources", "system, map of text to anything or null", ""),
        ("version", "1", ""),
    ],
)
def test_types_and_limits_are_in_words(name: str, type_: str, limits: str) -> None:
    (key,) = explain.below(name)
    assert (key.type, key.limits) == (type_, limits)


def test_every_key_of_the_tree_is_explained() -> None:
    def leaves(section: object, prefix: str = "") -> set[str]:
        found = set()
        for name in section.__struct_fields__:  # type: ignore[attr-defined]  # a msgspec.Struct
            value = getattr(section, name)
            nested = hasattr(value, "__struct_fields__")
            found |= leaves(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}"}
        return found

    assert {key.name for key in explain.all_keys()} == leaves(Config())
