"""Reads a network from a SavedModel, from TensorFlow Hub or from a Keras file."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import urllib.parse
import zipfile
from collections.abc import Iterator
from typing import Any, Callable

import h5py
import tensorflow as tf

from vitgan_tf.config import DataLocation
from vitgan_tf.errors import UserError, did_you_mean, first_line
from vitgan_tf.evaluation.hub import hub_module, sha256_of_saved_model
from vitgan_tf.files import sha256_of_files

_KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
# The second is that of TensorFlow 1's modules on TensorFlow Hub.
_SIGNATURES = ("serving_default", "default")
_MAX_NAME = 40


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that maps images to one or more outputs.

    Attributes:
      call: images of the type and shape of `input` -> outputs by name; "" for an output without one.
      input: (batch, height, width, channels); None for what the network leaves open.
      sha256: hash of its files.
    """

    call: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    input: tf.TensorSpec
    sha256: str


def is_address(path: str) -> bool:
    """Returns whether path is the address of a TensorFlow Hub module."""
    return path.startswith(("https://", "http://"))


def short_name(path: str) -> str:
    """Returns a name for scores, of [a-z0-9_]: the last component of the path, or "network".

    An ending of Keras and, in an address, the version are left out.
    """
    parts = [part for part in urllib.parse.urlsplit(path).path.split("/") if part] if is_address(path) else []
    parts = [part for part in parts if not part.isdigit() and part != "versions"]
    name = (parts[-1] if parts else "") if is_address(path) else os.path.basename(os.path.abspath(path))
    stem, suffix = os.path.splitext(name)
    name = stem if suffix.lower() in _KERAS_SUFFIXES else name
    return re.sub("[^a-z0-9]+", "_", name.lower())[:_MAX_NAME].strip("_") or "network"


def load_network(path: str, layer: str, location: DataLocation) -> Network:
    """Loads a network.

    Args:
      path: folder of a SavedModel, address of a TensorFlow Hub module, or Keras file.
      layer: for a Keras file, name of the layer whose output is wanted; empty for the model's outputs.
      location: cache of TensorFlow Hub, and whether a missing module may be downloaded.

    Raises:
      ExtractorNotFoundError: a TensorFlow Hub module is missing.
      UserError: there is no network that maps a batch of images to tensors.
    """
    if is_address(path):
        description = f"the network {path!r}"
        network = _saved_model(hub_module(path, location, description, "--network=FOLDER"))
    elif os.path.isdir(path):
        network = _saved_model(path)
    elif os.path.isfile(path) and path.lower().endswith(_KERAS_SUFFIXES):
        network = _keras_file(path, layer)
    elif os.path.exists(path):
        raise UserError(
            f"{path!r} is neither the folder of a SavedModel nor a Keras file, {', '.join(_KERAS_SUFFIXES)}"
        )
    else:
        raise UserError(f"there is no network {path!r}: set --network to a folder, a Keras file or an https address")
    return network


def _saved_model(path: str) -> Network:
    if not os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise UserError(f"{path!r} is not a SavedModel: saved_model.pb is missing")
    try:
        module = tf.saved_model.load(path)
        sha256 = sha256_of_saved_model(path)
    except Exception as error:  # damaged and unrelated files raise errors of many types
        raise UserError(f"cannot load the SavedModel {path!r}: {first_line(error)}") from error
    function, signature, spec = _entry(module, path)

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        # Beside the images, an argument keeps the value of the trace, such as training=False.
        arguments = tf.nest.map_structure(lambda leaf: images if isinstance(leaf, tf.TensorSpec) else leaf, signature)
        return dict(_named(function(*arguments[0], **arguments[1])))

    call.module = module  # type: ignore[attr-defined]  # its functions do not keep its variables alive
    return Network(call, spec, sha256)


