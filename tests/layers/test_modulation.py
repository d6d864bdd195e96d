"""Self-modulated layer norm and modulated dense layer against float64 loops."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.modulation import ModulatedDense, SelfModulatedLayerNorm


def _affine(layer, y):
    """An EqualizedDense of lr_multiplier 1, in float64."""
    kernel = layer.kernel.numpy().astype(np.float64) / math.sqrt(layer.kernel.shape[0])
    return y @ kernel + layer.bias.numpy()


def test_self_modulated_layer_norm_equals_a_loop():
    layer = SelfModulatedLayerNorm(epsilon=1e-3)
    h = np.random.normal(size=(3, 4, 6)) * 2.0 + 1.0
    w = np.random.normal(size=(3, 5))
    result = layer((h.astype(np.float32), w.astype(np.float32))).numpy()
    for image in range(3):
        gamma, beta = np.split(_affine(layer.affine, w[image]), 2)
        for token in range(4):
            features = h[image, token]
            mean = features.sum() / 6
            variance = ((features - mean) ** 2).sum() / 6
            expected = gamma * (features - mean) / math.sqrt(variance + 1e-3) + beta
            np.testing.assert_allclose(result[image, token], expected, rtol=1e-4, atol=1e-5)


def test_self_modulated_layer_norm_without_style_is_layer_norm():
    layer = SelfModulatedLayerNorm()
    h = tf.random.normal((2, 3, 50), mean=4.0, stddev=3.0)
    y = layer((h, tf.zeros((2, 7)))).numpy()
    np.testing.assert_allclose(y.mean(axis=-1), 0.0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=-1), 1.0, atol=1e-3)


def test_gamma_and_beta_are_separate_vectors_that_depend_on_the_style():
    layer = SelfModulatedLayerNorm()
    h = tf.random.normal((1, 3, 8))
    outputs = [layer((h, tf.random.normal((1, 5), seed=seed))).numpy() for seed in (1, 2)]
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1
    assert layer.affine.kernel.shape == (5, 16)
    np.testing.assert_array_equal(layer.affine.bias, [1.0] * 8 + [0.0] * 8)


def _naive_modulated(layer, points, y, demodulate):
    """Makes each token's weight matrix: what the layer must not do, and must equal."""
    kernel = layer.kernel.numpy().astype(np.float64) / math.sqrt(layer.kernel.shape[0])
    results = []
    for token in range(len(y)):
        style = _affine(layer.affine, y[token])
        weights = style[:, None] * kernel
        if demodulate:
            weights = weights / np.sqrt((weights**2).sum(axis=0) + 1e-8)
        x = points if points.ndim == 2 else points[token]
        results.append(x @ weights + layer.bias.numpy())
    return np.array(results)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("units", [2, 9])
@pytest.mark.parametrize("shared", [True, False])
def test_modulated_dense_equals_materialised_weights(shared, units, demodulate):
    """All three ways of computing: folded (shared points), style on the weights (2 units), on the inputs (9)."""
    layer = ModulatedDense(units, demodulate=demodulate)
    points = np.random.normal(size=(4, 6) if shared else (3, 4, 6))
    y = np.random.normal(size=(3, 5))
    layer.build([points.shape, y.shape])
    layer.bias.assign(tf.random.normal((units,)))
    result = layer((tf.constant(points, tf.float32), tf.constant(y, tf.float32))).numpy()
    np.testing.assert_allclose(result, _naive_modulated(layer, points, y, demodulate), rtol=1e-4, atol=1e-5)


def test_leaky_relu_follows_the_bias_with_gain():
    layer = ModulatedDense(4, activation="leaky_relu")
    points, y = np.random.normal(size=(3, 6)), np.random.normal(size=(2, 5))
    layer.build([points.shape, y.shape])
    layer.bias.assign(tf.random.normal((4,)))
    linear = _naive_modulated(layer, points, y, demodulate=True)
    expected = math.sqrt(2) * np.where(linear > 0, linear, 0.2 * linear)
    result = layer((tf.constant(points, tf.float32), tf.constant(y, tf.float32))).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_demodulation_cancels_the_scale_of_the_style_and_keeps_unit_variance():
    layer = ModulatedDense(500)
    layer.build([(40, 300), (None, 8)])
    points = tf.random.normal((40, 300))
    y = tf.random.normal((1, 8))
    reference = layer((points, y)).numpy()
    np.testing.assert_allclose(reference.var(), 1.0, atol=0.1)
    layer.affine.kernel.assign(layer.affine.kernel * 10.0)
    layer.affine.bias.assign(layer.affine.bias * 10.0)
    np.testing.assert_allclose(layer((points, y)).numpy(), reference, rtol=1e-3, atol=1e-4)


def test_no_tensor_has_the_size_of_a_weight_matrix_per_token():
    """At the sizes of the decoder: tokens * fan_in * units numbers never exist."""
    tokens, fan_in, units, num_points = 64, 32, 32, 16
    layer = ModulatedDense(units, activation="leaky_relu")
    layer.build([(num_points, fan_in), (None, fan_in)])
    function = tf.function(lambda x, y: layer((x, y))).get_concrete_function(
        tf.TensorSpec([num_points, fan_in]), tf.TensorSpec([tokens, fan_in])
    )
    largest = max(output.shape.num_elements() for op in function.graph.get_operations() for output in op.outputs)
    assert largest == tokens * num_points * units < tokens * fan_in * units


def test_refuses_senseless_arguments():
    with pytest.raises(ValueError, match="units must be at least 1"):
        ModulatedDense(0)
    with pytest.raises(ValueError, match="activation must be"):
        ModulatedDense(1, activation="relu")
    with pytest.raises(ValueError, match="leaky_relu needs demodulate"):
        ModulatedDense(1, demodulate=False, activation="leaky_relu")
