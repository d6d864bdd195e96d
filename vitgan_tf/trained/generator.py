"""A trained generator: what `vitgan_tf.load` returns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vitgan_tf.config import ExperimentConfig
from vitgan_tf.errors import UserError
from vitgan_tf.images import to_uint8
from vitgan_tf.latents import consecutive_latents
from vitgan_tf.trained.functions import Functions
from vitgan_tf.trained.module import FIXED_NOISE

# Images of scale 1 that are drawn at a time.
BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a generator comes from, as far as it is known.

    Attributes:
      source: what it was loaded from.
      config: configuration of its training.
      data: number and fingerprint of the training images.
      scores: the scores of this step, with their protocol: a line of metrics.jsonl.
      provenance: command line, commit and versions of its training, and how it was exported.
      weights: "ema", the moving average, or "raw".
      run_dir: directory of its run, if that is there.
    """

    source: str
    config: ExperimentConfig | None = None
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    scores: dict[str, Any] = dataclasses.field(default_factory=dict)
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    weights: str = "ema"
    run_dir: str | None = None


class Generator:
    """Latents z -> styles w -> images, as NumPy arrays.

    Image i of a seed depends neither on the number of images nor, except for rounding, on the
    file format; ONNX and TFLite have the fixed noise of the layers alone.

    Attributes:
      functions: see `Functions`.
      origin: see `Origin`.
      mean_style, latent_dim, num_styles, image_size, num_channels, has_noise, renders_at_any_scale, step, network:
        see `Functions`.
      style_dim: size of a style.
    """

    def __init__(self, functions: Functions, origin: Origin):
        self.functions = functions
        self.origin = origin
        self.network = functions.network
        self.mean_style = functions.mean_style
        self.latent_dim = functions.latent_dim
        self.num_styles = functions.num_styles
        self.style_dim = functions.mean_style.shape[-1]
        self.image_size = functions.image_size
        self.num_channels = functions.num_channels
        self.has_noise = functions.has_noise
        self.renders_at_any_scale = functions.renders_at_any_scale
        self.step = functions.step

    @property
    def config(self) -> ExperimentConfig | None:
        """Configuration of its training, if it is known."""
        return self.origin.config

    @property
    def scores(self) -> dict[str, Any]:
        """Its scores, with their protocol; empty if they are not known."""
        return self.origin.scores

    def map(self, latents: Any, truncation: float = 1.0) -> np.ndarray:
        """Maps latents to styles, w' = mean + truncation * (w - mean).

        Args:
          latents: (n, latent_dim), drawn from N(0, I).
          truncation: psi; 1 for none, 0 for the mean style.

        Returns:
          (n, num_styles, style_dim) float32: the same w in all places.

        Raises:
          UserError: the latents have another shape.
        """
        latents = self._checked(latents, "latents", (self.latent_dim,))
        return self.truncated(np.asarray(self.functions.map_latents(latents)), truncation)

    def truncated(self, styles: np.ndarray, truncation: float) -> np.ndarray:
        """Returns mean + truncation * (styles - mean)."""
        return styles if truncation == 1.0 else self.mean_style + np.float32(truncation) * (styles - self.mean_style)

    def render(self, styles: Any, render_scale: float = 1.0, noise_seed: int = 0, first_image: int = 0) -> np.ndarray:
        """Draws images from styles.

        Args:
          styles: (n, num_styles, style_dim).
          render_scale: edge of the images in relation to image_size, not necessarily whole.
          noise_seed: for a generator with noise, the seed of the images, or FIXED_NOISE.
          first_image: number of the first image; image i has the noise of image first_image + i.

        Returns:
          (n, size, size, num_channels) float32 in [-1, 1], size = round(render_scale * image_size).

        Raises:
          UserError: the styles have another shape, or the generator cannot draw at this scale.
        """
        styles = self.checked_styles(styles)
        self.rendered_size(render_scale)
        return np.asarray(self.functions.render(styles, float(render_scale), noise_seed, first_image))

    def synthesize(self, latents: Any, noise_seed: int = 0, first_image: int = 0) -> np.ndarray:
        """Draws images from latents: `render` of `map`."""
        return self.render(self.map(latents), 1.0, noise_seed, first_image)

    def generate(
        self,
        num_images: int,
        seed: int = 0,
        truncation: float = 1.0,
        render_scale: float = 1.0,
        has_fixed_noise: bool = False,
    ) -> np.ndarray:
        """Draws the first images of a seed: (num_images, size, size, num_channels) uint8.

        An image does not depend on num_images. With has_fixed_noise, all images have the fixed noise of the layers,
        instead of their own. Other arguments are those of `map` and `render`.
        """
        batches = self.batches(num_images, seed, truncation, render_scale, has_fixed_noise)
        size = self.rendered_size(render_scale)
        return np.concatenate([np.zeros((0, size, size, self.num_channels), np.uint8), *batches])

    def batches(
        self,
        num_images: int,
        seed: int = 0,
        truncation: float = 1.0,
        render_scale: float = 1.0,
        has_fixed_noise: bool = False,
    ) -> Iterator[np.ndarray]:
        """Yields the images of `generate`, in order, a batch at a time."""
        number = self.batch_size(render_scale)
        for first in range(0, num_images, number):
            latents = consecutive_latents(seed, first, min(number, num_images - first), self.latent_dim)
            noise_seed = FIXED_NOISE if has_fixed_noise else seed
            yield self.draw(self.map(latents, truncation), render_scale, noise_seed, first)

    def draw(self, styles: Any, render_scale: float = 1.0, noise_seed: int = 0, first_image: int = 0) -> np.ndarray:
        """Returns the images of `render` as uint8.

        Raises:
          UserError: an image is not finite; see also `render`.
        """
        images = self.render(styles, render_scale, noise_seed, first_image)
        is_finite = np.isfinite(images).all(axis=(1, 2, 3))
        if not is_finite.all():
            raise UserError(f"the generator's output is not finite: image {first_image + int(np.argmin(is_finite))}")
        return to_uint8(images).numpy()

    def batch_size(self, render_scale: float) -> int:
        """Returns the number of images that are drawn at a time, so that memory does not grow with the scale."""
        return max(1, math.floor(BATCH_SIZE / max(1.0, render_scale) ** 2))

    def rendered_size(self, render_scale: float) -> int:
        """Returns the edge of an image in pixels.

        Raises:
          UserError: the generator cannot draw at this scale.
        """
        size = round(render_scale * self.image_size)
        if size < 1:
            raise UserError(f"render_scale {render_scale} leaves no pixels")
        if size != self.image_size and not self.renders_at_any_scale:
            raise UserError(
                f"this generator renders at {self.image_size} pixels only: render_scale needs the Fourier decoder"
            )
        return size

    def checked_styles(self, styles: Any) -> np.ndarray:
        """Returns styles as float32.

        Raises:
          UserError: their shape is not (n, num_styles, style_dim).
        """
        return self._checked(styles, "styles", (self.num_styles, self.style_dim))

    def _checked(self, array: Any, name: str, shape: Sequence[int]) -> np.ndarray:
        array = np.asarray(array, np.float32)
        if array.shape[1:] != tuple(shape) or array.ndim != len(shape) + 1:
            wanted = ", ".join(map(str, ("n", *shape)))
            raise UserError(f"{name} must have shape ({wanted}), got {array.shape}")
        return array
