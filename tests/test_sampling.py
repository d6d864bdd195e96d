"""Interpolation of latents, grids and GIFs from a SavedModel."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vitgan_tf import sampling
from vitgan_tf.errors import UserError
from vitgan_tf.export import export_generator
from vitgan_tf.images import image_grid, to_uint8
from vitgan_tf.models.build import build_generator
from vitgan_tf.presets import preset

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("model") / "saved_model")
    export_generator(build_generator(preset("tiny")), path)
    return sampling.load(path)


def test_slerp_is_a_rotation():
    """At fraction t of a quarter turn: cos and sin of t * 90 degrees; the norm of Gaussian latents is kept."""
    start, end = np.eye(2)[:1] * 3.0, np.eye(2)[1:] * 3.0
    for fraction in (0.0, 0.25, 0.5, 1.0):
        angle = fraction * np.pi / 2
        expected = [[3 * np.cos(angle), 3 * np.sin(angle)]]
        np.testing.assert_allclose(sampling.slerp(start, end, fraction), expected, atol=1e-5)
    a, b = np.random.normal(size=(2, 100, 384))
    norms = np.linalg.norm(sampling.slerp(a, b, 0.5), axis=1)
    np.testing.assert_allclose(norms, 384**0.5, rtol=0.15)


def test_slerp_of_equal_and_opposite_latents_is_finite():
    a = np.random.normal(size=(1, 8))
    np.testing.assert_allclose(sampling.slerp(a, a, 0.3), a, rtol=1e-3)
    assert np.all(np.isfinite(sampling.slerp(a, -a, 0.3)))


def test_grid_shows_the_generated_images(model, tmp_path):
    path = tmp_path / "grid.png"
    sampling.write_grid(
        model, str(path), num_images=7, seed=4, truncation=0.7, render_scale=1.5, columns=3, min_width=60
    )
    images = model.generate(7, 4, 0.7, 1.5)["images"].numpy()
    assert images.shape == (7, 12, 12, 1)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image_grid(images, 3, 60)[..., 0])


def test_gif_loops_smoothly_through_its_keyframes(model, tmp_path):
    path = tmp_path / "walk.gif"
    sampling.write_interpolation(
        model,
        str(path),
        num_images=2,
        seed=4,
        truncation=1.0,
        render_scale=1.0,
        keyframes=3,
        frames=8,
        columns=2,
        min_width=16,
    )
    with Image.open(path) as gif:
        assert gif.n_frames == 24 and gif.info["loop"] == 0 and gif.info["duration"] == 50
        frames = []
        for index in range(24):
            gif.seek(index)
            frames.append(np.asarray(gif.convert("L")).astype(float))
    # Neighbours, the last and the first among them, are closer than keyframes are.
    steps = [np.abs(frames[i] - frames[i - 1]).mean() for i in range(24)]
    keyframes = [np.abs(frames[8 * i] - frames[8 * i - 8]).mean() for i in range(3)]
    assert 0 < max(steps) < 0.6 * min(keyframes)


def test_interpolation_of_a_truncated_style_stands_still(model, tmp_path):
    path = tmp_path / "still.gif"
    sampling.write_interpolation(
        model,
        str(path),
        num_images=1,
        seed=4,
        truncation=0.0,
        render_scale=2.0,
        keyframes=2,
        frames=2,
        columns=1,
        min_width=1,
    )
    mean_image = to_uint8(model.render(tf.tile(model.mean_style[:, None], [1, 3, 1]), 2.0)["images"]).numpy()[
        0, ..., 0
    ]
    with Image.open(path) as gif:
        assert gif.size == (16, 16)
        np.testing.assert_allclose(np.asarray(gif.convert("L")).astype(int), mean_image, atol=1)


@pytest.mark.parametrize("crossover", [0, 1, 3])
def test_mixed_images_take_the_rows_style_first(model, tmp_path, crossover):
    path = tmp_path / "mixing.png"
    sampling.write_style_mixing(
        model, str(path), num_images=2, seed=3, truncation=0.8, render_scale=1.0, crossover=crossover, min_width=1
    )
    latents = tf.random.stateless_normal([4, 16], [3, 0])
    styles = model.map_latents(latents)["styles"].numpy()
    assert styles.shape == (4, 3, 16)  # two blocks and the last norm
    styles = model.mean_style.numpy() + 0.8 * (styles - model.mean_style.numpy())
    picture = np.asarray(Image.open(path)).astype(int)
    assert picture.shape == (3 * 9 - 1, 3 * 9 - 1)

    def cell(row, column):
        return picture[9 * row : 9 * row + 8, 9 * column : 9 * column + 8]

    def drawn(style):
        return to_uint8(model.render(style[None].astype(np.float32))["images"]).numpy()[0, ..., 0]

    assert (cell(0, 0) == 255).all()
    for i in range(2):
        np.testing.assert_allclose(cell(i + 1, 0), drawn(styles[i]), atol=1)
        np.testing.assert_allclose(cell(0, i + 1), drawn(styles[2 + i]), atol=1)
        for j in range(2):
            mixed = np.concatenate([styles[i][:crossover], styles[2 + j][crossover:]])
            np.testing.assert_allclose(cell(i + 1, j + 1), drawn(mixed), atol=1)


def test_a_generator_of_one_resolution_and_one_place_for_w_says_so(tmp_path):
    export_generator(build_generator(preset("tiny", "g_add_linear")), str(tmp_path / "model"))
    model = sampling.load(str(tmp_path / "model"))
    common = {"seed": 0, "truncation": 1.0, "min_width": 1}
    with pytest.raises(UserError, match="renders at 8 pixels only: render_scale needs the Fourier decoder"):
        sampling.write_grid(model, str(tmp_path / "x.png"), 1, render_scale=2.0, columns=1, **common)
    with pytest.raises(UserError, match="takes w in one place"):
        sampling.write_style_mixing(model, str(tmp_path / "x.png"), 2, render_scale=1.0, crossover=1, **common)
    with pytest.raises(tf.errors.InvalidArgumentError, match="renders at render_scale 1 only"):
        model.generate(2, 0, 1.0, 2.0)
    assert model.generate(2, 0)["images"].shape == (2, 8, 8, 1)


def test_impossible_scales_and_crossovers_are_refused(model, tmp_path):
    common = {"seed": 0, "truncation": 1.0, "min_width": 1}
    with pytest.raises(UserError, match=r"render_scale 0\.01 leaves no pixels"):
        sampling.write_grid(model, str(tmp_path / "x.png"), 1, render_scale=0.01, columns=1, **common)
    with pytest.raises(UserError, match=r"crossover must be 0 to 3, .* got 4"):
        sampling.write_style_mixing(model, str(tmp_path / "x.png"), 2, render_scale=1.0, crossover=4, **common)


def test_refuses_what_is_not_a_generator(tmp_path):
    with pytest.raises(UserError, match="is not a SavedModel"):
        sampling.load(str(tmp_path))
    (tmp_path / "saved_model.pb").write_bytes(b"\x00garbage")
    with pytest.raises(UserError, match="cannot load the SavedModel"):
        sampling.load(str(tmp_path))
    other = tf.Module()
    other.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec([])])
    tf.saved_model.save(other, str(tmp_path / "other"))
    with pytest.raises(UserError, match="has no signature 'generate'"):
        sampling.load(str(tmp_path / "other"))
