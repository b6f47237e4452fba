"""target_of(): what `bentoml serve` is to be told so that another process finds a service."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from bentoml.exceptions import UnservableException
from bentoml.service.service import Service
from bentoml.tag import Tag

__all__ = ["target_of"]


def target_of(bento: Any) -> tuple[str, str | None]:
    """What `bentoml serve` is to be told, and the working directory where one is known.

    Raises:
        UnservableException: `bento` is a Service that no other process can import.
    """
    if isinstance(bento, Service):
        if bento.tag is not None:
            return str(bento.tag), None
        if bento.import_string is not None:
            return bento.import_string, bento.working_dir
        return _found_in_modules(bento)
    tag = bento if isinstance(bento, Tag) else getattr(bento, "tag", None)
    return (str(tag), None) if isinstance(tag, Tag) else (os.fspath(bento), None)


def _found_in_modules(service: Service) -> tuple[str, str]:
    """The import string of a service that this process imported by itself.

    Raises:
        UnservableException: no module that has a file holds it.
    """
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == "__main__" or not file:
            continue
        for variable, value in list(vars(module).items()):
            if value is service:
                path = Path(file).resolve()
                levels = name.count(".") + (path.name == "__init__.py")
                return f"{name}:{variable}", str(path.parents[levels])
    raise UnservableException(
        f"no other process can import the service {service.name!r}: it is a variable of no module that has a file; "
        "put it into a file service.py and pass 'service:svc'"
    )
