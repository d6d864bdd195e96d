"""Looking into both networks while they train: spectral norms, and pictures of the attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from vitgan_tf.images import image_grid, to_uint8
from vitgan_tf.layers.spectral import ISNDense, leading_singular_triplet, normalized_layers
from vitgan_tf.models.discriminator import ViTDiscriminator
from vitgan_tf.models.generator import ViTGenerator

# In pixels: least width of a picture, and of a cell of it; grey around each cell, and around each map within one.
MIN_WIDTH = 640
MIN_CELL_WIDTH = 128
CELL_MARGIN = 4
MAP_MARGIN = 1


def _paths(network: tf.keras.Model) -> dict[int, str]:
    """Of each layer inside a network, by its id: "discriminator/block_0/mlp/expand"."""
    modules = [module for module in (network, *network.submodules) if isinstance(module, tf.keras.layers.Layer)]
    insides = [(module, {id(module), *map(id, module.submodules)}) for module in modules]
    insides.sort(key=lambda pair: len(pair[1]), reverse=True)  # what encloses a layer has more in it
    return {
        id(layer): "/".join(module.name for module, inside in insides if id(layer) in inside) for layer in modules
    }


def spectral_layers(network: tf.keras.Model) -> dict[str, ISNDense]:
    """The spectrally normalised layers of a network, by path: "discriminator/block_0/mlp/expand"."""
    paths = _paths(network)
    return {paths[id(layer)]: layer for layer in normalized_layers(network)}


def _weight_paths(network: tf.keras.Model) -> dict[int, str]:
    """Of each weight of a network, by its id: "discriminator/block_0/mlp/expand/kernel"."""
    paths, found = _paths(network), {}
    for layer in (network, *network.submodules):
        for attribute, value in vars(layer).items():
            if isinstance(value, tf.Variable):
                found[id(value)] = f"{paths.get(id(layer), layer.name)}/{attribute}"
    return found


def spectral_norms(layers: dict[str, ISNDense]) -> dict[str, tuple[float, float]]:
    """sigma(W) of the equalised kernels: as a layer's next call will estimate it, and exact, by SVD in float64.

    The first is the second at most: a power iteration approaches sigma from below.
    """
    norms = {}
    for (path, layer), estimate in zip(layers.items(), _estimates_of_sigma(list(layers.values()))):
        scale = 1.0 / math.sqrt(layer.kernel.shape[0])
        _, exact, _ = leading_singular_triplet(layer.kernel.numpy())
        norms[path] = (float(estimate) * scale, exact * scale)
    return norms


# Graphs, traced once for a network: outside of one, each operation leaves a few bytes in TensorFlow 2.15's memory.
@tf.function(autograph=False)
def _estimates_of_sigma(layers: list[ISNDense]) -> tf.Tensor:
    return tf.stack([layer.power_iteration()[0] for layer in layers]) if layers else tf.zeros([0])


@tf.function(autograph=False)
def _mean_attention(network: tf.keras.Model, inputs: tf.Tensor) -> tf.Tensor:
    """Maps of attention, means over the heads."""
    return tf.reduce_mean(network.attention_maps(inputs), axis=2)


@tf.function(autograph=False)
def _drawn(generator: ViTGenerator, latents: tf.Tensor) -> tf.Tensor:
    return to_uint8(generator(latents))


def discriminator_attention(discriminator: ViTDiscriminator, images: tf.Tensor) -> np.ndarray:
    """A row for each image: the image, then for each block what its class token attends to, over the image.

    The maps are means over the heads. In each, black is no attention and white the largest of the map: an even map is
    white all over. Under mean pooling they are those of the mean token.

    Args:
      discriminator: the network.
      images: (batch, image_size, image_size, num_channels) in [-1, 1].

    Returns:
      (height, width, num_channels) uint8, at least `MIN_WIDTH` wide.
    """
    maps = _grey_levels(_mean_attention(discriminator, images).numpy(), images.shape[-1])
    factor = -(-MIN_CELL_WIDTH // discriminator.image_size)
    images = _enlarge(to_uint8(images).numpy(), factor)
    return _rows(images, _enlarge(maps, factor * discriminator.patch_size))


def generator_attention(generator: ViTGenerator, latents: tf.Tensor) -> np.ndarray:
    """A row for each latent: the generated image, then for each block what its tokens attend to.

    A block's picture is divided as the image is into patches: in the place of each patch stands the map of its token,
    itself a small picture of all patches. The maps are as in `discriminator_attention`; attention to a style that is
    a token is left out.

    Args:
      generator: the network.
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
    # Large enough that the image fits beside them.
    maps = _pad(_enlarge(maps, -(-max(size, MIN_CELL_WIDTH) // grid**2)), MAP_MARGIN)
    blocks = np.stack([[image_grid(block, columns=grid) for block in row] for row in maps])
    # With the grey between the maps, a block is larger than a whole multiple of the image.
    cell = blocks.shape[2]
    images = _enlarge(images, cell // size)
    return _rows(_pad(images, (cell - images.shape[1]) // 2, (cell - images.shape[1] + 1) // 2), blocks)


def _grey_levels(maps: np.ndarray, num_channels: int) -> np.ndarray:
    """(..., rows, columns), not negative -> (..., rows, columns, num_channels) uint8, each map's largest 255."""
    largest = maps.max(axis=(-2, -1), keepdims=True)
    # A class token that attends to itself alone leaves a map of zeros.
    levels = np.rint(255.0 * maps / np.where(largest > 0, largest, 1.0)).astype(np.uint8)
    return levels[..., None].repeat(num_channels, axis=-1)


def _enlarge(images: np.ndarray, factor: int) -> np.ndarray:
    """(..., rows, columns, channels) with every pixel repeated."""
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def _pad(images: np.ndarray, before: int, after: int | None = None) -> np.ndarray:
    """(..., rows, columns, channels) with grey around: left and above, and as much or `after` right and below."""
    margin = (before, before if after is None else after)
    return np.pad(images, [*[(0, 0)] * (images.ndim - 3), margin, margin, (0, 0)], constant_values=128)


def _rows(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """images (batch, ...) and beside each its maps (batch, num_blocks, ...), of the same size, as one picture."""
    cells = _pad(np.concatenate([images[:, None], maps], axis=1), CELL_MARGIN)
    return image_grid(cells.reshape(-1, *cells.shape[2:]), columns=cells.shape[1], min_width=MIN_WIDTH)


def divergence_report(gan: tf.keras.Model, step: int, metrics: dict[str, float]) -> dict[str, Any]:
    """What is known of a step whose losses or gradients are not finite, as JSON can hold it.

    Args:
      gan: after that step.
      step: its number.
      metrics: of `GAN.train_step`.

    Returns:
      step; not_finite, the names of the metrics that are not; metrics.
      Of discriminator and generator each: gradient_norms, by weight, those that are not finite first, then from
        large to small; weights_not_finite, their names after the step; spectral_norms, sigma of each spectrally
        normalised layer by SVD, null where its kernel is not finite.
      advice: what to try.
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
        "another --seed, or --on_nan=rollback, which goes on from the newest checkpoint with other random numbers",
        "--precision=float32, where it was a mixed one",
        "the discriminator's --discriminator.normalization=isn and its L2 attention, where they were changed",
    ]
    return report


def _json_number(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))  # JSON has no "nan"


def _is_finite(variable: tf.Variable) -> bool:
    return bool(np.isfinite(variable.numpy()).all())
