"""Supervisor: starts the worker, the bridge and the camera process, and starts again what dies.
Touches no picture.

MAIN PATH of `brushcast run`: `run` → `_start` → `_handle` (each event of a child) → `_stop` → the
report. The main thread owns everything here; the children's events reach it through one queue.
"""

from __future__ import annotations

import logging
import queue
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from brushcast.badge import Corner
from brushcast.child import Child, ChildEvent
from brushcast.config import RunConfig
from brushcast.errors import BrushcastError, ChildError, InputError
from brushcast.life import Happening, Life, after
from brushcast.meeting import Meeting
from brushcast.patience import Patience
from brushcast.report import build_report
from brushcast.restart import RestartPolicy
from brushcast.ring import Ring

log = logging.getLogger(__name__)

START_PATIENCE_S = 60.0  # bridge and camera are up in one second; a camera's driver may take 30
SILENCE_S = 10.0  # they report once a second
LOAD_PATIENCE_S = 120.0  # the embedded model takes 3 s, on two busy cores 30
LONG_LOAD_PATIENCE_S = 1800.0  # others read tens of gigabytes, and compile
WORKER_NICENESS = 5  # the picture's pace comes before the painting
# The spare starts when the worker that replaced a dead one is past its own start.
SPARE_DELAY_S = 3.0


