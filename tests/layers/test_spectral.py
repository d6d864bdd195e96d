"""ISNDense against NumPy's SVD, a float64 power iteration and finite differences."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.spectral import ISNDense, leading_singular_triplet


def _layer(fan_in, units, normalization="isn"):
    layer = ISNDense(units, normalization=normalization)
    layer.build((None, fan_in))
    return layer


def _train(layer, fan_in, steps):
    """Steps of Adam towards random targets, while the kernel also grows."""
    optimizer = tf.keras.optimizers.Adam(0.002)
    x = tf.random.normal((64, fan_in))
    target = tf.random.normal((64, layer.units), stddev=3.0)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(layer(x, training=True) - target))
        variables = layer.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        layer.kernel.assign(layer.kernel * 1.005)


def _applied_norm(layer):
    return np.linalg.svd(layer.applied_kernel().numpy().astype(np.float64), compute_uv=False)[0]


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (1, 4), (4, 1), (96, 384)])
def test_leading_singular_triplet_is_that_of_the_svd(shape):
    matrix = np.random.normal(size=shape)
    left, sigma, right = leading_singular_triplet(matrix)
    u, s, vt = np.linalg.svd(matrix)
    np.testing.assert_allclose(sigma, s[0], rtol=1e-12)
    np.testing.assert_allclose(abs(left @ u[:, 0]), 1.0, rtol=1e-10)
    np.testing.assert_allclose(abs(right @ vt[0]), 1.0, rtol=1e-10)
    np.testing.assert_allclose(left @ matrix @ right, s[0], rtol=1e-12)


@pytest.mark.parametrize("shape", [(96, 384), (384, 96), (64, 64)])
def test_isn_is_the_identity_at_initialisation(shape):
    layer = _layer(*shape)
    equalized = layer.kernel.numpy() / math.sqrt(shape[0])
    for training in (False, True, True):
        applied = layer.applied_kernel(training).numpy()
        np.testing.assert_allclose(applied, equalized, rtol=2e-6, atol=0)


@pytest.mark.parametrize("shape", [(96, 384), (384, 96)])
def test_spectral_norm_stays_at_its_initial_value(shape):
    layer = _layer(*shape)
    initial = np.linalg.svd(layer.kernel.numpy().astype(np.float64) / math.sqrt(shape[0]), compute_uv=False)[0]
    np.testing.assert_allclose(layer.initial_sigma.numpy(), initial, rtol=1e-6)
    before = layer.kernel.numpy()
    _train(layer, shape[0], steps=100)
    raw = np.linalg.svd(layer.kernel.numpy() / math.sqrt(shape[0]), compute_uv=False)[0]
    assert raw > 1.3 * initial, "the training was meant to raise the spectral norm of the kernel itself"
    assert np.abs(layer.kernel.numpy() - before).max() > 0.2
    # One power iteration a step follows the moving kernel to two percent; once it rests, exactly.
    np.testing.assert_allclose(_applied_norm(layer), initial, rtol=2e-2)
    for _ in range(200):
        layer.applied_kernel(training=True)
    np.testing.assert_allclose(_applied_norm(layer), initial, rtol=1e-4)
    np.testing.assert_allclose(layer.initial_sigma.numpy(), initial, rtol=1e-6)


def test_plain_sn_has_norm_one_and_none_is_the_equalised_kernel():
    layer = _layer(32, 16, "sn")
    _train(layer, 32, steps=30)
    np.testing.assert_allclose(_applied_norm(layer), 1.0, rtol=1e-2)
    layer = _layer(32, 16, "none")
    np.testing.assert_allclose(layer.applied_kernel().numpy(), layer.kernel.numpy() / 32**0.5, rtol=1e-6)
    assert layer.non_trainable_weights == []


def test_power_iteration_follows_numpy_and_converges():
    """From a wrong u: each call equals one iteration in float64, and the estimate rises to the SVD's value."""
    layer = _layer(12, 7)
    kernel = layer.kernel.numpy().astype(np.float64)
    u = np.random.normal(size=7)
    u /= np.linalg.norm(u)
    layer.u.assign(u[None].astype(np.float32))
    estimates = []
    for _ in range(60):
        v = kernel @ u
        v /= np.linalg.norm(v)
        u = kernel.T @ v
        sigma = np.linalg.norm(u)
        u /= sigma
        estimate, _ = layer.power_iteration()
        layer.applied_kernel(training=True)
        np.testing.assert_allclose(estimate.numpy(), sigma, rtol=1e-5)
        np.testing.assert_allclose(layer.u.numpy()[0], u, atol=1e-5)
        estimates.append(sigma)
    assert np.all(np.diff(estimates) > -1e-9)
    np.testing.assert_allclose(estimates[-1], np.linalg.svd(kernel, compute_uv=False)[0], rtol=1e-4)


def test_u_moves_in_training_only():
    layer = _layer(8, 6)
    layer.kernel.assign(tf.random.normal((8, 6)))
    before = layer.u.numpy()
    layer(tf.random.normal((2, 8)))
    np.testing.assert_array_equal(layer.u.numpy(), before)
    layer(tf.random.normal((2, 8)), training=True)
    assert np.abs(layer.u.numpy() - before).max() > 1e-3


def test_gradient_flows_through_sigma_but_not_through_the_vectors():
    """Against finite differences of the formula with u and v held, in float64."""
    layer = _layer(6, 5)
    layer.kernel.assign(layer.kernel + 0.3 * tf.random.normal((6, 5)))
    kernel = layer.kernel.numpy().astype(np.float64)
    u = layer.u.numpy()[0].astype(np.float64)
    x = np.random.normal(size=(3, 6)).astype(np.float32)
    weights = np.random.normal(size=(3, 5))
    v = kernel @ u
    v /= np.linalg.norm(v)
    u = kernel.T @ v
    u /= np.linalg.norm(u)

    def loss(kernel):
        return np.sum(weights * (x @ (float(layer.initial_sigma) * kernel / (v @ kernel @ u))))

    expected = np.zeros_like(kernel)
    for index in np.ndindex(*kernel.shape):
        step = np.zeros_like(kernel)
        step[index] = 1e-6
        expected[index] = (loss(kernel + step) - loss(kernel - step)) / 2e-6
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(weights.astype(np.float32) * layer(x))
    gradient = tape.gradient(value, layer.kernel).numpy()
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)
    # W_ISN does not depend on the scale of W, so that the gradient has no part along W.
    np.testing.assert_allclose(np.sum(gradient * kernel), 0.0, atol=1e-4)


def test_state_is_saved_and_restored(tmp_path):
    layer = _layer(10, 4)
    _train(layer, 10, steps=3)
    path = tf.train.Checkpoint(layer=layer).save(str(tmp_path / "checkpoint"))
    other = _layer(10, 4)
    tf.train.Checkpoint(layer=other).restore(path).assert_consumed()
    x = tf.random.normal((3, 10))
    np.testing.assert_array_equal(other(x).numpy(), layer(x).numpy())
    np.testing.assert_array_equal(other.u.numpy(), layer.u.numpy())
    np.testing.assert_array_equal(other.initial_sigma.numpy(), layer.initial_sigma.numpy())


def test_refuses_senseless_arguments():
    with pytest.raises(ValueError, match="units must be at least 1, got 0"):
        ISNDense(0)
    with pytest.raises(ValueError, match="normalization must be one of"):
        ISNDense(1, normalization="spectral")
