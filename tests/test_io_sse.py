"""SSE: events as text, and text cut anywhere as events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentoml.io import SSE


def events_of(chunks: Iterable[Any]) -> list[SSE]:
    async def source() -> AsyncIterator[Any]:
        for chunk in chunks:
            yield chunk

    async def collect() -> list[SSE]:
        return [event async for event in SSE.from_iterator(source())]

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (SSE("a"), "data: a\n\n"),
        (SSE(""), "data: \n\n"),
        (SSE("a\nb\r\nc\rd"), "data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (SSE("a\u2028b\x0bc"), "data: a\u2028b\x0bc\n\n"),
        (SSE("a", event="e", id="1", retry=5), "event: e\nid: 1\nretry: 5\ndata: a\n\n"),
        (SSE(" a", id=""), "id: \ndata:  a\n\n"),
    ],
)
def test_an_event_is_written_with_a_line_for_each_line_of_data(event: SSE, text: str) -> None:
    assert event.marshal() == text


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0", "\r\ndata: forged", 5])
@pytest.mark.parametrize("name", ["event", "id"])
def test_a_type_or_id_that_would_add_lines_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"SSE: {name} must be a str without line breaks and NUL, not "):
        SSE("a", **{name: value})


@pytest.mark.parametrize("retry", [-1, 1.5, "5", True])
def test_a_retry_that_is_no_number_of_milliseconds_is_refused(retry: Any) -> None:
    with pytest.raises(ValueError, match="SSE: retry must be milliseconds as an int, not "):
        SSE("a", retry=retry)


@pytest.mark.parametrize("data", [None, b"a", {"a": 1}])
def test_data_that_is_no_text_is_refused(data: Any) -> None:
    with pytest.raises(TypeError, match="SSE: data must be str, not "):
        SSE(data)


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("data: a\n\n", [SSE("a")]),
        ("data:a\r\rdata:b\r\n\r\n", [SSE("a"), SSE("b")]),
        ("\ufeffdata: a\n\n", [SSE("a")]),
        (": comment\ndata: a\n:\n\n", [SSE("a")]),
        ("data\ndata:\n\n", [SSE("\n")]),
        ("data:  a\n\n", [SSE(" a")]),
        ("data: a: b\n\n", [SSE("a: b")]),
        ("event: e\nid: 1\nretry: 10\ndata: a\n\ndata: b\n\n", [SSE("a", "e", "1", 10), SSE("b")]),
        ("id: 1\0\nretry: 1.5\nretry: x\nunknown: 1\ndata: a\n\n", [SSE("a")]),
        ("event: only\n\ndata: a\n\n", [SSE("a")]),
        ("data: a\n", []),
        ("data: without an end", []),
        ("", []),
        ("\n\n\n", []),
        ("event:\ndata: a\n\n", [SSE("a")]),
        ("retry: 99999999999999999999\ndata: a\n\n", [SSE("a")]),
    ],
)
def test_a_stream_is_read_as_browsers_read_it(text: str, events: list[SSE]) -> None:
    assert events_of([text]) == events
    assert events_of(text) == events, "one character at a time"
    assert events_of([bytes([byte]) for byte in text.encode()]) == events, "one byte at a time"


_LINES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda text: not set(text) & set("\r\n\0")
)
_EVENTS = st.builds(
    SSE,
    st.lists(_LINES, min_size=1, max_size=3).map("\n".join),
    st.none() | _LINES.filter(bool),
    st.none() | _LINES,
    st.none() | st.integers(0, 10**6),
)


@given(st.lists(_EVENTS, max_size=4), st.lists(st.integers(0, 60), max_size=6), st.sampled_from(["\n", "\r", "\r\n"]))
def test_what_was_written_is_read_again_however_it_is_cut(events: list[SSE], cuts: list[int], line_end: str) -> None:
    text = "".join(event.marshal() for event in events).replace("\n", line_end)
    places = [0, *sorted(cuts), len(text)]
    assert events_of([text[a:b] for a, b in pairwise(places)]) == events


@given(st.lists(st.text(max_size=20) | st.binary(max_size=20), max_size=5))
def test_any_chunks_are_events_or_nothing(chunks: list[Any]) -> None:
    assert all(isinstance(event, SSE) for event in events_of(chunks))
