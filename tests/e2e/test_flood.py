"""A vandal at the worker's address: a short flood here, the full one by `python -m
tests.e2e.flood`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.flood import flood

pytest.importorskip("torch", reason="the light install has no worker")

MESSAGES = 6000
MOST_MB = 50  # of the promise, for 100,000 messages


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads memory in /proc")
def test_malformed_and_oversize_messages_cost_little_and_nobody_else_anything(
    tmp_path: Path,
) -> None:
    damage = flood(tmp_path, MESSAGES)
    assert damage.rss_peak_mb - damage.rss_before_mb < MOST_MB
    assert damage.rss_after_mb - damage.rss_before_mb < MOST_MB
    assert damage.honest_lost == 0
    assert damage.honest_results > 0
