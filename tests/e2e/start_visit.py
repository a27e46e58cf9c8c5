"""How long a start takes, on a machine with a CUDA device:
PYTHONPATH=plugin:worker:. python tests/e2e/start_visit.py OUT [--engine wan-1.3b] [--size 512x512]
[--scratch FOLDER] [--device cuda] [--keep].

Weights of the real shapes (random numbers) are written to a local disk, then two processes start
one after the other, the first with an empty compile cache, the second with what the first left:
from the process to the first styled frame in host memory, part by part. Then, in the warm process,
what the next streams wait for from their fourth picture in hand to their first picture, part by
part. OUT/start.json has it all.
"""

from __future__ import annotations

import time

ENTERED_NS = time.monotonic_ns()

import argparse  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

log = logging.getLogger(__name__)
SELF = "tests.e2e.start_visit"
STREAMS = 4  # opened one after the other in the warm process
BEGUN = "START_VISIT_BEGUN_NS"  # monotonic, of this host


class Parts:
    """Seconds by part, in the order in which they end."""

    def __init__(self, begun_ns: int) -> None:
        self.spent_s: dict[str, float] = {}
        self._last_ns = begun_ns

    def end(self, name: str) -> None:
        now_ns = time.monotonic_ns()
        self.spent_s[name] = round((now_ns - self._last_ns) / 1e9, 3)
        self._last_ns = now_ns

    def timed(self, module: Any, name: str, wait: Callable[[], None]) -> None:
        """The function's own share, of all its calls, from here on."""
        function = getattr(module, name)

        def run(*arguments: Any, **named: Any) -> Any:
            begun_ns = time.monotonic_ns()
            found = function(*arguments, **named)
            wait()
            spent_s = (time.monotonic_ns() - begun_ns) / 1e9
            self.spent_s[f"  {name}"] = round(self.spent_s.get(f"  {name}", 0.0) + spent_s, 3)
            return found

        setattr(module, name, run)


def write(folder: Path, engine: str, device: str) -> None:
    """Weights as they would have been fetched, as safetensors."""
    import torch
    from safetensors.torch import save_file

    from brushcast_worker.engines import wan
    from brushcast_worker.engines.devices import choose_device, choose_dtype
    from brushcast_worker.quirks import DEFAULT

    place = choose_device(device)
    networks = wan._networks(wan.ROWS[engine], place, choose_dtype(place), DEFAULT)
    for name, network in zip(("transformer", "autoencoder"), networks, strict=True):
        weights = {key: x.contiguous().cpu() for key, x in network.state_dict().items()}
        save_file(weights, folder / f"{name}.safetensors")
        del weights
    if place.type == "cuda":
        torch.cuda.synchronize()


def start(folder: Path, engine_name: str, size_text: str, device: str) -> dict[str, Any]:
    """One start, in this process."""
    parts = Parts(int(os.environ[BEGUN]))
    parts.spent_s["python"] = round((ENTERED_NS - int(os.environ[BEGUN])) / 1e9, 3)
    parts._last_ns = ENTERED_NS
    import torch

    parts.end("import torch")
    from brushcast.frame import Size
    from brushcast.presets import load_presets
    from brushcast_worker.bench import StageClock, moving_pictures
    from brushcast_worker.engines import wan
    from brushcast_worker.engines.devices import choose_device
    from brushcast_worker.warm_up import warm_up

    class Words:
        """Stands for the text encoder's cache on disk."""

        def prompt_tokens(self, prompt: str) -> torch.Tensor:
            generator = torch.Generator().manual_seed(len(prompt))
            return torch.randn(
                64, wan.ROWS[engine_name].transformer.context_dim, generator=generator
            )

    place = choose_device(device)
    on_gpu = place.type == "cuda"
    wait: Callable[[], None] = torch.cuda.synchronize if on_gpu else (lambda: None)
    torch.zeros(1, device=place)
    parts.end("import the worker, begin with the device")
    for name in ("_networks", "read_weights", "load_weights", "choose_attention"):
        parts.timed(wan, name, wait)
    weights = folder / "autoencoder.safetensors"
    files = {
        "transformer": folder / "transformer.safetensors",
        "vae": weights,
        "tiny_vae": weights,
    }
    clock = StageClock(time.perf_counter_ns)
    clock.device = place
    engine = wan.wan_from_files(engine_name, files, Words(), place, clock)
    wait()
    parts.end("load")
    size = Size.parse(size_text) if size_text else engine.info.default_size
    looks = list(load_presets().values())
    warm_up(engine, looks[0], size, time.monotonic_ns)
    wait()
    parts.end("warm up")
    pictures = moving_pictures(size)
    begun_ns = time.monotonic_ns()
    first_picture(engine, looks[1], size, pictures)
    parts.end("first frame")
    total_s = (time.monotonic_ns() - int(os.environ[BEGUN])) / 1e9
    parts.spent_s["first frame"] = round((time.monotonic_ns() - begun_ns) / 1e9, 3)
    found: dict[str, Any] = {"total_s": round(total_s, 2), "parts_s": parts.spent_s}
    found["attention"] = engine.info.attention
    found["next_streams_ms"] = [
        first_picture(engine, looks[n % len(looks)], size, pictures) for n in range(STREAMS)
    ]
    clock.on = True
    first_picture(engine, looks[0], size, pictures, clock)
    found["stages_ms"] = {name: round(ms, 2) for name, ms in clock.spent_ms.items()}
    found["weights_gb"] = {x.name: round(x.stat().st_size / 1e9, 3) for x in files.values()}
    return found


