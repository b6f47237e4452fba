"""decide, admit and CostModel: pure decisions, checked with tables, by property and against simulated queues."""

from __future__ import annotations

import itertools
import math
import random
from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml.runner.batching import CostModel, Policy, Send, Shed, Wait, admit, decide


@dataclass
class Queued:
    rows: int = 1
    enqueued_at: float = 0.0
    deadline: float = math.inf
    key: str | None = "key"
    number: int = 0


@dataclass
class Linear:
    per_row_s: float = 0.0
    per_call_s: float = 0.0

    def __call__(self, rows: int, calls: int = 1) -> float:
        return self.per_row_s * rows + self.per_call_s * calls


FREE = Linear()


def rows(*counts: int) -> list[Queued]:
    return [Queued(count) for count in counts]


# -- decide: tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "sent"),
    [
        ([1], Send(1, "idle")),
        ([1, 1, 1], Send(3, "idle")),
        ([4], Send(1, "full")),
        ([1, 3], Send(2, "full")),
        ([1, 3, 1], Send(2, "full")),
        ([3, 2], Send(1, "full")),
        ([9], Send(1, "full")),
        ([9, 1], Send(1, "full")),
        ([1, 9], Send(1, "full")),
        ([0], Send(1, "idle")),
    ],
)
def test_a_batch_takes_the_oldest_calls_that_fit_in_four_rows(counts: list[int], sent: Send) -> None:
    assert decide(0.0, rows(*counts), FREE, Policy(4)) == sent


def test_a_call_that_nothing_can_join_leaves_by_itself_and_at_once() -> None:
    queue = [Queued(key=None), Queued(key=None)]
    assert decide(0.0, queue, FREE, Policy(4, patience_s=1.0)) == Send(1, "full")


@pytest.mark.parametrize(
    ("now", "deadline", "decided"),
    [
        (0.0, math.inf, Wait(0.5)),
        (0.4, math.inf, Wait(0.5)),
        (0.5, math.inf, Send(2, "patience")),
        (0.0, 1.0, Wait(0.5)),
        # Three rows take 0.3 s, so one more row pays only until 0.3 s before the deadline.
        (0.0, 0.5, Wait(0.2)),
        (0.2, 0.5, Send(2, "deadline")),
        (0.0, 0.2, Send(2, "deadline")),
        (0.2, 0.2, Shed(2)),
    ],
)
def test_patience_ends_when_it_runs_out_or_no_longer_pays(now: float, deadline: float, decided: object) -> None:
    queue = [Queued(deadline=deadline), Queued(deadline=deadline)]
    found = decide(now, queue, Linear(per_row_s=0.1), Policy(4, patience_s=0.5))
    assert type(found) is type(decided)
    assert found == pytest.approx(decided) if isinstance(decided, Wait) else found == decided


def test_only_the_calls_past_their_deadline_are_shed() -> None:
    queue = [Queued(deadline=1.0), Queued(deadline=2.0), Queued(deadline=3.0)]
    assert decide(2.0, queue, FREE, Policy(4)) == Shed(2)
    assert decide(2.0, queue[2:], FREE, Policy(4)) == Send(1, "idle")


# -- decide: properties -----------------------------------------------------------------------------------------------

policies = st.builds(Policy, st.integers(1, 20), st.sampled_from([0.0, 0.01, 0.5]))
costs = st.builds(Linear, st.floats(0, 0.1), st.floats(0, 0.5))


@st.composite
def queues(draw: st.DrawFn) -> list[Queued]:
    key = draw(st.sampled_from(["key", None]))
    latency_s = draw(st.sampled_from([0.1, 1.0, math.inf]))
    arrivals = sorted(draw(st.lists(st.floats(0, 2), min_size=1, max_size=30)))
    return [Queued(draw(st.integers(0, 25)), at, at + latency_s, key) for at in arrivals]


