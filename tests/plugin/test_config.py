"""Options are checked once, with what was seen and what was wanted."""

import json

import pytest

from brushcast.config import BridgeConfig, RunConfig, check_model_size, parse_address
from brushcast.errors import ConfigError
from brushcast.frame import Size
from brushcast.link_rate import CodecWish


@pytest.mark.parametrize("address", ["", "8787", ":1", "host:", "host:port", "host:70000"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="wanted HOST:PORT"):
        parse_address(address)


def test_an_address_may_be_ipv6() -> None:
    assert parse_address("[::1]:0") == ("::1", 0)


@pytest.mark.parametrize("size", ["500x288", "512x290", "32x512"])
def test_a_size_that_no_model_takes_is_refused(size: str) -> None:
    with pytest.raises(ConfigError, match="wanted"):
        check_model_size(Size.parse(size))


@pytest.mark.parametrize(
    "options",
    [
        {"seconds": 0.0},
        {"seconds": float("nan")},
        {"rate_fps": 0},
        {"fit": "squash"},
        {"badge_corner": "middle"},
        {"obs_audio": "x" * 201},
        {"obs_audio": "Mic\n"},
        {"codec": "h265", "worker": "tcp://host:7171"},
        {"codec": "h264"},
        {"codec": "jpeg", "worker": "local"},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RunConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", ["auto", "jpeg", "h264"])
def test_a_codec_is_chosen_for_a_worker_elsewhere(codec: CodecWish) -> None:
    assert RunConfig(worker="tcp://host:7171", codec=codec).codec == codec


def bridge_config() -> BridgeConfig:
    return BridgeConfig(
        source="testcard", preset="ink", endpoint="", remote=False, ring="/dev/shm/x",
        panel=None, panel_token="",
        output_size=Size(1280, 720), model_size=Size(512, 288), fixed_size=True,
        rate_fps=30, fit="crop", steps=0,
        user_presets="",
    )  # fmt: skip


def test_the_bridge_configuration_survives_the_pipe() -> None:
    table = json.loads(json.dumps(bridge_config().to_json()))
    assert BridgeConfig.from_json(table) == bridge_config()


def test_unknown_and_missing_keys_are_errors() -> None:
    table = bridge_config().to_json()
    with pytest.raises(ConfigError, match="surprise"):
        BridgeConfig.from_json({**table, "surprise": 1})
    del table["source"]
    with pytest.raises(ConfigError, match="source"):
        BridgeConfig.from_json(table)
