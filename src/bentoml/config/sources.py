"""Where configuration comes from: files, `BENTOML_CONFIG_OPTIONS`, `${VAR}`; how it is merged and how it is refused."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bentoml.exceptions import BentoMLConfigException

__all__ = [
    "discover",
    "expanded",
    "merged",
    "nested",
    "overlay",
    "parse_options",
    "path_from_environment",
    "read_file",
]

logger = logging.getLogger("bentoml")

DISCOVERED_NAMES = ("bentoml_configuration.yaml", "bentoconfiguration.yaml")

#: Keys that BentoML moved in its own lifetime: old → new, `*` stands for one name, such as that of a runner. The first
#: that fits counts.
RENAMED = {
    "api_server.cors.access_control_allow_origin": "api_server.http.cors.access_control_allow_origins",
    "api_server.cors.*": "api_server.http.cors.*",
    "api_server.host": "api_server.http.host",
    "api_server.http.cors.access_control_allow_origin": "api_server.http.cors.access_control_allow_origins",
    "api_server.port": "api_server.http.port",
    "api_server.max_request_size": "api_server.http.max_body_size",
    "api_server.timeout": "api_server.traffic.timeout",
    "runners.timeout": "runners.traffic.timeout",
    "runners.*.timeout": "runners.*.traffic.timeout",
    "tracing.otlp.url": "tracing.otlp.endpoint",
    "tracing.type": "tracing.exporter_type",
}

_OPTION_KEY = re.compile(r'"([^"]+)"|([^."\[\]=]+)|\[(\d+)\]|(\.)')
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def path_from_environment(text: str, environment: Mapping[str, str]) -> Path:
    """A path with `~` and variables expanded until nothing changes any more, as variables may name variables."""
    # Eight rounds: a variable that refers to itself must not turn for ever.
    for _ in range(8):
        expanded_text = re.sub(
            r"\$(?:\{(\w+)\}|(\w+))", lambda m: environment.get(m[1] or m[2], m[0]), os.path.expanduser(text)
        )
        if expanded_text == text:
            break
        text = expanded_text
    return Path(text)


def discover(working_dir: Path | None) -> Path | None:
    """The configuration file that lies in the working directory, if one does."""
    if working_dir is None:
        return None
    return next((path for name in DISCOVERED_NAMES if (path := working_dir / name).is_file()), None)


def read_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        FileNotFoundError: there is no such file.
        BentoMLConfigException: another extension, not YAML, or not a mapping.
    """
    if path.suffix not in (".yml", ".yaml"):
        raise BentoMLConfigException(f"the configuration file {path} must end in .yml or .yaml")
    if not path.is_file():
        raise FileNotFoundError(2, "the configuration file does not exist", str(path))
    try:
        tree = msgspec.yaml.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BentoMLConfigException(f"Invalid configuration file was given: {path} is not YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise BentoMLConfigException(
            f"Invalid configuration file was given: {path} must hold a mapping of keys to values"
        )
    return tree


def parse_options(text: str) -> dict[str, Any]:
    """`a.b=1 a."c/d"[0]=x` as a tree; values are YAML scalars or lists without spaces.

    Raises:
        BentoMLConfigException: a word is not `key=value`.
    """
    tree: dict[str, Any] = {}
    for word in text.split():
        path: list[Any] = []
        position = 0
        while match := _OPTION_KEY.match(word, position):
            position = match.end()
            quoted, plain, index, _dot = match.groups()
            if index is not None:
                path.append(int(index))
            elif quoted or plain:
                path.append(quoted or plain)
        if not path or not isinstance(path[0], str) or not word.startswith("=", position):
            raise BentoMLConfigException(
                f"BENTOML_CONFIG_OPTIONS: {word!r} is not of the form key=value",
                hint="api_server.http.port=5000",
            )
        try:
            value = msgspec.yaml.decode(word[position + 1 :].encode())
        except msgspec.DecodeError as error:
            raise BentoMLConfigException(
                f"BENTOML_CONFIG_OPTIONS: the value of {word[:position]!r} is not YAML: {error}"
            ) from error
        # Errors name the key alone: the value may be a secret.
        _put(tree, path, value, word[:position])
    return tree


