"""The extractor "classifier": trained on the labels of any data set, kept by images and labels."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from support import official

from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.data.labels import LabelledImages
from vitgan_tf.data.loading import load_labelled_images
from vitgan_tf.data.preparation import prepare
from vitgan_tf.data.registry import dataset_spec
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation import build, classifier
from vitgan_tf.evaluation.build import build_evaluator, load_extractor
from vitgan_tf.evaluation.classifier import build_classifier, classifier_of, train_classifier

FOLDER = DataConfig("folder", 16, 3)
CLASS_NAMES = ("across", "down", "plain")
OPTIONS = {"extractor_name": "classifier", "num_generated": 40, "num_real": 0, "seed": 0}


def _gratings(num_images=120, size=16, seed=0):
    """Stripes of random colours across or down the image, or none, in noise."""
    random = np.random.RandomState(seed)
    labels = random.randint(0, 3, num_images)
    waves = np.sin(np.arange(size) * 1.5)
    stripes = np.stack([waves[:, None] + np.zeros(size), waves + np.zeros((size, 1)), np.zeros((size, size))])
    colours = random.uniform(40, 90, (num_images, 1, 1, 3))
    values = 128 + stripes[labels][..., None] * colours + random.normal(0, 20, (num_images, size, size, 3))
    return LabelledImages(np.clip(values, 0, 255).astype(np.uint8), labels.astype(np.int64), CLASS_NAMES)


@pytest.fixture
def trainings(monkeypatch):
    """Replaces the training by a network of random weights; the number of trainings."""
    calls = []

    def train(images, labels, num_classes, seed):
        calls.append(len(images))
        return build_classifier(images.shape[1:], num_classes), 0.75

    monkeypatch.setattr(classifier, "train_classifier", train)
    return calls


@pytest.mark.parametrize("size, edge", [(8, 2), (16, 4), (28, 7), (32, 4), (48, 6), (64, 4), (128, 4), (256, 4)])
def test_the_network_suits_the_size(size, edge):
    network = build_classifier((size, size, 3), 7)
    pooled = [layer.output_shape[1:] for layer in network.layers if "max_pooling" in layer.name][-1]
    assert pooled == (edge, edge, 64 if size < 32 else 128)
    assert [output.shape[1:] for output in network.outputs] == [(64,), (7,)]


def _changed(data, **changes):
    return dataclasses.replace(data, **changes)


def test_it_is_kept_by_all_images_and_labels(trainings, tmp_path):
    data = _gratings(1100)
    network, accuracy = classifier_of(data, str(tmp_path))
    again, accuracy_again = classifier_of(data, str(tmp_path))
    assert (len(trainings), accuracy, accuracy_again) == (1, 0.75, 0.75)
    for weights, expected in zip(again.get_weights(), network.get_weights()):
        np.testing.assert_array_equal(weights, expected)
    labels, images = data.labels.copy(), data.images.copy()
    labels[7] = (labels[7] + 1) % 3
    outside = min(set(range(1100)) - set(np.linspace(0, 1099, 1000).astype(int)))  # of the sample of fingerprints
    images[outside, 3, 3, 1] ^= 1
    others = [
        _changed(data, labels=labels),
        _changed(data, images=images),
        _changed(data, class_names=("a", "b", "c")),
    ]
    for count, other in enumerate(others, start=2):
        for _ in range(2):
            classifier_of(other, str(tmp_path))
            assert len(trainings) == count
    files = list((tmp_path / "classifiers").glob("*/classifier.h5"))
    assert len(files) == 4 and not list(tmp_path.rglob("*.partial*"))


def test_it_is_read_where_nothing_can_be_written_and_a_damaged_file_is_replaced(trainings, tmp_path, monkeypatch):
    data = _gratings()
    classifier_of(data, str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(classifier, "only_one", None)  # not called
        assert classifier_of(data, str(tmp_path))[1] == 0.75
    (path,) = (tmp_path / "classifiers").glob("*/classifier.h5")
    path.write_bytes(path.read_bytes()[:-100])
    assert classifier_of(data, str(tmp_path))[1] == 0.75 and len(trainings) == 2
    assert classifier_of(data, str(tmp_path))[1] == 0.75 and len(trainings) == 2


@pytest.mark.parametrize("accuracy, is_low", [(0.45, True), (0.75, False)])
def test_low_accuracy_is_said_each_time(trainings, tmp_path, monkeypatch, messages, accuracy, is_low):
    monkeypatch.setattr(
        classifier, "train_classifier", lambda images, *_: (build_classifier(images.shape[1:], 3), accuracy)
    )
    for _ in range(2):
        messages.clear()
        classifier_of(_gratings(), str(tmp_path))
        words = f"the classifier is right on only {100 * accuracy:.1f} % of held-out images"
        assert any(words in line for line in messages) == is_low


def _images(labels, class_names=CLASS_NAMES):
    return LabelledImages(np.zeros((len(labels), 16, 16, 3), np.uint8), np.array(labels), class_names)


@pytest.mark.parametrize(
    "data, labelled, words",
    [
        (FOLDER, LabelledImages(np.zeros((40, 16, 16, 3), np.uint8)), "folder has none: give each class a subfolder"),
        (
            DataConfig("mnist", 16, 3),
            LabelledImages(np.zeros((9, 16, 16, 3), np.uint8)),
            "train-labels-idx1-ubyte.gz",
        ),
        (DataConfig("cifar10", 16, 3), LabelledImages(np.zeros((9, 16, 16, 3), np.uint8)), "prepare it again"),
        (
            DataConfig("celeba64", 16, 3),
            LabelledImages(np.zeros((9, 16, 16, 3), np.uint8)),
            "--extractor=classifier needs labels, and celeba64 has none: choose another --extractor",
        ),
        (FOLDER, _images([2] * 50), "all 50 images are of one class: a classifier needs two or more"),
        (
            FOLDER,
            _images([0, 1] * 9),
            "18 images of 2 classes are too few to train a classifier: at least 10 per class",
        ),
    ],
)
def test_labels_that_are_not_there_or_too_few(trainings, tmp_path, data, labelled, words):
    location = DataLocation("/nowhere", cache_dir=str(tmp_path))
    with pytest.raises(UserError, match=words):
        build_evaluator(data, location, split="training", training_images=labelled, **OPTIONS)
    assert not trainings


def test_a_cache_that_cannot_be_written(trainings, tmp_path):
    (tmp_path / "file").write_text("mine")
    location = DataLocation("/nowhere", cache_dir=str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot keep the classifier in .*file.*: choose another --cache_dir"):
        load_extractor("classifier", FOLDER, location, training=_gratings)


def test_on_the_digits_it_is_theirs(trainings, tmp_path):
    digits = DataConfig("digits", 8, 1)
    path = str(tmp_path / "classifier.h5")
    found = [
        load_extractor(name, digits, DataLocation(), path).protocol_entries() for name in ("digits", "classifier")
    ]
    assert found[0] == found[1] and len(trainings) == 1
    assert found[0]["extractor"] == "digits" and found[0]["extractor_accuracy"] == 0.75


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 32])
def test_it_learns_colour_images(size):
    data = _gratings(400, size)
    network, accuracy = train_classifier(data.images, data.labels, 3, seed=0)
    assert accuracy > 0.95
    other = _gratings(100, size, seed=1)
    _, logits = network.predict(other.images / 127.5 - 1, verbose=0)
    assert np.mean(np.argmax(logits, axis=1) == other.labels) > 0.95


@pytest.mark.slow
def test_processes_that_start_together_train_once(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from vitgan_tf.data.labels import LabelledImages\n"
        "from vitgan_tf.evaluation import classifier\n"
        "labels = np.arange(60) % 2; images = np.full((60, 8, 8, 1), 99, np.uint8) * labels[:, None, None, None]\n"
        "count, train = [], classifier.train_classifier\n"
        "classifier.train_classifier = lambda *given: count.append(1) or train(*given)\n"
        "data = LabelledImages(images.astype(np.uint8), labels, ('a', 'b'))\n"
        "trained = classifier.classifier_of(data, sys.argv[1])\n"
        "print(len(count), trained[1], classifier._sha256(trained[0]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = sorted(process.communicate(timeout=200)[0].split() for process in processes)
    assert [output[0] for output in outputs] == ["0", "1"] and outputs[0][1:] == outputs[1][1:]


def _official(tmp_path, name):
    """The official files of a set, prepared; its configuration and location."""
    write = {"mnist": official.write_mnist, "cifar10": official.write_cifar10}[name]
    write(tmp_path / "raw", training=200, evaluation=50)
    config = DataConfig(name, 32, 1 if name == "mnist" else 3)
    prepare(dataset_spec(config), config, str(tmp_path / "raw"), str(tmp_path))
    return config, DataLocation(str(tmp_path), cache_dir=str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_official_sets_are_scored(tmp_path, name, monkeypatch):
    """Also against the evaluation images, by the classifier of the training images."""
    config, location = _official(tmp_path, name)
    loaded = []
    load = build.load_labelled_images
    monkeypatch.setattr(build, "load_labelled_images", lambda *args: loaded.append(args) or load(*args))
    hashes = set()
    for split, count in (("training", 200), ("evaluation", 50)):
        evaluator = build_evaluator(config, location, split=split, **OPTIONS)
        real = load_labelled_images(config, location, split)
        scores = evaluator.evaluate([real.images[:40]])
        protocol = evaluator.protocol
        assert (protocol.extractor, protocol.num_real, protocol.feature_dim) == ("classifier", count, 64)
        assert evaluator.distance_name == "classifier_fd" and scores["classifier_fd_half_split"] > 0
        assert {f"classifier_{score}" for score in ("is", "kd", "precision", "recall", "coverage")} <= set(scores)
        assert 0 <= protocol.extractor_accuracy <= 1 and len(scores["classifier_class_fractions"]) == 10
        if name == "mnist":  # photos have labels at random
            assert protocol.extractor_accuracy > 0.6
            fractions = np.bincount(real.labels[:40], minlength=10) / 40
            np.testing.assert_allclose(scores["classifier_class_fractions"], fractions, atol=0.2)
        hashes.add(protocol.extractor_sha256)
    assert len(hashes) == 1 and len(loaded) == 2  # once for each evaluator
    assert len(list(pathlib.Path(location.cache_dir, "statistics").glob("classifier_*.npz"))) == 2
