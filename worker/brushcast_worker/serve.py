"""Serve: the worker's threads put together, started and stopped.

main       the GPU thread: loads the engine, warms it up, runs the loop
link       server.Server
guard      step_guard.Watch: ends the process when the GPU thread does not come back
lifeline   reads standard input, where supervised (brushcast.child): its end ends the process, a
           hung model included
parent     waits for what the lifeline reads, so that the end is a good one where it can be
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

import brushcast
from brushcast.errors import InputError, OutOfMemory
from brushcast.exposition import Exposition
from brushcast.folders import compiled_folder
from brushcast.packing import CODECS
from brushcast.presets import Preset, load_presets
from brushcast.wire.curve import KeyList
from brushcast.wire.messages import Welcome
from brushcast.wire.sockets import Context, Endpoint, RouterSocket, Waker, parse_endpoint
from brushcast.wire.zap import Guard
from brushcast_worker.compile_cache import forget_compiled
from brushcast_worker.config import ServeConfig, physical_cores
from brushcast_worker.engine import EngineInfo, load_engine
from brushcast_worker.loop import Loop
from brushcast_worker.mail import Outbox, new_inbox
from brushcast_worker.metrics_server import MetricsServer
from brushcast_worker.pulse import Serving
from brushcast_worker.sd_notify import Notifier
from brushcast_worker.server import Server
from brushcast_worker.step_guard import STOP_PATIENCE_S, Watch
from brushcast_worker.warm_up import warm_up
from brushcast_worker.worker_figures import WorkerFigures
from brushcast_worker.worker_metrics import points

log = logging.getLogger(__name__)

LEAST_WARM_UP_MS = 5_000
MOST_WARM_UP_MS = 10_000
NETWORK_FRAMES = 16  # half a second at 30: a round trip around the world, both ways
WARM_UP_FACTOR = 10  # another size or a busier machine, against what warming up took here

Tell = Callable[..., None]  # child.say: the event's name, and what it says by keyword
Messages = queue.Queue[dict[str, Any] | None]


def run_worker(config: ServeConfig, tell: Tell, messages: Messages | None = None) -> int:
    """Serve until stopped; the exit code. messages: the parent's, where supervised. Raises
    ConfigError, WeightsError, OutOfMemory before it is ready, and EngineError when the engine
    failed again and again."""
    stop, waker, context = threading.Event(), Waker(), Context()
    _handle_signals(config, stop)
    socket = None
    figures, serving, metrics = WorkerFigures(), Serving(), None
    try:
        metrics = _open_metrics(config, figures, serving, tell)
        socket = None if config.standby else _listen(context, config.bind, config)
        torch.set_num_threads(config.threads or physical_cores())
        engine = load_engine(
            config.engine, config.device, quirks=config.quirks, decoder=config.decoder
        )
        figures.loaded(engine.info)
        inbox, outbox = new_inbox(), Outbox(waker.wake, stop)
        loop = Loop(
            engine,
            inbox=inbox,
            post=outbox.post,
            clock_ns=time.monotonic_ns,
            stop=stop,
            figures=figures,
        )
        size = engine.info.default_size
        took_ns = _warmed_up(lambda: warm_up(engine, _some_preset(), size, time.monotonic_ns))
        loop.pulse.warmed_up(max(took_ns))
        if socket is None:
            tell("standby", **_about(engine.info))
            endpoint = _wait_to_serve(messages, config.bind)
            if endpoint is None:
                return 0
            socket = _listen(context, endpoint, config)
        if messages is not None:
            parent = threading.Thread(target=_watch_parent, args=(messages, stop), name="parent")
            parent.daemon = True  # it ends with standard input, which may outlive us
            parent.start()
        server = Server(
            socket,
            waker,
            welcome=_welcome(engine.info, took_ns[-1], far=not config.supervised),
            to_gpu=inbox,
            mail=outbox,
            clock_ns=time.monotonic_ns,
            stop=stop,
        )
        link = threading.Thread(target=_serve_links, args=(server, stop), name="link")
        link.start()
        done, notifier = threading.Event(), Notifier(config.notify)
        watch = Watch(
            pulse=loop.pulse,
            notifier=notifier,
            stop=stop,
            done=done,
            link_alive=link.is_alive,
            watched=config.watchdog_s > 0,
            clock_ns=time.monotonic_ns,
            leave=_leave,
        )
        guard = threading.Thread(target=watch.stand, name="guard")
        guard.start()
        try:
            serving.begins(loop.pulse)
            tell("listening", endpoint=str(socket.endpoint))
            tell("ready", **_about(engine.info))
            notifier.ready(f"{engine.info.name} on {engine.info.device_name} at {socket.endpoint}")
            loop.run()
        finally:
            stop.set()
            waker.wake()
            link.join(STOP_PATIENCE_S)
            notifier.stopping()
            done.set()
            guard.join(STOP_PATIENCE_S)
        return 0
    finally:
        if metrics is not None:
            metrics.stop()
        if socket is not None:
            socket.close()
        waker.close()
        context.term()


def _listen(context: Context, endpoint: Endpoint, config: ServeConfig) -> RouterSocket:
    """Beyond this machine: with keys, and only for the bridges on the list."""
    if endpoint.loopback or config.keys is None or config.bridges is None:
        return RouterSocket(context, endpoint)  # which refuses what is beyond
    bridges = KeyList(config.bridges)
    if not bridges.entries():
        log.warning("no bridge may use this worker yet: brushcast-worker pair lets one in")
    return RouterSocket(context, endpoint, Guard(context, config.keys, bridges.admits))


def _warmed_up(warm: Callable[[], list[int]]) -> list[int]:
    """The cost of each chunk in ns. What was compiled in an earlier start may be damaged in ways
    that torch does not notice: then it is built anew, once."""
    try:
        return warm()
    except (InputError, OutOfMemory):
        raise
    except Exception as error:  # noqa: BLE001 - whatever damaged code can raise; raised again below
        if not forget_compiled(compiled_folder()):
            raise
        log.warning("warming up failed (%s); what was compiled before is built anew", error)
        torch.compiler.reset()
        return warm()


def _open_metrics(
    config: ServeConfig, figures: WorkerFigures, serving: Serving, tell: Tell
) -> MetricsServer | None:
    """Before the model is loaded, so that "loading" can be asked for. Raises ConfigError."""
    if config.metrics is None:
        return None
    host, port = config.metrics
    exposition = Exposition(lambda: points(figures.info, figures.published))
    metrics = MetricsServer(
        host,
        port,
        token=config.metrics_token,
        text=exposition.text,
        live=serving.live,
        ready=serving.ready,
    )
    metrics.start()
    tell("metrics", address=f"http://{f'[{host}]' if ':' in host else host}:{metrics.port}/metrics")
    return metrics


def _serve_links(server: Server, stop: threading.Event) -> None:
    """The link thread's top: whatever ends it ends the worker."""
    try:
        server.run()
    except Exception:
        log.exception("the link thread failed")
        raise
    finally:
        stop.set()


