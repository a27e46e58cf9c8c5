"""The bars: nothing before the first byte, then one a file."""

from __future__ import annotations

import io

from rich.console import Console

from brushcast.fetch_progress import FetchProgress


def test_bars_begin_with_the_first_bytes() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with FetchProgress(shown=True, console=console) as tell:
        assert out.getvalue() == ""
        tell("model.pt", 500_000, 2_000_000)
        tell("vae.pth", 1_000_000, 1_000_000)
        tell("model.pt", 2_000_000, 2_000_000)
    assert "model.pt" in out.getvalue()
    assert "2.0/2.0 MB" in out.getvalue()
    assert "vae.pth" in out.getvalue()


def test_nothing_is_drawn_where_nobody_looks() -> None:
    out = io.StringIO()
    with FetchProgress(shown=False, console=Console(file=out, force_terminal=True)) as tell:
        tell("model.pt", 1, 2)
    assert out.getvalue() == ""
