"""Options that several commands share."""

from pathlib import Path

import click
import pytest

from brushcast.errors import ConfigError
from brushcast.frame import Size
from brushcast.options import FILE, SIZE, badge_options, json_option


def given(command: click.Command, *arguments: str) -> object:
    return command.main(list(arguments), standalone_mode=False)


def test_a_badge_is_two_parameters() -> None:
    @click.command()
    @badge_options
    def command(badge: str, badge_corner: str) -> tuple[str, str]:
        return badge, badge_corner

    assert given(command) == ("on", "top-left")
    assert given(command, "--badge", "off") == ("off", "top-left")
    assert given(command, "--badge-corner", "bottom-right") == ("on", "bottom-right")
    with pytest.raises(click.BadParameter, match="middle"):
        given(command, "--badge-corner", "middle")


def test_sizes_files_and_json() -> None:
    @click.command()
    @click.option("--size", type=SIZE)
    @click.option("--file", type=FILE)
    @json_option
    def command(size: Size | None, file: Path | None, as_json: bool) -> object:
        return size, file, as_json

    assert given(command) == (None, None, False)
    wanted = (Size(512, 288), Path("a.mp4"), True)
    assert given(command, "--size", "512x288", "--file", "a.mp4", "--json") == wanted
    with pytest.raises(ConfigError, match="511x288"):
        given(command, "--size", "511x288")
