"""Fuzzing with coverage: PYTHONPATH=. python -m tests.fuzz TARGET [--seconds 3600] [--keep]
(needs atheris: pip install atheris). Several at a time learn from each other.

What was learnt is kept in /var/tmp/brushcast-fuzz/TARGET; `--keep` puts the few inputs that reach
everything which was reached into tests/fuzz/corpus, in the repository. An input that breaks the
target is written to tests/fuzz/found-*, and the exit code is not 0.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LEARNT = Path("/var/tmp/brushcast-fuzz")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("target")
    options.add_argument("--seconds", type=int, default=3600)
    options.add_argument("--keep", action="store_true")
    options.add_argument("--inner", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.inner is not None:
        fuzz(asked.target, asked.inner)
        return
    from tests.fuzz import targets

    if asked.target not in targets.TARGETS:
        options.error(f"{asked.target}: wanted one of {', '.join(sorted(targets.TARGETS))}")
    learnt, kept = LEARNT / asked.target, HERE / "corpus" / asked.target
    for folder in (learnt, kept):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.seeds(asked.target)):
        (learnt / f"seed-{number:02}").write_bytes(seed)
    itself = [sys.executable, "-m", "tests.fuzz", asked.target, "--inner"]
    most = targets.MOST_BYTES.get(asked.target, 4096)
    limits = [f"-max_len={most}", "-timeout=10", "-rss_limit_mb=2048"]
    limits += [f"-artifact_prefix={HERE}/found-{asked.target}-"]
    if asked.seconds:
        length = [f"-max_total_time={asked.seconds}", "-print_final_stats=1"]
        run = subprocess.run([*itself, *limits, *length, learnt, kept], check=False)
        if run.returncode:
            sys.exit(run.returncode)
    if asked.keep:
        subprocess.run([*itself, *limits, "-merge=1", kept, learnt], check=True)


def fuzz(name: str, options: list[str]) -> None:
    """In a process of its own: libFuzzer ends it as it likes."""
    import atheris

    with atheris.instrument_imports(include=["brushcast", "tests", "tomllib", "json"]):
        from tests.fuzz import targets
    itself = f"{sys.executable} -m tests.fuzz {name} --inner"  # merging begins new ones of it
    atheris.Setup([itself, *options], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
