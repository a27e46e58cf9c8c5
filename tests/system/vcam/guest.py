"""The small guest with a real v4l2loopback: whether it is there, and a module run in it.

Needs ../shared/vcam_guest with its setup.sh done; BRUSHCAST_VCAM_GUEST and VCAM_GUEST name other
places. Software emulation: correctness is judged in it, never speed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GUEST = Path(os.environ.get("BRUSHCAST_VCAM_GUEST", ROOT.parent / "shared" / "vcam_guest"))
PREPARED = Path(os.environ.get("VCAM_GUEST", "/var/cache/vcam_guest"))


def why_not() -> str:
    """Why no test can run in the guest; "" when one can."""
    if not (GUEST / "boot.sh").is_file():
        return f"no guest at {GUEST}"
    if not (PREPARED / "initrd.gz").is_file():
        return f"the guest is not prepared: run {GUEST / 'setup.sh'}"
    if shutil.which("qemu-system-x86_64") is None:
        return "qemu-system-x86_64 is not installed"
    check = [sys.executable, "-c", "import pyvirtualcam"]
    if subprocess.run(check, capture_output=True).returncode:
        return "pyvirtualcam is not installed"
    return ""


def module_file() -> Path:
    """The built v4l2loopback, under the same path here and in the guest."""
    return next((PREPARED / "kern" / "lib" / "modules").glob("*/updates/v4l2loopback.ko"))


def run_in_guest(module: str, folder: Path, timeout_s: int) -> Path:
    """Boot, run a module of this repository with this Python, power off; returns the folder that
    was /out in it. What the guest printed is in folder/console.txt.
    """
    packages = ":".join(str(ROOT / part) for part in ("plugin", "worker", "."))
    out, console = folder / "out", folder / "console.txt"
    command = f"env PYTHONPATH={packages} {sys.executable} -m {module} {module_file()}"
    with console.open("w") as log:
        done = subprocess.run(
            [GUEST / "boot.sh", command, "vivid=1"],
            cwd=folder,
            env={**os.environ, "OUT": str(out), "TIMEOUT_S": str(timeout_s)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    last = console.read_text(errors="replace")[-4000:]
    assert (out / "end").is_file(), f"the guest ended with {done.returncode}:\n{last}"
    return out
