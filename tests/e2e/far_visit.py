"""How a worker elsewhere is lived with: the product over a relay, and the figures of its report.

    python -m tests.e2e.far_visit [--mbits 10] [--latency-ms 100] [--jitter-ms 0] [--seconds 40]
        [--codec auto] [--size WxH] [--narrow-at S --narrow-mbits M] [--cut-at S] [--keep FILE.mp4]

latency-ms: one way. The worker is a process of its own, as `brushcast-worker serve` starts it.
Needs a quiet machine; prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import brushcast
from tests.faults.relay import Relay

MBIT = 125_000  # bytes a second
FIGURES = (
    *("seconds", "styled_fps", "first_frame_ms", "capture_to_sink_ms", "output_gap_ms", "shown"),
    *("model_size", "dropped", "reconnects", "restyled_after_ms", "link"),
)
CLIP = Path(brushcast.__file__).parent / "assets" / "clip.mp4"


def visit(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run; what its report says of the link and of the picture."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = [sys.executable, "-m", "brushcast_worker", "serve", "--bind", f"tcp://127.0.0.1:{port}"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
        try:
            assert worker.stdout is not None
            worker.stdout.readline()
            return _run(options, folder, port)
        finally:
            worker.terminate()


def _run(options: argparse.Namespace, folder: Path, port: int) -> dict[str, Any]:
    report = folder / "report.json"
    conditions = {
        "latency_s": options.latency_ms / 1000, "jitter_s": options.jitter_ms / 1000,
        "bytes_per_s": options.mbits * MBIT if options.mbits else None,
    }  # fmt: skip
    with Relay(("127.0.0.1", port), **conditions) as relay:
        command = [sys.executable, "-m", "brushcast", "run", "--source", f"file:{CLIP}"]
        command += ["--worker", f"tcp://127.0.0.1:{relay.port}", "--codec", options.codec]
        command += ["--sink", "null", "--panel", "off", "--preset", options.preset]
        command += ["--for", str(options.seconds), "--report", str(report)]
        command += ["--size", options.size] if options.size else []
        command += ["--sink", f"file:{options.keep.absolute()}"] if options.keep else []
        home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        with subprocess.Popen(command, env={**os.environ, **home}) as product:
            begun_s = time.monotonic()
            plans = [(options.narrow_at, "narrow"), (options.cut_at, "cut")]
            for at_s, what in sorted((at_s, what) for at_s, what in plans if at_s):
                time.sleep(max(0.0, begun_s + at_s - time.monotonic()))
                if what == "cut":
                    relay.cut()
                else:
                    relay.set(bytes_per_s=options.narrow_mbits * MBIT)
            product.wait(options.seconds + 60)
        passed = (relay.bytes_up, relay.bytes_down)
    said = json.loads(report.read_text())
    mbits = [round(count * 8 / 1e6 / said["seconds"], 2) for count in passed]
    return {name: said[name] for name in FIGURES} | {"mean_mbits": mbits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mbits", type=float, default=10.0, help="each way; 0: no limit")
    parser.add_argument("--latency-ms", type=float, default=100.0)
    parser.add_argument("--jitter-ms", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--codec", default="auto")
    parser.add_argument("--preset", default="ink")
    parser.add_argument("--size", default="")
    parser.add_argument("--narrow-at", type=float, default=0.0)
    parser.add_argument("--narrow-mbits", type=float, default=2.0)
    parser.add_argument("--cut-at", type=float, default=0.0)
    parser.add_argument("--keep", type=Path, help="what was shown")
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(json.dumps(visit(parser.parse_args(), Path(folder)), indent=2) + "\n")


if __name__ == "__main__":
    main()
