"""Projection: the style, and the noise, that best reproduce a given image.

After the projector of StyleGAN2 (Karras et al. 2020, appendix D; projector.py of NVlabs/stylegan2-ada): the search
starts at the mean style, under noise that falls to 0, with a rate that rises and falls.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Callable

import numpy as np
import tensorflow as tf

from vitgan_tf.config.choices import PROJECTION_SPACES
from vitgan_tf.errors import UserError
from vitgan_tf.images import to_float, to_uint8
from vitgan_tf.latents import consecutive_latents
from vitgan_tf.trained.generator import Generator
from vitgan_tf.trained.module import FIXED_NOISE, MEAN_STYLE_SAMPLES

# Schedules of projector.py; rates and noise are in standard deviations of w, and so independent of its scale.
_RAMP_UP, _RAMP_DOWN, _NOISE_RAMP, _INITIAL_NOISE = 0.05, 0.25, 0.75, 0.05
_NOISE_WEIGHT = 1e5
# Images are compared down to this edge, in pixels.
_SMALLEST_EDGE = 4

Features = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Search:
    """How an image is searched for.

    Attributes:
      steps: number of updates.
      starts: number of parallel searches, the best of which is kept; the first starts at the mean style, the others
        at random styles.
      space: "w+", a style for each place that takes one, or "w", one style for all of them.
      learning_rate: peak learning rate of Adam, in standard deviations of w.
      seed: seed of the other starts and of the noise on the way.
      feature_weight: weight of the feature loss, relative to the pixel loss.
      optimizes_noise: whether the noise of a generator that has some is searched too, instead of the layers' fixed
        one.
    """

    steps: int = 1000
    starts: int = 1
    space: str = PROJECTION_SPACES[0]
    learning_rate: float = 0.1
    seed: int = 0
    feature_weight: float = 1.0
    optimizes_noise: bool = True


@dataclasses.dataclass(frozen=True)
class Projection:
    """Result of a search.

    Attributes:
      styles: (num_styles, style_dim).
      image: its image, (size, size, num_channels) uint8.
      psnr: peak signal-to-noise ratio of the image, in decibels, of 255 levels.
      noise: noise of the layers, in the order in which they ask for it; empty for a generator without noise.
      way: styles at evenly spaced steps, (any number, num_styles, style_dim).
    """

    styles: np.ndarray
    image: np.ndarray
    psnr: float
    noise: list[np.ndarray]
    way: np.ndarray


class NoiseMaps:
    """Noise that is optimised: an `ImageRandom` whose numbers are variables, made when a layer first asks for them.

    Args:
      count: number of images.
      seed: seed of their first values, N(0, 1).
    """

    def __init__(self, count: int, seed: int, stream: tuple[int, ...] = (), maps: dict | None = None):
        self._count = count
        self._seed = seed
        self._stream = stream
        self._maps: dict[tuple[int, ...], tf.Variable] = {} if maps is None else maps

    @property
    def variables(self) -> list[tf.Variable]:
        """The maps, (count, height, width, 1)."""
        return list(self._maps.values())

    def fork(self, number: int) -> NoiseMaps:
        """Returns the stream of this number for the same images."""
        return NoiseMaps(self._count, self._seed, (*self._stream, number), self._maps)

    def noise(self, fixed: tf.Tensor) -> tf.Tensor:
        """Returns the map of this stream."""
        if self._stream not in self._maps:
            seed = [self._seed, len(self._maps)]
            with tf.init_scope():
                first = tf.random.stateless_normal([self._count, *fixed.shape[1:]], seed)
                self._maps[self._stream] = tf.Variable(first)
        return self._maps[self._stream]

    def normalize(self) -> None:
        """Brings each map to mean 0 and deviation 1, as in StyleGAN2's projector."""
        for noise in self.variables:
            mean, variance = tf.nn.moments(noise, [1, 2, 3], keepdims=True)
            noise.assign((noise - mean) / tf.sqrt(variance + 1e-8))


