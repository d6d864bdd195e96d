"""Transformer blocks: order of norm and residual, the MLP, and each layer of the project in a common harness."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from vitgan_tf.layers.spectral import move_power_iterations
from vitgan_tf.layers.transformer import FeedForward, TransformerBlock

ARGUMENTS = {"num_heads": 2, "mlp_dim": 12}


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu"])
def test_feed_forward_equals_numpy(activation):
    layer = FeedForward(7, activation)
    x = np.random.normal(size=(2, 3, 4))
    layer.build(x.shape)
    for dense in (layer.expand, layer.contract):
        dense.bias.assign(tf.random.normal(dense.bias.shape))
    hidden = x @ (layer.expand.kernel.numpy() / 4**0.5) + layer.expand.bias.numpy()
    hidden = {
        "gelu": lambda h: h * scipy.special.ndtr(h),
        "relu": lambda h: np.maximum(h, 0),
        "silu": lambda h: h * scipy.special.expit(h),
    }[activation](hidden)
    expected = hidden @ (layer.contract.kernel.numpy() / 7**0.5) + layer.contract.bias.numpy()
    np.testing.assert_allclose(layer(x.astype(np.float32)).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modulated", [False, True])
def test_residuals_are_taken_before_the_norms(modulated):
    """h' = MSA(norm(h)) + h; h'' = MLP(norm(h')) + h', put together from the block's own parts."""
    block = TransformerBlock(**ARGUMENTS, attention="dot_product", modulated=modulated)
    tokens, style = tf.random.normal((2, 5, 8)), tf.random.normal((2, 6))
    result = block((tokens, style) if modulated else tokens).numpy()

    def norm(layer, tokens):
        return layer((tokens, style) if modulated else tokens)

    middle = tokens + block.self_attention(norm(block.attention_norm, tokens))
    expected = middle + block.mlp(norm(block.mlp_norm, middle))
    np.testing.assert_allclose(result, expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("attention", ["l2", "dot_product"])
@pytest.mark.parametrize("modulated", [False, True])
def test_first_queries_alone_are_those_of_the_whole(attention, modulated):
    block = TransformerBlock(**ARGUMENTS, attention=attention, modulated=modulated)
    tokens, style = tf.random.normal((2, 5, 8)), tf.random.normal((2, 6))
    inputs = (tokens, style) if modulated else tokens
    first = block(inputs, num_queries=2).numpy()
    np.testing.assert_allclose(first, block(inputs).numpy()[:, :2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("attention", ["l2", "dot_product"])
@pytest.mark.parametrize("modulated", [False, True])
def test_block_is_the_identity_when_its_branches_end_in_zeros(attention, modulated):
    block = TransformerBlock(**ARGUMENTS, attention=attention, modulated=modulated)
    tokens, style = tf.random.normal((2, 5, 8)), tf.random.normal((2, 6))
    inputs = (tokens, style) if modulated else tokens
    block(inputs)
    for dense in (block.self_attention.output_projection, block.mlp.contract):
        dense.kernel.assign(tf.zeros_like(dense.kernel))
    np.testing.assert_array_equal(block(inputs).numpy(), tokens.numpy())


def test_normalization_reaches_every_linear_layer():
    block = TransformerBlock(**ARGUMENTS, attention="l2", normalization="isn")
    block.build((None, 5, 8))
    dense_layers = [layer for layer in block.submodules if hasattr(layer, "applied_kernel")]
    assert len(dense_layers) == 5
    assert all(layer.normalization == "isn" for layer in dense_layers)
    before = {layer.name: layer.u.numpy() for layer in dense_layers}
    for layer in dense_layers:
        layer.kernel.assign(tf.random.normal(layer.kernel.shape))
    move_power_iterations(dense_layers)
    assert all(np.abs(layer.u.numpy() - before[layer.name]).max() > 1e-3 for layer in dense_layers)


def test_refuses_senseless_arguments():
    with pytest.raises(ValueError, match="attention must be one of"):
        TransformerBlock(**ARGUMENTS, attention="cosine")
    with pytest.raises(ValueError, match="activation must be one of"):
        FeedForward(4, activation="tanh")
