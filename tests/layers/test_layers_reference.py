"""Every layer in float32 against the float64 references in tests/reference, written from the equations alone."""

import numpy as np
import pytest
import tensorflow as tf
from reference import layers as reference
from reference import networks
from reference.comparison import assert_close, randomize, weights

from vitgan_tf.layers.attention import L2MultiHeadAttention, MultiHeadAttention
from vitgan_tf.layers.convolution import ModulatedConv2D
from vitgan_tf.layers.coordinates import FourierEmbedding, coordinate_grid
from vitgan_tf.layers.equalized import EqualizedDense
from vitgan_tf.layers.modulation import ModulatedDense, SelfModulatedLayerNorm
from vitgan_tf.layers.normalization import LayerNorm
from vitgan_tf.layers.patches import extract_patches, patches_to_images
from vitgan_tf.layers.resampling import upsample
from vitgan_tf.layers.spectral import ISNDense, move_power_iterations
from vitgan_tf.layers.synthesis import StyledConv2D, ToImage
from vitgan_tf.layers.transformer import FeedForward
from vitgan_tf.models.mapping import MappingNetwork


def _normal(*shape):
    return np.random.normal(size=shape).astype(np.float32)


def _built(layer, *shapes):
    """A layer for inputs of these shapes, with weights that are all random; and these weights in float64."""
    layer.build(shapes[0] if len(shapes) == 1 else list(shapes))
    randomize(layer)
    return layer, reference.to_float64(weights(layer))


@pytest.mark.parametrize("lr_multiplier", [1.0, 0.01])
def test_equalized_dense(lr_multiplier):
    layer, w = _built(EqualizedDense(5, bias_initial_value=1.0, lr_multiplier=lr_multiplier), (None, 7))
    x = _normal(2, 3, 7)
    assert_close(layer(x), reference.equalized_dense(x, w["kernel"], w["bias"], lr_multiplier))


