"""Hundreds of wrong inputs of each kind, from fixed seeds: each ends in a clear error or a right result.

With the damaged images of data/test_decoding.py, they are more than a thousand.
"""

import gzip
import io
import json
import math
import os
import random
import resource
import shutil
import signal
import tarfile
import traceback

import numpy as np
import pytest
import tensorflow as tf
from support import official

from vitgan_tf import config as config_lib
from vitgan_tf.data.decoding import Preprocessing
from vitgan_tf.data.opening import BadImageError
from vitgan_tf.data.sources.base import MAX_PART_BYTES
from vitgan_tf.data.sources.celeba import celeba
from vitgan_tf.data.sources.cifar10 import cifar10
from vitgan_tf.data.sources.emoji import emoji
from vitgan_tf.data.sources.lsun import lsun
from vitgan_tf.data.sources.mnist import mnist
from vitgan_tf.errors import ConfigError, UserError
from vitgan_tf.evaluation import real_statistics
from vitgan_tf.evaluation.real_statistics import RealStatistics
from vitgan_tf.evaluation.scores import gaussian
from vitgan_tf.files import read_json_lines
from vitgan_tf.models.build import build_discriminator, build_generator
from vitgan_tf.presets import PRESETS, VARIANTS, preset
from vitgan_tf.runs.directory import CONFIG, read_run
from vitgan_tf.trained.saved_model import export_generator, load_saved_model

pytestmark = pytest.mark.fuzz

CASES = {
    "configurations": 400,
    "networks of configurations": 20,
    "config.json": 150,
    "metrics.jsonl": 50,
    "data sets": 5 * 40,
    "SavedModels": 100,
    "SavedModels without checksums": 15,
    "statistics": 60,
    "images": 6 * 60,  # in data/test_decoding.py
}


def _draws(name):
    """A random generator of its own for each case."""
    return (random.Random(f"{name} {number}") for number in range(CASES[name]))


def with_damage(draw, content):
    """Bits flipped, pieces cut out, doubled, zeroed or added, and numbers at the beginning made extreme."""
    content = bytearray(content)
    kind = draw.choice(["bit", "bytes", "cut", "doubled", "zeros", "longer", "head"])
    if kind == "bit":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif kind == "bytes":
        for _ in range(20):
            content[draw.randrange(len(content))] = draw.randrange(256)
    elif kind == "cut":
        del content[draw.randrange(len(content)) :]
    elif kind == "doubled":
        first, last = sorted(draw.sample(range(len(content)), 2))
        content[last:last] = content[first:last]
    elif kind == "zeros":
        first = draw.randrange(len(content))
        content[first : first + 1000] = bytes(len(content[first : first + 1000]))
    elif kind == "longer":
        content += draw.randbytes(draw.randrange(1, 5000))
    else:
        for _ in range(3):
            content[draw.randrange(min(64, len(content)))] = draw.choice([0, 1, 127, 128, 255])
    return bytes(content)


ODD_VALUES = [
    *(0, 1, 2, 3, 5, 7, 16, -1, 10**9, 2**31, 2**63, -(2**40), 0.0, 0.5, -0.5, 1e-9, 1e30, 1e300),
    *(math.nan, math.inf, -math.inf, True, False, None, "", "x", "auto", "isn", "\0", "ä" * 50, "a" * 10_000),
    *([], ["color"], ["color", "x"], (), {}, b"x", 1j, [1, 2], [[]], "16", {"a": 1}),
]


def _value(draw, field, field_type):
    if field.metadata["choices"]:
        return draw.choice(list(field.metadata["choices"]))
    ordinary = {
        int: [1, 2, 3, 4, 8, 12, 16, 24],
        float: [0.0, 0.1, 0.5, 1.0, 2.0, 10.0],
        bool: [True, False],
        tuple[int, ...]: [(), (1, 2)],
    }
    return draw.choice(ordinary.get(field_type, ODD_VALUES))


def _fields(draw, number, sections=None):
    fields = [item for item in config_lib.field_paths() if sections is None or item[0].split(".")[0] in sections]
    return draw.sample(fields, number)


