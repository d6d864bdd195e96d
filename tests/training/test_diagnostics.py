"""Spectral norms against numpy, attention pictures pixel by pixel, and a training that does not notice."""

import types

import numpy as np
import pytest
import tensorflow as tf
from support.events import events

from vitgan_tf.config import override
from vitgan_tf.data.loading import load_images
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.images import to_float, to_uint8
from vitgan_tf.models.build import build_discriminator, build_generator
from vitgan_tf.presets import preset
from vitgan_tf.runs.directory import RunDirectory
from vitgan_tf.training.build import build_gan
from vitgan_tf.training.callbacks.diagnostics import DiagnosticsWriter
from vitgan_tf.training.callbacks.of_run import writing_callbacks
from vitgan_tf.training.callbacks.writers import CheckpointWriter, ScalarWriter
from vitgan_tf.training.diagnostics import (
    discriminator_attention,
    generator_attention,
    spectral_layers,
    spectral_norms,
)
from vitgan_tf.training.summaries import Summaries

pytestmark = pytest.mark.slow

TINY = override(preset("tiny"), {"train.xla": "off"})
BLOCK_LAYERS = ["self_attention/value", "self_attention/output", "mlp/expand", "mlp/contract"]


def _events(path):
    """tag -> {step: scalar, or image (height, width, channels)} of every TensorBoard summary."""
    found = {}
    for step, tag, value in events(path):
        assert step not in found.setdefault(tag, {})
        found[tag][step] = tf.io.decode_png(value[2]).numpy() if value.ndim else float(value)
    return found


def _disturb(network, seed=0):
    """New kernels under the spectral norms, whose vectors u are then no longer singular vectors."""
    random = np.random.default_rng(seed)
    for layer in spectral_layers(network).values():
        layer.kernel.assign(3.0 * layer.kernel + random.normal(size=layer.kernel.shape).astype(np.float32))


def _expected_norms(layer):
    """One power iteration, and the largest singular value, of the equalised kernel."""
    kernel = layer.kernel.numpy().astype(np.float64) / np.sqrt(layer.kernel.shape[0])
    v = kernel @ layer.u.numpy()[0]
    return np.linalg.norm(v / np.linalg.norm(v) @ kernel), np.linalg.svd(kernel, compute_uv=False)[0]


def _real_images(count=3):
    return to_float(load_images(TINY.data)[:count])


def _values(gan):
    optimizers = gan.generator_optimizer.variables + gan.discriminator_optimizer.variables
    return [variable.numpy() for variable in gan.variables + optimizers]


def _assert_same(values, expected):
    assert len(values) == len(expected)
    for value, other in zip(values, expected):
        np.testing.assert_array_equal(value, other)


def test_layers_are_named_by_path():
    expected = [f"block_{i}/{name}" for i in range(2) for name in ["self_attention/query_key", *BLOCK_LAYERS]]
    layers = spectral_layers(build_discriminator(TINY))
    assert sorted(layers) == sorted(f"discriminator/{path}" for path in ["patch_projection", *expected])
    assert layers["discriminator/block_1/mlp/expand"].kernel.shape == (16, 32)
    assert layers["discriminator/block_1/mlp/contract"].kernel.shape == (32, 16)
    generator = build_generator(override(TINY, {"generator.normalization": "sn"}))
    names = ["self_attention/query", "self_attention/key", *BLOCK_LAYERS]
    assert sorted(spectral_layers(generator)) == sorted(
        f"generator/block_{i}/{name}" for i in range(2) for name in names
    )
    assert spectral_layers(build_generator(TINY)) == {}


@pytest.mark.parametrize("normalization", ["isn", "sn"])
def test_spectral_norms_against_numpy(normalization):
    discriminator = build_discriminator(override(TINY, {"discriminator.normalization": normalization}))
    layers = spectral_layers(discriminator)
    for estimate, exact in spectral_norms(layers).values():  # u starts at the singular vector
        assert estimate == pytest.approx(exact, rel=1e-6)
    _disturb(discriminator)
    norms = spectral_norms(layers)
    assert list(norms) == list(layers)
    for path, (estimate, exact) in norms.items():
        expected_estimate, expected_exact = _expected_norms(layers[path])
        assert estimate == pytest.approx(expected_estimate, rel=1e-5)
        assert exact == pytest.approx(expected_exact, rel=1e-12)
    assert max(1.0 - estimate / exact for estimate, exact in norms.values()) > 1e-3


