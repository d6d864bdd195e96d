"""The Fourier decoder against one that makes every token's weights; the linear and the conv decoder."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.decoders import ConvPatchDecoder, FourierPatchDecoder, LinearPatchDecoder
from vitgan_tf.layers.resampling import upsample
from vitgan_tf.randomness import BatchRandom


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


def test_points_of_ones_own_are_drawn_where_they_lie():
    """Shared and per token, the function of the coordinates is the one that draws the patch."""
    decoder = FourierPatchDecoder(4, 3, hidden_dim=8)
    tokens = tf.random.normal((2, 6, 8))
    patches = decoder(tokens).numpy()
    centres = np.array([[[(2 * y + 1) / 4 - 1, (2 * x + 1) / 4 - 1] for x in range(4)] for y in range(4)], np.float32)
    shared = decoder(tokens, tf.constant(centres[1:3])).numpy()
    assert shared.shape == (2, 6, 2, 4, 3)
    np.testing.assert_allclose(shared, patches[:, :, 1:3], rtol=1e-5, atol=1e-5)
    # Token k is drawn at the points of its row and column k mod 4 alone.
    own = np.stack([centres[k % 4 : k % 4 + 1, k % 4 : k % 4 + 1] for k in range(6)])
    pixels = decoder(tokens, tf.constant(own)).numpy()
    assert pixels.shape == (2, 6, 1, 1, 3)
    for k in range(6):
        np.testing.assert_allclose(pixels[:, k, 0, 0], patches[:, k, k % 4, k % 4], rtol=1e-5, atol=1e-5)


def test_linear_decoder_equals_numpy():
    decoder = LinearPatchDecoder(patch_size=2, num_channels=3)
    tokens = np.random.normal(size=(2, 4, 5))
    decoder.build((None, 4, 5))
    decoder.to_pixels.bias.assign(tf.random.normal((12,)))
    result = decoder(tf.constant(tokens, tf.float32)).numpy()
    kernel = decoder.to_pixels.kernel.numpy().astype(np.float64) / math.sqrt(5)
    for image, token, row, column, channel in np.ndindex(2, 4, 2, 2, 3):
        unit = (row * 2 + column) * 3 + channel
        expected = tokens[image, token] @ kernel[:, unit] + decoder.to_pixels.bias.numpy()[unit]
        np.testing.assert_allclose(result[image, token, row, column, channel], expected, rtol=1e-5, atol=1e-5)


def _conv_decoder(patch_size=4):
    decoder = ConvPatchDecoder(patch_size, num_channels=3)
    tokens, style = tf.random.normal((2, 4, 64)), tf.random.normal((2, 5))
    decoder.build([tokens.shape, style.shape])
    for layer in decoder.synthesis.convolutions:
        layer.noise_strength.assign(0.3)
    return decoder, tokens, style


def test_conv_decoder_is_made_of_its_parts():
    decoder, tokens, style = _conv_decoder()
    convolutions, to_images = decoder.synthesis.convolutions, decoder.synthesis.to_images
    assert [(layer.units, layer.upsample) for layer in convolutions] == [
        (64, False), (32, True), (32, False), (16, True), (16, False),
    ]  # fmt: skip
    # Token 2 of the 2 x 2 map is the lower left one.
    features = np.zeros((2, 2, 2, 64), np.float32)
    for token in range(4):
        features[:, token // 2, token % 2] = tokens.numpy()[:, token]
    features = convolutions[0]((features, style))
    images = to_images[0]((features, style))
    for index in (1, 2):
        features = convolutions[2 * index - 1]((features, style))
        features = convolutions[2 * index]((features, style))
        images = upsample(images) + to_images[index]((features, style))
    assert images.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(decoder((tokens, style)).numpy(), images.numpy(), rtol=1e-5, atol=1e-5)


def test_conv_decoder_draws_noise_from_the_seed_for_every_image_and_layer():
    decoder, tokens, style = _conv_decoder()
    tokens, style = tf.repeat(tokens[:1], 2, axis=0), tf.repeat(style[:1], 2, axis=0)
    fixed = decoder((tokens, style)).numpy()
    np.testing.assert_allclose(fixed[0], fixed[1], rtol=1e-5, atol=1e-5)
    random = BatchRandom(tf.constant([1, 2]), 2)
    drawn = decoder((tokens, style), random=random).numpy()
    assert np.abs(drawn[0] - drawn[1]).max() > 0.05
    np.testing.assert_array_equal(decoder((tokens, style), random=random).numpy(), drawn)
    assert np.abs(decoder((tokens, style), random=random.fork(1)).numpy() - drawn).max() > 0.05


def test_refuses_senseless_arguments():
    with pytest.raises(ValueError, match="must be at least 1, got 4, 0, 8"):
        FourierPatchDecoder(4, 0, 8)
    with pytest.raises(ValueError, match="must be at least 1, got 0, 3"):
        LinearPatchDecoder(0, 3)
    with pytest.raises(ValueError, match="must be at least 1, got 2, 0"):
        ConvPatchDecoder(2, 0)
    with pytest.raises(ValueError, match="patch_size must be a power of 2, got 6"):
        ConvPatchDecoder(6, 3)
    with pytest.raises(ValueError, match="num_tokens must be a square, got 5"):
        ConvPatchDecoder(2, 3).build([(None, 5, 8), (None, 4)])
