"""ISNDense and ISNConv2D against NumPy's SVD, a float64 power iteration and finite differences."""

import math

import numpy as np
import pytest
import tensorflow as tf
from reference.comparison import assert_close, converge_power_iterations, float64_layers
from reference.layers import largest_singular_value, spectral_norm_step
from reference.resnet import convolution

from vitgan_tf.layers.spectral import ISNConv2D, ISNDense, leading_singular_triplet, move_power_iterations


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
            loss = tf.reduce_mean(tf.square(layer(x) - target))
        move_power_iterations([layer])
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
    for _ in range(3):
        applied = layer.applied_kernel().numpy()
        move_power_iterations([layer])
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
        move_power_iterations([layer])
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
        move_power_iterations([layer])
        np.testing.assert_allclose(estimate.numpy(), sigma, rtol=1e-5)
        np.testing.assert_allclose(layer.u.numpy()[0], u, atol=1e-5)
        estimates.append(sigma)
    assert np.all(np.diff(estimates) > -1e-9)
    np.testing.assert_allclose(estimates[-1], np.linalg.svd(kernel, compute_uv=False)[0], rtol=1e-4)


def _as_tf32(values):
    """Values with 10 bits of mantissa, rounded to nearest."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def test_power_iterations_do_not_suffer_from_tensorfloat32(monkeypatch):
    """With factors of ten bits, summed in float32 as on a GPU, sigma is that of float64, step after step."""
    layer, random = _layer(96, 48), np.random.RandomState(0)
    u, product, errors = layer.u.numpy()[0], tf.matmul, []

    def rounded_product(a, b, **options):
        return product(*(tf.numpy_function(_as_tf32, [x], tf.float32) for x in (a, b)), **options)

    for _ in range(300):
        layer.kernel.assign_add(0.02 * random.normal(size=(96, 48)).astype(np.float32))
        with monkeypatch.context() as patch:
            patch.setattr(tf, "matmul", rounded_product)
            estimate = layer.power_iteration()[0].numpy()
            move_power_iterations([layer])
        sigma, u = spectral_norm_step(layer.kernel.numpy(), u)
        errors.append(estimate / sigma - 1.0)
    assert 1e-6 < np.abs(errors).max() < 2e-4


def test_u_stays_in_a_call():
    layer = _layer(8, 6)
    layer.kernel.assign(tf.random.normal((8, 6)))
    before = layer.u.numpy()
    layer(tf.random.normal((2, 8)))
    np.testing.assert_array_equal(layer.u.numpy(), before)
    move_power_iterations([layer])
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
    with pytest.raises(ValueError, match="kernel_size must be at least 1, got 0"):
        ISNConv2D(1, kernel_size=0)
    with pytest.raises(ValueError, match="normalization must be one of"):
        ISNConv2D(1, normalization="spectral")


# ISNConv2D. Images are not square, and features neither as many as units nor as rows.


def _images(features=3):
    return np.random.normal(size=(2, 5, 7, features)).astype(np.float32)


def _convolution_layer(kernel_size, normalization, features=3, units=4):
    layer = ISNConv2D(units, kernel_size, normalization=normalization)
    layer.build((None, None, None, features))
    layer.bias.assign(np.random.normal(size=units))
    return layer


def _expected(layer, images, kernel):
    """The convolution with this matrix, plus the bias."""
    size = layer.kernel_size
    return convolution(images, kernel.reshape(size, size, images.shape[-1], -1)) + layer.bias.numpy()


def _float64(variable):
    return variable.numpy().astype(np.float64)


@pytest.mark.parametrize("normalization", ["isn", "none"])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_convolution_is_the_equalised_one_at_initialisation(kernel_size, normalization):
    layer, images = _convolution_layer(kernel_size, normalization), _images()
    assert layer.kernel.shape == (kernel_size**2 * 3, 4)
    expected = _expected(layer, images, _float64(layer.kernel) / math.sqrt(kernel_size**2 * 3))
    for _ in range(3):
        assert_close(layer(images), expected)
        if normalization != "none":
            move_power_iterations([layer])


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_convolution_under_sn_has_a_kernel_of_norm_one(kernel_size):
    layer, images = _convolution_layer(kernel_size, "sn"), _images()
    np.testing.assert_allclose(largest_singular_value(layer.applied_kernel()), 1.0, rtol=1e-6)
    kernel = _float64(layer.kernel)
    assert_close(layer(images), _expected(layer, images, kernel / largest_singular_value(kernel)))


@pytest.mark.parametrize("normalization", ["isn", "sn"])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_power_iterations_of_a_convolution_converge_to_a_changed_kernel(kernel_size, normalization):
    """Every call applies one iteration from the stored u; in the end sigma is that of the SVD."""
    layer, images = _convolution_layer(kernel_size, normalization), _images()
    initial_sigma = 1.0
    if normalization == "isn":
        initial_sigma = largest_singular_value(layer.kernel) / math.sqrt(kernel_size**2 * 3)
    layer.kernel.assign(3.0 * tf.random.normal(layer.kernel.shape))
    kernel, u = _float64(layer.kernel), _float64(layer.u)[0]
    limit = _expected(layer, images, initial_sigma * kernel / largest_singular_value(kernel))
    errors = []
    for call in range(150):
        sigma, u = spectral_norm_step(kernel, u)
        outputs = layer(images).numpy()
        move_power_iterations([layer])
        if call < 5:
            assert_close(outputs, _expected(layer, images, initial_sigma * kernel / sigma))
        errors.append(np.abs(outputs - limit).max())
    assert errors[0] > 0.01 * np.abs(limit).max()
    assert np.all(np.diff(errors) < 1e-5)
    assert_close(outputs, limit)


def test_u_of_a_convolution_follows_its_kernel():
    layer, images = _convolution_layer(3, "isn"), _images()
    layer.kernel.assign(tf.random.normal(layer.kernel.shape))
    u = _float64(layer.u)[0]
    for _ in range(2):
        layer(images)
        np.testing.assert_array_equal(layer.u.numpy()[0], u.astype(np.float32))
    for _ in range(3):
        _, moved = spectral_norm_step(layer.kernel, u)
        assert np.abs(moved - u).max() > 1e-3
        move_power_iterations([layer])
        np.testing.assert_allclose(layer.u.numpy()[0], moved, atol=1e-6)
        u = moved


@pytest.mark.parametrize("normalization", ["isn", "sn"])
def test_gradient_of_a_convolution_flows_through_sigma(normalization):
    """Of the exact sigma, in float64: where u is the singular vector, holding u and v changes nothing."""
    with float64_layers():
        layer = _convolution_layer(3, normalization, features=2, units=3)
    images = np.random.normal(size=(2, 3, 4, 2))
    layer.kernel.assign(layer.kernel + 0.3 * np.random.normal(size=layer.kernel.shape))
    converge_power_iterations(layer)
    upstream = np.random.normal(size=(2, 3, 4, 3))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(upstream * layer(images))
    gradient = tape.gradient(value, layer.kernel).numpy()
    kernel, initial_sigma = layer.kernel.numpy(), layer.initial_sigma.numpy()

    def loss(kernel):
        return np.sum(upstream * _expected(layer, images, initial_sigma * kernel / largest_singular_value(kernel)))

    np.testing.assert_allclose(value.numpy(), loss(kernel), rtol=1e-10)
    expected = np.zeros_like(kernel)
    for index in np.ndindex(*kernel.shape):
        step = np.zeros_like(kernel)
        step[index] = 1e-5
        expected[index] = (loss(kernel + step) - loss(kernel - step)) / 2e-5
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("normalization", ["isn", "sn", "none"])
def test_convolution_is_the_linear_layer_of_windows(normalization):
    """The same outputs, gradients and moved u as ISNDense on every pixel's window."""
    layer, images = _convolution_layer(3, normalization), tf.constant(_images())
    dense = _layer(27, 4, normalization)
    if normalization != "none":
        layer.kernel.assign_add(0.5 * tf.random.normal(layer.kernel.shape))
    dense.set_weights(layer.get_weights())
    upstream = tf.random.normal((2, 5, 7, 4))

    def gradients(function, variables):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = function()
        return [outputs, *tape.gradient(outputs, [images, *variables], upstream)]

    def windows():
        return tf.image.extract_patches(images, [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME")

    expected = gradients(lambda: dense(windows()), dense.trainable_variables)
    for found, other in zip(gradients(lambda: layer(images), layer.trainable_variables), expected):
        np.testing.assert_allclose(found.numpy(), other.numpy(), rtol=1e-4, atol=1e-5)
    for found, other in zip(layer.get_weights(), dense.get_weights()):
        np.testing.assert_array_equal(found, other)


def _operator_norm(layer, height, width, features):
    """Of the linear map from images to outputs, from what it makes of each pixel."""
    size = height * width * features
    pixels = tf.reshape(tf.eye(size), (size, height, width, features))
    outputs = layer(pixels).numpy().astype(np.float64) - layer.bias.numpy()
    return largest_singular_value(outputs.reshape(size, -1))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_norm_of_a_convolution_under_sn_is_between_one_and_its_kernel_size(kernel_size):
    """A pixel is in at most kernel_size^2 windows, of which each is multiplied with a matrix of norm 1."""
    layer = _convolution_layer(kernel_size, "sn")
    norm = _operator_norm(layer, 5, 7, 3)
    if kernel_size == 1:
        np.testing.assert_allclose(norm, 1.0, rtol=1e-5)
    else:
        assert 1.0 < norm < kernel_size
    # The largest there is: sums of neighbours, along an axis of n pixels of norm 1 + 2 cos(pi / (n + 1)).
    layer = _convolution_layer(kernel_size, "sn", features=1, units=1)
    layer.kernel.assign(tf.ones_like(layer.kernel))
    expected = 1.0 if kernel_size == 1 else np.prod([1.0 + 2.0 * np.cos(np.pi / (n + 1)) for n in (12, 14)]) / 3.0
    np.testing.assert_allclose(_operator_norm(layer, 12, 14, 1), expected, rtol=1e-5)
    assert expected > 0.95 * kernel_size
