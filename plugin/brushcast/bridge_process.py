"""The bridge as a process of its own: configuration as the first line, then commands; events on
standard output.
"""

from __future__ import annotations

import sys

from brushcast.bridge import Bridge
from brushcast.child import read_messages, say
from brushcast.config import BridgeConfig
from brushcast.errors import BrushcastError
from brushcast.process import keep_freed_memory


def main() -> None:
    """Until the supervisor says stop or is gone. Exit code 2, after an event that says why, for
    what cannot work."""
    messages = read_messages()
    first_line = messages.get()
    if first_line is None:
        return
    keep_freed_memory()
    try:
        bridge = Bridge(BridgeConfig.from_json(first_line), messages)
        bridge.run()
    except BrushcastError as error:
        say("error", message=str(error))
        sys.exit(2)
