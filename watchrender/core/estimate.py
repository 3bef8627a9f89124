"""When will a job start and end? Pure: past renders in, a likely time with a low and a high out; or nothing.

The same composition is rendered again and again with other words in it, so its past tells its future: times are
compared on a logarithmic scale (a render is "a third longer", not "ten seconds longer"), and scaled by frames where
both are known: by a start plus so much for each frame once renders of different lengths were seen. The band is wider
the less is known. Without a past nothing is guessed.
"""

from __future__ import annotations

import heapq
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
#: The part of the errors that renders of one machine have in common.
_IN_COMMON = 0.6
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
    def error(self) -> float:
        """The spread of the seconds themselves: what adds up along a queue."""
        return self.seconds * self.spread


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Seconds from now: when it starts."""

    starts: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Span(Start):
    """Seconds from now: when it starts and ends, and the band of the end."""

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
    weights = [0.93 ** (len(recent) - 1 - index) for index in range(len(recent))]
    line = _line(recent, weights) if frames is not None else None
    logs = [math.log(_scaled(past, frames, line)) for past in recent]
    total = sum(weights)
    centre = sum(weight * value for weight, value in zip(weights, logs, strict=True)) / total
    squares = sum(weight * (value - centre) ** 2 for weight, value in zip(weights, logs, strict=True))
    shown = (squares + _ASSUMED_WEIGHT * _ASSUMED_SPREAD**2) / (total + _ASSUMED_WEIGHT)
    if len(logs) >= 5:
        shown = squares / max(total - 1.0, 1.0)  # enough was seen: its own spread counts
    spread = math.sqrt(max(shown, _LEAST_SPREAD**2) * (1 + 1 / len(logs)))
    if frames is not None and line is None and not any(past.frames == frames for past in recent):
        spread = math.hypot(spread, _SCALING_SPREAD)
    return Prediction(seconds=math.exp(centre), spread=spread, renders=len(recent))


def _line(recent: Sequence[Past], weights: Sequence[float]) -> _Line | None:
    """A start that takes always as long, and so much for each frame; None where different lengths were not seen."""
    seen = [(past.frames, past.seconds, weight) for past, weight in zip(recent, weights, strict=True) if past.frames]
    if len({frames for frames, _, _ in seen}) < 2:
        return None
    # Relative errors count, as everywhere here: each run is weighed by its own length.
    rows = [(frames, seconds, weight / seconds**2) for frames, seconds, weight in seen]
    total = sum(weight for _, _, weight in rows)
    mean_frames = sum(weight * frames for frames, _, weight in rows) / total
    mean_seconds = sum(weight * seconds for _, seconds, weight in rows) / total
    across = sum(weight * (frames - mean_frames) * (seconds - mean_seconds) for frames, seconds, weight in rows)
    along = sum(weight * (frames - mean_frames) ** 2 for frames, _, weight in rows)
    each = min(max(across / along, 0.0), mean_seconds / mean_frames)
    return _Line(start=mean_seconds - each * mean_frames, each=each)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """How a render's time follows its frames."""

    start: float
    each: float

    def seconds(self, frames: int) -> float:
        return self.start + self.each * frames


def _scaled(past: Past, frames: int | None, line: _Line | None) -> float:
    """What a past render would have taken with so many frames."""
    if frames is None or not past.frames:
        return past.seconds
    if line is None:
        return past.seconds * frames / past.frames
    return past.seconds * line.seconds(frames) / line.seconds(past.frames)


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


def schedule(running: Sequence[Prediction | None], queue: Sequence[Turn], lanes: int = 1) -> list[Start | None]:
    """One span for each running job, then one for each of the queue, which is given in its order. `lanes` is how many
    can render at once.

    A job that may not start yet lets others go first. Of a job without a prediction only its start is told, and its
    lane tells nothing of those behind it: who knows how long it takes?
    """
    first = _Errors()
    first = _Errors()
    spans: list[Start | None] = [None if known is None else _span(0.0, known, first.plus(known)) for known in running]
    # Where more seem to run than can, the first of them are on their way out: what ends last holds the lanes.
    held = sorted(running, key=lambda known: math.inf if known is None else known.seconds)[-lanes:]
    free = [(known.seconds, lane, first.plus(known)) for lane, known in enumerate(held) if known is not None]
    free += [(0.0, lane, first) for lane in range(len(held), lanes)]
    heapq.heapify(free)
    told: dict[int, Start] = {}
    left = list(range(len(queue)))
    while left and free:
        at, lane, errors = heapq.heappop(free)
        place = next((place for place in left if queue[place].ready_in <= at), None)
        if place is None:
            place = min(left, key=lambda found: queue[found].ready_in)
            at = queue[place].ready_in
        left.remove(place)
        prediction = queue[place].prediction
        if prediction is None:
            told[place] = Start(starts=at)
            continue
        errors = errors.plus(prediction)
        told[place] = _span(at, prediction, errors)
        heapq.heappush(free, (at + prediction.seconds, lane, errors))
    return [*spans, *(told.get(place) for place in range(len(queue)))]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Errors:
    """How wrong the sum of several predictions may be. A part of their errors has one cause (a busy machine makes all
    renders longer), and grows with their number; the rest cancels out, and grows with its root."""

    alone: float = 0.0
    squares: float = 0.0

    def plus(self, prediction: Prediction) -> _Errors:
        return _Errors(alone=self.alone + prediction.error, squares=self.squares + prediction.error**2)

    @property
    def total(self) -> float:
        return math.sqrt(_IN_COMMON * self.alone**2 + (1 - _IN_COMMON) * self.squares)


def _span(starts: float, prediction: Prediction, errors: _Errors) -> Span:
    """The next one ends within its own band; those behind it within one that widens with each before them."""
    ends = starts + prediction.seconds
    if starts == 0.0:
        return Span(starts=starts, ends=ends, low=prediction.low, high=prediction.high)
    half = _WIDTH * errors.total
    return Span(starts=starts, ends=ends, low=max(starts * 0.5, ends - half), high=ends + half)
