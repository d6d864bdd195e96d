"""Hundreds of wrong command lines and damaged caches, from fixed seeds: each ends in a clear error or a right result.

The contents of other files are those of test_fuzz.py.
"""

import json
import os
import random
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from support import commands, official, stand_in
from test_fuzz import with_damage

from vitgan_tf import config as config_lib
from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.data.loading import load_images
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation import classifier, inception
from vitgan_tf.evaluation.real_statistics import real_statistics
from vitgan_tf.models.build import build_generator
from vitgan_tf.presets import preset
from vitgan_tf.trained.saved_model import export_generator

pytestmark = pytest.mark.fuzz

RUN, EVALUATE, GENERATE, PREPARE = (
    "experiments/run.py",
    "tools/evaluate.py",
    "tools/generate.py",
    "tools/prepare_data.py",
)
BENCHMARK, TABLES = "tools/benchmark.py", "experiments/tables.py"
SCRIPTS = (RUN, EVALUATE, GENERATE, PREPARE, BENCHMARK, TABLES)

CASES = {
    "command lines of fields": 150,
    "unknown flags": 70,
    "numbers of flags": 80,
    "paths": 20 * 13,
    "pictures": 16,
    "decoded images": 80,
    "weights of the digits' classifier": 40,
    "weights of Keras' Inception": 30,
    "TF-GAN's Inception": 30,
    "places of caches": 3 * 9,
}


