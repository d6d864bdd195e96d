"""Image grids, interpolations and style mixing from a generator's SavedModel."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from vitgan_tf.errors import UserError, first_line
from vitgan_tf.export import FIXED_NOISE
from vitgan_tf.files import damaged_file
from vitgan_tf.images import grid_size, image_grid, to_uint8, write_picture

FRAME_MILLISECONDS = 50
# Limits of a picture: the edge that GIF allows, and the pixels of all frames, which are held in memory.
MAX_EDGE, MAX_PIXELS = 65_535, 2**29
# Signatures of a generator written by `export_generator`.
SIGNATURES = ("serving_default", "map_latents", "render", "generate")


def load(path: str, signatures: Sequence[str] = SIGNATURES) -> tf.Module:
    """Loads a generator; by default one written by `export_generator`.

    Args:
      path: folder of the SavedModel.
      signatures: names of the signatures that it must have.

    Raises:
      UserError: path is not a SavedModel, is damaged, or lacks a signature.
    """
    if not os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise UserError(f"{path!r} is not a SavedModel: a finished run has one in its saved_model/ folder")
    try:
        damaged = damaged_file(path)
        if damaged:
            raise UserError(f"the SavedModel {path!r} is damaged: {damaged} does not match its checksum")
        model = tf.saved_model.load(path)
    except UserError:
        raise
    except Exception as error:  # damaged models without checksums raise errors of many types
        raise UserError(f"cannot load the SavedModel {path!r}: {first_line(error)}") from error
    missing = sorted(set(signatures) - set(model.signatures))
    if missing:
        raise UserError(f"the SavedModel {path!r} is not a generator: it has no signature {missing[0]!r}")
    return model


def serving_specs(model: tf.Module, path: str) -> tuple[tuple[str, tf.TensorSpec], tuple[str, tf.TensorSpec]]:
    """Returns the name and shape of the latents and of the images of a model's signature serving_default.

    Raises:
      UserError: the signature does not map float latents (batch, size) to float images (batch, height, width,
        channels).
    """
    signature = model.signatures["serving_default"]
    inputs = list(signature.structured_input_signature[1].items())
    outputs = list(signature.structured_outputs.items())
    if not (_is_batch(inputs, rank=2) and _is_batch(outputs, rank=4)):
        raise UserError(
            f"the SavedModel {path!r} is not a generator: its signature serving_default must map float latents "
            f"(batch, size) to float images (batch, height, width, channels), for any batch"
        )
    return inputs[0], outputs[0]


def _is_batch(named_specs: Sequence[tuple[str, tf.TensorSpec]], rank: int) -> bool:
    """True for a single float tensor of this rank, with any first dimension and fixed other ones."""
    if len(named_specs) != 1:
        return False
    spec = named_specs[0][1]
    if spec.shape.rank != rank or spec.shape[0] is not None:
        return False
    return spec.dtype.is_floating and spec.shape[1:].is_fully_defined()


def write_grid(
    model: tf.Module,
    path: str,
    num_images: int,
    seed: int,
    truncation: float,
    render_scale: float,
    columns: int,
    min_width: int,
    has_fixed_noise: bool = False,
) -> None:
    """Writes a grid of images, see `write_picture`; arguments as in the `generate` signature and `image_grid`.

    Raises:
      UserError: the model cannot render at this render_scale, or the picture is too large.
    """
    _check_size(model, render_scale, num_images, columns, min_width)
    fixed = (True,) if has_fixed_noise and has_noise(model) else ()
    images = model.generate(num_images, seed, truncation, render_scale, *fixed)["images"].numpy()
    write_picture(path, image_grid(images, columns, min_width))


def write_interpolation(
    model: tf.Module,
    path: str,
    num_images: int,
    seed: int,
    truncation: float,
    render_scale: float,
    keyframes: int,
    frames: int,
    columns: int,
    min_width: int,
    has_fixed_noise: bool = False,
) -> None:
    """Writes a looping GIF in which every image of a grid interpolates between `keyframes` random latents.

    Args:
      model: generator from `load`.
      path: path of the GIF.
      num_images: number of animated images.
      seed: seed of the latents.
      truncation: truncation psi; 1 for none, 0 for the mean style.
      render_scale: resolution relative to training.
      keyframes: latents that each image passes through.
      frames: frames from one latent to the next.
      columns: images per row.
      min_width: minimum width in pixels.
      has_fixed_noise: whether all images have the fixed noise, for generators with noise.

    Raises:
      UserError: the model cannot render at this render_scale, or the picture is too large.
    """
    _check_size(model, render_scale, num_images, columns, min_width, keyframes * frames)
    pictures = list(
        interpolation(
            model, num_images, seed, truncation, render_scale, keyframes, frames, columns, min_width, has_fixed_noise
        )
    )
    pictures[0].save(
        path, format="GIF", save_all=True, append_images=pictures[1:], duration=FRAME_MILLISECONDS, loop=0
    )


def interpolation(
    model: tf.Module,
    num_images: int,
    seed: int,
    truncation: float,
    render_scale: float,
    keyframes: int,
    frames: int,
    columns: int,
    min_width: int,
    has_fixed_noise: bool = False,
) -> Iterator[Image.Image]:
    """Yields the frames of `write_interpolation`, which has the same arguments."""
    latents = tf.random.stateless_normal([keyframes, num_images, latent_dim(model)], [seed, 0]).numpy()
    noise = _noise(model, seed, has_fixed_noise)
    for index in range(keyframes):
        for frame in range(frames):
            between = slerp(latents[index], latents[(index + 1) % keyframes], frame / frames)
            images = _draw(model, _styles(model, between, truncation), render_scale, *noise)
            grid = image_grid(images, columns, min_width)
            yield Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid)


def write_style_mixing(
    model: tf.Module,
    path: str,
    num_images: int,
    seed: int,
    truncation: float,
    render_scale: float,
    crossover: int,
    min_width: int,
    has_fixed_noise: bool = False,
) -> None:
    """Writes a style mixing table, see `write_picture` (Karras et al. 2019, section 3.1).

    The first column shows the images of one set of latents, the first row those of another. Every other image takes
    its row's style in the first `crossover` places of the generator, and its column's style in the rest.

    Args:
      model: generator from `load`.
      path: path of the picture.
      num_images: number of latents in each of the two sets.
      seed: seed of the latents.
      truncation: truncation psi; 1 for none, 0 for the mean style.
      render_scale: resolution relative to training.
      crossover: number of places, from the first block on, that take the row's style: 0 to all.
      min_width: minimum width in pixels.
      has_fixed_noise: whether all images have the fixed noise, for generators with noise.

    Raises:
      UserError: the generator takes styles in one place only, crossover is out of range, the model cannot render at
        this render_scale, or the picture is too large.
    """
    _check_size(model, render_scale, (num_images + 1) ** 2, num_images + 1, min_width)
    latents = tf.random.stateless_normal([2 * num_images, latent_dim(model)], [seed, 0])
    rows, columns = tf.split(_styles(model, latents, truncation), 2)
    places = rows.shape[1]
    if places == 1:
        raise UserError("styles cannot be mixed: this generator takes w in one place, not in every block")
    if not 0 <= crossover <= places:
        raise UserError(f"crossover must be 0 to {places}, the number of places that take w, got {crossover}")
    columns_by_row = tf.tile(columns, [num_images, 1, 1])
    mixed = tf.concat([tf.repeat(rows, num_images, axis=0)[:, :crossover], columns_by_row[:, crossover:]], axis=1)

    noise = _noise(model, seed, has_fixed_noise)
    row_images, column_images = (_draw(model, styles, render_scale, *noise) for styles in (rows, columns))
    images = [np.full_like(row_images[:1], 255), column_images]  # the corner is empty
    for index in range(num_images):
        row = mixed[index * num_images : (index + 1) * num_images]
        images += [row_images[index : index + 1], _draw(model, row, render_scale, *noise)]
    write_picture(path, image_grid(np.concatenate(images), num_images + 1, min_width))


def _check_size(
    model: tf.Module, render_scale: float, num_images: int, columns: int, min_width: int, frames: int = 1
) -> None:
    size = model.signatures["serving_default"].structured_outputs["images"].shape[1]
    if not model.renders_at_any_scale and round(render_scale * size) != size:
        raise UserError(f"this generator renders at {size} pixels only: render_scale needs the Fourier decoder")
    if round(render_scale * size) < 1:
        raise UserError(f"render_scale {render_scale} leaves no pixels")
    height, width = grid_size(num_images, round(render_scale * size), round(render_scale * size), columns, min_width)
    if max(height, width) > MAX_EDGE or height * width * frames > MAX_PIXELS:
        raise UserError(
            f"{frames} pictures of {width} x {height} pixels are too large, the limits are {MAX_EDGE} per edge and "
            f"{MAX_PIXELS} in total: change num_images, columns, min_width, render_scale, or keyframes and frames"
        )


def has_noise(model: tf.Module) -> bool:
    """True if the images depend on noise; False for models of earlier versions, which have a fixed one."""
    return bool(getattr(model, "has_noise", False))


def latent_dim(model: tf.Module) -> int:
    """Returns the latent size of a generator from `load`."""
    return model.signatures["serving_default"].structured_input_signature[1]["latents"].shape[1]


def _styles(model: tf.Module, latents: np.ndarray | tf.Tensor, truncation: float) -> tf.Tensor:
    """Truncated styles (batch, num_styles, style_dim): mean + truncation * (w - mean)."""
    styles = model.map_latents(latents)["styles"]
    return model.mean_style[:, None] + truncation * (styles - model.mean_style[:, None])


def _noise(model: tf.Module, seed: int, has_fixed_noise: bool) -> tuple[int, ...]:
    """Returns the noise arguments of `render`; none for generators without noise."""
    if not has_noise(model):
        return ()
    return FIXED_NOISE if has_fixed_noise else seed, 0


def _draw(model: tf.Module, styles: tf.Tensor, render_scale: float, *noise: int) -> np.ndarray:
    """Renders styles (batch, num_styles, style_dim) as images (batch, size, size, channels) uint8."""
    return to_uint8(model.render(styles, render_scale, *noise)["images"]).numpy()


def slerp(start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:
    """Spherical interpolation of Gaussian latents (batch, latent_dim), row by row (White 2016).

    sin((1 - t) a) / sin(a) * start + sin(t a) / sin(a) * end, where a is the angle between them. The norm stays that
    of a Gaussian draw, whereas a straight line would pass close to 0.
    """
    cosine = np.sum(start * end, axis=1, keepdims=True)
    cosine /= np.linalg.norm(start, axis=1, keepdims=True) * np.linalg.norm(end, axis=1, keepdims=True)
    angle = np.arccos(np.clip(cosine, -1.0 + 1e-6, 1.0 - 1e-6))
    weights = np.sin((1 - fraction) * angle) / np.sin(angle), np.sin(fraction * angle) / np.sin(angle)
    return (weights[0] * start + weights[1] * end).astype(np.float32)
