"""Grids, tables and single images, each beside pixels that are drawn one by one."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support import trained

from vitgan_tf.drawing import pictures
from vitgan_tf.drawing.look import Look
from vitgan_tf.drawing.selection import OfFile, OfSeeds, OfSequence, save
from vitgan_tf.errors import UserError
from vitgan_tf.images import image_grid, to_uint8
from vitgan_tf.trained.functions import of_network
from vitgan_tf.trained.generator import Generator, Origin

pytestmark = pytest.mark.slow


def _generator(changes=None, variant="vitgan"):
    network = trained.network(5, changes, variant)
    for weight in network.weights:
        if "noise_strength" in weight.name:
            weight.assign(0.3)
    return Generator(of_network(network), Origin("here"))


@pytest.fixture(scope="module")
def generator():
    return _generator()


@pytest.fixture(scope="module")
def noisy():
    return _generator({"generator.architecture": "stylegan2"})


def _drawn(generator, style, scale=1.0, noise=(0, 0)):
    """One image from one style, (num_styles, style_dim)."""
    return to_uint8(generator.functions.render(style[None].astype(np.float32), scale, *noise)).numpy()[0]


def test_grid_shows_the_generated_images(generator, tmp_path):
    path = str(tmp_path / "grid.png")
    pictures.write_grid(OfSequence(generator, 7, seed=4), path, Look(0.7, 1.5, min_width=60), columns=3)
    images = generator.generate(7, 4, 0.7, 1.5)
    assert images.shape == (7, 12, 12, 1)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image_grid(images, 3, 60)[..., 0])


@pytest.mark.parametrize("has_fixed_noise", [False, True])
def test_the_image_of_a_seed_is_its_first(noisy, tmp_path, has_fixed_noise):
    """Also where the layers draw noise: each image has that of its own seed."""
    seeds = [3, 0, 12]
    folder = tmp_path / "images"
    pictures.write_images(OfSeeds(noisy, seeds), str(folder), Look(0.9, has_fixed_noise=has_fixed_noise))
    assert sorted(os.listdir(folder)) == ["seed0000.png", "seed0003.png", "seed0012.png"]
    for seed in seeds:
        expected = noisy.generate(1, seed, 0.9, has_fixed_noise=has_fixed_noise)[0, ..., 0]
        np.testing.assert_array_equal(np.asarray(Image.open(folder / f"seed{seed:04d}.png")), expected)


def test_single_images_of_a_sequence(generator, tmp_path):
    pictures.write_images(OfSequence(generator, 70, seed=2), str(tmp_path / "images"), Look())
    names = sorted(os.listdir(tmp_path / "images"))
    assert names == [f"image_{index:06d}.png" for index in range(70)]
    images = np.stack([np.asarray(Image.open(tmp_path / "images" / name)) for name in names])
    np.testing.assert_array_equal(images, generator.generate(70, 2)[..., 0])
    with pytest.raises(UserError, match="is not an empty folder"):
        pictures.write_images(OfSequence(generator, 1, seed=2), str(tmp_path / "images"), Look())


def test_a_row_for_each_image_and_a_column_for_each_truncation(generator, tmp_path):
    path = str(tmp_path / "table.png")
    pictures.write_truncations(OfSeeds(generator, [1, 5]), path, Look(render_scale=2.0), [-0.5, 0.0, 1.0])
    picture = np.asarray(Image.open(path)).astype(int)
    assert picture.shape == (2 * 17 - 1, 3 * 17 - 1)
    mean = generator.mean_style[None].repeat(2, axis=1)[0]
    for row, seed in enumerate([1, 5]):
        style = generator.map(tf.random.stateless_normal([16, 16], [seed, 0])[:1])[0]
        for column, psi in enumerate([-0.5, 0.0, 1.0]):
            cell = picture[17 * row : 17 * row + 16, 17 * column : 17 * column + 16]
            np.testing.assert_allclose(cell, _drawn(generator, mean + psi * (style - mean), 2.0)[..., 0], atol=1)


def test_saved_latents_and_styles_draw_the_same_images(noisy, tmp_path):
    path = str(tmp_path / "images.npz")
    save(OfSequence(noisy, 5, seed=8), path)
    with np.load(path) as saved:
        arrays = dict(saved)
    assert arrays["latents"].shape == (5, noisy.latent_dim)
    assert arrays["styles"].shape == (5, noisy.num_styles, noisy.style_dim)
    expected = noisy.generate(5, 8, 0.7).astype(int)
    for kept in ({"latents"}, {"styles"}, {"latents", "styles"}):
        np.savez(path, **{name: arrays[name] for name in kept})
        images = OfFile(noisy, path, seed=8).images(Look(0.7))
        np.testing.assert_allclose(images.astype(int), expected, atol=1)
    save(OfSeeds(noisy, [4, 2]), path)
    with np.load(path) as saved:
        assert saved["seeds"].tolist() == [4, 2]
        np.testing.assert_allclose(saved["styles"], noisy.map(saved["latents"]), atol=1e-5)


def _array():
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    return content.getvalue()


WRONG_FILES = {
    "no archive": (lambda path: path.write_bytes(b"x" * 100), "cannot read .* as NumPy's archive"),
    "one array": (lambda path: path.write_bytes(_array()), "cannot read .* as NumPy's archive"),
    "other arrays": (lambda path: np.savez(path, w=np.zeros((1, 3))), "neither an array 'latents' nor 'styles'"),
    "no rows": (lambda path: np.savez(path, latents=np.zeros((0, 16))), "must hold finite floating-point numbers"),
    "integers": (
        lambda path: np.savez(path, latents=np.zeros((1, 16), int)),
        "must hold finite floating-point numbers",
    ),
    "infinite": (
        lambda path: np.savez(path, latents=np.full((1, 16), np.inf)),
        "must hold finite floating-point numbers",
    ),
    "wide latents": (lambda path: np.savez(path, latents=np.zeros((1, 17))), r"latents must have shape \(n, 16\)"),
    "flat styles": (lambda path: np.savez(path, styles=np.zeros((1, 16))), r"styles must have shape \(n, 2, 16\)"),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_files_without_latents_are_refused(generator, tmp_path, kind):
    write, message = WRONG_FILES[kind]
    write(tmp_path / "a.npz")
    with pytest.raises(UserError, match=message):
        OfFile(generator, str(tmp_path / "a.npz"), 0).images(Look())


@pytest.mark.parametrize("crossover", [0, 1, 2])
def test_mixed_images_take_the_rows_style_first(generator, tmp_path, crossover):
    path = str(tmp_path / "mixing.png")
    pictures.write_style_mixing(generator, path, Look(0.8), num_images=2, seed=3, crossover=crossover)
    styles = generator.map(tf.random.stateless_normal([4, 16], [3, 0]))
    assert styles.shape == (4, 2, 16)  # a block and the last norm
    styles = generator.mean_style + 0.8 * (styles - generator.mean_style)
    picture = np.asarray(Image.open(path)).astype(int)
    assert picture.shape == (3 * 9 - 1, 3 * 9 - 1)

    def cell(row, column):
        return picture[9 * row : 9 * row + 8, 9 * column : 9 * column + 8]

    assert (cell(0, 0) == 255).all()
    for i in range(2):
        np.testing.assert_allclose(cell(i + 1, 0), _drawn(generator, styles[i])[..., 0], atol=1)
        np.testing.assert_allclose(cell(0, i + 1), _drawn(generator, styles[2 + i])[..., 0], atol=1)
        for j in range(2):
            mixed = np.concatenate([styles[i][:crossover], styles[2 + j][crossover:]])
            np.testing.assert_allclose(cell(i + 1, j + 1), _drawn(generator, mixed)[..., 0], atol=1)


def test_a_generator_of_one_resolution_and_one_place_for_w_says_so(tmp_path):
    generator = _generator(variant="g_add_linear")
    with pytest.raises(UserError, match="renders at 8 pixels only: render_scale needs the Fourier decoder"):
        pictures.write_grid(OfSequence(generator, 1, 0), str(tmp_path / "x.png"), Look(render_scale=2.0), 1)
    with pytest.raises(UserError, match="takes w in one place"):
        pictures.write_style_mixing(generator, str(tmp_path / "x.png"), Look(), 2, 0, crossover=1)
    assert generator.generate(2).shape == (2, 8, 8, 1)


def test_impossible_scales_sizes_and_crossovers_are_refused(generator, tmp_path):
    path = str(tmp_path / "x.png")
    for scale in (0.01, 0.0):
        with pytest.raises(UserError, match=rf"render_scale {scale} leaves no pixels"):
            pictures.write_grid(OfSequence(generator, 1, 0), path, Look(render_scale=scale), 1)
    with pytest.raises(UserError, match="pictures of 80009 x 80009 pixels are too large"):
        pictures.write_grid(OfSequence(generator, 100, 0), path, Look(render_scale=1000.0), 10)
    with pytest.raises(UserError, match=r"crossover must be 0 to 2, .* got 4"):
        pictures.write_style_mixing(generator, path, Look(), 2, 0, crossover=4)
    assert not os.listdir(tmp_path)
