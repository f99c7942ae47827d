"""The windows of one session, computed anew from its messages: a port of src/reclassify/recompute.rs.

Silence no warehouse tells. Where the agent had two messages of a session further apart than its silence, by its own clock, it is
taken to have closed the windows between them. That may be wrong where the agent was off meanwhile, or its clock was set; it
decides about late readings alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from windows import Params, Sample, SessionWindows, Window, event_time


class Message(NamedTuple):
    """One push, as far as windows are concerned."""

    #: When the agent had it, microseconds since the Unix epoch.
    received: int | None
    #: Lower median of the usable times of all its readings, whatever their sensor, ns.
    median: int | None
    #: Usable readings of the accelerometer in their order: times in ns, and magnitudes.
    times: Iterable[int]
    magnitudes: Iterable[float]


@dataclass
class Recomputed:
    #: Windows that the session's watermark, or silence, has closed; in order of their start.
    closed: list[Window] = field(default_factory=list)
    #: Those after them, which silence would close.
    open: list[Window] = field(default_factory=list)
    #: Starts of the slides in which readings lie that a window can use, ascending.
    slides: list[int] = field(default_factory=list)
    #: How often silence is taken to have closed windows.
    silences: int = 0


class Session:
    """Takes a session's messages; `silence` in microseconds."""

    def __init__(
        self, params: Params, silence: int, windows: SessionWindows | None = None, received: int | None = None
    ) -> None:
        self._silence = silence
        self.windows = windows or SessionWindows(params)
        #: When the agent had the last message.
        self.received = received
        self.silences = 0

    def take(self, message: Message) -> list[Window]:
        """Gives the windows that the silence before it, and the message itself, close."""
        closed, before, self.received = [], self.received, message.received
        paused = before is not None and message.received is not None and message.received - before >= self._silence
        if paused and self.windows.has_open():
            self.silences += 1
            closed = self.windows.flush()
        samples = (
            Sample(event_time(time), magnitude)
            for time, magnitude in zip(message.times, message.magnitudes, strict=True)
        )
        return closed + self.windows.observe(message.median, samples)


def recompute(messages: Iterable[Message], params: Params, silence: int) -> Recomputed:
    session, out, slides = Session(params, silence), Recomputed(), set()
    for message in messages:
        slides.update(params.align(event_time(time)) for time in message.times)
        out.closed += session.take(message)
    out.open = session.windows.flush()
    out.slides = sorted(slides)
    out.silences = session.silences
    return out
