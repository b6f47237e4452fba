"""The configuration: one frozen tree, and where each of its values came from.

    defaults  <  file (BENTOML_CONFIG, or found in the working directory)  <  BENTOML_CONFIG_OPTIONS  <  flags

The entry point makes it once and hands it down. `current` is for a user's own script, which has no entry point of ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bentoml.config import check, explain, sources
from bentoml.config.observe import Monitoring, Tracing
from bentoml.config.tree import AccessLog, ApiServer, Batching, Config, Models, RunnerConfig

__all__ = [
    "AccessLog",
    "ApiServer",
    "Batching",
    "Config",
    "LoadedConfig",
    "Models",
    "Monitoring",
    "RunnerConfig",
    "Tracing",
    "current",
    "from_environment",
    "home",
    "load",
    "use",
]


class LoadedConfig:
    """A Config, the sections of single runners, and where each value came from.

    Attributes:
        config: the frozen tree.
        origins: dotted key → where its value came from; a key that is absent has its default.
        named_runners: what the sources say of single runners, by runner name, not yet merged.
        tree: what the sources say, as plain values; with `origins` it makes the same configuration in another process.
    """

    __slots__ = ("_raw_runners", "config", "named_runners", "origins", "tree")

    def __init__(self, tree: Mapping[str, Any], origins: dict[str, str]) -> None:
        tree = check.without_idle_keys(tree)
        shared, named = check.split_runners(tree.get("runners") or {}, RunnerConfig.__struct_fields__)
        self.config = check.convert({**tree, "runners": shared}, Config, origins, prefix="")
        self.origins = origins
        self.tree = tree
        self._raw_runners = shared
        self.named_runners = named
        for name in named:
            self.runner(name)

    def runner(self, name: str) -> RunnerConfig:
        """The settings of one runner: the global ones with its own on top.

        Raises:
            BentoMLConfigException: a value of its section is wrong.
        """
        own = self.named_runners.get(name)
        if own is None:
            return self.config.runners
        merged = sources.merged(self._raw_runners, own)
        return check.convert(merged, RunnerConfig, self.origins, prefix=f"runners.{name}")

    def unknown_runners(self, names: Iterable[str]) -> list[str]:
        """Runners that have a section and are not among `names`: most likely misspelt."""
        known = set(names)
        return [name for name in self.named_runners if name not in known]


def load(
    *,
    file: Path | None = None,
    options: str = "",
    flags: Mapping[str, tuple[Any, str]] | None = None,
    environment: Mapping[str, str] | None = None,
) -> LoadedConfig:
    """Merge the sources into one tree.

    Args:
        file: a `.yml` or `.yaml` file.
        options: the text of `BENTOML_CONFIG_OPTIONS`: whitespace-separated `dotted.key=value`.
        flags: dotted key → (value, what set it), for instance `{"api_server.http.port": (3001, "--port")}`.
        environment: where `${VAR}` and `${VAR:-default}` in values are looked up.

    Raises:
        FileNotFoundError: `file` does not exist.
        BentoMLConfigException: a key is unknown, or a value has the wrong type or breaks a limit; names file and key.
    """
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if file is not None:
        sources.overlay(tree, sources.read_file(file), str(file), origins)
    if options:
        sources.overlay(tree, sources.parse_options(options), "BENTOML_CONFIG_OPTIONS", origins)
    tree = sources.expanded(tree, environment or {}, is_text=explain.is_text)
    for key, (value, origin) in (flags or {}).items():
        sources.overlay(tree, sources.nested(key, value), origin, origins)
    return LoadedConfig(tree, origins)


def from_environment(
    environment: Mapping[str, str] | None = None,
    *,
    working_dir: Path | None = None,
    flags: Mapping[str, tuple[Any, str]] | None = None,
) -> LoadedConfig:
    """What the environment asks for: `BENTOML_CONFIG` or a file in `working_dir`; `BENTOML_CONFIG_OPTIONS`; `flags`."""
    environment = os.environ if environment is None else environment
    named = environment.get("BENTOML_CONFIG", "")
    file = sources.path_from_environment(named, environment) if named else sources.discover(working_dir)
    return load(file=file, options=environment.get("BENTOML_CONFIG_OPTIONS", ""), flags=flags, environment=environment)


_current: LoadedConfig | None = None


def current() -> LoadedConfig:
    """The configuration of this process: what `use` set, else what the environment asks for, read once."""
    global _current
    if _current is None:
        _current = from_environment()
    return _current


def use(loaded: LoadedConfig | None) -> None:
    """Make `loaded` the configuration of this process; the entry point calls it once. None: read it anew."""
    global _current
    _current = loaded


def home() -> Path:
    """The folder of the stores: `$BENTOML_HOME`, default `~/bentoml`; made when it is not there.

    Raises:
        NotADirectoryError: something that is no folder has that name.
    """
    path = sources.path_from_environment(os.environ.get("BENTOML_HOME") or "~/bentoml", os.environ)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(20, "BENTOML_HOME is not a folder", str(path)) from None
    except OSError:
        # A read-only file system: a store that is there can still be read, and its reader reports one that is not.
        if not path.parent.exists():
            raise
    return path
