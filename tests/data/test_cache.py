"""Decoded images in memory and on disk, and images brought to another size."""

from __future__ import annotations

import gc
import os

import cv2
import numpy as np
import pytest

from ssae_tf.config import DataConfig
from ssae_tf.data import cache, images
from ssae_tf.data.cache import ALIGNMENT, ImageCache, resize
from ssae_tf.data.images import to_unit
from ssae_tf.data.mvtec import Sample
from ssae_tf.errors import DataError

# Two of 8 bits, one of 16, all of different sizes.
SIZES = {np.uint8: [(10, 12), (9, 31)], np.uint16: [(11, 8)]}

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd")


@pytest.fixture
def written(tmp_path, rng):
    """Samples, and their pixels as RGB."""
    samples, pixels = [], []
    for dtype, sizes in SIZES.items():
        for size in sizes:
            pixels.append(rng.integers(0, np.iinfo(dtype).max, (*size, 3), dtype, endpoint=True))
            samples.append(Sample(tmp_path / f"{len(samples)}.png", "good"))
            assert cv2.imwrite(str(samples[-1].path), pixels[-1][..., ::-1])
    return samples, pixels


class TestContent:
    @pytest.mark.parametrize("location", ["memory", "disk"])
    @pytest.mark.parametrize("white_level", [65535, 1023])
    def test_images_as_decoded(self, written, location, white_level):
        samples, pixels = written
        found = ImageCache(samples, location=location, white_level=white_level)
        assert found.location == location
        assert found.samples == samples
        assert not found.skipped
        expected = [*pixels[:2], np.minimum(np.float32(pixels[2]) / white_level, 1)]
        for image, wanted in zip(found.images, expected, strict=True):
            assert image.dtype == wanted.dtype
            np.testing.assert_allclose(image, wanted, rtol=1e-6)

    @pytest.mark.parametrize("location", ["memory", "disk"])
    def test_resized(self, written, location):
        found = ImageCache(written[0], location=location)
        resized = found.resized(8, 16)
        assert resized.shape == (3, 8, 16, 3)
        # One of the images is of 16 bits.
        assert resized.dtype == np.float32
        for image, other in zip(found.images, resized, strict=True):
            expected = resize(np.array(image), 8, 16)
            if expected.dtype == np.uint8:
                expected = to_unit(expected)
            np.testing.assert_array_equal(other, expected)

    @pytest.mark.parametrize("location", ["memory", "disk"])
    @pytest.mark.parametrize("side", [7, 8])
    def test_images_of_one_size_are_one_array(self, tmp_path, rng, location, side):
        shape = (5, side, side, 3)
        expected = rng.integers(0, 256, shape, np.uint8)
        samples = [Sample(tmp_path / f"{k}.png", "good") for k in range(5)]
        for sample, image in zip(samples, expected, strict=True):
            assert cv2.imwrite(str(sample.path), image[..., ::-1])
        samples[2].path.write_bytes(b"no image")
        found = ImageCache(samples, location=location, skip_unreadable=True)
        assert isinstance(found.images, np.ndarray)
        assert found.images.ctypes.data % ALIGNMENT == 0
        assert found.images.flags.c_contiguous
        np.testing.assert_array_equal(found.images, expected[[0, 1, 3, 4]])
        # Not twice in memory.
        assert found.resized(side, side) is found.images
        other = found.resized(4, 4)
        assert (other.shape, other.dtype) == ((4, 4, 4, 3), np.uint8)
        assert other.ctypes.data % ALIGNMENT == 0

    def test_calls_back_for_every_file(self, written, tmp_path):
        samples, _ = written
        broken = Sample(tmp_path / "broken.png", "good")
        broken.path.write_bytes(b"")
        calls = []
        files = [samples[0], broken, *samples[1:]]
        ImageCache(files, skip_unreadable=True, on_image=lambda: calls.append(1))
        assert len(calls) == 4


