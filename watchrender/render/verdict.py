"""Exit + lines + files found → success, or a failure with its code. Pure.

Exit status 0 is not success, and another is not always failure: After Effects may end early with status 0, and
nexrender ends with 1 when only an action after the render failed. So the film is judged by itself, the lines by
themselves (`meanings`), and the two are put together here. Error lines of After Effects are strong: they fail a job at
exit status 0 too. Warnings, log counts and other weak lines never fail a good film, except missing footage and fonts
where so configured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from watchrender.core.failure import Code, Failure, Kind, fail
from watchrender.render import meanings
from watchrender.render.meanings import Around, listed
from watchrender.render.memory import shortened
from watchrender.render.outputs import Kind as OutputKind
from watchrender.render.outputs import Output, Outputs
from watchrender.render.probe import Probed
from watchrender.render.transcript import Transcript


class Ended(StrEnum):
    """Which limit, or whose wish, ended the process tree."""

    STARTUP = "startup"  # no line of the render in time
    STALL = "stall"  # it stood still
    RENDER = "render"  # it took longer than it may
    FINISH_GRACE = "finish_grace"  # it was done, and did not end
    STOP = "stop"
    CANCEL = "cancel"


class Rule(StrEnum):
    """What missing footage or fonts mean."""

    FAIL = "fail"
    WARN = "warn"
    IGNORE = "ignore"


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How the process tree ended."""

    code: int | None = None
    signal: int | None = None
    ended_by: Ended | None = None  # None: by itself


@dataclass(frozen=True, kw_only=True)
class Expect:
    """What the job and its sidecar say about the film."""

    frames: int | None = None
    duration: float | None = None  # seconds
    min_bytes: int | None = None
    first: int | None = None  # the range of the job
    last: int | None = None
    step: int = 1
    composition: str | None = None
    template: str | None = None  # the project's path or name
    postrender: tuple[str, ...] = ()  # modules that run after the render

    @property
    def count(self) -> int | None:
        """How many frames are wanted, where that is said."""
        if self.frames is not None:
            return self.frames
        if self.first is None or self.last is None or self.last < self.first:
            return None
        return (self.last - self.first) // max(1, self.step) + 1