def noise_loss(noise: tf.Tensor) -> tf.Tensor:
    """Squared correlation of neighbouring pixels, from the whole map down to 8 pixels (Karras et al. 2020, D).

    noise (count, height, width, 1) -> (count,).
    """
    total = tf.zeros(tf.shape(noise)[:1])
    while True:
        for axis in (1, 2):
            total += tf.reduce_mean(noise * tf.roll(noise, 1, axis), [1, 2, 3]) ** 2
        if min(noise.shape[1:3]) <= 8:
            return total
        noise = tf.nn.avg_pool2d(noise, 2, 2, "VALID")


def pixel_loss(images: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Mean squared difference, summed over the scales 1, 1/2, 1/4... down to 4 pixels.

    images (n, height, width, channels), target (1, height, width, channels) -> (n,).
    """
    total = tf.zeros(tf.shape(images)[:1])
    while True:
        total += tf.reduce_mean((images - target) ** 2, [1, 2, 3])
        if min(images.shape[1:3]) < 2 * _SMALLEST_EDGE:
            return total
        images, target = (tf.nn.avg_pool2d(values, 2, 2, "VALID") for values in (images, target))


def shown_psnr(value: float) -> float:
    """Returns a finite value for JSON: equal images have an infinite one."""
    return round(min(value, 99.0), 3)


def psnr(image: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 images, 10 log10(255^2 / mean squared difference), in decibels."""
    error = np.mean((image.astype(np.float64) - target) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


class Projector:
    """Finds the styles of images, one after the other; the graph of a step is traced once.

    Args:
      generator: whose functions can be traced.
      search: how it searches.
      features: images in [-1, 1] -> features (n, any number), compared beside the pixels; None for pixels alone.

    Raises:
      UserError: the generator's format has no gradients.
    """

    def __init__(self, generator: Generator, search: Search, features: Features | None = None):
        if not generator.functions.is_traceable:
            source = generator.origin.source
            raise UserError(f"{source!r} is in a format without gradients: give the run, or a SavedModel")
        self._generator = generator
        self._search = search
        self._features = features
        latents = tf.random.stateless_normal([MEAN_STYLE_SAMPLES, generator.latent_dim], [0, 0])
        styles = generator.map(latents)[:, 0]
        # Standard deviation per component; StyleGAN2's w_std is that of the whole vector.
        self._deviation = float(np.sqrt(np.mean((styles - generator.mean_style) ** 2)))
        self._noise_scale = _INITIAL_NOISE * self._deviation * math.sqrt(generator.style_dim)
        places = generator.num_styles if search.space == "w+" else 1
        self._styles = tf.Variable(tf.zeros([search.starts, places, generator.style_dim]))
        shape = [1, generator.image_size, generator.image_size, generator.num_channels]
        self._target = tf.Variable(tf.zeros(shape))
        has_maps = search.optimizes_noise and generator.has_noise and generator.network is not None
        self._noise = NoiseMaps(search.starts, search.seed) if has_maps else None
        self._wanted = None if features is None else tf.Variable(features(tf.convert_to_tensor(self._target)))
        self._images(self._styles)  # makes the noise maps
        self._optimizer = tf.keras.optimizers.Adam(self._rate(0), beta_1=0.9, beta_2=0.999)
        self._optimizer.build(self._variables)
        self._step = tf.function(self._update, autograph=False)

    @property
    def _variables(self) -> list[tf.Variable]:
        return [self._styles, *(self._noise.variables if self._noise else [])]

    def project(
        self, image: np.ndarray, frames: int = 0, on_step: Callable[[int], None] = lambda step: None
    ) -> Projection:
        """Returns the style of an image (size, size, num_channels) uint8.

        Args:
          image: the image.
          frames: number of styles to keep of the way there.
          on_step: called with the number of finished steps.
        """
        self._restart(image)
        search, way = self._search, []
        kept = set(np.linspace(0, search.steps - 1, frames).round().astype(int).tolist()) if frames else set()
        for step in range(search.steps):
            if step in kept:
                way.append(self._all_styles())
            self._optimizer.learning_rate.assign(self._rate(step))
            noise_scale = self._noise_scale * max(0.0, 1 - step / search.steps / _NOISE_RAMP) ** 2
            self._step(tf.constant(step), tf.constant(noise_scale, tf.float32))
            if self._noise is not None:
                self._noise.normalize()
            on_step(step + 1)
        losses = self._losses(self._images(self._styles)).numpy()
        if not np.isfinite(losses).any():
            raise UserError("the search diverged: no loss is finite. Lower --learning_rate")
        best = int(np.nanargmin(losses))
        found = to_uint8(self._images(self._styles)[best]).numpy()
        maps = [noise[best].numpy() for noise in self._noise.variables] if self._noise is not None else []
        all_ways = np.array([styles[best] for styles in way], np.float32)
        return Projection(self._all_styles()[best], found, psnr(found, image), maps, all_ways)

    def _restart(self, image: np.ndarray) -> None:
        generator, search = self._generator, self._search
        if image.shape != tuple(self._target.shape[1:]):
            raise UserError(f"the image must have shape {tuple(self._target.shape[1:])}, got {image.shape}")
        self._target.assign(to_float(image)[None])
        if self._features is not None and self._wanted is not None:
            self._wanted.assign(self._features(tf.convert_to_tensor(self._target)))
        latents = consecutive_latents(search.seed, 0, search.starts, generator.latent_dim)
        others = generator.map(latents)[1:, : self._styles.shape[1]]
        mean = np.tile(generator.mean_style[None], (1, self._styles.shape[1], 1))
        self._styles.assign(np.concatenate([mean, others]))
        for variable in self._optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        if self._noise is not None:
            for index, noise in enumerate(self._noise.variables):
                noise.assign(tf.random.stateless_normal(noise.shape, [search.seed, index]))

    def _rate(self, step: int) -> float:
        time = step / self._search.steps
        ramp = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - time) / _RAMP_DOWN))
        return self._search.learning_rate * self._deviation * ramp * min(1.0, time / _RAMP_UP)

    def _all_styles(self) -> np.ndarray:
        return np.broadcast_to(
            self._styles.numpy(), (self._search.starts, self._generator.num_styles, self._generator.style_dim)
        ).copy()

    def _images(self, styles: tf.Tensor) -> tf.Tensor:
        generator = self._generator
        styles = tf.tile(styles, [1, generator.num_styles // styles.shape[1], 1])
        if generator.network is not None:
            return generator.network.synthesize(styles, self._noise)
        images = generator.functions.render(styles, 1.0, FIXED_NOISE, 0)
        return tf.ensure_shape(images, [None, *self._target.shape[1:]])

    def _losses(self, images: tf.Tensor) -> tf.Tensor:
        losses = pixel_loss(images, self._target)
        if self._features is None or self._wanted is None:
            return losses
        size = tf.reduce_mean(self._wanted**2) + 1e-8
        difference = tf.reduce_mean((self._features(images) - self._wanted) ** 2, axis=1) / size
        return losses + self._search.feature_weight * difference

    def _update(self, step: tf.Tensor, noise_scale: tf.Tensor) -> None:
        seed = tf.stack([self._search.seed, step])
        with tf.GradientTape() as tape:
            noise = tf.random.stateless_normal(self._styles.shape, seed)
            losses = self._losses(self._images(self._styles + noise_scale * noise))
            if self._noise is not None:
                losses += _NOISE_WEIGHT * tf.add_n([noise_loss(noise) for noise in self._noise.variables])
            loss = tf.reduce_sum(losses)  # the searches are independent
        self._optimizer.apply_gradients(zip(tape.gradient(loss, self._variables), self._variables))