class TestPlace:
    @pytest.mark.parametrize(("free", "place"), [(1 << 30, "memory"), (1 << 10, "disk")])
    def test_auto_takes_memory_where_the_images_fit(self, written, monkeypatch, free, place):
        monkeypatch.setattr(cache, "available_memory", lambda: free)
        assert ImageCache(written[0], location=DataConfig().cache).location == place

    def test_auto_takes_a_quarter(self, written, monkeypatch):
        # The first image stands for all: 3 · 10 · 12 · 3 bytes.
        for free, place in ((4 * 1080, "disk"), (4 * 1080 + 4, "memory")):
            monkeypatch.setattr(cache, "available_memory", lambda free=free: free)
            assert ImageCache(written[0]).location == place

    @needs_proc
    def test_the_file_has_no_name_and_goes_with_the_images(self, written, tmp_path, monkeypatch):
        folder = tmp_path / "temporary"
        folder.mkdir()
        monkeypatch.setattr(cache.tempfile, "tempdir", str(folder))
        found = ImageCache(written[0], location="disk")
        images, resized = found.images, found.resized(8, 8)
        assert not list(folder.iterdir())
        assert len(_open_files(folder)) == 2
        del found
        # Without the cache the images stay readable.
        assert sum(int(image.sum()) for image in [*images, *resized]) > 0
        del images, resized
        gc.collect()
        assert not _open_files(folder)

    @needs_proc
    def test_more_images_than_a_process_may_open_files(self, written):
        resource = pytest.importorskip("resource")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
        try:
            found = ImageCache(40 * written[0][:1], location="disk")
            found.resized(4, 4)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        np.testing.assert_array_equal(found.images[39], written[1][0])

    def test_a_full_disk(self, written, monkeypatch):
        def full(**kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(cache.tempfile, "TemporaryFile", full)
        with pytest.raises(DataError, match=r"\(No space left on device\).*TMPDIR"):
            ImageCache(written[0], location="disk")


def _open_files(folder):
    # Temporary files without a name show as "… (deleted)".
    paths = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    return [path for path in paths if path.startswith(str(folder))]


class TestUnusable:
    @pytest.fixture
    def damaged(self, written):
        written[0][0].path.write_bytes(b"no image")
        written[0][2].path.unlink()
        return written[0]

    def test_the_first_is_named(self, damaged):
        with pytest.raises(DataError, match=r"0\.png"):
            ImageCache(damaged)

    @pytest.mark.parametrize("location", ["auto", "disk"])
    def test_skipped_and_counted(self, damaged, written, location):
        found = ImageCache(damaged, skip_unreadable=True, location=location)
        assert found.samples == [damaged[1]]
        np.testing.assert_array_equal(found.images[0], written[1][1])
        assert ["0.png" in sentence for sentence in found.skipped] == [True, False]
        assert len(found.skipped) == 2

    def test_hostile_files_are_skipped_like_others(self, written, tmp_path):
        fifo = tmp_path / "pipe.png"
        os.mkfifo(fifo)
        jpeg = tmp_path / "damaged.jpg"
        data = cv2.imencode(".jpg", np.tile(written[1][0], (9, 9, 1)))[1].tobytes()
        jpeg.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
        hostile = [Sample(fifo, "good"), Sample(jpeg, "good")]
        found = ImageCache([*hostile, *written[0]], skip_unreadable=True)
        assert found.samples == written[0]
        assert ["pipe" in found.skipped[0], "damaged (" in found.skipped[1]] == [True, True]
        for sample in hostile:
            with pytest.raises(DataError, match=sample.path.name):
                ImageCache([sample])

    def test_none_left(self, damaged):
        with pytest.raises(DataError, match=r"None of 1 images can be read: .*0\.png"):
            ImageCache(damaged[:1], skip_unreadable=True)

    def test_smaller_than_the_network_needs(self, written):
        expected = r"1\.png: 9×31 pixels, the network needs at least 10×10"
        with pytest.raises(DataError, match=expected):
            ImageCache(written[0], smallest_side=10)
        assert len(ImageCache(written[0], smallest_side=8).images) == 3
        found = ImageCache(written[0], smallest_side=10, skip_unreadable=True)
        assert found.samples == written[0][:1]


class TestResize:
    def test_its_own_size_is_the_image_itself(self, rng):
        image = rng.random((5, 7, 3), dtype=np.float32)
        assert resize(image, 5, 7) is image

    def test_shrinking_averages_areas(self, rng):
        image = rng.random((8, 12, 3), dtype=np.float32)
        expected = image.reshape(4, 2, 4, 3, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(resize(image, 4, 4), expected, atol=1e-6)

    def test_growing_is_linear(self):
        ramp = np.tile(np.arange(4, dtype=np.float32), (4, 1))
        grown = resize(ramp, 8, 8)
        np.testing.assert_allclose(grown[3], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], atol=1e-5)

    @pytest.mark.parametrize("axis", [0, 1])
    def test_nothing_aliases_where_only_one_side_shrinks(self, axis):
        # Stripes of one pixel: any sampling but averaging keeps some of them.
        stripes = np.zeros((64, 4), np.float32)
        stripes[::2] = 1.0
        image, size = (stripes, (4, 8)) if axis == 0 else (stripes.T, (8, 4))
        np.testing.assert_allclose(resize(image, *size), 0.5, atol=1e-6)

    @pytest.mark.parametrize("size", [(3, 5), (20, 30), (3, 30), (10, 5)])
    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    def test_dtype_shape_and_level_stay(self, rng, dtype, size):
        image = rng.integers(0, 2, (10, 12, 3)).astype(dtype)
        found = resize(image * dtype(100), *size)
        assert found.dtype == dtype
        assert found.shape == (*size, 3)
        assert found.min() >= 0
        assert found.max() <= 100 + 1e-4
        assert found.mean() == pytest.approx(100 * image.mean(), abs=8)
        assert resize(image[..., 0], *size).shape == size

    def test_colours_stay_apart(self):
        image = np.zeros((4, 4, 3), np.uint8)
        image[..., 1] = 200
        np.testing.assert_array_equal(resize(image, 2, 6)[..., 1], 200)
        assert not resize(image, 2, 6)[..., [0, 2]].any()


def test_images_are_shrunk_as_they_come(tmp_path, rng):
    """No side grows, and one that is smaller stays; the files' own sizes are kept beside."""
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((40, 64), (8, 30))]
    samples = []
    for index, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image[..., ::-1])
        samples.append(Sample(tmp_path / f"{index}.png", "good"))
    found = ImageCache(samples, largest=(16, 16))
    assert found.sizes == [(40, 64), (8, 30)]
    assert [image.shape for image in found.images] == [(16, 16, 3), (8, 16, 3)]
    np.testing.assert_array_equal(found.images[0], resize(images[0], 16, 16))
    whole = ImageCache(samples)
    assert whole.sizes == found.sizes
    for shrunk, own in zip(found.resized(16, 16), whole.resized(16, 16), strict=True):
        np.testing.assert_array_equal(shrunk, own)


