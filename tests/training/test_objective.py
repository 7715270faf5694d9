"""Equations (1), (2) and (3): by hand, against NumPy, and where regions are empty."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.errors import InputError
from ssae_tf.training.objective import (
    DEFAULT_WEIGHT,
    gate_error,
    objective,
    region_errors,
    structural_similarity,
)

CASES = [(equation, norm) for equation in (1, 2, 3) for norm in ("l2", "l2_squared", "l1")]


def all_cases(reconstruction, x, x_hat, mask, weight):
    """Losses (B,) of every case, and the gradients of their sums by the reconstruction."""
    results = []
    for equation, norm in CASES:
        with tf.GradientTape() as tape:
            tape.watch(reconstruction)
            loss = objective(
                reconstruction, x, x_hat, mask, equation=equation, weight=weight, norm=norm
            )
        results.append((loss, tape.gradient(loss, reconstruction)))
    return results


MODES = {"eager": all_cases, "jit": tf.function(all_cases, jit_compile=True, autograph=False)}


@pytest.fixture(params=MODES)
def run(request):
    """Case -> loss and gradient, as NumPy."""

    def evaluate(reconstruction, x, x_hat, mask, weight=0.5):
        arrays = [tf.constant(a, tf.float32) for a in (reconstruction, x, x_hat, mask)]
        results = MODES[request.param](*arrays, tf.constant(weight))
        return {
            case: (loss.numpy(), gradient.numpy())
            for case, (loss, gradient) in zip(CASES, results, strict=True)
        }

    return evaluate


def reference(reconstruction, x, x_hat, mask, equation, norm, weight):
    """The equations and their gradients, image by image, in float64."""
    losses, gradients = [], []
    for f, clean, hat, m in zip(reconstruction, x, x_hat, mask, strict=True):
        error = f.astype(np.float64) - clean
        regions = (1.0 - m, np.abs(hat - clean) if equation == 3 else m)
        factors = (weight, (1.0 - weight) * (1.0 if equation == 1 else -1.0))
        loss, gradient = 0.0, np.zeros(error.shape)
        for region, factor in zip(regions, factors, strict=True):
            size = np.abs(region).sum()
            length = np.linalg.norm(region * error)
            if size == 0 or length == 0:
                continue
            if norm == "l2":
                loss += factor * length / size
                gradient += factor * region**2 * error / (length * size)
            elif norm == "l1":
                loss += factor * np.abs(region * error).sum() / size
                gradient += factor * region * np.sign(error) / size
            else:
                loss += factor * length**2 / size
                gradient += factor * 2.0 * region**2 * error / size
        losses.append(loss)
        gradients.append(gradient)
    return np.array(losses), np.array(gradients)


def random_batch(rng, shape=(4, 5, 6, 3)):
    x, reconstruction, other = (rng.random(shape, np.float32) for _ in range(3))
    mask = np.repeat(rng.random((*shape[:3], 1)) < 0.3, shape[3], axis=3).astype(np.float32)
    return reconstruction, x, np.where(mask > 0, other, x), mask


class TestByHand:
    # Errors of 0.3 and 0.4 in the left column, −0.6 and 0.8 in the right one, which M marks.
    ERROR = np.array([[0.3, -0.6], [0.4, 0.8]])
    X = np.array([[0.2, 0.9], [0.1, 0.1]])
    MASK = np.array([[0.0, 1.0], [0.0, 1.0]])
    X_HAT = X + np.array([[0.0, -0.5], [0.0, 0.25]])

    # Outside, ‖·‖₂ = 0.5 over 2 pixels; inside 1 over 2; |X̂ − X| ⊙ error = (0.3, 0.2) with
    # ‖·‖₂ = √0.13, over ‖X̂ − X‖₁ = 0.75.
    LOSSES = {
        (1, "l2"): 0.5 * 0.25 + 0.5 * 0.5,
        (2, "l2"): 0.5 * 0.25 - 0.5 * 0.5,
        (3, "l2"): 0.5 * 0.25 - 0.5 * 0.13**0.5 / 0.75,
        (1, "l2_squared"): 0.5 * 0.125 + 0.5 * 0.5,
        (2, "l2_squared"): 0.5 * 0.125 - 0.5 * 0.5,
        (3, "l2_squared"): 0.5 * 0.125 - 0.5 * 0.13 / 0.75,
        (1, "l1"): 0.5 * 0.35 + 0.5 * 0.7,
        (2, "l1"): 0.5 * 0.35 - 0.5 * 0.7,
        (3, "l1"): 0.5 * 0.35 - 0.5 * 0.5 / 0.75,
    }
    # λ R² e / (‖R e‖₂ ‖R‖₁): 0.5 · 0.3 / (0.5 · 2) and so on. Of the squares 2 λ R² e / ‖R‖₁,
    # of the absolute errors λ R sign(e) / ‖R‖₁.
    OUTSIDE = {"l2": (0.15, 0.2), "l2_squared": (0.15, 0.2), "l1": (0.25, 0.25)}
    INSIDE = {
        (1, "l2"): (-0.15, 0.2),
        (2, "l2"): (0.15, -0.2),
        (3, "l2"): (0.075 / (0.75 * 0.13**0.5), -0.025 / (0.75 * 0.13**0.5)),
        (1, "l2_squared"): (-0.3, 0.4),
        (2, "l2_squared"): (0.3, -0.4),
        (3, "l2_squared"): (0.2, -0.05 / 0.75),
        (1, "l1"): (-0.25, 0.25),
        (2, "l1"): (0.25, -0.25),
        (3, "l1"): (0.25 / 0.75, -0.125 / 0.75),
    }

    def test_values_and_gradients(self, run):
        x, x_hat, mask = (a[None, :, :, None] for a in (self.X, self.X_HAT, self.MASK))
        for case, (loss, gradient) in run(x + self.ERROR[None, :, :, None], x, x_hat, mask).items():
            assert loss.shape == (1,)
            np.testing.assert_allclose(loss[0], self.LOSSES[case], rtol=1e-5, err_msg=case)
            expected = np.stack([self.OUTSIDE[case[1]], self.INSIDE[case]], axis=1)
            np.testing.assert_allclose(gradient[0, ..., 0], expected, rtol=1e-5, err_msg=case)

    def test_sizes_count_channels(self, run):
        # Two pixels of three channels, all errors 0.1: ‖·‖₂ = 0.1 √3 over 3 in either region.
        x = np.full((1, 1, 2, 3), 0.5)
        mask = np.array([0.0, 1.0])[None, None, :, None] * np.ones(3)
        results = run(x + 0.1, x, x + 0.2 * mask, mask, weight=0.25)
        term = 0.1 / 3**0.5
        assert results[1, "l2"][0][0] == pytest.approx(term, rel=1e-5)
        assert results[2, "l2"][0][0] == pytest.approx(-0.5 * term, rel=1e-5)
        # 0.2 · 0.1 √3 over 0.6.
        assert results[3, "l2"][0][0] == pytest.approx(-0.5 * term, rel=1e-5)
        assert results[1, "l2_squared"][0][0] == pytest.approx(0.01, rel=1e-5)
        assert results[3, "l2_squared"][0][0] == pytest.approx(0.0025 - 0.75 * 0.002, rel=1e-4)


class TestReference:
    @pytest.mark.parametrize("weight", [0.5, 0.9])
    def test_is_numpys(self, run, rng, weight):
        batch = random_batch(rng)
        for case, (loss, gradient) in run(*batch, weight=weight).items():
            expected_loss, expected_gradient = reference(*batch, *case, weight)
            np.testing.assert_allclose(loss, expected_loss, rtol=1e-5, atol=1e-7, err_msg=case)
            np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-7)

    @pytest.mark.parametrize("equation", [1, 2, 3])
    def test_default_weight(self, rng, equation):
        batch = random_batch(rng)
        loss = objective(*batch, equation=equation)
        expected, _ = reference(*batch, equation, "l2", DEFAULT_WEIGHT[equation])
        np.testing.assert_allclose(loss, expected, rtol=1e-5)

    def test_defaults_are_equation_1_with_half_and_the_printed_norm(self, rng):
        batch = random_batch(rng)
        np.testing.assert_array_equal(
            objective(*batch), objective(*batch, equation=1, weight=0.5, norm="l2")
        )

    def test_the_weight_is_that_of_the_uncorrupted_region(self, rng):
        reconstruction, x, x_hat, mask = random_batch(rng)
        only_outside = objective(reconstruction, x, x_hat, mask, weight=1.0)
        mended = np.where(mask > 0, x, reconstruction)
        np.testing.assert_allclose(only_outside, objective(mended, x, x_hat, mask, weight=1.0))
        assert (objective(mended, x, x_hat, mask, weight=0.0).numpy() == 0).all()

    def test_only_equation_3_reads_x_hat(self, rng):
        reconstruction, x, x_hat, mask = random_batch(rng)
        for equation in (1, 2, 3):
            ours = objective(reconstruction, x, x_hat, mask, equation=equation).numpy()
            other = objective(reconstruction, x, (x + x_hat) / 2 + 0.1, mask, equation=equation)
            assert (ours == other.numpy()).all() == (equation != 3)


class TestEmptyRegions:
    def test_add_nothing_to_value_and_gradient(self, run, rng):
        """Four images: M empty, M full, a perfect F(X̂), one perfect outside M."""
        reconstruction, x, x_hat, mask = random_batch(rng)
        mask[0], mask[1] = 0.0, 1.0
        x_hat[0] = x[0]
        reconstruction[2] = x[2]
        reconstruction[3] = np.where(mask[3] > 0, reconstruction[3], x[3])
        batch = (reconstruction, x, x_hat, mask)
        for case, (loss, gradient) in run(*batch).items():
            assert np.isfinite(loss).all()
            assert np.isfinite(gradient).all()
            expected_loss, expected_gradient = reference(*batch, *case, 0.5)
            np.testing.assert_allclose(loss, expected_loss, rtol=1e-5, atol=1e-7, err_msg=case)
            np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-7)
            assert (gradient[2] == 0).all()
            assert loss[2] == 0
            assert (gradient[3][mask[3] == 0] == 0).all()

    def test_tiny_errors_keep_the_slope_of_the_norm(self, run):
        # ‖·‖₂ has slope 1 however near 0 the error is: 0.5 · 1 / 2.
        x = np.zeros((1, 2, 2, 1))
        mask = np.array([0.0, 0.0, 1.0, 1.0]).reshape(x.shape)
        error = np.array([1e-12, 0.0, 0.0, 0.0]).reshape(x.shape)
        _, gradient = run(x + error, x, x + mask, mask)[1, "l2"]
        np.testing.assert_allclose(gradient.ravel(), [0.25, 0.0, 0.0, 0.0], rtol=1e-5)


class TestNotANumber:
    def test_passes_on(self, run, rng):
        reconstruction, *others = random_batch(rng)
        reconstruction[0, 0, 0, 0] = np.nan
        for case, (loss, _) in run(reconstruction, *others).items():
            assert np.isnan(loss[0]), case
            assert np.isfinite(loss[1:]).all(), case


class TestArguments:
    @pytest.mark.parametrize("equation", [0, 4, "1", None])
    def test_unknown_equation(self, rng, equation):
        with pytest.raises(InputError, match=rf"Expected 1, 2 or 3\. Received: .*{equation!r}"):
            objective(*random_batch(rng), equation=equation)

    def test_unknown_norm(self, rng):
        with pytest.raises(InputError, match=r"Expected 'l2', .* or 'ssim'\. Received: .*'l3'"):
            objective(*random_batch(rng), norm="l3")


class TestRegionErrors:
    def test_are_means_over_the_batch(self, rng):
        reconstruction, x, _, mask = random_batch(rng)
        outside, inside = region_errors(reconstruction, x, mask)
        error = np.abs(reconstruction - x)
        assert float(outside) == pytest.approx(error[mask == 0].mean(), rel=1e-5)
        assert float(inside) == pytest.approx(error[mask > 0].mean(), rel=1e-5)

    def test_of_empty_regions_are_zero(self, rng):
        reconstruction, x, _, mask = random_batch(rng)
        assert float(region_errors(reconstruction, x, np.zeros_like(mask))[1]) == 0.0
        assert float(region_errors(reconstruction, x, np.ones_like(mask))[0]) == 0.0


def ssim_reference(a, b):
    """SSIM of one channel in float64, with SciPy's filter."""

    def smooth(values):
        return ndimage.gaussian_filter(values, 1.5, mode="reflect", truncate=4.0)

    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    covariance = smooth(a * b) - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
    return numerator / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))


