"""Common interface of the networks that compute features and logits of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from vitgan_tf.errors import UserError
from vitgan_tf.images import to_float

BATCH_SIZE = 32
# Attributes of `Protocol` for scores that need no network.
NO_NETWORK = {"extractor": "none", "extractor_sha256": "", "is_published_extractor": False, "resize": "none"}


class FeatureExtractor:
    """Images -> pooled features and logits, batch by batch.

    Runs on all replicas of the `tf.distribute` strategy in whose scope it is created.

    Attributes:
      name: name of the network.
      sha256: hash of its weights, hexadecimal.
      resize: how images are resized to its input size, in words.
      is_published: whether it is the network of published FIDs.

    Args:
      function: float32 images (batch, height, width, channels) in [-1, 1], of any size that it accepts ->
        (features (batch, feature_dim), logits (batch, num_classes)), float32; traced once.
      num_channels: input channels; for 3, grey images are converted to RGB.
      batch_size: global batch size; changes the results only by rounding.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
        sha256: str,
        resize: str,
        num_channels: int = 3,
        is_published: bool = False,
        batch_size: int = BATCH_SIZE,
    ):
        self.name = name
        self.sha256 = sha256
        self.resize = resize
        self.is_published = is_published
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
        }

    @property
    def batch_size(self) -> int:
        """Global batch size: a multiple of the number of replicas."""
        return self._per_replica * self._replicas

    def _all_replicas(self, images_uint8: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if self._strategy is None:  # created outside a scope, but perhaps called inside one
            return self._one_replica(images_uint8)
        activations = self._strategy.run(self._share_of_replica, args=(images_uint8,))
        return tuple(self._strategy.gather(values, axis=0) for values in activations)

    def _share_of_replica(self, images_uint8: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        start = tf.distribute.get_replica_context().replica_id_in_sync_group * self._per_replica
        # A slice with a dynamic start would have no static size, which TPUs need.
        return self._one_replica(tf.gather(images_uint8, start + tf.range(self._per_replica)))

    def _one_replica(self, images_uint8: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = to_float(images_uint8) if images_uint8.dtype == tf.uint8 else images_uint8
        if images.shape[-1] == 1 and self._num_channels == 3:
            images = tf.image.grayscale_to_rgb(images)
        return self._function(images)

    def activations(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields features and logits of images, float32, batch by batch.

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
            yield results[0], results[1]


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
