"""The product with stand-ins: `python -m tests.faults.probed run ...` is `brushcast run ...` whose
camera process has a probe among its sinks, whose bridge writes down when it loses a worker, and
whose worker can be told to fail.

Nothing of this is in the product: no option, no variable of the environment, no hook.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from brushcast import supervisor
from brushcast.__main__ import main as product_main
from brushcast.child import Child

STAND_INS = {"camera-process": "tests.faults.probe", "bridge-process": "tests.faults.bridge_tap"}


def stand_in(name: str, arguments: Sequence[str], *given: Any, **named: Any) -> Child:
    """A child of the supervisor, with our own main module where there is one."""
    if arguments[0] == "brushcast":
        arguments = [STAND_INS[arguments[1]], *arguments[2:]]
    elif arguments[0] == "brushcast_worker":
        arguments = ["tests.faults.faulty_worker", *arguments[1:]]
    return Child(name, arguments, *given, **named)


def main() -> None:
    with patch.object(supervisor, "Child", stand_in):
        product_main()


if __name__ == "__main__":
    main()
