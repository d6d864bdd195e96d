"""docs/extending_*.md: plugins and commands work as printed, and their results are those of NumPy."""

import json
import pathlib
import re
import runpy
import shlex

import numpy as np
import pytest
import tensorflow as tf
from sklearn import datasets
from support import commands, small
from support.events import events

from vitgan_tf.config import DataConfig
from vitgan_tf.config.registry import Registry
from vitgan_tf.training.objectives import DISCRIMINATOR_TERMS

pytestmark = pytest.mark.slow

DOCS = pathlib.Path(__file__).parents[1] / "docs"
# Added to the training commands of the pages.
QUICK = ["--xla=off", "--diagnostics_every_kimg=0"]
# For the examples that keep the networks of the preset.
SMALL = [*small.FLAGS, "--generator.style_injection=add", "--generator.decoder=linear"]
REAL = np.array([0.0, 2.0, -1.0, 3.0], np.float32)
FAKE = np.array([1.0, 0.0, -2.0, 0.5], np.float32)


def _example(page):
    """Returns name and text of a page's plugin, and its commands: the words after the interpreter."""
    text = (DOCS / f"extending_{page}.md").read_text(encoding="utf-8")
    (code,), (shell,) = (re.findall(rf"```{name}\n(.*?)```", text, re.DOTALL) for name in ("python", "sh"))
    lines = [shlex.split(line) for line in shell.replace("\\\n", " ").splitlines()]
    assert {line[0] for line in lines} == {".venv/bin/python"}
    return re.match(r"# (\w+\.py)\n", code)[1], code, [line[1:] for line in lines]


def _run(page, folder, *further):
    """Runs a page's commands in an empty folder, further flags added to the training; returns the run's folder."""
    name, code, lines = _example(page)
    (folder / name).write_text(code, encoding="utf-8")
    for script, *words in lines:
        added = further if script == "experiments/run.py" else ()
        result = commands.run(script, *words, *added, f"--cache_dir={folder / 'cache'}", folder=folder)
        assert result.returncode == 0, result.stderr
    return next(folder / word.split("=")[1] for word in lines[0][1:] if word.startswith("--model_dir="))


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Page -> names that its plugin defines, run in this process without registering anything."""

    def run(page):
        name, code, _ = _example(page)
        (tmp_path / name).write_text(code, encoding="utf-8")
        return runpy.run_path(str(tmp_path / name))

    monkeypatch.setattr(Registry, "register", lambda *_: None)
    monkeypatch.setitem(DISCRIMINATOR_TERMS, "fake_drift", None)  # removed at the end
    return run


def _relu(x):
    return np.maximum(x, 0.0)


def test_losses(tmp_path, parts):
    names = parts("losses")
    expected = np.mean((REAL - 1) ** 2) / 2 + np.mean(FAKE**2) / 2
    np.testing.assert_allclose(names["discriminator_loss"](REAL, FAKE), expected, rtol=1e-6)
    np.testing.assert_allclose(names["generator_loss"](FAKE), np.mean((FAKE - 1) ** 2) / 2, rtol=1e-6)
    # Batches of one image: the logged mean logits are the logits.
    run = _run(
        *("losses", tmp_path, *QUICK, *SMALL, "--extractor=none"),
        *("--batch_size=1", "--scalars_every_steps=1", "--total_kimg=0.003"),
    )
    scalars = {(step, tag): value for step, tag, value in events(run)}
    for step in (1, 2, 3):
        real, fake = (np.float64(scalars[step, f"{name}_logits"]) for name in ("real", "fake"))
        assert real != 0.0 and fake != 0.0
        np.testing.assert_allclose(scalars[step, "d_loss"], ((real - 1) ** 2 + fake**2) / 2, rtol=1e-5)
        np.testing.assert_allclose(scalars[step, "fake_drift"], fake**2, rtol=1e-5)


def test_networks(tmp_path, parts):
    discriminator = parts("networks")["MLPDiscriminator"](8, 1, 24)
    discriminator.build((None, 8, 8, 1))
    discriminator.set_weights([np.random.normal(size=weight.shape) for weight in discriminator.get_weights()])
    images = np.random.uniform(-1, 1, size=(5, 8, 8, 1)).astype(np.float32)
    first, b, second, c = discriminator.get_weights()
    expected = _relu(images.reshape(5, 64) @ first + b) @ second[:, 0] + c
    np.testing.assert_allclose(discriminator(images), expected, rtol=1e-4, atol=1e-4)
    run = _run("networks", tmp_path, *QUICK, "--extractor=none", "--total_kimg=0.04")
    checkpoint = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(run / "checkpoints")))

    def weight(name):
        return checkpoint.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE")

    assert weight("discriminator/hidden/kernel").shape == (64, 24)
    latents = np.random.normal(size=(3, 8)).astype(np.float32)
    hidden = _relu(latents @ weight("ema_generator/hidden/kernel") + weight("ema_generator/hidden/bias"))
    pixels = np.tanh(hidden @ weight("ema_generator/pixels/kernel") + weight("ema_generator/pixels/bias"))
    model = tf.saved_model.load(str(run / "saved_model"))
    drawn = model.signatures["serving_default"](latents=tf.constant(latents))
    np.testing.assert_allclose(next(iter(drawn.values())), pixels.reshape(3, 8, 8, 1), rtol=1e-4, atol=1e-5)


def test_data(tmp_path, parts):
    run = _run("data", tmp_path, *QUICK, *SMALL, "--total_kimg=0.008")
    scores = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert (scores["dataset"], scores["extractor"], scores["num_real"]) == ("stripes", "classifier", 1000)
    assert len(scores["classifier_class_fractions"]) == 2
    kinds = set()
    for width in (1, 2, 3):
        for is_vertical in (False, True):
            image = [[255 * ((x if is_vertical else y) // width % 2) for x in range(8)] for y in range(8)]
            kinds.add(np.array(image, np.uint8).tobytes())
    grid = tf.io.decode_png((run / "samples" / "real.png").read_bytes()).numpy()[..., 0]
    factor = grid.shape[1] // 89  # ten cells of 8 pixels and nine lines
    grid = grid[::factor, ::factor]
    cells = {grid[9 * y :, 9 * x :][:8, :8].tobytes() for y in range(10) for x in range(10)}
    assert cells == kinds
    loaded = parts("data")["load_stripes"](DataConfig("stripes", image_size=8, num_channels=1), "training")
    for image, label in zip(loaded.images[..., 0], loaded.labels):
        lines = image.T if label else image  # of class 1, vertical, the columns are constant
        assert (lines == lines[:, :1]).all() and lines.max() == 255


def test_scores(tmp_path):
    run = _run("scores", tmp_path, *QUICK, *SMALL, "--total_kimg=0.008")

    def mean_features(images):
        means = [
            [[image[y : y + 2, x : x + 2].mean() for x in (0, 2, 4, 6)] for y in (0, 2, 4, 6)] for image in images
        ]
        return np.mean(means, axis=0) / 127.5 - 1.0

    paths = sorted((tmp_path / "dumped").iterdir())
    drawn = np.array([tf.io.decode_png(path.read_bytes()).numpy()[..., 0] for path in paths], np.float64)
    assert len(drawn) == 200
    real = np.rint(datasets.load_digits().images * 255 / 16)
    expected = np.linalg.norm(mean_features(drawn) - mean_features(real))
    *_, trained, evaluated = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert evaluated["source"] == "evaluate" and evaluated["step"] == trained["step"] == 1
    for line in (trained, evaluated):
        np.testing.assert_allclose(line["thumbnails_mean_distance"], expected, rtol=1e-5)
