"""Encoders: a Python value as the bytes of a JSON document, compact and in UTF-8."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from bentoml._importing import loaded
from bentoml.exceptions import InternalServerError

__all__ = ["encode", "encoder_of"]

_COMPACT: dict[str, Any] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
_standard_encode = json.JSONEncoder(**_COMPACT).encode


def encode(value: Any) -> bytes:
    """The value as JSON.

    Beside what `json.dumps` takes: dataclasses, attrs classes, msgspec structs, pydantic models, NumPy
    scalars and arrays, pandas frames and series, dates, sets, bytes (as base64), Decimal and UUID (as
    strings).

    Raises:
        InternalServerError: a part of the value has no JSON form, NaN and Infinity among them.
    """
    try:
        body = _encode(value)
    except (TypeError, ValueError, RecursionError):
        return _encode_slowly(value)
    # msgspec writes NaN as null. Only a document that holds the word is worth the second look.
    return _encode_slowly(value) if b"null" in body else body


def encoder_of(cls: type[json.JSONEncoder]) -> Callable[[Any], bytes]:
    """The function that encodes with a `json.JSONEncoder` class of the user."""

    def encode_with_cls(value: Any) -> bytes:
        try:
            return cls(**_COMPACT).encode(value).encode("utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            raise _not_encodable(value, error) from error

    return encode_with_cls


def _encode_slowly(value: Any) -> bytes:
    """As `encode`, by the standard library, which takes the keys that msgspec refuses and refuses NaN."""
    try:
        return _standard_encode(msgspec.to_builtins(value, enc_hook=_plain)).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_encodable(value, error) from error


def _not_encodable(value: Any, error: Exception) -> InternalServerError:
    return InternalServerError(
        f"JSON: the answer, of type {type(value).__name__}, cannot be encoded: {error}",
        hint="return dict, list, str, numbers, or give the descriptor a json_encoder",
    )


def _plain(value: Any) -> Any:
    """A value that msgspec does not know, in terms of those that it does.

    Libraries are looked for, never imported.

    Raises:
        TypeError: the value has no JSON form.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if (numpy := loaded("numpy")) is not None:
        if isinstance(value, numpy.generic):
            return value.item()
        if isinstance(value, numpy.ndarray):
            return value.tolist()
    if (pydantic := loaded("pydantic")) is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    if (pandas := loaded("pandas")) is not None and isinstance(value, (pandas.DataFrame, pandas.Series)):
        return value.to_dict()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
