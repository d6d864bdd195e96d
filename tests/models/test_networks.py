"""Mapping network, generator and discriminator: weight counts of every preset, references, properties."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.patches import extract_patches
from vitgan_tf.layers.spectral import ISNDense
from vitgan_tf.models.discriminator import ViTDiscriminator, build_discriminator
from vitgan_tf.models.generator import ViTGenerator, build_generator
from vitgan_tf.models.mapping import MappingNetwork
from vitgan_tf.presets import PRESETS, preset

# Trainable weights of (generator, discriminator).
WEIGHTS = {
    "digits": (715_777, 416_257),
    "mnist": (11_378_689, 6_531_073),
    "cifar10": (11_379_459, 6_580_225),
    "celeba64": (16_106_499, 10_053_121),
    "lsun_bedroom64": (16_106_499, 10_053_121),
    "tiny": (8_449, 4_993),
}


def _count(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@pytest.mark.parametrize("name", PRESETS)
def test_weight_counts(name):
    config = preset(name)
    assert (_count(build_generator(config)), _count(build_discriminator(config))) == WEIGHTS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_weight_counts_follow_from_the_equations(name):
    """The literals above, put together from the layers of the paper."""
    config = preset(name)
    g, d, channels = config.generator, config.discriminator, config.data.num_channels

    def dense(fan_in, units):
        return fan_in * units + units

    def block(width, mlp_dim, attention_weights):
        return attention_weights + dense(width, width) + dense(width, mlp_dim) + dense(mlp_dim, width)

    sln = 2 * dense(g.embed_dim, g.embed_dim)
    mapping = dense(g.latent_dim, g.embed_dim) + (g.mapping_layers - 1) * dense(g.embed_dim, g.embed_dim)
    qkv = 3 * g.embed_dim**2 + g.embed_dim
    modulated = 2 * dense(g.embed_dim, g.embed_dim) + dense(g.embed_dim, g.embed_dim) + dense(g.embed_dim, channels)
    generator = mapping + 3 * g.embed_dim + g.num_blocks * (block(g.embed_dim, g.mlp_dim, qkv) + 2 * sln) + sln
    generator += 3 * g.embed_dim + modulated
    patch = (d.patch_size + 2 * d.patch_overlap) ** 2 * channels
    norm = 2 * d.embed_dim
    discriminator = dense(patch, d.embed_dim) + 3 * d.embed_dim + d.embed_dim + norm + dense(d.embed_dim, 1)
    discriminator += d.num_blocks * (block(d.embed_dim, d.mlp_dim, 2 * d.embed_dim**2) + 2 * norm)
    assert (generator, discriminator) == WEIGHTS[name]


def test_presets_have_the_numbers_of_the_paper():
    """Image, blocks, width, MLP, heads, patch, tokens, batch, learning rates, Adam, bCR, augmentation."""
    for name, size, blocks, patch in (
        ("cifar10", 32, 4, 4),
        ("mnist", 32, 4, 4),
        ("celeba64", 64, 6, 8),
        ("lsun_bedroom64", 64, 6, 8),
    ):
        config = preset(name)
        assert config.data.image_size == size
        for network in (config.generator, config.discriminator):
            assert (network.num_blocks, network.embed_dim, network.mlp_dim) == (blocks, 384, 1536)
            assert (network.num_heads, network.patch_size) == (6, patch)
            assert (size // network.patch_size) ** 2 == 64
        assert config.discriminator.patch_overlap == patch // 2
        assert (config.generator.latent_dim, config.generator.mapping_layers) == (384, 8)
        train = config.train
        assert (train.batch_size, train.adam_beta1, train.adam_beta2) == (128, 0.0, 0.99)
        assert train.generator_learning_rate == train.discriminator_learning_rate == 0.002
        assert train.ema_halflife_kimg == 10.0
        assert config.loss.bcr_lambda_real == config.loss.bcr_lambda_fake == 10.0
        assert set(config.augment.policy) == {"color", "translation", "cutout", "scaling"}
        assert config.augment.probability == 0.8


def test_mapping_network_equals_numpy():
    network = MappingNetwork(6, num_layers=3, lr_multiplier=0.01)
    z = np.random.normal(size=(4, 5)) * 3
    network.build(z.shape)
    for layer in network.dense_layers:
        layer.bias.assign(100.0 * tf.random.normal(layer.bias.shape))
    w = z / np.sqrt((z**2).mean(axis=1, keepdims=True) + 1e-8)
    for layer in network.dense_layers:
        kernel = layer.kernel.numpy().astype(np.float64) * 0.01 / math.sqrt(layer.kernel.shape[0])
        w = w @ kernel + 0.01 * layer.bias.numpy()
        w = math.sqrt(2) * np.where(w > 0, w, 0.2 * w)
    np.testing.assert_allclose(network(z.astype(np.float32)).numpy(), w, rtol=1e-4, atol=1e-5)


def test_mapping_ignores_the_length_of_latents_and_keeps_their_scale():
    network = MappingNetwork(256)
    z = tf.random.normal((64, 256))
    w = network(z).numpy()
    np.testing.assert_allclose(network(z * 7.0).numpy(), w, rtol=1e-3, atol=1e-4)
    assert 0.3 < np.mean(w**2) < 3.0


def _tiny_generator():
    generator = build_generator(preset("tiny"))
    return generator, tf.random.normal((3, generator.latent_dim))


def test_generator_is_made_of_its_parts():
    """Positions -> blocks under one style -> norm -> patches in their cells."""
    generator, latents = _tiny_generator()
    images = generator(latents).numpy()
    style = generator.mapping(latents)
    centres = [(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]
    tokens = tf.repeat(generator.positions(tf.constant(centres))[None], 3, axis=0)
    for block in generator.blocks:
        tokens = block((tokens, style))
    patches = generator.decoder(generator.norm((tokens, style))).numpy()
    for cell in range(4):
        row, column = 4 * (cell // 2), 4 * (cell % 2)
        np.testing.assert_allclose(
            images[:, row : row + 4, column : column + 4], patches[:, cell], rtol=1e-4, atol=1e-5
        )


def test_generator_sees_latents_through_the_style_alone():
    generator, latents = _tiny_generator()
    np.testing.assert_allclose(
        generator.synthesize(generator.mapping(latents)).numpy(), generator(latents).numpy(), rtol=1e-5, atol=1e-6
    )
    assert np.abs(np.diff(generator(latents).numpy(), axis=0)).max() > 0.1
    alone = generator(latents[1:2]).numpy()
    np.testing.assert_allclose(generator(latents).numpy()[1:2], alone, rtol=1e-4, atol=1e-5)


def test_discriminator_is_made_of_its_parts():
    config = preset("tiny")
    discriminator = build_discriminator(config)
    images = tf.random.uniform((2, 8, 8, 1), -1, 1)
    logits = discriminator(images).numpy()
    assert logits.shape == (2,)
    assert discriminator.patch_projection.kernel.shape == (64, 16)
    # The same, put together from its parts with every token carried to the end.
    centres = [(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]
    tokens = discriminator.patch_projection(extract_patches(images, 4, 2))
    tokens += discriminator.positions(tf.constant(centres))
    tokens = tf.concat([tf.repeat(discriminator.class_token, 2, axis=0), tokens], axis=1)
    for block in discriminator.blocks:
        tokens = block(tokens)
    expected = discriminator.head(discriminator.norm(tokens))[:, 0, 0]
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-5)
    for image in range(2):
        np.testing.assert_allclose(
            discriminator(images[image : image + 1]).numpy(), logits[image], rtol=1e-3, atol=1e-5
        )


def test_discriminator_normalises_projection_and_blocks_but_not_the_head():
    discriminator = build_discriminator(preset("tiny"))
    normalized = [layer for layer in discriminator.submodules if isinstance(layer, ISNDense)]
    assert len(normalized) == 1 + 2 * 5
    assert all(layer.normalization == "isn" for layer in normalized)
    assert not isinstance(discriminator.head, ISNDense)
    # At initialisation the normalisation changes nothing: replace each applied kernel by the equalised one.
    images = tf.random.uniform((2, 8, 8, 1), -1, 1)
    expected = discriminator(images).numpy()
    for layer in normalized:
        layer.normalization = "none"
    np.testing.assert_allclose(discriminator(images).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_generator_does_not_normalise():
    generator = build_generator(preset("tiny"))
    assert all(layer.normalization == "none" for layer in generator.submodules if isinstance(layer, ISNDense))
    assert generator.non_trainable_variables == []


@pytest.mark.parametrize("build", [build_generator, build_discriminator])
def test_config_round_trip(build):
    network = build(preset("tiny"))
    twin = type(network).from_config(network.get_config())
    shape = (None, 16) if build is build_generator else (None, 8, 8, 1)
    twin.build(shape)
    twin.set_weights(network.get_weights())
    inputs = tf.random.normal((2, *shape[1:]))
    np.testing.assert_array_equal(twin(inputs).numpy(), network(inputs).numpy())


def test_refuses_images_that_are_no_whole_number_of_patches():
    sizes = {"num_channels": 1, "embed_dim": 8, "mlp_dim": 8, "num_heads": 2, "num_blocks": 1}
    with pytest.raises(ValueError, match="image_size 9 is not a multiple of patch_size 4"):
        ViTGenerator(image_size=9, patch_size=4, latent_dim=8, **sizes)
    with pytest.raises(ValueError, match="image_size 9 is not a multiple of patch_size 4"):
        ViTDiscriminator(image_size=9, patch_size=4, patch_overlap=2, **sizes)


def test_every_network_field_reaches_the_network():
    """A field of the configuration that no network reads would be a knob without effect."""
    for section, build in (("generator", build_generator), ("discriminator", build_discriminator)):
        network_config = build(preset("tiny")).get_config()
        for field in dataclasses.fields(getattr(preset("tiny"), section)):
            assert network_config[field.name] == getattr(getattr(preset("tiny"), section), field.name)
