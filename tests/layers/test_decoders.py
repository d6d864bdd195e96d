"""The Fourier patch decoder against a reference that makes every token's weight matrices."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.decoders import FourierPatchDecoder


def _modulated(layer, x, y, demodulate):
    kernel = layer.kernel.numpy().astype(np.float64) / math.sqrt(layer.kernel.shape[0])
    affine = layer.affine.kernel.numpy().astype(np.float64) / math.sqrt(layer.affine.kernel.shape[0])
    weights = (y @ affine + layer.affine.bias.numpy())[:, None] * kernel
    if demodulate:
        weights = weights / np.sqrt((weights**2).sum(axis=0) + 1e-8)
    return x @ weights + layer.bias.numpy()


def _naive_pixel(decoder, y, row, column):
    """One pixel of one token's patch."""
    size = decoder.patch_size
    coordinates = np.array([(2 * row + 1) / size - 1, (2 * column + 1) / size - 1])
    frequencies = decoder.embedding.frequencies.numpy().astype(np.float64)
    code = np.sin(math.pi / math.sqrt(2) * coordinates @ frequencies + decoder.embedding.phases.numpy())
    hidden = _modulated(decoder.hidden, code, y, demodulate=True)
    hidden = math.sqrt(2) * np.maximum(hidden, 0.2 * hidden)
    return _modulated(decoder.to_pixels, hidden, y, demodulate=False)


@pytest.mark.parametrize("patch_size, channels", [(2, 3), (3, 1)])
def test_equals_a_reference_that_materialises_the_weights(patch_size, channels):
    decoder = FourierPatchDecoder(patch_size, channels, hidden_dim=6)
    tokens = np.random.normal(size=(2, 3, 5))
    decoder.build((None, 3, 5))
    for layer in (decoder.hidden, decoder.to_pixels):
        layer.bias.assign(tf.random.normal(layer.bias.shape))
    result = decoder(tf.constant(tokens, tf.float32)).numpy()
    assert result.shape == (2, 3, patch_size, patch_size, channels)
    for image, token, row, column in np.ndindex(2, 3, patch_size, patch_size):
        expected = _naive_pixel(decoder, tokens[image, token], row, column)
        np.testing.assert_allclose(result[image, token, row, column], expected, rtol=1e-4, atol=1e-5)


def test_every_token_decodes_alone():
    decoder = FourierPatchDecoder(4, 3, hidden_dim=8)
    tokens = tf.random.normal((2, 6, 8))
    together = decoder(tokens).numpy()
    order = np.random.permutation(6)
    alone = decoder(tf.gather(tokens, order, axis=1)).numpy()
    np.testing.assert_allclose(alone, together[:, order], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(decoder(tokens[1:]).numpy(), together[1:], rtol=1e-5, atol=1e-5)


def test_refuses_senseless_arguments():
    with pytest.raises(ValueError, match="must be at least 1, got 4, 0, 8"):
        FourierPatchDecoder(4, 0, 8)