def _entry(module: Any, path: str) -> tuple[Callable[..., Any], Any, tf.TensorSpec]:
    """Returns a function that takes images, its arguments as traced, and the specification of the images."""
    traces = [(module, trace) for trace in module.__call__.concrete_functions] if callable(module) else []
    signatures = getattr(module, "signatures", {})
    traces += [(signatures[name],) * 2 for name in _SIGNATURES if name in signatures]
    if not traces:
        names = ", ".join(signatures) or "none"
        raise UserError(
            f"{path!r} is not a network: it is not callable, and has no signature serving_default (its signatures: "
            f"{names})"
        )
    refused = []
    for function, trace in sorted(traces, key=lambda pair: _rank(pair[1])):
        signature = trace.structured_input_signature
        specs = [leaf for leaf in tf.nest.flatten(signature) if isinstance(leaf, tf.TensorSpec)]
        if len(specs) == 1 and _takes_images(specs[0]):
            return function, signature, specs[0]
        refused.append(specs)
    raise _no_images(path, refused[0])


def _rank(trace: Any) -> tuple[bool, bool]:
    """Sorts traces for training behind others, then outputs without names behind the same ones with names."""
    is_training = any(leaf is True for leaf in tf.nest.flatten(trace.structured_input_signature))
    return is_training, isinstance(trace.structured_outputs, (list, tuple))


def _takes_images(spec: tf.TensorSpec) -> bool:
    if spec.shape.rank != 4 or not spec.dtype.is_floating:
        return False
    batch, height, width, channels = spec.shape
    return batch is None and height == width and channels in (None, 1, 3)


def _no_images(path: str, specs: list[tf.TensorSpec]) -> UserError:
    words = ", ".join(f"{spec.dtype.name} {spec.shape}" for spec in specs) or "no tensors"
    return UserError(
        f"{path!r} takes {words}, not a batch of any number of square float images (batch, height, width, 1 or 3 "
        "channels)"
    )


def _named(outputs: Any, prefix: str = "") -> Iterator[tuple[str, tf.Tensor]]:
    """Yields the tensors in nested outputs with their names; parts of a list are numbered."""
    if isinstance(outputs, dict):
        items = [(str(key), value) for key, value in outputs.items()]
    elif isinstance(outputs, (list, tuple)):
        items = [(str(index), value) for index, value in enumerate(outputs)]
    else:
        yield prefix, outputs
        return
    for name, value in items:
        yield from _named(value, f"{prefix}/{name}" if prefix else name)


def _keras_file(path: str, layer: str) -> Network:
    try:
        model = tf.keras.models.load_model(path, compile=False)
        sha256 = sha256_of_files([path])
        specs = [tf.TensorSpec(images.shape, images.dtype) for images in model.inputs or []]
    except Exception as error:  # damaged and unrelated files raise errors of many types
        version = _keras_version(path)
        is_other = version and not version.startswith("2.")
        hint = f"Keras {version} saved it, and this is Keras 2: export it as SavedModel: " if is_other else ""
        raise UserError(f"cannot load the Keras model {path!r}: {hint}{first_line(error)}") from error
    if len(specs) != 1 or not _takes_images(specs[0]):
        raise _no_images(path, specs)
    outputs = model.outputs if not layer else _layer_outputs(model, layer, path)
    names = [layer] if layer and len(outputs) == 1 else [tensor.node.layer.name for tensor in outputs]
    network = tf.keras.Model(model.inputs, outputs)
    return Network(
        lambda images: dict(zip(names, tf.nest.flatten(network(images, training=False)))), specs[0], sha256
    )


def _layer_outputs(model: tf.keras.Model, name: str, path: str) -> list[Any]:
    names = [layer.name for layer in model.layers]
    if name not in names:
        raise UserError(
            f"the Keras model {path!r} has no layer {name!r}{did_you_mean(name, names)} (the last ones: "
            f"{', '.join(names[-5:])})"
        )
    try:
        return tf.nest.flatten(model.get_layer(name).output)
    except AttributeError as error:  # a layer that is used several times
        raise UserError(f"the layer {name!r} of {path!r} has no single output: {first_line(error)}") from error


def _keras_version(path: str) -> str:
    """Returns the version of Keras that saved a file; empty if unknown."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        with h5py.File(path) as file:
            version = file.attrs["keras_version"]
            return version.decode() if isinstance(version, bytes) else str(version)
    except Exception:  # a damaged file
        return ""
