"""The layers of StyleGAN2's synthesis network against float64 references that take them literally."""

import functools
import math

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf
from reference.layers import upsampling_conv2d

from vitgan_tf.layers.convolution import ModulatedConv2D
from vitgan_tf.layers.resampling import upsample, upsample_with_margin
from vitgan_tf.layers.synthesis import StyledConv2D, ToImage
from vitgan_tf.randomness import BatchRandom


def _naive_upsample(images):
    """Zeros between the pixels, then the filter, with scipy; pad (2, 1) where scipy pads with 3 on both sides."""
    taps = np.array([1.0, 3.0, 3.0, 1.0]) / 8 * 2
    for axis in (1, 2):
        # scipy puts no zero after the last pixel, hence one output is cut off at the end and not two.
        full = scipy.signal.upfirdn(taps, images, up=2, axis=axis)
        images = np.take(full, range(1, full.shape[axis] - 1), axis=axis)
    return images


def _affine(layer, y):
    """An EqualizedDense of lr_multiplier 1, in float64."""
    kernel = layer.kernel.numpy().astype(np.float64) / math.sqrt(layer.kernel.shape[0])
    return y @ kernel + layer.bias.numpy()


def _naive_modulated(layer, features, style, demodulate):
    """Makes each image's kernel: what the layer must not do, and must equal."""
    kernel = layer.kernel.numpy().astype(np.float64)
    size, _, fan_in, units = kernel.shape
    margin = size // 2
    batch_size, height, width, _ = features.shape
    outputs = np.zeros((batch_size, height, width, units))
    for image in range(batch_size):
        weights = _affine(layer.affine, style[image])[:, None] * kernel / math.sqrt(size * size * fan_in)
        if demodulate:
            weights = weights / np.sqrt((weights**2).sum(axis=(0, 1, 2)) + 1e-8)
        padded = np.pad(features[image], [(margin, margin), (margin, margin), (0, 0)])
        for row, column, unit in np.ndindex(height, width, units):
            window = padded[row : row + size, column : column + size]
            outputs[image, row, column, unit] = (window * weights[..., unit]).sum()
    return outputs


def _inputs(batch_size=2, height=3, width=5, fan_in=4, style_dim=6):
    return np.random.normal(size=(batch_size, height, width, fan_in)), np.random.normal(size=(batch_size, style_dim))


def _as_float32(inputs):
    return tuple(tf.constant(x, tf.float32) for x in inputs)


def _randomize(layer):
    """Trainable weights that start at zero or one must not hide an error."""
    for variable in layer.trainable_variables:
        variable.assign(np.random.normal(size=variable.shape))


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 6, 2, 1), (1, 1, 1, 3)])
def test_upsample_equals_upfirdn(shape):
    images = np.random.normal(size=shape)
    expected = _naive_upsample(images)
    assert expected.shape == (shape[0], 2 * shape[1], 2 * shape[2], shape[3])
    np.testing.assert_allclose(upsample(tf.constant(images)).numpy(), expected, rtol=1e-12, atol=1e-12)
    result = upsample(tf.constant(images, tf.float32))
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_upsample_keeps_a_constant_image_inside_and_the_dtype():
    result = upsample(tf.ones((1, 3, 4, 2), tf.bfloat16))
    assert result.dtype == tf.bfloat16
    np.testing.assert_array_equal(tf.cast(result, tf.float32)[:, 1:-1, 1:-1], np.ones((1, 4, 6, 2)))
    np.testing.assert_array_equal(tf.cast(result, tf.float32)[:, 0, 1:-1], np.full((1, 6, 2), 0.75))


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel_size", [3, 1])
def test_modulated_convolution_equals_materialised_kernels(kernel_size, demodulate):
    layer = ModulatedConv2D(5, kernel_size, demodulate)
    inputs = _inputs()
    result = layer(_as_float32(inputs)).numpy()
    np.testing.assert_allclose(result, _naive_modulated(layer, *inputs, demodulate), rtol=1e-5, atol=1e-5)


