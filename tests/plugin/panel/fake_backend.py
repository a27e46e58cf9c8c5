"""A bridge without a camera: it paints its own pictures and remembers what it was asked.

For a look at the page without the product: `python -m tests.plugin.panel.fake_backend [folder]`,
where the folder may hold before.jpg and after.jpg, or before-000.jpg ... and after-000.jpg ...
"""

from __future__ import annotations

import dataclasses
import math
import threading
from pathlib import Path

import cv2
import numpy as np

from brushcast.errors import PresetError, SinkError
from brushcast.frame import Size
from brushcast.panel.backend import (
    Change,
    ChangeLook,
    LookState,
    NoticeSeen,
    OutputState,
    PanelState,
    Pause,
    PortState,
    Preview,
    ProductState,
    SinkState,
    SourceState,
    SwitchBadge,
    SwitchMode,
    SwitchSink,
    Which,
    WorkerPhase,
    WorkerState,
)
from brushcast.panel.cards import preset_cards
from brushcast.presets import load_presets

SIZE = Size(512, 288)


def fake_state() -> PanelState:
    """A healthy live stream with three sinks, one of them on."""
    return PanelState(
        state=ProductState.LIVE,
        message="You are live as a watercolour.",
        worker=WorkerState(
            state=WorkerPhase.READY,
            engine="pocket",
            device="cuda",
            device_name="NVIDIA GeForce RTX 4070",
            fps=29.8,
            delay_ms=184.0,
            rung_name="full quality",
            cache_hits=412,
        ),
        look=LookState(
            preset="watercolour",
            prompt="watercolour painting, wet washes on rough paper",
            strength=0.6,
            seed=7,
        ),
        presets=preset_cards(load_presets().values()),
        source=SourceState(
            spec="camera:0",
            title="Logitech C920",
            state=PortState.LIVE,
            size=Size(1280, 720),
            fps=30.0,
        ),
        sinks=(
            SinkState(
                id="camera",
                title="Virtual camera",
                kind="camera",
                on=True,
                state=PortState.LIVE,
                message="Pick “Brushcast” in Zoom, Discord or Meet.",
                frames=5402,
            ),
            SinkState(id="file", title="Recording", kind="file", on=False, state=PortState.OFF),
            SinkState(id="null", title="Counter", kind="null", on=False, state=PortState.OFF),
        ),
        output=OutputState(size=Size(1280, 720), fps=30.0, gap_max_ms=41.0),
        version="0.1.0",
    )


class FakeBackend:
    """A `PanelBackend`. `state` may be replaced at any time; `changes` holds what was accepted."""

    def __init__(self, pictures: Path | None = None) -> None:
        self.state = fake_state()
        self.changes: list[Change] = []
        self.watcher_counts: list[int] = []
        self.pictures_asked = 0
        self.no_picture = False
        self._lock = threading.Lock()
        self._counter = 0
        self._reels = {side: _reel(pictures, side) for side in ("before", "after")}

    def snapshot(self) -> PanelState:
        with self._lock:
            return self.state

    def preview(self, which: Which) -> Preview | None:
        with self._lock:
            self.pictures_asked += 1
            if self.no_picture:
                return None
            self._counter += 1
            reel = self._reels[which]
            number = self._counter // 2
            jpeg = reel[number % len(reel)] if reel else _painted(which, number)
            return Preview(jpeg=jpeg, counter=self._counter)

    def request(self, change: Change) -> None:
        with self._lock:
            self.state = _changed(self.state, change)
            self.changes.append(change)

    def watchers(self, count: int) -> None:
        self.watcher_counts.append(count)


def _changed(state: PanelState, change: Change) -> PanelState:
    match change:
        case ChangeLook():
            return dataclasses.replace(state, look=_look(state, change))
        case SwitchSink(id=name, on=on):
            if name not in {sink.id for sink in state.sinks}:
                there = ", ".join(sink.id for sink in state.sinks)
                raise SinkError(f"unknown sink {name!r}: there are {there}")
            phase = PortState.LIVE if on else PortState.OFF
            sinks = tuple(
                dataclasses.replace(sink, on=on, state=phase) if sink.id == name else sink
                for sink in state.sinks
            )
            return dataclasses.replace(state, sinks=sinks)
        case SwitchBadge(on=on):
            return dataclasses.replace(state, badge=on)
        case SwitchMode(mode=mode):
            return dataclasses.replace(state, mode=mode)
        case NoticeSeen():
            return dataclasses.replace(state, notice=False)
        case Pause(on=on):
            if on:
                message = "Paused. Your audience sees the card."
                return dataclasses.replace(
                    state, paused=True, state=ProductState.OFF, message=message
                )
            return dataclasses.replace(
                fake_state(), look=state.look, sinks=state.sinks, paused=False
            )
    return dataclasses.replace(fake_state(), look=state.look, sinks=state.sinks)


def _look(state: PanelState, change: ChangeLook) -> LookState:
    look = state.look
    if change.preset is not None:
        presets = load_presets()
        if change.preset not in presets:
            raise PresetError(f"unknown preset {change.preset!r}: there are {', '.join(presets)}")
        preset = presets[change.preset]
        look = LookState(
            preset=preset.name, prompt=preset.prompt, strength=preset.strength, seed=preset.seed
        )
    given = {
        name: value
        for name, value in (
            ("prompt", change.prompt),
            ("strength", change.strength),
            ("seed", change.seed),
        )
        if value is not None
    }
    return dataclasses.replace(look, **given)  # type: ignore[arg-type]


def _reel(folder: Path | None, side: str) -> list[bytes]:
    if folder is None:
        return []
    return [path.read_bytes() for path in sorted(folder.glob(f"{side}*.jpg"))]


def _painted(which: Which, number: int) -> bytes:
    """A disc that wanders over a gradient: grey before, in colours after."""
    rows, columns = np.mgrid[0 : SIZE.height, 0 : SIZE.width].astype(np.float32)
    centre_x = SIZE.width * (0.5 + 0.3 * math.sin(number / 20))
    disc = np.hypot(rows - SIZE.height / 2, columns - centre_x) < 70
    if which == "before":
        bgr_HWC = np.stack([90 + rows / 4] * 3, axis=2)
        bgr_HWC[disc] = (150, 170, 190)
    else:
        bgr_HWC = np.stack([190 - rows / 3, 150 + columns / 6, 200 - columns / 5], axis=2)
        bgr_HWC[disc] = (90, 110, 240)
    done, jpeg = cv2.imencode(".jpg", bgr_HWC.clip(0, 255).astype(np.uint8))
    assert done
    return jpeg.tobytes()


def main() -> None:
    """Serve the fake until it is interrupted."""
    import argparse
    import sys

    from brushcast.panel.access import new_token
    from brushcast.panel.server import PanelServer
    from tests.plugin.panel.fake_telemetry import FakeTelemetry

    parser = argparse.ArgumentParser(description="The panel over a fake bridge.")
    parser.add_argument("pictures", nargs="?", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default=new_token())
    options = parser.parse_args()
    backend, telemetry = FakeBackend(options.pictures), FakeTelemetry()
    server = PanelServer(backend, telemetry, token=options.token, port=options.port)
    server.start()
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
