"""Where configuration comes from: files, variables, options, and what lies over what."""

from __future__ import annotations

import contextlib
import logging
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml import config
from bentoml.config import sources
from bentoml.exceptions import BentoMLConfigException


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("bentoml").propagate = True
    return caplog


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# Precedence


def test_flags_lie_over_options_over_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", "api_server: {http: {port: 1}, backlog: 101, workers: 2}")
    loaded = config.load(
        file=file,
        options="api_server.http.port=2 api_server.backlog=102",
        flags={"api_server.http.port": (3, "--port")},
    )
    server = loaded.config.api_server
    assert (server.http.port, server.backlog, server.workers, server.threads) == (3, 102, 2, 40)
    assert loaded.origins == {
        "api_server.http.port": "--port",
        "api_server.backlog": "BENTOML_CONFIG_OPTIONS",
        "api_server.workers": str(file),
    }


def test_the_environment_names_the_file_and_the_options(tmp_path: Path) -> None:
    write(tmp_path / "mine.yml", "api_server: {backlog: 100}")
    environment = {"BENTOML_CONFIG": "$PLACE/mine.yml", "PLACE": str(tmp_path), "BENTOML_CONFIG_OPTIONS": "version=1"}
    assert config.from_environment(environment).config.api_server.backlog == 100


@pytest.mark.parametrize("name", ["bentoml_configuration.yaml", "bentoconfiguration.yaml"])
def test_a_file_in_the_working_directory_is_found(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, "api_server: {backlog: 100}")
    assert config.from_environment({}, working_dir=tmp_path).config.api_server.backlog == 100
    assert config.from_environment({}).config.api_server.backlog == 2048


def test_a_named_file_takes_the_place_of_a_found_one(tmp_path: Path) -> None:
    write(tmp_path / "bentoconfiguration.yaml", "nonsense: 1")
    named = write(tmp_path / "named.yaml", "")
    assert config.from_environment({"BENTOML_CONFIG": str(named)}, working_dir=tmp_path).origins == {}


# Files


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "is not YAML: "),
        ("- a", "must hold a mapping of keys to values"),
        ("just text", "must hold a mapping of keys to values"),
        ("!!python/object/apply:os.system ['true']", "is not YAML: "),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = write(tmp_path / "c.yaml", text)
    with pytest.raises(BentoMLConfigException) as raised:
        sources.read_file(file)
    assert str(raised.value).startswith(f"Invalid configuration file was given: {file} {reason}")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BentoMLConfigException, match="is not YAML"):
        sources.read_file(tmp_path / "c.yaml")


def test_a_file_needs_an_extension_and_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BentoMLConfigException, match=r"c\.json must end in \.yml or \.yaml"):
        sources.read_file(tmp_path / "c.json")
    with pytest.raises(FileNotFoundError, match="the configuration file does not exist"):
        sources.read_file(tmp_path / "c.yaml")


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert sources.read_file(write(tmp_path / "c.yaml", "# nothing yet\n")) == {}


# BENTOML_CONFIG_OPTIONS


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", {}),
        ("a=1", {"a": 1}),
        (
            'api_server.http.host="127.0.0.1" api_server.http.port=5000',
            {"api_server": {"http": {"host": "127.0.0.1", "port": 5000}}},
        ),
        ("a.b=true a.c=null a.d=x a.e=1.5", {"a": {"b": True, "c": None, "d": "x", "e": 1.5}}),
        ('runners.iris.resources."nvidia.com/gpu"[0]=2', {"runners": {"iris": {"resources": {"nvidia.com/gpu": [2]}}}}),
        ("a[0]=x a[1]=y", {"a": ["x", "y"]}),
        ("a=[1,2]", {"a": [1, 2]}),
        ("a[0].b=1 a[0].c=2", {"a": [{"b": 1, "c": 2}]}),
        ("a= b=2", {"a": None, "b": 2}),
        ("a=b=c", {"a": "b=c"}),
        ("\n a=1 \t b=2 ", {"a": 1, "b": 2}),
    ],
)
def test_options_are_dotted_keys_with_yaml_values(text: str, tree: dict[str, Any]) -> None:
    assert sources.parse_options(text) == tree


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a", "'a' is not of the form key=value (hint: api_server.http.port=5000)"),
        ("=1", "'=1' is not of the form key=value"),
        ("[0]=1", "'[0]=1' is not of the form key=value"),
        ('"a=1', "is not of the form key=value"),
        ("a[1]=x", "'a[1]': list indexes must follow each other from [0]"),
        ("a=1 a.b=2", "'a.b': 'b' stands under a value that is no mapping"),
        ("a.b=1 a[0]=2", "'a[0]': list indexes must follow each other from [0]"),
        ("a=[1", "the value of 'a' is not YAML: "),
    ],
)
def test_an_option_that_is_none_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BentoMLConfigException) as raised:
        sources.parse_options(text)
    assert str(raised.value).startswith("BENTOML_CONFIG_OPTIONS: ")
    assert reason in str(raised.value)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=string.printable, max_size=30))
