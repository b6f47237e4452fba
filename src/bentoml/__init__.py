"""Trained models behind an HTTP API that holds in production.

Every name below is imported when it is first used, so that `import bentoml` costs next to nothing and a service loads
only what it needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bentoml._version import __version__

if TYPE_CHECKING:
    import bentoml.bentos as bentos
    import bentoml.client as client
    import bentoml.config as config
    import bentoml.container as container
    import bentoml.exceptions as exceptions
    import bentoml.http_server as http_server
    import bentoml.io as io
    import bentoml.kubernetes as kubernetes
    import bentoml.lightgbm as lightgbm
    import bentoml.metrics as metrics
    import bentoml.models as models
    import bentoml.monitoring as monitoring
    import bentoml.picklable_model as picklable_model
    import bentoml.sklearn as sklearn
    import bentoml.testing as testing
    import bentoml.types as types
    import bentoml.xgboost as xgboost
    from bentoml._context import Context, Cookie
    from bentoml.bentos import delete, export_bento, get, import_bento, list
    from bentoml.http_server import HTTPServer
    from bentoml.monitoring import monitor
    from bentoml.runner.runnable import Runnable
    from bentoml.runner.runner import Runner
    from bentoml.runner.sizing import Strategy
    from bentoml.service.loader import load
    from bentoml.service.service import Service
    from bentoml.store.bento import Bento
    from bentoml.store.model import Model
    from bentoml.tag import Tag

__all__ = [
    "Bento",
    "Context",
    "Cookie",
    "HTTPServer",
    "Model",
    "Runnable",
    "Runner",
    "Service",
    "Strategy",
    "Tag",
    "__version__",
    "bentos",
    "client",
    "config",
    "container",
    "delete",
    "exceptions",
    "export_bento",
    "get",
    "http_server",
    "import_bento",
    "io",
    "kubernetes",
    "lightgbm",
    "list",
    "load",
    "metrics",
    "models",
    "monitor",
    "monitoring",
    "picklable_model",
    "sklearn",
    "testing",
    "types",
    "xgboost",
]

#: Name → the module that defines it. A public name that is not here is a submodule.
_HOME_OF = {
    "Bento": "store.bento",
    "Context": "_context",
    "Cookie": "_context",
    "HTTPServer": "http_server",
    "Model": "store.model",
    "Runnable": "runner.runnable",
    "Runner": "runner.runner",
    "Service": "service.service",
    "Strategy": "runner.sizing",
    "Tag": "tag",
    "delete": "bentos",
    "export_bento": "bentos",
    "get": "bentos",
    "import_bento": "bentos",
    "list": "bentos",
    "load": "service.loader",
    "monitor": "monitoring",
}


#: BentoML's home of HTTPServer, and here a room behind the names above: found, and not listed.
_UNLISTED = ("server",)


def __getattr__(name: str) -> Any:
    if name not in __all__ and name not in _UNLISTED:
        raise AttributeError(f"module 'bentoml' has no attribute {name!r}{_suggestion(name)}")
    import importlib

    home = _HOME_OF.get(name)
    value = (
        getattr(importlib.import_module(f"bentoml.{home}"), name)
        if home
        else importlib.import_module(f"bentoml.{name}")
    )
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> Iterable[str]:
    return sorted({*__all__, *globals()})


def _suggestion(name: str) -> str:
    if name.startswith("_"):  # asked for by tools that only look
        return ""
    import difflib

    near = difflib.get_close_matches(name, __all__, n=1)
    return f". Did you mean {near[0]!r}?" if near else ""