@given(st.floats(0, 3), queues(), costs, policies)
def test_a_decision_keeps_the_limits_whatever_is_queued(
    now: float, queue: list[Queued], cost: Linear, policy: Policy
) -> None:
    decision = decide(now, queue, cost, policy)
    if isinstance(decision, Send):
        sent = queue[: decision.size]
        assert len(sent) == decision.size >= 1
        assert sum(call.rows for call in sent) <= policy.max_batch_rows or len(sent) == 1
        assert queue[0].deadline > now
        if queue[0].key is None:
            assert len(sent) == 1
        elif len(sent) < len(queue):
            assert decision.reason == "full"
            after = sum(call.rows for call in queue[: decision.size + 1])
            assert after > policy.max_batch_rows or sum(call.rows for call in sent) == policy.max_batch_rows
    elif isinstance(decision, Wait):
        waiting = sum(call.rows for call in queue)
        assert policy.patience_s > 0
        assert now < decision.until <= queue[0].enqueued_at + policy.patience_s
        assert decision.until <= queue[0].deadline - cost(waiting + 1)
        assert waiting < policy.max_batch_rows
    else:
        assert all(call.deadline <= now for call in queue[: decision.size])
        assert decision.size == len(queue) or queue[decision.size].deadline > now


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 12)), max_size=60),
    st.sampled_from([0.05, 1.0, math.inf]),
    costs,
    policies,
)
def test_a_simulated_queue_serves_every_call_once_in_order_and_never_idles_on_waiting_calls(
    gaps: list[tuple[float, int]], latency_s: float, cost: Linear, policy: Policy
) -> None:
    arrivals: deque[Queued] = deque()
    at = 0.0
    for number, (gap, count) in enumerate(gaps):
        at += gap
        arrivals.append(Queued(count, at, at + latency_s, number=number))
    now, free_at, queue = 0.0, 0.0, deque[Queued]()
    served: list[int] = []
    shed: list[int] = []
    for _ in range(20 * len(gaps) + 20):
        while arrivals and arrivals[0].enqueued_at <= now:
            queue.append(arrivals.popleft())
        if not queue:
            if not arrivals:
                break
            now = arrivals[0].enqueued_at
            continue
        if now < free_at:
            now = min(free_at, arrivals[0].enqueued_at) if arrivals else free_at
            continue
        decision = decide(now, queue, cost, policy)
        if isinstance(decision, Wait):
            assert policy.patience_s > 0, "without patience a free executor never waits"
            assert decision.until > now, "a wait that is over would spin"
            now = min(decision.until, arrivals[0].enqueued_at) if arrivals else decision.until
            continue
        left = [queue.popleft() for _ in range(decision.size)]
        if isinstance(decision, Shed):
            assert all(call.deadline <= now for call in left)
            shed += [call.number for call in left]
        else:
            if latency_s == math.inf or policy.patience_s < latency_s:
                assert all(call.deadline > now for call in left[:1])
            served += [call.number for call in left]
            free_at = now + cost(sum(call.rows for call in left))
    assert not queue, "a call starved"
    assert served == sorted(served)
    assert sorted(served + shed) == list(range(len(gaps)))


# -- admit ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows_queued", "lanes", "free_at", "late_s"),
    [
        (1, 1, 0.0, None),
        (8, 1, 0.0, None),  # two batches of 0.1 s and eight rows of 0.1 s are in time for a deadline of 1 s
        (9, 1, 0.0, 0.2),
        (1, 1, 0.8, None),
        (1, 1, 0.9, 0.1),
        (4, 6, 0.0, None),
        (4, 7, 0.0, 0.1),
    ],
)
def test_a_call_is_refused_by_as_much_as_it_would_be_late(
    rows_queued: int, lanes: int, free_at: float, late_s: float | None
) -> None:
    cost = Linear(per_row_s=0.1, per_call_s=0.1)
    found = admit(free_at, rows=rows_queued, lanes=lanes, deadline=1.0 + 1e-9, cost=cost, policy=Policy(4))
    assert found == (None if late_s is None else pytest.approx(late_s))


def test_without_a_deadline_every_call_is_admitted() -> None:
    assert admit(1e9, rows=10**6, lanes=9, deadline=math.inf, cost=Linear(1, 1), policy=Policy(1)) is None


# -- CostModel --------------------------------------------------------------------------------------------------------


def fitted(per_row_s: float, per_call_s: float, noise_s: float = 0.0, *, calls: int = 400, seed: int = 1) -> CostModel:
    noise = random.Random(seed)
    model = CostModel()
    for _ in range(calls):
        count = noise.choice([1, 2, 5, 20, 64])
        model.observe(count, per_row_s * count + per_call_s + noise.gauss(0, noise_s))
    return model


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_finds_slope_intercept_and_error_under_noise(seed: int) -> None:
    model = fitted(2e-5, 3e-4, 1e-5, seed=seed)
    assert model.per_row_s == pytest.approx(2e-5, rel=0.1)
    assert model.per_call_s == pytest.approx(3e-4, rel=0.1)
    # Nine tenths of a normal distribution lie below 1.28 standard deviations.
    assert 0.6e-5 < model.error_s < 2.2e-5


