"""MethodQueue: calls in order of arrival, bounded in rows, refused when they could not be answered in time."""

from __future__ import annotations

import math
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml.exceptions import ServiceUnavailable
from bentoml.runner.batching import Policy
from bentoml.runner.method_queue import Call, MethodPlan, MethodQueue
from bentoml.types import ModelSignature

IDLE = -math.inf


def queue(
    *,
    max_batch_rows: int = 4,
    max_latency_s: float = math.inf,
    max_queue_rows: int = 100,
    patience_s: float = 0.0,
    seconds: float | None = None,
    batching: bool = True,
) -> MethodQueue:
    """A queue; `seconds`: what every call so far took, whatever its rows."""
    made = MethodQueue(
        MethodPlan(
            "predict",
            ModelSignature(batchable=batching),
            batching,
            Policy(max_batch_rows, patience_s),
            max_latency_s,
            max_queue_rows,
        )
    )
    if seconds is not None:
        for _ in range(50):
            made.cost.observe(1, seconds)
    return made


def call(key: str | None = "a", rows: int = 1, at: float = 0.0, latency_s: float = math.inf) -> Call:
    return Call((), {}, rows, key, at, at + latency_s, Future[Any](), None)


# -- order ------------------------------------------------------------------------------------------------------------


def test_the_lane_of_the_oldest_call_comes_first_whatever_was_taken_before() -> None:
    waiting = queue()
    calls = [call("a", at=0), call("b", at=1), call("a", at=2), call("c", at=3), call("b", at=4)]
    for each in calls:
        waiting.push(each, IDLE)
    taken = []
    while (lane := waiting.oldest_lane()) is not None:
        taken += waiting.take(lane, 1)
    assert taken == calls
    assert (len(waiting), waiting.rows, bool(waiting)) == (0, 0, False)


def test_a_key_that_comes_rarely_is_not_starved_by_one_that_never_stops_coming() -> None:
    waiting = queue()
    rare = call("rare", at=5)
    served = []
    for at in range(50):
        waiting.push(call("common", at=at), IDLE)
        if at == 5:
            waiting.push(rare, IDLE)
        if at % 2:
            lane = waiting.oldest_lane()
            assert lane is not None
            served += waiting.take(lane, 1)
    assert rare in served[:10]


def test_calls_whose_caller_went_away_are_dropped_from_the_front_and_at_sealing() -> None:
    waiting = queue()
    calls = [call(at=at) for at in range(4)]
    for each in calls:
        waiting.push(each, IDLE)
    calls[0].future.cancel()
    calls[2].future.cancel()
    lane = waiting.oldest_lane()
    assert lane is not None
    assert lane[0] is calls[1]
    assert waiting.rows == 3
    assert waiting.take(lane, 3) == [calls[1], calls[3]]
    assert waiting.rows == 0


def test_only_the_calls_past_their_deadline_are_shed_in_order() -> None:
    waiting = queue()
    calls = [call("a", at=0, latency_s=1), call("b", at=1, latency_s=1), call("a", at=2, latency_s=1)]
    for each in calls:
        waiting.push(each, IDLE)
    assert waiting.next_deadline() == 1
    assert list(waiting.shed(2.0)) == calls[:2]
    assert (waiting.rows, waiting.next_deadline()) == (1, 3.0)


def test_without_patience_only_the_oldest_lane_is_offered_and_with_it_all_by_age() -> None:
    for patience_s, offered in ((0.0, ["b"]), (1.0, ["b", "a", "c"])):
        waiting = queue(patience_s=patience_s)
        for at, key in enumerate("bac"):
            waiting.push(call(key, at=at), IDLE)
        assert [lane.key for lane in waiting.lanes()] == offered
        assert len(queue().lanes()) == 0


