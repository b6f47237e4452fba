"""What a service is asked and what it predicts, row by row, for whoever watches a model: `bentoml.monitor`.

    with monitor("iris") as mon:   ─► Recording ─► Feed: JSON ─► Writer: a thread ─► MonitorBase: files, OTLP, yours
        mon.log(3.5, "width", …)

Nothing here waits for a disk or a network, and nothing that goes wrong here fails a request.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from typing import Any

from bentoml.config import current
from bentoml.exceptions import BentoMLConfigException
from bentoml.monitoring.base import MonitorBase
from bentoml.monitoring.files import DefaultMonitor
from bentoml.monitoring.otlp import OTLPMonitor
from bentoml.monitoring.recording import NOTHING, Feed, NoRecording, Recording
from bentoml.monitoring.writer import WRITER

__all__ = ["DefaultMonitor", "MonitorBase", "OTLPMonitor", "Recording", "flush", "monitor"]

#: What the names of `monitoring.type` stand for.
_TYPES: dict[str, type[MonitorBase]] = {"default": DefaultMonitor, "otlp": OTLPMonitor}

_feeds: dict[str, Feed] = {}
_making = threading.Lock()


def monitor(
    name: str,
    monitor_class: str | type[MonitorBase] | None = None,
    monitor_options: Mapping[str, Any] | None = None,
) -> Recording | NoRecording:
    """A block in which values are logged; at its end they are one row, or with `log_batch` several.

    An exception in the block discards what it logged. Without `monitoring.enabled` the block does nothing.

    Args:
        name: of the monitor: letters, digits, `_`, `-`, `.`, at most 100.
        monitor_class: `"default"`, `"otlp"`, a class, or where to import it from; default: `monitoring.type`. There is
            one monitor of a name in each process, made at its first use.
        monitor_options: what the class takes; default: `monitoring.options`.

    Raises:
        BentoMLConfigException: the name or an option is refused, or the class cannot be imported.
    """
    feed = _feeds.get(name)
    if feed is None:
        settings = current().config.monitoring
        if not settings.enabled:
            return NOTHING
        with _making:
            feed = _feeds.get(name)
            if feed is None:
                options = monitor_options if monitor_options is not None else settings.options or {}
                feed = _feeds[name] = _feed(name, monitor_class or settings.type, options)
    return Recording(feed)


def flush(timeout_s: float = 5.0) -> bool:
    """Wait until what was logged has been handed to files or network; whether that took less than `timeout_s`."""
    return WRITER.flush(timeout_s)


def _feed(name: str, wanted: str | type[MonitorBase], options: Mapping[str, Any]) -> Feed:
    cls = wanted if isinstance(wanted, type) else _TYPES.get(wanted) or _imported(wanted)
    given = {key: value for key, value in options.items() if value is not None}
    try:
        return Feed(name, cls(name, **given))
    except TypeError as error:
        raise BentoMLConfigException(
            f"the monitor {name!r} cannot be made of the options {', '.join(given) or 'none'}: {error}",
            hint="see monitoring.options, or `monitor_options` of bentoml.monitor",
        ) from error


def _imported(path: str) -> type[MonitorBase]:
    module, _, attribute = path.replace(":", ".").rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise BentoMLConfigException(
            f"the monitor class {path!r} cannot be imported: {error}",
            hint="`default`, `otlp`, or `module.Class`",
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, MonitorBase)):
        raise BentoMLConfigException(f"{path!r} is no subclass of bentoml.monitoring.MonitorBase")
    return cls