def test_configurations():
    outcomes = {True: 0, False: 0}
    for draw in _draws("configurations"):
        base = preset(draw.choice(list(PRESETS)), draw.choice(list(VARIANTS)))
        changes = {
            path: draw.choice(ODD_VALUES) if draw.random() < 0.5 else _value(draw, field, field_type)
            for path, field, field_type in _fields(draw, draw.choice([1, 1, 2, 3, 5]))
        }
        try:
            config = config_lib.override(base, changes)
        except ConfigError as error:
            assert any(path in str(error) for path in changes), (changes, error)
            outcomes[False] += 1
            continue
        outcomes[True] += 1
        # What was accepted means something, and survives its file.
        assert config.total_steps >= 1
        assert config_lib.from_dict(json.loads(json.dumps(config_lib.as_dict(config)))) == config
    assert min(outcomes.values()) > 80


def test_networks_of_configurations():
    """Whatever combination is accepted can be built, and computes."""
    built = 0
    for draw in _draws("networks of configurations"):
        changes = {
            path: _value(draw, field, field_type)
            for path, field, field_type in _fields(draw, 6, ("data", "generator", "discriminator"))
            if path != "data.dataset"
        }
        try:
            config = config_lib.override(preset("tiny"), changes)
        except ConfigError as error:
            assert any(path in str(error) for path in changes), (changes, error)
            continue
        generator, discriminator = build_generator(config), build_discriminator(config)
        images = generator(tf.random.stateless_normal([2, config.generator.latent_dim], [0, 0]))
        assert images.shape == (2, config.data.image_size, config.data.image_size, config.data.num_channels)
        logits = discriminator(images).numpy()
        assert logits.shape == (2,) and np.isfinite(logits).all() and np.isfinite(images).all(), changes
        built += 1
    assert built >= 3


def test_files_of_runs(tmp_path):
    config = preset("tiny")
    content = {"config": config_lib.as_dict(config), "data": {"num_images": 5, "fingerprint": "a"}}
    whole = json.dumps(content, indent=2).encode()
    refused = 0
    for number, draw in enumerate(_draws("config.json")):
        damaged = b'{"config": ' + b"[" * 100_000 if number == 0 else with_damage(draw, whole)
        (tmp_path / CONFIG).write_bytes(damaged)
        try:
            found, data = read_run(str(tmp_path))
        except UserError as error:
            assert CONFIG in str(error) or isinstance(error, ConfigError)
            refused += 1
        else:
            assert isinstance(found, config_lib.ExperimentConfig) and isinstance(data, dict)
    assert refused > 100
    lines = [{"step": step, "digits_fd": 1.5 * step} for step in range(20)]
    whole = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path = tmp_path / "metrics.jsonl"
    for draw in _draws("metrics.jsonl"):
        damaged = bytearray(whole)
        places = [draw.randrange(len(whole)) for _ in range(3)]
        for place in places:
            damaged[place] = draw.choice(b'{}[]",x')
        path.write_bytes(damaged)
        # Lines without damage are there.
        touched = {whole[:place].count(b"\n") for place in places}
        touched |= {line - 1 for line in touched} | {line + 1 for line in touched}
        found = read_json_lines(str(path))
        assert all(lines[number] in found for number in range(20) if number not in touched)


def _in_a_process_of_its_own(function, seconds=30, gigabytes=6):
    """The exit code of a function that may crash, hang or fill the memory: 0, 1 for a UserError, 2 for others."""
    process = os.fork()
    if process == 0:
        code = 2
        try:
            signal.alarm(seconds)
            with open("/proc/self/statm") as file:
                now = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + int(gigabytes * 10**9),) * 2)
            code = function()
        except UserError:
            code = 1
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