def _draws(name):
    return (random.Random(f"{name} {number}") for number in range(CASES[name]))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what a path may meet."""
    path = tmp_path_factory.mktemp("place")
    (path / "file").write_text("mine")
    (path / "empty").mkdir()
    (path / "closed").mkdir(mode=0)
    (path / "sealed").mkdir(mode=0o555)
    (path / "home").mkdir()
    (path / "images").mkdir()
    for index, photo in enumerate(official.photos(6, 20, 24)):
        (path / "images" / f"{index}.png").write_bytes(official.encoded(photo, "png"))
    export_generator(build_generator(preset("tiny")), str(path / "model"), 7)
    yield path
    (path / "closed").chmod(0o700)


@pytest.fixture(scope="module")
def command(place):
    """Runs a command there, checks how it ends, and returns its exit code, its error and its output."""

    def run(script, *arguments, env=None, seconds=30, gigabytes=12):
        env = {**commands.OFFLINE, "PYTHONHASHSEED": "0", "HOME": str(place / "home"), **(env or {})}
        limits = {"seconds": seconds, "gigabytes": gigabytes, "is_powerless": True}
        result = commands.run(script, *arguments, env=env, folder=place, **limits)
        told = (script, arguments, result)
        assert "Traceback" not in result.stderr, told
        lines = [line for line in result.stderr.splitlines() if line.startswith((os.path.basename(script), "FATAL"))]
        assert (result.returncode, len(lines)) in ((0, 0), (1, 1)), told
        # absl breaks its own line where a value has a line's end.
        return result.returncode, result.stderr if lines else "", result.stdout

    return run


ODD_TEXTS = [
    *("", " ", "-", "--", "=", "0", "1", "-1", "16", "1_0", "0x10", "1e3", "1e400", "-0.0", "nan", "inf", "9" * 30),
    *("9" * 5000, "true", "False", "none", "None", "[]", "{}", "color", "color,cutout", "color,,", ",", "isn", "l2"),
    *(
        "fourier",
        "linear",
        "ä☃",
        "١٢",
        "a\nb",
        "\t",
        "\udcff",
        "x" * 10_000,
        "*",
        "~",
        "$HOME",
        "%s",
        "{0}",
        "'",
        '"',
    ),
]


def test_command_lines_of_fields(command):
    """--dry_run: the configuration that is printed has what the command line says, or that is refused by its name."""
    fields = [
        (path, field_type)
        for path, _, field_type in config_lib.field_paths()
        if path != "data.dataset" and not path.startswith("eval.network_")  # refused without eval.network
    ]
    codes = []
    for draw in _draws("command lines of fields"):
        given = dict(draw.sample(fields, draw.choice([1, 1, 2])))
        texts = {path: draw.choice(ODD_TEXTS) for path in given}
        code, line, output = command(
            RUN, "--dataset=tiny", "--dry_run", *(f"--{path}={text}" for path, text in texts.items())
        )
        codes.append(code)
        if code:
            assert any(path in line or path.split(".")[1] in line for path in texts), (texts, line)
            continue
        found = json.loads(output)
        for path, text in texts.items():
            section, name = path.split(".")
            _check_value(found[section][name], text, given[path])
    assert min(codes.count(0), codes.count(1)) > 5


def _check_value(found, text, field_type):
    if field_type is bool:
        assert found is (text.lower() in ("true", "t", "1"))
    elif field_type in (int, float):
        assert found == (int(text, 0) if field_type is int and text.startswith("0x") else field_type(text))
    elif field_type is str:
        assert found == text
    else:
        assert found == [item.strip() for item in text.split(",")] if text else found == []


def test_unknown_flags(command):
    for draw in _draws("unknown flags"):
        script = draw.choice(SCRIPTS)
        name = draw.choice(["modeldir", "x", "batch-size", "ä", "train.", ".", "a" * 1000, "train.batch", "\udcff"])
        value = draw.choice(["", "=", "=1", "=\n"])
        code, line, _ = command(script, f"--{name}{value}")
        assert code == 1 and (re.search("[Uu]nknown (command line )?flag|FATAL", line)), line


NUMBERS = [
    (RUN, "memory_gb", ["--dataset=tiny", "--image_size=50"]),
    (RUN, "logical_cpus", ["--dataset=tiny", "--image_size=50"]),
    (EVALUATE, "seed", ["--model=none"]),
    (EVALUATE, "batch_size", ["--model=none"]),
    (EVALUATE, "memory_gb", ["--model=none"]),
    *(
        (GENERATE, name, ["--model=none", "--output=x.png"])
        for name in ("columns", "min_width", "seed", "truncation")
    ),
    *((GENERATE, name, ["--model=none", "--output=x.png"]) for name in ("render_scale", "keyframes", "frames")),
    *(
        (PREPARE, name, ["--dataset=folder", "--source=none"])
        for name in ("resolution", "num_channels", "num_threads")
    ),
    (BENCHMARK, "steps", ["render", "--model=none"]),
    (BENCHMARK, "num_images", ["render", "--model=none"]),
    (TABLES, "seeds", ["--variant=d_r1"]),
    (TABLES, "jobs", ["--variant=d_r1"]),
]


def test_numbers_of_flags(command):
    """Refused by the flag's name, or taken; then what else is wrong in the command line is told."""
    refused = 0
    for draw in _draws("numbers of flags"):
        script, name, others = draw.choice(NUMBERS)
        text = draw.choice([text for text in ODD_TEXTS if len(text) < 100])
        code, line, _ = command(script, *others, f"--{name}={text}")
        assert code == 1
        if text in ("nan", "inf", "-1", "1e400", "", "x", "ä☃", "[]"):
            named = {"resolution": "(resolution|image_size)"}.get(name, name)
            assert re.search(rf"flag --(data\.)?{named}=|{named} must be", line), (script, name, text, line)
            refused += 1
    assert refused > 10


PATHS = [
    *("", "file", "file/x", "empty", "closed", "closed/x", "sealed", "sealed/x", "none/a/b", "n" * 300, "n/" * 2500),
    *("a b", "ä☃", "a\nb", "~/x", "\udcff", "gs:/", " ", "../place none", "%s{0}"),
]
# What is read is nowhere there; what is written is in folders of which some are closed.
PLACES = [
    (RUN, "data_dir", ["--dataset=cifar10"]),
    (RUN, "data_dir", ["--dataset=folder"]),
    (RUN, "model_dir", ["--dataset=tiny", "--batch_size=7", "--microbatch=2"]),
    (EVALUATE, "model", []),
    (EVALUATE, "output", ["--model=model", "--dataset=tiny", "--extractor=x"]),
    (GENERATE, "model", ["--output=x.png"]),
    (PREPARE, "source", ["--dataset=mnist", "--data_dir=out"]),
    (PREPARE, "source", ["--dataset=cifar10", "--data_dir=out"]),
    (PREPARE, "source", ["--dataset=celeba64", "--data_dir=out"]),
    (PREPARE, "source", ["--dataset=lsun_bedroom64", "--data_dir=out"]),
    (PREPARE, "data_dir", ["--dataset=folder", "--source=images", "--resolution=8"]),
    (TABLES, "output_dir", ["--variant=d_r1"]),
    (BENCHMARK, "model", ["render"]),
]


