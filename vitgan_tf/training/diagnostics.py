"""Diagnostics of both networks during training: spectral norms and pictures of the attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from vitgan_tf.images import image_grid, to_uint8
from vitgan_tf.layers.spectral import ISNDense, leading_singular_triplet, normalized_layers
from vitgan_tf.models.discriminator import ViTDiscriminator
from vitgan_tf.models.generator import ViTGenerator

# In pixels: minimum width of a picture and of its cells; grey margin of each cell, and of each map within a cell.
MIN_WIDTH = 640
MIN_CELL_WIDTH = 128
CELL_MARGIN = 4
MAP_MARGIN = 1


def _paths(network: tf.keras.Model) -> dict[int, str]:
    """Returns the path of each layer in a network by id, for example "discriminator/block_0/mlp/expand"."""
    modules = [module for module in (network, *network.submodules) if isinstance(module, tf.keras.layers.Layer)]
    insides = [(module, {id(module), *map(id, module.submodules)}) for module in modules]
    insides.sort(key=lambda pair: len(pair[1]), reverse=True)  # outer layers contain more
    return {
        id(layer): "/".join(module.name for module, inside in insides if id(layer) in inside) for layer in modules
    }


def spectral_layers(network: tf.keras.Model) -> dict[str, ISNDense]:
    """Returns the spectrally normalised layers by path, for example "discriminator/block_0/mlp/expand"."""
    paths = _paths(network)
    return {paths[id(layer)]: layer for layer in normalized_layers(network)}


def _weight_paths(network: tf.keras.Model) -> dict[int, str]:
    """Returns the path of each weight by id, for example "discriminator/block_0/mlp/expand/kernel"."""
    paths, found = _paths(network), {}
    for layer in (network, *network.submodules):
        for attribute, value in vars(layer).items():
            if isinstance(value, tf.Variable):
                found[id(value)] = f"{paths.get(id(layer), layer.name)}/{attribute}"
    return found


def spectral_norms(layers: dict[str, ISNDense]) -> dict[str, tuple[float, float]]:
    """Returns sigma(W) of the equalised kernels: the estimate of a layer's next call, and the exact value in float64.

    The estimate never exceeds the exact value: a power iteration approaches sigma from below.
    """
    norms = {}
    for (path, layer), estimate in zip(layers.items(), _estimates_of_sigma(list(layers.values()))):
        scale = 1.0 / math.sqrt(layer.kernel.shape[0])
        _, exact, _ = leading_singular_triplet(layer.kernel.numpy())
        norms[path] = (float(estimate) * scale, exact * scale)
    return norms


# Graphs, traced once per network: TensorFlow 2.15 leaks a few bytes per operation outside a graph.
@tf.function(autograph=False)
def _estimates_of_sigma(layers: list[ISNDense]) -> tf.Tensor:
    return tf.stack([layer.power_iteration()[0] for layer in layers]) if layers else tf.zeros([0])


@tf.function(autograph=False)
def _mean_attention(network: tf.keras.Model, inputs: tf.Tensor) -> tf.Tensor:
    """Returns attention maps averaged over the heads."""
    return tf.reduce_mean(network.attention_maps(inputs), axis=2)


@tf.function(autograph=False)
def _drawn(generator: ViTGenerator, latents: tf.Tensor) -> tf.Tensor:
    return to_uint8(generator(latents))


def discriminator_attention(discriminator: ViTDiscriminator, images: tf.Tensor) -> np.ndarray:
    """Draws a row per image: the image, then for each block the attention of the class token over the image.

    Maps are averaged over the heads. In each map, black is no attention and white its maximum, so that a uniform map
    is all white. With mean pooling, the maps are those of the mean token.

    Args:
      discriminator: network to inspect.
      images: (batch, image_size, image_size, num_channels) in [-1, 1].

    Returns:
      (height, width, num_channels) uint8, at least `MIN_WIDTH` wide.
    """
    maps = _grey_levels(_mean_attention(discriminator, images).numpy(), images.shape[-1])
    factor = -(-MIN_CELL_WIDTH // discriminator.image_size)
    images = _enlarge(to_uint8(images).numpy(), factor)
    return _rows(images, _enlarge(maps, factor * discriminator.patch_size))


def generator_attention(generator: ViTGenerator, latents: tf.Tensor) -> np.ndarray:
    """Draws a row per latent: the generated image, then for each block the attention of its tokens.

    An image with noise has the fixed one.

    A block's picture has the layout of the image's patches: in place of each patch is the attention map of its token,
    itself a small picture of all patches. Maps are drawn as in `discriminator_attention`; attention to a style token
    is left out.

    Args:
      generator: network to inspect.
      latents: (batch, latent_dim).

    Returns:
      (height, width, num_channels) uint8, at least `MIN_WIDTH` wide.
    """
    images = _drawn(generator, latents).numpy()
    weights = _mean_attention(generator, latents).numpy()
    if generator.style_injection == "prepend":
        weights = weights[:, :, 1:, 1:]
    grid, size = generator.grid_size, generator.image_size
    maps = _grey_levels(weights.reshape(*weights.shape[:3], grid, grid), images.shape[-1])
    # Enlarged so that a block is at least as large as the image.
    maps = _pad(_enlarge(maps, -(-max(size, MIN_CELL_WIDTH) // grid**2)), MAP_MARGIN)
    blocks = np.stack([[image_grid(block, columns=grid) for block in row] for row in maps])
    # The grey margins make a block larger than an integer multiple of the image.
    cell = blocks.shape[2]
    images = _enlarge(images, cell // size)
    return _rows(_pad(images, (cell - images.shape[1]) // 2, (cell - images.shape[1] + 1) // 2), blocks)


def _grey_levels(maps: np.ndarray, num_channels: int) -> np.ndarray:
    """Scales non-negative maps (..., rows, columns) to uint8 (..., rows, columns, num_channels), maximum 255 each."""
    largest = maps.max(axis=(-2, -1), keepdims=True)
    # The map of a class token that attends only to itself is all zeros.
    levels = np.rint(255.0 * maps / np.where(largest > 0, largest, 1.0)).astype(np.uint8)
    return levels[..., None].repeat(num_channels, axis=-1)


def _enlarge(images: np.ndarray, factor: int) -> np.ndarray:
    """Repeats every pixel of (..., rows, columns, channels) `factor` times in both directions."""
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def _pad(images: np.ndarray, before: int, after: int | None = None) -> np.ndarray:
    """Pads (..., rows, columns, channels) with grey: `before` pixels left and above, `after` right and below.

    Args:
      images: (..., rows, columns, channels) uint8.
      before: pixels on the left and above.
      after: pixels on the right and below; defaults to `before`.
    """
    margin = (before, before if after is None else after)
    return np.pad(images, [*[(0, 0)] * (images.ndim - 3), margin, margin, (0, 0)], constant_values=128)


def _rows(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Arranges images (batch, ...) beside their maps (batch, num_blocks, ...) of the same size in one picture."""
    cells = _pad(np.concatenate([images[:, None], maps], axis=1), CELL_MARGIN)
    return image_grid(cells.reshape(-1, *cells.shape[2:]), columns=cells.shape[1], min_width=MIN_WIDTH)


