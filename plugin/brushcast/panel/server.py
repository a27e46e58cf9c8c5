"""The panel's server: an event loop on a thread of its own, bound to loopback.

What each request must show (access.py says why): an exact Host; no foreign Origin and no foreign
Sec-Fetch-Site; the token for everything below /api/ and for /metrics; JSON for everything that
changes something. The page itself holds no secret.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from brushcast.errors import ConfigError, InputError
from brushcast.panel import access
from brushcast.panel.api import (
    MAX_BODY_BYTES,
    SIDES,
    Json,
    parse_control,
    parse_look,
    parse_object,
    parse_sink,
)
from brushcast.panel.backend import Change, PanelBackend, PanelTelemetry
from brushcast.panel.cards import STATIC_FOLDER
from brushcast.panel.events import Audience
from brushcast.panel.telemetry import add_telemetry

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

START_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 5.0
PUMP_PAUSE_S = 1.0
BACKLOG = 32


class PanelServer:
    """Serves one backend. `start` and `stop` are called by the bridge's main thread, once each."""

    def __init__(
        self,
        backend: PanelBackend,
        telemetry: PanelTelemetry | None = None,
        *,
        token: str,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """telemetry: what /metrics, /livez, /readyz and the charts are answered from; without it
        there are none. port 0: any free one. Raises ConfigError unless host is loopback and
        port is in range."""
        access.check_loopback(host)
        if not 0 <= port <= 65535:
            raise ConfigError(f"panel port {port}: wanted 0 (any free one) to 65535")
        self._backend, self._telemetry = backend, telemetry
        self._token = token
        self._host = "127.0.0.1" if host == "localhost" else host
        self._port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()

    def start(self) -> None:
        """Bind, start the thread, wait until it answers. Raises ConfigError: the port is taken."""
        assert self._thread is None, "started twice"
        listener = _bind(self._host, self._port)
        self._port = listener.getsockname()[1]
        self._thread = threading.Thread(
            target=self._run, args=(listener,), name="panel", daemon=True
        )
        self._thread.start()
        if not self._ready.wait(START_TIMEOUT_S):
            raise ConfigError(f"the panel did not start within {START_TIMEOUT_S:.0f} s")

    def stop(self) -> None:
        """Close every connection and join the thread. Safe to call twice, and before `start`."""
        if self._thread is None:
            return
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(stopping.set)
            except RuntimeError:
                logger.debug("the panel's loop had ended already")
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            logger.warning("the panel did not stop within %.0f s", STOP_TIMEOUT_S)

    @property
    def port(self) -> int:
        """The port that was bound; the one asked for before `start`."""
        return self._port

    @property
    def alive(self) -> bool:
        """Requests are answered."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def url(self) -> str:
        """The address to print for the user, and only there: it holds the token."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/?token={self._token}"

    def _run(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listener))
        except Exception:
            logger.exception("the panel stopped; the pictures go on without it")
        finally:
            listener.close()
            self._ready.set()

    async def _serve(self, listener: socket.socket) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        audience = Audience(self._backend)
        application = _application(
            self._backend, audience, self._token, access.allowed_hosts(self._port)
        )
        if self._telemetry is not None:
            add_telemetry(application, self._telemetry)
        runner = web.AppRunner(
            application, access_log=None, handle_signals=False, shutdown_timeout=1.0
        )
        await runner.setup()
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        self._ready.set()
        stopping = asyncio.create_task(self._stopping.wait(), name="panel-stopping")
        try:
            while not stopping.done():
                await _pump_until(stopping, audience)
        finally:
            stopping.cancel()
            await audience.close()
            await runner.cleanup()


