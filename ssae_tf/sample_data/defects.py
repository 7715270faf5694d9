"""The defects of the sample data set, none of them made the way training corrupts a patch.

Each takes a surface and a random generator, the source of place, size and course, and returns the
image that the surface gives with the defect in it, (H, W, 3) float32. A defect of structure
(missing chips, broken threads, misweave) changes what is drawn and renders the surface again; one
that lies on the surface (crack, stain) is laid over the rendering.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from ssae_tf.sample_data.textures import FloatArray, Surface, Tile, Weave, smooth_noise

Defect = Callable[..., FloatArray]

_CRACK_COLOUR = np.array([0.07, 0.065, 0.06], np.float32)
# Share of the light absorbed per RGB channel at the stain's centre: rust, tea, ink.
_STAIN_TINTS = np.array(
    [[0.05, 0.22, 0.32], [0.12, 0.21, 0.30], [0.28, 0.18, 0.06]], dtype=np.float32
)


def crack(surface: Surface, rng: np.random.Generator) -> FloatArray:
    """A dark line, 1 to 3 pixels wide, that wanders and branches."""
    height, width = surface.shape
    scale = 4
    fine = np.zeros((scale * height, scale * width), np.uint8)
    length = rng.uniform(0.30, 0.60) * min(height, width)
    start = _centre(rng, surface.shape)
    # It sets out towards the middle, so that most of it lies inside the image.
    aim = np.arctan2(height / 2 - start[1], width / 2 - start[0]) + rng.uniform(-0.8, 0.8)
    trunk = _walk(rng, start, aim, length)
    lines = [(trunk, rng.uniform(1.6, 2.4))]
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(trunk) // 4, max(len(trunk) // 4 + 1, 3 * len(trunk) // 4)))
        step = trunk[min(at + 1, len(trunk) - 1)] - trunk[at - 1]
        heading = np.arctan2(step[1], step[0]) + rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0)
        branch = _walk(rng, trunk[at], heading, length * rng.uniform(0.2, 0.45))
        lines.append((branch, rng.uniform(1.0, 1.6)))
    for points, thickness in lines:
        taper = np.linspace(1.0, 0.45, len(points) - 1) * thickness * scale
        corners = np.rint(points * scale).astype(int)
        for one, other, thick in zip(corners[:-1], corners[1:], taper, strict=True):
            cv2.line(fine, one.tolist(), other.tolist(), 255, max(1, round(thick)))
    cover = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    cover = cv2.GaussianBlur(cover.astype(np.float32) / 255, (0, 0), 0.5)[..., None]
    return np.asarray(surface.render() * (1.0 - cover) + _CRACK_COLOUR * cover, np.float32)


def stain(surface: Surface, rng: np.random.Generator) -> FloatArray:
    """A spill that has dried in: a tint with a soft, uneven edge, 20 to 50 pixels across."""
    rows, columns = np.indices(surface.shape, dtype=np.float32)
    x, y = _centre(rng, surface.shape)
    radius = min(rng.uniform(17.0, 26.0), 0.3 * min(surface.shape))
    stretch, turn = rng.uniform(0.75, 1.33), rng.uniform(0.0, np.pi)
    along = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
    across = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
    distance = np.hypot(along * stretch, across / stretch)
    distance += 0.14 * radius * np.clip(smooth_noise(rng, surface.shape, 0.4 * radius), -2, 2)
    ramp = np.clip((radius - distance) / (0.35 * radius), 0.0, 1.0)
    cover = ramp * ramp * (3.0 - 2.0 * ramp)
    tint = _STAIN_TINTS[rng.integers(len(_STAIN_TINTS))] * rng.uniform(0.95, 1.2)
    return np.asarray(surface.render() * (1.0 - cover[..., None] * tint), np.float32)


def missing_grain(surface: Tile, rng: np.random.Generator) -> FloatArray:
    """A cluster of neighbouring chips that has come out of the binder."""
    distance = np.linalg.norm(surface.centres - _centre(rng, surface.shape), axis=1)
    # Like the other limits by size in this module: small images must not be all defect.
    most = 2 + surface.shape[0] * surface.shape[1] // 1000
    fallen = np.zeros(len(distance), bool)
    fallen[np.argsort(distance)[: min(int(rng.integers(5, 11)), most)]] = True
    return surface.render(fallen=fallen)


def broken_thread(surface: Weave, rng: np.random.Generator) -> FloatArray:
    """One or two neighbouring warp threads missing over a length."""
    row, column = surface.crossing_at(*_centre(rng, surface.shape))
    most = int(0.25 * surface.shape[0] / surface.PITCH)
    half = max(2, min(int(rng.integers(3, 7)), most))
    broken = np.zeros_like(surface.over)
    broken[max(row - half, 0) : row + half, column] = True
    if rng.random() < 0.5:
        broken[max(row - half + 2, 0) : row + half - 1, column + 1] = True
    return surface.render(broken=broken)


def misweave(surface: Weave, rng: np.random.Generator) -> FloatArray:
    """A patch where threads float over several others instead of every second one."""
    row, column = surface.crossing_at(*_centre(rng, surface.shape))
    rows, columns = np.indices(surface.over.shape)
    most = 0.12 * min(surface.shape) / surface.PITCH
    reach = np.maximum(1.5, np.minimum(rng.uniform(1.6, 3.2, size=2), most))
    patch = ((rows - row) / reach[0]) ** 2 + ((columns - column) / reach[1]) ** 2 <= 1.0
    tied = (rows + 2 * columns) % 5 == 0
    floating = tied if rng.random() < 0.5 else ~tied
    return surface.render(over=np.where(patch, floating, surface.over))


DEFECTS: Mapping[str, Mapping[str, Defect]] = {
    "tile": {"crack": crack, "missing_grain": missing_grain, "stain": stain},
    "weave": {"broken_thread": broken_thread, "misweave": misweave, "stain": stain},
}


def _centre(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[int, int]:
    """(x, y) in pixels, in the inner part, so that the defect is mostly in the image."""
    share = rng.uniform(0.15, 0.85, size=2)
    return int(share[1] * shape[1]), int(share[0] * shape[0])


def _walk(
    rng: np.random.Generator, start: tuple[float, float], heading: float, length: float
) -> FloatArray:
    """A path of 3-pixel steps whose heading drifts and now and then kinks: (n, 2), (x, y)."""
    steps = max(3, int(length / 3.0))
    turns = rng.normal(0.0, 0.20, size=steps) + rng.normal(0.0, 0.7, size=steps) * (
        rng.random(steps) < 0.15
    )
    headings = heading + np.cumsum(turns)
    moves = 3.0 * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return np.asarray(np.vstack([[0.0, 0.0], np.cumsum(moves, axis=0)]) + start, np.float32)