class TestStructuralSimilarity:
    def test_against_scipy(self, rng):
        a, b = (rng.random((2, 20, 31, 3), np.float32) for _ in "ab")
        b[0] = 0.7 * a[0] + 0.3 * b[0]
        found = structural_similarity(tf.constant(a), tf.constant(b)).numpy()
        for image in range(2):
            for channel in range(3):
                expected = ssim_reference(a[image, ..., channel], b[image, ..., channel])
                np.testing.assert_allclose(found[image, ..., channel], expected, atol=1e-4)

    def test_equal_images(self, rng):
        a = tf.constant(rng.random((1, 16, 16, 3), np.float32))
        np.testing.assert_allclose(structural_similarity(a, a), 1.0, atol=1e-6)
        flat = tf.fill((1, 16, 16, 1), 0.5)
        np.testing.assert_allclose(structural_similarity(flat, flat), 1.0, atol=1e-6)

    def test_as_the_norm_of_an_objective(self, rng):
        f, x, x_hat, mask = (tf.constant(part) for part in random_batch(rng, (3, 24, 16, 3)))
        dissimilarity = (1.0 - structural_similarity(f, x)).numpy()
        outside, inside = (
            (dissimilarity * region).sum((1, 2, 3)) / region.sum((1, 2, 3))
            for region in (1.0 - mask.numpy(), mask.numpy())
        )
        loss = objective(f, x, x_hat, mask, weight=0.3, norm="ssim")
        np.testing.assert_allclose(loss, 0.3 * outside + 0.7 * inside, rtol=1e-4)

    def test_gradients_are_finite_for_flat_images_compiled_too(self):
        x = tf.fill((1, 16, 16, 3), 0.5)
        mask = tf.zeros_like(x)

        def gradient(f):
            with tf.GradientTape() as tape:
                tape.watch(f)
                loss = objective(f, x, x, mask, norm="ssim")
            return tape.gradient(loss, f)

        for f in (x, x + 0.1):
            for run in (gradient, tf.function(gradient, jit_compile=True)):
                assert np.isfinite(run(f)).all()


