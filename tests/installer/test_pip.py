from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from installer.errors import SetupError
from installer.pip import NotFetched, Pip, failure
from installer.progress import Progress

LOG = Path("the.log")
OFFLINE = """\
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after \
connection broken by 'NameResolutionError("HTTPSConnection(host='pypi.org', port=443): Failed')': \
/simple/numpy/
ERROR: Could not find a version that satisfies the requirement numpy==2.4.6 (from versions: none)
ERROR: No matching distribution found for numpy==2.4.6
"""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (OFFLINE, "No network: pypi.org cannot be reached"),
        ("ERROR: an OSError: [Errno 28] No space left on device", "The disk is full"),
        ("OSError: [WinError 112] There is not enough space on the disk", "The disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM ...", "recorded hash"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        ("ERROR: No matching distribution found for av==18.1.0", "no av==18.1.0 for this Python"),
        ("PermissionError: [Errno 13] Permission denied: '/x'", "cannot be written"),
        ("something else", "what it said is in the.log"),
    ],
)  # fmt: skip
def test_each_failure_is_one_sentence(output: str, words: str) -> None:
    text = str(failure(output, "the packages", LOG))
    assert words in text
    assert text.endswith(".")
    assert "\n" not in text


def test_what_cannot_be_had_is_told_from_what_cannot_be_installed() -> None:
    assert isinstance(failure(OFFLINE, "x", LOG), NotFetched)
    assert not isinstance(failure("[Errno 28]", "x", LOG), NotFetched)


@pytest.fixture
def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`python -m pip` runs the script at this path."""
    package = tmp_path / "pip"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return package / "__main__.py"


def pip(log: io.StringIO, progress: Progress) -> Pip:
    return Pip(python=Path(sys.executable), log=log, log_path=LOG, progress=progress)


class Recorder(Progress):
    """Remembers every update."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.updates: list[tuple[float | None, str]] = []

    def update(self, share: float | None, what: str, *, at_once: bool = False) -> None:
        self.updates.append((share, what))


def test_pip_is_patient_for_seconds_only_and_never_asks(fake_pip: Path) -> None:
    fake_pip.write_text("import sys; print(*sys.argv[1:]); assert not sys.stdin.read()")
    log = io.StringIO()
    pip(log, Recorder()).install("x", ["--no-deps", "thing"])
    said = log.getvalue().splitlines()[-1]
    assert "--retries 2 --timeout 15" in said
    assert said.endswith("--no-deps thing")


def test_the_bar_follows_packages_and_megabytes(fake_pip: Path) -> None:
    fake_pip.write_text(
        "print('Collecting numpy==2.4.6 (from -r x)')\n"
        "print('Processing /opt/wheels/av-18.1.0-cp311.whl')\n"
        "print('Progress 50000000 of 200000000')\n"
        "print('Installing collected packages: av, numpy')\n"
    )
    log, progress = io.StringIO(), Recorder()
    pip(log, progress).install("x", [], expected=4)
    updates: list[object] = list(progress.updates)
    assert (pytest.approx(0.15), "numpy") in updates
    assert (pytest.approx(0.15), "50 of 200 MB") in updates
    assert (pytest.approx(0.3), "av") in updates
    assert progress.updates[-1] == (0.6, "unpacking")
    assert "Progress 5" not in log.getvalue()


def test_a_failure_raises_its_sentence_and_the_log_has_the_rest(fake_pip: Path) -> None:
    fake_pip.write_text(f"import sys; print({OFFLINE!r}, file=sys.stderr); sys.exit(1)")
    log = io.StringIO()
    with pytest.raises(SetupError, match=r"pypi\.org cannot be reached"):
        pip(log, Recorder()).install("the packages", [])
    assert "Retrying" in log.getvalue()
