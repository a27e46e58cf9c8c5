"""What happens in the bundled clip, as a pure function of time: 300 frames at 30 fps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sitter import Arm, Pose, resting
from skeleton import OPEN, RELAXED, THUMB_UP, Vec, blend

FPS = 30
FRAMES = 300
STILL = (0, 60)  # frame ranges [first, end)
SLOW = (60, 124)
FAST = (128, 180)
CUT_AWAY, CUT_BACK = 180, 225  # first frame after each cut

Keys = tuple[tuple[float, float], ...]


def eased(t: float, keys: Keys) -> float:
    """The value at `t` of a curve through (time, value) keys that rests at each of them."""
    if t <= keys[0][0]:
        return keys[0][1]
    for (t0, v0), (t1, v1) in zip(keys, keys[1:], strict=False):
        if t < t1:
            k = (t - t0) / (t1 - t0)
            return v0 + (v1 - v0) * k * k * k * (k * (6 * k - 15) + 10)
    return keys[-1][1]


def blink(t: float, starts: tuple[float, ...]) -> float:
    """Lid closure 0..1: a blink takes a fifth of a second, faster down than up."""
    for start in starts:
        k = (t - start) / 0.20
        if 0 < k < 1:
            return float(np.sin(np.pi * k**0.75) ** 1.3)
    return 0.0


def talking(t: float, start: float, end: float) -> float:
    """Mouth opening 0..1 while somebody speaks between `start` and `end` seconds."""
    gate = eased(t, ((start, 0.0), (start + 0.15, 1.0), (end - 0.15, 1.0), (end, 0.0)))
    wave = 0.36 + 0.30 * np.sin(t * 17.0) + 0.22 * np.sin(t * 27.3 + 1.0)
    return float(gate * np.clip(wave, 0.02, 0.9))


def _frame(along: Vec, across: Vec, flip: float) -> NDArray[np.float64]:
    along = along / np.linalg.norm(along)
    across = across - along * float(across @ along)
    across = across / np.linalg.norm(across)
    return np.array([along, across, flip * np.cross(along, across)])


def _arm(side: int, up: float, elbow: Vec, wrist: Vec) -> tuple[Vec, Vec]:
    rest = resting(side)
    low_elbow, low_wrist = np.array(rest.elbow), np.array(rest.wrist)
    bow = np.array([side * 0.55, 0.0, 0.35]) * float(np.sin(np.pi * up))
    return low_elbow + (elbow - low_elbow) * up, low_wrist + (wrist - low_wrist) * up + bow


def waving_arm(t: float) -> Arm:
    """Her right arm (screen left): up from 4.0 s, a quick wave until the cut."""
    up = eased(t, ((3.95, 0.0), (4.5, 1.0)))
    if up <= 0:
        return resting(-1)
    swing = eased(t, ((4.3, 0.0), (4.7, 1.0)))
    phase = 2 * np.pi * 2.6 * (t - 4.4)
    lean = -0.10 + swing * 0.30 * np.sin(phase)
    flick = lean + swing * 0.30 * np.sin(phase - 0.7)
    elbow = np.array([-1.92, -3.0, 0.45])
    wrist = elbow + 1.72 * np.array([np.sin(lean), np.cos(lean) * 0.97, 0.22])
    elbow, wrist = _arm(-1, up, elbow, wrist)
    along = np.array([np.sin(flick) - 0.6 * (1 - up), np.cos(flick), 0.10 + 0.5 * (1 - up)])
    frame = _frame(along, np.array([1.0, 0.0, 0.12]), -1.0)
    return Arm(elbow=tuple(elbow), wrist=tuple(wrist), frame=frame, hand=blend(RELAXED, OPEN, up))


def thumb_arm(t: float) -> Arm:
    """Her left arm (screen right): a thumbs-up after the cut back, down again by 9.35 s."""
    up = eased(t, ((7.3, 0.55), (7.85, 1.0), (8.65, 1.0), (9.35, 0.0)))
    if up <= 0:
        return resting(1)
    beat = (
        0.05 * np.sin(2 * np.pi * 1.6 * (t - 7.85)) * eased(t, ((7.8, 0.0), (8.0, 1.0), (8.6, 0.0)))
    )
    elbow, wrist = np.array([2.05, -3.05, 0.1]), np.array([1.82, -1.62 + beat, 1.0])
    elbow, wrist = _arm(1, up, elbow, wrist)
    frame = _frame(np.array([-0.66, 0.10, 0.74]), np.array([0.10, 1.0, 0.05]), 1.0)
    closed = eased(t, ((7.4, 0.6), (7.8, 1.0), (8.75, 1.0), (9.1, 0.3)))
    return Arm(
        elbow=tuple(elbow), wrist=tuple(wrist), frame=frame, hand=blend(RELAXED, THUMB_UP, closed)
    )


def room_pose(t: float) -> Pose:
    """The streamer in her room, for every time outside the cut."""
    after = t >= 7.0
    yaw = eased(t, ((2.0, 0.10), (2.75, 0.46), (3.15, 0.46), (3.95, -0.34), (4.4, 0.0),
                    (7.0, -0.10), (7.9, 0.06), (8.8, -0.06), (9.6, 0.10)))  # fmt: skip
    roll = eased(t, ((2.0, 0.03), (2.8, -0.10), (3.9, 0.14), (4.5, -0.06), (5.2, 0.07),
                     (6.0, -0.05), (7.0, 0.12), (8.6, 0.10), (9.6, 0.03)))  # fmt: skip
    pitch = eased(t, ((2.0, 0.02), (2.7, -0.07), (3.6, 0.08), (4.5, 0.0), (7.2, 0.0), (7.7, 0.10),
                      (8.1, -0.02), (8.5, 0.05), (9.6, 0.02)))  # fmt: skip
    look = eased(t, ((1.95, -0.10), (2.15, 0.20), (3.1, 0.20), (3.3, -0.18), (4.0, -0.12),
                     (4.2, 0.0), (7.0, 0.0), (9.3, 0.0), (9.5, -0.10)))  # fmt: skip
    smile = eased(t, ((2.0, 0.62), (2.5, 0.35), (4.0, 0.5), (4.5, 1.0), (6.0, 1.0), (7.0, 1.0),
                      (8.8, 0.95), (9.6, 0.62)))  # fmt: skip
    mouth = talking(t, 2.25, 3.9) + talking(t, 4.45, 5.3) * 0.8
    mouth += eased(
        t, ((5.2, 0.0), (5.5, 0.42), (6.0, 0.38), (7.0, 0.34), (8.2, 0.30), (8.9, 0.0))
    ) * (1.0 if after or t > 5.1 else 0.0)
    brow = eased(
        t, ((2.0, 0.1), (2.6, 0.7), (3.2, 0.0), (4.4, 0.8), (6.0, 0.6), (7.5, 0.7), (9.6, 0.1))
    )
    return Pose(
        yaw=yaw, pitch=pitch, roll=roll, mouth=mouth, smile=smile, brow=brow,
        blink=blink(t, (0.75, 2.08, 3.2, 4.28, 8.9)),
        gaze=(look, 0.0),
        lean=eased(t, ((2.0, 0.0), (2.8, 0.10), (3.9, -0.10), (4.5, 0.0), (7.0, -0.06),
                       (9.6, 0.0))),
        left=waving_arm(t) if t < 6.5 else resting(-1),
        right=thumb_arm(t) if after else resting(1),
    )  # fmt: skip


def hills_pose(t: float) -> Pose:
    """The friend in the hills, between the cuts (6.0 to 7.5 s)."""
    return Pose(
        yaw=eased(t, ((5.9, 0.32), (6.9, -0.12), (7.6, -0.20))),
        roll=eased(t, ((5.9, -0.08), (6.8, 0.09), (7.6, 0.04))),
        pitch=eased(t, ((5.9, 0.04), (6.6, -0.05), (7.6, 0.03))),
        mouth=talking(t, 5.9, 6.9) * 0.8 + eased(t, ((6.8, 0.0), (7.1, 0.35))),
        smile=eased(t, ((5.9, 0.6), (6.8, 1.0))),
        brow=eased(t, ((6.0, 0.0), (6.5, 0.7), (7.4, 0.3))),
        gaze=(eased(t, ((5.9, -0.2), (6.5, 0.05))), 0.0),
        blink=blink(t, (6.55,)),
        lean=eased(t, ((5.9, 0.05), (7.5, -0.08))),
    )


def camera(frame: int, t: float) -> tuple[float, float, float, float]:
    """Centre x and y, distance and half height of the view."""
    if CUT_AWAY <= frame < CUT_BACK:
        return (-0.45 + 0.05 * (t - 6.0), -0.30, 9.0, 1.95 - 0.05 * (t - 6.0))
    return (0.0, -0.60, 9.0, 2.30)
