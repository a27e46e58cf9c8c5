"""The time limits keep the promises of docs/ARCHITECTURE.md."""

from __future__ import annotations

import pytest

from brushcast.errors import ConfigError
from brushcast.wire.events import LOCAL_TIMES, REMOTE_TIMES, LinkTimes, ServerTimes


def test_a_hung_local_worker_is_noticed_within_a_second() -> None:
    credit_at_30_fps_ms = 8 * 1000 / 30
    assert credit_at_30_fps_ms + LOCAL_TIMES.progress_ms < 1000


@pytest.mark.parametrize("times", [LOCAL_TIMES, REMOTE_TIMES])
def test_an_idle_worker_is_noticed_within_four_seconds(times: LinkTimes) -> None:
    assert times.heartbeat_ms * times.liveness < 4000
    assert ServerTimes().idle_ms > times.heartbeat_ms * times.liveness


def test_a_limit_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="progress_ms 0: wanted a whole number of at least 1"):
        LinkTimes(progress_ms=0)
    with pytest.raises(ConfigError, match="idle_ms"):
        ServerTimes(idle_ms=-1)
