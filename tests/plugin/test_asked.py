"""No answer may be larger than any question was."""

from __future__ import annotations

import pytest

from brushcast.asked import Asked
from brushcast.errors import MalformedMessage
from brushcast.frame import Size
from brushcast.wire.messages import Codec, Header, Kind


def result(width: int, height: int) -> Header:
    return Header(kind=Kind.RESULT, width=width, height=height, codec=Codec.JPEG)


def test_a_result_is_no_larger_than_the_largest_picture_that_was_sent() -> None:
    asked = Asked()
    with pytest.raises(MalformedMessage):
        asked.check(result(2, 2))
    asked.sent(Size(512, 288))
    asked.check(result(512, 288))
    asked.check(result(400, 224))
    asked.check(result(288, 512))
    for width, height in ((514, 288), (512, 290), (8192, 8192), (8192, 20)):
        with pytest.raises(MalformedMessage, match=f"{width}x{height}.* 147456 pixels"):
            asked.check(result(width, height))


def test_pictures_that_are_on_their_way_when_the_size_falls_are_still_taken() -> None:
    asked = Asked()
    asked.sent(Size(1024, 576))
    asked.sent(Size(512, 288))
    asked.check(result(1024, 576))
