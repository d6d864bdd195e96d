"""Requests that TensorFlow Serving answers before it reports a model as ready."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from vitgan_tf.errors import UserError
from vitgan_tf.trained.generator import Generator

# The place and name that TensorFlow Serving looks for.
WARMUP = os.path.join("assets.extra", "tf_serving_warmup_requests")


def write_warmup_requests(generator: Generator, folder: str, batch_size: int | None = None) -> None:
    """Writes a request for each signature of a SavedModel, so that no user waits for TensorFlow's first call.

    Args:
      generator: the generator that the SavedModel holds.
      folder: folder of the SavedModel.
      batch_size: fixed batch size; None for any.

    Raises:
      UserError: the package tensorflow-serving-api is not installed.
    """
    try:
        from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise UserError(
            "warm-up requests need the package tensorflow-serving-api: pip install tensorflow-serving-api==2.15.1"
        ) from error
    os.makedirs(os.path.dirname(os.path.join(folder, WARMUP)), exist_ok=True)
    with tf.io.TFRecordWriter(os.path.join(folder, WARMUP)) as writer:
        for signature, arrays in requests(generator, batch_size or 1):
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(signature_name=signature),
                inputs={name: tf.make_tensor_proto(array) for name, array in arrays.items()},
            )
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def requests(generator: Generator, batch_size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the name and the inputs of a request for each signature."""
    latents = np.zeros((batch_size, generator.latent_dim), np.float32)
    styles = np.tile(generator.mean_style[:, None], (batch_size, generator.num_styles, 1))
    scale = np.float32(1.0)
    yield "serving_default", {"latents": latents}
    yield "map_latents", {"latents": latents}
    yield "render", {"styles": styles, "render_scale": scale}
    yield "generate", {"num_images": np.int32(1), "seed": np.int32(0), "truncation": scale, "render_scale": scale}
