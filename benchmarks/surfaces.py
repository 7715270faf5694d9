"""Random procedural surfaces: what nothing of a real surface can have leaked into.

Every picture is another surface: noise of a random spectrum, brushed and grained lines, cells,
cloth and grids, spots, leaves, rings, plain paint; in grey or in colour, under a random light,
some with an edge. Nothing is taken from pictures, so that no licence but ours is attached.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Shape = tuple[int, int]


def random_surface(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """Draws one surface.

    Args:
        rng: decides everything.
        side: of the picture, pixels.

    Returns:
        (side, side, 3) uint8; a third of them grey.
    """
    shape = (side, side)
    levels = _layer(rng, shape)
    if rng.random() < 0.4:
        levels = _normalised(levels + rng.uniform(0.2, 1.0) * _layer(rng, shape))
    picture = _coloured(rng, levels)
    if rng.random() < 0.3:
        other = _coloured(rng, _layer(rng, shape))
        picture = np.where(_edge(rng, shape)[..., None], picture, other)
    picture = picture * _light(rng, shape)[..., None]
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.0))
    picture = picture + rng.uniform(0.0, 0.015) * rng.standard_normal((*shape, 1), np.float32)
    if rng.random() < 1 / 3:
        picture = np.repeat(picture.mean(axis=-1, keepdims=True), 3, axis=-1)
    return np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)


def _layer(rng: np.random.Generator, shape: Shape) -> FloatArray:
    families: tuple[Callable[[np.random.Generator, Shape], FloatArray], ...] = (
        _noise, _noise, _brushed, _brushed, _cells, _cloth, _grid, _spots, _leaves, _rings, _plain,
    )  # fmt: skip
    return _normalised(families[rng.integers(len(families))](rng, shape))


def _normalised(levels: FloatArray) -> FloatArray:
    """Mean 0 and standard deviation 1, or 0 everywhere."""
    return np.asarray((levels - levels.mean()) / max(float(levels.std()), 1e-3), np.float32)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _filtered(rng: np.random.Generator, shape: Shape, sigma_y: float, sigma_x: float) -> FloatArray:
    noise = rng.standard_normal(shape, np.float32)
    blurred = cv2.GaussianBlur(
        noise, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_REFLECT_101
    )
    return _normalised(blurred)


def _noise(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Noise with a spectrum of 1 / fᵝ above a lowest frequency."""
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    f_y, f_x = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    stretch = _log_uniform(rng, 0.5, 2.0)
    frequency = np.hypot(f_y * stretch, f_x / stretch)
    lowest = _log_uniform(rng, 1 / shape[0], 0.15)
    spectrum /= np.maximum(frequency, lowest) ** rng.uniform(0.8, 3.0)
    return np.asarray(np.fft.irfft2(spectrum, shape), np.float32)


def _turned(
    rng: np.random.Generator, shape: Shape, draw: Callable[[Shape], FloatArray]
) -> FloatArray:
    """What `draw` makes, turned: mostly by little or a right angle, sometimes by anything."""
    large = tuple(math.ceil(1.5 * side) for side in shape)
    levels = draw((large[0], large[1]))
    angle = rng.choice([0.0, 90.0]) + rng.normal(0.0, 2.0)
    if rng.random() < 0.3:
        angle = rng.uniform(0.0, 180.0)
    centre = (large[1] / 2, large[0] / 2)
    matrix = cv2.getRotationMatrix2D(centre, angle, 1.0)
    turned = cv2.warpAffine(levels, matrix, large[::-1], borderMode=cv2.BORDER_REFLECT_101)
    top, left = (large[0] - shape[0]) // 2, (large[1] - shape[1]) // 2
    return np.ascontiguousarray(turned[top : top + shape[0], left : left + shape[1]])