@pytest.mark.parametrize("script, name, others", PLACES)
def test_paths(command, place, script, name, others):
    assert len(PATHS) * len(PLACES) == CASES["paths"]
    for path in PATHS:
        code, line, _ = command(script, *others, f"--{name}={path}")
        if path in ("", "\udcff", "n/" * 2500):
            assert code == 1 and f"flag --{name}=" in line, (path, line)
        elif code == 0:
            # Written where it was said.
            assert (place / (path if path != "~/x" else "home/x")).is_dir()
    assert not (place / "~").exists() and (place / "file").read_text() == "mine"


PICTURES = [
    ["--output=x.png", "--num_images=2147483647"],
    ["--output=x.png", "--num_images=99999999999999999999"],
    ["--output=x.png", "--columns=1000000"],
    ["--output=x.png", "--columns=10000000000"],
    ["--output=x.png", "--min_width=10000000000"],
    ["--output=x.png", "--render_scale=1e300"],
    ["--output=x.png", "--render_scale=10000"],
    ["--output=x.png", "--render_scale=0"],
    ["--gif=x.gif", "--frames=100000000"],
    ["--gif=x.gif", "--keyframes=10000000000"],
    ["--gif=x.gif", "--columns=10000"],
    ["--mixing=x.png", "--num_images=1000000"],
    ["--mixing=x.png", "--crossover=99999999999999999999"],
    ["--output=closed/x.png", "--num_images=1"],
    ["--output=file/x.png", "--num_images=1"],
    ["--gif=folder.gif", "--num_images=1", "--keyframes=2", "--frames=1"],
]


def test_pictures(command, place):
    assert len(PICTURES) == CASES["pictures"]
    (place / "folder.gif").mkdir()
    for arguments in PICTURES:
        code, line, _ = command(GENERATE, "--model=model", *arguments)
        assert code == 1 and re.search("too large|no pixels|crossover must|cannot write", line), line
    assert not (place / "x.png").exists() and not (place / "x.gif").exists()
    assert command(GENERATE, "--model=model", "--output=~/made/x.png", "--num_images=2")[0] == 0
    assert (place / "home" / "made" / "x.png").exists()


FOLDER = DataConfig("folder", 16, 3)


def test_decoded_images(tmp_path, place):
    """What is damaged is decoded again: never are there other pixels."""
    location = DataLocation(str(place / "images"), False, 0.0, str(tmp_path))
    expected = np.array(load_images(FOLDER, location))
    files = sorted(file for file in tmp_path.iterdir() if file.is_file())
    assert [file.suffix for file in files] == [".uint8", ".json"] and len(expected) == 6
    whole = {file: file.read_bytes() for file in files}
    for draw in _draws("decoded images"):
        file = draw.choice(files)
        content = draw.choice([with_damage(draw, whole[file])] * 8 + [b"", b"[]", b"{}", b"[" * 100_000])
        file.write_bytes(content)
        np.testing.assert_array_equal(load_images(FOLDER, location), expected)
        assert files[0].read_bytes() == whole[files[0]]
    # Well-formed, and of another meaning.
    file = files[1]
    for content in (
        {"count": 6, "skipped": 5},
        {"count": 6.0, "skipped": []},
        {"count": 6},
        {"count": 1, "skipped": []},
    ):
        file.write_text(json.dumps(content))
        np.testing.assert_array_equal(load_images(FOLDER, location), expected)


