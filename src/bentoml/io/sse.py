"""SSE: one server-sent event, as the event-stream format of the HTML standard writes and reads it."""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

__all__ = ["SSE"]

_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class SSE:
    """One event of a `text/event-stream`, which an API function yields with the output `Text("text/event-stream")`.

    Args:
        data: any text; each of its lines becomes a `data:` line.
        event: the type for which a browser calls its listeners; `"message"` where it is None.
        id: what a browser sends as `Last-Event-ID` when it connects again.
        retry: milliseconds that a browser waits before it does.

    Raises:
        TypeError: `data` is no str.
        ValueError: `event` or `id` holds a line break or NUL, with which its writer could add lines of their own; or
            `retry` is no number of milliseconds.
    """

    data: str
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data, str):
            raise TypeError(f"SSE: data must be str, not {type(self.data).__name__}; json.dumps(…) makes one of others")
        for name in ("event", "id"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or any(char in value for char in "\r\n\0")):
                raise ValueError(f"SSE: {name} must be a str without line breaks and NUL, not {value!r}")
        if self.retry is not None and (type(self.retry) is not int or self.retry < 0):
            raise ValueError(f"SSE: retry must be milliseconds as an int, not {self.retry!r}")

    def marshal(self) -> str:
        """The event as text, with the empty line that ends it."""
        fields = (("event", self.event), ("id", self.id), ("retry", self.retry))
        lines = [f"{name}: {value}" for name, value in fields if value is not None]
        lines += [f"data: {line}" for line in _LINE_END.split(self.data)]
        return "\n".join([*lines, "", ""])

    @staticmethod
    async def from_iterator(chunks: AsyncIterator[str] | AsyncIterator[bytes]) -> AsyncIterator[SSE]:
        """The events of a stream, each as soon as it is complete.

        A byte order mark, comments, unknown fields and an event without data or without its end are passed over, as
        browsers do. `id` is that of the event itself: it is None where only an earlier event had one.

        Args:
            chunks: the text or its UTF-8 bytes, cut anywhere.
        """
        fields: dict[str, str] = {}
        data: list[str] = []
        async for line in _lines(_texts(chunks)):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if line == "":
                if data:
                    retry = fields.get("retry")
                    yield SSE(
                        "\n".join(data),
                        fields.get("event") or None,
                        fields.get("id"),
                        None if retry is None else int(retry),
                    )
                fields, data = {}, []
            elif name == "data":
                data.append(value)
            elif _is_known(name, value):
                fields[name] = value


def _is_known(name: str, value: str) -> bool:
    if name == "retry":
        return re.fullmatch("[0-9]{1,18}", value) is not None
    return name in ("event", "id") and "\0" not in value


async def _texts(chunks: AsyncIterator[str] | AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The chunks decoded, without the byte order mark that may begin the stream."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    at_start = True
    async for chunk in chunks:
        text = chunk if isinstance(chunk, str) else decode(chunk)
        if at_start and text:
            at_start = False
            text = text.removeprefix("\ufeff")
        yield text


async def _lines(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """The lines that have ended; of a line in many chunks each chunk is looked at once."""
    begun: list[str] = []
    after_cr = False
    async for text in texts:
        if after_cr and text:
            text = text.removeprefix("\n")  # the second half of the line's end
            after_cr = False
        first, *others = _LINE_END.split(text)
        begun.append(first)
        after_cr = after_cr or text.endswith("\r")
        if others:
            yield "".join(begun)
            for line in others[:-1]:
                yield line
            begun = [others[-1]]
