"""Interpolation of latents, grids and GIFs from a SavedModel."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vitgan_tf import sampling
from vitgan_tf.errors import UserError
from vitgan_tf.export import export_generator
from vitgan_tf.images import image_grid
from vitgan_tf.models.generator import build_generator
from vitgan_tf.presets import preset


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
    sampling.write_grid(model, str(path), num_images=7, seed=4, truncation=0.7, columns=3, min_width=60)
    images = model.generate(7, 4, 0.7)["images"].numpy()
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image_grid(images, 3, 60)[..., 0])


def test_gif_loops_smoothly_through_its_keyframes(model, tmp_path):
    path = tmp_path / "walk.gif"
    sampling.write_interpolation(
        model, str(path), num_images=2, seed=4, keyframes=3, frames=8, columns=2, min_width=16
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