def test_nine_calls_in_ten_stay_below_the_prediction() -> None:
    noise = random.Random(3)
    model = fitted(2e-5, 3e-4, 3e-5)
    below = 0
    for _ in range(3000):
        count = noise.choice([1, 2, 5, 20, 64])
        seconds = 2e-5 * count + 3e-4 + noise.gauss(0, 3e-5)
        below += seconds <= model(count)
        model.observe(count, seconds)
    assert 0.85 < below / 3000 < 0.95


def test_the_fit_follows_a_change_within_forty_calls() -> None:
    model = fitted(1e-5, 1e-3)
    for count in itertools.islice(itertools.cycle([1, 8, 64]), 45):
        model.observe(count, 1e-4 * count + 1e-2)
    assert model(64) == pytest.approx(1e-4 * 64 + 1e-2, rel=0.35)


@pytest.mark.parametrize("outlier_s", [0.1, 1.0, 60.0])
def test_one_outlier_hardly_moves_the_prediction(outlier_s: float) -> None:
    model = fitted(2e-5, 3e-4, 1e-5)
    before = model(64)
    model.observe(20, outlier_s)
    assert model(64) == pytest.approx(before, rel=0.2)


def test_a_method_that_always_gets_the_same_rows_is_predicted_and_can_change() -> None:
    model = CostModel()
    for _ in range(50):
        model.observe(1, 1e-3)
    assert model(1) == pytest.approx(1e-3)
    assert model(100) == pytest.approx(1e-3), "the line is flat until another size was seen"
    for _ in range(60):
        model.observe(1, 5e-3)
    assert model(1) == pytest.approx(5e-3, rel=0.5)


def test_neither_part_of_a_duration_is_ever_negative() -> None:
    model = CostModel()
    for count, seconds in itertools.islice(itertools.cycle([(1, 9e-3), (50, 1e-3), (100, 1e-3)]), 60):
        model.observe(count, seconds)
    assert model.per_row_s == 0.0
    assert model.per_call_s > 0.0


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1e4)), max_size=80))
def test_whatever_is_observed_predictions_are_finite_and_not_negative(observed: list[tuple[int, float]]) -> None:
    model = CostModel()
    for count, seconds in observed:
        model.observe(count, seconds)
    for count in (0, 1, 100):
        assert 0.0 <= model(count) < math.inf
        assert model.undisturbed(count) >= 0.0
    assert min(model.per_row_s, model.per_call_s, model.error_s) >= 0.0


def test_nothing_is_predicted_before_enough_calls_were_seen() -> None:
    model = CostModel()
    assert (model(100), model.calibrated, model.undisturbed(1)) == (0.0, False, math.inf)
    for _ in range(5):
        model.observe(1, 1.0)
        assert not model.calibrated
    model.observe(1, 1.0)
    assert model.calibrated
    assert model.undisturbed(1) == pytest.approx(1.0)


def test_the_first_calls_of_a_process_are_not_learned_from() -> None:
    model = CostModel()
    for seconds in (5.0, 5.0, *[1e-3] * 10):
        model.observe(1, seconds)
    assert model(1) == pytest.approx(1e-3)


def test_undisturbed_is_the_time_of_the_best_recent_call() -> None:
    model = CostModel()
    for _ in range(100):
        model.observe(1, 1e-3)
    # Other threads get in the way of most calls, and of one in eight they do not.
    for number in range(400):
        model.observe(1, 1e-3 if number % 8 == 0 else 4e-3)
    assert model(1) > 3e-3
    assert model.undisturbed(1) < 2e-3


def test_undisturbed_forgets_a_best_call_that_does_not_come_again() -> None:
    model = CostModel()
    for seconds in (*[1e-3] * 50, *[1e-2] * 150):
        model.observe(1, seconds)
    assert model.undisturbed(1) == pytest.approx(1e-2, rel=0.2)


def test_undisturbed_never_trusts_the_line_beyond_the_largest_call() -> None:
    model = CostModel()
    for _ in range(50):
        model.observe(2, 1e-3)
    assert model.undisturbed(2) == pytest.approx(1e-3)
    assert model.undisturbed(200) == pytest.approx(0.1), "a flat line would have said 1 ms"
