"""`brushcast restyle`: a whole file through the same worker, every picture of it, in order.

MAIN PATH: `restyle_file` → `_Restyling.run`: feed → exchange → write. The stream is lossless: the
worker drops and skips nothing, and credit alone sets the pace. When the worker dies, what had no
result yet is sent again to the next one.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import queue
import random
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

import brushcast
from brushcast import codec
from brushcast.badge import DEFAULT_CORNER, Corner
from brushcast.child import Child, ChildEvent
from brushcast.clip import Clip, ClipPicture
from brushcast.config import DEFAULT_AREA_PX, MAX_AREA_PX
from brushcast.errors import BrushcastError, ChildError, ConfigError, InputError, PromptError
from brushcast.frame import Frame, Size, fit, model_size
from brushcast.presets import Preset
from brushcast.provenance import Origin
from brushcast.recording import Recording, check_target
from brushcast.restart import RestartPolicy
from brushcast.wire.link import (
    LOCAL_TIMES,
    ClientLink,
    Connected,
    Faulted,
    Lost,
    Refused,
    Result,
)
from brushcast.wire.messages import Codec, StreamState, Welcome
from brushcast.wire.sockets import Dialler, Waker, open_context, parse_endpoint

log = logging.getLogger(__name__)

LONGEST_CHUNK_S = 60.0  # a large picture on a slow CPU: that it comes is good output
DECODED_AHEAD = 12  # pictures that wait, decoded and scaled, for credit
WAIT_NS = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RestyleConfig:
    """size: of the result; None keeps the input's, painted at what the engine likes best. badge:
    where every picture says "AI"; None for nowhere. own_words: the prompt is not the preset's.
    """

    source: Path
    target: Path
    look: Preset
    size: Size | None = None
    steps: int = 0
    engine: str = "pocket"
    device: str = "auto"
    badge: Corner | None = DEFAULT_CORNER
    own_words: bool = False


def restyle_file(
    config: RestyleConfig, *, quiet: bool = False, stop: threading.Event | None = None
) -> dict[str, Any]:
    """Restyle a file; the report. `stop` (set by a signal's handler, for example) ends it early
    with a playable file, `complete` is False.

    Raises InputError for an input or output that cannot work, ChildError when the worker keeps
    failing; without a painted picture an older file at the target stays as it was.
    """
    check_target(config.target)
    if config.badge is None:
        log.info("the AI badge is switched off, as asked: no picture says AI")
    if config.target.exists() and config.source.exists():
        if config.target.samefile(config.source):
            raise ConfigError(f"{config.target}: is the input itself; wanted another file")
    with Clip(config.source) as clip:
        return _Restyling(config, clip, stop or threading.Event(), quiet=quiet).run()


class _Restyling:
    """One file on its way. The main thread owns everything but the decoding."""

    def __init__(
        self, config: RestyleConfig, clip: Clip, stopping: threading.Event, *, quiet: bool
    ) -> None:
        self._config, self._clip, self._stopping = config, clip, stopping
        self._output_size = config.size or clip.info.size
        area_px = min(config.size.area_px, MAX_AREA_PX) if config.size else DEFAULT_AREA_PX
        self._model_size = model_size(self._output_size, area_px)
        self._sized = threading.Event()  # the size is settled, pictures may be scaled to it
        if config.size is not None:
            self._sized.set()
        self._decoded: queue.Queue[Frame | BrushcastError | None] = queue.Queue(DECODED_AHEAD)
        self._times_s: dict[int, Fraction] = {}
        self._unanswered: collections.deque[Frame] = collections.deque()  # sent, in order
        self._again: collections.deque[Frame] = collections.deque()  # to be sent once more
        self._next: Frame | None = None  # one ahead: the last frame must carry END
        self._all_decoded = False
        self._end_sent = False
        self._frames_in = self._frames_out = self._reconnects = 0
        self._first_frame_ms: float | None = None
        self._dialler: Dialler | None = None
        self._link: ClientLink | None = None
        self._welcome: Welcome | None = None
        self._remark = ""  # what the worker took an unknown wording for
        self._recording: Recording | None = None
        self._policy = RestartPolicy(random.Random(), output_gap_s=LONGEST_CHUNK_S)
        self._events: queue.Queue[ChildEvent] = queue.Queue(maxsize=1000)
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>5.1f} per second"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            refresh_per_second=4,
        )

    def run(self) -> dict[str, Any]:
        self._started_s = time.monotonic()
        self._context = open_context()
        self._waker = Waker()
        self._child = self._start_worker("tcp://127.0.0.1:0")
        decoder = threading.Thread(target=self._decode, name="decoder")
        decoder.start()
        try:
            with self._progress:
                name = f"{self._config.source.name} → {self._config.look.title}"
                self._task = self._progress.add_task(name, total=self._clip.info.pictures, rate=0.0)
                while not self._done() and not self._stopping.is_set():
                    self._children_said()
                    self._feed()
                    self._exchange()
        finally:
            self._stopping.set()
            decoder.join()
            self._child.kill()
            self._child.join()
            if self._dialler is not None:
                self._dialler.close(time.monotonic_ns())
            self._waker.close()
            self._context.destroy(linger=0)
            if self._recording is not None:
                self._recording.close()
        return self._report(complete=self._done())

    def _done(self) -> bool:
        return self._end_sent and not self._unanswered and not self._again

    # ------------------------------------------------------------------ the worker's process

    def _start_worker(self, bind: str) -> Child:
        arguments = ["brushcast_worker", "serve", "--supervised", "--bind", bind]
        arguments += ["--engine", self._config.engine, "--device", self._config.device]
        return Child("worker", arguments, self._events)

    def _children_said(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            if event.child is not self._child:
                continue
            if event.kind == "error":
                raise InputError(str(event.data.get("message")))
            if event.kind == "listening" and self._link is None:
                self._connect(str(event.data["endpoint"]))
            elif event.kind == "exited":
                self._worker_died(str(event.data.get("last_words", "")))

    def _worker_died(self, last_words: str) -> None:
        delay_s = self._policy.died()
        if delay_s is None or self._dialler is None:
            cause = (last_words.strip().splitlines() or ["no reason given"])[-1]
            raise ChildError(f"the worker keeps failing: {cause}")
        log.warning("the worker died and is started again")
        self._child.join()
        time.sleep(delay_s)
        self._child = self._start_worker(self._endpoint)
        assert self._link is not None
        self._link.socket_lost("the worker process died", time.monotonic_ns())

    def _connect(self, endpoint: str) -> None:
        self._endpoint = endpoint
        look = self._config.look
        state = StreamState(
            revision=1,
            preset=look.name,
            prompt=look.prompt,
            strength=look.strength,
            seed=look.seed,
            width=self._model_size.width,
            height=self._model_size.height,
            steps=self._config.steps,
            lossless=True,
        )
        self._link = ClientLink(
            state,
            client="brushcast restyle",
            version=brushcast.__version__,
            times=LOCAL_TIMES,
            rng=random.Random(),
        )
        self._dialler = Dialler(self._context, parse_endpoint(endpoint), self._link)
        self._link.start(time.monotonic_ns())

    # ------------------------------------------------------------------ feed

    def _decode(self) -> None:
        """Its own thread: decoded and scaled pictures, then None; an error in their place."""
        while not self._sized.wait(0.1):
            if self._stopping.is_set():
                return
        try:
            for picture in self._clip.pictures():
                if not self._offer(self._frame_of(picture)):
                    return
            self._offer(None)
        except BrushcastError as error:
            self._offer(error)

    def _frame_of(self, picture: ClipPicture) -> Frame:
        self._times_s[picture.index] = picture.time_s
        pixels_HWC = fit(picture.pixels_HWC, self._model_size)
        return Frame(pixels_HWC, seq=picture.index, captured_ns=time.monotonic_ns())

    def _offer(self, item: Frame | BrushcastError | None) -> bool:
        while not self._stopping.is_set():
            try:
                self._decoded.put(item, timeout=0.1)
            except queue.Full:
                continue
            self._waker.wake()
            return True
        return False

    def _feed(self) -> None:
        """Send while there is credit: first what has to be sent again, then what is new."""
        if self._link is None or self._dialler is None or not self._link.ready:
            return
        while self._link.credit and self._again:
            frame = self._again.popleft()
            last = self._all_decoded and self._next is None and not self._again
            self._send(frame, end=last)
        while self._link.credit and not self._again and not self._end_sent:
            if not self._look_ahead():
                break
            newest, self._next = self._next, None
            self._look_ahead()
            assert newest is not None
            if self._next is None and not self._all_decoded:
                self._next = newest  # is it the last one? not known yet
                break
            self._frames_in += 1
            self._send(newest, end=self._next is None)
        self._dialler.flush()

    def _look_ahead(self) -> bool:
        """Hold one decoded frame in `_next` if there is one; False when there is none now."""
        if self._next is not None:
            return True
        if self._all_decoded:
            return False
        try:
            item = self._decoded.get_nowait()
        except queue.Empty:
            return False
        if isinstance(item, BrushcastError):
            raise item
        self._all_decoded = item is None
        self._next = item
        return item is not None

    def _send(self, frame: Frame, *, end: bool) -> None:
        assert self._link is not None
        sent = self._link.send_frame(
            codec.encode(frame.pixels_HWC, Codec.RAW),
            seq=frame.seq,
            captured_ns=frame.captured_ns,
            width=self._model_size.width,
            height=self._model_size.height,
            codec=Codec.RAW,
            now_ns=time.monotonic_ns(),
            end=end,
        )
        assert sent, "there was credit"
        self._unanswered.append(frame)
        self._end_sent = self._end_sent or end

    # ------------------------------------------------------------------ exchange, write

    def _exchange(self) -> None:
        if self._dialler is None:
            time.sleep(0.02)
            return
        self._dialler.wait(time.monotonic_ns(), self._waker, WAIT_NS)
        for event in self._dialler.service(time.monotonic_ns()):
            if isinstance(event, Result):
                self._write(event)
            elif isinstance(event, Connected):
                self._welcome = event.welcome
                self._settle_size(event.welcome)
            elif isinstance(event, Lost):
                self._reconnects += event.was_ready
                self._again = self._unanswered + self._again
                self._unanswered = collections.deque()
                self._end_sent = False
            elif isinstance(event, Refused):  # before the first picture: what was asked cannot be
                raise (ChildError if self._frames_out else InputError)(event.message)
            elif isinstance(event, Faulted) and event.code == "wording":
                self._remark = event.message
            elif isinstance(event, Faulted):
                raise PromptError(event.message)

    def _settle_size(self, welcome: Welcome) -> None:
        """As large as the first worker likes to paint, in the output's shape, unless the user
        chose."""
        if self._sized.is_set():
            return
        likes_px = welcome.default_width * welcome.default_height
        area_px = max(DEFAULT_AREA_PX, min(likes_px, self._output_size.area_px))
        size = model_size(self._output_size, area_px)
        if size != self._model_size:
            assert self._link is not None
            self._model_size = size
            old = self._link.stream_state
            state = dataclasses.replace(
                old, revision=old.revision + 1, width=size.width, height=size.height
            )
            self._link.set_state(state, time.monotonic_ns())
        self._sized.set()

    def _write(self, result: Result) -> None:
        header = result.header
        frame = self._unanswered.popleft()
        if frame.seq != header.seq:
            raise ChildError(f"the worker sent picture {header.seq}, wanted {frame.seq}")
        painted_HWC = codec.decode(header, result.payload)
        if self._recording is None:
            self._recording = self._open_recording()
        time_s = self._times_s.pop(header.seq)
        self._recording.write(painted_HWC, time_s, self._config.badge)
        self._frames_out += 1
        self._policy.good_output(time.monotonic_ns())
        now_s = time.monotonic()
        if self._first_frame_ms is None:
            self._first_frame_ms = (now_s - self._started_s) * 1000
            self._painting_since_s = now_s
        passed_s = max(now_s - self._painting_since_s, 1e-3)
        self._progress.update(self._task, advance=1, rate=self._frames_out / passed_s)

    def _open_recording(self) -> Recording:
        """With the first picture only: until then an older file of that name is left as it is."""
        name = "in own words" if self._config.own_words else self._config.look.name
        return Recording(
            self._config.target,
            self._output_size,
            self._clip.info.rate,
            sound_of=self._config.source if self._clip.info.audio else None,
            origin=Origin(engine=self._config.engine, look=name),
        )

    def _report(self, *, complete: bool) -> dict[str, Any]:
        seconds = time.monotonic() - self._started_s
        welcome = self._welcome
        painting_s = seconds - (self._first_frame_ms or 0.0) / 1000
        return {
            "version": brushcast.__version__,
            "complete": complete,
            "source": str(self._config.source),
            "target": str(self._config.target),
            "preset": self._config.look.name,
            "prompt": self._config.look.prompt,
            "remark": self._remark,
            "strength": self._config.look.strength,
            "seed": self._config.look.seed,
            "engine": welcome.engine if welcome else None,
            "device": (welcome.device_name or welcome.device) if welcome else None,
            "model_size": str(self._model_size),
            "output_size": str(self._output_size),
            "frames_in": self._frames_in,
            "frames_out": self._frames_out,
            "dropped": {"damaged": self._clip.damaged} if self._clip.damaged else {},
            "seconds": round(seconds, 2),
            "styled_fps": round(self._frames_out / painting_s, 2) if painting_s > 0 else 0.0,
            "first_frame_ms": self._first_frame_ms and round(self._first_frame_ms, 1),
            "reconnects": self._reconnects,
        }
