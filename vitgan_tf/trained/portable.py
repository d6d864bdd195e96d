"""Generators for programs without TensorFlow: TFLite and ONNX."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from vitgan_tf.errors import UserError, first_line
from vitgan_tf.files import check_undamaged, parsed_json, write_atomically
from vitgan_tf.trained.functions import Functions, in_batches
from vitgan_tf.trained.module import mean_style

# (arrays by name) -> array.
Graph = Callable[[dict[str, np.ndarray]], np.ndarray]
_ABOUT = "generator.json"
_OPSET = 17


def graphs(
    network: tf.keras.Model, style_dim: int, batch_size: int | None
) -> dict[str, tf.types.experimental.GenericFunction]:
    """Returns the functions of a generator that need none of TensorFlow's random numbers, by name.

    synthesize: latents (n, latent_dim) -> images (n, size, size, num_channels) in [-1, 1].
    map_latents: latents -> styles (n, num_styles, style_dim).
    render: styles, and render_scale for a generator that renders at any scale -> images.
    Layers with noise have their fixed one.
    """
    latents = tf.TensorSpec([batch_size, network.latent_dim], tf.float32, name="latents")
    styles = tf.TensorSpec([batch_size, network.num_styles, style_dim], tf.float32, name="styles")
    scale = tf.TensorSpec([], tf.float32, name="render_scale")

    def clipped(images: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(images, -1.0, 1.0)

    def map_latents(latents: tf.Tensor) -> tf.Tensor:
        return network.styles_by_place(network.mapping(latents))

    def render_at(styles: tf.Tensor, render_scale: tf.Tensor) -> tf.Tensor:
        size = tf.cast(tf.round(render_scale * network.image_size), tf.int32)
        return clipped(network.synthesize(styles, rendered_size=size))

    def function(of_arrays: Callable[..., tf.Tensor], *specs: tf.TensorSpec) -> Any:
        return tf.function(of_arrays, input_signature=specs, autograph=False)

    return {
        "synthesize": function(lambda latents: clipped(network(latents)), latents),
        "map_latents": function(map_latents, latents),
        "render": function(render_at, styles, scale)
        if network.renders_at_any_scale
        else function(lambda styles: clipped(network.synthesize(styles)), styles),
    }


class PortableFormat:
    """A file for each function of `graphs`, and generator.json with the metadata that `load` needs.

    Args:
      suffix: ending of the files' names.
      convert: a function of `graphs` -> content of its file.
      open_graph: content of a file -> the function.
    """

    def __init__(
        self,
        suffix: str,
        convert: Callable[[Any], bytes],
        open_graph: Callable[[bytes], Graph],
    ):
        self._suffix = suffix
        self._convert = convert
        self._open = open_graph
        self.marker = f"render.{suffix}"

    def write(self, network: tf.keras.Model, folder: str, step: int, batch_size: int | None) -> None:
        mean = mean_style(network).numpy()
        for name, function in graphs(network, mean.shape[-1], batch_size).items():
            write_atomically(os.path.join(folder, f"{name}.{self._suffix}"), self._convert(function))
        about = {
            "step": step,
            "batch_size": batch_size,
            "latent_dim": network.latent_dim,
            "num_styles": network.num_styles,
            "image_size": network.image_size,
            "num_channels": network.num_channels,
            "renders_at_any_scale": network.renders_at_any_scale,
            "mean_style": mean.tolist(),
        }
        write_atomically(os.path.join(folder, _ABOUT), (json.dumps(about, indent=2) + "\n").encode())

    def read(self, folder: str) -> Functions:
        check_undamaged(folder)
        try:
            with open(os.path.join(folder, _ABOUT), encoding="utf-8") as file:
                about = dict(parsed_json(file.read()))
            mean, batch_size = np.array(about.pop("mean_style"), np.float32), about.pop("batch_size")
            map_graph, render_graph = (self._read(folder, name) for name in ("map_latents", "render"))
            scales = about["renders_at_any_scale"]

            def map_latents(latents: Any) -> np.ndarray:
                return map_graph({"latents": np.asarray(latents, np.float32)})

            def render(styles: Any, render_scale: float, noise_seed: int, first_image: int) -> np.ndarray:
                scale = {"render_scale": np.array(render_scale, np.float32)} if scales else {}
                return render_graph({"styles": np.asarray(styles, np.float32), **scale})

            return Functions(
                in_batches(map_latents, batch_size),
                in_batches(render, batch_size),
                mean,
                **about,
                is_traceable=False,
            )
        except UserError:
            raise
        except Exception as error:  # both libraries raise errors of many types on damaged files
            raise UserError(f"cannot read the generator {folder!r}: {first_line(error)}") from error

    def _read(self, folder: str, name: str) -> Graph:
        with open(os.path.join(folder, f"{name}.{self._suffix}"), "rb") as file:
            return self._open(file.read())


def _of_onnx(name: str) -> ModuleType:
    """Imports a module that ONNX needs.

    Raises:
      UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"the package {error.name} is not installed: pip install tf2onnx==1.17.0 'onnx<1.19' onnxruntime, on "
            "Python 3.10 or later"
        ) from error


def _to_onnx(function: Any) -> bytes:
    convert = _of_onnx("tf2onnx.convert")
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    model, _ = convert.from_function(function, input_signature=function.input_signature, opset=_OPSET)
    return model.SerializeToString()


def _onnx_graph(content: bytes) -> Graph:
    onnxruntime = _of_onnx("onnxruntime")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda arrays: session.run(None, arrays)[0]


def _to_tflite(function: Any) -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], function)
    with _silent_stderr():
        return converter.convert()


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discards what C++ writes to standard error: the converter's statistics, hundreds of lines."""
    sys.stderr.flush()
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _tflite_graph(content: bytes) -> Graph:
    # XNNPACK, the default delegate, does not support a dynamic batch size, and warns on every call.
    plain = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=plain)

    busy = threading.Lock()  # an interpreter holds its inputs and outputs

    def run(arrays: dict[str, np.ndarray]) -> np.ndarray:
        with busy:
            return compute(arrays)

    def compute(arrays: dict[str, np.ndarray]) -> np.ndarray:
        places = {detail["name"].split(":")[0]: detail["index"] for detail in interpreter.get_input_details()}
        for name, array in arrays.items():
            interpreter.resize_tensor_input(places[name], array.shape)
        interpreter.allocate_tensors()
        for name, array in arrays.items():
            interpreter.set_tensor(places[name], array)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return run


ONNX = PortableFormat("onnx", _to_onnx, _onnx_graph)
TFLITE = PortableFormat("tflite", _to_tflite, _tflite_graph)
