"""Candidates of an evaluation: the generator of a run, an exported one, or images of any origin."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from vitgan_tf.config import DataConfig, DataLocation, EvalConfig
from vitgan_tf.data.loading import load_images
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.evaluator import random_rows
from vitgan_tf.evaluation.generation import Draw, ImageSampler
from vitgan_tf.evaluation.samples import unknown
from vitgan_tf.latents import CHUNK, SequenceRandom
from vitgan_tf.runs.generator import load_generator
from vitgan_tf.trained.generator import Generator
from vitgan_tf.trained.loading import load, origin_of
from vitgan_tf.trained.module import FIXED_NOISE, mean_style
from vitgan_tf.trained.saved_model import SIGNATURES, functions_of, load_saved_model, serving_specs
from vitgan_tf.trained.sources import is_saved_model_source

MIN_IMAGES = 2


@dataclasses.dataclass(frozen=True)
class Styles:
    """A generator in two parts.

    Attributes:
      map: latents (batch, latent_dim) -> styles w, (batch, ...).
      draw: styles, noise as in `ImageSampler` -> float images (batch, height, width, channels) in [-1, 1].
      mean: mean style, of a shape that broadcasts with the styles.
    """

    map: Callable[[tf.Tensor], tf.Tensor]
    draw: Draw
    mean: tf.Tensor

    def truncated(self, truncation: float) -> Draw:
        """Returns latents, noise -> images, with w' = mean + truncation * (w - mean)."""

        def draw(latents: tf.Tensor, random: SequenceRandom | None) -> tf.Tensor:
            return self.draw(self.mean + truncation * (self.map(latents) - self.mean), random)

        return draw


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Images to be scored, or the generator that draws them.

    Attributes:
      data: configuration of the images that it was trained on or is compared with.
      eval: evaluation settings of its run or preset.
      origin: entries of the result line about it.
      draw: see `ImageSampler`; None for given images.
      latent_dim: size of a latent.
      images: given images, (num_images, size, size, channels) uint8; empty for a generator.
      styles: () -> its two parts; None for given images and for SavedModels of other origin.
      run_dir: its run directory, if known.
      fingerprint: fingerprint of its training images, if known.
      has_noise: whether its images depend on noise.
    """

    data: DataConfig
    eval: EvalConfig
    origin: dict[str, Any]
    draw: Draw | None = None
    latent_dim: int = 0
    images: np.ndarray = dataclasses.field(default_factory=unknown)
    styles: Callable[[], Styles] | None = None
    run_dir: str | None = None
    fingerprint: str | None = None
    has_noise: bool = False

    def truncated(self, truncation: float) -> Candidate:
        """Returns this candidate with truncated styles; itself for 1.

        Raises:
          UserError: it has no styles.
        """
        if truncation == 1.0:
            return self
        if self.styles is None:
            raise UserError("--truncation needs a generator with styles: a run, or a SavedModel of one")
        return dataclasses.replace(self, draw=self.styles().truncated(truncation))

    def batches(
        self, num_images: int, seed: int, batch_size: int, has_fixed_noise: bool
    ) -> tuple[Iterator[np.ndarray], int]:
        """Returns batches (any number, size, size, channels) uint8 of its images, and their number.

        Raises:
          UserError: there are not so many images.
        """
        batch_size = min(batch_size, num_images)
        if self.draw is None:
            if num_images > len(self.images):
                raise UserError(f"--num_generated={num_images}: there are {len(self.images)} images only")
            rows = random_rows(len(self.images), num_images)
            total = math.ceil(num_images / batch_size)
            return (self.images[part] for part in np.array_split(rows, total)), total
        sampler = ImageSampler(self.draw, self.latent_dim, batch_size, has_fixed_noise)
        return sampler.batches(num_images, seed), math.ceil(num_images / sampler.images_per_step)


def from_run(model_dir: str, checkpoint: str = "latest", weights: str = "ema") -> Candidate:
    """Returns the generator of a run directory; see `load_generator` for the arguments.

    Raises:
      UserError: the run or the checkpoint does not exist or cannot be read.
    """
    trained = load_generator(model_dir, checkpoint, weights)
    config, network = trained.config, trained.network

    def drawn(function: Callable) -> Draw:
        return lambda values, random: function(values, random if network.has_noise else None)

    return Candidate(
        config.data,
        config.eval,
        {
            "model": model_dir,
            "step": trained.step,
            "kimg": trained.step * config.images_per_step / 1000,
            "weights": weights,
        },
        drawn(network),
        network.latent_dim,
        styles=lambda: Styles(network.mapping, drawn(network.synthesize), mean_style(network)),
        run_dir=model_dir,
        fingerprint=trained.data.get("fingerprint"),
        has_noise=network.has_noise,
    )


def from_model(source: str, data: DataConfig | None = None, eval_config: EvalConfig | None = None) -> Candidate:
    """Returns an exported generator, or a SavedModel from elsewhere.

    The signature serving_default of such a SavedModel must map latents from N(0, I) to images in [-1, 1].

    Args:
      source: argument of `load` other than a run directory, or the folder of a SavedModel.
      data: images to compare with; default: those of the generator's training. For "folder", the generator's images
        determine the size.
      eval_config: evaluation settings that go with `data`; without `data`, those of the training are used.

    Raises:
      UserError: source is not a generator, its images have another size, or the images to compare with are not known.
    """
    if is_saved_model_source(source):
        model = load_saved_model(source, signatures=("serving_default",))
        if not set(SIGNATURES) <= set(model.signatures):
            return _from_elsewhere(model, source, _known(data, source), eval_config or EvalConfig())
        saved = functions_of(model)
        generator = Generator(saved, origin_of(source, source, saved.step))
    else:
        generator = load(source)
    functions, origin = generator.functions, generator.origin
    if not functions.is_traceable:
        raise UserError(f"{source!r} is in a format that is not scored: score the run, or a folder of its images")
    step, config, kimg = generator.step, origin.config, None
    if data is None and config is not None:
        data, eval_config = config.data, config.eval
        fingerprint, run_dir = origin.data.get("fingerprint"), origin.run_dir
        kimg = None if step is None else step * config.images_per_step / 1000
    else:
        fingerprint, run_dir = None, None
    data = _known(data, source)
    size = dataclasses.replace(data, image_size=generator.image_size, num_channels=generator.num_channels)

    def render(styles: tf.Tensor, random: SequenceRandom | None) -> tf.Tensor:
        return functions.render(styles, 1.0, *_noise(random))

    return Candidate(
        of_size(data, size, source),
        eval_config or EvalConfig(),
        {"model": source, "step": step, "kimg": kimg, "weights": origin.weights},
        lambda latents, random: render(functions.map_latents(latents), random),
        generator.latent_dim,
        styles=lambda: Styles(functions.map_latents, render, generator.mean_style[:, None]),
        run_dir=run_dir,
        fingerprint=fingerprint,
        has_noise=generator.has_noise,
    )


def _known(data: DataConfig | None, source: str) -> DataConfig:
    if data is None:
        raise UserError(f"the images to compare {source!r} with are not known: set --dataset=NAME or --reference")
    return data


def _from_elsewhere(model: tf.Module, path: str, data: DataConfig, eval_config: EvalConfig) -> Candidate:
    (latents_name, latents_spec), (images_name, images_spec) = serving_specs(model, path)
    height, width, channels = images_spec.shape[1:]
    if height != width:
        raise UserError(f"{path!r} draws images of {height} x {width}, which are not square")

    def draw(latents: tf.Tensor, random: SequenceRandom | None) -> tf.Tensor:
        latents = tf.cast(latents, latents_spec.dtype)
        return tf.cast(model.signatures["serving_default"](**{latents_name: latents})[images_name], tf.float32)

    return Candidate(
        of_size(data, dataclasses.replace(data, image_size=height, num_channels=channels), path),
        eval_config,
        {"model": path, "step": None, "kimg": None, "weights": None},
        draw,
        latents_spec.shape[1],
    )


def _noise(random: SequenceRandom | None) -> tuple[tf.Tensor | int, tf.Tensor | int]:
    return (FIXED_NOISE, 0) if random is None else (random.image_seed, random.first_chunk * CHUNK)


def of_size(data: DataConfig, shape: DataConfig, path: str) -> DataConfig:
    """Returns the images to compare with, which must have the size of the generator's; a folder's are brought to it.

    Args:
      data: the images.
      shape: its size and channels count.
      path: names the generator in the message.

    Raises:
      UserError: the images have another size.
    """
    size, channels = shape.image_size, shape.num_channels
    if data.dataset == "folder":
        return dataclasses.replace(data, image_size=size, num_channels=channels)
    if (size, channels) != (data.image_size, data.num_channels):
        raise UserError(
            f"{path!r} draws images of {size} x {size} x {channels}, but those of {data.dataset} are "
            f"{data.image_size} x {data.image_size} x {data.num_channels}: choose the data set it was trained on"
        )
    return data


def from_images(path: str, data: DataConfig, location: DataLocation) -> Candidate:
    """Returns the images of a folder or zip archive.

    Args:
      path: the folder or archive.
      data: size and channels to which they are brought, of the data set "folder".
      location: limits and cache.

    Raises:
      UserError: they cannot be read.
    """
    images = load_images(data, dataclasses.replace(location, data_dir=path))
    if len(images) < MIN_IMAGES:
        raise UserError(f"{path!r} holds {len(images)} image: at least {MIN_IMAGES} are needed")
    origin = {"images": path}
    return Candidate(data, EvalConfig(num_generated=len(images)), origin, images=images)
