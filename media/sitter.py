"""Draw the sitter with OpenGL: one call a subsample, added up in a float buffer.

Wants `pip install moderngl` and Mesa's software OpenGL (Debian: libegl1 libgl1-mesa-dri), which
are rendering tools only: what they make is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import moderngl
import numpy as np
from numpy.typing import NDArray
from skeleton import OPEN, Cone, HandPose, Vec, hand_cones, pack, rotation

HERE = Path(__file__).parent
CELL_PX = 8
NECK_PIVOT = np.array([0.0, -0.95, -0.20])
VERTEX = "#version 330\nin vec2 at; void main() { gl_Position = vec4(at, 0, 1); }"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Where an arm's elbow and wrist are; the hand is drawn only if `frame` is given."""

    elbow: tuple[float, float, float]
    wrist: tuple[float, float, float]
    frame: NDArray[np.float64] | None = None
    hand: HandPose = OPEN


def resting(side: int) -> Arm:
    """An arm on the desk, below the picture; `side` is -1 on screen left."""
    return Arm(elbow=(1.72 * side, -3.35, 0.0), wrist=(0.85 * side, -3.75, 1.1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """The whole sitter at one instant. Angles in radians; face values 0..1."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    blink: float = 0.0
    mouth: float = 0.0
    smile: float = 0.6
    brow: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    breath: float = 0.0
    lean: float = 0.0
    left: Arm = field(default_factory=lambda: resting(-1))
    right: Arm = field(default_factory=lambda: resting(1))


class Sitter:
    """One sitter's compiled shader and frame buffer; who 0 sits in the room, 1 in the hills."""

    def __init__(self, who: int, width_px: int, height_px: int) -> None:
        self.context = moderngl.create_standalone_context(require=330, backend="egl")  # type: ignore[arg-type]  # its stub takes the settings for one dict
        head = f"#version 330\n#define WHO {who}\n" + (HERE / "portrait.glsl").read_text()
        self.scout, self.program = (
            self.context.program(vertex_shader=VERTEX, fragment_shader=head + path.read_text())
            for path in (HERE / "prepass.glsl", HERE / "shading.glsl")
        )
        self.size = (width_px, height_px)
        self.cells = (-(-width_px // CELL_PX), -(-height_px // CELL_PX))
        self.target = self.context.simple_framebuffer(self.size, 4, dtype="f4")
        self.start = self.context.texture(self.cells, 1, dtype="f4")
        self.coarse = self.context.framebuffer([self.start])
        corners = self.context.buffer(np.array([-1, -1, 3, -1, -1, 3], "f4").tobytes())
        self.whole = self.context.vertex_array(self.scout, [(corners, "2f", "at")])
        self.vertices = self.context.buffer(reserve=self.cells[0] * self.cells[1] * 48)
        self.tiles = self.context.vertex_array(self.program, [(self.vertices, "2f", "at")])

    def render(
        self,
        poses: Sequence[Pose],
        camera: tuple[float, float, float, float],
        offsets: Sequence[tuple[float, float]],
    ) -> NDArray[np.float32]:
        """The mean over `poses` (instants of one exposure), each at its pixel offset.

        Returns height x width x 4 float32, linear light, premultiplied, RGBA, top row first.
        """
        self.target.clear()
        self.context.blend_func = moderngl.ONE, moderngl.ONE
        self._set("uCam", camera)
        self._set("uSize", self.size)
        self._set("uCell", CELL_PX)
        self._set("uWeight", 1.0 / len(poses))
        for pose, offset in zip(poses, offsets, strict=True):
            self._pose(pose)
            self.context.disable(moderngl.BLEND)
            self.coarse.use()
            self.whole.render(moderngl.TRIANGLES)
            count = self._aim()
            self.target.use()
            self.context.enable(moderngl.BLEND)
            self.start.use(0)
            self._set("uJitter", offset)
            self.tiles.render(moderngl.TRIANGLES, vertices=count)
        raw = np.frombuffer(self.target.read(components=4, dtype="f4"), np.float32)
        return raw.reshape(self.size[1], self.size[0], 4)[::-1].copy()

    def _aim(self) -> int:
        """Cover the cells that the prepass did not find empty; returns the number of vertices."""
        depth = np.frombuffer(self.start.read(), np.float32).reshape(self.cells[::-1])
        rows, columns = np.nonzero(depth)
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 0], [1, 1], [0, 1]], np.float32)
        at = np.stack([columns, rows], -1)[:, None, :] + corners
        at = (at * CELL_PX / np.array(self.size) * 2 - 1).astype(np.float32)
        self.vertices.write(at.tobytes())
        return len(rows) * 6

    def _pose(self, pose: Pose) -> None:
        head = rotation(pose.yaw, pose.pitch, pose.roll)
        shift = np.array([pose.lean, 0.0, 0.0])
        origin = NECK_PIVOT + shift - head @ NECK_PIVOT
        self._set("uHeadR", tuple(head.T.ravel()))
        self._set("uHeadT", tuple(origin))
        self._set("uNeck", tuple(origin + head @ np.array([0.0, -0.55, -0.22])))
        self._set("uFace", (pose.blink, pose.mouth, pose.smile, pose.brow))
        self._set("uGaze", pose.gaze)
        self._set("uBreath", pose.breath)
        cones: list[Cone] = []
        shown: Arm | None = None
        for side, arm in ((-1, pose.left), (1, pose.right)):
            shoulder: Vec = np.array([1.22 * side, -2.05, -0.36])
            elbow, wrist = np.array(arm.elbow), np.array(arm.wrist)
            cones.append((shoulder, 0.40, elbow, 0.31))
            cones.append((elbow, 0.31, wrist + (elbow - wrist) * 0.03, 0.235))
            shown = arm if arm.frame is not None else shown
        self._write("uArm", pack(cones))
        hand = np.zeros((40, 4), np.float32)
        bound = (0.0, 0.0, 0.0, 0.0)
        if shown is not None and shown.frame is not None:
            hand = pack(hand_cones(np.array(shown.wrist), shown.frame, shown.hand))
            centre = np.array(shown.wrist) + shown.frame[0] * 0.65
            bound = (float(centre[0]), float(centre[1]), float(centre[2]), 1.05)
        self._write("uHand", hand)
        self._set("uHandBound", bound)

    def _set(self, name: str, value: object) -> None:
        for program in (self.scout, self.program):
            member = program.get(name, None)
            if isinstance(member, moderngl.Uniform):
                member.value = value

    def _write(self, name: str, rows: NDArray[np.float32]) -> None:
        for program in (self.scout, self.program):
            member = program[name]
            assert isinstance(member, moderngl.Uniform)
            member.write(rows.tobytes())
