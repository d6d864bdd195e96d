"""Filters and layers of StyleGAN2's discriminator against the float64 references in tests/reference."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from reference import stylegan2 as reference
from reference.comparison import assert_close, float64_layers
from reference.layers import upsample2d
from reference.losses import finite_difference_gradient

from vitgan_tf.layers.convolution import EqualizedConv2D
from vitgan_tf.layers.minibatch import MinibatchStandardDeviation
from vitgan_tf.layers.resampling import blur, downsample, upsample

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
# TensorFlow has the slope of the leaky ReLU in float32.
FLOAT64 = 1e-7


def _normal(*shape):
    return np.random.normal(size=shape).astype(np.float32)


# Not square; one feature; the least that can be halved; odd halves.
EVEN_SHAPES = [(2, 6, 10, 4), (1, 4, 8, 1), (3, 2, 2, 2), (1, 14, 2, 3), (2, 8, 8, 3)]
FILTERS = {
    "downsample": (downsample, reference.downsample2d, {"down": 2, "padding": (1, 1)}, 1),
    "blur": (blur, reference.blur2d, {"padding": (2, 2)}, 1),
    "upsample": (upsample, upsample2d, {"up": 2, "padding": (2, 1)}, 4),
}
ODD_SHAPES = [(2, 5, 3, 2), (1, 1, 1, 3), (1, 1, 6, 1)]
FILTERS_AND_SHAPES = [
    (name, shape)
    for name, shape in itertools.product(FILTERS, EVEN_SHAPES + ODD_SHAPES)
    if name != "downsample" or shape in EVEN_SHAPES
]


@pytest.mark.parametrize("name, shape", FILTERS_AND_SHAPES)
def test_filters(name, shape):
    function, expect, upfirdn_arguments, gain = FILTERS[name]
    images = np.random.normal(size=shape)
    expected = expect(images)
    assert_close(reference.upfirdn2d(images, gain * FILTER, **upfirdn_arguments), expected, tolerance=1e-13)
    result = function(tf.constant(images))
    assert result.dtype == tf.float64
    assert_close(result, expected, tolerance=1e-13)
    images = images.astype(np.float32)
    result = function(tf.constant(images))
    assert result.dtype == tf.float32
    assert_close(result, expect(images), tolerance=1e-6)


@pytest.mark.parametrize("name", ["downsample", "blur"])
def test_filters_move_no_image_and_no_feature_into_another(name):
    function, expect, _, _ = FILTERS[name]
    images = np.zeros((3, 4, 6, 5), np.float32)
    images[1, ..., 2] = 1.0
    result = function(tf.constant(images)).numpy()
    assert_close(result, expect(images), tolerance=1e-6)
    result[1, ..., 2] = 0.0
    np.testing.assert_array_equal(result, np.zeros_like(result))


@pytest.mark.parametrize("name", ["downsample", "blur"])
def test_filters_keep_a_constant_image_inside_and_the_dtype(name):
    function = FILTERS[name][0]
    result = function(tf.ones((2, 8, 12, 3), tf.bfloat16))
    assert result.dtype == tf.bfloat16
    result = tf.cast(result, tf.float32).numpy()
    inside = result[:, 2:-2, 2:-2] if name == "blur" else result[:, 1:-1, 1:-1]
    np.testing.assert_array_equal(inside, np.ones_like(inside))
    assert np.all(result[:, 0] < 1) and np.all(result[:, :, -1] < 1)


@pytest.mark.parametrize("name", ["downsample", "blur"])
def test_filters_of_a_batch_of_unknown_size(name):
    function, expect, _, _ = FILTERS[name]
    unknown = tf.function(function, input_signature=[tf.TensorSpec([None, 4, 6, 2])])
    for batch_size in (1, 3):
        images = _normal(batch_size, 4, 6, 2)
        assert_close(unknown(images), expect(images), tolerance=1e-6)


@pytest.mark.parametrize("name", ["downsample", "blur"])
def test_gradients_of_filters_are_their_transposes(name):
    """<F x, y> = <x, F' y>, F' y being the gradient."""
    function, expect, _, _ = FILTERS[name]
    images = tf.constant(np.random.normal(size=(2, 4, 6, 2)))
    upstream = np.random.normal(size=expect(images).shape)
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = tf.reduce_sum(function(images) * upstream)
    other = np.random.normal(size=images.shape)
    product = np.sum(tape.gradient(value, images).numpy() * other)
    np.testing.assert_allclose(product, np.sum(expect(other) * upstream), rtol=1e-12)


# Convolutions: kernel_size, downsample, use_bias, activation.
CONVOLUTIONS = list(itertools.product((3, 1), (False, True), (True, False), ("leaky_relu", "linear")))


def _convolution(shape, kernel_size, downsampled, use_bias, activation, units=5):
    layer = EqualizedConv2D(
        units, kernel_size=kernel_size, downsample=downsampled, use_bias=use_bias, activation=activation
    )
    layer.build(shape)
    if use_bias:
        layer.bias.assign(np.random.normal(size=units))
    return layer


def _expected_convolution(layer, x, downsampled, activation):
    bias = None if layer.bias is None else layer.bias.numpy()
    return reference.equalized_conv2d(x, layer.kernel.numpy(), bias, downsampled, activation)


@pytest.mark.parametrize("kernel_size, downsampled, use_bias, activation", CONVOLUTIONS)
@pytest.mark.parametrize("shape", [(2, 6, 10, 4), (3, 2, 4, 1), (1, 4, 2, 6)])
def test_convolution(shape, kernel_size, downsampled, use_bias, activation):
    layer = _convolution(shape, kernel_size, downsampled, use_bias, activation)
    x = _normal(*shape)
    expected = _expected_convolution(layer, x, downsampled, activation)
    divisor = 2 if downsampled else 1
    assert expected.shape == (shape[0], shape[1] // divisor, shape[2] // divisor, 5)
    result = layer(x)
    assert result.dtype == tf.float32
    assert_close(result, expected)
    with float64_layers():
        double = _convolution(shape, kernel_size, downsampled, use_bias, activation)
    double.set_weights(layer.get_weights())
    assert_close(double(x.astype(np.float64)), expected, FLOAT64)


@pytest.mark.parametrize("kernel_size", [3, 1])
@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 1, 1, 2)])
def test_convolution_of_odd_sizes(shape, kernel_size):
    layer = _convolution(shape, kernel_size, False, True, "leaky_relu")
    x = _normal(*shape)
    assert_close(layer(x), _expected_convolution(layer, x, False, "leaky_relu"))


def test_convolution_without_arguments():
    """3 x 3, the same size, bias, leaky ReLU."""
    layer = EqualizedConv2D(5)
    x = _normal(2, 4, 6, 3)
    layer(x)
    assert layer.kernel.shape == (3, 3, 3, 5) and layer.bias.shape == (5,)
    np.testing.assert_array_equal(layer.bias, np.zeros(5))
    layer.bias.assign(np.random.normal(size=5))
    assert_close(layer(x), _expected_convolution(layer, x, False, "leaky_relu"))


@pytest.mark.parametrize("kernel_size", [3, 1])
def test_convolution_at_the_start(kernel_size):
    """The kernel is N(0, 1), and the outputs of a linear one have the variance of its inputs."""
    layer = EqualizedConv2D(64, kernel_size=kernel_size, use_bias=False, activation="linear")
    outputs = layer(_normal(4, 18, 18, 64)).numpy()
    assert layer.bias is None and len(layer.weights) == 1
    assert layer.kernel.shape == (kernel_size, kernel_size, 64, 64)
    np.testing.assert_allclose([np.mean(layer.kernel), np.std(layer.kernel)], [0.0, 1.0], atol=0.05)
    np.testing.assert_allclose(outputs[:, 1:-1, 1:-1].var(), 1.0, atol=0.1)


def test_the_leaky_relu_keeps_the_mean_square_of_a_normal_input():
    """It has the gain sqrt(2): the mean square is 2 (1 + 0.2^2) / 2."""
    outputs = EqualizedConv2D(64, kernel_size=1)(_normal(4, 16, 16, 64)).numpy()
    np.testing.assert_allclose(np.mean(outputs**2), 1.04, atol=0.1)


@pytest.mark.parametrize(
    "kernel_size, downsampled, use_bias, activation",
    [
        (3, False, True, "leaky_relu"),
        (3, True, True, "leaky_relu"),
        (1, True, False, "linear"),
        (1, False, True, "linear"),
    ],
)
def test_gradients_of_convolutions(kernel_size, downsampled, use_bias, activation):
    """Against finite differences of the reference in each element of the kernel, the bias and the inputs."""
    with float64_layers():
        layer = _convolution((2, 4, 2, 2), kernel_size, downsampled, use_bias, activation, units=2)
    x = tf.constant(np.random.normal(size=(2, 4, 2, 2)))
    values = {"x": x.numpy(), "kernel": layer.kernel.numpy()}
    if use_bias:
        values["bias"] = layer.bias.numpy()

    def outputs(**moved):
        return reference.equalized_conv2d(**{**values, **moved}, downsample=downsampled, activation=activation)

    upstream = np.random.normal(size=outputs().shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(layer(x) * upstream)
    sources = {"x": x, "kernel": layer.kernel, **({"bias": layer.bias} if use_bias else {})}
    for name, gradient in tape.gradient(value, sources).items():
        expected = finite_difference_gradient(
            lambda moved, name=name: np.sum(outputs(**{name: moved}) * upstream), values[name], 1e-6
        )
        assert_close(gradient, expected, 1e-6, err_msg=name)


# The standard deviation of a minibatch. batch size, group size and what the groups have.
GROUPS = [
    (8, 4, 4),
    (4, 4, 4),
    (12, 4, 4),
    (8, 8, 8),
    (8, 2, 2),
    (2, 4, 2),
    (6, 4, 2),
    (3, 4, 1),
    (5, 4, 1),
    (9, 6, 3),
]


@pytest.mark.parametrize("batch_size, group_size, in_a_group", GROUPS)
def test_minibatch_standard_deviation(batch_size, group_size, in_a_group):
    # Groups of different deviations, and a mean that is not zero.
    x = _normal(batch_size, 4, 3, 5) * np.linspace(0.5, 3.0, batch_size, dtype=np.float32)[:, None, None, None] + 1
    layer = MinibatchStandardDeviation(group_size)
    result = layer(x).numpy()
    expected = reference.minibatch_standard_deviation(x, group_size)
    assert result.shape == (batch_size, 4, 3, 6) and layer.weights == []
    np.testing.assert_array_equal(result[..., :5], x)
    # One number for each group, other numbers in other groups.
    deviations = result[..., 5].reshape(batch_size // in_a_group, -1)
    np.testing.assert_array_equal(deviations, np.broadcast_to(deviations[:, :1], deviations.shape))
    assert in_a_group == 1 or len(np.unique(deviations[:, 0])) == len(deviations)
    assert_close(result[..., 5], expected[..., 5])
    double = MinibatchStandardDeviation(group_size, dtype="float64")(x.astype(np.float64))
    assert_close(double, expected, 1e-12)


def test_the_group_size_is_four_if_not_given():
    x = _normal(8, 2, 2, 3)
    assert_close(MinibatchStandardDeviation()(x), reference.minibatch_standard_deviation(x, 4))


@pytest.mark.parametrize("batch_size", [4, 1, 5])
def test_equal_images_and_single_ones_have_no_deviation(batch_size):
    """But for the root of 1e-8. 5 images make groups of one."""
    x = _normal(1 if batch_size == 4 else batch_size, 3, 3, 2)
    x = np.repeat(x, 4, axis=0) if batch_size == 4 else x
    result = MinibatchStandardDeviation(4)(x).numpy()[..., -1]
    np.testing.assert_allclose(result, np.full(result.shape, 1e-4), rtol=1e-5)


def test_the_order_in_a_group_does_not_count():
    x = _normal(8, 3, 3, 2)
    layer = MinibatchStandardDeviation(4)
    expected = layer(x).numpy()[..., -1]
    permuted = layer(x[[2, 0, 3, 1, 7, 6, 4, 5]]).numpy()[..., -1]
    np.testing.assert_allclose(permuted, expected, rtol=1e-6)
    between_groups = layer(x[[0, 4, 1, 5, 2, 6, 3, 7]]).numpy()[..., -1]
    assert np.all(np.abs(between_groups - expected) > 1e-4)


def test_other_groups_do_not_count():
    x = _normal(12, 3, 3, 2)
    layer = MinibatchStandardDeviation(4)
    whole = layer(x).numpy()
    for first in (0, 4, 8):
        np.testing.assert_allclose(whole[first : first + 4], layer(x[first : first + 4]), rtol=1e-6)
    changed = x.copy()
    changed[4:8] *= 100
    changed = layer(changed).numpy()
    np.testing.assert_array_equal(changed[:4], whole[:4])
    np.testing.assert_array_equal(changed[8:], whole[8:])
    assert np.all(changed[4:8, ..., -1] > 50 * whole[4:8, ..., -1])


def test_minibatch_standard_deviation_of_a_batch_of_unknown_size():
    """It must be a multiple of the group's."""
    layer = MinibatchStandardDeviation(4)
    unknown = tf.function(layer.__call__, input_signature=[tf.TensorSpec([None, 2, 3, 2])])
    for batch_size in (4, 12):
        x = _normal(batch_size, 2, 3, 2)
        assert_close(unknown(x), reference.minibatch_standard_deviation(x, 4))
    with pytest.raises(tf.errors.InvalidArgumentError):
        unknown(_normal(6, 2, 3, 2))


