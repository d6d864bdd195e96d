"""Projection: its losses and schedule beside naive ones, and searches whose end is known."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from support import trained

from vitgan_tf.errors import UserError
from vitgan_tf.images import to_uint8
from vitgan_tf.trained.functions import Functions, of_network
from vitgan_tf.trained.generator import Generator, Origin
from vitgan_tf.trained.projection import NoiseMaps, Projector, Search, noise_loss, pixel_loss, psnr

STYLE_DIM, PLACES, SIZE = 6, 3, 8


def _halved(image):
    height, width = (edge // 2 for edge in image.shape[:2])
    halved = np.zeros((height, width, image.shape[2]))
    for row in range(height):
        for column in range(width):
            halved[row, column] = image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean(axis=(0, 1))
    return halved


@pytest.mark.parametrize("edge, scales", [(4, 1), (7, 1), (8, 2), (19, 3)])
def test_pixels_are_compared_at_every_scale(edge, scales):
    random = np.random.RandomState(0)
    images, target = random.normal(size=(3, edge, edge, 2)), random.normal(size=(1, edge, edge, 2))
    expected = np.zeros(3)
    for index in range(3):
        image, wanted = images[index], target[0]
        for _ in range(scales):
            expected[index] += np.mean((image - wanted) ** 2)
            image, wanted = _halved(image), _halved(wanted)
    found = pixel_loss(tf.constant(images, tf.float32), tf.constant(target, tf.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_noise_is_held_to_be_uncorrelated():
    random = np.random.RandomState(0)
    noise = random.normal(size=(2, 32, 32, 1))
    expected = np.zeros(2)
    for index in range(2):
        values = noise[index]
        while True:
            height, width = values.shape[:2]
            along = down = 0.0
            for row in range(height):
                for column in range(width):
                    along += values[row, column, 0] * values[row, column - 1, 0] / (height * width)
                    down += values[row, column, 0] * values[row - 1, column, 0] / (height * width)
            expected[index] += along**2 + down**2
            if height <= 8:
                break
            values = _halved(values)
    np.testing.assert_allclose(noise_loss(tf.constant(noise, tf.float32)), expected, rtol=1e-4)


def test_psnr():
    """One level of 255 everywhere: 20 log10 255 = 48.13 dB; ten: 28.13."""
    image = np.full((4, 4, 1), 100, np.uint8)
    assert psnr(image, image) == math.inf
    assert psnr(image, image + 1) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(image, image - 10) == pytest.approx(28.1308, abs=1e-4)


def _linear(scale=0.05):
    """A generator whose image is a linear function of the styles of all places."""
    random = np.random.RandomState(1)
    matrix = tf.constant(random.normal(size=(PLACES * STYLE_DIM, SIZE * SIZE)) * scale, tf.float32)

    def map_latents(latents):
        return tf.tile(tf.convert_to_tensor(latents, tf.float32)[:, None] * 2.0 + 0.5, [1, PLACES, 1])

    def render(styles, *_):
        flat = tf.reshape(tf.convert_to_tensor(styles, tf.float32), [-1, PLACES * STYLE_DIM])
        return tf.reshape(tf.matmul(flat, matrix), [-1, SIZE, SIZE, 1])

    mean = np.full((1, STYLE_DIM), 0.5, np.float32)
    functions = Functions(map_latents, render, mean, STYLE_DIM, PLACES, SIZE, 1)
    return Generator(functions, Origin("here")), matrix.numpy()


def test_the_rate_is_that_of_stylegan2s_projector():
    """Its formula (projector.py), in units of the deviation of a style's numbers: 2 for this generator."""
    generator, _ = _linear()
    projector = Projector(generator, Search(steps=1000))
    for step in (0, 1, 25, 49, 50, 400, 749, 751, 900, 999):
        t = step / 1000
        ramp = 0.5 - 0.5 * math.cos(min(1.0, (1.0 - t) / 0.25) * math.pi)
        expected = 0.1 * ramp * min(1.0, t / 0.05)
        assert projector._rate(step) == pytest.approx(2.0 * expected, rel=0.02, abs=1e-9)
    # w_std of projector.py: the root of the mean squared length of w - mean.
    assert projector._noise_scale == pytest.approx(0.05 * 2.0 * math.sqrt(STYLE_DIM), rel=0.02)


