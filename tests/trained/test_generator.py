"""Images of a seed, whatever their number and their format; shapes and scales that are refused."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from support import trained

import vitgan_tf
from vitgan_tf.errors import UserError
from vitgan_tf.latents import CHUNK, chunk_of_latents, consecutive_latents
from vitgan_tf.trained.functions import in_batches, of_network
from vitgan_tf.trained.generator import BATCH_SIZE, Generator, Origin
from vitgan_tf.trained.saved_model import export_generator


@pytest.fixture(scope="module")
def generator():
    return Generator(of_network(trained.network()), Origin("here"))


@pytest.mark.parametrize("first, count", [(0, 1), (0, 16), (5, 3), (15, 2), (16, 40), (33, 1)])
def test_consecutive_latents_are_parts_of_one_sequence(first, count):
    sequence = np.concatenate([chunk_of_latents(7, index, 3) for index in range(5)])
    np.testing.assert_array_equal(consecutive_latents(7, first, count, 3), sequence[first : first + count])
    assert CHUNK == 16


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"generator.architecture": "stylegan2"}])
def test_the_images_are_those_of_the_saved_model(tmp_path, changes):
    network = trained.network(3, changes)
    for weight in network.weights:
        if "noise_strength" in weight.name:
            weight.assign(0.2)
    export_generator(network, str(tmp_path / "model"))
    model = tf.saved_model.load(str(tmp_path / "model"))
    generator = Generator(of_network(network), Origin("here"))
    for truncation, fixed in ((1.0, False), (0.6, True)):
        expected = model.generate(150, 9, truncation, 1.0, fixed)["images"].numpy().astype(int)
        images = generator.generate(150, 9, truncation, has_fixed_noise=fixed)
        assert images.dtype == np.uint8
        difference = np.abs(images - expected)
        assert difference.max() <= 1 and np.mean(difference > 0) < 1e-3
        np.testing.assert_array_equal(generator.generate(7, 9, truncation, has_fixed_noise=fixed), images[:7])


def test_a_million_images_are_drawn_some_at_a_time(generator):
    drawn = []

    def render(styles, *arguments):
        drawn.append(len(styles))
        return generator.functions.render(styles, *arguments)

    counted = Generator(dataclasses.replace(generator.functions, render=render), Origin("here"))
    batches = counted.batches(1_000_000)
    assert len(next(batches)) == BATCH_SIZE and drawn == [BATCH_SIZE]
    assert len(next(counted.batches(1_000_000, render_scale=4.0))) == BATCH_SIZE // 16
    assert counted.generate(0).shape == (0, 8, 8, 1)


def test_the_styles_are_truncated_towards_their_mean(generator):
    latents = np.random.RandomState(0).normal(size=(6, 16))
    styles = generator.map(latents)
    assert styles.shape == (6, generator.num_styles, generator.style_dim) and styles.dtype == np.float32
    np.testing.assert_array_equal(styles, np.repeat(styles[:, :1], generator.num_styles, axis=1))
    many = np.random.RandomState(1).normal(size=(20_000, 16))
    np.testing.assert_allclose(generator.mean_style[0], generator.map(many)[:, 0].mean(axis=0), atol=0.05)
    np.testing.assert_allclose(generator.map(latents, 0.0), np.tile(generator.mean_style, (6, 2, 1)), atol=1e-6)


def test_wrong_shapes_and_scales_are_refused(generator):
    with pytest.raises(UserError, match=r"latents must have shape \(n, 16\), got \(16,\)"):
        generator.map(np.zeros(16))
    with pytest.raises(UserError, match=r"styles must have shape \(n, 2, 16\), got \(4, 16\)"):
        generator.render(np.zeros((4, 16)))
    with pytest.raises(UserError, match=r"render_scale 0\.01 leaves no pixels"):
        generator.generate(1, render_scale=0.01)


def test_an_image_that_is_not_finite_is_named(generator):
    def render(styles, *_):
        images = np.zeros((len(styles), 8, 8, 1), np.float32)
        images[3] = np.nan
        return images

    broken = Generator(dataclasses.replace(generator.functions, render=render), Origin("here"))
    with pytest.raises(UserError, match="not finite: image 67"):
        broken.draw(np.zeros((5, 2, 16)), first_image=64)


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_rows_go_through_a_function_of_four(count):
    """Row i of 4-row calls is row i, and its further argument moves on with it."""
    sizes = []

    def function(rows, scale, first):
        sizes.append(len(rows))
        return tf.constant(rows * scale + first + np.arange(4)[:, None])

    rows = np.arange(count, dtype=np.float64)[:, None]
    expected = rows * 2 + 10 + rows
    np.testing.assert_array_equal(in_batches(function, 4)(rows, 2, 10), expected)
    assert set(sizes) == {4} and len(sizes) == -(-count // 4)


def test_importing_the_package_imports_no_tensorflow():
    code = "import sys, vitgan_tf; vitgan_tf.load; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert callable(vitgan_tf.load)
