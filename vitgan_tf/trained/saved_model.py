"""SavedModels of generators, which need only TensorFlow to run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

import tensorflow as tf

from vitgan_tf.errors import UserError, first_line
from vitgan_tf.files import check_undamaged, write_checksums
from vitgan_tf.trained.functions import Functions, in_batches
from vitgan_tf.trained.module import GeneratorModule

# Signatures of a generator written by `export_generator`.
SIGNATURES = ("serving_default", "map_latents", "render", "generate")


def export_generator(generator: tf.keras.Model, path: str, step: int = 0) -> None:
    """Writes a generator as a SavedModel folder with checksums of its files, complete or not at all.

    Signatures:
      serving_default: latents (batch, latent_dim) float32, from N(0, I) -> images (batch, size, size, channels)
        float32 in [-1, 1].
      map_latents: latents -> styles (batch, num_styles, style_dim): the same w for every place where the generator
        takes one, to be truncated, interpolated or mixed before `render`. num_styles is num_blocks + 1 if w
        modulates the layer norms, the number of convolutions or blocks in the baselines, otherwise 1.
      render: styles, render_scale float32 -> images float32 in [-1, 1] of round(render_scale * size) pixels; scale 1
        is bitwise identical to rendering without a scale. Other scales need the Fourier decoder and raise an error
        without it.
      generate: num_images int32, seed int32, truncation float32, render_scale float32 -> images uint8.
    The loaded object offers these as `synthesize`, `map_latents`, `render` and `generate`, where truncation and
    render_scale default to 1, and has the variables `mean_style`, (1, style_dim), `step`, `renders_at_any_scale` and
    `has_noise`.

    Generators with noise: image i of `generate` has noise i of its seed, or with has_fixed_noise, its last argument,
    the fixed noise of the layers. `synthesize` and `render` take noise_seed int32, default 0, or -1 for the fixed
    noise, and first_image int32, default 0: row i has noise first_image + i. The signatures have these defaults.

    Args:
      generator: a built generator, usually the moving average of the weights.
      path: path of the folder; replaced if it exists.
      step: number of training steps so far.
    """
    partial_path = path + ".partial"
    shutil.rmtree(partial_path, ignore_errors=True)
    SAVED_MODEL.write(generator, partial_path, step, None)
    write_checksums(partial_path)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial_path, path)


class SavedModelFormat:
    """A SavedModel: see `export_generator`."""

    marker = "saved_model.pb"

    def write(self, network: tf.keras.Model, folder: str, step: int, batch_size: int | None) -> None:
        module = GeneratorModule(network, step, batch_size)
        tf.saved_model.save(module, folder, signatures=module.signatures)

    def read(self, folder: str) -> Functions:
        return functions_of(load_saved_model(folder))


SAVED_MODEL = SavedModelFormat()


def load_saved_model(path: str, signatures: Sequence[str] = SIGNATURES) -> tf.Module:
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
        check_undamaged(path)
        model = tf.saved_model.load(path)
    except UserError:
        raise
    except Exception as error:  # damaged models without checksums raise errors of many types
        raise UserError(f"cannot load the SavedModel {path!r}: {first_line(error)}") from error
    missing = sorted(set(signatures) - set(model.signatures))
    if missing:
        raise UserError(f"the SavedModel {path!r} is not a generator: it has no signature {missing[0]!r}")
    return model


def functions_of(model: tf.Module) -> Functions:
    """Returns the functions of a loaded SavedModel that `export_generator` wrote."""
    styles = model.signatures["render"].structured_input_signature[1]["styles"].shape
    images = model.signatures["serving_default"].structured_outputs["images"].shape
    # Models of earlier versions have one fixed noise, and do not take another.
    has_noise = bool(getattr(model, "has_noise", False))

    def render(styles: tf.Tensor, render_scale: float, *noise: int) -> tf.Tensor:
        return model.render(styles, render_scale, *(noise if has_noise else ()))["images"]

    return Functions(
        in_batches(lambda latents: model.map_latents(latents)["styles"], styles[0]),
        in_batches(render, styles[0]),
        model.mean_style.numpy(),
        model.signatures["map_latents"].structured_input_signature[1]["latents"].shape[1],
        styles[1],
        images[1],
        images[3],
        has_noise,
        bool(model.renders_at_any_scale),
        int(model.step) if hasattr(model, "step") else None,
        is_traceable=styles[0] is None,
    )


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
