"""Encoded images to pixels inside a graph, as `ssae_tf.data.images.read_image` gives them.

PNG, JPEG and BMP; what TensorFlow's kernels can't decode, or would decode to other pixels, is
refused.
"""

from __future__ import annotations

import tensorflow as tf

_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\0\0"


def decode(content: tf.Tensor, white_level: int) -> tf.Tensor:
    """One image.

    Args:
        content: () string, the bytes of a PNG (8 or 16 bit), JPEG or 24-bit BMP file.
        white_level: the value of a 16-bit file that becomes 1.0.

    Returns:
        (H, W, 3) float32 in [0, 1], RGB: grey is repeated, alpha dropped, the
        EXIF orientation applied.

    Raises:
        tf.errors.InvalidArgumentError: on running the graph, for any other content.
    """
    is_jpeg = tf.io.is_jpeg(content)
    is_png = tf.equal(tf.strings.substr(content, 0, len(_PNG)), _PNG)
    return tf.cond(
        is_jpeg,
        lambda: _jpeg(content),
        lambda: tf.cond(is_png, lambda: _png(content, white_level), lambda: _bmp(content)),
    )


def _jpeg(content: tf.Tensor) -> tf.Tensor:
    # The default method differs from OpenCV's by several grey levels.
    pixels = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
    data = _bytes(content)

    def goes_on(position: tf.Tensor) -> tf.Tensor:
        # As far as the first scan.
        marker = _byte(data, position + 1)
        is_segment = tf.equal(_byte(data, position), 0xFF) & tf.not_equal(marker, 0xDA)
        return is_segment & ~_has(data, position + 4, _EXIF)

    def step(position: tf.Tensor) -> tuple[tf.Tensor]:
        return (position + 2 + _number(data, position + 2, 2),)

    (position,) = tf.while_loop(goes_on, step, (tf.constant(2),))
    is_exif = tf.equal(_byte(data, position + 1), 0xE1) & _has(data, position + 4, _EXIF)
    return _turned(_unit(pixels), data, is_exif, position + 4 + len(_EXIF))


def _png(content: tf.Tensor, white_level: int) -> tf.Tensor:
    data = _bytes(content)

    def deep() -> tf.Tensor:
        pixels = tf.cast(tf.io.decode_png(content, channels=3, dtype=tf.uint16), tf.float32)
        return tf.minimum(pixels / float(white_level), 1.0)

    is_deep = tf.equal(_byte(data, 24), 16)
    pixels = tf.cond(is_deep, deep, lambda: _unit(tf.io.decode_png(content, channels=3)))

    def goes_on(position: tf.Tensor) -> tf.Tensor:
        # As far as the pixels.
        ends = _has(data, position + 4, b"IDAT") | _has(data, position + 4, b"eXIf")
        return (position < tf.size(data)) & ~ends

    def step(position: tf.Tensor) -> tuple[tf.Tensor]:
        # Never back: lengths beyond 2³¹ are negative here.
        return (position + 12 + tf.maximum(_number(data, position, 4), 0),)

    (position,) = tf.while_loop(goes_on, step, (tf.constant(len(_PNG)),))
    return _turned(pixels, data, _has(data, position + 4, b"eXIf"), position + 8)


def _bmp(content: tf.Tensor) -> tf.Tensor:
    # The kernel ignores palettes, and refuses other depths in words that help nobody.
    data = _bytes(content)
    is_colour = _has(data, 0, b"BM") & tf.equal(_number(data, 28, 2, is_little=True), 24)
    check = tf.debugging.Assert(
        is_colour, ["Expected a PNG, JPEG or 24-bit BMP image. Received something else."]
    )
    with tf.control_dependencies([check]):
        return _unit(tf.io.decode_bmp(content, channels=3))


def _unit(pixels: tf.Tensor) -> tf.Tensor:
    return tf.cast(pixels, tf.float32) / 255.0


def _turned(pixels: tf.Tensor, data: tf.Tensor, has_exif: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """An image as it is meant to be seen; `start` is where EXIF's own header begins."""
    turn = tf.cond(has_exif, lambda: _orientation(data, start), lambda: 0)
    pixels = tf.cond(turn >= 5, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
    for axis, turns in ((1, (2, 3, 6, 7)), (0, (3, 4, 7, 8))):
        is_flipped = tf.reduce_any(tf.equal(turn, turns))
        pixels = tf.cond(
            is_flipped, lambda p=pixels, a=axis: tf.reverse(p, (a,)), lambda p=pixels: p
        )
    return pixels


def _orientation(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The tag of that name, () int32: 1 … 8, or 0 where there is none."""
    is_little = tf.equal(_byte(data, start), ord("I"))
    directory = start + _number(data, start + 4, 4, is_little)
    entries = directory + 2 + 12 * tf.range(_number(data, directory, 2, is_little))
    values = _number(data, entries + 8, 2, is_little)
    is_tag = tf.equal(_number(data, entries, 2, is_little), 0x0112)
    values = tf.where(is_tag & (values <= 8), values, 0)
    return tf.reduce_max(tf.concat([values, [0]], axis=0))


def _bytes(content: tf.Tensor) -> tf.Tensor:
    # One more, because nothing can be gathered from no bytes.
    return tf.io.decode_raw(tf.strings.join([content, b"\0"]), tf.uint8)


def _byte(data: tf.Tensor, position: tf.Tensor | int) -> tf.Tensor:
    """The bytes at some positions as int32; 0 outside."""
    is_inside = tf.less(position, tf.size(data)) & tf.greater_equal(position, 0)
    values = tf.gather(data, tf.where(is_inside, position, 0))
    return tf.where(is_inside, tf.cast(values, tf.int32), 0)


def _number(
    data: tf.Tensor, position: tf.Tensor | int, size: int, is_little: tf.Tensor | bool = False
) -> tf.Tensor:
    """The number of `size` bytes at some positions, the highest byte first or last."""
    parts = [_byte(data, position + index) for index in range(size)]
    big = sum(part * 256 ** (size - 1 - index) for index, part in enumerate(parts))
    little = sum(part * 256**index for index, part in enumerate(parts))
    return tf.where(is_little, little, big)


def _has(data: tf.Tensor, position: tf.Tensor | int, expected: bytes) -> tf.Tensor:
    """Whether some bytes stand at a position."""
    stored = _byte(data, position + tf.range(len(expected)))
    return tf.reduce_all(tf.equal(stored, list(expected)))
