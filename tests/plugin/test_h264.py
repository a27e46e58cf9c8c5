"""One picture in, one payload out; no payload needs one that was not sent."""

from __future__ import annotations

import numpy as np
import pytest

from brushcast import h264
from brushcast.errors import WireError
from brushcast.frame import Size
from brushcast.h264 import Encoder
from brushcast.h264_chain import LEAST_BITS_A_PIXEL, NUMBER, begins_chain, bytes_a_picture
from brushcast.h264_child import decoded, new_decoder
from brushcast.h264_sps import check_picture
from tests.plugin.moving import clip_pictures, psnr_db

SIZE = Size(512, 288)


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, ...]:
    return clip_pictures(SIZE, 45)


def test_pictures_come_back_at_once_and_nearly(pictures) -> None:
    encoder, decoder = Encoder(), new_decoder()
    nearness, lengths = [], []
    for number, picture_HWC in enumerate(pictures):
        payload = bytes(encoder.encode(picture_HWC))
        assert NUMBER.unpack(payload[:4])[0] == number
        assert begins_chain(payload) is (number == 0)
        rgb = decoded(decoder, payload[4:], SIZE.width, SIZE.height)
        back_HWC = np.frombuffer(rgb, np.uint8).reshape(picture_HWC.shape)
        nearness.append(psnr_db(picture_HWC, back_HWC))
        lengths.append(len(payload))
    assert min(nearness) > 34
    assert np.mean(nearness) > 37
    assert np.mean(lengths) < 7_000, "a fifth of JPEG's"


def test_colours_stay_where_they_are() -> None:
    picture_HWC = np.zeros((64, 96, 3), np.uint8)
    picture_HWC[:, :32] = (200, 30, 30)
    picture_HWC[:, 32:64] = (30, 200, 30)
    picture_HWC[:, 64:] = (30, 30, 200)
    payload = bytes(Encoder().encode(picture_HWC, 20_000))
    back_HWC = np.frombuffer(decoded(new_decoder(), payload[4:], 96, 64), np.uint8)
    error = np.abs(back_HWC.reshape(picture_HWC.shape)[:, 8:24].astype(int) - (200, 30, 30))
    assert error.max() < 8
    blue = np.abs(back_HWC.reshape(picture_HWC.shape)[:, 72:88].astype(int) - (30, 30, 200))
    assert blue.max() < 8


def test_the_rate_is_kept_also_by_keyframes(pictures) -> None:
    least = bytes_a_picture(SIZE, LEAST_BITS_A_PIXEL)
    encoder = Encoder()
    lengths = [len(encoder.encode(picture_HWC, least)) for picture_HWC in pictures]
    assert lengths[0] < 6 * least
    assert np.mean(lengths[10:]) < 1.3 * least


def test_only_what_cannot_be_had_without_costs_a_keyframe(pictures) -> None:
    encoder = Encoder()

    def begins(picture_bytes: int, side: int = 0) -> bool:
        picture_HWC = np.ascontiguousarray(pictures[5][: SIZE.height - side])
        return begins_chain(encoder.encode(picture_HWC, picture_bytes))

    assert begins(5000)
    assert not begins(5000)
    assert not begins(5200), "nearly the same rate"
    assert begins(8000)
    assert not begins(8000)
    assert begins(8000, side=16), "another size"
    assert begins(8000), "and back"
    encoder.restart()
    assert begins(8000)
    assert not begins(8000)


def test_a_cut_needs_no_keyframe() -> None:
    """One that nobody asked for would be refused by the other side. x264 makes its own after so
    many quiet pictures."""
    encoder, small = Encoder(), Size(128, 80)
    quiet_HWC = clip_pictures(small, 1)[0]
    noise_HWC = np.random.default_rng(2).integers(0, 256, quiet_HWC.shape, np.uint8)
    pictures = [quiet_HWC] * 70 + [255 - quiet_HWC] * 3 + [noise_HWC] * 3
    payloads = [bytes(encoder.encode(one)) for one in pictures]
    assert [begins_chain(payload) for payload in payloads] == [True] + [False] * 75
    keys = [check_picture(payload[4:], small) for payload in payloads]
    assert keys == [True] + [False] * 75


def test_an_encoder_that_does_not_open_gives_way_to_the_next(
    pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown, refused = {"h264_unknown": {}}, {"libx264rgb": {"preset": "no such preset"}}
    monkeypatch.setattr(h264, "_ENCODERS", {**unknown, **refused, **h264._ENCODERS})
    encoder = Encoder()
    assert begins_chain(encoder.encode(pictures[0]))
    assert encoder.name in ("h264_nvenc", "libx264")
    assert not begins_chain(encoder.encode(pictures[1]))


def test_without_any_encoder_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h264, "_ENCODERS", {"h264_nvenc": {"preset": "there is none"}})
    with pytest.raises(WireError, match="H.264 of 64x48: none of h264_nvenc does it"):
        Encoder().encode(np.zeros((48, 64, 3), np.uint8))


def test_a_keyframe_of_the_encoders_own_begins_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every encoder can be told to make none."""
    told = h264._ENCODERS["libx264"]
    loose = {name: value for name, value in told.items() if name != "sc_threshold"}
    monkeypatch.setattr(h264, "_ENCODERS", {"libx264": loose})
    small = Size(128, 80)
    quiet_HWC = clip_pictures(small, 1)[0]
    noise_HWC = np.random.default_rng(2).integers(0, 256, quiet_HWC.shape, np.uint8)
    pictures = [quiet_HWC] * 70 + [255 - quiet_HWC] * 3 + [noise_HWC] * 3
    encoder, decoder = Encoder(), new_decoder()
    payloads = [bytes(encoder.encode(one)) for one in pictures]
    begun = [begins_chain(payload) for payload in payloads]
    assert begun.count(True) > 1
    assert begun == [check_picture(payload[4:], small) for payload in payloads]
    assert all(decoded(decoder, payload[4:], 128, 80) for payload in payloads)
