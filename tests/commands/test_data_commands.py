"""From the official files of each data set to a trained generator, by the commands and without a network."""

import gzip
import json
import re
import shlex
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support import commands, official

from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.data.loading import load_images
from vitgan_tf.errors import UserError
from vitgan_tf.presets import preset

pytestmark = pytest.mark.slow

RUN = str(commands.ROOT / "experiments" / "run.py")

# Networks of a few thousand weights, for three steps.
SMALL = [
    *("--batch_size=8", "--total_kimg=0.024", "--mapping_layers=2", "--generator.latent_dim=16"),
    *(f"--{net}.{field}" for net in ("generator", "discriminator") for field in ("embed_dim=24", "mlp_dim=32")),
    *(f"--{net}.num_blocks=1" for net in ("generator", "discriminator")),
    *("--diagnostics_every_kimg=0", "--xla=off"),
]


def _succeeds(script, *arguments, **options):
    """The texts of the log's lines; there is no other output."""
    result = commands.run(script, *arguments, **options)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    modules = "run|writers|progress|loading|reading|cache|preparation|prepare_data|build"
    ours = rf"[IW]\d{{4}} [\d:.]+ \d+ ({modules})\.py:\d+\] "
    assert all(re.match(ours, line) for line in lines), result.stderr
    return [re.sub(ours, "", line) for line in lines]


SETS = {
    "cifar10": (official.write_cifar10, "cifar10", (32, 32, 3), 50),
    "mnist": (official.write_mnist, "mnist", (32, 32, 1), 60),
    "celeba64": (official.write_celeba, "celeba", (64, 64, 3), 40),
    "lsun_bedroom64": (official.write_lsun, "lsun_bedroom", (64, 64, 3), 40),
    "emoji": (lambda folder: official.write_emoji(folder, 45, 10), "emoji", (32, 32, 3), 45),
}


@pytest.mark.parametrize("name", list(SETS))
def test_official_files_are_prepared_and_trained_on(tmp_path, name):
    write, family, shape, num_images = SETS[name]
    data_dir = tmp_path / "data"
    write(data_dir / "raw" / family)
    # Where it is can be said by a flag, or by the variable that tensorflow-datasets reads.
    place = [] if name == "mnist" else [f"--data_dir={data_dir}"]
    env = {**commands.OFFLINE, "TFDS_DATA_DIR": str(data_dir)} if name == "mnist" else commands.OFFLINE
    lines = _succeeds("tools/prepare_data.py", f"--dataset={name}", *place, env=env)
    assert lines[-2].startswith(
        f"prepared {num_images} training and 10 evaluation images in {data_dir}/vitgan_{family}_"
    )
    command = shlex.split(lines[-1].split("train with: ")[1])
    assert command == ["python", RUN, f"--dataset={name}", f"--data_dir={data_dir}"]
    data = preset(name).data
    assert load_images(data, DataLocation(str(data_dir))).shape == (num_images, *shape)
    assert data.flip == (name in ("cifar10", "celeba64"))
    if name in ("celeba64", "lsun_bedroom64", "emoji"):
        return  # what follows is the same for all: one set in colour and one in grey
    model_dir = tmp_path / "run"
    lines = _succeeds(*command[1:3], *place, *SMALL, f"--model_dir={model_dir}", env=env)
    assert f"{num_images} images, " in lines[0] and f"{num_images} images, batch 8, 3 steps from step 0" in lines[1]
    assert lines[-1].startswith("run complete")
    config = json.loads((model_dir / "config.json").read_text())
    assert config["data"]["num_images"] == num_images
    with Image.open(model_dir / "samples" / "step_00000003.png") as grid:
        assert grid.mode == ("L" if shape[2] == 1 else "RGB")
    generator = tf.saved_model.load(str(model_dir / "saved_model"))
    assert generator.generate(num_images=2, seed=0)["images"].shape == (2, *shape)
    assert "finite" not in " ".join(lines)
    scores = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["extractor"] for line in scores] == ["none", "none"] and scores[-1]["swd"] > 0


def _write_images(folder, count=20):
    folder.mkdir()
    for index, photo in enumerate(official.photos(count, 50, 60)):
        (folder / f"{index}.jpg").write_bytes(official.encoded(photo, "jpeg"))


def _weights(model_dir):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(model_dir / "checkpoints")))
    names = [name for name in reader.get_variable_to_shape_map() if "save_counter" not in name]
    return {name: reader.get_tensor(name) for name in names}


def test_ones_own_images_need_no_preparation(tmp_path):
    """A run that is stopped and goes on, mirroring images read from disk, ends as one that was not stopped."""
    _write_images(tmp_path / "images")
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    run = ["experiments/run.py", "--dataset=folder", f"--data_dir={tmp_path / 'images'}", "--resolution=16", "--flip"]
    run += SMALL
    on_disk = ["--memory_gb=0", f"--cache_dir={tmp_path / 'cache'}"]
    lines = _succeeds(*run, *on_disk, "--total_kimg=0.048", f"--model_dir={tmp_path / 'whole'}")
    assert "left out, as they are no images that can be read: 1 .txt" in lines
    parts = f"--model_dir={tmp_path / 'parts'}"
    _succeeds(*run, parts)
    lines = _succeeds(*run, *on_disk, "--total_kimg=0.048", parts)
    assert any("6 steps from step 3" in line for line in lines)
    whole, resumed = _weights(tmp_path / "whole"), _weights(tmp_path / "parts")
    assert whole.keys() == resumed.keys()
    for name in whole:
        np.testing.assert_array_equal(whole[name], resumed[name], err_msg=name)
    # Other images would be another run.
    (tmp_path / "images" / "7.jpg").unlink()
    line = commands.error_line(*run, "--total_kimg=0.072", parts)
    assert "holds a run on other images (then num_images 20" in line and "now num_images 19" in line