@dataclass(frozen=True, kw_only=True)
class Verify:
    """The config's `verify`."""

    min_bytes: int = 1000
    frames: bool = True
    missing_footage: Rule = Rule.FAIL
    missing_fonts: Rule = Rule.WARN


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Success where `failure` is None. `film_is_whole`: there is a good film although the attempt failed."""

    failure: Failure | None = None
    warnings: tuple[str, ...] = ()
    film_is_whole: bool = False


def judge(
    end: Exit,
    transcript: Transcript,
    found: Outputs,
    *,
    expect: Expect = Expect(),
    verify: Verify = Verify(),
    probed: Probed | None = None,
    known_compositions: Sequence[str] = (),
) -> Verdict:
    """Was this attempt a success?

    A render that was stopped or cancelled is never one, unless it had ended well before; the caller decides what
    becomes of it. `probed` is the main output, or the last frame of a sequence. `known_compositions`: those of the
    project, for "did you mean".
    """
    case = _Case(
        end=end,
        told=transcript,
        found=found,
        expect=expect,
        verify=verify,
        probed=probed,
        known=tuple(known_compositions),
    )
    film = _film_fault(case)
    failure = _failure(case, film)
    warnings = (*(_exit_warnings(case) if failure is None else ()), *_warnings(case))
    return Verdict(failure=failure, warnings=warnings, film_is_whole=film is None)


@dataclass(frozen=True, kw_only=True)
class _Case:
    """Everything there is to judge by."""

    end: Exit
    told: Transcript
    found: Outputs
    expect: Expect
    verify: Verify
    probed: Probed | None
    known: tuple[str, ...] = field(default=())

    @property
    def ended_well(self) -> bool:
        """nexrender came to its own end, also where somebody wanted to end it in the same moment."""
        return self.end.code == 0 and (self.told.nexrender_finished or self.end.ended_by is None)

    @property
    def render_is_over(self) -> bool:
        """After Effects has said that the film is written."""
        return self.told.finished_seen or self.told.elapsed_seen or self.told.rendered_seen

    @property
    def is_forgiven(self) -> bool:
        """The tree was ended by us after After Effects had nothing left to do: only the film counts."""
        if self.end.ended_by is Ended.FINISH_GRACE:
            return True
        return self.end.ended_by in (Ended.STALL, Ended.RENDER) and self.render_is_over

    @property
    def frames(self) -> int | None:
        """How many frames a whole film has: as the job says, else as After Effects told."""
        return self.expect.count or (self.told.frames if self.verify.frames else None)

    @property
    def exit_words(self) -> str:
        if self.end.signal is not None:
            return f"signal {self.end.signal}"
        if self.end.code is None:
            return "no exit status"
        return f"exit status {hex(self.end.code) if self.end.code > 0xFFFF else self.end.code}"

    @property
    def is_proven_whole(self) -> bool:
        """Not only is nothing wrong with the film: it was finished, and its frames are known to be there."""
        told, probed = self.told, self.probed
        is_counted = told.frames is not None and told.seen_count == told.frames
        return told.finished_seen and (is_counted or bool(probed and probed.last_frame_decodes))

    @property
    def only_tidying_failed(self) -> bool:
        """Everything was done, but nexrender could not remove its work folder."""
        told = self.told
        return (
            told.phase == "postrender"
            and not told.action_failed
            and any(meanings.is_about_tidying(line) for line in told.nexrender_errors)
        )

    @property
    def complaints(self) -> tuple[str, ...]:
        """Every line that may tell of a full disk."""
        return (*self.told.errors, *self.told.nexrender_errors, *self.told.warnings)

    @property
    def at(self) -> str:
        """`at frame 51 of 120`, `before the first frame`"""
        return f"at {self.told.where}" if self.told.frame else self.told.where

    @property
    def last_error(self) -> str:
        return shortened(self.told.last_error_line, 300)

    @property
    def its_last_line(self) -> str:
        line = self.told.telling_line.strip()
        is_said = line == self.told.last_error_line and bool(line)
        return f" Its last line: {shortened(line, 200)}" if line and not is_said else ""

    @property
    def found_name(self) -> str:
        return self.found.main.path.name if self.found.main else "the film"

    @property
    def salvage(self) -> str:
        return f"The film itself is whole: {self.found_name}."

    @property
    def around(self) -> Around:
        return Around(
            at=self.at,
            composition=self.expect.composition,
            compositions=self.known,
            template=self.expect.template or self.told.template_source,
            script_error=next(iter(self.told.nexrender_errors), None),
        )


# --- the order of reasons ---------------------------------------------------------------------------------------------

#: What a render without its footage may end in: then the footage is the reason, and trying again is in vain.
_MAY_COME_OF_MISSING_FOOTAGE = frozenset(
    {Code.RENDER_CRASHED, Code.RENDER_FAILED, Code.RENDER_STALLED, Code.OUTPUT_MISSING, Code.OUTPUT_TRUNCATED}
)
#: How a start without a licence may look to who does not read the words.
_MAY_COME_OF_NO_LICENCE = frozenset(
    {Code.STARTUP_TIMEOUT, Code.RENDER_FAILED, Code.RENDER_CRASHED, Code.RENDER_STALLED, Code.OUTPUT_MISSING}
)


def _failure(case: _Case, film: Failure | None) -> Failure | None:
    """The reason that leads to what has to be done: a full disk before its consequences, a cause before an effect."""
    if not case.ended_well and case.end.ended_by in (Ended.STOP, Ended.CANCEL):
        return fail(Code.RENDER_FAILED, f"The render was ended on request ({case.end.ended_by}), {case.at}.")
    failure = meanings.of_after_effects(case.told.errors, case.around)
    if failure is None and not case.ended_well:
        failure = _by_end(case, film)
    failure = failure or film
    if failure is not None and failure.code in _MAY_COME_OF_NO_LICENCE:
        failure = _licence(case) or failure
    if failure is not None and (full := meanings.of_full_disk(case.complaints, case.around)):
        return full
    if failure is None or failure.code in _MAY_COME_OF_MISSING_FOOTAGE:
        failure = _missing(case) or failure
    return failure or _actions_left_out(case)


def _by_end(case: _Case, film: Failure | None) -> Failure | None:
    """What the way it ended says. None: the film alone decides."""
    if case.is_forgiven:
        return None
    match case.end.ended_by:
        case Ended.STARTUP:
            return _not_started(case)
        case Ended.STALL:
            return fail(Code.RENDER_STALLED, f"The render stood still, {case.at}.{case.its_last_line}")
        case Ended.RENDER:
            return fail(Code.RENDER_TIMEOUT, f"The render took longer than it may, and was ended {case.at}.")
    if case.told.rendered_seen:
        return _after_the_render(case, film)
    return _by_nexrender_line(case) or _without_a_word(case, film)


def _by_nexrender_line(case: _Case) -> Failure | None:
    found = meanings.of_nexrender(case.told.nexrender_errors, case.around)
    if found is None and case.told.job_started and case.told.phase in _BEFORE_THE_RENDER:
        found = meanings.of_source(case.told.nexrender_errors, case.around)
    return found


_BEFORE_THE_RENDER = ("setup", "predownload", "download", "postdownload", "prerender", "script")


def _licence(case: _Case) -> Failure | None:
    """A word about the licence counts where After Effects came to no render, however the word was printed: its errors
    have a form of their own, what its licensing prints has none."""
    if case.told.render_started or not case.told.aerender_started:
        return None
    for line in case.told.last_lines():
        if not line.startswith("[") and meanings.is_about_licence(line):
            return fail(Code.LICENSE, f"After Effects does not start: {shortened(line, 300)}")
    return None


def _not_started(case: _Case) -> Failure:
    if not case.told.aerender_started:
        return fail(
            Code.STARTUP_TIMEOUT,
            f"nexrender did not start After Effects in time; it was at {case.told.phase}.{case.its_last_line}",
            cure="See what it waits for: a slow source, or an action before the render.",
        )
    return fail(
        Code.STARTUP_TIMEOUT,
        f"After Effects was started and did not come to its first line of the render.{case.its_last_line}",
    )


def _after_the_render(case: _Case, film: Failure | None) -> Failure | None:
    """nexrender failed when After Effects had ended: by an action, by tidying up, or because it found no film."""
    if film is not None:
        found = _by_nexrender_line(case)
        return found if found is not None and found.kind is Kind.ENVIRONMENT else film
    if case.told.action_missing:
        return fail(
            Code.ACTION_MISSING, f"The action module {case.told.action_missing} is not installed. {case.salvage}"
        )
    if case.told.phase != "postrender":
        return None  # no film under the names that nexrender looks for; but here it is
    if case.only_tidying_failed:
        return None
    module = case.told.action_failed or listed(case.expect.postrender) or "after the render"
    return fail(Code.ACTION_FAILED, f"The action {module} failed: {case.last_error}. {case.salvage}")


def _actions_left_out(case: _Case) -> Failure | None:
    """The film is whole, but what the job wants done with it was not done."""
    is_done = case.told.nexrender_finished or (case.ended_well and not case.told.job_started)
    if not case.expect.postrender or is_done or case.only_tidying_failed:
        return None
    modules = listed(case.expect.postrender)
    if case.told.rendered_seen:
        text = f"The actions after the render ({modules}) did not come to their end. {case.salvage}"
        return fail(Code.ACTION_FAILED, text)
    why = (
        "After Effects did not end by itself" if case.end.ended_by else f"After Effects ended badly ({case.exit_words})"
    )
    return fail(
        Code.ACTION_FAILED,
        f"The actions after the render ({modules}) did not run: {why}. {case.salvage}",
        cure="Another try often ends well; if it does not, look for a dialog of After Effects on the render machine.",
    )


def _without_a_word(case: _Case, film: Failure | None) -> Failure | None:
    """It ended, and no line says why that is known. None: after the last frame, and the film is whole."""
    told, said = case.told, case.last_error
    why = f": {said}" if said else " without saying why"
    if not told.job_started:
        words = said or shortened(told.telling_line.strip() or "it said nothing", 300)
        return fail(Code.NEXRENDER_BROKEN, f"nexrender does not run ({case.exit_words}): {words}")
    if film is None and case.is_proven_whole:
        return None  # After Effects crashed when it quit: nothing is lost
    if told.render_started or (told.aerender_started and case.end.signal is not None):
        return fail(Code.RENDER_CRASHED, f"After Effects ended {case.at}{why} ({case.exit_words}).")
    if told.aerender_started:
        text = f"After Effects ended before its first line of the render{why} ({case.exit_words}).{case.its_last_line}"
        return fail(Code.RENDER_FAILED, text)
    if told.phase in ("predownload", "postdownload", "prerender") and said:
        return fail(Code.ACTION_FAILED, f"A {told.phase} action failed{why}.")
    if told.phase == "download":
        return fail(Code.DOWNLOAD_FAILED, f"A source of the job could not be fetched{why}.")
    return fail(Code.RENDER_FAILED, f"nexrender ended at {told.phase}{why} ({case.exit_words}).")


# --- the film ---------------------------------------------------------------------------------------------------------


def _film_fault(case: _Case) -> Failure | None:
    """What is wrong with the film itself, whatever anybody said. None: it is whole, as far as that can be told."""
    film = case.found.main
    if film is None:
        return _no_film(case)
    return (
        _too_small(case, film)
        or (_gaps(film) if film.kind is OutputKind.SEQUENCE else None)
        or _does_not_decode(case, film)
        or _too_few_frames(case, film)
        or _too_short(case, film)
        or _more_than_expected(case, film)
    )


def _no_film(case: _Case) -> Failure:
    others = [output.path.name for output in case.found.further]
    instead = f" There is only {listed(others)}." if others else ""
    return fail(Code.OUTPUT_MISSING, f"The render ended {case.at}, and there is no film.{instead}")


def _too_small(case: _Case, film: Output) -> Failure | None:
    least, setting = case.verify.min_bytes, "verify.min_bytes"
    if case.expect.min_bytes is not None:
        least, setting = case.expect.min_bytes, "expect.min_bytes"
    if film.bytes >= max(1, least):
        return None
    text = f"{film.path.name} has {film.bytes:,} bytes; {setting} wants {least:,} at least."
    return fail(Code.OUTPUT_TRUNCATED, text)


def _gaps(film: Output) -> Failure | None:
    if film.empty:
        return fail(Code.OUTPUT_TRUNCATED, f"{film.path.name}: frames without a byte in them: {_numbers(film.empty)}.")
    if film.missing_count:
        text = f"{film.path.name}: {film.missing_count} frames are missing between the first and the last:"
        return fail(Code.OUTPUT_TRUNCATED, f"{text} {_numbers(film.missing)}.")
    if film.damaged:
        many = f"{film.damaged_count} frames are" if film.damaged_count > 1 else "one frame is"
        text = f"{film.path.name}: {many} not whole: {_numbers(film.damaged)}. Of {film.damaged[0]}: {film.damage}."
        return fail(Code.OUTPUT_TRUNCATED, text)
    return None


def _numbers(numbers: Sequence[int]) -> str:
    return listed([str(number) for number in numbers], most=10)


def _does_not_decode(case: _Case, film: Output) -> Failure | None:
    if case.probed is None or case.probed.last_frame_decodes is not False:
        return None
    text = f"{film.last_file.name} is not whole: {case.probed.detail or 'its last frame does not decode'}."
    came = f" After Effects came to {case.told.where}." if case.told.frame else ""
    return fail(Code.OUTPUT_TRUNCATED, text + came)


def _too_few_frames(case: _Case, film: Output) -> Failure | None:
    wanted = case.frames
    if wanted is None:
        return None
    if case.expect.count is None and not case.told.frames_are_exact:
        wanted -= 1
    if film.frames is not None:
        have: int | None = film.frames
    else:
        have = case.probed.frames if case.probed else None
        if have is not None and have < wanted and _lasts_long_enough(case, wanted):
            return None  # fewer pictures at another rate (pulldown, interpreted footage): its length is right
    if have is None:
        return _too_few_told(case, wanted)
    if have >= wanted:
        return _ended_early(case, wanted)
    return fail(Code.OUTPUT_TRUNCATED, f"{film.path.name} has {have} of {case.frames} frames.")


def _ended_early(case: _Case, wanted: int) -> Failure | None:
    """As many frames as there should be, but After Effects stopped long before the last: they are not what it drew.

    A last line or two that the pipe cut is no stop; there the film's own frames decide.
    """
    told = case.told
    if not case.verify.frames or told.frame is None or told.frame >= 0.95 * wanted - 2:
        return None
    last = f"reported {told.seen_count} of {case.frames} frames, the last one is {told.frame}"
    return fail(Code.OUTPUT_TRUNCATED, f"{case.found_name} is not whole: After Effects {last}.")


def _lasts_long_enough(case: _Case, frames: int) -> bool:
    extra = _seconds_beyond(case, frames)
    return extra is not None and extra >= 0


def _lasts_as_long(case: _Case, frames: int) -> bool:
    """More pictures at another rate: neither shorter nor longer than so many frames."""
    extra = _seconds_beyond(case, frames)
    return extra is not None and 0 <= extra <= 2 * _slack(case)


def _seconds_beyond(case: _Case, frames: int) -> float | None:
    """How much longer a film at another rate is than the least that so many frames may last; None: it has their rate,
    or that is not known."""
    rate = case.told.rate
    if rate is None or case.probed is None or case.probed.duration is None:
        return None
    shown = case.probed.fps or rate
    is_other = abs(shown - rate) > 0.01 * rate
    return case.probed.duration - frames / rate + 1.5 / min(shown, rate) if is_other else None


def _too_few_told(case: _Case, wanted: int) -> Failure | None:
    """Nobody could count the film's frames; the lines that After Effects printed are what there is."""
    told = case.told
    if not case.verify.frames or told.frame is None or told.seen_count >= wanted:
        return None
    # A few lines may be lost where they were cut; many missing below the highest are frames that never came.
    is_near = told.frame >= wanted and told.seen_count >= 0.95 * wanted - 2
    if is_near or (told.frame >= wanted and told.finished_seen):
        return None
    last = f"reported {told.seen_count} of {case.frames} frames, the last one is {told.frame}"
    return fail(Code.OUTPUT_TRUNCATED, f"{case.found_name} is not whole: After Effects {last}.")


