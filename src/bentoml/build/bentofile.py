"""Reading a bentofile: bentofile.yaml, or the table `[tool.bentoml.build]` of pyproject.toml, as BuildOptions.

    text ─► plain values ─► short forms in their one form ─► closed record ─► texts, paths and patterns checked

Whatever is wrong is one error that names the file, the key and a way out.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bentoml._importing import require
from bentoml.build.base_image import PYTHONS
from bentoml.build.dotenv import env_of
from bentoml.build.options import BuildOptions, ModelOption
from bentoml.build.packages import with_real_names
from bentoml.build.paths import file_in, require_plain, script_in
from bentoml.config.check import did_you_mean, unknown_keys
from bentoml.exceptions import BentoMLException, InvalidArgument
from bentoml.service.project import BENTOFILE, bentofile_in, fields_of
from bentoml.tag import Tag, validate_part

__all__ = ["find", "options_of", "read"]

logger = logging.getLogger("bentoml")


def find(named: str | None, context: Path) -> Path:
    """The bentofile: the one that is named, in the current folder or else in `context`; by default that of `context`.

    Raises:
        InvalidArgument: there is none; says where it was looked for.
    """
    if named is not None and named != BENTOFILE:
        found = next((path for path in (Path(named), context / named) if path.is_file()), None)
    else:
        found = bentofile_in(context) or next((path for path in (Path(BENTOFILE),) if path.is_file()), None)
    if found is None:
        raise InvalidArgument(
            f"there is no {named or BENTOFILE} in {context}",
            hint='write one with the line `service: "service.py:svc"`, or name another with -f',
        )
    return found


def read(path: Path, *, context: Path) -> BuildOptions:
    """The bentofile at `path`, whose own paths are relative to `context`.

    Raises:
        InvalidArgument: a key is unknown, or its value is wrong; names file and key.
        BentoMLException: it cannot be read, or is not YAML or TOML.
    """
    fields = fields_of(path)
    if fields is None and path.suffix == ".toml":
        raise InvalidArgument(f"{path} has no table [tool.bentoml.build]")
    return options_of(fields, context=context, where=path.name)


def options_of(fields: Any, *, context: Path, where: str) -> BuildOptions:
    """The keys of a bentofile as options.

    Args:
        fields: plain values; None stands for a key that is not set.
        where: what they come from, for messages.

    Raises:
        InvalidArgument: a key is unknown, or its value is wrong; names `where` and the key.
    """
    try:
        return _checked(_converted(fields, context), context)
    except InvalidArgument as error:
        raise InvalidArgument(f"{where}: {error.message}", hint=error.hint) from error


# -- one form ---------------------------------------------------------------------------------------------------------


def _converted(fields: Any, context: Path) -> BuildOptions:
    if not isinstance(fields, Mapping):
        raise InvalidArgument(f"it must hold a mapping of keys, not {type(fields).__name__}")
    for path, known in unknown_keys(fields, BuildOptions, ""):
        raise InvalidArgument(f"`{path}` is no key of a bentofile", hint=did_you_mean(path.rpartition(".")[2], known))
    if not fields.get("service"):
        raise InvalidArgument("the key `service` is missing", hint='service: "service.py:svc"')
    plain = _shaped({**fields, **_short_forms(fields, context)}, BuildOptions, "")
    try:
        return msgspec.convert(plain, BuildOptions)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        raise InvalidArgument(f"`{place.rstrip('`')}`: {text[:1].lower()}{text[1:]}") from None


def _short_forms(fields: Mapping[str, Any], context: Path) -> dict[str, Any]:
    """What may be written in several ways, in the one way of BuildOptions."""
    found: dict[str, Any] = {}
    docker, conda = fields.get("docker"), fields.get("conda")
    if fields.get("models") is not None:
        found["models"] = [_model(entry, f"models[{number}]") for number, entry in enumerate(_list(fields, "models"))]
    if isinstance(fields.get("labels"), Mapping):
        found["labels"] = {str(key): str(value) for key, value in fields["labels"].items()}
    if isinstance(docker, Mapping) and docker.get("env") is not None:
        found["docker"] = {**docker, "env": env_of(docker["env"], context)}
    if isinstance(conda, Mapping) and conda.get("dependencies") is not None:
        found["conda"] = _with_pip(conda)
    return found


def _list(fields: Mapping[str, Any], key: str) -> list[Any]:
    value = fields[key]
    if not isinstance(value, list):
        raise InvalidArgument(f"`{key}` must be a list, not {type(value).__name__}")
    return value


def _model(entry: Any, key: str) -> dict[str, Any]:
    model = {"tag": entry} if isinstance(entry, (str, Tag)) else entry
    if not isinstance(model, Mapping):
        raise InvalidArgument(f"`{key}` must be a tag or a mapping with the key `tag`, not {type(entry).__name__}")
    for path, known in unknown_keys(model, ModelOption, key):
        raise InvalidArgument(f"`{path}` is no key of a bentofile", hint=did_you_mean(path.rpartition(".")[2], known))
    return {name: str(value) if name == "tag" else value for name, value in model.items()}


def _with_pip(conda: Mapping[str, Any]) -> dict[str, Any]:
    """The section with the list `{pip: […]}` among its dependencies moved to the key `pip`."""
    dependencies = _list(conda, "dependencies")
    nested = [entry for entry in dependencies if isinstance(entry, Mapping)]
    if not nested:
        return dict(conda)
    if len(nested) > 1 or set(nested[0]) != {"pip"}:
        raise InvalidArgument("`conda.dependencies` takes text, and one mapping with the key `pip`")
    if conda.get("pip") is not None:
        raise InvalidArgument("`conda.pip` and a mapping `pip` in `conda.dependencies` exclude each other")
    return {**conda, "dependencies": [each for each in dependencies if each not in nested], "pip": nested[0]["pip"]}


def _shaped(value: Any, kind: Any, key: str) -> Any:
    """The value without keys that are not set, with numbers as text and one text as a list where these are meant."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if not isinstance(value, Mapping):
            return value
        types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        return {
            name: _shaped(each, types[name], f"{key}.{name}".lstrip("."))
            for name, each in value.items()
            if each is not None
        }
    if kind == list[str]:
        entries = [value] if isinstance(value, str) else value
        return [_as_text(each, key) for each in entries] if isinstance(entries, (list, tuple)) else entries
    return _as_text(value, key) if kind in (str, str | None) else value


