"""When will a job start and end? Pure: past renders in, a likely time with a low and a high out; or nothing.

The same composition is rendered again and again with other words in it, so its past tells its future: times are
compared on a logarithmic scale (a render is "a third longer", not "ten seconds longer"), scaled by frames where both
are known, and the band is wider the less is known. Without a past nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: So many of the newest renders of one composition count; older ones ran on another machine or version.
MEMORY = 30
#: Renders of one composition differ at least so much (log scale), however alike the past was.
_LEAST_SPREAD = 0.06
#: What is assumed of the spread before the past has shown it: a half more or less.
_ASSUMED_SPREAD = 0.35
_ASSUMED_WEIGHT = 2.0
#: Half-width of the band in spreads: nine of ten for a bell curve, so that four of five hold for real renders.
_WIDTH = 1.7
#: A frame count that is so far from all that was seen makes scaling unsure.
_SCALING_SPREAD = 0.15


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """One finished render: its seconds, and its frames where they are known."""

    seconds: float
    frames: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """How long a render will take: the likely seconds and the spread of their logarithm."""

    seconds: float
    spread: float
    renders: int

    @property
    def low(self) -> float:
        return self.seconds * math.exp(-_WIDTH * self.spread)

    @property
    def high(self) -> float:
        return self.seconds * math.exp(_WIDTH * self.spread)

    @property
    def variance(self) -> float:
        """Of the seconds themselves: what adds up along a queue."""
        return (self.seconds * self.spread) ** 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Seconds from now: when it starts and ends, and the band of the end."""

    starts: float
    ends: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One job of the queue: how long it will take, and in how many seconds it may start."""

    prediction: Prediction | None
    ready_in: float = 0.0


def predict(pasts: Sequence[Past], frames: int | None = None) -> Prediction | None:
    """The time of the next render, from the past ones (newest last). None: there is no past."""
    recent = [past for past in pasts if past.seconds > 0][-MEMORY:]
    if not recent:
        return None
    logs = [math.log(_scaled(past, frames)) for past in recent]
    weights = [0.93 ** (len(logs) - 1 - index) for index in range(len(logs))]
    total = sum(weights)
    centre = sum(weight * value for weight, value in zip(weights, logs, strict=True)) / total
    squares = sum(weight * (value - centre) ** 2 for weight, value in zip(weights, logs, strict=True))
    shown = (squares + _ASSUMED_WEIGHT * _ASSUMED_SPREAD**2) / (total + _ASSUMED_WEIGHT)
    if len(logs) >= 5:
        shown = squares / max(total - 1.0, 1.0)  # enough was seen: its own spread counts
    spread = math.sqrt(max(shown, _LEAST_SPREAD**2) * (1 + 1 / len(logs)))
    if frames is not None and not any(past.frames == frames for past in recent):
        spread = math.hypot(spread, _SCALING_SPREAD)
    return Prediction(seconds=math.exp(centre), spread=spread, renders=len(recent))


def _scaled(past: Past, frames: int | None) -> float:
    if frames is None or not past.frames:
        return past.seconds
    return past.seconds * frames / past.frames


def remaining(prediction: Prediction | None, elapsed: float, share: float | None) -> Prediction | None:
    """What is left of a render that has run `elapsed` seconds and done `share` (0 to 1) of its frames.

    Its own pace tells more the further it is; before that its past does.
    """
    paced = elapsed / share if share is not None and share > 0.02 and elapsed > 0 else None
    if paced is None and prediction is None:
        return None
    if paced is None:
        assert prediction is not None
        left = max(prediction.seconds - elapsed, prediction.seconds * 0.05)
        return Prediction(seconds=left, spread=prediction.spread, renders=prediction.renders)
    assert share is not None
    whole = paced if prediction is None else prediction.seconds ** (1 - share) * paced**share
    spread = (_ASSUMED_SPREAD if prediction is None else prediction.spread) * math.sqrt(max(1 - share, 0.01))
    left = max(whole - elapsed, whole * 0.01)
    return Prediction(
        seconds=left,
        spread=min(spread * whole / left, 2.0),
        renders=0 if prediction is None else prediction.renders,
    )


def schedule(running: Prediction | None, is_running: bool, queue: Sequence[Turn]) -> list[Span | None]:
    """One span for the running job (if there is one), then one for each of the queue, which is given in its order.

    A job that may not start yet lets others go first. After a job without a prediction nothing more is told: who knows
    how long it takes?
    """
    at, variance = 0.0, 0.0
    spans: list[Span | None] = []
    if is_running:
        spans.append(None if running is None else _span(0.0, running, running.variance))
        if running is None:
            return [*spans, *[None] * len(queue)]
        at, variance = running.seconds, running.variance
    told: dict[int, Span] = {}
    left = list(range(len(queue)))
    while left:
        place = next((place for place in left if queue[place].ready_in <= at), None)
        if place is None:
            place = min(left, key=lambda found: queue[found].ready_in)
            at = queue[place].ready_in
        left.remove(place)
        prediction = queue[place].prediction
        if prediction is None:
            break
        variance += prediction.variance
        told[place] = _span(at, prediction, variance)
        at += prediction.seconds
    return [*spans, *(told.get(place) for place in range(len(queue)))]


def _span(starts: float, prediction: Prediction, variance: float) -> Span:
    """The next one ends within its own band; those behind it within one that widens with each before them."""
    ends = starts + prediction.seconds
    if starts == 0.0:
        return Span(starts=starts, ends=ends, low=prediction.low, high=prediction.high)
    half = _WIDTH * math.sqrt(variance)
    return Span(starts=starts, ends=ends, low=max(starts * 0.5, ends - half), high=ends + half)