# The pictures of `tiny`, 2 x 2 patches and 2 blocks, are 3 columns of cells, each pixel drawn twice.


@pytest.mark.parametrize("num_channels", [1, 3])
def test_discriminator_picture(monkeypatch, num_channels):
    discriminator = build_discriminator(override(TINY, {"data.num_channels": num_channels}))
    images = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 8, 8, num_channels)).astype(np.float32)
    heads = np.zeros((2, 2, 2, 2, 2), np.float32)  # image, block, head, row, column
    heads[0, 0] = [[[0.0, 0.2], [0.4, 0.2]], [[0.2, 0.0], [0.4, 0.0]]]
    heads[0, 1] = 0.25
    heads[1, 0] = 0.0  # all to the class token itself
    heads[1, 1, :, 1] = [[0.5, 0.0], [0.3, 0.2]]
    monkeypatch.setattr(
        discriminator, "attention_maps", lambda given: tf.where(tf.reduce_all(given == images), heads, 0.0)
    )
    picture = discriminator_attention(discriminator, images)
    cell = 128 + 2 * 4 + 1
    assert picture.shape == (2 * (2 * cell - 1), 2 * (3 * cell - 1), num_channels) and picture.dtype == np.uint8
    levels = [
        [[[64, 64], [255, 64]], [[255, 255], [255, 255]]],
        [[[0, 0], [0, 0]], [[0, 0], [255, 64]]],
    ]
    expected = np.full((2 * cell, 3 * cell, num_channels), 128, np.uint8)
    for row in range(2):
        shown = [to_uint8(images[row]).numpy().repeat(16, axis=0).repeat(16, axis=1)]
        shown += [np.kron(levels[row][block], np.ones((64, 64)))[..., None] for block in range(2)]
        for column in range(3):
            y, x = row * cell + 4, column * cell + 4
            expected[y : y + 128, x : x + 128] = shown[column]
    np.testing.assert_array_equal(picture[::2, ::2], expected[:-1, :-1])
    np.testing.assert_array_equal(picture[1::2, 1::2], picture[::2, ::2])