def divergence_report(gan: tf.keras.Model, step: int, metrics: dict[str, float]) -> dict[str, Any]:
    """Reports on a step with non-finite losses or gradients, as values that JSON can hold.

    Args:
      gan: model after that step.
      step: number of the step.
      metrics: metrics of `GAN.train_step`.

    Returns:
      step; not_finite, the names of the non-finite metrics; metrics.
      discriminator and generator, each with gradient_norms by weight, non-finite ones first, then in decreasing
        order; weights_not_finite, names of the non-finite weights after the step; spectral_norms, exact sigma of each
        spectrally normalised layer, null if its kernel is not finite.
      advice: remedies to try.
    """
    report: dict[str, Any] = {
        "step": step,
        "not_finite": [name for name, value in metrics.items() if not math.isfinite(value)],
        "metrics": {name: _json_number(value) for name, value in metrics.items()},
    }
    for prefix, network in (("d", gan.discriminator), ("g", gan.generator)):
        names = _weight_paths(network)
        weights = {names.get(id(weight), weight.name): weight for weight in network.trainable_variables}
        norms = gan.gradient_norms[f"{prefix}_gradient_norm"].numpy().tolist()
        pairs = list(zip(weights, norms))
        pairs.sort(key=lambda pair: -pair[1] if math.isfinite(pair[1]) else -math.inf)
        layers = spectral_layers(network)
        finite = spectral_norms({path: layer for path, layer in layers.items() if _is_finite(layer.kernel)})
        report[network.name] = {
            "gradient_norms": {name: _json_number(norm) for name, norm in pairs},
            "weights_not_finite": [name for name, weight in weights.items() if not _is_finite(weight)],
            "spectral_norms": {path: finite[path][1] if path in finite else None for path in layers},
        }
    report["advice"] = [
        "lower --generator_learning_rate and --discriminator_learning_rate",
        "try another --seed, or --on_nan=rollback, which resumes from the newest checkpoint with new random numbers",
        "use --precision=float32 if it was mixed",
        "restore --discriminator.normalization=isn and --discriminator.attention=l2 if they were changed",
    ]
    return report


def _json_number(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))  # JSON has no NaN


def _is_finite(variable: tf.Variable) -> bool:
    return bool(np.isfinite(variable.numpy()).all())