def _too_short(case: _Case, film: Output) -> Failure | None:
    wanted, lasts = case.expect.duration, _duration(case)
    if wanted is None or lasts is None or lasts >= wanted - _slack(case):
        return None
    return fail(Code.OUTPUT_TRUNCATED, f"{film.path.name} lasts {lasts:.2f} s; expect.duration wants {wanted:.2f} s.")


def _more_than_expected(case: _Case, film: Output) -> Failure | None:
    """A whole film that is not the one that `expect` describes: another try would make the same."""
    wanted, have = case.expect.frames, _counted(case, film)
    # Where After Effects meant to draw so many and did, it is the container that counts otherwise.
    is_drawn = case.told.frames == wanted and case.told.seen_count == wanted
    if wanted is not None and have is not None and have > wanted and not is_drawn and not _lasts_as_long(case, wanted):
        return fail(Code.OUTPUT_UNEXPECTED, f"{film.path.name} has {have} frames; expect.frames wants {wanted}.")
    long, lasts = case.expect.duration, _duration(case)
    if long is not None and lasts is not None and lasts > long + _slack(case):
        text = f"{film.path.name} lasts {lasts:.2f} s; expect.duration wants {long:.2f} s."
        return fail(Code.OUTPUT_UNEXPECTED, text)
    return None