@pytest.mark.parametrize("style_injection, num_channels", [("modulate", 1), ("prepend", 1), ("modulate", 3)])
def test_generator_picture(monkeypatch, style_injection, num_channels):
    changes = {"generator.style_injection": style_injection, "data.num_channels": num_channels}
    generator = build_generator(override(TINY, changes))
    latents = tf.random.stateless_normal([2, 16], [1, 2])
    heads = np.zeros((2, 2, 2, 4, 4), np.float32)  # image, block, head, token, token
    heads[0, 0, :] = np.eye(4)[[1, 2, 3, 0]]
    heads[0, 1] = np.eye(4), np.full((4, 4), 0.25)
    heads[1, 0] = [[0.1, 0.2, 0.3, 0.4]] * 4
    heads[1, 1] = 0.25
    levels = np.zeros((2, 2, 4, 4), np.uint8)
    levels[0, 0] = 255 * np.eye(4)[[1, 2, 3, 0]]
    levels[0, 1] = np.where(np.eye(4), 255, 51)  # 0.625 and 0.125
    levels[1, 0] = [64, 128, 191, 255]
    levels[1, 1] = 255
    if style_injection == "prepend":
        heads = np.pad(0.3 * heads, [(0, 0)] * 3 + [(1, 0), (1, 0)], constant_values=0.7)
    monkeypatch.setattr(
        generator, "attention_maps", lambda given: tf.where(tf.reduce_all(given == latents), heads, 0.0)
    )
    picture = generator_attention(generator, latents)
    map_edge = 2 * 32 + 2
    block_edge = 2 * map_edge + 1
    cell = block_edge + 2 * 4 + 1
    assert picture.shape == (2 * (2 * cell - 1), 2 * (3 * cell - 1), num_channels) and picture.dtype == np.uint8
    expected = np.full((2 * cell, 3 * cell, num_channels), 128, np.uint8)
    images = to_uint8(generator(latents)).numpy()
    for row in range(2):
        y, x = row * cell + 4 + 2, 4 + 2
        expected[y : y + 128, x : x + 128] = images[row].repeat(16, axis=0).repeat(16, axis=1)
        for block in range(2):
            for token in range(4):
                y = row * cell + 4 + (token // 2) * (map_edge + 1) + 1
                x = (1 + block) * cell + 4 + (token % 2) * (map_edge + 1) + 1
                shown = np.kron(levels[row, block, token].reshape(2, 2), np.ones((32, 32)))
                expected[y : y + 64, x : x + 64] = shown[..., None]
    np.testing.assert_array_equal(picture[::2, ::2], expected[:-1, :-1])


def test_the_networks_own_attention_is_drawn_wide_enough():
    discriminator, generator = build_discriminator(TINY), build_generator(TINY)
    images, latents = _real_images(), tf.random.stateless_normal([3, 16], [0, 0])
    # Of the second image in the second block, the generator's first token: edge of a cell, and of a patch in the map.
    cases = [
        (discriminator_attention(discriminator, images), discriminator.attention_maps(images)[1, 1], 137, 64),
        (generator_attention(generator, latents), generator.attention_maps(latents)[1, 1, :, 0], 142, 32),
    ]
    for picture, heads, cell, patch in cases:
        assert picture.shape[1] >= 640
        weights = heads.numpy().mean(axis=0).reshape(2, 2)
        assert weights.max() > 1.01 * weights.min()
        picture = picture[::2, ::2, 0]
        y, x = cell + 4 + patch // 2, 2 * cell + 4 + patch // 2
        shown = picture[y : y + 2 * patch : patch, x : x + 2 * patch : patch]
        np.testing.assert_allclose(shown, 255 * weights / weights.max(), atol=0.51)


def _model():
    """What the writer sees of a GAN, with a generator that has spectral norms too."""
    config = override(TINY, {"generator.normalization": "isn"})
    ema_generator = build_generator(config)
    generator, discriminator = build_generator(config), build_discriminator(config)
    return types.SimpleNamespace(generator=generator, discriminator=discriminator, ema_generator=ema_generator)


def _run(callback, model, steps):
    """Disturbs the weights at every step, and returns what is to be read at step 1, 2, ..."""
    networks = model.discriminator, model.generator
    norms = []
    callback.set_model(model)
    callback.on_train_begin()
    for batch in range(steps):
        for network in networks:
            _disturb(network, seed=batch)
        layers = {path: layer for network in networks for path, layer in spectral_layers(network).items()}
        norms.append({path: _expected_norms(layer) for path, layer in layers.items()})
        before = [variable.numpy() for network in vars(model).values() for variable in network.variables]
        callback.on_train_batch_end(batch, {"d_loss": 0.0})
        _assert_same([variable.numpy() for network in vars(model).values() for variable in network.variables], before)
    return norms


def test_writes_at_its_interval_what_the_weights_are_then(tmp_path):
    model, images = _model(), _real_images()
    summaries = Summaries(str(tmp_path))
    norms = _run(DiagnosticsWriter(summaries, images, seed=5, first_step=0, total_steps=5, period=2), model, 5)
    found = _events(tmp_path)
    steps = [0, 2, 4, 5]
    assert all(list(values) == steps for values in found.values())
    paths = [*spectral_layers(model.discriminator), *spectral_layers(model.generator)]
    assert len(paths) == 11 + 12
    tags = [f"sigma/{path}/{kind}" for path in paths for kind in ("power_iteration", "svd")]
    tags += ["sigma/largest_relative_error", "attention/discriminator", "attention/generator"]
    assert sorted(found) == sorted(tags)
    for step in steps[1:]:
        for path, (estimate, exact) in norms[step - 1].items():
            assert found[f"sigma/{path}/power_iteration"][step] == pytest.approx(estimate, rel=1e-5)
            assert found[f"sigma/{path}/svd"][step] == pytest.approx(exact, rel=1e-6)
        errors = [1.0 - estimate / exact for estimate, exact in norms[step - 1].values()]
        assert found["sigma/largest_relative_error"][step] == pytest.approx(max(errors), abs=1e-5)
        assert max(errors) > 1e-3
    assert found["sigma/largest_relative_error"][0] < 1e-6
    # The pictures of the last step, from latents that the seed alone determines, by the moving average.
    latents = tf.random.stateless_normal([3, 16], [5, 3])
    generated = found["attention/generator"]
    np.testing.assert_array_equal(generated[5], generator_attention(model.ema_generator, latents))
    np.testing.assert_array_equal(generated[5], generated[0])
    assert np.any(generated[5] != generator_attention(model.generator, latents))
    judged = found["attention/discriminator"]
    np.testing.assert_array_equal(judged[5], discriminator_attention(model.discriminator, images))
    assert np.any(judged[5] != judged[0])


def test_a_resumed_run_and_one_without_spectral_norms(tmp_path):
    config = override(TINY, {"discriminator.normalization": "none"})
    model = _model()
    model.discriminator, model.generator = build_discriminator(config), build_generator(config)
    summaries = Summaries(str(tmp_path))
    _run(DiagnosticsWriter(summaries, _real_images(), 0, first_step=2, total_steps=5, period=2), model, 3)
    found = _events(tmp_path)
    assert {tag: list(values) for tag, values in found.items()} == {
        "attention/discriminator": [4, 5],
        "attention/generator": [4, 5],
    }


def _fit(tmp_path, scalars_period, with_diagnostics):
    gan, images = build_gan(TINY), load_images(TINY.data)
    summaries = Summaries(str(tmp_path))
    run = {"first_step": 0, "total_steps": 5}
    callbacks = [ScalarWriter(summaries, 8, period=scalars_period, **run)]
    if with_diagnostics:
        callbacks.append(DiagnosticsWriter(summaries, _real_images(), 0, period=2, **run))
    gan.fit(training_dataset(images, 8, seed=0), steps_per_epoch=5, callbacks=callbacks, verbose=0)
    return _values(gan), _events(tmp_path)


def test_training_is_the_same_bit_by_bit_and_its_spikes_are_numbers(tmp_path):
    values, every_step = _fit(tmp_path / "plain", 1, with_diagnostics=False)
    same_values, found = _fit(tmp_path / "diagnosed", 3, with_diagnostics=True)
    assert list(found["sigma/largest_relative_error"]) == [0, 2, 4, 5]
    _assert_same(same_values, values)
    for network in "dg":
        norms = every_step[f"{network}_gradient_norm"]
        parts = {3: [norms[1], norms[2], norms[3]], 5: [norms[4], norms[5]]}
        spikes = {step: max(part) / np.mean(part) for step, part in parts.items()}
        assert max(spikes.values()) > 1.01
        assert found[f"{network}_gradient_norm_spike"] == pytest.approx(spikes, rel=1e-5)


def test_spike_is_largest_over_mean_and_left_out_where_all_is_zero(tmp_path):
    logs = {"d_loss": 1.5, "d_gradient_norm": 2.0, "g_gradient_norm": 0.0, "d_gradient_norm_max": 5.0}
    logs["g_gradient_norm_max"] = 0.0
    summaries = Summaries(str(tmp_path))
    callback = ScalarWriter(summaries, 8, first_step=0, total_steps=1)
    callback.set_model(types.SimpleNamespace(reset_metrics=lambda: None))
    callback.on_train_batch_begin(0)
    callback.on_train_batch_end(0, logs)
    found = _events(tmp_path)
    assert found.pop("d_gradient_norm_spike") == {1: 2.5}
    assert found == {name: {1: value} for name, value in logs.items()}


def _callbacks_of(config, path):
    evaluator = types.SimpleNamespace(evaluate=None)
    gan = types.SimpleNamespace(checkpoint=tf.train.Checkpoint, generator=types.SimpleNamespace(latent_dim=16))
    images, directory = load_images(config.data), RunDirectory(str(path), config)
    return writing_callbacks(gan, config, images, directory, None, evaluator, 3, config.total_steps)


def test_a_run_has_diagnostics_at_the_configured_interval(tmp_path):
    callbacks = _callbacks_of(override(TINY, {"log.diagnostics_every_kimg": 0.05}), tmp_path / "with")
    (writer,) = [callback for callback in callbacks if isinstance(callback, DiagnosticsWriter)]
    assert (writer.first_step, writer.total_steps, writer.period) == (3, 20, 7)
    assert isinstance(callbacks[-1], CheckpointWriter)  # of a step, when all else of it is written
    np.testing.assert_array_equal(writer._images, _real_images(8))
    callbacks = _callbacks_of(override(TINY, {"log.diagnostics_every_kimg": 0}), tmp_path / "without")
    assert not any(isinstance(callback, DiagnosticsWriter) for callback in callbacks)
    assert preset("cifar10").log.diagnostics_every_kimg == 100.0
