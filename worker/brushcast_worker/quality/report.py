"""The figures of `brushcast bench --quality`: measured, held against their bars, written beside
their contact sheets.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import brushcast
from brushcast.errors import ConfigError
from brushcast.frame import Size
from brushcast_worker.config import QualityConfig, physical_cores
from brushcast_worker.models.text import STYLES
from brushcast_worker.quality.ablations import ablate
from brushcast_worker.quality.bars import bars
from brushcast_worker.quality.clips import GRAIN, Sample, samples
from brushcast_worker.quality.drift import drifts
from brushcast_worker.quality.measure import Bench, Figures, Outcome
from brushcast_worker.quality.networks import load_networks
from brushcast_worker.quality.play import Player, one_style
from brushcast_worker.quality.sheet import write_sheet

DEFAULT_SIZE = Size(512, 288)
CPU_PICTURES, GPU_PICTURES = 16, 48  # of each clip
GPU_ROWS = 16  # at once: 16 streams of 512x288 take about 6 GiB while they are decoded
ABLATED = 3  # looks
LOOP_PICTURES = 24
REPORT = "quality.json"
Tell = Callable[[str], None]


def measure_quality(config: QualityConfig, tell: Tell) -> dict[str, Any]:
    """All figures; writes ``quality.json`` and ``sheet-*.jpg`` into ``config.out``. ``tell`` is
    told how far it is. Raises ConfigError, SourceError, WeightsError.
    """
    begun = time.monotonic()
    torch.set_num_threads(config.threads or physical_cores())
    styles = chosen_styles(config.styles)
    _prepare(config.out)
    networks = load_networks(config.engine, config.device, config.weights)
    on_cpu = networks.device.type == "cpu"
    player = Player(networks.pocket, 1 if on_cpu else GPU_ROWS)
    size = config.size or DEFAULT_SIZE
    count = config.pictures or (CPU_PICTURES if on_cpu else GPU_PICTURES)
    clips = samples(config.clips, size, max(GRAIN, count // GRAIN * GRAIN))
    by_clip, sheets = {}, []
    for sample in clips:
        outcomes = _outcomes(player, sample, styles, tell)
        by_clip[sample.name] = {style: o.figures for style, o in outcomes.items()}
        sheets.append(config.out / f"sheet-{sample.name.replace(' ', '-')}.jpg")
        write_sheet({style: o.pictures for style, o in outcomes.items()}, sheets[-1])
    means = {style: _mean([by_clip[name][style] for name in by_clip]) for style in styles}
    # A tenth of the work at half the size: on a CPU the long stretches would take the night.
    small = _scaled(clips[0].video_TCHW, size, 2 if on_cpu else 1).to(player.device, player.dtype)
    drift = _drift(player, small, styles, config.drift_seconds, tell)
    ablations = None
    if config.ablations:
        ablations = ablate(player, small, _spread(styles, ABLATED), tell)
    result = {
        "engine": config.engine,
        "device": str(networks.device),
        "dtype": networks.dtype,
        "size": str(size),
        "long_size": f"{small.shape[-1]}x{small.shape[-2]}",
        "clips": [
            {"name": s.name, "pictures": len(s.video_TCHW), "trained_on": s.trained_on}
            for s in clips
        ],
        "bars": bars(means, drift),
        "styles": means,
        "mean": _mean(list(means.values())),
        "by_clip": by_clip,
        "drift": drift,
        "ablations": ablations,
        "ablations_of": _spread(styles, ABLATED) if ablations else [],
        "sheets": [str(path) for path in sheets],
        "report": str(config.out / REPORT),
        "seconds": time.monotonic() - begun,
        "versions": {"brushcast": brushcast.__version__, "torch": torch.__version__},
    }
    plain: dict[str, Any] = _plain(result)
    _write(config.out / REPORT, json.dumps(plain, indent=1))
    return plain


def _outcomes(
    player: Player, sample: Sample, styles: Sequence[str], tell: Tell
) -> dict[str, Outcome]:
    on_cpu = player.device.type == "cpu"
    bench = Bench(player, sample, teach_all=not on_cpu)
    found: dict[str, Outcome] = {}
    for start in range(0, len(styles), player.rows_at_once):
        group = styles[start : start + player.rows_at_once]
        tell(f"{sample.name}: {', '.join(group)} ({start + len(group)} of {len(styles)})")
        found.update(zip(group, bench.outcomes(group), strict=True))
    return found


def _drift(
    player: Player, video_TCHW: Tensor, styles: Sequence[str], seconds: float, tell: Tell
) -> dict[str, Any] | None:
    if not seconds:
        return None
    video = video_TCHW[:LOOP_PICTURES]
    found: dict[str, dict[str, float]] = {}
    for start in range(0, len(styles), player.rows_at_once):
        group = styles[start : start + player.rows_at_once]
        names = ", ".join(group)

        def said(share: float, names: str = names, start: int = start) -> None:
            tell(f"drift: {names} ({start + 1} of {len(styles)}), {share:.0%}")

        looks = torch.cat([one_style(style) for style in group])
        for style, drift in zip(
            group, drifts(player.pocket, video, looks, seconds, said), strict=True
        ):
            found[style] = asdict(drift)
    return {"seconds": next(iter(found.values()))["seconds"], "styles": found}


def chosen_styles(asked: Sequence[str]) -> list[str]:
    """Names, one or several with commas in between. Raises ConfigError."""
    known = STYLES[1:]
    asked = [name.strip() for names in asked for name in names.split(",") if name.strip()]
    unknown = [style for style in asked if style not in known]
    if unknown:
        raise ConfigError(f"--styles {unknown[0]}: wanted some of {', '.join(known)}")
    return list(dict.fromkeys(asked)) or list(known)


def _spread(styles: Sequence[str], count: int) -> list[str]:
    """A few of them, from all over the list."""
    count = min(count, len(styles))
    return [styles[n * len(styles) // count] for n in range(count)]


def _scaled(video_TCHW: Tensor, size: Size, part: int) -> Tensor:
    """At a part of its size, in multiples of 16."""
    sides = (max(16, round(side / part / 16) * 16) for side in (size.height, size.width))
    return F.interpolate(video_TCHW, size=tuple(sides), mode="area")


def _mean(all_figures: Sequence[Figures]) -> Figures:
    """Of figures that are known; NaN where none is."""
    return {
        group: {
            name: _known_mean([figures[group][name] for figures in all_figures]) for name in names
        }
        for group, names in all_figures[0].items()
    }


def _known_mean(values: Sequence[float]) -> float:
    known = [x for x in values if math.isfinite(x)]
    return sum(known) / len(known) if known else float("nan")


def _plain(value: Any) -> Any:
    """For JSON: rounded to five digits, None for what is not known."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder}: {error.strerror or error}") from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
