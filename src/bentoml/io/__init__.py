"""IO descriptors: from a request body to a Python value, from a value to a response, and the OpenAPI of both.

One file per descriptor over one base; a descriptor's file loads on first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bentoml.exceptions import InvalidArgument

if TYPE_CHECKING:
    from bentoml.io.dataframe import PandasDataFrame
    from bentoml.io.descriptor import IODescriptor
    from bentoml.io.file import File
    from bentoml.io.image import Image
    from bentoml.io.json import JSON
    from bentoml.io.multipart import Multipart
    from bentoml.io.numpy import NumpyNdarray
    from bentoml.io.series import PandasSeries
    from bentoml.io.sse import SSE
    from bentoml.io.text import Text

__all__ = [
    "JSON",
    "SSE",
    "File",
    "IODescriptor",
    "Image",
    "Multipart",
    "NumpyNdarray",
    "PandasDataFrame",
    "PandasSeries",
    "Text",
    "from_spec",
]

_MODULES = {
    "File": "file",
    "IODescriptor": "descriptor",
    "Image": "image",
    "JSON": "json",
    "Multipart": "multipart",
    "NumpyNdarray": "numpy",
    "PandasDataFrame": "dataframe",
    "PandasSeries": "series",
    "SSE": "sse",
    "Text": "text",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def from_spec(spec: Mapping[str, Any]) -> IODescriptor[Any]:
    """The descriptor that `to_spec()` described.

    Args:
        spec: `{"id": "bentoml.io.JSON", "args": {…}}`.

    Raises:
        InvalidArgument: there is no id, or the arguments are not those of the descriptor.
        KeyError: no class has that id; it is an InvalidArgument too.
    """
    descriptor_id = spec.get("id") if isinstance(spec, Mapping) else None
    if not isinstance(descriptor_id, str):
        raise InvalidArgument(
            "a descriptor's spec must be a mapping with the key 'id'",
            hint='for instance {"id": "bentoml.io.JSON", "args": {}}',
        )
    module, _, name = descriptor_id.rpartition(".")
    if module == __name__ and name in _MODULES:
        __getattr__(name)  # a class registers itself when its file loads
    from bentoml.io.descriptor import class_with_id

    return class_with_id(descriptor_id).from_spec(spec)
