"""Walks in z and w, their files, and the pixels of single frames drawn by themselves."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import trained

from vitgan_tf.drawing import animation
from vitgan_tf.drawing.look import Look
from vitgan_tf.drawing.selection import OfFile, OfSeeds
from vitgan_tf.drawing.walks import Walk, keys_of, random_keys, slerp
from vitgan_tf.errors import UserError
from vitgan_tf.images import image_grid, to_uint8
from vitgan_tf.trained.functions import of_network
from vitgan_tf.trained.generator import Generator, Origin


@pytest.fixture(scope="module")
def generator():
    return Generator(of_network(trained.network(5)), Origin("here"))


def test_slerp_is_a_rotation():
    """At fraction t of a quarter turn: cos and sin of t * 90 degrees; the norm of Gaussian latents is kept."""
    start, end = np.eye(2)[:1] * 3.0, np.eye(2)[1:] * 3.0
    for fraction in (0.0, 0.25, 0.5, 1.0):
        angle = fraction * np.pi / 2
        expected = [[3 * np.cos(angle), 3 * np.sin(angle)]]
        np.testing.assert_allclose(slerp(start, end, fraction), expected, atol=1e-5)
    a, b = np.random.normal(size=(2, 100, 384))
    norms = np.linalg.norm(slerp(a, b, 0.5), axis=1)
    np.testing.assert_allclose(norms, 384**0.5, rtol=0.15)


def test_slerp_of_equal_and_opposite_latents_is_finite():
    a = np.random.normal(size=(1, 8))
    np.testing.assert_allclose(slerp(a, a, 0.3), a, rtol=1e-3)
    assert np.all(np.isfinite(slerp(a, -a, 0.3)))


@pytest.mark.slow
@pytest.mark.parametrize("space", ["z", "w"])
@pytest.mark.parametrize("is_loop", [True, False])
def test_every_frame_is_the_image_of_the_latent_or_style_between(generator, space, is_loop):
    """By float64 formulas: on the great circle in z, on the straight line in w."""
    keys = keys_of(OfSeeds(generator, [5, 1, 4, 2, 8, 6]), 2, space)  # 5, 1, 4 and 2, 8, 6
    walk = Walk(generator, keys, frames=4, is_loop=is_loop)
    frames = list(walk.grids(Look(0.8, render_scale=1.5, min_width=100), columns=2))
    assert len(frames) == len(walk) == (12 if is_loop else 9)
    latents = np.stack([OfSeeds(generator, [seed]).latents(0, 1)[0] for seed in [5, 1, 4, 2, 8, 6]]).astype(float)
    for number in (0, 2, 5, len(frames) - 1):
        key, step = divmod(number, 4)
        styles = []
        for cell in (0, 3):
            a, b = latents[cell + key], latents[cell + (key + 1) % 3]
            t = step / 4
            if space == "z":
                angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
                z = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
                styles.append(generator.map(z[None], 0.8)[0])
            else:
                styles.append((1 - t) * generator.map(a[None], 0.8)[0] + t * generator.map(b[None], 0.8)[0])
        images = to_uint8(generator.render(np.stack(styles), 1.5)).numpy()
        np.testing.assert_allclose(frames[number].astype(int), image_grid(images, 2, 100), atol=1)


@pytest.mark.slow
def test_the_noise_stands_still():
    network = trained.network(5, {"generator.architecture": "stylegan2"})
    for weight in network.weights:
        if "noise_strength" in weight.name:
            weight.assign(0.3)
    noisy = Generator(of_network(network), Origin("here"))
    same = np.repeat(random_keys(noisy, 1, 2, seed=3), 2, axis=0)
    first, second = Walk(noisy, same, 1, seed=9).grids(Look(), 2)
    np.testing.assert_array_equal(first, second)
    expected = to_uint8(noisy.synthesize(same[0], noise_seed=9)).numpy()
    np.testing.assert_array_equal(first, image_grid(expected, 2))
    other = next(Walk(noisy, same, 1, seed=8).grids(Look(), 2))
    assert np.abs(first.astype(int) - other).mean() > 1


def test_keyframes_that_cannot_be_shared_out(generator, tmp_path):
    for count, images in ((5, 2), (3, 2), (1, 1)):
        with pytest.raises(UserError, match=f"{count} keyframes cannot be divided evenly among {images} images"):
            keys_of(OfSeeds(generator, range(count)), images, "z")
    np.savez(tmp_path / "a.npz", styles=np.zeros((2, 2, 16), np.float32))
    with pytest.raises(UserError, match="add --space=w"):
        keys_of(OfFile(generator, str(tmp_path / "a.npz"), 0), 1, "z")
    assert keys_of(OfFile(generator, str(tmp_path / "a.npz"), 0), 1, "w").shape == (2, 1, 2, 16)


def _frames(channels):
    """Smooth moving pictures of odd sizes."""
    rows, columns = np.mgrid[:21, :33]
    for number in range(7):
        phases = (rows + columns) / 20 + number / 2
        yield np.stack([127 + 100 * np.sin(phases + channel) for channel in range(channels)], axis=-1).astype(
            np.uint8
        )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_files_show_the_frames(tmp_path, suffix, channels):
    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg", reason="for Python 3.10 and later")
    path = str(tmp_path / f"walk{suffix}")
    animation.write_animation(path, _frames(channels))
    assert os.listdir(tmp_path) == [f"walk{suffix}"]
    if suffix == ".mp4":
        command = [animation.ffmpeg(), "-loglevel", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        content = subprocess.run(command, check=True, capture_output=True).stdout
        found = list(np.frombuffer(content, np.uint8).reshape(-1, 22, 34, 3)[:, :21, :33])
    else:
        with Image.open(path) as opened:
            assert opened.n_frames == 7 and opened.info["loop"] == 0
            found = []
            for number in range(7):
                opened.seek(number)
                found.append(np.asarray(opened.convert("RGB")))
                assert suffix == ".webp" or opened.info["duration"] == 50
    assert len(found) == 7
    tolerance = {".webp": 0, ".gif": 4, ".mp4": 4}[suffix]
    for frame, expected in zip(found, _frames(channels)):
        difference = np.abs(frame.astype(int) - np.broadcast_to(expected, frame.shape))
        assert difference.mean() <= tolerance


def test_mp4_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match=r"pip install imageio-ffmpeg, or write a \.webp"):
        animation.write_animation(str(tmp_path / "a.mp4"), _frames(1))
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("imageio_ffmpeg") is None, reason="for Python 3.10 and later")
def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    for name in ("none/a.mp4", "none/a.gif"):
        with pytest.raises(OSError):
            animation.write_animation(str(tmp_path / name), _frames(1))

    def broken():
        yield from list(_frames(1))[:2]
        raise UserError("stop")

    with pytest.raises(UserError, match="stop"):
        animation.write_animation(str(tmp_path / "a.mp4"), broken())
    assert not os.listdir(tmp_path)
