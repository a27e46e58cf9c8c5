"""The report of a run: what `--report FILE` holds. Pure: the children's last words in, a table
out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import brushcast
from brushcast.config import RunConfig
from brushcast.errors import SinkError
from brushcast.frame import Size

Stats = Mapping[str, Any]


def build_report(
    config: RunConfig,
    model_size: Size,
    stats: Mapping[str, Sequence[Stats]],
    worker: Mapping[str, Any],
) -> dict[str, Any]:
    """stats: for `bridge` and `camera`, the last statistics of each incarnation, oldest first.

    Counters are summed over the incarnations; distributions are those of the last one that
    measured any.
    """
    bridge, camera = stats["bridge"], stats["camera"]
    seconds = _total(camera, "seconds")
    styled, reused = (_total(bridge, what) for what in ("styled", "reused"))
    return {
        "version": brushcast.__version__,
        "seconds": round(seconds, 3),
        "source": _last(bridge, "source"),
        "preset": config.preset,
        "engine": _last(bridge, "engine"),
        "device": _last(bridge, "device"),
        "model_size": _last(bridge, "model_size") or str(model_size),
        "output_size": str(config.output_size),
        "frames_in": _total(bridge, "frames_in"),
        "frames_sent": _total(bridge, "frames_sent"),
        "frames_styled": styled,
        "frames_out": _total(camera, "frames_out"),
        "dropped": _sum_tables(bridge, "dropped"),
        "reused": reused,
        # Of the styled pictures: so much of the time the worker's device had nothing to compute.
        "reused_share": round(reused / styled, 4) if styled else 0.0,
        "fps": round(_total(camera, "frames_out") / seconds, 2) if seconds else 0.0,
        "styled_fps": round(styled / seconds, 2) if seconds else 0.0,
        "first_frame_ms": _first(bridge, "first_frame_ms"),
        "capture_to_sink_ms": _last(camera, "capture_to_sink_ms"),
        "link": _last(bridge, "link"),  # of delay_ms: network, worker, playout; codec and rates
        "output_gap_ms": _last(camera, "gap_ms"),
        "stolen_ms": _total(
            camera, "stolen_ms"
        ),  # processor time that a host took from this machine
        "shown": _sum_tables(bridge, "shown"),
        "rungs": _last(bridge, "rungs") or [],
        "reconnects": _total(bridge, "reconnects"),
        "restyled_after_ms": [ms for entry in bridge for ms in entry.get("restyled_after_ms", [])],
        "obs": _last(bridge, "obs"),
        "worker_restarts": worker.get("restarts", 0),
        "sinks": _last(camera, "sinks"),
    }


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Atomically, so that a reader never sees half of it. Raises SinkError."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise SinkError(f"report {path}: {error.strerror or error}") from None


def check_report_path(path: Path) -> None:
    """Before a long run: can the report be written at all? Raises SinkError."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise SinkError(f"report {path}: wanted a file in a folder that exists")
    if not os.access(path.absolute().parent, os.W_OK):
        raise SinkError(f"report {path}: the folder is not writable")


def _total(entries: Sequence[Stats], key: str) -> Any:
    return sum(entry.get(key, 0) for entry in entries)


def _last(entries: Sequence[Stats], key: str) -> Any:
    return next((entry[key] for entry in reversed(entries) if entry.get(key) is not None), None)


def _first(entries: Sequence[Stats], key: str) -> Any:
    return next((entry[key] for entry in entries if entry.get(key) is not None), None)


def _sum_tables(entries: Sequence[Stats], key: str) -> dict[str, int]:
    total: dict[str, int] = {}
    for entry in entries:
        for name, count in entry.get(key, {}).items():
            total[name] = total.get(name, 0) + count
    return total
