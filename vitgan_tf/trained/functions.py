"""The functions of a trained generator, whatever the format of its files."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Protocol

import numpy as np
import tensorflow as tf

from vitgan_tf.trained.module import GeneratorModule


@dataclasses.dataclass(frozen=True)
class Functions:
    """Latents to styles, and styles to images.

    Attributes:
      map_latents: latents (n, latent_dim) -> styles (n, num_styles, style_dim).
      render: styles, render_scale, noise_seed, first_image -> images (n, height, width, num_channels) float32 in
        [-1, 1]; see `saved_model.export_generator`.
      mean_style: mean of w, (1, style_dim) float32.
      latent_dim: size of a latent.
      num_styles: number of places that take a style.
      image_size: edge of an image at render_scale 1, in pixels.
      num_channels: number of colour channels.
      has_noise: whether images depend on noise.
      renders_at_any_scale: whether render takes other scales than 1.
      step: number of training steps; None if unknown.
      network: the Keras model, if there is one.
      is_traceable: whether the functions can be called in a `tf.function`, with gradients.
    """

    map_latents: Callable[[Any], tf.Tensor]
    render: Callable[[Any, float, int, int], tf.Tensor]
    mean_style: np.ndarray
    latent_dim: int
    num_styles: int
    image_size: int
    num_channels: int
    has_noise: bool = False
    renders_at_any_scale: bool = False
    step: int | None = None
    network: tf.keras.Model | None = None
    is_traceable: bool = True


def of_network(network: tf.keras.Model, step: int | None = None) -> Functions:
    """Returns the functions of a built `StyleGenerator`, which are traced when they are first called."""
    module = GeneratorModule(network, step or 0)
    return Functions(
        lambda latents: module.map_latents(latents)["styles"],
        lambda styles, *arguments: module.render(styles, *arguments)["images"],
        module.mean_style.numpy(),
        network.latent_dim,
        network.num_styles,
        network.image_size,
        network.num_channels,
        network.has_noise,
        network.renders_at_any_scale,
        step,
        network,
    )


def in_batches(function: Callable[..., Any], batch_size: int | None) -> Callable[..., Any]:
    """Returns a function of any number of rows, made of one that takes batch_size rows; itself for None.

    Args:
      function: (rows, further arguments) -> rows. Its last further argument, if there is any, is the number of the
        first row.
      batch_size: number of rows that it takes.
    """
    if batch_size is None:
        return function

    def whole(rows: Any, *arguments: Any) -> tf.Tensor:
        rows, results = np.asarray(rows), []
        for first in range(0, len(rows), batch_size):
            part = rows[first : first + batch_size]
            padding = np.repeat(part[-1:], batch_size - len(part), axis=0)
            moved = (*arguments[:-1], arguments[-1] + first) if arguments else ()
            results.append(function(np.concatenate([part, padding]), *moved)[: len(part)])
        return tf.concat(results, axis=0)

    return whole


class Format(Protocol):
    """A file format of generators: an entry of `choices.EXPORT_FORMATS`.

    Attributes:
      marker: name of a file that every folder in this format holds.
    """

    marker: str

    def write(self, network: tf.keras.Model, folder: str, step: int, batch_size: int | None) -> None:
        """Writes a built `StyleGenerator` to an existing folder.

        Args:
          network: the generator.
          folder: the folder.
          step: number of training steps.
          batch_size: fixed batch size; None for any.

        Raises:
          UserError: a package that the format needs is not installed.
        """

    def read(self, folder: str) -> Functions:
        """Reads a generator.

        Raises:
          UserError: the files are damaged, or a package is not installed.
        """
