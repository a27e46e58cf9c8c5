"""What the panel's server answers to machines: /metrics, /livez, /readyz, and the charts' data."""

from __future__ import annotations

import json
import time

from aiohttp import hdrs, web

from brushcast.exposition import CONTENT_TYPE, Exposition
from brushcast.health import Verdict
from brushcast.panel.backend import PanelTelemetry

MOST_DIGITS = 9


def add_telemetry(application: web.Application, telemetry: PanelTelemetry) -> None:
    """Adds the routes. Who may ask is the server's guard: the two of health want no token, and say
    one word."""
    exposition = Exposition(telemetry.points)

    async def metrics(request: web.Request) -> web.Response:
        headers = {hdrs.CONTENT_TYPE: CONTENT_TYPE}
        return web.Response(body=exposition.text(), headers=headers)

    async def history(request: web.Request) -> web.Response:
        after = request.query.get("after", "-1")
        digits = after.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS):
            raise web.HTTPBadRequest(text=f"after is {after[:40]!r}, wanted a second, or -1")
        text = json.dumps(telemetry.history(int(after)), separators=(",", ":"))
        return web.Response(text=text, content_type="application/json")

    async def livez(request: web.Request) -> web.Response:
        return _said(telemetry.health.live(time.monotonic_ns()))

    async def readyz(request: web.Request) -> web.Response:
        return _said(telemetry.health.ready(time.monotonic_ns()))

    application.router.add_get("/metrics", metrics)
    application.router.add_get("/api/v1/history", history)
    application.router.add_get("/livez", livez)
    application.router.add_get("/readyz", readyz)


def _said(verdict: Verdict) -> web.Response:
    return web.Response(text=verdict.word + "\n", status=200 if verdict.good else 503)
