"""When a call is sent again is decided by a function of plain numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentoml.client.retrying import LONGEST_PAUSE_S, pause_s


@pytest.mark.parametrize(
    ("failures", "told_s", "remaining_s", "luck", "expected_s"),
    [
        (1, None, 10.0, 1.0, 0.1),
        (2, None, 10.0, 1.0, 0.2),
        (3, None, 10.0, 0.5, 0.2),
        (4, None, 10.0, 0.0, None),  # three retries are enough
        (1, 0.0, 10.0, 0.0, 0.0),
        (1, 7.0, 10.0, 1.0, 7.1),
        (1, 10.0, 10.0, 0.0, None),  # the server wants more time than there is
        (1, None, 0.0, 0.0, None),
    ],
)
def test_a_pause_grows_and_heeds_the_server(
    failures: int, told_s: float | None, remaining_s: float, luck: float, expected_s: float | None
) -> None:
    found = pause_s(failures, told_s, max_retries=3, remaining_s=remaining_s, luck=luck)
    assert found == (None if expected_s is None else pytest.approx(expected_s))


@given(
    failures=st.integers(1, 2000),
    told_s=st.none() | st.floats(0, 1e6),
    remaining_s=st.floats(-10, 1e6),
    luck=st.floats(0, 1),
)
def test_no_pause_is_longer_than_the_time_left_or_shorter_than_what_was_asked_for(
    failures: int, told_s: float | None, remaining_s: float, luck: float
) -> None:
    found = pause_s(failures, told_s, max_retries=2000, remaining_s=remaining_s, luck=luck)
    if found is None:
        assert remaining_s <= (told_s or 0.0) + LONGEST_PAUSE_S
    else:
        assert (told_s or 0.0) <= found < remaining_s
        assert math.isfinite(found)
