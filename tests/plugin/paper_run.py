"""A supervisor whose children are only notebooks."""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brushcast.child import ChildEvent
from brushcast.config import RunConfig
from brushcast.frame import Size
from brushcast.ring import Ring
from brushcast.supervisor import Supervisor


class PaperChild:
    """Looks like a Child; everything it is told is written down."""

    made: list[PaperChild] = []  # noqa: RUF012

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        events: queue.Queue[ChildEvent],
        *,
        first_line: Mapping[str, Any] | None = None,
        niceness: int = 0,
    ) -> None:
        self.name, self.arguments = name, list(arguments)
        self.alive, self.heard, self.killed = True, list[Mapping[str, Any]](), False
        self.niceness = niceness
        self.made.append(self)
        if first_line is not None:
            self.send(first_line)

    @property
    def first_line(self) -> Mapping[str, Any]:
        return self.heard[0]

    def give_way(self, niceness: int) -> None:
        self.niceness = niceness

    def send(self, message: Mapping[str, Any]) -> None:
        self.heard.append(message)

    def hang_up(self) -> None:
        self.alive = False

    def kill(self) -> None:
        self.killed, self.alive = True, False

    def join(self, patience_s: float = 0) -> None:
        pass

    def states(self) -> list[str]:
        return [str(m["state"]) for m in self.heard if m.get("command") == "worker"]


class Run:
    """A supervisor that was started, and the events that the test makes up."""

    def __init__(self, tmp_path: Path, **options: Any) -> None:
        PaperChild.made = []
        self.now_s = 1000.0
        self.told: list[str] = []
        self.supervisor = Supervisor(
            RunConfig(**options), user_presets=tmp_path, tell=self.told.append
        )
        self.supervisor._ring = Ring.create(Size(64, 48), tmp_path / "ring")
        self.supervisor._start()

    def child(self, name: str) -> Any:
        return next(child for child in reversed(PaperChild.made) if child.name == name)

    def event(self, child: Any, kind: str, **data: Any) -> None:
        self.supervisor._handle(ChildEvent(child, kind, data))

    def dies(self, name: str) -> None:
        child = self.child(name)
        child.alive = False
        self.event(child, "exited", code=-9, last_words="boom")

    def later(self) -> None:
        """Whatever is due in the next while is due now."""
        self.supervisor._due = {name: 0.0 for name in self.supervisor._due}
        self.supervisor._start_what_is_due()

    def worker_is_up(self) -> None:
        worker = self.child("worker")
        self.event(worker, "listening", endpoint="tcp://127.0.0.1:7000")
        self.event(worker, "ready", engine="pocket", device="cpu", device_name="a CPU")
