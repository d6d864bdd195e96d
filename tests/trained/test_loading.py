"""One line from wherever a generator is: the same images from each place and format."""

import hashlib
import json
import os
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from support import trained

import vitgan_tf
from vitgan_tf.config import ExperimentConfig
from vitgan_tf.config.choices import EXPORT_FORMATS
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation import hub
from vitgan_tf.runs.directory import SAVED_MODEL
from vitgan_tf.trained import sources
from vitgan_tf.trained.exporting import export
from vitgan_tf.trained.saved_model import export_generator

LATENTS = np.random.RandomState(0).normal(size=(5, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def networks():
    return trained.network(1), trained.network(2)


@pytest.fixture(scope="module")
def run(tmp_path_factory, networks):
    path = trained.write_run(tmp_path_factory.mktemp("loading") / "run", *networks)
    export_generator(networks[0], os.path.join(path, SAVED_MODEL), trained.STEP)
    return path


def _expected(network):
    return np.clip(network(LATENTS).numpy(), -1, 1)


@pytest.mark.parametrize(
    "options, is_ema, step",
    [({}, True, 7), ({"weights": "raw"}, False, 7), ({"checkpoint": "3"}, False, 3), ({"checkpoint": "7"}, True, 7)],
)
def test_a_run(run, networks, options, is_ema, step):
    generator = vitgan_tf.load(run, **options)
    expected = _expected(networks[0 if is_ema else 1])
    np.testing.assert_allclose(generator.synthesize(LATENTS), expected, atol=1e-5)
    assert generator.step == step and isinstance(generator.config, ExperimentConfig)
    assert generator.scores.get("digits_fd") == (None if "weights" in options else 12.5 + step)
    assert generator.origin.provenance["commit"] == "c0ffee"
    assert generator.origin.weights == options.get("weights", "ema")


def test_the_saved_model_of_a_run_knows_its_configuration_and_scores(run, networks):
    generator = vitgan_tf.load(os.path.join(run, SAVED_MODEL))
    np.testing.assert_allclose(generator.synthesize(LATENTS), _expected(networks[0]), atol=1e-5)
    assert generator.config == vitgan_tf.load(run).config and generator.scores["step"] == 7


def _zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for directory, _, names in os.walk(folder):
            for name in names:
                inside = os.path.relpath(os.path.join(directory, name), os.path.dirname(folder))
                archive.write(os.path.join(directory, name), inside)


def _tarred(folder, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname=".")  # as TensorFlow Hub packs a module


@pytest.mark.parametrize("pack, name", [(_zipped, "a.zip"), (_tarred, "b.tar.gz")])
@pytest.mark.parametrize("inner", ["", SAVED_MODEL])
def test_archives(run, networks, tmp_path, pack, name, inner):
    pack(os.path.join(run, inner) if inner else run, str(tmp_path / name))
    generator = vitgan_tf.load(str(tmp_path / name))
    np.testing.assert_allclose(generator.synthesize(LATENTS), _expected(networks[0]), atol=1e-5)
    assert generator.origin.source == str(tmp_path / name)
    assert generator.origin.run_dir is None  # the folder is gone: nothing may be written there


def test_a_module_of_tensorflow_hub_is_taken_from_its_cache(run, networks, tmp_path, monkeypatch):
    address = "https://tfhub.dev/somebody/vitgan/1"
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(hub, "unreachable", lambda url: "no network")
    with pytest.raises(UserError, match=r"generator 'https://tfhub.dev/somebody/vitgan/1' is not .* \(no network\)"):
        vitgan_tf.load(address)
    shutil.copytree(os.path.join(run, SAVED_MODEL), tmp_path / hashlib.sha1(address.encode()).hexdigest())
    np.testing.assert_allclose(vitgan_tf.load(address).synthesize(LATENTS), _expected(networks[0]), atol=1e-5)


def test_a_shipped_name_goes_before_a_folder_and_the_folder_has_its_path(run, tmp_path, monkeypatch):
    export(vitgan_tf.load(run), str(tmp_path / "shipped" / "small"), "npz")
    monkeypatch.setattr(sources, "_SHIPPED", str(tmp_path / "shipped"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    assert vitgan_tf.load("small").step == 7
    assert not sources.is_run_source("small")
    trained.write_run("small", *(trained.network(seed) for seed in (1, 2)))
    assert not sources.is_run_source("small") and sources.is_run_source("./small")
    shutil.rmtree("small")
    (tmp_path / "small").mkdir()
    with pytest.raises(UserError, match=r"'\./small' holds no generator"):
        vitgan_tf.load("./small")
    with pytest.raises(UserError, match=r"there is no generator 'smal'; did you mean 'small'\?"):
        vitgan_tf.load("smal")


def _write(path, content=b"x"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    return path


def _escaping(path):
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, arcname="../outside.py")
    return path


WRONG = {
    "a file": (lambda path: _write(path / "file"), "there is no generator"),
    "an empty folder": (
        lambda path: path,
        "neither a run directory nor an exported folder",
    ),
    "no archive": (lambda path: _write(path / "a.zip"), "cannot unpack"),
    "an archive that leaves its folder": (
        lambda path: _escaping(path / "a.tar"),
        "holds '../outside.py'",
    ),
    "a damaged SavedModel": (
        lambda path: os.path.dirname(_write(path / "saved_model.pb")),
        "cannot load the SavedModel",
    ),
    "weights without configuration": (
        lambda path: os.path.dirname(_write(path / "weights.npz")),
        "cannot read the weights",
    ),
    "ONNX without the rest": (
        lambda path: os.path.dirname(_write(path / "render.onnx")),
        "cannot read the generator",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_generator_is_refused(tmp_path, kind):
    make, message = WRONG[kind]
    with pytest.raises(UserError, match=message):
        vitgan_tf.load(str(make(tmp_path)))
    assert not (tmp_path.parent / "outside.py").exists()


def test_other_models_and_changed_files_are_refused(run, tmp_path):
    other = tf.Module()
    other.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec([])])
    tf.saved_model.save(other, str(tmp_path / "other"))
    with pytest.raises(UserError, match="has no signature 'generate'"):
        vitgan_tf.load(str(tmp_path / "other"))
    export(vitgan_tf.load(run), str(tmp_path / "weights"), "npz")
    path = tmp_path / "weights" / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content))  # other white space
    with pytest.raises(UserError, match=r"is damaged: config\.json does not match its checksum"):
        vitgan_tf.load(str(tmp_path / "weights"))
    shutil.rmtree(tmp_path / "weights" / "assets.extra")
    assert vitgan_tf.load(str(tmp_path / "weights")).step == 7
    content["config"]["generator"]["embed_dim"] = 8
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="holds the weights of another generator"):
        vitgan_tf.load(str(tmp_path / "weights"))


def test_scores_are_those_of_the_generator_as_it_is(tmp_path, networks):
    """Not those of other weights, of truncated styles, or beside other images."""
    path = trained.write_run(tmp_path / "run", *networks)
    others = [
        {"weights": "raw", "digits_fd": 1.0},
        {"truncation": 0.5, "digits_fd": 2.0},
        {"reference": "elsewhere", "digits_fd": 3.0},
        {"digits_fd": 4.0},
    ]
    with open(os.path.join(path, "metrics.jsonl"), "a", encoding="utf-8") as file:
        for other in others:
            file.write(json.dumps({**trained.scores(7), "source": "evaluate", **other}) + "\n")
    assert vitgan_tf.load(path).scores["digits_fd"] == 19.5
    assert vitgan_tf.load(path, weights="raw").scores["digits_fd"] == 1.0
    assert vitgan_tf.load(path, "3", "raw").scores == {}


def test_every_format_has_a_marker_of_its_own():
    markers = [EXPORT_FORMATS[name].marker for name in EXPORT_FORMATS]
    assert len(set(markers)) == len(markers) == 4