def _put(tree: dict[str, Any], path: list[Any], value: Any, word: str) -> None:
    holder: Any = tree
    step: Any
    for step, following in zip(path, [*path[1:], None], strict=True):
        last = following is None
        if isinstance(step, int):
            if not isinstance(holder, list) or step > len(holder):
                raise BentoMLConfigException(
                    f"BENTOML_CONFIG_OPTIONS: {word!r}: list indexes must follow each other from [0]"
                )
            if step == len(holder):
                holder.append([] if isinstance(following, int) else {})
        elif not isinstance(holder, dict):
            raise BentoMLConfigException(
                f"BENTOML_CONFIG_OPTIONS: {word!r}: {step!r} stands under a value that is no mapping"
            )
        if last:
            holder[step] = value
        elif isinstance(step, str):
            holder = holder.setdefault(step, [] if isinstance(following, int) else {})
        else:
            holder = holder[step]


def nested(dotted: str, value: Any) -> dict[str, Any]:
    """`nested("a.b", 1)` is `{"a": {"b": 1}}`."""
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return dict(value)


def overlay(tree: dict[str, Any], new: Mapping[str, Any], origin: str, origins: dict[str, str]) -> None:
    """Lay `new` over `tree` in place, mapping by mapping, and note the origin of every value."""
    renamed = _with_current_names(new, origin)
    for key, _ in _leaves(renamed):
        origins[".".join(key)] = origin
    tree.update(merged(tree, renamed))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge: mappings are merged, lists and scalars replaced."""
    result = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def expanded(
    tree: Any, environment: Mapping[str, str], *, is_text: Callable[[str], bool] = lambda key: False, key: str = ""
) -> Any:
    """The tree with `${VAR}` and `${VAR:-default}` replaced; what they make a number, a boolean or null is one.

    Args:
        is_text: whether a key takes text and no number: a password of digits stays the text that it is.

    Raises:
        BentoMLConfigException: a variable is not set and has no default; names the key.
    """
    if isinstance(tree, dict):
        return {
            name: expanded(value, environment, is_text=is_text, key=f"{key}.{name}".lstrip("."))
            for name, value in tree.items()
        }
    if isinstance(tree, list):
        return [
            expanded(value, environment, is_text=is_text, key=f"{key}[{index}]") for index, value in enumerate(tree)
        ]
    if not isinstance(tree, str) or "${" not in tree:
        return tree

    def value_of(match: re.Match[str]) -> str:
        name, default = match.groups()
        value = environment.get(name) or default
        if value is None:
            raise BentoMLConfigException(
                f"{key}: the environment variable {name} is not set",
                hint=f"set it, or write ${{{name}:-default}}",
            )
        return value

    replaced = _VARIABLE.sub(value_of, tree)
    if replaced == tree:
        return tree
    value = _scalar(replaced)
    return replaced if value is not None and is_text(key) else value


def _scalar(text: str) -> Any:
    """A number, a boolean or null as YAML writes them; any other text as it stands, such as a secret with brackets."""
    try:
        value = msgspec.yaml.decode(text.encode())
    except (msgspec.DecodeError, UnicodeError):
        return text
    return value if value is None or isinstance(value, (bool, int, float)) else text


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        here = (*path, str(key))
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, here)
        else:
            yield here, value


def _with_current_names(tree: Mapping[str, Any], origin: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for path, value in _leaves(tree):
        dotted = ".".join(path)
        for old, new in RENAMED.items():
            # `runners.traffic.timeout` is the new name of a key, not the old one of a runner named `traffic`.
            pattern = re.escape(old).replace(r"\*", r"(?!traffic\.)([^.]+)") + r"\Z"
            match = re.match(pattern, dotted)
            if match:
                renamed = new.replace("*", match[1]) if match.groups() else new
                logger.warning("%s: Field '%s' is deprecated and has been renamed to '%s'", origin, dotted, renamed)
                path = tuple(renamed.split("."))
                break
        holder = result
        for key in path[:-1]:
            holder = holder.setdefault(key, {})
        holder[path[-1]] = value
    return result