def test_no_text_of_options_is_a_mistake_of_ours(text: str) -> None:
    with contextlib.suppress(BentoMLConfigException):
        assert isinstance(sources.parse_options(text), dict)


# Variables in values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${PORT}", 8080),
        ("${PORT:-1}", 8080),
        ("${NONE:-1}", 1),
        ("${NONE:-}", None),
        ("${EMPTY:-3}", 3),
        ("${HOST}:${PORT}", "local:8080"),
        ("$PORT", "$PORT"),
        ("${}", "${}"),
        (["${PORT}", {"a": "${HOST}"}], [8080, {"a": "local"}]),
        (7, 7),
        ("${SECRET}", "[1: @{"),
        ("${MAPPING}", "a: b"),
    ],
)
def test_variables_in_values_are_replaced_and_read_again(value: Any, expected: Any) -> None:
    environment = {"PORT": "8080", "HOST": "local", "EMPTY": "", "SECRET": "[1: @{", "MAPPING": "a: b"}
    assert sources.expanded({"key": value}, environment) == {"key": expected}


def test_a_variable_that_is_not_set_is_named_with_its_key() -> None:
    with pytest.raises(BentoMLConfigException) as raised:
        sources.expanded({"a": {"b": ["${NONE}"]}}, {})
    assert str(raised.value) == (
        "a.b[0]: the environment variable NONE is not set (hint: set it, or write ${NONE:-default})"
    )


def test_paths_are_expanded_until_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    environment = {"A": "$B/x", "B": "~", "LOOP": "$LOOP/y"}
    assert sources.path_from_environment("${A}/c", environment) == Path("/home/me/x/c")
    assert sources.path_from_environment("$NONE/c", environment) == Path("$NONE/c")
    sources.path_from_environment("$LOOP", environment)


# Renamed keys


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("api_server.host", "api_server.http.host"),
        ("api_server.port", "api_server.http.port"),
        ("api_server.max_request_size", "api_server.http.max_body_size"),
        ("api_server.timeout", "api_server.traffic.timeout"),
        ("runners.timeout", "runners.traffic.timeout"),
        ("runners.iris.timeout", "runners.iris.traffic.timeout"),
    ],
)
def test_old_names_are_taken_with_a_warning(said: pytest.LogCaptureFixture, old: str, new: str) -> None:
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    sources.overlay(tree, sources.nested(old, 7), "old.yaml", origins)
    assert tree == sources.nested(new, 7)
    assert origins == {new: "old.yaml"}
    assert f"old.yaml: Field '{old}' is deprecated and has been renamed to '{new}'" in said.text


def test_a_new_name_is_not_taken_for_an_old_one(said: pytest.LogCaptureFixture) -> None:
    tree: dict[str, Any] = {}
    sources.overlay(tree, sources.nested("runners.traffic.timeout", 7), "x", {})
    assert tree == {"runners": {"traffic": {"timeout": 7}}}
    assert said.text == ""


# This process


def test_the_configuration_of_a_process_is_read_once_until_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    config.use(None)
    monkeypatch.setenv("BENTOML_CONFIG_OPTIONS", "api_server.backlog=111")
    monkeypatch.delenv("BENTOML_CONFIG", raising=False)
    first = config.current()
    assert first.config.api_server.backlog == 111
    assert config.current() is first
    config.use(None)
    monkeypatch.delenv("BENTOML_CONFIG_OPTIONS")
    assert config.current().config.api_server.backlog == 2048
    config.use(None)


def test_the_home_is_made_and_must_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "a" / "b"))
    assert config.home() == tmp_path / "a" / "b"
    assert config.home().is_dir()
    monkeypatch.setenv("BENTOML_HOME", str(write(tmp_path / "file", "")))
    with pytest.raises(NotADirectoryError, match="BENTOML_HOME is not a folder"):
        config.home()


# Secrets


def test_a_variable_of_digits_stays_text_where_the_key_takes_text(tmp_path: Path) -> None:
    file = write(
        tmp_path / "c.yaml",
        "api_server: {auth: {api_keys: ['${A}', '${B}', 'x${A}']}, http: {port: '${A}'}, ssl: {certfile: '${C:-}'}}",
    )
    loaded = config.load(file=file, environment={"A": "04711", "B": "true"})
    assert loaded.config.api_server.auth.api_keys == ["04711", "true", "x04711"]
    assert loaded.config.api_server.ssl.certfile is None
    assert isinstance(loaded.config.api_server.http.port, int)


@pytest.mark.parametrize("options", ["api_server.auth.api_keys=[hidden", "api_server.auth.api_keys[1]=hidden"])
def test_an_option_that_cannot_be_read_is_named_without_its_value(options: str) -> None:
    with pytest.raises(BentoMLConfigException) as raised:
        config.load(options=options)
    assert "hidden" not in str(raised.value)
    assert "api_keys" in str(raised.value)
