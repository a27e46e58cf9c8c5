"""Bones of the sitter's arms and hand, as round cones in world space.

One unit is about a tenth of a metre; +x is screen right, +y up, +z towards the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vec = NDArray[np.float64]
Cone = tuple[Vec, float, Vec, float]

# Along and across the palm (towards the thumb) of the four knuckles, index to little finger.
KNUCKLES = ((0.70, 0.235), (0.735, 0.075), (0.70, -0.085), (0.63, -0.235))
PHALANGES = ((0.34, 0.215, 0.165), (0.375, 0.24, 0.175), (0.345, 0.22, 0.17), (0.265, 0.165, 0.15))
FINGER_RADIUS = (0.088, 0.090, 0.085, 0.075)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandPose:
    """How a hand is held: spread and curls in radians, index finger first."""

    spread: float
    curls: tuple[float, float, float, float]
    thumb_out: float
    thumb_bend: float


OPEN = HandPose(spread=0.15, curls=(0.10, 0.06, 0.10, 0.16), thumb_out=0.85, thumb_bend=0.12)
RELAXED = HandPose(spread=0.07, curls=(0.42, 0.50, 0.58, 0.66), thumb_out=0.55, thumb_bend=0.30)
THUMB_UP = HandPose(spread=0.0, curls=(1.52, 1.56, 1.60, 1.64), thumb_out=1.42, thumb_bend=-0.22)


def blend(a: HandPose, b: HandPose, k: float) -> HandPose:
    """The pose that is the fraction `k` of the way from `a` to `b`."""
    curls = tuple(x + (y - x) * k for x, y in zip(a.curls, b.curls, strict=True))
    return HandPose(
        spread=a.spread + (b.spread - a.spread) * k,
        curls=(curls[0], curls[1], curls[2], curls[3]),
        thumb_out=a.thumb_out + (b.thumb_out - a.thumb_out) * k,
        thumb_bend=a.thumb_bend + (b.thumb_bend - a.thumb_bend) * k,
    )


def hand_cones(wrist: Vec, frame: NDArray[np.float64], pose: HandPose) -> list[Cone]:
    """The 20 cones of a hand: 4 metacarpals, the thenar, 4 x 3 phalanges, 3 thumb bones.

    `frame` has the rows along (wrist to knuckles), across (towards the thumb) and palm (the way
    that the palm faces).
    """
    along, across, palm = frame
    metacarpals: list[Cone] = []
    fingers: list[Cone] = []
    for i, ((u, s), lengths, curl) in enumerate(zip(KNUCKLES, PHALANGES, pose.curls, strict=True)):
        knuckle = wrist + along * u + across * s
        root = wrist + along * 0.02 + across * s * 0.55
        metacarpals.append((root, 0.125, knuckle, 0.108))
        fan = pose.spread * (1.5 - i) * 0.75
        out = along * np.cos(fan) + across * np.sin(fan)
        joint, radius, bend = knuckle, FINGER_RADIUS[i], 0.0
        for j, length in enumerate(lengths):
            bend += curl * (0.85, 1.12, 0.72)[j]
            tip = joint + (out * np.cos(bend) + palm * np.sin(bend)) * length
            fingers.append((joint, radius, tip, radius * 0.92))
            joint, radius = tip, radius * 0.92
    base = wrist + along * 0.16 + across * 0.17 + palm * 0.07
    lean = pose.thumb_out
    out = along * np.cos(lean) + across * np.sin(lean) + palm * 0.22
    out /= np.linalg.norm(out)
    inward = along * np.cos(lean - 1.2) + across * np.sin(lean - 1.2)
    thumb: list[Cone] = []
    joint, bend = base, -0.10
    for length, ra, rb in ((0.36, 0.138, 0.116), (0.28, 0.116, 0.108), (0.20, 0.108, 0.092)):
        tip = joint + (out * np.cos(bend) + inward * np.sin(bend)) * length
        thumb.append((joint, ra, tip, rb))
        joint, bend = tip, bend + pose.thumb_bend
    thenar = (wrist + along * 0.10 + across * 0.12, 0.13, thumb[0][2] * 0.55 + base * 0.45, 0.13)
    return [*metacarpals, thenar, *fingers, *thumb]


def pack(cones: list[Cone]) -> NDArray[np.float32]:
    """The cones as rows x, y, z, radius: two rows a cone, as the shader wants them."""
    rows = [row for a, ra, b, rb in cones for row in ((*a, ra), (*b, rb))]
    return np.asarray(rows, dtype=np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """The matrix that turns right by `yaw`, nods down by `pitch`, tilts clockwise by `roll`."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    cr, sr = np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)