@pytest.mark.parametrize("space, places", [("w+", PLACES), ("w", 1)])
def test_the_search_ends_at_the_least_squares(space, places):
    """As numpy.linalg.lstsq finds it, for the sum of squares over both scales."""
    generator, matrix = _linear()
    random = np.random.RandomState(2)
    target = to_uint8(np.clip(random.normal(size=(SIZE, SIZE, 1)) * 0.3, -1, 1)).numpy()
    found = Projector(generator, Search(steps=600, space=space)).project(target, frames=5)
    wanted = target.astype(np.float64) / 127.5 - 1
    rows = matrix.T.reshape(SIZE, SIZE, -1)
    if space == "w":
        rows = rows.reshape(SIZE, SIZE, PLACES, STYLE_DIM).sum(axis=2)
    halved = rows.reshape(4, 2, 4, 2, -1).mean(axis=(1, 3))
    system = np.concatenate([rows.reshape(64, -1) / 8, halved.reshape(16, -1) / 4])
    values = np.concatenate([wanted.ravel() / 8, _halved(wanted).ravel() / 4])
    solution = np.linalg.lstsq(system, values, rcond=None)[0].reshape(places, STYLE_DIM)
    assert found.styles.shape == (PLACES, STYLE_DIM) and found.way.shape == (5, PLACES, STYLE_DIM)
    np.testing.assert_allclose(found.styles, np.broadcast_to(solution, found.styles.shape), atol=0.03)
    np.testing.assert_allclose(found.way[0], np.full((PLACES, STYLE_DIM), 0.5), atol=1e-6)
    assert found.psnr == pytest.approx(psnr(generator.draw(found.styles[None])[0], target), abs=0.05)


def test_a_projector_starts_each_picture_anew():
    generator, _ = _linear()
    random = np.random.RandomState(2)
    targets = random.randint(0, 256, (2, SIZE, SIZE, 1)).astype(np.uint8)
    projector = Projector(generator, Search(steps=30, starts=2))
    first, _, again = (projector.project(targets[index]) for index in (0, 1, 0))
    np.testing.assert_array_equal(first.styles, again.styles)


def test_the_best_of_several_starts_is_kept():
    """Of images that fold the styles, so that a search stays in the valley where it starts."""
    generator, _ = _linear(0.5)
    plain = generator.functions.render
    folded = dataclasses.replace(generator.functions, render=lambda *arguments: tf.sin(3.0 * plain(*arguments)))
    generator = Generator(folded, Origin("here"))
    target = generator.generate(1, seed=4)[0]
    one, many = (Projector(generator, Search(steps=150, starts=count)).project(target) for count in (1, 12))
    assert many.psnr > one.psnr + 0.5


@pytest.mark.slow
def test_features_pull_too():
    """A weight that drowns the pixels, and features that are the mean alone."""
    generator, _ = _linear()
    target = np.full((SIZE, SIZE, 1), 200, np.uint8)
    target[:4] = 0

    def mean(images):
        return tf.reduce_mean(images, [1, 2, 3])[:, None]

    found = Projector(generator, Search(steps=400, feature_weight=1e4), mean).project(target)
    wanted = np.mean(target / 127.5 - 1)
    assert abs(float(np.mean(generator.render(found.styles[None]))) - wanted) < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["vitgan", "stylegan2"])
def test_real_networks_are_searched_and_noise_is_found_too(variant):
    changes = {} if variant == "vitgan" else {"generator.architecture": "stylegan2"}
    network = trained.network(3, changes)
    for weight in network.weights:
        if "noise_strength" in weight.name:
            weight.assign(0.3)
    generator = Generator(of_network(network), Origin("here"))
    target = generator.generate(1, seed=4)[0]
    before = psnr(generator.draw(np.tile(generator.mean_style[:, None], (1, generator.num_styles, 1)))[0], target)
    found = Projector(generator, Search(steps=200)).project(target)
    assert found.psnr > before + 1
    assert len(found.noise) == sum("fixed_noise" in weight.name for weight in network.weights)
    plain = Projector(generator, Search(steps=20, optimizes_noise=False)).project(target)
    assert plain.noise == []
    again = generator.draw(plain.styles[None], noise_seed=-1)[0].astype(int)
    np.testing.assert_allclose(again, plain.image.astype(int), atol=1)
    for noise in found.noise:
        assert abs(noise.mean()) < 1e-4 and abs(noise.std() - 1) < 1e-3


def test_noise_maps_are_made_once_for_each_layer():
    maps = NoiseMaps(2, seed=0)
    first = maps.fork(1).noise(tf.zeros([1, 4, 4, 1]))
    assert maps.fork(1).noise(tf.zeros([1, 4, 4, 1])) is first
    assert maps.fork(2).noise(tf.zeros([1, 8, 8, 1])).shape == (2, 8, 8, 1)
    assert len(maps.variables) == 2 and maps.fork(2).fork(1) is not maps.fork(2)


def test_what_cannot_be_projected():
    generator, _ = _linear()
    with pytest.raises(UserError, match=r"must have shape \(8, 8, 1\), got \(8, 8, 3\)"):
        Projector(generator, Search(steps=1)).project(np.zeros((8, 8, 3), np.uint8))
    portable = Generator(dataclasses.replace(generator.functions, is_traceable=False), Origin("a.onnx"))
    with pytest.raises(UserError, match=r"'a\.onnx' is in a format without gradients"):
        Projector(portable, Search())
