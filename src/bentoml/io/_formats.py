"""The formats in which a value may travel: read from `Content-Type`, negotiated by `Accept`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

__all__ = ["BINARY_SCHEMA", "essence", "negotiated"]

#: The schema of a body that is no text.
BINARY_SCHEMA = {"type": "string", "format": "binary"}

#: Media ranges of one `Accept` that are looked at; a browser sends about eight.
_MAX_RANGES = 32


def essence(content_type: bytes) -> bytes:
    """The media type in lower case, without parameters: `b"text/csv"` for `b"Text/CSV; charset=utf-8"`."""
    return content_type.partition(b";")[0].strip().lower()


def negotiated(accept: bytes, formats: Mapping[bytes, str], default: str, available: Collection[str]) -> str:
    """The format that the client likes best of those that are available.

    Only a format that is asked for by name takes the place of the default; `*/*`, `application/*` and names that are
    unknown here leave it. What has the higher `q` wins, then what is named, then what comes first.

    Args:
        formats: the format of each media type, which is in lower case.
        available: the formats that can be written here.
    """
    if not accept or accept == b"*/*":
        return default
    best, best_rank = default, (0.0, 0)
    for each in accept.split(b",", _MAX_RANGES)[:_MAX_RANGES]:
        media_type, _, parameters = each.partition(b";")
        wanted = formats.get(media_type.strip().lower())
        is_named = wanted is not None and wanted in available
        if not is_named and not media_type.strip().endswith(b"/*"):
            continue
        rank = (_quality(parameters), int(is_named))
        if rank > best_rank and rank[0] > 0:
            best, best_rank = wanted if is_named and wanted is not None else default, rank
    return best


def _quality(parameters: bytes) -> float:
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() == b"q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
