"""In the guest: everything of one boot. `python -m tests.system.vcam.visit MODULE_FILE`; each scene
leaves /out/NAME.json, and a scene that breaks leaves its error there.
"""

import json
import sys
import time
import traceback

from tests.system.vcam.live_scene import live
from tests.system.vcam.scenes import all_scenes


def main() -> None:
    only = sys.argv[2:]
    for name, scene in [*all_scenes(sys.argv[1]), ("live", live)]:
        if only and name not in only:
            continue
        begun = time.monotonic()
        try:
            seen = scene()
        except Exception:  # noqa: BLE001 (the other scenes go on)
            seen = {"error": traceback.format_exc()}
        seen["seconds"] = round(time.monotonic() - begun, 1)
        print(name, seen["seconds"], "s", flush=True)  # noqa: T201
        with open(f"/out/{name}.json", "w") as file:
            json.dump(seen, file)
    open("/out/end", "w").close()


if __name__ == "__main__":
    main()