def test_a_folder_is_prepared(tmp_path):
    _write_images(tmp_path / "My Faces!")
    out = tmp_path / "two  words"
    options = ["--dataset=folder", f"--source={tmp_path / 'My Faces!'}", f"--data_dir={out}", "--resolution=16"]
    lines = _succeeds("tools/prepare_data.py", *options)
    directory = out / "vitgan_my_faces_16x16x3" / "1.0.0"
    assert str(directory) in lines[-2]
    assert lines[-1] == f"train with: python {RUN} --dataset=folder '--data_dir={directory}' --resolution=16"
    config = DataConfig("folder", 16, 3)
    images = load_images(config, DataLocation(str(directory)))
    np.testing.assert_array_equal(images, load_images(config, DataLocation(str(tmp_path / "My Faces!"))))


def _kill_during_preparation(tmp_path, sent):
    """The result of a preparation that gets a signal when a shard is finished."""
    partial = tmp_path / "vitgan_mnist_32x32x1" / "1.0.0.partial"
    arguments = ["--dataset=mnist", f"--data_dir={tmp_path}", "--num_threads=1"]
    process = commands.start("tools/prepare_data.py", *arguments, seconds=120)
    while not list(partial.glob("train-00000")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(sent)
    return process.result()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_preparation_that_was_stopped_goes_on(tmp_path, sent):
    official.write_mnist(tmp_path / "raw" / "mnist", training=1700, evaluation=10)
    path = tmp_path / "raw" / "mnist" / "train-images-idx3-ubyte.gz"
    scans = np.frombuffer(gzip.decompress(path.read_bytes())[16:], np.uint8).reshape(-1, 28, 28)
    images = np.tile(scans, (15, 1, 1))  # four shards of 8,192
    (path.parent / "train-labels-idx1-ubyte.gz").unlink()  # they would be too few
    path.write_bytes(gzip.compress(np.array([0x803, *images.shape], ">i4").tobytes() + images.tobytes(), 1))
    killed = _kill_during_preparation(tmp_path, sent)
    errors = killed.stderr
    assert killed.returncode == (-signal.SIGKILL if sent == signal.SIGKILL else 130), errors
    if sent == signal.SIGINT:
        assert errors.strip().splitlines()[-1] == "prepare_data.py: interrupted" and "Traceback" not in errors
    config = DataConfig("mnist", 32, 1)
    with pytest.raises(UserError, match=r"mnist is in .* as it was downloaded: prepare it with"):
        load_images(config, DataLocation(str(tmp_path)))
    lines = _succeeds("tools/prepare_data.py", "--dataset=mnist", f"--data_dir={tmp_path}")
    assert re.fullmatch("25510 images in 5 shards, [123] already finished", lines[0])
    assert lines[-2].startswith("prepared 25500 training and 10 evaluation images in")
    prepared = load_images(config, DataLocation(str(tmp_path)))
    np.testing.assert_array_equal(prepared[:, 2:30, 2:30, 0], images)


def test_mistakes_end_in_one_line(tmp_path):
    model_dir = f"--model_dir={tmp_path / 'run'}"
    started = time.monotonic()
    line = commands.error_line(
        "experiments/run.py", "--dataset=lsun_bedroom128", f"--data_dir={tmp_path}", "--download", model_dir
    )
    assert time.monotonic() - started < 30
    assert "bedroom_train_lmdb.zip" in line and "tools/prepare_data.py --dataset=lsun_bedroom128" in line
    (tmp_path / "empty").mkdir()
    line = commands.error_line(
        "experiments/run.py", "--dataset=folder", f"--data_dir={tmp_path / 'empty'}", model_dir
    )
    assert "no images in" in line
    line = commands.error_line("experiments/run.py", "--dataset=folder", "--data_dir=x", "--resolution=50", model_dir)
    assert "--resolution must be a multiple of 8" in line and "got 50: choose 48 or 56" in line
    for size, edge in (("64x48", 48), ("100x200", 100)):
        result = commands.run("tools/prepare_data.py", "--dataset=folder", f"--resolution={size}")
        assert (
            f"images are square: --resolution={edge} takes the largest centred square of each picture"
            in result.stderr
        )
    for size in ("64.5", "large", "0", "-8", "1e2px"):
        result = commands.run("tools/prepare_data.py", "--dataset=folder", f"--resolution={size}")
        assert "write the edge of the images in pixels, for example --resolution=64" in result.stderr, size
    result = commands.run("experiments/run.py", "--dataset=folder", "--data_dir=x", "--data_dir=y", model_dir)
    assert "flag --data_dir=y: already defined as x" in result.stderr and result.returncode == 1
    line = commands.error_line(
        "experiments/run.py", "--dataset=folder", "--data_dir=x", "--resolution=64X64", model_dir
    )
    assert "there is no folder 'x'" in line
    line = commands.error_line("tools/prepare_data.py", "--dataset=cifar10", f"--data_dir={tmp_path}")
    assert "no CIFAR-10, cifar-10-binary.tar.gz or cifar-10-python.tar.gz is needed" in line
    line = commands.error_line("tools/prepare_data.py", "--dataset=folder", f"--source={tmp_path}", "--resolution=20")
    assert "--resolution must be a multiple of 8" in line
    line = commands.error_line("tools/prepare_data.py", "--dataset=mnist", "--name=digits", f"--data_dir={tmp_path}")
    assert "--name is for --dataset=folder" in line
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "vitgan_cifar10_32x32x3").exists()
    result = commands.run("tools/prepare_data.py", "--dataset=cifar100")
    assert result.returncode == 1 and "should be one of" in result.stderr and "Traceback" not in result.stderr
