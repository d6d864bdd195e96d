"""EqualizedDense against float64 NumPy, and its variance at initialisation."""

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.equalized import EqualizedDense, linear


@pytest.mark.parametrize("lr_multiplier", [1.0, 0.01])
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (2, 3, 4, 7)])
def test_equals_numpy(shape, lr_multiplier):
    layer = EqualizedDense(4, bias_initial_value=0.5, lr_multiplier=lr_multiplier)
    x = np.random.normal(size=shape).astype(np.float32)
    y = layer(x).numpy()
    expected = np.zeros((*shape[:-1], 4))
    for index in np.ndindex(*shape[:-1]):
        for unit in range(4):
            total = layer.bias.numpy()[unit] * lr_multiplier
            for feature in range(7):
                total += x[(*index, feature)] * layer.kernel.numpy()[feature, unit] * lr_multiplier / 7**0.5
            expected[(*index, unit)] = total
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.bias.numpy() * lr_multiplier, 0.5, rtol=1e-6)


@pytest.mark.parametrize("lr_multiplier", [1.0, 0.01])
@pytest.mark.parametrize("fan_in", [16, 1024])
def test_output_variance_is_one_at_initialisation(fan_in, lr_multiplier):
    layer = EqualizedDense(2000, lr_multiplier=lr_multiplier)
    y = layer(np.random.normal(size=(200, fan_in)).astype(np.float32)).numpy()
    # 200 x 2000 outputs share 200 rows of inputs: the relative error of the variance is about sqrt(2 / 200 / 16).
    np.testing.assert_allclose(y.var(), 1.0, atol=0.1)


def test_multiplier_slows_adam_down_by_that_factor():
    """After one step of Adam, the applied kernel has moved by lr * lr_multiplier / sqrt(fan_in)."""
    for lr_multiplier in (1.0, 0.01):
        layer = EqualizedDense(3, use_bias=False, lr_multiplier=lr_multiplier)
        layer.build((None, 25))
        before = layer(np.eye(25, dtype=np.float32)).numpy()
        optimizer = tf.keras.optimizers.Adam(0.002, beta_1=0.0, beta_2=0.99, epsilon=1e-12)
        optimizer.apply_gradients([(tf.ones((25, 3)), layer.kernel)])
        moved = layer(np.eye(25, dtype=np.float32)).numpy() - before
        np.testing.assert_allclose(moved.mean(), -0.002 * lr_multiplier / 5, rtol=1e-3)


def test_linear_keeps_unknown_dimensions():
    kernel = np.random.normal(size=(3, 2)).astype(np.float32)
    function = tf.function(lambda x: linear(x, kernel), input_signature=[tf.TensorSpec([None, None, 3])])
    x = np.random.normal(size=(4, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(function(x).numpy(), x @ kernel, rtol=1e-5, atol=1e-6)


def test_refuses_senseless_arguments():
    with pytest.raises(ValueError, match="units must be at least 1, got 0"):
        EqualizedDense(0)
    with pytest.raises(ValueError, match="lr_multiplier must be positive"):
        EqualizedDense(1, lr_multiplier=0.0)