@pytest.mark.parametrize("batch_size, group_size", [(4, 4), (6, 4), (4, 2), (3, 4)])
def test_gradient_of_the_minibatch_standard_deviation(batch_size, group_size):
    x = tf.constant(np.random.normal(size=(batch_size, 2, 2, 2)))
    upstream = np.random.normal(size=(batch_size, 2, 2, 3))
    layer = MinibatchStandardDeviation(group_size, dtype="float64")
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(layer(x) * upstream)
    expected = finite_difference_gradient(
        lambda x: np.sum(reference.minibatch_standard_deviation(x, group_size) * upstream), x.numpy(), 1e-6
    )
    assert_close(tape.gradient(value, x), expected, 1e-6)


@pytest.mark.parametrize("batch_size", [4, 1])
def test_gradients_of_equal_images_are_finite(batch_size):
    """Also that of the squared gradient, as in R1."""
    x = tf.constant(np.repeat(_normal(1, 3, 3, 2), batch_size, axis=0))
    layer = MinibatchStandardDeviation(4)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = tf.reduce_sum(layer(x) ** 2)
        gradient = inner.gradient(value, x)
        penalty = tf.reduce_sum(gradient**2)
    assert np.all(np.isfinite(gradient))
    # Of the features themselves: the deviation is at its least.
    np.testing.assert_allclose(gradient, 2 * x, rtol=1e-3, atol=1e-4)
    assert np.all(np.isfinite(outer.gradient(penalty, x)))
