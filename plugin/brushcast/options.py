"""Options: what several commands of the command line take, and the kinds of values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from brushcast.badge import CORNERS, DEFAULT_CORNER
from brushcast.frame import Size

Command = TypeVar("Command", bound=Callable[..., Any])


class SizeType(click.ParamType[Size]):
    """WIDTHxHEIGHT."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        return value if isinstance(value, Size) else Size.parse(value)


SIZE = SizeType()
FILE = click.Path(path_type=Path)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")


def badge_options(command: Command) -> Command:
    """Parameters `badge`, "on" or "off", and `badge_corner`."""
    on = click.option(
        "--badge", type=click.Choice(["on", "off"]), default="on",
        help='Say "AI" in painted pictures; on unless you say off.',
    )  # fmt: skip
    corner = click.option(
        "--badge-corner", type=click.Choice(CORNERS), default=DEFAULT_CORNER, help="Where."
    )
    return on(corner(command))
