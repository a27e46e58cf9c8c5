"""Poison: a wish that kills the worker is not brought to it for ever. Pure: the clock is an
argument.

The bridge replays the stream's state to every worker that it connects to. If that state is what
killed the last one, each new one dies of it too. So a state has to prove itself: five seconds of
good output. One that has not, and within 30 s of being given to a worker saw it end, twice, is
given up for the last one that did. It is not tried again until the user changes something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from brushcast.frame import Size
from brushcast.presets import Preset
from brushcast.wire.messages import StreamState

NS_PER_S = 1_000_000_000
CRASHES = 2
WITHIN_NS = 30 * NS_PER_S  # of the change, or of the connection that brought the state again
PROVEN_NS = 5 * NS_PER_S  # of good output
OUTPUT_GAP_NS = 1 * NS_PER_S  # a longer silence is no good output: it counts anew

LOOK = ("preset", "prompt", "strength", "seed")
SIZE = ("width", "height")
WATCHED = (*LOOK, *SIZE, "steps")  # what a worker can die of; the rest is not the user's wish


@dataclass(frozen=True, slots=True)
class Asked:
    """What the worker was asked for, and the look that the panel shows for it."""

    state: StreamState
    look: Preset

    def parts(self) -> dict[str, Any]:
        """The watched parts of the state."""
        return {name: getattr(self.state, name) for name in WATCHED}


@dataclass(frozen=True, slots=True)
class Return:
    """Back to `asked`; `message` is one sentence for the user."""

    asked: Asked
    message: str


class PoisonGuard:
    """Owned by the bridge's thread."""

    def __init__(self, state: StreamState, look: Preset, now_ns: int) -> None:
        self._asked = Asked(state, look)
        self._good: Asked | None = None  # the last one that proved itself
        self._refused: Size | None = None
        self._crashes = 0
        self._given_ns = now_ns
        self._good_since_ns: int | None = None
        self._painted_ns: int | None = None  # since it was given

    def changed(self, state: StreamState, look: Preset, now_ns: int) -> None:
        """The stream's state is another one. What it shares with the last in all that is watched
        stays what it was."""
        before, self._asked = self._asked, Asked(state, look)
        if self._asked.parts() == before.parts():
            return
        if any(getattr(state, name) != getattr(before.state, name) for name in (*LOOK, "steps")):
            self._refused = None
        self._crashes = 0
        self._good_since_ns = None
        self.given(now_ns)

    def given(self, now_ns: int) -> None:
        """A worker got the state: it changed, or a connection was made."""
        self._given_ns, self._painted_ns = now_ns, None

    def painted(self, revision: int, now_ns: int) -> None:
        """A good picture came, made with that revision of the state."""
        if revision < self._asked.state.revision:
            return
        last_ns, self._painted_ns = self._painted_ns, now_ns
        if self._good_since_ns is None or last_ns is None or now_ns - last_ns > OUTPUT_GAP_NS:
            self._good_since_ns = now_ns
        if now_ns - self._good_since_ns >= PROVEN_NS:
            self._good, self._crashes = self._asked, 0

    def may_try(self, size: Size) -> bool:
        """Whether a size that the worker wishes for is new, and none that the last ones died of."""
        return size not in (self._refused, _size(self._asked))

    def lost(self, now_ns: int) -> Return | None:
        """A connection to a worker that nobody watches over ended: the network's doing, unless
        nothing was ever painted through it."""
        return self.crashed(now_ns) if self._painted_ns is None else None

    def crashed(self, now_ns: int) -> Return | None:
        """The worker's process ended, or hung and was shot. What to go back to, if the state is to
        blame."""
        good, asked = self._good, self._asked
        if good is None or good.parts() == asked.parts() or now_ns - self._given_ns > WITHIN_NS:
            return None
        self._crashes += 1
        if self._crashes < CRASHES:
            return None
        if _size(good) != _size(asked):
            self._refused = _size(asked)
        return Return(good, _sentence(asked, good))


def _size(asked: Asked) -> Size:
    return Size(asked.state.width, asked.state.height)


def _sentence(poison: Asked, good: Asked) -> str:
    was = [name for name in WATCHED if getattr(poison.state, name) != getattr(good.state, name)]
    what = "look" if set(was) & set(LOOK) else "size" if set(was) & set(SIZE) else "steps"
    return (
        f"The worker died twice of this {what} ({poison.look.title}), so it is back to "
        f"{good.look.title} as it was; change something to try again."
    )
