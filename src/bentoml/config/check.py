"""From a merged tree of plain values to the typed one, or to an error that names the key, its origin and a way out."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

import msgspec

from bentoml.config.observe import OTLP_TAKERS
from bentoml.exceptions import BentoMLConfigException

__all__ = ["convert", "did_you_mean", "split_runners", "unknown_keys", "without_idle_keys"]

logger = logging.getLogger("bentoml")

T = TypeVar("T")

#: What YAML makes of text that looks like a number or a boolean, such as a key of digits.
_UNQUOTED = r"Expected `str[^`]*`, got `(int|float|bool)`"

_NO_PROBES = "/readyz looks at the runners whenever it is asked, and waits for nothing"
_OTLP_ALONE = f"spans are exported as OTLP; {OTLP_TAKERS}"
_NO_RUNNER_LOG = "the calls of runners are counted in the metrics and not logged one by one"

#: Keys of BentoML that configure a part which this design does not have: accepted and said once. `*`: any runner.
WITHOUT_EFFECT = {
    "api_server.grpc": "there is no gRPC server yet",
    "api_server.max_runner_connections": "the calls of one worker share one connection to each worker of a runner",
    "api_server.runner_probe.period": _NO_PROBES,
    "api_server.runner_probe.timeout": _NO_PROBES,
    "runners.*.logging": _NO_RUNNER_LOG,
    "runners.logging": _NO_RUNNER_LOG,
    "tracing.jaeger": _OTLP_ALONE,
    "tracing.zipkin": _OTLP_ALONE,
    "yatai": "there is no remote registry here",
}


def without_idle_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree without the keys that have no effect; each that stands there is said in a warning."""
    remaining: Any = dict(tree)
    for dotted, reason in WITHOUT_EFFECT.items():
        remaining, section = _without(remaining, dotted.split("."))
        if section is not None:
            logger.warning("the configuration key `%s` has no effect: %s", dotted, reason)
    return dict(remaining)


def split_runners(section: Any, known: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The `runners` section as (what applies to all, what applies to single runners by name).

    Raises:
        BentoMLConfigException: a key is neither known nor the name of a runner with a mapping.
    """
    if not isinstance(section, Mapping):
        raise BentoMLConfigException("Invalid configuration file was given: `runners` must be a mapping")
    shared = {key: value for key, value in section.items() if key in known}
    named = {str(key): value for key, value in section.items() if key not in known}
    for name, value in named.items():
        if not isinstance(value, Mapping):
            raise BentoMLConfigException(
                f"Invalid configuration file was given: `runners.{name}` is neither a setting nor a runner's section",
                hint=did_you_mean(name, known),
            )
    return shared, {name: dict(value) for name, value in named.items()}


def convert(tree: Any, cls: type[T], origins: Mapping[str, str], *, prefix: str) -> T:
    """The tree as a value of `cls`.

    Raises:
        BentoMLConfigException: a key is unknown (with a suggestion) or a value is wrong; names key and origin.
    """
    for path, names in unknown_keys(tree, cls, prefix):
        raise BentoMLConfigException(
            f"Invalid configuration file was given: unknown key `{path}`{_from(path, origins)}",
            hint=did_you_mean(path.rpartition(".")[2], names),
        )
    try:
        return msgspec.convert(tree, cls)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$")
        path = (prefix + where.rstrip("`")).lstrip(".")
        raise BentoMLConfigException(
            f"Invalid configuration file was given: `{path}`: {text[:1].lower()}{text[1:]}{_from(path, origins)}",
            hint="put it in quotes, so that it is text" if re.match(_UNQUOTED, text) else "",
        ) from None


def _from(path: str, origins: Mapping[str, str]) -> str:
    path = path.partition("[")[0]  # origins are those of whole lists
    origin = next((o for key, o in origins.items() if key == path or key.startswith(path + ".")), None)
    return f" (set by {origin})" if origin else ""


def did_you_mean(name: str, known: tuple[str, ...] | list[str]) -> str:
    """A hint for an unknown key: the nearest known one, else all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known keys here: {', '.join(sorted(known))}"


def unknown_keys(tree: Any, cls: type, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """The dotted keys of `tree` that the record `cls` does not have, each with those that it has there."""
    if not isinstance(tree, Mapping):
        return
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(cls)}
    for key, value in tree.items():
        path = f"{prefix}.{key}".lstrip(".")
        if key not in fields:
            yield path, list(fields)
            continue
        nested_cls = next((t for t in (fields[key], *get_args(fields[key])) if _is_struct(t)), None)
        if nested_cls is not None:
            yield from unknown_keys(value, nested_cls, path)


def _is_struct(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, msgspec.Struct)


def _without(tree: Any, path: list[str]) -> tuple[Any, Any]:
    """The tree without what stands at `path`, and what stood there; None where nothing does."""
    first, *rest = path
    if first == "*" and isinstance(tree, Mapping):
        found = {key: _without(value, rest) for key, value in tree.items()}
        removed = next((below for _, below in found.values() if below is not None), None)
        return {key: above for key, (above, _) in found.items()}, removed
    if not isinstance(tree, Mapping) or first not in tree:
        return tree, None
    remaining = {key: value for key, value in tree.items() if key != first}
    if not rest:
        return remaining, tree[first]
    below, removed = _without(tree[first], rest)
    return {**tree, first: below}, removed
