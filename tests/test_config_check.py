"""From plain values to the typed configuration: what is refused, how it is told, what a runner's own section means."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from bentoml.config import LoadedConfig
from bentoml.exceptions import BentoMLConfigException


def load(tree: dict[str, Any], origin: str = "here.yaml") -> LoadedConfig:
    from bentoml.config import sources

    origins: dict[str, str] = {}
    merged: dict[str, Any] = {}
    sources.overlay(merged, tree, origin, origins)
    return LoadedConfig(merged, origins)


def refusal(tree: dict[str, Any]) -> str:
    with pytest.raises(BentoMLConfigException) as raised:
        load(tree)
    return str(raised.value)


#: key → (default, another value).
KEYS: dict[str, tuple[Any, Any]] = {
    "version": (1, 1),
    "api_server.workers": (None, 3),
    "api_server.traffic.timeout": (60, 2.5),
    "api_server.traffic.max_concurrency": (None, 10),
    "api_server.backlog": (2048, 64),
    "api_server.metrics.enabled": (True, False),
    "api_server.metrics.namespace": ("bentoml_api_server", "mine"),
    "api_server.metrics.duration.min": (None, 0.1),
    "api_server.metrics.duration.max": (None, 10),
    "api_server.metrics.duration.factor": (None, 2),
    "api_server.metrics.duration.buckets": (None, [0.1, 1]),
    "api_server.logging.access.enabled": (True, False),
    "api_server.logging.access.request_content_length": (True, False),
    "api_server.logging.access.request_content_type": (True, False),
    "api_server.logging.access.response_content_length": (True, False),
    "api_server.logging.access.response_content_type": (True, False),
    "api_server.logging.access.format.trace_id": ("032x", "d"),
    "api_server.logging.access.format.span_id": ("016x", "d"),
    "api_server.http.host": ("0.0.0.0", "127.0.0.1"),
    "api_server.http.port": (3000, 0),
    "api_server.http.response.trace_id": (False, True),
    "api_server.http.cors.enabled": (False, False),
    "api_server.http.cors.access_control_allow_origins": (None, ["https://a.example"]),
    "api_server.http.cors.access_control_allow_origin_regex": (None, ".*"),
    "api_server.http.cors.access_control_allow_credentials": (None, True),
    "api_server.http.cors.access_control_allow_methods": (None, "GET"),
    "api_server.http.cors.access_control_allow_headers": (None, ["x"]),
    "api_server.http.cors.access_control_max_age": (None, 1200),
    "api_server.http.cors.access_control_expose_headers": (None, "x"),
    "api_server.ssl.certfile": (None, "c.pem"),
    "api_server.ssl.ca_certs": (None, "c.pem"),
    "api_server.ssl.version": (None, 17),
    "api_server.ssl.cert_reqs": (None, 0),
    "api_server.ssl.ciphers": (None, "TLSv1"),
    "api_server.runner_probe.enabled": (True, False),
    "runners.batching.enabled": (True, False),
    "runners.batching.max_batch_size": (100, 1),
    "runners.batching.max_latency_ms": (60000, 500),
    "runners.resources": (None, {"cpu": "500m"}),
    "runners.workers_per_resource": (1, 0.5),
    "runners.traffic.timeout": (900, 1),
    "runners.traffic.max_concurrency": (None, 4),
    "runners.metrics.enabled": (True, False),
    "runners.metrics.namespace": ("bentoml_runner", "mine"),
}


def get(config: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        config = getattr(config, part)
    return config


def nested(dotted: str, value: Any) -> dict[str, Any]:
    for part in reversed(dotted.split(".")):
        value = {part: value}
    return value  # type: ignore[no-any-return]  # a dict, as there is at least one part


@pytest.mark.parametrize("key", KEYS)
def test_the_keys_of_bentoml_have_its_defaults_and_take_other_values(key: str) -> None:
    default, other = KEYS[key]
    assert get(load({}).config, key) == default
    assert get(load(nested(key, other)).config, key) == other
    if key.startswith("runners."):
        own = load(nested(key.replace("runners.", "runners.iris."), other))
        assert get(own.config, key) == default
        assert get(own.runner("iris"), key.removeprefix("runners.")) == other


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("version", 2, "invalid enum value 2"),
        ("api_server.workers", 0, "expected `int` >= 1"),
        ("api_server.workers", "two", "expected `int | null`, got `str`"),
        ("api_server.workers", 1.5, "expected `int | null`, got `float`"),
        ("api_server.backlog", 63, "expected `int` >= 64"),
        ("api_server.http.port", 65536, "expected `int` <= 65535"),
        ("api_server.http.port", -1, "expected `int` >= 0"),
        ("api_server.traffic.timeout", 0, "expected `float` > 0"),
        ("api_server.metrics.enabled", "yes please", "expected `bool`, got `str`"),
        ("api_server.metrics.namespace", "a-b", "expected `str` matching regex"),
        ("api_server.http", 3, "expected `object`, got `int`"),
        ("runners.batching.max_batch_size", 0, "expected `int` >= 1"),
        ("runners.batching.max_latency_ms", 0, "expected `float` > 0"),
        ("runners.placement", "nowhere", "invalid enum value 'nowhere'"),
        ("runners.resources", "some", "invalid enum value 'some'"),
        ("runners.workers_per_resource", 0, "expected `float` > 0"),
        ("runners.iris.batching.max_batch_size", 0, "expected `int` >= 1"),
        ("models.version_check", "maybe", "invalid enum value 'maybe'"),
    ],
)
def test_a_value_that_breaks_a_rule_is_told_with_key_rule_and_origin(key: str, value: Any, rule: str) -> None:
    said = refusal(nested(key, value))
    assert said.startswith(f"Invalid configuration file was given: `{key}`: {rule}")
    assert said.endswith("(set by here.yaml)")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("api_sever", "did you mean `api_server`?"),
        ("api_server.wrokers", "did you mean `workers`?"),
        ("api_server.http.prot", "did you mean `port`?"),
        ("runners.batching.max_batch", "did you mean `max_batch_size`?"),
        ("runners.iris.batching.max_batch", "did you mean `max_batch_size`?"),
        ("models.xyz", "known keys here: version_check"),
    ],
)
def test_an_unknown_key_is_told_with_its_origin_and_the_nearest(key: str, hint: str) -> None:
    assert refusal(nested(key, 1)) == (
        f"Invalid configuration file was given: unknown key `{key}` (set by here.yaml) (hint: {hint})"
    )


def test_a_runners_section_that_is_none_is_refused() -> None:
    assert refusal({"runners": {"batchin": True}}) == (
        "Invalid configuration file was given: `runners.batchin` is neither a setting nor a runner's section "
        "(hint: did you mean `batching`?)"
    )
    assert refusal({"runners": [1]}) == "Invalid configuration file was given: `runners` must be a mapping"


def test_a_runners_own_section_lies_over_that_of_all() -> None:
    loaded = load(
        {
            "runners": {
                "batching": {"max_batch_size": 7},
                "resources": {"cpu": 4},
                "iris": {"batching": {"max_latency_ms": 5}, "resources": {"nvidia.com/gpu": 1}},
            }
        }
    )
    iris, other = loaded.runner("iris"), loaded.runner("other")
    assert (iris.batching.max_batch_size, iris.batching.max_latency_ms) == (7, 5)
    assert iris.resources == {"cpu": 4, "nvidia.com/gpu": 1}
    assert (other.batching.max_latency_ms, other.resources) == (60000, {"cpu": 4})
    assert other is loaded.config.runners


def test_sections_of_runners_that_do_not_exist_are_found() -> None:
    assert load({"runners": {"iris": {}, "irsi": {}}}).unknown_runners(["iris", "other"]) == ["irsi"]


@pytest.mark.parametrize(
    "key",
    [
        "api_server.grpc.host",
        "api_server.max_runner_connections",
        "api_server.runner_probe.timeout",
        "api_server.runner_probe.period",
        "runners.logging.access.enabled",
        "runners.iris.logging.access.enabled",
        "tracing.jaeger.protocol",
        "tracing.zipkin.endpoint",
        "yatai.a",
    ],
)
def test_keys_of_parts_that_do_not_exist_are_said_to_have_no_effect(key: str, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("bentoml").propagate = True
    loaded = load({**nested(key, 1), "models": {}})
    assert "has no effect: " in caplog.text
    assert "logging" not in loaded.named_runners
    caplog.clear()
    LoadedConfig(loaded.tree, loaded.origins)
    assert caplog.text == "", "the workers do not say it again"


def cors(**keys: Any) -> dict[str, Any]:
    return {"api_server": {"http": {"cors": {"enabled": True, **keys}}}}


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (
            cors(),
            "`api_server.http.cors`: it is enabled, and no site is permitted: set access_control_allow_origins, or "
            "..._origin_regex",
        ),
        (
            cors(access_control_allow_origins=" , "),
            "`api_server.http.cors`: it is enabled, and no site is permitted: set access_control_allow_origins, or "
            "..._origin_regex",
        ),
        (
            cors(access_control_allow_origins=["https://a.example", "https://b.example/"]),
            "`api_server.http.cors`: 'https://b.example/' is no origin: expected scheme://host or scheme://host:port in "
            "lower case, with nothing behind it, such as https://app.example.com",
        ),
        (
            cors(access_control_allow_origin_regex="https://("),
            "`api_server.http.cors`: access_control_allow_origin_regex is no regular expression: missing ), "
            "unterminated subpattern at position 8",
        ),
        (
            {"api_server": {"auth": {"api_keys": []}}},
            "`api_server.auth`: api_keys is an empty list, which nobody could pass: list a key, or leave it out",
        ),
        (
            {"api_server": {"auth": {"api_keys": ["secret", ""]}}},
            "`api_server.auth`: api_keys[1] is empty: everybody would know it",
        ),
        (
            {"api_server": {"auth": {"api_keys": ["********"]}}},
            "`api_server.auth`: api_keys[0] is what `bentoml config` shows in place of a key, not a key",
        ),
        (
            {"api_server": {"auth": {"api_keys": ["sécret"]}}},
            "`api_server.auth`: api_keys[0] has a character that a header cannot carry: use visible ASCII",
        ),
        (
            {"api_server": {"auth": {"api_keys": ["secret"], "callable": "a:b"}}},
            "`api_server.auth`: api_keys and callable exclude each other: the function can look at keys as well",
        ),
        (
            {"api_server": {"auth": {"callable": "module.function"}}},
            "`api_server.auth`: callable must be of the form module:function",
        ),
        (
            {"api_server": {"ssl": {"enabled": True}}},
            "`api_server.ssl`: it is enabled, and there is no certificate: set certfile",
        ),
        (
            {"api_server": {"ssl": {"keyfile": "k.pem"}}},
            "`api_server.ssl`: there is a keyfile and no certificate: set certfile",
        ),
        (
            {"api_server": {"ssl": {"keyfile_password": "********"}}},
            "`api_server.ssl`: keyfile_password is what `bentoml config` shows in place of a password, not one",
        ),
        (
            {"api_server": {"http": {"unix_socket": ""}}},
            "`api_server.http`: unix_socket is empty: expected a path, or null to listen on host and port",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_told_with_their_section(tree: dict[str, Any], said: str) -> None:
    assert refusal(tree) == f"Invalid configuration file was given: {said} (set by here.yaml)"


@pytest.mark.parametrize(
    "tree",
    [
        {"api_server": {"ssl": {"enabled": False, "version": 17, "certfile": None, "keyfile": "k.pem"}}},
        {"api_server": {"ssl": {"certfile": None}}},
        {"api_server": {"http": {"cors": {"enabled": False, "access_control_allow_origins": "nonsense"}}}},
    ],
)
def test_what_is_switched_off_may_stand_there(tree: dict[str, Any]) -> None:
    server = load(tree).config.api_server
    assert (server.ssl.is_on, server.http.cors.enabled, server.auth.is_on) == (False, False, False)


def test_a_certificate_switches_tls_on() -> None:
    assert load({"api_server": {"ssl": {"certfile": "c.pem"}}}).config.api_server.ssl.is_on


def test_a_key_that_yaml_takes_for_a_number_must_be_quoted() -> None:
    assert refusal({"api_server": {"auth": {"api_keys": ["a", 12345]}}}) == (
        "Invalid configuration file was given: `api_server.auth.api_keys[1]`: expected `str`, got `int` "
        "(set by here.yaml) (hint: put it in quotes, so that it is text)"
    )


def test_no_secret_is_in_the_representation_of_the_configuration() -> None:
    loaded = load({"api_server": {"auth": {"api_keys": ["hidden"]}, "ssl": {"keyfile_password": "hidden"}}})
    assert "hidden" not in repr(loaded.config)
    assert "api_keys=********" in repr(loaded.config)
    assert repr(load({}).config.api_server.auth) == "Auth(api_keys=None, callable=None)"


@pytest.mark.parametrize(
    "old", ["api_server.cors.access_control_allow_origin", "api_server.http.cors.access_control_allow_origin"]
)
def test_the_names_that_bentoml_gave_to_cors_before_are_taken(old: str, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("bentoml").propagate = True
    cors = load(nested(old, "https://a.example")).config.api_server.http.cors
    assert cors.access_control_allow_origins == "https://a.example"
    assert "has been renamed to 'api_server.http.cors.access_control_allow_origins'" in caplog.text
    assert load({"api_server": {"cors": {"access_control_max_age": 5}}}).config.api_server.http.cors == (
        load({"api_server": {"http": {"cors": {"access_control_max_age": 5}}}}).config.api_server.http.cors
    )


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(AttributeError):
        load({}).config.api_server.http.port = 1  # type: ignore[misc]


def test_another_process_makes_the_same_of_the_plain_values() -> None:
    loaded = load({"runners": {"iris": {"batching": {"max_batch_size": 3}}}, "api_server": {"workers": 2}})
    again = LoadedConfig(loaded.tree, loaded.origins)
    assert again.config == loaded.config
    assert again.runner("iris") == loaded.runner("iris")