def _counted(case: _Case, film: Output) -> int | None:
    """How many frames it has; where nobody could count them, how many After Effects has told of to its end."""
    have = film.frames or (case.probed.frames if case.probed and film.kind is OutputKind.FILM else None)
    is_told = case.verify.frames and case.told.finished_seen
    return have or (case.told.seen_count if is_told else None) or None


def _duration(case: _Case) -> float | None:
    if case.found.main is not None and case.found.main.kind is OutputKind.SEQUENCE:
        frames, rate = case.found.main.frames, case.told.rate
        return frames / rate if frames and rate else None
    return case.probed.duration if case.probed else None


def _slack(case: _Case) -> float:
    """A frame and a half: sound may end between two frames."""
    rate = (case.probed.fps if case.probed else None) or case.told.rate or 25.0
    return max(0.1, 1.5 / rate)


# --- what is missing in it --------------------------------------------------------------------------------------------


def _missing(case: _Case) -> Failure | None:
    if case.told.missing_footage and case.verify.missing_footage is Rule.FAIL:
        return fail(Code.FOOTAGE_MISSING, f"After Effects did not find footage: {listed(case.told.missing_footage)}")
    if case.told.missing_fonts and case.verify.missing_fonts is Rule.FAIL:
        return fail(Code.FONTS_MISSING, "The project uses fonts that are not installed on this machine.")
    return None