async def _pump_until(stopping: asyncio.Task[bool], audience: Audience) -> None:
    """Pump until `stopping` is done, or until the backend failed: reported, and a pause."""
    pump = asyncio.create_task(audience.pump(), name="panel-pump")
    try:
        await asyncio.wait({pump, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        pump.cancel()
    if pump.done() and not pump.cancelled() and (failure := pump.exception()):
        logger.error("the panel got no state or picture from the bridge", exc_info=failure)
        await asyncio.wait({stopping}, timeout=PUMP_PAUSE_S)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere this option would let a second program steal the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Bound and not yet listening, a port is still free for others with SO_REUSEADDR.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES) and port:
            why = "is in use" if error.errno == errno.EADDRINUSE else "is not permitted"
            raise ConfigError(
                f"panel port {port} {why}: choose another, or 0 for any free one"
            ) from None
        raise ConfigError(f"panel address {host} port {port}: {error.strerror or error}") from None
    listener.setblocking(False)
    return listener


def _application(
    backend: PanelBackend, audience: Audience, token: str, hosts: frozenset[str]
) -> web.Application:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(STATIC_FOLDER / "index.html")

    async def state(request: web.Request) -> web.Response:
        return _json(audience.refresh())

    async def look(request: web.Request) -> web.Response:
        return _accept(parse_look(await _body(request)))

    async def sink(request: web.Request) -> web.Response:
        return _accept(parse_sink(request.match_info["id"], await _body(request)))

    async def control(request: web.Request) -> web.Response:
        return _accept(parse_control(await _body(request)))

    async def preview(request: web.Request) -> web.Response:
        picture = await audience.glance(SIDES[request.match_info["side"]])
        if picture is None:
            raise web.HTTPServiceUnavailable(text="there is no picture yet, try again in a second")
        headers = {"X-Brushcast-Counter": str(picture.counter)}
        return web.Response(body=picture.jpeg, content_type="image/jpeg", headers=headers)

    async def events(request: web.Request) -> web.StreamResponse:
        if audience.full:
            raise web.HTTPServiceUnavailable(text="too many clients watch already, close one")
        return await audience.serve(request)

    def _accept(change: Change) -> web.Response:
        backend.request(change)
        return _json(audience.refresh())

    application = web.Application(
        client_max_size=MAX_BODY_BYTES, middlewares=[_errors_as_json, _guard(hosts, token)]
    )
    application.on_response_prepare.append(_finish(hosts))
    application.router.add_get("/", page)
    application.router.add_static("/static/", STATIC_FOLDER)
    application.router.add_get("/api/v1/state", state)
    application.router.add_post("/api/v1/look", look)
    application.router.add_post(r"/api/v1/sinks/{id:[a-z0-9_-]{1,64}}", sink)
    application.router.add_post("/api/v1/control", control)
    application.router.add_get(r"/api/v1/preview/{side:before|after}.jpg", preview)
    application.router.add_get("/api/v1/events", events)
    return application


def _guard(hosts: frozenset[str], token: str) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _is_foreign(request, hosts):
            raise web.HTTPForbidden(
                text="this address is not the panel's: open the one that Brushcast printed"
            )
        if _is_private(request):
            host = request.headers.get(hdrs.HOST, "")
            if not access.origin_matches(request.headers.get(hdrs.ORIGIN), host):
                raise web.HTTPForbidden(text="another page may not use the panel")
            if not access.site_matches(request.headers.get("Sec-Fetch-Site")):
                raise web.HTTPForbidden(text="another site may not use the panel")
            if not access.token_matches(_token_of(request), token):
                raise web.HTTPUnauthorized(
                    text="the token is missing or old: open the address that Brushcast printed"
                )
        return await handler(request)

    return guard


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Below /api/ a refusal is `{"error": sentence, "kind": …}`; InputError is 422."""
    try:
        return await handler(request)
    except InputError as error:
        return _refusal(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), type(error).__name__)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST or not request.path.startswith("/api/"):
            raise
        if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            sentence = f"the body is too large, wanted at most {MAX_BODY_BYTES} bytes"
        else:
            sentence = error.text or error.reason
        allow = error.headers.get(hdrs.ALLOW)
        return _refusal(
            error.status, sentence, error.reason, {hdrs.ALLOW: allow} if allow else None
        )


def _finish(hosts: frozenset[str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def finish(request: web.Request, response: web.StreamResponse) -> None:
        host = request.headers.get(hdrs.HOST, "")
        response.headers.update(access.security_headers(host if host in hosts else "127.0.0.1"))
        fresh = _is_private(request) or request.path in ("/livez", "/readyz")
        response.headers[hdrs.CACHE_CONTROL] = "no-store" if fresh else "no-cache"

    return finish


def _is_private(request: web.Request) -> bool:
    """The token is wanted."""
    return request.path.startswith("/api/") or request.path == "/metrics"


def _is_foreign(request: web.Request, hosts: frozenset[str]) -> bool:
    given = request.headers.getall(hdrs.HOST, [])
    return len(given) != 1 or given[0] not in hosts


def _token_of(request: web.Request) -> str:
    """From `Authorization: Bearer TOKEN`, or, since a page cannot set that on a WebSocket, its
    protocol `token.TOKEN`.
    """
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    for protocol in request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(","):
        if protocol.strip().startswith("token."):
            return protocol.strip().removeprefix("token.")
    return ""


async def _body(request: web.Request) -> dict[str, Json]:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(
            text=f"the body is {request.content_type}, wanted application/json"
        )
    return parse_object(await request.read())


def _json(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")


def _refusal(
    status: int, sentence: str, kind: str, headers: dict[str, str] | None = None
) -> web.Response:
    return web.json_response({"error": sentence, "kind": kind}, status=status, headers=headers)
