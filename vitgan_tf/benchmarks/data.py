"""Speed and memory of the input pipeline, compared with the training step that it feeds."""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import psutil
import tensorflow as tf
from PIL import Image

from vitgan_tf.benchmarks.timing import rounded
from vitgan_tf.config import ExperimentConfig
from vitgan_tf.config.choices import DATASETS
from vitgan_tf.data.decoding import Preprocessing, decode_all, encode_png
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.data.registry import ArrayDataset
from vitgan_tf.errors import UserError
from vitgan_tf.training.build import build_gan

# File format and size in which a set is published or, for raw pixels, in which tensorflow-datasets stores it.
_SOURCES = {
    "cifar10": ("png", 32, 32),
    "mnist": ("png", 28, 28),
    "celeba": ("jpeg", 218, 178),
    "lsun_bedroom": ("webp", 256, 341),
    "emoji": ("png", 64, 64),
    "folder": ("jpeg", 400, 600),
}
_NUM_FILES = 256
EPOCHS = 3


def measure_data(config: ExperimentConfig, num_images: int, num_steps: int) -> dict[str, Any]:
    """Measures images per second from files to batches, and in the training step that consumes them.

    Args:
      config: data set, batch size and networks.
      num_images: size of the decoded set, made of 256 repeated crops of scikit-learn's photographs.
      num_steps: timed training steps, after two warm-up steps.

    Returns:
      decoded_images_per_second: decoding of files in the published format and size to uint8 at the training size;
        median over five passes.
      prepared_images_per_second: the same for the files of a prepared set.
      memory_images_per_second, disk_images_per_second: batches of the pipeline, cached in memory or in a file:
        shuffled, flipped if configured, and converted to float; over EPOCHS epochs.
      memory_mb_after_epochs: resident memory of the process after each epoch from memory, 10^6 bytes.
      train_images_per_second: training step, fed by the pipeline from memory.
      memory_over_train: ratio of memory_images_per_second to train_images_per_second.
      wait_fraction: share of the step time spent waiting for the batch.
      dataset, batch_size, num_images, and source: format and size of the files.

    Raises:
      UserError: the data set is not read from files.
    """
    data, batch_size = config.data, config.train.batch_size
    spec = DATASETS[data.dataset]
    if isinstance(spec, ArrayDataset):
        raise UserError(f"the data set {data.dataset!r} is not read from files: choose another --dataset")
    file_format, height, width = _SOURCES[spec.family]
    preprocess = spec.preprocessing(data)
    files = _encoded_photos(file_format, height, width, "L" if spec.family == "mnist" else "RGB")
    decoded = np.stack([preprocess(file) for file in files])
    prepared = [encode_png(image) for image in decoded]
    result = {
        "dataset": data.dataset,
        "batch_size": batch_size,
        "source": f"{file_format} {width} x {height}",
        "num_images": num_images,
        "decoded_images_per_second": rounded(_decoding_speed(files, preprocess)),
        "prepared_images_per_second": rounded(
            _decoding_speed(prepared, Preprocessing(data.image_size, data.num_channels))
        ),
    }
    images = np.tile(decoded, (-(-num_images // _NUM_FILES), 1, 1, 1))[:num_images]
    options: dict[str, Any] = {"batch_size": batch_size, "seed": config.train.seed, "flip": data.flip}
    options["batches_per_step"] = config.train.discriminator_steps
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "images.uint8")
        images.tofile(path)
        mapped = np.memmap(path, np.uint8, mode="r", shape=images.shape)
        result["disk_images_per_second"] = rounded(_pipeline_speed(training_dataset(mapped, **options), images)[0])
    dataset = training_dataset(images, **options)
    speed, memory = _pipeline_speed(dataset, images)
    train_speed, wait_fraction = _training(config, dataset, num_steps)
    return {
        **result,
        "memory_images_per_second": rounded(speed),
        "memory_mb_after_epochs": [round(size / 1e6) for size in memory],
        "train_images_per_second": rounded(train_speed),
        "memory_over_train": rounded(speed / train_speed),
        "wait_fraction": rounded(wait_fraction),
    }


def _encoded_photos(file_format: str, height: int, width: int, mode: str) -> list[bytes]:
    from sklearn import datasets  # slow to import

    random = np.random.RandomState(0)
    photos = [Image.fromarray(photo) for photo in datasets.load_sample_images().images]
    files = []
    for index in range(_NUM_FILES):
        photo = photos[index % len(photos)]
        left, top = random.randint(photo.width - width + 1), random.randint(photo.height - height + 1)
        buffer = io.BytesIO()
        photo.crop((left, top, left + width, top + height)).convert(mode).save(buffer, file_format, quality=95)
        files.append(buffer.getvalue())
    return files


def _decoding_speed(files: list[bytes], preprocess: Preprocessing, passes: int = 5) -> float:
    seconds = []
    for _ in range(passes):
        items = (("", lambda file=file: file) for _ in range(4) for file in files)
        start = time.perf_counter()
        count = sum(1 for _ in decode_all(items, preprocess.decode))
        seconds.append((time.perf_counter() - start) / count)
    return 1 / statistics.median(seconds)


def _pipeline_speed(dataset: tf.data.Dataset, images: np.ndarray) -> tuple[float, list[int]]:
    """Returns images per second over EPOCHS epochs, and the resident memory in bytes after each epoch."""
    batch_size = dataset.element_spec.shape[0]
    steps = max(1, len(images) // batch_size)
    iterator, process, memory = iter(dataset), psutil.Process(), []
    next(iterator)
    start = time.perf_counter()
    for _ in range(EPOCHS):
        for _ in range(steps):
            next(iterator)
        memory.append(process.memory_info().rss)
    return EPOCHS * steps * batch_size / (time.perf_counter() - start), memory


def _training(config: ExperimentConfig, dataset: tf.data.Dataset, num_steps: int) -> tuple[float, float]:
    """Returns images per second of the training step, and the share of its time spent waiting for batches."""
    gan = build_gan(config)
    train_step = tf.function(gan.train_step, autograph=False)
    iterator = iter(dataset)
    waited, passed = [], []
    for _ in range(num_steps + 2):
        start = time.perf_counter()
        batch = next(iterator)
        waited.append(time.perf_counter() - start)
        tf.nest.map_structure(lambda value: value.numpy(), train_step(batch))
        passed.append(time.perf_counter() - start)
    seconds = sum(passed[2:])
    return num_steps * config.images_per_step / seconds, sum(waited[2:]) / seconds