DATA_SETS = {
    "mnist": (official.write_mnist, mnist, "train-images-idx3-ubyte.gz"),
    "cifar10": (official.write_cifar10, cifar10, "cifar-10-binary.tar.gz"),
    "celeba": (official.write_celeba, celeba, "img_align_celeba.zip"),
    "celeba's list": (official.write_celeba, celeba, "list_eval_partition.txt"),
    "emoji": (official.write_emoji, emoji, "emoji-datasource-google-16.0.0.tgz"),
    "lsun": (official.write_lsun, lsun, "bedroom_train_lmdb/data.mdb"),
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_data_sets(tmp_path, name):
    write, read, file_name = DATA_SETS[name]
    write(tmp_path, 10)
    path = tmp_path / file_name
    whole = path.read_bytes()
    decode = Preprocessing(16, 3)
    expected = {image: decode(reader()) for image, reader in read(str(tmp_path), "training").items()}

    def decoded():
        for image, reader in read(str(tmp_path), "training").items():
            try:
                pixels = decode(reader())
            except (BadImageError, OSError):
                continue
            assert pixels.shape == (16, 16, 3)
            # All but LMDB have checksums of what is in them.
            if name not in ("celeba's list", "lsun"):
                np.testing.assert_array_equal(pixels, expected[image])
        return 0

    codes = []
    for number in range(CASES["data sets"] // len(DATA_SETS)):
        path.write_bytes(with_damage(random.Random(f"{name} {number}"), whole))
        codes.append(_in_a_process_of_its_own(decoded))
    assert set(codes) <= {0, 1} and codes.count(1) > 3, codes


def test_bits_of_compressed_pixels(tmp_path):
    """Of these, most can still be unpacked: the checksum at the end of the archive tells."""
    official.write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-binary.tar.gz"
    whole = path.read_bytes()
    for place in range(len(whole) // 4, len(whole) // 2, len(whole) // 100):
        flipped = bytearray(whole)
        flipped[place] ^= 16
        path.write_bytes(flipped)
        with pytest.raises(UserError, match=r"cannot read .*cifar-10"):
            cifar10(str(tmp_path), "training")


def test_archives_that_would_fill_the_memory(tmp_path):
    """A .gz of a few megabytes that holds gigabytes, and a member of an archive that claims to."""
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb", compresslevel=1) as file:
        for _ in range(400):
            file.write(bytes(10**7))
    assert _in_a_process_of_its_own(lambda: len(mnist(str(tmp_path), "training")), gigabytes=1) == 1
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz", compresslevel=1) as tar:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.size = MAX_PART_BYTES + 1
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    assert _in_a_process_of_its_own(lambda: len(cifar10(str(tmp_path), "training")), gigabytes=0.2) == 1


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    export_generator(build_generator(preset("tiny")), str(path), 7)
    return path


def _damaged_copy(draw, path, tmp_path, names=None):
    """A copy of a folder with one damaged file, and the name of that file."""
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    copy = shutil.copytree(path, tmp_path / "copy")
    files = sorted(
        file
        for file in copy.rglob("*")
        if file.is_file() and file.stat().st_size and (not names or file.name in names)
    )
    file = draw.choice(files)
    whole = file.read_bytes()
    while (damaged := with_damage(draw, whole)) == whole:
        pass
    if draw.random() < 0.1:
        file.unlink()
    else:
        file.write_bytes(damaged)
    return copy, file.name


def test_saved_models(saved_model, tmp_path):
    assert load_saved_model(str(saved_model)).step.numpy() == 7
    for draw in _draws("SavedModels"):
        copy, name = _damaged_copy(draw, saved_model, tmp_path)
        try:
            load_saved_model(str(copy))
        except UserError as error:
            assert "is damaged" in str(error) or "is not a SavedModel" in str(error)
        else:
            assert name == "sha256.json"  # gone, or changed between two values: the model itself is whole


def test_saved_models_without_checksums(saved_model, tmp_path):
    model = load_saved_model(str(saved_model))
    images = model.generate(4, 0)["images"].numpy()
    for draw in _draws("SavedModels without checksums"):
        copy, _ = _damaged_copy(draw, saved_model, tmp_path, ("saved_model.pb", "variables.index"))
        shutil.rmtree(copy / "assets.extra")
        try:
            loaded = load_saved_model(str(copy))
        except UserError as error:
            assert len(str(error).splitlines()) == 1
        else:
            assert loaded.generate(4, 0)["images"].shape == images.shape


def test_statistics_of_real_images(tmp_path):
    features = np.random.RandomState(0).randn(50, 8).astype(np.float32)
    statistics = RealStatistics(gaussian(features), features, *np.ones([2, 50], np.float32), np.arange(50))
    path = str(tmp_path / "statistics.npz")
    real_statistics._write(path, "key", statistics)
    with open(path, "rb") as file:
        whole = file.read()
    for draw in _draws("statistics"):
        with open(path, "wb") as file:
            file.write(with_damage(draw, whole))
        found = real_statistics._read(path, "key")
        # Computed again, or what they were: the archive has checksums.
        if found is not None:
            np.testing.assert_array_equal(found.features, features)
            np.testing.assert_array_equal(found.gaussian.covariance, statistics.gaussian.covariance)