class Supervisor:
    """One run of the product. `run` returns the report when the time is over or `stop` was
    called."""

    def __init__(
        self,
        config: RunConfig,
        *,
        user_presets: Path,
        tell: Callable[[str], None],
        user_folder: Path | None = None,
    ) -> None:
        """tell: prints one line for people. user_folder: where it is remembered what they read."""
        self._config = config
        self._user_presets, self._user_folder = user_presets, user_folder
        self._badge = config.badge  # what was asked last: children that start again get it
        self._tell = tell
        self._events: queue.Queue[ChildEvent] = queue.Queue(maxsize=10_000)
        self._children: dict[str, Child] = {}
        self._spare: Child | None = None
        self._next_camera: Child | None = None  # where it dies, a cold one starts when it is needed
        self._switched_off: set[str] = set()  # sinks, on the panel
        self._policies = {
            name: RestartPolicy(random.Random()) for name in ("worker", "spare", "bridge", "camera")
        }
        self._patience = Patience()
        self._spare_is_warm = False
        self._due: dict[str, float] = {}  # what is to be started, and when (monotonic seconds)
        self._stats: dict[str, list[Mapping[str, Any]]] = {"bridge": [{}], "camera": [{}]}
        self._endpoint = config.worker if config.worker != "local" else ""
        self._worker_state: dict[str, Any] = {
            "state": str(
                Life.STARTING if self._config.local else Life.READY
            ),  # of a remote one the link knows more
            "message": "",
            "restarts": 0,
            "endpoint": self._endpoint,
        }
        self._failure: BrushcastError | None = None
        self._told: set[str] = set()
        self._stop_asked = False
        self._meeting = Meeting(
            config.source,
            config.panel_token,
            with_obs=config.source == "obs" or "obs" in config.sinks,
        )

    @property
    def _waiting(self) -> list[Child]:
        """Processes that do nothing until they are needed."""
        return [child for child in (self._spare, self._next_camera) if child is not None]

    @property
    def _corner(self) -> Corner | None:
        return self._config.badge_corner if self._badge else None

    def stop(self) -> None:
        """End the run soon. Safe in a signal handler."""
        self._stop_asked = True

    def run(self) -> dict[str, Any]:
        """Run until the time is over or `stop`. Raises what made the start impossible (InputError,
        ChildError)."""
        self._meeting.prepare()
        self._ring = Ring.create(self._config.output_size)
        try:
            self._start()
            ends = time.monotonic() + (self._config.seconds or float("inf"))
            while not self._stop_asked and self._failure is None and time.monotonic() < ends:
                self._start_what_is_due()
                try:
                    self._handle(self._events.get(timeout=0.05))
                except queue.Empty:
                    self._watch(time.monotonic_ns())  # all that was said has been heard
            self._stop()
        finally:
            for child in [*self._children.values(), *self._waiting]:
                child.kill()
                child.join()
            self._ring.close()
            self._ring.unlink()
            self._meeting.end()
        if self._failure is not None:
            raise self._failure
        return build_report(self._config, self._config.first_size, self._stats, self._worker_state)

    # ------------------------------------------------------------------ starting

    def _start(self) -> None:
        _say_badge(self._badge)
        if self._config.local:
            self._start_worker()
        self._start_camera()
        self._start_bridge()

    def _start_worker(self, *, spare: bool = False) -> Child:
        bind = self._endpoint or "tcp://127.0.0.1:0"  # later workers take the first one's place
        arguments = ["brushcast_worker", "serve", "--supervised", "--bind", bind]
        arguments += ["--engine", self._config.engine, "--device", self._config.device]
        arguments += ["--standby"] if spare else []
        name = "spare" if spare else "worker"
        # Until the first picture there is no pace to disturb, and on a busy machine (OBS draws) the
        # first start takes half as long again when it gives way.
        first = not spare and not self._worker_state["restarts"]
        child = Child(name, arguments, self._events, niceness=0 if first else WORKER_NICENESS)
        self._patience.expect(name, self._load_patience_s)
        if spare:
            self._spare, self._spare_is_warm = child, False
        else:
            self._children["worker"] = child
            self._worker_happened(Happening.STARTED, "loading the model")
        return child

    @property
    def _load_patience_s(self) -> float:
        return LOAD_PATIENCE_S if self._config.engine == "pocket" else LONG_LOAD_PATIENCE_S

    def _start_camera(self) -> None:
        """The process that waits, if there is one: it has loaded its code, and the picture is away
        for a tenth of the time."""
        camera, self._next_camera = self._next_camera, None
        patience_s = SILENCE_S
        if camera is None or not camera.alive:
            camera, patience_s = self._camera_process(), START_PATIENCE_S
        camera.name = "camera"
        self._children["camera"] = camera
        camera.send(
            self._config.for_camera(
                ring=self._ring.path,
                off=self._switched_off,
                badge=self._corner,
                restarted=len(self._stats["camera"]) > 1,
            )
        )
        self._patience.expect("camera", patience_s)
        self._due["next camera"] = time.monotonic() + SPARE_DELAY_S

    def _camera_process(self) -> Child:
        """It waits for its first line."""
        return Child("next camera", ["brushcast", "camera-process"], self._events)

    def _start_bridge(self) -> None:
        first_line = self._config.for_bridge(
            endpoint=self._endpoint,
            ring=self._ring.path,
            badge=self._badge,
            user_presets=self._user_presets,
            user_folder=self._user_folder,
        )
        self._children["bridge"] = Child(
            "bridge", ["brushcast", "bridge-process"], self._events, first_line=first_line
        )
        self._patience.expect("bridge", START_PATIENCE_S)
        self._children["bridge"].send({"command": "worker", **self._worker_state})

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        for name in [name for name, when in self._due.items() if when <= now]:
            del self._due[name]
            waits = name in ("spare", "next camera")
            if waits and not Life(self._worker_state["state"]).serves:
                self._due[name] = now + SPARE_DELAY_S  # a worker that starts has the cores first
            elif name == "spare":
                self._start_worker(spare=True)
            elif name == "next camera":
                self._next_camera = self._camera_process()
            elif name == "worker":
                self._replace_worker()
            elif name == "bridge":
                self._start_bridge()
            else:
                self._start_camera()

    def _replace_worker(self) -> None:
        """The spare takes over if there is one; else a new worker starts from cold.

        One that is still loading too: it is further than a new one, and reads this when it is warm.
        """
        if self._spare is not None and self._spare.alive:
            spare, self._spare = self._spare, None
            spare.name = "worker"
            self._children["worker"] = spare
            self._patience.forget("spare")
            self._patience.expect("worker", self._load_patience_s)
            spare.send({"command": "serve", "endpoint": self._endpoint})
            self._worker_happened(Happening.STARTED, "the spare takes over")
        else:
            self._start_worker()

    def _watch(self, now_ns: int) -> None:
        """Whoever is alive and says nothing is shot; its end is an event, and the policy decides.
        A spare does its job by standing by."""
        if self._spare is not None and self._spare_is_warm:
            self._policies["spare"].good_output(now_ns)
        for name in self._patience.overdue(now_ns):
            child = self._spare if name == "spare" else self._children.get(name)
            if child is not None and child.alive:
                log.warning("the %s was silent for too long and is killed", name)
                child.kill()

    # ------------------------------------------------------------------ events

    def _handle(self, event: ChildEvent) -> None:
        name = event.child.name
        if event.child is not self._spare and event.child is not self._children.get(name):
            return  # the last words of one that was replaced
        if event.kind == "exited":
            self._child_exited(event.child, event.data)
        elif event.kind == "error":
            self._child_failed(event.child, event.data)
        elif name in ("worker", "spare"):
            self._worker_said(event)
        elif name == "bridge":
            self._bridge_said(event)
        else:
            self._camera_said(event)

    def _worker_said(self, event: ChildEvent) -> None:
        if event.child is self._spare:
            self._patience.forget("spare")
            self._spare_is_warm = True  # nothing to do until it is needed
            return
        if event.kind == "listening":
            self._endpoint = str(event.data["endpoint"])
            self._worker_happened(Happening.LISTENING, "warming up")
        elif event.kind == "ready":
            event.child.give_way(WORKER_NICENESS)
            self._patience.forget("worker")  # from here on the bridge sees more: its watchdog
            self._worker_happened(Happening.READY, "")
            where = event.data.get("device_name", event.data.get("device", ""))
            attention = event.data.get("attention", "")
            self._tell_once(
                f"Worker: {event.data.get('engine')} on {where}"
                + (f"; attention: {attention}" if attention else "")
            )
            if self._config.engine == "pocket" and self._spare is None:
                self._due["spare"] = time.monotonic() + SPARE_DELAY_S

    def _bridge_said(self, event: ChildEvent) -> None:
        if event.kind == "stats":
            self._meeting.stay_known()
            self._patience.expect("bridge", SILENCE_S)
            self._stats["bridge"][-1] = event.data
            self._policies["bridge"].good_output(time.monotonic_ns())
            if event.data.get("live"):
                self._policies["worker"].good_output(time.monotonic_ns())
        elif event.kind == "panel":
            self._tell_once(f"Panel:  {event.data['url']}")
            self._meeting.announce(str(event.data["url"]))
        elif event.kind == "source":
            self._tell_once(f"Source: {event.data['title']}")
        elif event.kind == "stuck" and self._config.local and "worker" in self._children:
            log.warning("the worker is stuck (%s) and is killed", event.data.get("reason"))
            self._children["worker"].kill()
        elif event.kind == "sink":
            sink, on = str(event.data["id"]), bool(event.data["on"])
            (self._switched_off.discard if on else self._switched_off.add)(sink)
            self._children["camera"].send({"command": "sink", "id": sink, "on": on})
        elif event.kind == "badge":
            self._badge = bool(event.data["on"])
            _say_badge(self._badge)
            self._children["camera"].send({"command": "badge", "badge": self._corner})
        elif event.kind == "retry":
            self._policies["worker"].retry()
            self._policies["spare"].retry()
            if self._config.local and not self._children["worker"].alive:
                self._due["worker"] = time.monotonic()

    def _camera_said(self, event: ChildEvent) -> None:
        if event.kind in ("stats", "stopped"):
            if event.data.get("frames_out") != self._stats["camera"][-1].get("frames_out"):
                self._patience.expect("camera", SILENCE_S)
            self._stats["camera"][-1] = event.data
            self._policies["camera"].good_output(time.monotonic_ns())
            self._children["bridge"].send({"command": "camera", "stats": event.data})
            for sink in event.data.get("sinks", []):
                if sink.get("state") == "FAILED":
                    self._tell_once(f"Sink {sink['id']} failed: {sink.get('message', '')}")
        elif event.kind == "ready":
            for sink in event.data.get("sinks", []):
                self._tell_once(f"Sink:   {sink['id']} {sink.get('message', '')}".rstrip())

    def _child_exited(self, child: Child, data: Mapping[str, Any]) -> None:
        child.join()
        self._patience.forget(child.name)
        if child is self._spare:
            self._spare = None
            delay_s = self._policies["spare"].died()
            if delay_s is None:
                log.warning("no spare worker any more, it fails again and again: %.300s",
                            _last_line(data))  # fmt: skip
            elif self._worker_state["state"] != Life.FAILED:
                self._due["spare"] = time.monotonic() + SPARE_DELAY_S + delay_s
            return
        log.warning("the %s ended with code %s", child.name, data.get("code"))
        delay_s = self._policies[child.name].died()
        if child.name == "worker":
            self._worker_state["restarts"] += 1
        else:
            self._stats[child.name].append({})
        if delay_s is not None:
            if child.name == "camera" and self._next_camera is not None:
                delay_s = 0.0  # the one after it is seconds away: that is back-off enough
            self._due[child.name] = time.monotonic() + delay_s
            if child.name == "worker":
                self._worker_happened(Happening.DIED, "the worker died; restarting")
        elif child.name == "worker":
            cause = _last_line(data) or f"exit code {data.get('code')}"
            self._worker_happened(Happening.GAVE_UP, cause)
            self._due.pop("spare", None)  # nothing is tried until somebody asks
            if self._spare is not None and not self._spare_is_warm:
                self._spare.kill()
            self._tell(f"The worker failed again and again: {cause}")
        else:
            self._failure = ChildError(f"the {child.name} keeps failing: {_last_line(data)}")

    def _child_failed(self, child: Child, data: Mapping[str, Any]) -> None:
        """The child says that what it was asked cannot work: for the user, in one sentence."""
        message = str(data.get("message", "unknown error"))
        if child is self._spare or self._worked_before(child.name):
            log.error("the %s says: %s", child.name, message)
            return  # its exit follows, and the policy decides
        self._failure = InputError(message)

    def _worked_before(self, name: str) -> bool:
        """What is asked for can work: another one did it, or this one has done it until now."""
        if name == "worker":
            return self._worker_state["restarts"] > 0 or Life(self._worker_state["state"]).serves
        return len(self._stats[name]) > 1 or bool(self._stats[name][-1])

    def _worker_happened(self, happening: Happening, message: str) -> None:
        """The worker's next state, for the bridge."""
        state = after(Life(self._worker_state["state"]), happening)
        self._worker_state.update(state=str(state), message=message, endpoint=self._endpoint)
        if "bridge" in self._children:
            self._children["bridge"].send({"command": "worker", **self._worker_state})

    def _tell_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._tell(line)

    # ------------------------------------------------------------------ stopping

    def _stop(self) -> None:
        """All at once; the camera is waited for first, so that its files are closed well."""
        names = ("camera", "bridge", "worker")
        children = [self._children[name] for name in names if name in self._children]
        for child in children:
            if child.alive:
                child.send({"command": "stop"})
                child.hang_up()
        for child in children:
            child.join()
        for child in self._waiting:
            child.kill()
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            if event.kind in ("stats", "stopped") and event.child.name in self._stats:
                self._stats[event.child.name][-1] = event.data


def _say_badge(on: bool) -> None:
    log.info("the AI badge is switched %s", "on" if on else "off, as asked: no picture says AI")


def _last_line(data: Mapping[str, Any]) -> str:
    lines = [line for line in str(data.get("last_words", "")).splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