def first_picture(
    engine: Any, look: Any, size: Any, pictures: list[Any], clock: Any = None
) -> float:
    """A new stream, from its first pictures in hand to its first painted one on the host, in ms."""
    import torch

    from brushcast.frame import Frame
    from brushcast_worker.chunk import chunk_from_frames, read_back
    from brushcast_worker.engine import Job

    count = 0

    def put(_: int, painted: Any) -> None:
        nonlocal count
        if clock is not None:
            clock.begin("read back")
        count += len(read_back(painted).pictures)

    begun_ns = time.perf_counter_ns()
    if clock is not None:
        clock.begin("open")
    state = engine.open(look, size)
    sent = 0
    while not count:
        if clock is not None:
            clock.begin("transfer in")
        frames = [Frame(pictures[sent + n], sent + n, 0) for n in range(4)]
        sent += 4
        chunk = chunk_from_frames(frames, torch.device(engine.info.device))
        engine.step([Job(state=state, chunk=chunk, preset=look, steps=2)], put)
    assert sent == 4, "the first chunk comes out at once"
    if clock is not None:
        clock.begin("")
    return round((time.perf_counter_ns() - begun_ns) / 1e6, 2)


def child(asked: argparse.Namespace, folder: Path, what: str) -> dict[str, Any]:
    """This file as a process of its own; what it said last."""
    command = [sys.executable, "-m", SELF, str(asked.out), "--engine", asked.engine]
    command += ["--device", asked.device, "--size", asked.size, "--scratch", str(folder)]
    environment = os.environ | {
        "XDG_CACHE_HOME": str(folder / "cache"),
        BEGUN: str(time.monotonic_ns()),
    }
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    environment.pop("TRITON_CACHE_DIR", None)
    done = subprocess.run(
        [*command, "--role", what], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = argparse.ArgumentParser()
    options.add_argument("out", type=Path)
    options.add_argument("--engine", default="wan-1.3b")
    options.add_argument("--size", default="512x512", help='"": the engine\'s own')
    options.add_argument("--device", default="cuda")
    options.add_argument("--scratch", type=Path, help="a folder on a local disk, for the weights")
    options.add_argument("--keep", action="store_true", help="leave the weights there")
    options.add_argument("--role", choices=("write", "start"), help="of a process of this one")
    asked = options.parse_args()
    if asked.role == "write":
        write(asked.scratch, asked.engine, asked.device)
        sys.stdout.write("{}\n")
        return
    if asked.role == "start":
        found = start(asked.scratch, asked.engine, asked.size, asked.device)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    folder = Path(tempfile.mkdtemp(dir=asked.scratch, prefix="start-visit-"))
    try:
        child(asked, folder, "write")
        found = {"asked": vars(asked) | {"out": str(asked.out), "scratch": str(folder)}}
        for name in ("first", "second"):
            found[name] = child(asked, folder, "start")
            log.info("%s start: %s", name, json.dumps(found[name], indent=1))
            (asked.out / "start.json").write_text(json.dumps(found, indent=1))
        kept = [x for x in (folder / "cache").rglob("*") if x.is_file()]
        found["compiled_mb"] = round(sum(x.stat().st_size for x in kept) / 1e6, 1)
        (asked.out / "start.json").write_text(json.dumps(found, indent=1))
        log.info("compiled: %s MB in %d files", found["compiled_mb"], len(kept))
    finally:
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
