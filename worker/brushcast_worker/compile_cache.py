"""What torch.compile built, kept on disk for the next start: 15 s become a few (issue 4).

torch keeps it in the system's temporary folder, which is emptied, and is anybody's. Ours is the
user's own, and one for each version of torch and of Brushcast and each GPU. What lies in it is
code, so nobody else may write there. torch looks entries up by their content and builds anew what
it cannot read; what gets past that ends a warm-up once (`forget_compiled`), never a start.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
from pathlib import Path

log = logging.getLogger(__name__)

MOST_BYTES = 2 * 2**30  # of all that is kept; one engine at one size takes some 100 MB
INDUCTOR, TRITON = "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"  # as torch and triton read them


def keep_compiled(root: Path, versions: tuple[str, ...], most_bytes: int = MOST_BYTES) -> None:
    """From here on what is compiled in this process is kept under `root`, in a folder that the
    `versions` name. Before anything is compiled. Whoever set a folder in the environment keeps his;
    where ours cannot be made, torch's own is used, and a line in the log says so."""
    if INDUCTOR in os.environ:
        return
    folder = root / re.sub(r"[^A-Za-z0-9.+-]+", "-", "_".join(versions))
    try:
        _make_private(root)
        _make_private(folder)
        os.utime(folder)  # used last
        tidy(root, folder, most_bytes)
    except OSError as error:
        log.warning("what is compiled is not kept: %s", error.strerror or error)
        return
    os.environ[INDUCTOR] = str(folder)
    os.environ.setdefault(TRITON, str(folder / "triton"))


def forget_compiled(root: Path) -> bool:
    """Removes all that is kept, if this process uses it: so that what was damaged is built anew."""
    used = os.environ.get(INDUCTOR, "")
    if not used or not Path(used).is_relative_to(root):
        return False
    shutil.rmtree(used, ignore_errors=True)
    Path(used).mkdir(mode=0o700, parents=True, exist_ok=True)
    return True


def tidy(root: Path, used: Path, most_bytes: int) -> None:
    """Removes folders until at most so much is kept: those of other versions first, the one that
    was not used for longest before the others, `used` last."""
    others = [folder for folder in root.iterdir() if folder.is_dir() and folder != used]
    others.sort(key=lambda folder: folder.stat().st_mtime_ns)
    total_bytes = sum(size_bytes(folder) for folder in (*others, used))
    for folder in (*others, used):
        if total_bytes <= most_bytes:
            return
        total_bytes -= size_bytes(folder)
        shutil.rmtree(folder, ignore_errors=True)
    used.mkdir(mode=0o700)


def size_bytes(folder: Path) -> int:
    """Of all files in it; what goes away meanwhile counts nothing."""
    total_bytes = 0
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except OSError:
            continue
        total_bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total_bytes


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix" and folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
