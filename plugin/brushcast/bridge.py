"""Bridge: takes pictures in, has them restyled, decides what is shown.

MAIN PATH of the picture: `run` is the table of contents: obey → send → receive → show → report.
One thread owns the link, the playout and the ring; the source reads in a thread of its own and
hands over through `Latest`; the panel's thread is met at the desk only. A raw frame goes to the
worker and to the panel's "before" preview: nothing here passes one to the playout or the ring.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import random
import time
from pathlib import Path
from typing import Any

import brushcast
from brushcast.board import Board
from brushcast.card import Composer
from brushcast.child import say
from brushcast.config import BridgeConfig, parse_address
from brushcast.desk import Desk
from brushcast.errors import MalformedMessage
from brushcast.exchange import Exchange
from brushcast.frame import Frame, Pixels, Size, model_size
from brushcast.notice import Notice
from brushcast.obs_websocket import ObsThread
from brushcast.pace import Pace
from brushcast.panel.backend import (
    ChangeLook,
    NoticeSeen,
    Pause,
    RetryWorker,
    SwitchBadge,
    SwitchMode,
    SwitchObsCamera,
    SwitchSink,
)
from brushcast.panel.server import PanelServer
from brushcast.playout import PAINTED, Kind, Playout, PlayoutConfig, Styled, next_tick_ns
from brushcast.poison import PoisonGuard, Return
from brushcast.preset_watch import PresetWatch
from brushcast.presets import find_preset
from brushcast.ring import Ring
from brushcast.slot import Latest
from brushcast.source import Source, SourceThread, open_source
from brushcast.telemetry import Telemetry
from brushcast.watchdog import Watchdog
from brushcast.wire.curve import FOLDER, client_keys
from brushcast.wire.link import (
    LOCAL_TIMES,
    REMOTE_TIMES,
    ClientEvent,
    ClientLink,
    Connected,
    Faulted,
    Lost,
    Refused,
    Result,
    StatusReceived,
)
from brushcast.wire.messages import Flags, Header, Welcome
from brushcast.wire.sockets import Dialler, Waker, open_context, parse_endpoint

log = logging.getLogger(__name__)

REPORT_EVERY_NS = 1_000_000_000
KEEP_ALIVE_NS = 200_000_000  # an unchanged picture is written again so often: the ring is not stale


class Bridge:
    """One run of the bridge process."""

    def __init__(self, config: BridgeConfig, messages: queue.Queue[dict[str, Any] | None]) -> None:
        """messages: the supervisor's commands, None when it is gone."""
        self._config = config
        self._messages = messages
        self._preset_watch = PresetWatch(Path(config.user_presets) if config.user_presets else None)
        presets = self._preset_watch.presets
        look = find_preset(config.preset, presets)
        self._state = config.first_state(look)
        self._notice = Notice(Path(config.user_folder) if config.user_folder else None)
        self._desk = Desk(
            presets, look, badge=config.badge, corner=config.badge_corner,
            notice=self._notice.due("panel"), mode=config.mode,
        )  # fmt: skip
        now_ns = time.monotonic_ns()
        self._board = Board(config, presets, now_ns)
        self._waker = Waker()
        self._exchange = Exchange(config, self._waker.wake, now_ns)
        self._playout: Playout[Pixels] = Playout(PlayoutConfig(rate_fps=config.rate_fps))
        self._telemetry = Telemetry(self._board, self._playout, config.remote, now_ns)
        self._composer = Composer(config.output_size)
        self._pace = Pace(target_fps=config.target_fps)
        self._obs = ObsThread(audio_input=config.obs_audio, record=config.obs_audio_record)
        self._newest: Latest[Frame] = Latest()
        self._link: ClientLink | None = None
        self._dialler: Dialler | None = None
        self._waiting: Frame | None = None  # newest frame, not sent yet for want of credit
        self._written: tuple[Pixels, Kind] | None = None  # what the ring shows, and as what
        self._written_ns = 0
        self._tick_ns = self._report_ns = 0
        self._watchdog = Watchdog()
        self._guard = PoisonGuard(self._state, look, time.monotonic_ns())
        self._overtaken = 0  # frames that another replaced before this thread came to take them
        self._running = True

    def run(self) -> None:
        """Until the supervisor says stop or is gone. Raises InputError for what cannot be
        opened."""
        config = self._config
        self._context = open_context()
        self._ring = Ring.attach(Path(config.ring))
        self._source = self._open_source()
        panel = self._open_panel()
        self._source.start()
        self._obs.start()
        self._telemetry.start()
        try:
            while self._running:
                now_ns = time.monotonic_ns()
                self._telemetry.turned(now_ns)
                self._obey(now_ns)
                self._send(now_ns)
                self._receive(time.monotonic_ns())
                self._show(time.monotonic_ns())
                self._report(now_ns)
                self._wait()
        finally:
            self._source.stop()
            self._obs.stop()
            self._telemetry.stop()
            if panel is not None:
                panel.stop()
            if self._dialler is not None:
                self._dialler.close(time.monotonic_ns())
            self._exchange.close()
            self._ring.close()
            self._waker.close()
            self._context.destroy(linger=0)
            say("stats", **self._board.statistics())

    # ------------------------------------------------------------------ obey

    def _obey(self, now_ns: int) -> None:
        """The supervisor's commands and the panel's wishes."""
        while True:
            try:
                message = self._messages.get_nowait()
            except queue.Empty:
                break
            if message is None or message.get("command") == "stop":
                self._running = False
            elif message.get("command") == "worker":
                self._worker_changed(message, now_ns)
            elif message.get("command") == "camera":
                self._board.camera_said(message["stats"])
        for change in self._desk.take_changes():
            if isinstance(change, ChangeLook):
                self._look_changed(now_ns)
            elif isinstance(change, Pause):
                self._paused(change.on, now_ns)
            elif isinstance(change, SwitchSink):
                say("sink", id=change.id, on=change.on)
            elif isinstance(change, SwitchBadge):
                say("badge", on=change.on)
            elif isinstance(change, SwitchMode):
                self._change_state(now_ns, mode=change.mode)
            elif isinstance(change, NoticeSeen):
                self._notice.done("panel")
            elif isinstance(change, SwitchObsCamera):
                self._obs.switch_camera(change.on)
            elif isinstance(change, RetryWorker):
                say("retry")
                if self._link is not None:
                    self._link.reconnect(now_ns)

    def _worker_changed(self, message: dict[str, Any], now_ns: int) -> None:
        """What the supervisor knows of the worker process: quicker than any time limit."""
        self._board.worker_said(message)
        self._playout.name_card("failed" if message["state"] == "FAILED" else "starting")
        if self._link is None:
            if message["endpoint"]:
                self._connect(message["endpoint"], now_ns)
        elif message["state"] == "READY" and not self._link.ready:
            self._link.reconnect(now_ns)
        elif message["state"] in ("BACKOFF", "FAILED"):
            self._link.socket_lost("the worker process died", now_ns)
            self._go_back(self._guard.crashed(now_ns), now_ns)

    def _connect(self, endpoint: str, now_ns: int) -> None:
        self._link = ClientLink(
            self._state,
            client="brushcast bridge",
            version=brushcast.__version__,
            times=REMOTE_TIMES if self._config.remote else LOCAL_TIMES,
            rng=random.Random(),
        )
        where = parse_endpoint(endpoint)
        keys = None
        if self._config.remote:
            folder = Path(self._config.user_folder) / FOLDER if self._config.user_folder else None
            keys = client_keys(folder, str(where), loopback=where.loopback)
        self._dialler = Dialler(self._context, where, self._link, keys)
        self._link.start(now_ns)

    def _look_changed(self, now_ns: int) -> None:
        look = self._desk.look
        self._change_state(
            now_ns, preset=look.name, prompt=look.prompt, strength=look.strength, seed=look.seed
        )
        self._board.look_changed(self._state.revision)

    def _take_size(self, welcome: Welcome, now_ns: int) -> None:
        """As large as this worker likes to paint, in the output's shape, unless the user chose."""
        output = self._config.output_size
        area_px = min(welcome.default_width * welcome.default_height, output.area_px)
        full = model_size(output, area_px)
        if self._config.fixed_size or not self._guard.may_try(full):
            return
        size = self._exchange.fitted(full)
        if size != Size(self._state.width, self._state.height):
            self._change_state(now_ns, width=size.width, height=size.height)

    def _follow_network(self, now_ns: int) -> None:
        """What is sent, and what is asked for, as the way to a worker elsewhere carries it."""
        fps = self._board.source_fps(now_ns)
        if changes := self._exchange.changes(self._state, self._pace, fps, now_ns):
            self._change_state(now_ns, **changes)
        if self._link is not None:
            self._link.limit(self._exchange.window, now_ns)

    def _follow_obs(self, now_ns: int) -> None:
        """A worker on this machine gives way to OBS; one elsewhere is nothing to it."""
        pressure = self._obs.pressure and not self._config.remote
        if pressure != self._state.pressure:
            self._change_state(now_ns, pressure=pressure)

    def _change_state(self, now_ns: int, **changes: Any) -> None:
        """A new revision; the worker hears of it now, or when it is there."""
        revision = self._state.revision + 1
        self._state = dataclasses.replace(self._state, revision=revision, **changes)
        self._board.size_changed(Size(self._state.width, self._state.height))
        self._guard.changed(self._state, self._desk.look, now_ns)
        if self._link is not None:
            self._link.set_state(self._state, now_ns)

    def _go_back(self, back: Return | None, now_ns: int) -> None:
        """The worker dies of what was asked: the last wish that it could fulfil counts again."""
        if back is not None:
            self._desk.go_back(back.asked.look)
            self._change_state(now_ns, **back.asked.parts())
            self._exchange.fitted(Size(self._state.width, self._state.height))  # no larger again
            self._board.went_back(self._state, back.message)

    def _paused(self, on: bool, now_ns: int) -> None:
        """Paused: to the card at once, and what was painted before is never shown again."""
        if on:
            self._playout.clear(now_ns, "paused")
        else:
            self._playout.name_card("starting")

    # ------------------------------------------------------------------ send

    def _send(self, now_ns: int) -> None:
        """The newest frame to the worker, if it is due and there is credit; else it waits, and the
        next one replaces it before anything was encoded."""
        frame = self._newest.take()
        if frame is not None:
            self._board.frame_in(now_ns)
            if self._desk.watched:
                self._desk.show("before", frame.pixels_HWC, frame.seq)
            if not self._pace.wants(frame.captured_ns, now_ns, self._in_flight):
                self._board.dropped("paced")
            else:
                if self._waiting is not None:
                    self._board.dropped("no_credit")
                self._waiting = frame
        if self._waiting is None or self._link is None or self._dialler is None:
            return
        if not self._link.ready:
            self._board.dropped("not_connected")
            self._waiting = None
        elif self._link.credit:
            self._send_frame(self._waiting, now_ns)
            self._waiting = None

    def _send_frame(self, frame: Frame, now_ns: int) -> None:
        assert self._link is not None
        assert self._dialler is not None
        if self._exchange.send(self._link, frame, now_ns):
            self._board.frame_sent()
            self._dialler.flush()
            self._pace.sent(now_ns, self._in_flight)
        else:
            self._board.dropped("not_connected")

    @property
    def _in_flight(self) -> int:
        """Pictures that the worker owes an answer for."""
        return self._link.in_flight if self._link is not None else 0

    # ------------------------------------------------------------------ receive

    def _receive(self, now_ns: int) -> None:
        if self._dialler is None:
            return
        for event in self._dialler.service(now_ns):
            self._exchange.happened(event, now_ns)
            self._happened(event, now_ns)
        for header, pixels_HWC in self._exchange.take(now_ns):
            self._painted(header, pixels_HWC, now_ns)

    def _happened(self, event: ClientEvent, now_ns: int) -> None:
        if isinstance(event, Result):
            self._pace.returned(now_ns, self._in_flight)
            self._result(event)
        elif isinstance(event, Connected):
            self._pace.reset(event.welcome.chunk_frames)
            self._board.connected(event.welcome)
            self._guard.given(now_ns)
            self._take_size(event.welcome, now_ns)
        elif isinstance(event, Lost):
            log.info("the worker is lost: %s", event.reason)
            self._board.lost(event, now_ns)
            self._playout.hold(False, now_ns)
            self._watchdog.lost(hung=event.hung)
            if self._config.remote and event.was_ready:  # of a local one the supervisor knows
                self._go_back(self._guard.lost(now_ns), now_ns)
        elif isinstance(event, Refused):
            self._board.refused(event.message)
            self._playout.name_card("failed")
        elif isinstance(event, StatusReceived):
            status, step_ns = event.status, event.status.step_ms * 1e6
            self._telemetry.status(event, now_ns)
            self._pace.worker_takes(status.takes, status.chunk_frames)
            self._playout.hold(not status.takes, now_ns)
            if step_ns:
                self._pace.worker_needs(step_ns, event.round_trip_ns, status.held_frames)
                self._playout.engine_needs(
                    step_ns, self._pace.chunk_frames, status.held_frames, remote=self._config.remote
                )
        elif isinstance(event, Faulted):
            self._board.faulted(event.message)

    def _result(self, result: Result) -> None:
        """A styled picture. What a worker sends is not trusted: size and payload are checked."""
        try:
            self._exchange.put(result.header, result.payload)
        except MalformedMessage as error:
            log.warning("a result that is no picture was dropped: %s", error)
            self._board.dropped("malformed")

    def _painted(self, header: Header, pixels_HWC: Pixels | None, now_ns: int) -> None:
        """It is unpacked; None: it cannot be."""
        if self._desk.paused or pixels_HWC is None:
            self._board.dropped("paused" if self._desk.paused else "undecodable")
            return
        size = (header.width, header.height)
        self._playout.put(
            Styled(pixels_HWC, header.seq, header.captured_ns, header.epoch, size), now_ns
        )
        self._watchdog.result()
        self._guard.painted(header.revision, now_ns)
        self._telemetry.styled(header, now_ns, reused=bool(header.flags & Flags.REUSED))

    # ------------------------------------------------------------------ show

    def _show(self, now_ns: int) -> None:
        """At each tick: playout's answer, composed, into the ring."""
        if now_ns < self._tick_ns:
            return
        self._tick_ns = next_tick_ns(now_ns, self._config.rate_fps)
        shown = self._playout.pick(now_ns)
        picture = self._composer.compose(shown)
        self._telemetry.shown(shown, now_ns)
        last, last_kind = self._written or (None, None)
        same = picture is last and shown.kind is last_kind
        if same and now_ns - self._written_ns < KEEP_ALIVE_NS:
            return
        self._ring.write(
            picture, shown.kind, seq=shown.seq, captured_ns=shown.captured_ns,
            live_until_ns=shown.live_until_ns,
        )  # fmt: skip
        self._written, self._written_ns = (picture, shown.kind), now_ns
        if self._desk.watched:
            self._desk.show("after", picture, self._ring.written, painted=shown.kind in PAINTED)

    # ------------------------------------------------------------------ report, wait

    def _report(self, now_ns: int) -> None:
        if now_ns < self._report_ns:
            return
        self._report_ns = now_ns + REPORT_EVERY_NS // 4
        connected = self._link is not None and self._link.ready
        ready = self._board.process_ready
        if reason := self._watchdog.verdict(now_ns, process_ready=ready, connected=connected):
            say("stuck", reason=reason)
        self._board.judge(now_ns, paused=self._desk.paused)
        self._board.source_said(self._source.status, self._overtaken)
        if (presets := self._preset_watch.changed(now_ns)) is not None:
            self._board.presets_changed(presets)
            self._desk.presets_changed(presets)
        self._follow_obs(now_ns)
        self._follow_network(now_ns)
        self._board.link_said(self._exchange.figures(self._playout.delay_ns / 1e6, now_ns))
        self._board.obs_said(self._obs.state, self._obs.report)
        panel_state = self._telemetry.panel_state(self._link, self._desk, now_ns)
        self._desk.post(panel_state)
        self._obs.post(panel_state)
        if self._board.second_passed(now_ns):
            say("stats", **self._board.statistics())

    def _wait(self) -> None:
        now_ns = time.monotonic_ns()
        limit_ns = max(0, self._tick_ns - now_ns)
        if self._dialler is not None:
            self._dialler.wait(now_ns, self._waker, limit_ns)
        else:
            time.sleep(min(limit_ns / 1e9, 0.02))

    def _open_source(self) -> SourceThread:
        config = self._config

        def reopen() -> Source:
            return open_source(config.source, config.output_size, config.rate_fps)

        def deliver(frame: Frame) -> None:
            """On the source's thread: the newest frame replaces one that nobody took."""
            if self._newest.put(frame) is not None:
                self._overtaken += 1
            self._waker.wake()

        source = reopen()
        say("source", title=source.title)
        return SourceThread(source, reopen, deliver)

    def _open_panel(self) -> PanelServer | None:
        self._desk.post(self._board.panel_state(None, self._desk, time.monotonic_ns()))
        if self._config.panel is None:
            return None
        host, port = parse_address(self._config.panel)
        panel = PanelServer(
            self._desk, self._telemetry, token=self._config.panel_token, host=host, port=port
        )
        panel.start()
        say("panel", url=panel.url)
        return panel