operations = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.sampled_from(["a", "b", "c", None]), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(1, 4), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 50), st.none()),
        st.tuples(st.just("shed"), st.floats(0, 3), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(operations)
def test_whatever_happens_no_call_is_lost_doubled_or_overtaken_by_a_younger_one(ops: list[tuple[Any, ...]]) -> None:
    waiting = queue(max_queue_rows=30)
    pushed: list[Call] = []
    left: list[Call] = []
    shed: list[Call] = []
    refused = 0
    for now, (kind, what, rows) in enumerate(ops):
        if kind == "push":
            made = call(what, rows or 0, at=now, latency_s=20.0)
            try:
                waiting.push(made, IDLE)
                pushed.append(made)
            except ServiceUnavailable:
                refused += 1
                assert sum(each.weight for each in pushed if each not in left and each not in shed) + made.weight > 30
        elif kind == "take":
            lane = waiting.oldest_lane()
            live = [each for each in pushed if each not in left and each not in shed and not each.future.done()]
            assert (lane is None) == (not live)
            if lane is not None:
                assert lane[0] is live[0], "the oldest call leaves first"
                taken = waiting.take(lane, min(what, len(lane)))
                assert taken == [each for each in live if each.key == lane.key][: len(taken)]
                left += taken
        elif kind == "cancel":
            if pushed:
                pushed[what % len(pushed)].future.cancel()
        else:
            shed += waiting.shed(now + what)
            assert all(
                each.deadline > now + what for each in pushed if each not in left + shed and not each.future.done()
            )
        assert waiting.rows >= 0
        assert bool(waiting) == (waiting.rows > 0)
    rest = [each for each in waiting.drain() if not each.future.done()]
    assert waiting.rows == 0
    alive = [each for each in pushed if not each.future.done()]
    out = [each for each in left + shed + rest if not each.future.done()]
    assert sorted(map(id, out)) == sorted(map(id, alive))


def test_ten_thousand_calls_that_run_alone_or_have_keys_of_their_own_are_each_looked_at_a_few_times() -> None:
    class Counting(Future[Any]):
        looks = 0

        def done(self) -> bool:
            Counting.looks += 1
            return super().done()

    for keys in ([None] * 10_000, [str(number) for number in range(10_000)]):
        Counting.looks = 0
        waiting = queue(max_queue_rows=10_000, batching=False)
        for at, key in enumerate(keys):
            made = call(key, at=at)
            made.future = Counting()
            waiting.push(made, IDLE)
        while (lane := waiting.oldest_lane()) is not None:
            waiting.take(lane, 1)
        assert Counting.looks <= 3 * 10_000


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_the_queue_is_bounded_in_rows() -> None:
    waiting = queue(max_queue_rows=5)
    waiting.push(call(rows=3), IDLE)
    waiting.push(call(rows=2), IDLE)
    with pytest.raises(ServiceUnavailable) as caught:
        waiting.push(call(rows=1), IDLE)
    assert str(caught.value) == "the queue of 'predict' is full: 5 rows wait, 5 may"
    assert caught.value.retry_after_s == 1.0
    assert waiting.rows == 5


def test_an_empty_call_takes_a_place_in_the_queue() -> None:
    waiting = queue(max_queue_rows=2)
    waiting.push(call(None, rows=0), IDLE)
    waiting.push(call(None, rows=0), IDLE)
    with pytest.raises(ServiceUnavailable, match="is full: 2 rows wait, 2 may"):
        waiting.push(call(None, rows=0), IDLE)


def test_a_call_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    waiting = queue(max_queue_rows=5)
    waiting.push(call(rows=50), IDLE)
    with pytest.raises(ServiceUnavailable, match="is full: 50 rows wait, 5 may"):
        waiting.push(call(rows=1), IDLE)


def test_calls_whose_caller_went_away_make_room_in_a_full_queue() -> None:
    waiting = queue(max_queue_rows=3)
    calls = [call("abc"[at], at=at) for at in range(3)]
    for each in calls:
        waiting.push(each, IDLE)
    calls[1].future.cancel()
    newest = call(at=3)
    waiting.push(newest, IDLE)
    assert waiting.rows == 3
    assert [each for each in waiting.drain() if not each.future.done()] == [calls[0], newest, calls[2]]


def test_a_full_queue_is_searched_for_them_once_in_as_many_refusals_as_calls_wait() -> None:
    waiting = queue(max_queue_rows=3)
    calls = [call(at=at) for at in range(3)]
    for each in calls:
        waiting.push(each, IDLE)
    with pytest.raises(ServiceUnavailable):
        waiting.push(call(at=3), IDLE)
    calls[1].future.cancel()
    for at in (4, 5):
        with pytest.raises(ServiceUnavailable):
            waiting.push(call(at=at), IDLE)
    waiting.push(call(at=6), IDLE)
    assert (waiting.rows, len(waiting)) == (3, 3)


@pytest.mark.parametrize(
    ("queued", "rows", "free_at", "refused_by_s"),
    [
        (0, 1, IDLE, None),
        (3, 1, IDLE, None),  # leaves in the next batch: nothing is gained by refusing it
        (4, 1, IDLE, 1.5),  # two batches of 1 s, and 0.5 s to do it
        (0, 1, 0.2, 0.7),
        (0, 40, IDLE, None),
        (40, 1, IDLE, 10.5),
    ],
)
def test_a_call_that_cannot_be_answered_in_time_is_refused_on_arrival(
    queued: int, rows: int, free_at: float, refused_by_s: float | None
) -> None:
    waiting = queue(max_latency_s=0.5, seconds=1.0)
    while waiting.rows < queued:
        waiting.push(call(rows=1 if queued - waiting.rows < 4 else 4, latency_s=math.inf), IDLE)
    newest = call(rows=rows, latency_s=0.5)
    if refused_by_s is None:
        waiting.push(newest, free_at)
        return
    with pytest.raises(ServiceUnavailable) as caught:
        waiting.push(newest, free_at)
    assert str(caught.value) == "the queue of 'predict' is too long to answer within 500 ms"
    assert caught.value.retry_after_s == pytest.approx(max(1.0, refused_by_s))
    assert waiting.rows == queued


def test_every_key_and_every_call_that_runs_alone_counts_as_a_batch_of_its_own() -> None:
    for keys in ("abc", [None] * 3):
        waiting = queue(max_batch_rows=100, max_latency_s=3.5, seconds=1.0)
        for key in keys:
            waiting.push(call(key, latency_s=3.5), IDLE)
        with pytest.raises(ServiceUnavailable, match="is too long to answer within 3500 ms"):
            waiting.push(call(keys[0] and "d", latency_s=3.5), IDLE)


def test_nothing_is_refused_for_its_deadline_before_the_model_is_known() -> None:
    waiting = queue(max_latency_s=0.001)
    for _ in range(5):
        waiting.cost.observe(1, 100.0)
        waiting.push(call(rows=4, latency_s=0.001), 50.0)
    assert waiting.rows == 20


def test_without_batching_nothing_is_refused_but_for_want_of_room() -> None:
    waiting = queue(batching=False, max_batch_rows=1, max_queue_rows=3, seconds=100.0)
    for _ in range(3):
        waiting.push(call(None), 1e6)
    with pytest.raises(ServiceUnavailable, match="is full"):
        waiting.push(call(None), IDLE)


def test_the_backlog_is_the_time_that_all_batches_take() -> None:
    waiting = queue(max_batch_rows=4, seconds=1.0)
    assert waiting.backlog_s() == 0.0
    for _ in range(9):
        waiting.push(call(), IDLE)
    assert waiting.backlog_s() == pytest.approx(3.0)


# -- Call -------------------------------------------------------------------------------------------------------------


def test_an_answer_or_an_error_for_a_caller_that_went_away_is_dropped() -> None:
    gone = call()
    gone.future.cancel()
    gone.answer(1)
    gone.fail(ValueError())
    assert gone.future.cancelled()


def test_a_caller_that_goes_away_at_this_very_moment_is_no_error() -> None:
    class Racing(Future[Any]):
        def done(self) -> bool:
            answered = super().done()
            self.cancel()
            return answered

    for end in (lambda each: each.answer(1), lambda each: each.fail(ValueError())):
        racing = call()
        racing.future = Racing()
        end(racing)
        assert racing.future.cancelled()