class TestDecodedOnce:
    @pytest.fixture
    def paths(self, tmp_path, rng):
        for name in ("a.png", "b.png"):
            images.write_png(tmp_path / name, rng.integers(0, 256, (12, 20, 3), np.uint8))
        return [tmp_path / "a.png", tmp_path / "b.png"]

    def test_what_is_read_again_in_the_block_is_what_it_was(self, paths):
        path, _ = paths
        with images.decoded_once():
            image, mask = images.read_image(path), images.read_mask(path)
            images.write_png(path, np.zeros((5, 7), np.uint8))
            np.testing.assert_array_equal(images.read_image(path), image)
            np.testing.assert_array_equal(images.read_mask(path), mask)
            assert images.image_size(path) == (12, 20)
        assert images.image_size(path) == (5, 7)

    def test_no_more_is_kept_than_memory_allows(self, paths, monkeypatch):
        monkeypatch.setattr(images, "available_memory", lambda: 16 * 12 * 20 * 3)
        with images.decoded_once():
            for path in paths:
                images.image_size(path)
                path.unlink()
            assert images.image_size(paths[0]) == (12, 20)
            with pytest.raises(DataError, match="can't be read"):
                images.image_size(paths[1])

    def test_alpha_is_told_of_whoever_asked_first(self, tmp_path, rng, caplog):
        path = tmp_path / "a.png"
        assert cv2.imwrite(str(path), rng.integers(0, 256, (4, 4, 4), np.uint8))
        with images.decoded_once():
            images.image_size(path)
            assert not caplog.records
            images.read_image(path)
        assert "the alpha channel is left out" in caplog.text
