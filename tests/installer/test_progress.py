from __future__ import annotations

import io

from installer.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_without_a_terminal_a_phase_is_one_plain_line() -> None:
    out, clock = io.StringIO(), Clock()
    progress = Progress(out, clock)
    progress.begin("Packages")
    assert out.getvalue() == "Packages ... "  # seen at once, not when it is over
    clock.now_s = 12.0
    progress.update(0.5, "numpy")
    progress.end("40 locked")
    assert out.getvalue() == "Packages ... 40 locked, 12 s\n"


def test_on_a_terminal_the_line_is_a_bar_that_is_drawn_over() -> None:
    out, clock = Terminal(), Clock()
    progress = Progress(out, clock)
    progress.begin("PyTorch")
    clock.now_s = 3.0
    progress.update(0.5, "90 of 180 MB")
    last = out.getvalue().rpartition("\r")[2]
    assert "[############............]" in last
    assert "90 of 180 MB" in last
    assert "3 s" in last
    assert "\n" not in out.getvalue()
    progress.end("2.13.0+cpu")
    assert out.getvalue().endswith("2.13.0+cpu, 3 s\n")


def test_a_terminal_is_not_flooded() -> None:
    out, clock = Terminal(), Clock()
    progress = Progress(out, clock)
    progress.begin("PyTorch")
    for _ in range(1000):
        progress.update(0.1, "x")
    assert out.getvalue().count("\r") == 1
    progress.update(0.2, "the last", at_once=True)
    assert "the last" in out.getvalue()


def test_an_error_starts_a_line_of_its_own() -> None:
    out = io.StringIO()
    progress = Progress(out)
    progress.begin("PyTorch")
    progress.abandon()
    progress.abandon()
    assert out.getvalue() == "PyTorch ... \n"
