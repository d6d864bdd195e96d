"""Mapping network, generator and discriminator: weight counts of every preset, references, properties."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.config import override
from vitgan_tf.layers.patches import extract_patches
from vitgan_tf.layers.spectral import ISNDense
from vitgan_tf.models.build import build_discriminator, build_generator
from vitgan_tf.models.discriminator import ViTDiscriminator
from vitgan_tf.models.generator import ViTGenerator
from vitgan_tf.models.mapping import MappingNetwork
from vitgan_tf.presets import PRESETS, VARIANTS, preset

# Trainable weights of (generator, discriminator).
WEIGHTS = {
    "digits": (715_777, 416_257),
    "mnist": (11_378_689, 6_531_073),
    "cifar10": (11_379_459, 6_580_225),
    "celeba64": (16_106_499, 10_053_121),
    "lsun_bedroom64": (16_106_499, 10_053_121),
    "celeba128": (16_106_499, 10_053_121),
    "lsun_bedroom128": (16_106_499, 10_053_121),
    "emoji": (11_379_459, 6_580_225),
    "folder": (16_106_499, 10_053_121),
    "tiny": (8_449, 4_993),
}
# cifar10, narrower and wider; the discriminator has 44 d^2 + 240 d + 1 of width d.
SIZE_WEIGHTS = {"small": (2_851_203, 1_668_097), "large": (45_467_139, 26_136_577)}

# The variants of cifar10 whose counts differ from the method's.
VARIANT_WEIGHTS = {
    "vanilla_vit": (8_297_904, 7_116_289),
    "g_add_linear": (8_297_904, 6_580_225),
    "g_add_fourier": (8_725_251, 6_580_225),
    "g_add_conv": (11_592_878, 6_580_225),
    "g_prepend_linear": (8_297_904, 6_580_225),
    "g_prepend_fourier": (8_725_251, 6_580_225),
    "g_prepend_conv": (11_592_878, 6_580_225),
    "g_modulate_linear": (10_952_112, 6_580_225),
    "g_modulate_conv": (14_247_086, 6_580_225),
    **{f"d_{name}_no_overlap": (11_379_459, 6_524_929) for name in ("isn", "sn", "r1", "none")},
    **{f"d_{name}_no_augmentation_no_overlap": (11_379_459, 6_524_929) for name in ("isn", "sn", "r1", "none")},
}


def _count(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@functools.cache
def _counts(data, generator, discriminator):
    """Weights of both networks of these sections; many presets and variants share them."""
    config = dataclasses.replace(preset("cifar10"), data=data, generator=generator, discriminator=discriminator)
    return _count(build_generator(config)), _count(build_discriminator(config))


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_weight_counts(name):
    config = preset(name)
    data = dataclasses.replace(config.data, dataset="any", flip=False)
    assert _counts(data, config.generator, config.discriminator) == WEIGHTS[name]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZE_WEIGHTS)
def test_weight_counts_of_sizes(size):
    config = preset("cifar10", size=size)
    assert _counts(config.data, config.generator, config.discriminator) == SIZE_WEIGHTS[size]


# The baselines have tests of their own.
VIT_VARIANTS = [
    name
    for name in VARIANTS
    if (preset("tiny", name).generator.architecture, preset("tiny", name).discriminator.architecture)
    == ("vit", "vit")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", VIT_VARIANTS)
def test_weight_counts_of_the_variants(name):
    """Also from the equations: what a variant adds to or takes from the method."""
    config = preset("cifar10", name)
    g, d = config.generator, config.discriminator
    width, channels, pixels = g.embed_dim, 3, g.patch_size**2
    linear = pixels * channels * (width + 1)
    fourier = 3 * width + 2 * width * (width + 1) + width * (width + 1) + channels * (width + 1)
    conv, features = 0, width
    for resolution in range(3):
        layers = [(features, features)] if resolution == 0 else [(features, features // 2), (features // 2,) * 2]
        for fan_in, units in layers:
            # Kernel, bias, strength of the noise, affine of the style.
            conv += 9 * fan_in * units + units + 1 + fan_in * (width + 1)
        features = layers[-1][1]
        conv += features * channels + channels + features * (width + 1)
    generator, discriminator = WEIGHTS["cifar10"]
    generator += {"fourier": fourier, "linear": linear, "conv": conv}[g.decoder] - fourier
    if g.style_injection != "modulate":
        generator -= (2 * g.num_blocks + 1) * (2 * width * (width + 1) - 2 * width)  # affine maps; gain and offset
    discriminator -= (8**2 - (4 + 2 * d.patch_overlap) ** 2) * channels * width
    if d.attention == "dot_product":
        discriminator += d.num_blocks * (width**2 + width)  # keys of their own, and a bias of the queries
    data = dataclasses.replace(config.data, dataset="any", flip=False)
    counts = _counts(data, config.generator, config.discriminator)
    assert counts == (generator, discriminator) == VARIANT_WEIGHTS.get(name, WEIGHTS["cifar10"])


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


def test_a_new_render_scale_draws_the_same_function():
    """At three times the density every third pixel, from the second on, has the coordinates of the training."""
    generator, latents = _tiny_generator()
    styles = generator.mapping(latents)
    images = generator.synthesize(styles).numpy()
    np.testing.assert_array_equal(generator.synthesize(styles, rendered_size=8).numpy(), images)
    dense = generator.synthesize(styles, rendered_size=24).numpy()
    np.testing.assert_allclose(dense[:, 1::3, 1::3], images, rtol=1e-4, atol=1e-5)
    assert np.abs(dense[:, ::3, ::3] - images).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("size, dense", [(10, 30), (7, 21), (3, 9)])
def test_sizes_that_the_grid_does_not_divide(size, dense):
    """Pixel j of n is centred where pixel 3 j + 1 of 3 n is; a size unknown beforehand is drawn alike."""
    generator, latents = _tiny_generator()
    styles = generator.mapping(latents)
    images = generator.synthesize(styles, rendered_size=size).numpy()
    assert images.shape == (3, size, size, 1)
    fine = generator.synthesize(styles, rendered_size=dense).numpy()
    np.testing.assert_allclose(fine[:, 1::3, 1::3], images, rtol=1e-4, atol=1e-5)
    even = generator.synthesize(styles, rendered_size=2 * size).numpy()
    unknown = tf.function(
        lambda n: generator.synthesize(styles, rendered_size=n), input_signature=[tf.TensorSpec([], tf.int32)]
    )
    np.testing.assert_allclose(unknown(2 * size).numpy(), even, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decoder", ["linear", "conv"])
def test_other_decoders_refuse_a_new_size(decoder):
    generator = build_generator(override(preset("tiny"), {"generator.decoder": decoder}))
    styles = tf.random.normal((2, 16))
    assert generator.synthesize(styles, rendered_size=8).shape == (2, 8, 8, 1)
    if decoder == "linear":
        with pytest.raises(ValueError, match="LinearPatchDecoder renders at 8 pixels only, got 16"):
            generator.synthesize(styles, rendered_size=16)
    else:
        with pytest.raises(ValueError, match="ConvPatchDecoder renders at 8 pixels only, got 16"):
            generator.synthesize(styles, rendered_size=16)


def test_styles_enter_block_by_block():
    generator, latents = _tiny_generator()
    w = generator.mapping(latents)
    same = tf.tile(w[:, None], [1, 3, 1])
    np.testing.assert_allclose(generator.synthesize(same).numpy(), generator(latents).numpy(), rtol=1e-4, atol=1e-5)
    mixed = tf.concat([same[:, :1], same[::-1, 1:]], axis=1)
    positions = tf.tile(
        generator.positions(tf.constant([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]))[None], [3, 1, 1]
    )
    tokens = generator.blocks[0]((positions, w))
    tokens = generator.norm((generator.blocks[1]((tokens, w[::-1])), w[::-1]))
    patches = generator.decoder(tokens).numpy()
    images = generator.synthesize(mixed).numpy()
    np.testing.assert_allclose(images[:, 4:, :4], patches[:, 2], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="number of styles per image must be 3, got 2"):
        generator.synthesize(same[:, :2])


@pytest.mark.parametrize("attention", ["l2", "dot_product"])
def test_attention_maps_are_those_of_the_forward_pass(attention):
    """From the maps and the values alone, the outputs of every attention are put together again."""
    config = override(preset("tiny"), {"generator.attention": attention, "discriminator.attention": attention})
    generator, discriminator = build_generator(config), build_discriminator(config)
    latents = tf.random.normal((3, 16))
    style = generator.mapping(latents)
    maps = generator.attention_maps(latents).numpy()
    assert maps.shape == (3, 2, 2, 4, 4)
    np.testing.assert_allclose(maps.sum(axis=-1), 1.0, atol=1e-5)
    tokens = generator._embed(style)
    for index, block in enumerate(generator.blocks):
        normalized = block.attention_norm((tokens, style))
        values = block.self_attention.value(normalized).numpy().reshape(3, 4, 2, 8)
        heads = np.einsum("bhqk,bkhd->bqhd", maps[:, index], values).reshape(3, 4, 16)
        expected = block.self_attention(normalized).numpy()
        result = block.self_attention.output_projection(heads.astype(np.float32)).numpy()
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
        tokens = block((tokens, style))
    images = tf.random.uniform((3, 8, 8, 1), -1, 1)
    maps = discriminator.attention_maps(images).numpy()
    assert maps.shape == (3, 2, 2, 2, 2)
    tokens = discriminator._embed(images)
    for index, block in enumerate(discriminator.blocks):
        weights = block.self_attention.attention_weights(block.attention_norm(tokens)).numpy()
        np.testing.assert_allclose(maps[:, index].reshape(3, 2, 4), weights[:, :, 0, 1:], rtol=1e-4, atol=1e-6)
        tokens = block(tokens)


def test_mean_pooling_has_no_class_token_and_counts_every_patch_alike():
    discriminator = build_discriminator(override(preset("tiny"), {"discriminator.pooling": "mean"}))
    images = tf.random.uniform((2, 8, 8, 1), -1, 1)
    assert _count(discriminator) == WEIGHTS["tiny"][1] - 16
    tokens = discriminator.patch_projection(extract_patches(images, 4, 2))
    tokens += discriminator.positions(tf.constant([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]))
    for block in discriminator.blocks:
        tokens = block(tokens)
    expected = discriminator.head(tf.reduce_mean(discriminator.norm(tokens), axis=1))[:, 0]
    np.testing.assert_allclose(discriminator(images).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
    maps = discriminator.attention_maps(images).numpy()
    np.testing.assert_allclose(maps.sum(axis=(-2, -1)), 1.0, atol=1e-5)


@pytest.mark.slow
def test_networks_may_have_different_grids():
    config = preset("celeba128")
    generator, discriminator = build_generator(config), build_discriminator(config)
    assert (generator.grid_size, discriminator.grid_size) == (8, 16)
    images = generator(tf.random.normal((1, 384)))
    assert images.shape == (1, 128, 128, 3)
    assert np.isfinite(discriminator(images).numpy()).all()


NETWORK_VARIANTS = [
    {},
    {"generator.style_injection": "add", "generator.positions": "learned", "discriminator.pooling": "mean"},
    {"generator.style_injection": "prepend", "generator.decoder": "linear", "discriminator.normalization": "sn"},
    {"generator.decoder": "conv", "generator.normalization": "isn", "discriminator.positions": "learned"},
]


@pytest.mark.parametrize("fields", NETWORK_VARIANTS, ids=str)
@pytest.mark.parametrize("build", [build_generator, build_discriminator])
def test_config_round_trip(build, fields):
    network = build(override(preset("tiny"), fields))
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


@pytest.mark.parametrize("name", ["style_injection", "decoder", "positions", "attention", "normalization"])
def test_refuses_unknown_names(name):
    sizes = {"image_size": 8, "num_channels": 1, "embed_dim": 8, "mlp_dim": 8, "num_heads": 2, "num_blocks": 1}
    with pytest.raises(ValueError, match="'nonsense'"):
        ViTGenerator(patch_size=4, latent_dim=8, **sizes, **{name: "nonsense"}).build((None, 8))
    if name not in ("style_injection", "decoder"):
        with pytest.raises(ValueError, match="'nonsense'"):
            ViTDiscriminator(patch_size=4, patch_overlap=2, **sizes, **{name: "nonsense"}).build((None, 8, 8, 1))
    with pytest.raises(ValueError, match="pooling must be 'class_token' or 'mean', got 'nonsense'"):
        ViTDiscriminator(patch_size=4, patch_overlap=2, **sizes, pooling="nonsense")


def test_every_network_field_reaches_the_network():
    """A field of the configuration that no network reads would be a knob without effect."""
    vit = preset("tiny")
    others = [preset("tiny", generator="stylegan2", discriminator=name) for name in ("stylegan2", "resnet")]
    for config, sections in (
        (vit, ("generator", "discriminator")),
        (others[0], ["stylegan2"]),
        (others[1], ["resnet"]),
    ):
        found = {**build_generator(config).get_config()}, {**build_discriminator(config).get_config()}
        for section in sections:
            # A network of two sections has what either says.
            networks = {"generator": found[:1], "discriminator": found[1:], "resnet": found[1:]}.get(section, found)
            for field in dataclasses.fields(getattr(config, section)):
                values = [network[field.name] for network in networks if field.name in network]
                if field.name != "architecture":
                    assert values and set(values) == {getattr(getattr(config, section), field.name)}, field.name
    names = [type(build(config)).__name__ for config in others for build in (build_generator, build_discriminator)]
    assert names == ["StyleGAN2Generator", "StyleGAN2Discriminator", "StyleGAN2Generator", "ResNetDiscriminator"]
    assert build_generator(others[0]).get_config()["mapping_layers"] == others[0].generator.mapping_layers == 2


def test_every_style_reaches_the_image_and_none_takes_anothers_place():
    """One for each block and one for the last norm: exchanging two of them, or changing one, changes the images."""
    generator = build_generator(preset("tiny"))
    assert generator.num_styles == 3
    styles = tf.random.normal((2, 3, 16))
    images = generator.synthesize(styles).numpy()
    for order in ([1, 0, 2], [0, 2, 1], [0, 1, 1], [0, 0, 2], [1, 1, 2]):
        assert np.abs(generator.synthesize(tf.gather(styles, order, axis=1)).numpy() - images).max() > 1e-3