def _handle_signals(config: ServeConfig, stop: threading.Event) -> None:
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if config.supervised:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _wait_to_serve(messages: Messages | None, bind: Endpoint) -> Endpoint | None:
    """Standby: where to serve, once told; None when the parent is gone."""
    assert messages is not None, "checked by ServeConfig"
    while True:
        message = messages.get()
        if message is None:
            return None
        if message.get("command") == "serve":
            return parse_endpoint(str(message.get("endpoint", bind)))
        log.warning("waiting to serve; %.80r is no reason to", message)


def _watch_parent(messages: Messages, stop: threading.Event) -> None:
    """The parent thread: when standard input ends, the worker stops."""
    while messages.get() is not None:
        log.warning("a message from the parent was ignored: the worker serves already")
    stop.set()


def _leave(reason: str) -> None:
    """Ends the process at once, whatever its other threads are stuck in. The supervisor tells the
    last line of standard error."""
    sys.stderr.write(f"the worker ends itself: {reason}\n")
    sys.stderr.flush()
    os._exit(1)


def _some_preset() -> Preset:
    return next(iter(load_presets().values()))


def _welcome(info: EngineInfo, warm_up_ns: int, *, far: bool) -> Welcome:
    """far: bridges may be on other machines, so pictures are packed, and some are on their way."""
    warm_up_ms = warm_up_ns // 1_000_000 * WARM_UP_FACTOR
    return Welcome(
        worker="brushcast-worker",
        version=brushcast.__version__,
        engine=info.name,
        device=info.device,
        device_name=info.device_name,
        attention=info.attention,
        chunk_frames=info.chunk_frames,
        credit_frames=credit_frames(info) + (NETWORK_FRAMES if far else 0),
        codecs=CODECS if far else "raw jpeg",
        warmup_ms=max(LEAST_WARM_UP_MS, min(warm_up_ms, MOST_WARM_UP_MS)),
        size_multiple=info.size_multiple,
        default_width=info.default_size.width,
        default_height=info.default_size.height,
    )


def _about(info: EngineInfo) -> dict[str, Any]:
    about = {"engine": info.name, "device": info.device, "device_name": info.device_name}
    return about | ({"attention": info.attention} if info.attention else {})


def credit_frames(info: EngineInfo) -> int:
    """One chunk computed and one collected, beside those that a stream batch holds; and never so
    few that with the most steps a next chunk could not come together."""
    chunks = max(info.default_steps + 1, *info.steps)
    return chunks * info.chunk_frames + info.late_frames
