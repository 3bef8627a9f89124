"""When will a job start and end? Against recorded renders, and against made ones of every temper."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchrender.core.estimate import Past, Prediction, Span, Start, Turn, predict, remaining, schedule

#: Seventy renders of five compositions in many lengths, in their order: real nexrender, the simulator, a busy machine.
RECORDED = [
    (name, Past(frames=frames, seconds=seconds))
    for name, frames, seconds in json.loads(Path(__file__).with_name("data").joinpath("renders.json").read_text())
]


def steady(seconds: float, *, spread: float = 0.1, renders: int = 9) -> Prediction:
    return Prediction(seconds=seconds, spread=spread, renders=renders)


# -- one render -------------------------------------------------------------------------------------------------------


def test_without_a_past_nothing_is_guessed() -> None:
    assert predict([]) is None
    assert predict([Past(seconds=0.0)]) is None
    assert remaining(None, 5.0, None) is None
    assert remaining(None, 5.0, 0.01) is None


def test_one_render_tells_the_next_with_a_wide_band() -> None:
    found = predict([Past(seconds=100.0, frames=50)], 50)

    assert found is not None
    assert found.seconds == pytest.approx(100.0)
    assert found.low < 60 < 160 < found.high
    assert found.renders == 1


def test_the_band_narrows_with_what_was_seen_but_never_to_nothing() -> None:
    widths = []
    for count in (1, 2, 5, 30):
        found = predict([Past(seconds=100.0)] * count)
        assert found is not None
        widths.append(found.high / found.low)

    assert widths == sorted(widths, reverse=True)
    assert widths[-1] > 1.1


def test_one_length_seen_is_scaled_by_frames() -> None:
    found, same = (predict([Past(seconds=100.0, frames=50)] * 6, frames) for frames in (100, 50))

    assert found is not None and same is not None
    assert found.seconds == pytest.approx(200.0)
    assert found.spread > same.spread  # scaling is a guess as long as no other length was seen


def test_lengths_seen_tell_the_start_from_the_frames() -> None:
    pasts = [Past(seconds=20.0 + frames, frames=frames) for frames in (10, 100, 50, 10, 100)]

    for frames in (5, 10, 75, 400):
        found = predict(pasts, frames)
        assert found is not None
        assert found.seconds == pytest.approx(20.0 + frames, rel=0.02)


@pytest.mark.parametrize("pasts", [[(10, 100.0), (100, 10.0)], [(10, 5.0), (100, 500.0)], [(10, 30.0), (100, 30.0)]])
def test_lengths_that_tell_nonsense_give_no_nonsense(pasts: list[tuple[int, float]]) -> None:
    for frames in (1, 10, 1000):
        found = predict([Past(frames=count, seconds=seconds) for count, seconds in pasts], frames)
        assert found is not None
        assert 0 < found.low < found.seconds < found.high


def test_what_is_long_ago_counts_less_and_then_not_at_all() -> None:
    found = predict([Past(seconds=1000.0)] * 200 + [Past(seconds=10.0)] * 29)

    assert found is not None
    assert (found.renders, round(found.seconds)) == (30, 10)


@given(
    st.lists(st.tuples(st.floats(0.01, 1e6), st.none() | st.integers(1, 10**6)), min_size=1, max_size=40),
    st.none() | st.integers(1, 10**6),
)
def test_a_prediction_is_always_a_finite_time_inside_its_band(
    pasts: list[tuple[float, int | None]], frames: int | None
) -> None:
    found = predict([Past(seconds=seconds, frames=count) for seconds, count in pasts], frames)

    assert found is not None
    assert 0 < found.low <= found.seconds <= found.high
    assert math.isfinite(found.seconds)


# -- a render that runs ------------------------------------------------------------------------------------------------


def test_a_render_is_judged_by_its_past_first_and_by_its_pace_in_the_end() -> None:
    past = steady(100.0)

    early, half, late = (remaining(past, share * 300.0, share) for share in (0.03, 0.5, 0.97))

    assert early is not None and half is not None and late is not None
    assert early.seconds == pytest.approx(94, abs=4)  # as its past says
    assert 20 < half.seconds < 150
    assert late.seconds == pytest.approx(1, abs=9)  # as its own pace says: 3 % of 300 s
    assert late.spread <= 2.0


def test_a_render_without_a_past_is_judged_by_its_pace_once_there_is_one() -> None:
    found = remaining(None, 30.0, 0.25)

    assert found is not None
    assert (found.seconds, found.renders) == (pytest.approx(90.0), 0)


def test_a_render_without_progress_that_takes_longer_than_ever_is_expected_at_any_moment() -> None:
    found = remaining(steady(100.0), 500.0, None)

    assert found is not None
    assert 0 < found.seconds <= 10


# -- the queue -----------------------------------------------------------------------------------------------------


def turns(*seconds: float | None) -> list[Turn]:
    return [Turn(prediction=None if value is None else steady(value)) for value in seconds]


def test_jobs_start_one_after_the_other() -> None:
    spans = schedule([steady(10.0)], turns(20.0, 30.0))

    assert [(span.starts, span.ends) for span in spans if isinstance(span, Span)] == [(0, 10), (10, 30), (30, 60)]


def test_without_a_render_the_first_starts_now() -> None:
    spans = schedule([], turns(20.0, 30.0))

    assert [(span.starts, span.ends) for span in spans if isinstance(span, Span)] == [(0, 20), (20, 50)]


def test_a_job_nobody_knows_has_a_start_and_those_behind_it_have_nothing() -> None:
    spans = schedule([steady(10.0)], turns(20.0, None, 5.0))

    assert [type(span) for span in spans] == [Span, Span, Start, type(None)]
    assert spans[2] == Start(starts=30.0)
    assert schedule([None], turns(20.0)) == [None, None]


def test_a_job_that_may_not_start_yet_lets_others_go_first() -> None:
    late = Turn(prediction=steady(5.0), ready_in=25.0)

    spans = schedule([], [late, *turns(10.0, 10.0, 10.0)])

    assert [span.starts for span in spans if isinstance(span, Span)] == [30, 0, 10, 20]


def test_an_empty_time_before_the_only_job_is_told() -> None:
    spans = schedule([], [Turn(prediction=steady(5.0), ready_in=100.0)])

    assert [(span.starts, span.ends) for span in spans if isinstance(span, Span)] == [(100, 105)]


def test_the_band_widens_along_the_queue_and_never_begins_before_the_start() -> None:
    spans = [span for span in schedule([], turns(*[10.0] * 20)) if isinstance(span, Span)]
    widths = [span.high - span.low for span in spans]

    assert widths == sorted(widths)
    assert all(span.low <= span.ends <= span.high and span.low >= span.starts * 0.5 for span in spans)


def starts_and_ends(spans: Sequence[Start | None]) -> list[tuple[float, float]]:
    return [(span.starts, span.ends) for span in spans if isinstance(span, Span)]


def test_several_lanes_share_the_queue() -> None:
    spans = schedule([steady(10.0), steady(30.0)], turns(20.0, 5.0, 40.0), lanes=3)

    assert starts_and_ends(spans) == [(0, 10), (0, 30), (0, 20), (10, 15), (15, 55)]


def test_where_more_run_than_can_those_that_end_first_make_no_room() -> None:
    assert starts_and_ends(schedule([steady(10.0), steady(30.0)], turns(20.0), lanes=1)) == [(0, 10), (0, 30), (30, 50)]
    assert schedule([None, steady(30.0)], turns(20.0), lanes=1)[2] is None


def test_a_lane_with_a_job_nobody_knows_tells_nothing_and_the_others_go_on() -> None:
    spans = schedule([None, steady(10.0)], turns(None, 5.0), lanes=2)

    assert spans[0] is None and spans[2:] == [Start(starts=10.0), None]
    assert starts_and_ends(schedule([None], turns(20.0, 5.0), lanes=2)) == [(0, 20), (20, 25)]


# -- the back-test -------------------------------------------------------------------------------------------------


Runs = list[tuple[str, Past]]


def ends_in_band(runs: Runs, depth: int) -> Iterator[bool]:
    """Before each render: was its end, and that of the `depth` - 1 behind it, told right with what was known then?"""
    pasts: dict[str, list[Past]] = defaultdict(list)
    for place, (name, run) in enumerate(runs):
        queue = runs[place : place + depth]
        spans = schedule([], [Turn(prediction=predict(pasts[who], one.frames)) for who, one in queue])
        ended = 0.0
        for span, (_, one) in zip(spans, queue, strict=True):
            ended += one.seconds
            if isinstance(span, Span):
                yield span.low <= ended <= span.high
        pasts[name].append(run)


def made(temper: Callable[[random.Random, int], float], seed: int, compositions: int = 6, each: int = 25) -> Runs:
    """Renders as a machine of this temper would give: a start, so much for each frame, and its own deviation."""
    rng = random.Random(seed)
    kinds = {f"c{number}": (rng.uniform(5, 60), rng.uniform(0.1, 4)) for number in range(compositions)}
    names = [name for name in kinds for _ in range(each)]
    rng.shuffle(names)
    runs = []
    for place, name in enumerate(names):
        start, per_frame = kinds[name]
        frames = rng.choice([50, 50, 50, 120, 250])
        runs.append((name, Past(frames=frames, seconds=(start + per_frame * frames) * temper(rng, place))))
    return runs


TEMPERS: dict[str, Callable[[random.Random, int], float]] = {
    "calm": lambda rng, _: rng.lognormvariate(0, 0.03),
    "lively": lambda rng, _: rng.lognormvariate(0, 0.25),
    "wild": lambda rng, _: rng.lognormvariate(0, 0.6),
    "with hiccups": lambda rng, _: rng.lognormvariate(0, 0.08) * (3 if rng.random() < 0.05 else 1),
    "busy by day": lambda rng, place: rng.lognormvariate(0, 0.1) * (1.3 + 0.3 * math.sin(place / 20)),
    "replaced by a faster one": lambda rng, place: rng.lognormvariate(0, 0.1) * (1 if place < 75 else 0.5),
}


def test_four_of_five_recorded_renders_end_inside_their_band() -> None:
    found = list(ends_in_band(RECORDED, depth=1))

    assert len(found) >= 60
    assert sum(found) / len(found) >= 0.8


def test_four_of_five_ends_are_told_right_for_the_whole_recorded_queue_too() -> None:
    found = list(ends_in_band(RECORDED, depth=12))

    assert len(found) >= 600
    assert sum(found) / len(found) >= 0.8


def test_the_recorded_bands_are_of_use() -> None:
    pasts: dict[str, list[Past]] = defaultdict(list)
    widths, errors = [], []
    for name, run in RECORDED:
        found = predict(pasts[name], run.frames)
        if found is not None:
            widths.append(found.high / found.low)
            errors.append(abs(math.log(found.seconds / run.seconds)))
        pasts[name].append(run)

    assert sorted(widths)[len(widths) // 2] < 2.5  # a band of "between a second and an hour" is always right
    assert sorted(errors)[len(errors) // 2] < 0.15


@pytest.mark.parametrize("depth", [1, 8])
@pytest.mark.parametrize("temper", TEMPERS)
def test_four_of_five_ends_are_told_right_on_machines_of_every_temper(temper: str, depth: int) -> None:
    found = [hit for seed in range(4) for hit in ends_in_band(made(TEMPERS[temper], seed), depth)]

    assert len(found) > 500
    assert sum(found) / len(found) >= 0.8