def test_weights_of_the_digits_classifier(tmp_path, monkeypatch):
    """Weights that are not those that were written are trained again."""
    tf.keras.utils.set_random_seed(3)
    images, labels = np.zeros((10, 8, 8, 1), np.uint8), np.zeros(10, np.int64)
    trained = classifier.build_classifier((8, 8, 1), 10)
    expected = [weights.copy() for weights in trained.get_weights()]
    path = tmp_path / "classifier.h5"
    trainings = []
    monkeypatch.setattr(classifier, "train_classifier", lambda *_: trainings.append(1) or (trained, 1.0))
    classifier.load_or_train_classifier(images, labels, 10, str(path))
    again = classifier.load_or_train_classifier(images, labels, 10, str(path))
    assert again[0] is not trained and again[1] == 1.0 and len(trainings) == 1
    whole = path.read_bytes()
    for draw in _draws("weights of the digits' classifier"):
        path.write_bytes(draw.choice([with_damage(draw, whole)] * 8 + [b"", b"words"]))
        found, _ = classifier.load_or_train_classifier(images, labels, 10, str(path))
        for weights, right in zip(found.get_weights(), expected):
            np.testing.assert_array_equal(weights, right)
    assert len(trainings) > 10


def test_weights_of_keras_inception(tmp_path, monkeypatch):
    """With a network that is quick to build in place of Keras' own, which reads its weights likewise."""

    def small(weights, classifier_activation):
        image = tf.keras.Input((299, 299, 3))
        pooled = tf.keras.layers.GlobalAveragePooling2D(name="avg_pool")(image)
        network = tf.keras.Model(image, tf.keras.layers.Dense(5)(pooled))
        if weights:
            network.load_weights(weights)
        return network

    monkeypatch.setattr(tf.keras.applications, "InceptionV3", small)
    path = tmp_path / "weights.h5"
    small(None, None).save_weights(str(path))
    location = DataLocation(inception=str(path))
    sha256 = inception.keras_inception(location).sha256
    whole, refused = path.read_bytes(), 0
    for draw in _draws("weights of Keras' Inception"):
        path.write_bytes(draw.choice([with_damage(draw, whole)] * 8 + [b"", b"words"]))
        try:
            # Another file is another network, and every result says so.
            assert inception.keras_inception(location).sha256 != sha256 or path.read_bytes() == whole
        except UserError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
            refused += 1
    assert refused > 5


def test_tfgan_inception(tmp_path):
    whole = stand_in.write(tmp_path / "whole", values=stand_in.weights(4))
    sha256 = inception.tfgan_inception(DataLocation(inception=whole)).sha256
    refused = 0
    for draw in _draws("TF-GAN's Inception"):
        copy = shutil.copytree(whole, tmp_path / "copy", dirs_exist_ok=True)
        file = copy / draw.choice(
            ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
        )
        content = file.read_bytes()
        file.write_bytes(draw.choice([with_damage(draw, content)] * 8 + [b"", b"words"]))
        try:
            found = inception.tfgan_inception(DataLocation(inception=str(copy)))
            assert found.sha256 != sha256 or file.read_bytes() == content
        except UserError as error:
            assert str(copy) in str(error) and len(str(error).splitlines()) == 1
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("name", ["file", "file/x", "n" * 300, "a b", "ä☃", "a\nb", "none/a/b", "%s", " "])
def test_places_of_caches(tmp_path, place, monkeypatch, name):
    """Images that cannot be kept are an error; statistics that cannot be kept, a warning."""
    (tmp_path / "file").write_text("mine")
    cache = str(tmp_path / name)
    cannot = "file" in name or len(name) > 255
    location = DataLocation(str(place / "images"), False, 0.0, cache)
    if cannot:
        with pytest.raises(UserError, match=r"cannot keep the decoded images .*--cache_dir"):
            load_images(FOLDER, location)
    else:
        assert load_images(FOLDER, location).shape == (6, 16, 16, 3) and len(os.listdir(cache)) == 2
    images = np.random.RandomState(0).randint(0, 256, (20, 8, 8, 1)).astype(np.uint8)
    extractor = classifier.classifier_extractor("digits", (classifier.build_classifier((8, 8, 1), 10), None), 1)
    computed = real_statistics(images, extractor, {}, None)
    for _ in range(2):
        found = real_statistics(images, extractor, {}, cache)
        np.testing.assert_array_equal(found.features, computed.features)
    monkeypatch.setenv("TFHUB_CACHE_DIR", cache)
    with pytest.raises(inception.ExtractorNotFoundError, match="--inception=FOLDER"):
        inception.tfgan_inception(DataLocation())
