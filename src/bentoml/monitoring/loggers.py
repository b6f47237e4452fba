"""Loggers: rows through loggers of the standard library, as a `log_config_file` sets them up."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bentoml.exceptions import BentoMLConfigException

__all__ = ["Loggers"]

_SCHEMA, _DATA = "bentoml_monitor_schema", "bentoml_monitor_data"


class Loggers:
    """One logger; `append` logs each line at the level INFO."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    @classmethod
    def configured(cls, path: Path, monitor: str, placeholders: Mapping[str, str]) -> tuple[Loggers, Loggers]:
        """The loggers of schema and data of one monitor.

        Each monitor gets loggers of its own, below those that the file names, as each has files of its own.

        Raises:
            BentoMLConfigException: the file cannot be read, or configures no such loggers.
        """
        try:
            text = path.expanduser().read_text(encoding="utf-8")
            for name, value in placeholders.items():
                text = text.replace(f"{{{name}}}", value)
            config: dict[str, Any] = msgspec.yaml.decode(text)
            loggers = config["loggers"]
            own = {f"{name}.{monitor}": {"propagate": False, **loggers[name]} for name in (_SCHEMA, _DATA)}
            others = {name: value for name, value in loggers.items() if name not in (_SCHEMA, _DATA)}
            # Loggers that were there before are not this file's to switch off.
            logging.config.dictConfig(
                {"version": 1, **config, "loggers": {**others, **own}, "disable_existing_loggers": False}
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
            raise BentoMLConfigException(
                f"monitoring.options.log_config_file: {path} does not set up the monitor {monitor!r}: "
                f"{type(error).__name__}: {error}",
                hint=f"a mapping for logging.config.dictConfig with the loggers {_SCHEMA} and {_DATA}",
            ) from error
        schema, data = (logging.getLogger(name) for name in own)
        return cls(schema), cls(data)

    def append(self, lines: Sequence[bytes]) -> None:
        """Log each line; a handler that fails says so itself."""
        for line in lines:
            self._logger.info("%s", line.decode())
