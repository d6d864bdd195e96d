"""Common interface of the networks that compute features and logits of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from vitgan_tf.errors import UserError
from vitgan_tf.images import to_float

BATCH_SIZE = 32
# Attributes of `Protocol` for scores that need no network.
NO_NETWORK = {"extractor": "none", "extractor_sha256": "", "is_published_extractor": False, "resize": "none"}
INPUT_WORDS = "values from -1 to 1"


class FeatureExtractor:
    """Images -> pooled features and logits, batch by batch.

    Runs on all replicas of the `tf.distribute` strategy in whose scope it is created.

    Attributes:
      name: name of the network.
      sha256: hash of its weights, hexadecimal.
      resize: how images are resized to its input size, in words.
      is_published: whether it is the network of published FIDs.
      accuracy: its held-out accuracy on the real images, 0 to 1, if known.
      other_resize: for that network, name of the resizing in `choices.RESIZES` if it is not that of published FIDs.
      input_words: size and values of its input where they are a choice, in words.
      output_words: which of its outputs are the features where that is a choice, in words.

    Args:
      function: float32 images (batch, height, width, channels) in [-1, 1], of any size that it accepts ->
        (features (batch, feature_dim), logits (batch, num_classes)), float32; traced once for each type of
        images. The logits of a network without any are None.
      num_channels: input channels; for 3, grey images are converted to RGB.
      batch_size: global batch size; changes the results only by rounding.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor | None]],
        sha256: str,
        resize: str,
        num_channels: int = 3,
        is_published: bool = False,
        batch_size: int = BATCH_SIZE,
        accuracy: float | None = None,
        other_resize: str = "",
        input_words: str = INPUT_WORDS,
        output_words: str = "",
    ):
        self.name = name
        self.sha256 = sha256
        self.resize = resize
        self.is_published = is_published
        self.accuracy = accuracy
        self.other_resize = other_resize
        self.input_words = input_words
        self.output_words = output_words
        self._function = function
        self._num_channels = num_channels
        self._strategy = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        self._replicas = self._strategy.num_replicas_in_sync if self._strategy else 1
        self._per_replica = -(-batch_size // self._replicas)
        self._step = tf.function(self._all_replicas, autograph=False)

    def protocol_entries(self) -> dict[str, Any]:
        """Returns the attributes of `Protocol` that describe the network."""
        return {
            "extractor": self.name,
            "extractor_sha256": self.sha256,
            "is_published_extractor": self.is_published,
            "resize": self.resize,
            "extractor_accuracy": self.accuracy,
            "other_resize": self.other_resize,
            "extractor_input": self.input_words,
            "extractor_output": self.output_words,
        }

    def feature_dim(self, image_shape: Sequence[int]) -> int:
        """Returns the number of features of images (height, width, channels)."""
        features, _ = next(self.activations([np.zeros([1, *image_shape], np.uint8)]))
        return features.shape[1]

    @property
    def batch_size(self) -> int:
        """Global batch size: a multiple of the number of replicas."""
        return self._per_replica * self._replicas

    def _all_replicas(self, images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if self._strategy is None:  # created outside a scope, but perhaps called inside one
            return self._one_replica(images)
        activations = self._strategy.run(self._share_of_replica, args=(images,))
        return tuple(self._strategy.gather(values, axis=0) for values in activations)

    def _share_of_replica(self, images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        start = tf.distribute.get_replica_context().replica_id_in_sync_group * self._per_replica
        # A slice with a dynamic start would have no static size, which TPUs need.
        return self._one_replica(tf.gather(images, start + tf.range(self._per_replica)))

    def _one_replica(self, images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        images = to_float(images) if images.dtype == tf.uint8 else images
        if images.shape[-1] == 1 and self._num_channels == 3:
            images = tf.image.grayscale_to_rgb(images)
        # Gathering logits of width 0 from several replicas would crash TensorFlow 2.15.
        return tuple(values for values in self._function(images) if values is not None)

    def features(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the features of float32 images in [-1, 1], (batch, feature_dim), as part of a graph."""
        return self._one_replica(images)[0]

    def activations(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields features and logits of images, float32, batch by batch; logits of width 0 if there are none.

        Args:
          batches: images (any number, height, width, channels) uint8, all of the same size; or float32, about in
            [-1, 1], which are not rounded.

        Raises:
          UserError: an activation is not finite.
        """
        for images in _rebatched(batches, self.batch_size):
            # Pads the last batch: one static shape, one graph, as compilers need.
            padding = np.zeros((self.batch_size - len(images), *images.shape[1:]), images.dtype)
            results = [values.numpy()[: len(images)] for values in self._step(np.concatenate([images, padding]))]
            if not all(np.isfinite(values).all() for values in results):
                raise UserError(f"the activations of {self.name} are not finite: its weights may be damaged")
            yield results[0], results[1] if len(results) > 1 else np.zeros([len(images), 0], np.float32)


def _rebatched(batches: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """Regroups images, in order, into batches of batch_size; the last one may be smaller."""
    rest = None
    for images in batches:
        rest = images if rest is None or not len(rest) else np.concatenate([rest, images])
        while len(rest) >= batch_size:
            yield rest[:batch_size]
            rest = rest[batch_size:]
    if rest is not None and len(rest):
        yield rest
