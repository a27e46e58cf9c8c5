"""OBS's websocket server: found where it is on, asked once a second, told what we do.

A thread of its own in the bridge: `_run` looks for the server and comes back to it with a back-off,
`obs_talk` is what is said. The bridge's thread reads what is published here and leaves wishes; it
never waits. Without obsws-python nothing happens.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brushcast.errors import ConfigError, ObsError, ObsPasswordError
from brushcast.obs_client import ObsClient
from brushcast.obs_pressure import PressureGauge, Tally
from brushcast.obs_settings import ObsServer, find_server, settings_folders
from brushcast.obs_sound import SoundKeeper, SoundRecord
from brushcast.obs_talk import ObsTalk
from brushcast.panel.backend import ObsState, PanelState
from brushcast.slot import Latest

log = logging.getLogger(__name__)

TURN_S = 0.25  # so at most 4 events a second
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 10.0  # between two attempts, doubled
GOOD_S = 10.0  # a connection that lasted so long forgives the attempts before it
REFUSED_PAUSE_S = 60.0  # after a refused password, unless OBS's settings change
STOP_S = 3.0  # for giving back the sound's offset at the end

WAITING = "OBS's websocket server is not there yet"
OFF = "OBS's websocket server is off: switch it on in OBS, Tools > WebSocket Server Settings"
NOT_THERE = "OBS is not running, or its websocket server does not answer"
LOST = "the connection to OBS was lost"
NOT_INSTALLED = "obsws-python is not installed"
UNEXPECTED = "OBS's websocket server: something unexpected happened, see the log"


def find_local_server() -> ObsServer | None:
    """The server of this user's OBS, None when it is off. Raises ConfigError."""
    return find_server(settings_folders())


class ObsThread:
    """Owned by the bridge: `start`; then `post`, `switch_camera`, `state`, `pressure` and `report`
    at any time; then `stop`."""

    def __init__(
        self,
        *,
        audio_input: str,
        record: str,
        find: Callable[[], ObsServer | None] = find_local_server,
        connect: Callable[[ObsServer], ObsClient] = ObsClient,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        pace: float = 1.0,
    ) -> None:
        """audio_input: as BridgeConfig.obs_audio; record: the file, "" to leave OBS alone. connect:
        may raise ImportError and ObsError. pace: of all pauses, smaller in tests."""
        self._find, self._connect, self._clock_ns, self._pace = find, connect, clock_ns, pace
        self._record, self._audio_input = record, audio_input
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._posted: Latest[PanelState] = Latest()
        self._camera: Latest[bool] = Latest()
        self._gauge, self._tally = PressureGauge(), Tally()
        self._state = ObsState(message=WAITING)
        self._report: dict[str, Any] = {}
        self._warned = ""  # the last sentence in the log
        self._refused: ObsServer | None = None
        self._refused_ns = 0

    # ------------------------------------------------------------------ the bridge's side

    def start(self) -> None:
        """Begins to look for OBS."""
        if self._record:
            self._thread = threading.Thread(target=self._run, name="obs-websocket", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Gives OBS back what is the user's. An OBS that does not answer is not waited for."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def post(self, product: PanelState) -> None:
        """What the product does now."""
        self._posted.put(product)

    def switch_camera(self, on: bool) -> None:
        """OBS's own virtual camera; what goes wrong with it is said in `state`."""
        self._camera.put(on)

    @property
    def pressure(self) -> bool:
        """OBS cannot keep its own pace."""
        return self._gauge.pressed(self._clock_ns())

    @property
    def state(self) -> ObsState:
        """What is known of OBS now."""
        return dataclasses.replace(self._state, pressure=self.pressure)

    @property
    def report(self) -> dict[str, Any]:
        """Figures of the run so far; {} when OBS was never reached."""
        return self._report

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        sound = SoundKeeper(self._audio_input, SoundRecord(Path(self._record)))
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began_ns = self._clock_ns()
            try:
                self._visit(sound)
            except ImportError as error:
                log.debug("OBS is left alone: %s (%s)", NOT_INSTALLED, error)
                self._state = ObsState(message=NOT_INSTALLED)
                return
            except Exception:  # noqa: BLE001 - the thread's top: the picture goes on without OBS
                log.exception(UNEXPECTED)
                self._state = ObsState(message=UNEXPECTED)
            if self._clock_ns() - began_ns >= GOOD_S * 1e9:
                pause_s = FIRST_PAUSE_S
            self._stopping.wait(pause_s * self._pace)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _visit(self, sound: SoundKeeper) -> None:
        """One attempt, and the connection that came of it. Raises ImportError."""
        server: ObsServer | None = None
        try:
            server = self._find()
            if server is None:
                self._state = ObsState(message=OFF)
                return
            if server == self._refused and self._refused_lately():
                return
            client = self._connect(server)
        except ConfigError as error:
            self._complain(str(error))
            return
        except ObsPasswordError as error:
            self._refused, self._refused_ns = server, self._clock_ns()
            self._complain(str(error))
            return
        except ObsError as error:
            log.debug("%s", error)
            self._state = ObsState(message=NOT_THERE)
            return
        self._refused = None
        try:
            with client:
                self._talk(client, sound)
        except ObsError as error:
            log.info("%s", error)
            self._state = ObsState(message=LOST)
        finally:
            self._gauge.forget()
            self._tally.forget()
            sound.lost()

    def _talk(self, client: ObsClient, sound: SoundKeeper) -> None:
        """Until told to stop. Raises ObsError when the connection breaks."""
        talk = ObsTalk(client, gauge=self._gauge, tally=self._tally, sound=sound)
        self._warned = ""
        log.info("connected to OBS")
        product: PanelState | None = None
        self._camera.take()  # a wish from before would come as a surprise
        while not self._stopping.is_set():
            product = self._posted.take() or product
            self._state = talk.turn(self._clock_ns(), product, self._camera.take())
            self._report = {"version": self._state.version, **self._tally.report()}
            client.rest(TURN_S * self._pace, self._stopping)
        talk.end()

    def _refused_lately(self) -> bool:
        return self._clock_ns() - self._refused_ns < REFUSED_PAUSE_S * 1e9

    def _complain(self, message: str) -> None:
        """For the user: once in the log, and in the panel as long as it is so."""
        self._state = ObsState(message=message)
        if message != self._warned:
            self._warned = message
            log.warning("%s", message)
