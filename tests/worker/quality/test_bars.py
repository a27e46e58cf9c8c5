"""Bars: the worst look decides, and what is not known is not met."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from brushcast_worker.quality.bars import bars

GOOD = {
    "teacher": {"gain_db": 11.0},
    "latents": {"margin_db": 8.0},
    "sharpness": {"energy": 1.0, "gradient": 1.0},
    "warp": {"to_alone": 0.5, "to_alone_own_noise": 0.4},
    "flicker": {"still": 0.1, "noisy": 0.2},
    "structure": {"edge_ssim": 0.7, "teacher_edge_ssim": 0.75},
    "seeds": {
        "difference": 4.0, "edge_ssim_a": 0.7, "edge_ssim_b": 0.69, "repeat_difference": 0.0
    },
    "landmarks": {"p95_px": 0.5, "faint": 0.0},
    "lettering": {"recognised": 0.9, "teacher_recognised": 1.0},
}  # fmt: skip


def looks() -> dict[str, Any]:
    return {"oil": copy.deepcopy(GOOD), "ink": copy.deepcopy(GOOD)}


def test_good_looks_meet_every_bar() -> None:
    drift = {"seconds": 600.0, "styles": {"oil": {"colour": 0.1, "contrast": 0.3}}}
    found = bars(looks(), drift)
    assert all(bar["met"] for bar in found)
    assert any("600 s" in bar["figure"] for bar in found)


@pytest.mark.parametrize(
    ("group", "name", "value", "words"),
    [
        ("teacher", "gain_db", 5.0, "nearer to the teacher than the source"),
        ("latents", "margin_db", 5.9, "own latents"),
        ("sharpness", "energy", 0.5, "gradient energy"),
        ("sharpness", "energy", 1.5, "gradient energy"),
        ("sharpness", "gradient", 0.7, "mean gradient"),
        ("flicker", "still", 0.6, "flicker, still scene"),
        ("flicker", "noisy", 0.6, "sensor noise"),
        ("seeds", "difference", 0.5, "two seeds"),
        ("seeds", "repeat_difference", 0.01, "one seed twice"),
        ("seeds", "edge_ssim_b", 0.4, "edge SSIM differs"),
        ("structure", "edge_ssim", 0.5, "edge SSIM lost"),
        ("landmarks", "p95_px", 4.0, "wander"),
        ("landmarks", "faint", 0.2, "holes"),
        ("lettering", "recognised", 0.4, "letters"),
    ],
)
def test_one_bad_look_misses_the_bar_and_is_named(
    group: str, name: str, value: float, words: str
) -> None:
    styles = looks()
    styles["ink"][group][name] = value
    missed = [bar for bar in bars(styles, None) if not bar["met"]]
    assert missed[0]["look"] == "ink"
    assert words in missed[0]["figure"]


def test_warp_error_is_a_mean_over_the_looks() -> None:
    styles = looks()
    styles["ink"]["warp"]["to_alone_own_noise"] = 0.79
    first = bars(styles, None)[0]
    assert first["value"] == pytest.approx(0.595)
    assert first["met"]
    styles["ink"]["warp"]["to_alone_own_noise"] = 0.9
    assert not bars(styles, None)[0]["met"]


def test_what_is_not_known_is_said() -> None:
    styles = looks()
    for figures in styles.values():
        figures["landmarks"]["p95_px"] = float("nan")
        figures["warp"]["to_alone"] = float("nan")
    unknown = [bar for bar in bars(styles, None) if bar["met"] is None]
    assert len(unknown) == 2
    assert {bar["value"] for bar in unknown} == {None}