# fan_in, units: the layer multiplies in another way where units > fan_in.
SHAPES = [(6, 9), (9, 6), (7, 7), (1, 3), (4, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("normalization", ["isn", "sn", "none"])
def test_isn_dense_while_the_kernel_moves(shape, normalization):
    """In each step: the output, sigma, and u afterwards."""
    fan_in, units = shape
    layer = ISNDense(units, normalization=normalization)
    layer.build((None, fan_in))
    # sigma of the first kernel, which its initial value and not the one after the random increments must be.
    sigma = reference.largest_singular_value(layer.kernel.numpy().astype(np.float64) / np.sqrt(fan_in))
    initial_sigma = {"isn": sigma, "sn": np.float64(1.0)}.get(normalization)
    u = None if normalization == "none" else layer.u.numpy()[0].astype(np.float64)
    for _ in range(6):
        randomize(layer)
        kernel, bias, x = layer.kernel.numpy(), layer.bias.numpy(), _normal(2, 3, fan_in)
        if normalization == "none":
            expected = reference.equalized_dense(x, kernel, bias)
            assert_close(layer(x), expected)
            continue
        expected = reference.isn_dense(x, kernel, bias, u, initial_sigma)
        assert_close(layer(x), expected)
        assert_close(layer.applied_kernel(), reference.isn_kernel(kernel, u, initial_sigma))
        sigma, next_u = reference.spectral_norm_step(kernel / np.sqrt(np.float64(fan_in)), u)
        assert_close(layer.power_iteration()[0] / np.sqrt(fan_in), sigma)
        assert_close(layer.u[0], u)
        move_power_iterations([layer])
        assert_close(layer.u[0], next_u)
        u = next_u
    if normalization != "none":
        assert_close(layer.initial_sigma, initial_sigma)


@pytest.mark.parametrize("shape", SHAPES)
def test_sigma_after_fifty_iterations_is_that_of_the_svd(shape):
    layer, w = _built(ISNDense(shape[1]), (None, shape[0]))
    for _ in range(50):
        move_power_iterations([layer])
    sigma, _ = layer.power_iteration()
    # The estimate has an error of (second singular value / first)^200.
    assert_close(sigma, reference.largest_singular_value(w["kernel"]), tolerance=1e-4)


@pytest.mark.filterwarnings(r"ignore:\s*TensorFlow Addons \(TFA\) has ended development:UserWarning")
@pytest.mark.filterwarnings("ignore:Tensorflow Addons supports using Python ops:UserWarning")
@pytest.mark.parametrize("shape", SHAPES)
def test_plain_spectral_normalisation_equals_tensorflow_addons(shape):
    """W / sigma(W) and u, step by step from the same u.

    Theirs overwrites the kernel with W / sigma(W): it gets W anew in every step.
    """
    import tensorflow_addons as tfa

    fan_in, units = shape
    layer, _ = _built(ISNDense(units, normalization="sn"), (None, fan_in))
    wrapper = tfa.layers.SpectralNormalization(tf.keras.layers.Dense(units))
    wrapper.build((None, fan_in))
    layer.u.assign(tf.math.l2_normalize(_normal(1, units)))
    wrapper.u.assign(layer.u)
    for _ in range(8):
        randomize(layer)
        x = _normal(4, fan_in)
        wrapper.layer.kernel.assign(layer.kernel)
        wrapper.layer.bias.assign(layer.bias)
        outputs = wrapper(x, training=True).numpy().astype(np.float64)
        normalized = wrapper.layer.kernel.numpy().astype(np.float64)
        assert_close(layer.applied_kernel(), normalized)
        assert_close(layer(x), outputs)
        move_power_iterations([layer])
        assert_close(layer.u, wrapper.u.numpy().astype(np.float64))


@pytest.mark.parametrize("normalization", ["isn", "sn", "none"])
@pytest.mark.parametrize("num_heads", [1, 3])
def test_dot_product_attention(num_heads, normalization):
    layer, w = _built(MultiHeadAttention(num_heads, normalization), (None, 5, 12))
    x = _normal(2, 5, 12)
    names = "query", "key", "value", "output"
    query, key, value, output = (networks.applied_matrix(w, name, normalization) for name in names)
    expected = reference.dot_product_attention(
        x, query, w["query/bias"], key, value, output, w["output/bias"], num_heads
    )
    assert_close(layer(x), expected)
    assert_close(layer(x, num_queries=2), expected[:, :2])


@pytest.mark.parametrize("normalization", ["isn", "sn", "none"])
@pytest.mark.parametrize("num_heads", [1, 3])
def test_l2_attention(num_heads, normalization):
    layer, w = _built(L2MultiHeadAttention(num_heads, normalization), (None, 5, 12))
    x = _normal(2, 5, 12)
    names = "query_key", "value", "output"
    query_key, value, output = (networks.applied_matrix(w, name, normalization) for name in names)
    expected = reference.l2_attention(x, query_key, value, output, w["output/bias"], num_heads)
    assert_close(layer(x), expected)
    assert_close(layer(x, num_queries=2), expected[:, :2])


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu"])
def test_feed_forward(activation):
    layer, w = _built(FeedForward(9, activation, "isn"), (None, 4, 6))
    x = _normal(2, 4, 6)
    hidden = networks.ACTIVATIONS[activation](networks.dense(x, w, "expand", "isn"))
    assert_close(layer(x), networks.dense(hidden, w, "contract", "isn"))


# Small features, where epsilon counts, and large ones with a mean that is not zero.
@pytest.mark.parametrize("scale, shift", [(0.01, 0.0), (3.0, 1.0)])
def test_layer_norm(scale, shift):
    layer, w = _built(LayerNorm(), (None, 4, 10))
    h = _normal(2, 4, 10) * np.float32(scale) + np.float32(shift)
    assert_close(layer(h), reference.layer_norm(h, w["gamma"], w["beta"], networks.LAYER_NORM_EPSILON))


@pytest.mark.parametrize("scale, shift", [(0.01, 0.0), (3.0, 1.0)])
def test_self_modulated_layer_norm(scale, shift):
    layer, w = _built(SelfModulatedLayerNorm(), (None, 4, 10), (None, 6))
    h, style = _normal(3, 4, 10) * np.float32(scale) + np.float32(shift), _normal(3, 6)
    expected = reference.self_modulated_layer_norm(h, style, w["affine/kernel"], w["affine/bias"])
    assert_close(layer((h, style)), expected)


@pytest.mark.parametrize("demodulate, activation", [(True, "linear"), (True, "leaky_relu"), (False, "linear")])
@pytest.mark.parametrize("units", [2, 9])
@pytest.mark.parametrize("shared", [True, False])
def test_modulated_dense(shared, units, demodulate, activation):
    """With 4 points: fewer units than points, and more."""
    points, y = _normal(4, 6) if shared else _normal(3, 4, 6), _normal(3, 5)
    layer, w = _built(ModulatedDense(units, demodulate, activation), points.shape, y.shape)
    names = "kernel", "bias", "affine/kernel", "affine/bias"
    expected = reference.modulated_dense(points, y, *(w[name] for name in names), demodulate)
    if activation == "leaky_relu":
        expected = np.sqrt(2.0) * reference.leaky_relu(expected, 0.2)
    assert_close(layer((points, y)), expected)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_coordinate_grid(size):
    assert_close(coordinate_grid(size, size), reference.coordinate_grid(size))


def test_fourier_embedding():
    layer, w = _built(FourierEmbedding(12), (None, 2))
    coordinates = np.random.uniform(-1, 1, size=(7, 2)).astype(np.float32)
    assert_close(layer(coordinates), reference.fourier_embedding(coordinates, w["frequencies"], w["phases"]))


@pytest.mark.parametrize("patch_size, overlap", [(4, 0), (4, 1), (4, 2), (4, 3), (4, 5), (2, 1), (2, 3), (1, 2)])
@pytest.mark.parametrize("height, width, channels", [(8, 12, 3), (4, 8, 1)])
def test_patches(height, width, channels, patch_size, overlap):
    """Pixels are moved, not computed with: equal to the last bit."""
    images = _normal(2, height, width, channels)
    expected = reference.overlapping_patches(images, patch_size, overlap)
    np.testing.assert_array_equal(extract_patches(images, patch_size, overlap), expected)


def test_patches_to_images():
    patches = _normal(2, 9, 4, 4, 3)
    expected = reference.patches_to_images(patches.reshape(2, 9, -1), 4, 3)
    np.testing.assert_array_equal(patches_to_images(patches, 3, 3), expected)


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 4, 1)])
def test_upsample(shape):
    images = _normal(*shape)
    assert_close(upsample(tf.constant(images)), reference.upsample2d(images))


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution(demodulate):
    x, y = _normal(2, 3, 5, 4), _normal(2, 6)
    layer, w = _built(ModulatedConv2D(5, demodulate=demodulate), x.shape, y.shape)
    style = reference.equalized_dense(y, w["affine/kernel"], w["affine/bias"])
    assert_close(layer((x, y)), reference.modulated_conv2d(x, style, w["kernel"], demodulate))