def test_without_style_it_is_a_convolution_at_the_start():
    layer = ModulatedConv2D(5, demodulate=False)
    features, style = _as_float32(_inputs())
    result = layer((features, tf.zeros_like(style))).numpy()
    expected = tf.nn.conv2d(features, layer.kernel / math.sqrt(9 * 4), 1, "SAME")
    np.testing.assert_allclose(result, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_demodulation_cancels_the_scale_of_the_style_and_keeps_unit_variance():
    layer = ModulatedConv2D(64)
    features, style = tf.random.normal((4, 18, 18, 32)), tf.random.normal((4, 8))
    reference = layer((features, style)).numpy()
    variances = reference[:, 1:-1, 1:-1].var(axis=(1, 2))  # fewer products at the border
    np.testing.assert_allclose(variances.mean(axis=1), 1.0, atol=0.05)
    layer.affine.kernel.assign(layer.affine.kernel * 10.0)
    layer.affine.bias.assign(layer.affine.bias * 10.0)
    np.testing.assert_allclose(layer((features, style)).numpy(), reference, rtol=1e-3, atol=1e-4)


def test_without_style_and_demodulation_the_variance_is_one_at_the_start():
    layer = ModulatedConv2D(64, demodulate=False)
    outputs = layer((tf.random.normal((4, 18, 18, 32)), tf.zeros((4, 8)))).numpy()
    np.testing.assert_allclose(outputs[:, 1:-1, 1:-1].var(), 1.0, atol=0.05)


def test_no_tensor_has_the_size_of_a_kernel_per_image():
    batch_size, size, channels = 16, 8, 32
    layer = ModulatedConv2D(channels)
    layer.build([(None, size, size, channels), (None, channels)])

    def value_and_gradients(features, style):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(layer((features, style))))
        return tape.gradient(loss, layer.trainable_variables)

    graph = (
        tf.function(value_and_gradients)
        .get_concrete_function(
            tf.TensorSpec([batch_size, size, size, channels]), tf.TensorSpec([batch_size, channels])
        )
        .graph
    )
    outputs = [output.shape for operation in graph.get_operations() for output in operation.outputs]
    largest = max(shape.num_elements() for shape in outputs if shape.rank is not None)
    assert largest == batch_size * size * size * channels < batch_size * 9 * channels * channels


@pytest.mark.parametrize("upsampled", [True, False])
def test_styled_convolution_equals_its_formula(upsampled):
    layer = StyledConv2D(5, upsample=upsampled)
    inputs = _inputs()
    layer.build([x.shape for x in inputs])
    _randomize(layer)
    features, style = inputs
    if upsampled:
        scale = np.stack([_affine(layer.convolution.affine, each) for each in style])
        linear = upsampling_conv2d(features, scale, layer.convolution.kernel.numpy())
    else:
        linear = _naive_modulated(layer.convolution, features, style, demodulate=True)
    assert layer.fixed_noise.shape == (1, *linear.shape[1:3], 1)
    linear += layer.noise_strength.numpy() * layer.fixed_noise.numpy() + layer.bias.numpy()
    expected = math.sqrt(2) * np.where(linear > 0, linear, 0.2 * linear)
    np.testing.assert_allclose(layer(_as_float32(inputs)).numpy(), expected, rtol=1e-5, atol=1e-5)


def test_upsampling_first_equals_stylegan2s_order_on_the_whole_image():
    """A transposed convolution with stride 2, then the blur, cut to the middle; in float64."""
    layer = ModulatedConv2D(5, demodulate=False, padding="VALID", dtype="float64")
    features, style = _inputs(height=4, width=6)
    result = layer((upsample_with_margin(tf.constant(features)), tf.constant(style))).numpy()
    kernel = layer.kernel.numpy().astype(np.float64) / 6
    blur = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64 * 4
    expected = np.zeros((2, 8, 12, 5))
    for image in range(2):
        scale = _affine(layer.affine, style[image])
        for channel, unit in np.ndindex(4, 5):
            spread = np.zeros((7, 11))
            spread[::2, ::2] = features[image, :, :, channel] * scale[channel]
            transposed = scipy.signal.convolve2d(spread, kernel[::-1, ::-1, channel, unit])
            expected[image, ..., unit] += scipy.signal.convolve2d(transposed, blur)[2:-2, 2:-2]
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def _noise(layer, seed=None, **function_arguments):
    """The noise of a layer of strength 1 whose features are zero, (5, height, width, units)."""

    @functools.partial(tf.function, autograph=False, **function_arguments)
    def function(inputs, seed):
        return layer(inputs, random=None if seed is None else BatchRandom(seed, 5))

    outputs = function((tf.zeros((5, 20, 30, 4)), tf.zeros((5, 6))), seed).numpy() / math.sqrt(2)
    return np.where(outputs > 0, outputs, outputs / 0.2)


def _noise_layer():
    layer = StyledConv2D(3)
    layer.build([(None, 20, 30, 4), (None, 6)])
    layer.noise_strength.assign(1.0)
    return layer


def test_without_a_seed_all_images_and_calls_have_the_fixed_noise():
    layer = _noise_layer()
    assert [variable.name for variable in layer.non_trainable_variables] == ["fixed_noise:0"]
    noise = _noise(layer)
    np.testing.assert_allclose(noise, np.broadcast_to(layer.fixed_noise.numpy(), noise.shape), rtol=1e-5)
    np.testing.assert_array_equal(noise, _noise(layer))
    np.testing.assert_allclose([noise[0, ..., 0].mean(), noise[0, ..., 0].var()], [0.0, 1.0], atol=0.15)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_seed_draws_noise_for_every_image_and_the_same_seed_the_same(compiled):
    layer = _noise_layer()
    noise, again, other = (
        _noise(layer, tf.constant(seed), jit_compile=compiled) for seed in ([1, 2], [1, 2], [1, 3])
    )
    np.testing.assert_allclose(noise, np.broadcast_to(noise[..., :1], noise.shape), rtol=1e-5)  # shared by features
    np.testing.assert_array_equal(noise, again)
    draws = np.concatenate([noise[..., 0], other[..., 0], _noise(layer)[:1, ..., 0]]).reshape(11, -1)
    np.testing.assert_allclose(np.corrcoef(draws), np.eye(11), atol=0.2)
    np.testing.assert_allclose([noise[..., 0].mean(), noise[..., 0].var()], [0.0, 1.0], atol=0.1)


