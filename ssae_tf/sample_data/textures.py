"""Procedural surfaces of the sample data set: a terrazzo tile and a woven cloth.

A surface is drawn once from a random generator and can then be rendered as it
is or with part of its structure changed, so that a defect is made by the same
rendering as the surface around it.
"""

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Voronoi

FloatArray = NDArray[np.float32]

# Structure is drawn at twice the image's resolution, so that edges come out antialiased.
_OVERSAMPLING = 2


class Surface(Protocol):
    """What every surface offers to the code that makes defects."""

    shape: tuple[int, int]

    def render(self) -> FloatArray:
        """The surface without defect, (H, W, 3) float32, linear in [0, 1]."""
        ...


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> FloatArray:
    """Gaussian-filtered white noise of mean 0 and standard deviation about 1.

    Drawn on a coarse grid and enlarged, which costs a fraction of filtering at full size.

    Args:
        rng: source of the noise.
        shape: (H, W) of the result, in pixels.
        sigma: correlation length in pixels, > 0.

    Returns:
        (H, W) float32.
    """
    step = max(1, int(sigma / 1.5))
    coarse = tuple(-(-length // step) + 8 for length in shape)
    noise = rng.standard_normal(coarse, dtype=np.float32)
    width = sigma / step
    noise = cv2.GaussianBlur(noise, (0, 0), width, borderType=cv2.BORDER_REFLECT_101)
    # White noise filtered with a 2-D Gaussian keeps 1 / (4 pi sigma²) of its variance.
    noise *= 2.0 * np.sqrt(np.pi) * max(width, 0.3)
    noise = cv2.resize(noise, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    top, left = 4 * step, 4 * step
    return np.ascontiguousarray(noise[top : top + shape[0], left : left + shape[1]])


def illumination(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """A lamp a little off the axis: a tilted, slightly domed factor, (H, W, 1) in [0.83, 1.11]."""
    rows = np.linspace(-1.0, 1.0, shape[0], dtype=np.float32)[:, None]
    columns = np.linspace(-1.0, 1.0, shape[1], dtype=np.float32)[None, :]
    tilt_y, tilt_x = rng.uniform(-0.04, 0.04, size=2)
    dome = rng.uniform(0.0, 0.03)
    level = rng.uniform(0.97, 1.03)
    field = level + tilt_y * rows + tilt_x * columns - dome * (rows**2 + columns**2)
    return np.asarray(field, np.float32)[..., None]


class Tile:
    """Terrazzo: angular chips of stone, 3 to 20 pixels wide, in a pale binder.

    Attributes:
        shape: (H, W) in pixels.
        centres: (n, 2) float, (x, y) of each chip in pixels.
    """

    _BINDER = np.array([0.66, 0.65, 0.62], np.float32)
    _MORTAR = np.array([0.59, 0.46, 0.31], np.float32)
    _STONES = np.array([[0.24, 0.24, 0.26], [0.92, 0.91, 0.88], [0.50, 0.47, 0.43]], np.float32)
    _SHARES = (0.45, 0.30, 0.25)

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.centres, polygons = _chips(rng, shape)
        stones = rng.choice(len(self._STONES), size=len(polygons), p=self._SHARES)
        drift = rng.normal(0.0, 0.005, size=3)
        tones = self._STONES[stones] + rng.normal(0.0, 0.025, size=(len(polygons), 1))
        # Row 0 is the binder, row k + 1 chip k: the label map below indexes this table.
        self._palette = (np.vstack([self._BINDER, tones]) + drift).astype(np.float32)
        fine = (_OVERSAMPLING * shape[0], _OVERSAMPLING * shape[1])
        self._labels = np.zeros(fine, np.int32)
        for label, polygon in enumerate(polygons, start=1):
            corners = np.rint(polygon * (_OVERSAMPLING * 16)).astype(np.int32)
            cv2.fillPoly(self._labels, [corners], label, shift=4)
        self._mottle = 0.014 * smooth_noise(rng, shape, 2.5) + 0.012 * smooth_noise(rng, shape, 12)
        self._crumbs = smooth_noise(rng, fine, 2.0)
        self._light = illumination(rng, shape)

    def render(self, fallen: NDArray[np.bool_] | None = None) -> FloatArray:
        """Draws the tile.

        Args:
            fallen: (n,) bool, chips that have come out and left a hollow; none by default.

        Returns:
            (H, W, 3) float32 in about [0, 1], not clipped.
        """
        albedo = self._palette[self._labels]
        if fallen is not None:
            albedo = self._hollow(albedo, np.concatenate([[False], fallen])[self._labels])
        albedo = _reduce(albedo, self.shape)
        return (albedo + self._mottle[..., None]) * self._light

    def _hollow(self, albedo: FloatArray, hollow: NDArray[np.bool_]) -> FloatArray:
        """Shows the crumbly mortar underneath, with the shadow of the rim towards the light."""
        depth = 2 * _OVERSAMPLING
        rim = np.roll(~hollow, (depth, depth), axis=(0, 1))
        shade = cv2.GaussianBlur(rim.astype(np.float32), (0, 0), depth / 2)
        floor = self._MORTAR * (1.0 + 0.16 * self._crumbs - 0.55 * shade)[..., None]
        return np.where(hollow[..., None], floor, albedo).astype(np.float32)


class Weave:
    """Plain-woven cloth: dark warp (vertical) over and under pale weft (horizontal).

    Attributes:
        shape: (H, W) in pixels.
        over: (rows, columns) bool, the pattern: one weft thread per row, one warp thread
            per column, true where the warp lies on top.
        PITCH: mean distance of neighbouring threads, in pixels.
    """

    PITCH = 9.0
    _WARP = np.array([0.30, 0.40, 0.52], np.float32)
    _WEFT = np.array([0.84, 0.78, 0.66], np.float32)
    _GROUND = np.array([0.13, 0.12, 0.12], np.float32)

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self.shape = shape
        fine = (_OVERSAMPLING * shape[0], _OVERSAMPLING * shape[1])
        angle = np.deg2rad(rng.uniform(-1.5, 1.5))
        rows, columns = np.indices(fine, dtype=np.float32) / (_OVERSAMPLING * self.PITCH)
        # Threads left of and above the image keep every index positive.
        margin = 2.0 + 0.03 * max(shape) / self.PITCH + rng.uniform(0.0, 2.0, size=2)
        u = columns * np.cos(angle) + rows * np.sin(angle) + margin[0]
        v = rows * np.cos(angle) - columns * np.sin(angle) + margin[1]
        self._u = np.asarray(u + 0.10 * smooth_noise(rng, fine, 40), np.float32)
        self._v = np.asarray(v + 0.10 * smooth_noise(rng, fine, 40), np.float32)
        pattern = (int(self._v.max()) + 3, int(self._u.max()) + 3)
        self.over = np.add.outer(np.arange(pattern[0]), np.arange(pattern[1])) % 2 == 1
        drift = rng.normal(0.0, 0.006, size=3).astype(np.float32)
        self._warp = _Threads(rng, self._u, self._v, pattern[::-1], self._WARP + drift)
        self._weft = _Threads(rng, self._v, self._u, pattern, self._WEFT + drift)
        self._light = illumination(rng, shape)

    def crossing_at(self, x: int, y: int) -> tuple[int, int]:
        """(row, column) of the crossing under pixel (x, y)."""
        at = _OVERSAMPLING * y, _OVERSAMPLING * x
        return int(self._v[at]), int(self._u[at])

    def render(
        self,
        over: NDArray[np.bool_] | None = None,
        broken: NDArray[np.bool_] | None = None,
    ) -> FloatArray:
        """Draws the cloth.

        Args:
            over: another pattern, shaped as `self.over`, which is the default.
            broken: shaped as `self.over`, true where the warp thread is absent; nowhere
                by default.

        Returns:
            (H, W, 3) float32 in about [0, 1], not clipped.
        """
        lift = np.where(self.over if over is None else over, 1.0, -1.0).astype(np.float32)
        warp = self._warp.height(lift.T)
        weft = self._weft.height(-lift)
        if broken is not None:
            gone = broken[self._v.astype(np.int32), self._u.astype(np.int32)]
            warp[gone] = -np.inf
        height = np.maximum(warp, weft)
        cloth = np.where((warp >= weft)[..., None], self._warp.colours, self._weft.colours)
        # What lies deeper gets less light.
        cloth *= (0.92 + 0.08 * np.clip(height, -1.0, 1.0))[..., None]
        cloth[np.isneginf(height)] = self._GROUND
        return _reduce(cloth, self.shape) * self._light


class _Threads:
    """One set of parallel threads, as seen on the oversampled grid.

    Attributes:
        colours: (h, w, 3) float32, the shaded yarn where this set lies on top.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        across: FloatArray,
        along: FloatArray,
        pattern: tuple[int, int],
        colour: FloatArray,
    ) -> None:
        """Lays out the threads.

        Args:
            rng: source of the yarn's thickness and dye.
            across: (h, w), position across the threads; the integer part is the thread.
            along: (h, w), position along them; the integer part is the crossing.
            pattern: number of threads, number of crossings.
            colour: (3,).
        """
        thread = across.astype(np.int32)
        before = (along - 0.5).astype(np.int32)
        self._index = thread * np.int32(pattern[1]) + before
        self._blend = 0.5 - 0.5 * np.cos(np.float32(np.pi) * (along - 0.5 - before))
        thickness = rng.normal(0.92, 0.04, size=pattern[0]).astype(np.float32)
        reach = (2.0 * (across - thread) - 1.0) / thickness[thread]
        self._beside = np.abs(reach) >= 1.0
        self._round = np.sqrt(np.clip(1.0 - reach * reach, 0.0, 1.0))
        # Unevenly dyed yarn: its brightness drifts along each thread.
        dye = rng.standard_normal(pattern, dtype=np.float32)
        dye = 0.10 * cv2.GaussianBlur(dye, (0, 0), sigmaX=1.2, sigmaY=1e-3)
        dye += 0.03 * rng.standard_normal((pattern[0], 1), dtype=np.float32)
        twist = 1.0 + 0.05 * np.sin(np.float32(6.0 * np.pi) * (along + 0.5 * across))
        shade = (0.50 + 0.50 * self._round) * twist
        self.colours = (colour + self._along(dye)[..., None]) * shade[..., None]

    def height(self, lift: FloatArray) -> FloatArray:
        """Height over the cloth's mid plane, (h, w), -inf beside the threads.

        `lift` is (threads, crossings), 1 where the thread is on top, -1 underneath.
        """
        height = self._along(lift) + self._round
        height[self._beside] = -np.inf
        return height

    def _along(self, values: FloatArray) -> FloatArray:
        """Interpolates (threads, crossings) values along the threads, by half cosines."""
        flat = np.ascontiguousarray(values).ravel()
        first = flat.take(self._index)
        return np.asarray(first + self._blend * (flat.take(self._index + 1) - first), np.float32)


def _chips(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Shrunken Voronoi cells: centres (n, 2) and polygons (corners, 2), as (x, y) in pixels."""
    pitch, border = 13.0, 36.0
    rows = np.arange(-border, shape[0] + border, pitch)
    columns = np.arange(-border, shape[1] + border, pitch)
    seeds = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    seeds += rng.uniform(-0.46, 0.46, size=seeds.shape) * pitch
    # Leaving seeds out makes their neighbours larger: chips of many sizes, as in real terrazzo.
    seeds = seeds[rng.random(len(seeds)) < 0.80]
    cells = Voronoi(seeds)
    shrink = 0.90 - 0.5 * rng.beta(1.2, 2.0, size=len(seeds))
    centres, polygons = [], []
    for index, region in enumerate(cells.point_region):
        corners = cells.regions[region]
        if -1 in corners or not corners:
            continue
        polygon = cells.vertices[corners]
        centre = polygon.sum(axis=0) / len(polygon)
        if not (-10 < centre[0] < shape[1] + 10 and -10 < centre[1] < shape[0] + 10):
            continue
        centres.append(centre)
        polygons.append(_blunted(_blunted(centre + shrink[index] * (polygon - centre))))
    return np.array(centres), polygons


def _blunted(polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cuts each corner off a quarter of the way along its sides, as tumbling does to a stone."""
    towards_next = 0.25 * (np.concatenate([polygon[1:], polygon[:1]]) - polygon)
    return np.hstack([polygon + towards_next, polygon + 3.0 * towards_next]).reshape(-1, 2)


def _reduce(fine: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Averages the oversampled image and adds the lens's small blur."""
    image = cv2.resize(fine, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.6), np.float32)
