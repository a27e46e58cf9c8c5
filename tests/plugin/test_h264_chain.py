"""What an H.264 payload of ours is; test_h264 has it from the encoder."""

import subprocess
import sys

import pytest

from brushcast.frame import Size
from brushcast.h264_chain import LEAST_BYTES, NUMBER, begins_chain, bytes_a_picture


@pytest.mark.parametrize(("number", "begins"), [(0, True), (1, False), (2**31, False)])
def test_a_chain_begins_with_its_number_0(number: int, begins: bool) -> None:
    assert begins_chain(NUMBER.pack(number) + b"\0\0\1") is begins
    assert not begins_chain(b"\0\0")


def test_bytes_follow_the_area_and_never_fall_below_what_a_flat_picture_needs() -> None:
    assert bytes_a_picture(Size(512, 288), 0.35) == 6451
    assert bytes_a_picture(Size(1024, 576), 0.35) == pytest.approx(4 * 6451, rel=0.001)
    assert bytes_a_picture(Size(64, 32), 0.06) == LEAST_BYTES


def test_what_only_configures_does_not_load_pyav() -> None:
    code = "import sys, brushcast.config; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