@pytest.mark.parametrize("upsampled", [True, False])
def test_styled_convolution(upsampled):
    x, y = _normal(2, 3, 5, 4), _normal(2, 6)
    layer, w = _built(StyledConv2D(5, upsample=upsampled), x.shape, y.shape)
    w = {f"layer/{path}": value for path, value in w.items()}
    assert_close(layer((x, y)), networks.styled_convolution(x, y, w, "layer", upsample=upsampled))


def test_to_image():
    x, y = _normal(2, 3, 5, 4), _normal(2, 6)
    layer, w = _built(ToImage(3), x.shape, y.shape)
    w = {f"layer/{path}": value for path, value in w.items()}
    assert_close(layer((x, y)), networks.to_image(x, y, w, "layer"))


@pytest.mark.parametrize("lr_multiplier", [0.01, 0.5])
def test_mapping_network(lr_multiplier):
    network = MappingNetwork(6, num_layers=3, lr_multiplier=lr_multiplier)
    network.build((None, 5))
    randomize(network, scale=0.3 / lr_multiplier)
    w, z = weights(network), _normal(4, 5) * 3
    mapping_layers = [(w[f"dense_{i}/kernel"], w[f"dense_{i}/bias"]) for i in range(3)]
    assert_close(network(z), networks.mapping_network(z, mapping_layers, lr_multiplier))
