"""Every format draws the generator's images, and says what it is."""

import hashlib
import json
import os
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
from support import trained

import vitgan_tf
from vitgan_tf.config.choices import EXPORT_FORMATS
from vitgan_tf.errors import UserError
from vitgan_tf.reporting import card
from vitgan_tf.trained.exporting import export

pytestmark = pytest.mark.slow

LATENTS = np.random.RandomState(0).normal(size=(5, 16)).astype(np.float32)
# Float32 rounding in another order of operations; with the weights in float16, a level of 255.
TOLERANCES = {"saved_model": 1e-5, "onnx": 1e-5, "tflite": 1e-5, "npz": 1 / 127.5}
VARIANTS = {"vitgan": {}, "stylegan2": {"generator.architecture": "stylegan2"}}
OTHERS = {
    "conv": {"generator.decoder": "conv"},
    "linear": {"generator.decoder": "linear", "generator.style_injection": "add"},
    "transgan": {"generator.architecture": "transgan"},
    "biggan": {"generator.architecture": "biggan"},
}


@pytest.fixture(scope="module", params=VARIANTS)
def run(request, tmp_path_factory):
    changes = VARIANTS[request.param]
    networks = [trained.network(seed, changes) for seed in (1, 2)]
    for weight in networks[0].weights:
        if "noise_strength" in weight.name:
            weight.assign(0.2)
    path = trained.write_run(tmp_path_factory.mktemp("exporting") / "run", *networks, changes)
    return path, networks[0]


@pytest.fixture(scope="module", params=TOLERANCES)
def exported(request, run, tmp_path_factory):
    name = request.param
    if name == "onnx":
        pytest.importorskip("tf2onnx", reason="for Python 3.10 and later")
    path = str(tmp_path_factory.mktemp("exported") / name)
    generator = vitgan_tf.load(run[0])
    export(generator, path, name, None, lambda folder: card.write_card(folder, generator, name))
    return name, path, run[1]


def test_the_same_images_at_any_scale_and_for_any_number(exported):
    name, path, network = exported
    generator = vitgan_tf.load(path)
    tolerance = {"atol": TOLERANCES[name], "rtol": 0}
    styles = network.styles_by_place(network.mapping(tf.constant(LATENTS)))
    np.testing.assert_allclose(generator.map(LATENTS), styles, **tolerance)
    for count in (1, 5):
        expected = np.clip(network.synthesize(styles[:count]).numpy(), -1, 1)
        np.testing.assert_allclose(generator.render(styles[:count], noise_seed=-1), expected, **tolerance)
    for scale, size in ((0.5, 4), (1.3, 10), (2.0, 16)):
        if network.renders_at_any_scale:
            expected = np.clip(network.synthesize(styles, rendered_size=size).numpy(), -1, 1)
            np.testing.assert_allclose(generator.render(styles, scale), expected, **tolerance)
        else:
            with pytest.raises(UserError, match="renders at 8 pixels only"):
                generator.render(styles, scale)
    mean = generator.mean_style[:, None]
    np.testing.assert_allclose(generator.map(LATENTS, 0.3), mean + 0.3 * (styles.numpy() - mean), **tolerance)
    assert (generator.step, generator.num_channels, generator.image_size) == (7, 1, 8)


@pytest.mark.parametrize("name", ["onnx", "tflite"])
@pytest.mark.parametrize("variant", OTHERS)
def test_other_generators_are_converted(tmp_path, name, variant):
    if name == "onnx":
        pytest.importorskip("tf2onnx", reason="for Python 3.10 and later")
    network = trained.network(1, OTHERS[variant])
    EXPORT_FORMATS[name].write(network, str(tmp_path), 7, None)
    functions = EXPORT_FORMATS[name].read(str(tmp_path))
    styles = functions.map_latents(LATENTS)
    images = functions.render(styles, 1.0, -1, 0)
    np.testing.assert_allclose(images, np.clip(network(LATENTS).numpy(), -1, 1), atol=TOLERANCES[name], rtol=0)


def _text(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def test_folders_hold_a_card_a_grid_scores_and_checksums(exported):
    name, path, _ = exported
    content = json.loads(_text(path, "config.json"))
    assert content["scores"] == trained.scores(7) and content["commit"] == "c0ffee"
    assert content["export"] == {"weights": "ema", "step": 7, "format": name}
    checksums = json.loads(_text(path, "assets.extra", "sha256.json"))
    files = {
        os.path.relpath(os.path.join(folder, file), path) for folder, _, names in os.walk(path) for file in names
    }
    assert set(checksums) == files - {os.path.join("assets.extra", "sha256.json")}
    for file, checksum in checksums.items():
        with open(os.path.join(path, file), "rb") as opened:
            assert hashlib.sha256(opened.read()).hexdigest() == checksum
    text = _text(path, "README.md")
    assert re.search(r"digits_fd +19\.5\n", text) and "after 7 steps, 0.056 kimg" in text and "c0ffee" in text
    grid = tf.io.decode_png(tf.io.read_file(os.path.join(path, "grid.png")))
    assert grid.shape == (89 * 8, 89 * 8, 1)  # ten images of 8 pixels and nine lines, eight times
    assert not [entry for entry in os.listdir(os.path.dirname(path)) if entry.endswith(".partial")]


def test_the_snippet_of_the_card_runs(exported):
    name, path, _ = exported
    text = _text(path, "README.md")
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        places = {}
        exec(code.replace("FOLDER", path), places)
        assert np.asarray(places["images"]).shape == (16, 8, 8, 1), name


@pytest.mark.parametrize("run", ["stylegan2"], indirect=True)
@pytest.mark.parametrize("name", ["saved_model", "tflite"])
def test_a_fixed_number_of_images(run, tmp_path, name):
    generator = vitgan_tf.load(run[0])
    export(generator, str(tmp_path / "fixed"), name, 4)
    fixed = vitgan_tf.load(str(tmp_path / "fixed"))
    noise = -1 if name != "saved_model" else 3
    for count in (1, 4, 5, 9):
        latents = np.resize(LATENTS, (count, 16))
        expected = generator.synthesize(latents, noise, 2)
        np.testing.assert_allclose(fixed.synthesize(latents, noise, 2), expected, atol=1e-5, rtol=0)
    if name == "saved_model":
        model = tf.saved_model.load(str(tmp_path / "fixed"))
        assert model.signatures["serving_default"].structured_input_signature[1]["latents"].shape == (4, 16)


@pytest.mark.parametrize("run", ["vitgan"], indirect=True)
def test_exports_that_cannot_be(run, tmp_path, monkeypatch):
    generator = vitgan_tf.load(run[0])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(UserError, match="full' is not an empty folder"):
        export(generator, str(tmp_path / "full"), "npz")
    export(generator, str(tmp_path / "model"), "saved_model")
    with pytest.raises(UserError, match="holds a generator's functions, not its network"):
        export(vitgan_tf.load(str(tmp_path / "model")), str(tmp_path / "again"), "npz")
    monkeypatch.setitem(sys.modules, "tf2onnx.convert", None)
    with pytest.raises(UserError, match=r"is not installed: pip install tf2onnx==1\.17\.0"):
        export(generator, str(tmp_path / "onnx"), "onnx")
    assert sorted(os.listdir(tmp_path)) == ["full", "model"]