def test_noise_starts_with_strength_zero():
    layer = StyledConv2D(5)
    inputs = _as_float32(_inputs())
    np.testing.assert_array_equal(
        layer(inputs), layer(inputs, random=BatchRandom(tf.constant([1, 2]), len(inputs[0])))
    )


def test_noise_from_a_seed_for_an_unknown_batch_size():
    layer = StyledConv2D(5, upsample=True)
    inputs, seed = _as_float32(_inputs()), tf.constant([1, 2])
    layer(inputs)
    layer.noise_strength.assign(1.0)
    spec = [tf.TensorSpec([None, *x.shape[1:]]) for x in inputs]
    function = tf.function(lambda x, seed: layer(x, random=BatchRandom(seed, tf.shape(x[0])[0])))
    unknown = function.get_concrete_function(tuple(spec), tf.TensorSpec([2], tf.int32))
    expected = layer(inputs, random=BatchRandom(seed, len(inputs[0]))).numpy()
    np.testing.assert_allclose(unknown(*inputs, seed).numpy(), expected, rtol=1e-5, atol=1e-5)


def test_to_image_equals_its_formula():
    layer = ToImage(3)
    inputs = _inputs()
    layer.build([x.shape for x in inputs])
    _randomize(layer)
    assert layer.convolution.kernel.shape == (1, 1, 4, 3)
    expected = _naive_modulated(layer.convolution, *inputs, demodulate=False) + layer.bias.numpy()
    np.testing.assert_allclose(layer(_as_float32(inputs)).numpy(), expected, rtol=1e-5, atol=1e-5)


def _finite_differences(function, variable):
    """Gradient of a scalar function of no arguments with respect to a float64 variable, by central differences."""
    start = variable.numpy()
    gradient = np.zeros(start.shape)
    for index in np.ndindex(start.shape):
        values = []
        for step in (1e-5, -1e-5):
            moved = np.array(start)
            moved[index] += step
            variable.assign(moved)
            values.append(float(function()))
        gradient[index] = (values[0] - values[1]) / 2e-5
    variable.assign(start)
    return gradient


LAYERS = [
    (ModulatedConv2D, {"units": 2}),
    (ModulatedConv2D, {"units": 2, "kernel_size": 1, "demodulate": False}),
    (StyledConv2D, {"units": 2, "upsample": True}),
    (ToImage, {"num_channels": 2}),
]


@pytest.fixture(params=LAYERS, ids=lambda case: f"{case[0].__name__}-{'-'.join(map(str, case[1].values()))}")
def double(request):
    """A layer of float64 whose weights are random numbers, and its inputs as variables."""
    layer_class, arguments = request.param
    layer = layer_class(**arguments, dtype="float64")
    inputs = tuple(tf.Variable(x) for x in _inputs(height=2, width=3, fan_in=2, style_dim=3))
    layer.build([x.shape for x in inputs])
    _randomize(layer)
    return layer, inputs


def test_gradients_equal_finite_differences(double):
    layer, inputs = double
    weights = np.random.normal(size=layer(inputs).shape)
    function = tf.function(lambda: tf.reduce_sum(layer(inputs) * weights))
    with tf.GradientTape() as tape:
        value = function()
    variables = [*layer.trainable_variables, *inputs]
    for variable, gradient in zip(variables, tape.gradient(value, variables)):
        assert gradient.dtype == tf.float64
        expected = _finite_differences(function, variable)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-7, err_msg=variable.name)


@pytest.mark.slow
def test_gradients_of_a_gradient_penalty_equal_finite_differences_also_compiled(double):
    layer, inputs = double

    def penalty():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs) ** 3)
        return tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in tape.gradient(loss, inputs)])

    variables = [*layer.trainable_variables, *inputs]

    def gradients():
        with tf.GradientTape() as tape:
            value = penalty()
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(value, variables)]

    compiled = tf.function(gradients, jit_compile=True, autograph=False)()
    function = tf.function(penalty)
    for variable, plain, xla in zip(variables, gradients(), compiled):
        expected = _finite_differences(function, variable)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(plain.numpy(), expected, rtol=1e-5, atol=1e-6 * scale, err_msg=variable.name)
        np.testing.assert_allclose(xla.numpy(), plain.numpy(), rtol=1e-6, atol=1e-6 * scale, err_msg=variable.name)


def test_refuses_senseless_arguments():
    with pytest.raises(ValueError, match="units must be at least 1, got 0"):
        ModulatedConv2D(0)
    with pytest.raises(ValueError, match="kernel_size must be odd and at least 1, got 2"):
        ModulatedConv2D(1, kernel_size=2)
    with pytest.raises(ValueError, match="kernel_size must be odd and at least 1, got -1"):
        ModulatedConv2D(1, kernel_size=-1)
    with pytest.raises(ValueError, match="units must be at least 1, got 0"):
        StyledConv2D(0)
    with pytest.raises(ValueError, match="num_channels must be at least 1, got 0"):
        ToImage(0)
