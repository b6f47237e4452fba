"""parse(): the one strict reader of JSON that came from outside."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from bentoml.exceptions import BadInput

__all__ = ["parse", "shortened"]

#: Longest piece of a message that may repeat what a caller sent.
_MAX_ECHO_CHARS = 200

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def parse(body: bytes) -> Any:
    """The value of a JSON document, made of dict, list, str, int, float, bool and None.

    Strict where parsers differ, so that no two readers of one body understand different things: UTF-8 only,
    no NaN or Infinity, no number beyond a double, no integer of more than 4,300 digits, no name twice in an
    object.

    Raises:
        BadInput: the body is no such document; says where and why.
    """
    try:
        value = _decode(body)
        colons = body.count(b":")
        # Objects whose names are as many as the colons of the whole body have lost none of them.
        if colons and not (type(value) is dict and len(value) == colons) and _outer_names(value) != colons:
            _refuse_lost_names(value, body, colons)
        return value
    except msgspec.DecodeError as error:
        raise _refused(_reason(body, str(error))) from None
    except UnicodeDecodeError:
        raise _refused(_utf8_reason(body)) from None
    except RecursionError:
        raise _refused("it is nested too deeply") from None


def shortened(text: str) -> str:
    """Text that may repeat what a caller sent, fit for a message: not long, and of one line."""
    # A line break in it would let a caller write lines of ours into the log.
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:_MAX_ECHO_CHARS])
    return line if len(text) <= _MAX_ECHO_CHARS else line + "…"


def _outer_names(value: Any) -> int:
    """The names in the objects of the first two levels, which are all there are in most tables."""
    inner = value.values() if type(value) is dict else value if type(value) is list else ()
    outer = len(value) if type(value) is dict else 0
    return outer + sum([len(each) for each in inner if type(each) is dict])


def _refuse_lost_names(value: Any, body: bytes, colons: int) -> None:
    """Raise if an object of the body has a name twice, of which the parser keeps the last.

    Every name brings one colon to the text, every string its own. Written again, the value has as many
    colons as the body exactly if nothing was dropped, save where the body escapes a colon. So the slow
    search runs only where there is something to find.
    """
    may_escape_a_colon = b"\\" in body and b"\\u003" in body
    if may_escape_a_colon or _encode(value).count(b":") != colons:
        json.loads(body, object_pairs_hook=_unique_names)


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _refused(f"the name {shortened(name)!r} occurs twice in one object")
        found[name] = value
    return found


def _refused(reason: str) -> BadInput:
    return BadInput(f"Invalid JSON input received: {reason}")


def _reason(body: bytes, error: str) -> str:
    if not body.strip(b" \t\r\n"):
        return "the body is empty"
    at = re.search(r"\(byte (\d+)\)", error)
    if at and body[int(at[1]) :].startswith((b"NaN", b"Infinity")):
        return f"NaN and Infinity are not JSON (byte {at[1]})"
    if error == "Input data was truncated":
        return "the document ends too early"
    return shortened(error)


def _utf8_reason(body: bytes) -> str:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"the body is not UTF-8: {error.reason} at byte {error.start}"
    return "the body is not UTF-8"