def _brushed(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Lines in one direction: ground metal, grain of wood, cuts of a saw."""

    def draw(large: Shape) -> FloatArray:
        across = _log_uniform(rng, 0.5, 3.0)
        along = across * _log_uniform(rng, 5.0, 80.0)
        lines = _filtered(rng, large, across, along)
        if rng.random() < 0.5:
            lines += rng.uniform(0.2, 1.0) * _filtered(rng, large, 6.0 * across, 2.0 * along)
        return lines

    return _turned(rng, shape, draw)


def _wobble(rng: np.random.Generator, shape: Shape, most: float) -> FloatArray:
    sigma = _log_uniform(rng, 6.0, 40.0)
    return np.asarray(rng.uniform(0.0, most) * _filtered(rng, shape, sigma, sigma), np.float32)


def _cells(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Pebbles, pores and chips: distance to the nearest of random points, or a tone for each."""
    pitch = _log_uniform(rng, 5.0, 28.0)
    points = np.ones(shape, np.uint8)
    count = max(2, int(shape[0] * shape[1] / pitch**2))
    points[rng.integers(shape[0], size=count), rng.integers(shape[1], size=count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        points, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    tones = rng.standard_normal(int(labels.max()) + 1).astype(np.float32)[labels]
    seams = cv2.morphologyEx(labels.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    weights = rng.dirichlet([1.0, 1.0, 1.0]).astype(np.float32)
    levels = weights[0] * _normalised(distance) + weights[1] * tones
    return np.asarray(levels - 2.0 * weights[2] * seams, np.float32)


def _phases(rng: np.random.Generator, shape: Shape, pitch: float) -> tuple[FloatArray, FloatArray]:
    rows, columns = np.indices(shape, dtype=np.float32) * np.float32(2.0 * np.pi / pitch)
    angle = rng.normal(0.0, 0.05) if rng.random() < 0.7 else rng.uniform(0.0, np.pi)
    u = columns * np.cos(angle) + rows * np.sin(angle) + _wobble(rng, shape, 0.6)
    v = rows * np.cos(angle) - columns * np.sin(angle) + _wobble(rng, shape, 0.6)
    return np.asarray(u, np.float32), np.asarray(v, np.float32)


def _cloth(rng: np.random.Generator, shape: Shape) -> FloatArray:
    u, v = _phases(rng, shape, 2.0 * _log_uniform(rng, 4.0, 16.0))
    threads = np.where(np.sin(u) * np.sin(v) > 0, np.abs(np.cos(u)), np.abs(np.cos(v)) - 0.3)
    return np.asarray(threads + 0.2 * _filtered(rng, shape, 2.0, 2.0), np.float32)


def _grid(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Bars or a mesh on a ground."""
    u, v = _phases(rng, shape, _log_uniform(rng, 8.0, 48.0))
    sharp, share = _log_uniform(rng, 1.5, 20.0), rng.uniform(-0.6, 0.6)
    bars = np.tanh(sharp * (np.sin(u) - share))
    if rng.random() < 0.6:
        bars = np.maximum(bars, np.tanh(sharp * (np.sin(v) - share)))
    return np.asarray(bars + rng.uniform(0.0, 0.4) * _filtered(rng, shape, 1.0, 1.0), np.float32)


def _spots(rng: np.random.Generator, shape: Shape) -> FloatArray:
    sigma = _log_uniform(rng, 0.8, 5.0)
    spots = _filtered(rng, shape, sigma, sigma * _log_uniform(rng, 0.6, 1.6))
    threshold, sharp = rng.uniform(0.5, 2.2), _log_uniform(rng, 1.5, 8.0)
    return np.asarray(np.tanh(sharp * (spots - threshold)), np.float32)


def _leaves(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Dead leaves: ellipses and polygons that cover each other, sizes by a power law."""
    levels = np.zeros(shape, np.float32)
    largest = _log_uniform(rng, 12.0, 60.0)
    for _ in range(int(4 * shape[0] * shape[1] / largest**1.6)):
        radius = largest * rng.uniform(0.15, 1.0) ** 2 + 1.5
        centre = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
        tone = float(rng.standard_normal())
        if rng.random() < 0.5:
            axes = (int(radius), max(1, int(radius * rng.uniform(0.3, 1.0))))
            angle = rng.uniform(0, 180)
            cv2.ellipse(levels, centre, axes, angle, 0, 360, tone, -1, cv2.LINE_AA)
        else:
            angles = np.sort(rng.uniform(0.0, 2.0 * np.pi, rng.integers(3, 7)))
            corners = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * radius + centre
            cv2.fillPoly(levels, [np.rint(corners).astype(np.int32)], tone, cv2.LINE_AA)
    return levels


def _rings(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Wavy layers: rings of wood, marble, concentric marks of a lathe."""
    rows, columns = np.indices(shape, dtype=np.float32)
    y, x = rng.uniform(-1.0, 2.0, size=2) * shape[0]
    radius = np.hypot((rows - y) * _log_uniform(rng, 0.3, 3.0), columns - x)
    pitch = _log_uniform(rng, 5.0, 40.0)
    phase = 2.0 * np.pi * radius / pitch + _wobble(rng, shape, 4.0)
    waves = np.sin(phase) + 0.4 * np.sin(2.3 * phase + rng.uniform(0.0, 6.0))
    return np.asarray(waves + 0.3 * _filtered(rng, shape, 1.0, 1.0), np.float32)


def _plain(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Hardly anything: paint, glass."""
    sigma = _log_uniform(rng, 10.0, 60.0)
    return np.asarray(_filtered(rng, shape, sigma, sigma) + 0.1, np.float32)


def _coloured(rng: np.random.Generator, levels: FloatArray) -> FloatArray:
    """Levels through a line of two to four random colours, close together or far apart."""
    count = rng.integers(2, 5)
    spread = _log_uniform(rng, 0.02, 0.5)
    middle = rng.uniform(0.1, 0.9, size=3) * rng.uniform(0.4, 1.0)
    if rng.random() < 0.6:
        # As most materials: not far from grey.
        middle = middle.mean() + 0.3 * (middle - middle.mean())
    colours = middle + spread * rng.uniform(-1.0, 1.0, size=(count, 1))
    colours = colours + 0.5 * spread * rng.uniform(-1.0, 1.0, size=(count, 3))
    position = np.clip(0.5 + levels / 5.0, 0.0, 1.0)
    stops = np.linspace(0.0, 1.0, count)
    channels = [np.interp(position, stops, colours[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _edge(rng: np.random.Generator, shape: Shape) -> NDArray[np.bool_]:
    """One side of a wobbly line or circle: the edge of a part."""
    rows, columns = np.indices(shape, dtype=np.float32) / shape[0]
    wobble = _wobble(rng, shape, 0.02)
    if rng.random() < 0.6:
        angle = rng.choice([0.0, 0.5, 1.0, 1.5]) * np.pi + rng.normal(0.0, 0.1)
        along = (columns - 0.5) * np.cos(angle) + (rows - 0.5) * np.sin(angle)
        return np.asarray(along + wobble < rng.uniform(0.1, 0.5))
    distance = np.hypot(rows - rng.uniform(0.2, 0.8), columns - rng.uniform(0.2, 0.8))
    return np.asarray(distance + wobble < rng.uniform(0.25, 0.6))


def _light(rng: np.random.Generator, shape: Shape) -> FloatArray:
    rows, columns = np.indices(shape, dtype=np.float32) / shape[0] - 0.5
    tilt_y, tilt_x = rng.uniform(-0.3, 0.3, size=2)
    return np.asarray(1.0 + tilt_y * rows + tilt_x * columns, np.float32)
