"""The small guest with a real v4l2loopback: whether it is there, and a script run in it.

Needs ../shared/vcam_guest with its setup.sh done. Software emulation: correctness is judged in it,
never speed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
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


def run_in_guest(script: str, folder: Path, result: str, timeout_s: int, *boot: str) -> Path:
    """Boot, run the script with this Python, power off; the folder that was /out in it.

    folder: where the script is put, readable in the guest under the same path. result: the file
    that it must have written to /out. boot: further words for the kernel (`vivid=1`). What the
    guest printed is in folder/console.txt.
    """
    file = folder / "in_guest.py"
    file.write_text(script)
    packages = f"{ROOT / 'plugin'}:{ROOT / 'worker'}"
    out, console = folder / "out", folder / "console.txt"
    with console.open("w") as log:
        done = subprocess.run(
            [GUEST / "boot.sh", f"env PYTHONPATH={packages} {sys.executable} {file}", *boot],
            cwd=folder,
            env={**os.environ, "OUT": str(out), "TIMEOUT_S": str(timeout_s)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    last = console.read_text(errors="replace")[-4000:]
    assert (out / result).is_file(), f"the guest ended with {done.returncode}:\n{last}"
    return out
