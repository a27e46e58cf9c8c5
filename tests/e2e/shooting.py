"""The fault run: the live product, whose worker is shot again and again.

`python -m tests.e2e.shooting` does it for a minute, every ten seconds, and prints what the audience
saw; the tests do a shorter one with the same code.
"""

import argparse
import dataclasses
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.product import LEAK_MOST, Product, pictures, write_source
from tests.faults.watermark import leak


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """gap_ms: between the pictures of the sink that is worst in it (p50, p99, max, ...). pictures:
    in the sink's file. raw_pictures: those of them that show the source. restyled_after_ms: from
    each loss of the worker to the first picture that was painted again. worker_restarts: more than
    the shots where the worker was taken for hung.
    """

    gap_ms: dict[str, float]
    pictures: int
    raw_pictures: int
    restyled_after_ms: list[int]
    worker_restarts: int
    styled_fps: float


def shoot(product: Product, *, times: int, every_s: float) -> Verdict:
    """Kill the worker `times` times, `every_s` after it was there with its spare or after the last
    shot; then let the product end by itself, and judge what it showed. Linux only.
    """
    for _ in range(times):
        begun = time.monotonic()
        product.wait_for_children_of("brushcast_worker", 2)  # the worker and its spare
        time.sleep(max(0.0, begun + every_s - time.monotonic()))
        os.kill(product.children("brushcast_worker")[0], signal.SIGKILL)
        time.sleep(0.2)  # until its number is gone from /proc
    time.sleep(every_s)
    product.process.send_signal(signal.SIGINT)
    code, _, err = product.wait()
    assert code == 0, err
    report = product.report()
    seen = pictures(product.output)
    return Verdict(
        gap_ms=report["output_gap_ms"],
        pictures=len(seen),
        raw_pictures=sum(leak(pixels_HWC) > LEAK_MOST for pixels_HWC in seen),
        restyled_after_ms=report["restyled_after_ms"],
        worker_restarts=report["worker_restarts"],
        styled_fps=report["styled_fps"],
    )


def main() -> None:
    """By hand; the verdict as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--every", type=float, default=10, metavar="SECONDS")
    parser.add_argument("options", nargs="*", help="after --: more options of `brushcast run`")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "bars.mp4"
        write_source(source)
        verdict = shoot(
            Product(Path(folder), source, *asked.options), times=asked.times, every_s=asked.every
        )
    table: dict[str, Any] = dataclasses.asdict(verdict)
    sys.stdout.write(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