class TestGateError:
    def test_by_hand(self):
        gate = tf.reshape(tf.constant([0.25, 0.5, 0.8, 0.1]), (1, 2, 2, 1))
        mask = tf.repeat(tf.reshape(tf.constant([1.0, 0.0, 0.0, 0.0]), (1, 2, 2, 1)), 3, axis=-1)
        expected = -3.0 * np.mean(np.log([0.25, 0.5, 0.2, 0.9]))
        np.testing.assert_allclose(gate_error(gate, mask), [expected], rtol=1e-5)

    def test_pixels_count_alike_inside_and_outside(self):
        mask = np.zeros((1, 10, 10, 3), np.float32)
        mask[0, 3, 4] = 1.0
        gate = np.where(mask[..., :1] > 0, 0.25, 0.5).astype(np.float32)
        expected = 3.0 * (0.99 * np.log(2.0) + 0.01 * np.log(4.0))
        np.testing.assert_allclose(gate_error(gate, mask), [expected], rtol=1e-5)

    def test_of_the_mask_itself_is_zero(self, rng):
        mask = np.repeat(rng.integers(0, 2, (3, 5, 6, 1)), 3, axis=-1).astype(np.float32)
        np.testing.assert_array_equal(gate_error(tf.constant(mask[..., :1]), mask), np.zeros(3))

    def test_is_of_each_image_by_itself(self, rng):
        gate = rng.uniform(0.01, 0.99, (3, 5, 6, 1)).astype(np.float32)
        mask = np.repeat(rng.integers(0, 2, (3, 5, 6, 1)), 3, axis=-1).astype(np.float32)
        found = gate_error(gate, mask)
        for k in range(3):
            inside = mask[k, ..., :1] > 0
            inner, outer = np.log(gate[k][inside]), np.log(1.0 - gate[k][~inside])
            expected = -3.0 * (inner.sum() + outer.sum()) / inside.size
            assert float(found[k]) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("level", [0.0, 1.0])
    def test_of_an_image_that_is_all_one_region(self, level):
        gate, mask = tf.fill((2, 4, 4, 1), 0.25), tf.fill((2, 4, 4, 3), level)
        expected = -3.0 * np.log(0.25 if level else 0.75)
        np.testing.assert_allclose(gate_error(gate, mask), 2 * [expected], 1e-5)

    @pytest.mark.parametrize("jit", [False, True])
    def test_certain_errors_have_finite_values_and_slopes(self, jit):
        @tf.function(jit_compile=jit)
        def slope(gate, mask):
            with tf.GradientTape() as tape:
                tape.watch(gate)
                error = gate_error(gate, mask)
            return error, tape.gradient(error, gate)

        mask = tf.repeat(tf.reshape(tf.constant([1.0, 0.0, 1.0, 0.0]), (1, 2, 2, 1)), 3, axis=-1)
        gate = tf.reshape(tf.constant([0.0, 1.0, 0.5, 0.8]), (1, 2, 2, 1))
        error, gradient = slope(gate, mask)
        worst = np.log(1e6)
        expected = 0.75 * (2.0 * worst + np.log(2.0) + np.log(5.0))
        np.testing.assert_allclose(error, [expected], rtol=1e-5)
        # ∓ 3 / likelihood, over four pixels; none where the logarithm is cut off.
        np.testing.assert_allclose(
            gradient[0, ..., 0], [[0.0, 0.0], [-0.75 / 0.5, 0.75 / 0.2]], rtol=1e-5
        )

    @pytest.mark.parametrize("jit", [False, True])
    @pytest.mark.parametrize("level", [0.0, 1.0])
    def test_slopes_are_finite_where_a_region_has_no_pixels(self, level, jit):
        @tf.function(jit_compile=jit)
        def slope(gate):
            with tf.GradientTape() as tape:
                tape.watch(gate)
                error = gate_error(gate, tf.fill((1, 1, 4, 3), level))
            return tape.gradient(error, gate)

        gradient = slope(tf.reshape(tf.constant([0.0, 0.5, 0.75, 1.0]), (1, 1, 4, 1))).numpy()
        assert np.isfinite(gradient).all()
        sign = -1.0 if level else 1.0
        assert gradient[0, 0, 1, 0] == pytest.approx(3.0 * sign / (4 * 0.5), rel=1e-5)

    def test_what_is_no_number_shows(self):
        """Under XLA it may not (TensorFlow 2.15 clips it); then the errors of F(X) show it."""
        gate = tf.constant([[[[np.nan], [0.5]]], [[[0.5], [0.5]]]])
        found = tf.function(gate_error)(gate, tf.zeros((2, 1, 2, 3)))
        assert np.isnan(found[0])
        assert np.isfinite(found[1])