def _warnings(case: _Case) -> Iterator[str]:
    """What a person should look at although it does not decide."""
    told, verify = case.told, case.verify
    if told.missing_footage and verify.missing_footage is Rule.WARN:
        yield f"footage is missing: {listed(told.missing_footage)}"
    if told.missing_fonts and verify.missing_fonts is Rule.WARN:
        yield "fonts are missing on the render machine; After Effects took others"
    if told.logged_errors and not told.missing_footage:
        yield f"After Effects logged {told.logged_errors} {'error' if told.logged_errors == 1 else 'errors'}"
    if told.aborted:
        yield "After Effects says that the render was aborted"
    yield from _film_warnings(case)
    for text in told.warnings[:10]:
        if not _IS_SAID_ABOVE.search(text):
            yield f"After Effects: {text}"


def _exit_warnings(case: _Case) -> Iterator[str]:
    """How it ended, where it ended badly with a good film."""
    if case.ended_well:
        return
    who = "nexrender" if case.told.rendered_seen else "After Effects"
    if case.end.ended_by is not None:
        yield f"{who} had finished and did not end by itself; it was ended"
    else:
        said = f": {shortened(case.told.nexrender_errors[-1], 200)}" if case.told.nexrender_errors else ""
        yield f"{who} ended with an error ({case.exit_words}) after the film was finished{said}"


_IS_SAID_ABOVE = re.compile(r"missing (?:fonts|dependenc)|\blogged (?:one|\d+) errors?\b|File Not Found", re.IGNORECASE)


def _film_warnings(case: _Case) -> Iterator[str]:
    film, probed, expect = case.found.main, case.probed, case.expect
    if film is None:
        return
    if probed is not None and probed.last_frame_decodes is None:
        yield f"{film.last_file.name} could not be looked into: {probed.detail or 'its format is not known'}"
    if film.unseen:
        yield f"{film.path.name}: there was no time to look at {film.unseen} of its {film.frames} frames"
    lasts = _duration(case)
    if expect.duration is not None and lasts is None:
        yield "expect.duration could not be checked: the film's length is not known"
    have = film.frames or (probed.frames if probed and film.kind is OutputKind.FILM else None)
    if case.frames is not None and have is not None and have > case.frames + (0 if case.told.frames_are_exact else 1):
        wanted = "expected" if expect.count is not None else "that After Effects announced"
        yield f"{film.path.name} has {have} frames, more than the {case.frames} {wanted}"
    if have and case.frames and case.told.frame and case.told.seen_count < case.frames <= have:
        yield f"After Effects reported {case.told.seen_count} of {case.frames} frames; the film has all of them"
