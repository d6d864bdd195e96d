"""Whole networks against the float64 references in tests/reference: outputs, and gradients of every weight.

The references are written from the equations alone. All weights are random, so that those which start at 0 or 1
count too.
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from reference import networks as reference
from reference.comparison import (
    assert_close,
    converge_power_iterations,
    float64_layers,
    moved,
    randomize,
    unit_directions,
    variables,
    weights,
)
from reference.layers import to_float64

from vitgan_tf.config import override
from vitgan_tf.layers.formulas import fused_ops
from vitgan_tf.layers.spectral import move_power_iterations, normalized_layers
from vitgan_tf.models.build import build_discriminator, build_generator
from vitgan_tf.presets import preset

pytestmark = pytest.mark.slow


def _config(network, changes, **data):
    """Of the tiny networks, with some fields of one of them and of the data changed."""
    values = {f"{network}.{name}": value for name, value in changes.items()}
    return override(preset("tiny"), {**values, **{f"data.{name}": value for name, value in data.items()}})


def _generator(changes, **data):
    """A generator with random weights, and the reference's arguments for it."""
    config = _config("generator", changes, **data)
    network = build_generator(config)
    randomize(network)
    names = "style_injection", "decoder", "attention", "normalization", "positions", "activation", "num_heads"
    arguments = {name: getattr(config.generator, name) for name in (*names, "patch_size", "mapping_lr_multiplier")}
    grid = config.data.image_size // config.generator.patch_size
    return network, {**arguments, "grid": grid, "channels": config.data.num_channels}


def _discriminator(changes, **data):
    config = _config("discriminator", changes, **data)
    network = build_discriminator(config)
    randomize(network)
    names = "attention", "normalization", "pooling", "positions", "activation", "num_heads"
    return network, {name: getattr(config.discriminator, name) for name in (*names, "patch_size", "patch_overlap")}


def _latents():
    return np.random.normal(size=(2, 16)).astype(np.float32)


def _images(num_channels=1):
    return np.random.uniform(-1, 1, size=(2, 8, 8, num_channels)).astype(np.float32)


def _id(changes):
    return "-".join(map(str, changes.values())) or "default"


GENERATORS = [
    *(
        {"style_injection": injection, "decoder": decoder}
        for injection, decoder in itertools.product(("modulate", "add", "prepend"), ("fourier", "linear", "conv"))
    ),
    {"attention": "l2"},
    {"normalization": "isn"},
    {"normalization": "sn"},
    {"attention": "l2", "normalization": "isn"},
    {"positions": "learned"},
    {"activation": "relu"},
    {"activation": "silu"},
    {"patch_size": 2},
    {"patch_size": 2, "decoder": "conv"},
]


@pytest.mark.parametrize("changes", GENERATORS, ids=_id)
def test_generator(changes):
    network, arguments = _generator(changes, num_channels=3)
    latents = _latents()
    expected = reference.generator(weights(network), latents, **arguments)
    assert_close(network(latents), expected)


@pytest.mark.parametrize("patch_size", [2, 8])
def test_generator_renders_another_pixel_density(patch_size):
    network, arguments = _generator({}, num_channels=3)
    latents = _latents()
    expected = reference.generator(weights(network), latents, **{**arguments, "patch_size": patch_size})
    rendered = network.synthesize(network.mapping(latents), rendered_size=network.grid_size * patch_size)
    assert_close(rendered, expected)


DISCRIMINATORS = [
    *(
        {"attention": attention, "normalization": normalization, "pooling": pooling}
        for attention, normalization, pooling in itertools.product(
            ("l2", "dot_product"), ("isn", "sn", "none"), ("class_token", "mean")
        )
    ),
    {"patch_overlap": 0},
    {"patch_overlap": 1},
    {"patch_overlap": 2, "patch_size": 2},
    {"patch_overlap": 0, "attention": "dot_product", "normalization": "none"},
    {"positions": "learned"},
    {"positions": "learned", "pooling": "mean"},
    {"activation": "relu"},
    {"activation": "silu"},
]


@pytest.mark.parametrize("changes", DISCRIMINATORS, ids=_id)
def test_discriminator(changes):
    network, arguments = _discriminator(changes, num_channels=3)
    images = _images(num_channels=3)
    # Twice: in the second round every u has moved.
    for _ in range(2):
        expected = reference.discriminator(weights(network), images, **arguments)
        assert_close(network(images), expected)
        move_power_iterations(normalized_layers(network))
        randomize(network)


def _gradients(network, inputs, upstream, compiled):
    """d sum(upstream y) / d weight by the library, by path."""

    @tf.function(autograph=False)
    def function(inputs, upstream):
        with fused_ops(compiled), tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(inputs) * upstream)
        return tape.gradient(loss, {path: v for path, v in variables(network).items() if v.trainable})

    dtype = network.variables[0].dtype
    gradients = function(tf.constant(inputs, dtype), tf.constant(upstream, dtype))
    assert len(gradients) == len(network.trainable_variables)
    return {path: gradient.numpy() for path, gradient in gradients.items()}


def _check_gradients(build, inputs, reference_network, changes, **data):
    """Along a random direction of each weight, against central differences of the reference.

    In float64 the plain formulas; in float32 the training's compiled kernels.
    """
    single, arguments = build(changes, **data)
    converge_power_iterations(single)
    with float64_layers():
        double, _ = build(changes, **data)
    double.set_weights(single.get_weights())
    values = to_float64(weights(single))
    upstream = np.random.normal(size=double(inputs).shape)
    plain = _gradients(double, inputs, upstream, compiled=False)
    compiled = _gradients(single, inputs, upstream, compiled=True)
    directions = unit_directions(values, plain)
    expected = []
    for path, direction in directions.items():
        steps = [moved(values, path, step * direction) for step in (1e-5, -1e-5)]
        ends = [np.sum(upstream * reference_network(step, inputs, **arguments)) for step in steps]
        expected.append((ends[0] - ends[1]) / 2e-5)
    expected, names = np.array(expected), str(list(directions))
    assert all(gradient.dtype == np.float64 for gradient in plain.values())
    plain, compiled = ([np.sum(found[path] * directions[path]) for path in directions] for found in (plain, compiled))
    np.testing.assert_allclose(plain, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max(), err_msg=names)
    assert_close(compiled, expected, err_msg=names)


@pytest.mark.parametrize(
    "changes, image_size",
    [
        ({}, 8),
        ({"style_injection": "add", "decoder": "linear"}, 8),
        ({"style_injection": "prepend", "attention": "l2", "normalization": "isn", "positions": "learned"}, 8),
        ({"decoder": "conv", "num_blocks": 1, "patch_size": 2}, 4),
    ],
    ids=["default", "add-linear", "prepend-l2-isn-learned", "conv"],
)
def test_gradients_of_the_generator(changes, image_size):
    latents = _latents().astype(np.float64)
    _check_gradients(_generator, latents, reference.generator, changes, image_size=image_size)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention": "dot_product", "normalization": "none", "patch_overlap": 0},
        {"attention": "dot_product", "normalization": "sn", "pooling": "mean", "positions": "learned"},
        {"attention": "l2", "normalization": "none", "activation": "silu"},
    ],
    ids=_id,
)
def test_gradients_of_the_discriminator(changes):
    images = _images().astype(np.float64)
    _check_gradients(_discriminator, images, reference.discriminator, changes)