def _as_text(value: Any, key: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if key == "docker.python_version" and value == 3.1:
        raise InvalidArgument("`docker.python_version`: without quotes 3.10 is the number 3.1", hint='write "3.10"')
    return str(value)


# -- checks -----------------------------------------------------------------------------------------------------------


def _checked(options: BuildOptions, context: Path) -> BuildOptions:
    for key, text in _texts(options, ""):
        require_plain(text, key, lines=key == "description")
    if options.name is not None:
        _or_invalid("name", lambda: validate_part(str(options.name), "name of a bento"))
    for key, patterns in (("include", options.include), ("exclude", options.exclude)):
        for pattern in patterns:
            _check_pattern(pattern, key)
    _check_models(options.models)
    _check_files(options, context)
    docker = msgspec.structs.replace(options.docker, python_version=_python(options.docker.python_version))
    packages = with_real_names(options.python.packages)
    python = msgspec.structs.replace(options.python, packages=packages)
    if python.requirements_txt is not None and packages:
        logger.warning("python.packages has no effect: python.requirements_txt wins over it")
    return msgspec.structs.replace(options, docker=docker, python=python)


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text in the options with its key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _texts(getattr(value, name), f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _texts(each, f"{key}[{number}]")
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _texts(name, f"a name in {key}")
            yield from _texts(each, f"{key}.{name}")


def _check_pattern(pattern: str, key: str) -> None:
    if ".." in pattern.split("/") or pattern.startswith("~"):
        raise InvalidArgument(
            f"`{key}`: {pattern!r} leads out of the build context", hint="build from a folder that holds all the files"
        )
    pathspec = require("pathspec", install="'makunouchi[build]'", what="building a bento")
    try:
        compiled = pathspec.GitIgnoreSpec.from_lines([pattern]).patterns
    except ValueError as error:
        raise InvalidArgument(f"`{key}`: {error}") from error
    if pattern.strip() and not pattern.startswith("#") and all(each.include is None for each in compiled):
        raise InvalidArgument(f"`{key}`: {pattern!r} is no pattern", hint="write it as in .gitignore: *.py, src/")


def _check_models(models: list[ModelOption]) -> None:
    aliases = [model.alias for model in models if model.alias is not None]
    for number, model in enumerate(models):
        _or_invalid(f"models[{number}].tag", functools.partial(Tag.from_str, model.tag))
        if model.alias is not None and aliases.count(model.alias) > 1:
            raise InvalidArgument(f"`models`: the alias {model.alias!r} is given twice")


def _or_invalid(key: str, check: Callable[[], Any]) -> None:
    try:
        check()
    except (ValueError, BentoMLException) as error:
        raise InvalidArgument(f"`{key}`: {error}") from error


def _check_files(options: BuildOptions, context: Path) -> None:
    named = {
        "python.requirements_txt": options.python.requirements_txt,
        "conda.environment_yml": options.conda.environment_yml,
        "docker.setup_script": options.docker.setup_script,
        "docker.dockerfile_template": options.docker.dockerfile_template,
        **{f"python.wheels[{number}]": wheel for number, wheel in enumerate(options.python.wheels)},
    }
    if options.description is not None and options.description.startswith("file:"):
        named["description"] = options.description.removeprefix("file:").strip()
    for key, name in named.items():
        if name is not None:
            (script_in if key == "docker.setup_script" else file_in)(context, name, key)


def _python(version: str | None) -> str | None:
    if version is None:
        return None
    found = re.fullmatch(r"(\d+\.\d+)(\.\d+)?", version)
    if found is None or found[1] not in PYTHONS:
        raise InvalidArgument(
            f"`docker.python_version`: Python {version!r} cannot run this package", hint=f"one of {', '.join(PYTHONS)}"
        )
    if found[2]:
        logger.warning("docker.python_version: %s is taken for %s, whose newest release is used", version, found[1])
    return found[1]
