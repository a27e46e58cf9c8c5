"""Going on from trained networks, also when a layer has another shape by now."""

from __future__ import annotations

import logging
from pathlib import Path

from safetensors.torch import load_file

from brushcast_worker.models.pocket import FILE, Pocket, build_pocket

log = logging.getLogger("training")


def go_on_from(folder: Path) -> Pocket:
    """Trained networks; layers that have another shape by now start anew."""
    tensors, pocket = load_file(folder / FILE), build_pocket()
    for prefix, part in pocket.parts.items():
        state, anew = part.state_dict(), []
        for name, value in state.items():
            known = tensors.get(f"{prefix}.{name}")
            if known is not None and known.shape == value.shape:
                state[name] = known.float()
            else:
                anew.append(name)
        part.load_state_dict(state)
        if anew:
            log.info("%s starts anew in %s", prefix, ", ".join(anew))
    return pocket
