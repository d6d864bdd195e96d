"""Networks whose activations images are judged by, behind one interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Callable

import numpy as np
import tensorflow as tf

from vitgan_tf.errors import UserError
from vitgan_tf.images import to_float

BATCH_SIZE = 32


class FeatureExtractor:
    """Images -> pooled features and logits, in batches, on all replicas of the `tf.distribute` strategy of its scope.

    Attributes:
      name: of the network.
      sha256: of its weights, hexadecimal.
      resize: how it brings images to its own size, in words.
      is_published: whether it is the network of published FIDs.

    Args:
      function: float32 images (batch, height, width, channels) in [-1, 1], of any size that it can take ->
        (features (batch, feature_dim), logits (batch, num_classes)), float32; traced once.
      num_channels: channels that it wants; grey images are repeated to three.
      batch_size: images at a time, over all replicas. The results do not depend on it but for rounding.
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

    @property
    def batch_size(self) -> int:
        """Images at a time, over all replicas."""
        return self._per_replica * self._replicas

    def _all_replicas(self, images_uint8: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if self._strategy is None:  # perhaps in the scope of another one
            return self._one_replica(images_uint8)
        activations = self._strategy.run(self._share_of_replica, args=(images_uint8,))
        return tuple(self._strategy.gather(values, axis=0) for values in activations)

    def _share_of_replica(self, images_uint8: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        start = tf.distribute.get_replica_context().replica_id_in_sync_group * self._per_replica
        # A slice from a place that is not known beforehand would have no static size, which TPUs need.
        return self._one_replica(tf.gather(images_uint8, start + tf.range(self._per_replica)))

    def _one_replica(self, images_uint8: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = to_float(images_uint8)
        if images.shape[-1] == 1 and self._num_channels == 3:
            images = tf.image.grayscale_to_rgb(images)
        return self._function(images)

    def activations(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features and logits of images, float32, a batch at a time.

        Args:
          batches: of images (any number, height, width, channels) uint8, all of one shape.

        Raises:
          UserError: an activation is not finite.
        """
        for images in _rebatched(batches, self.batch_size):
            # One shape for all, the last one too: one graph, as compilers want it.
            padding = np.zeros((self.batch_size - len(images), *images.shape[1:]), np.uint8)
            results = [values.numpy()[: len(images)] for values in self._step(np.concatenate([images, padding]))]
            if not all(np.isfinite(values).all() for values in results):
                raise UserError(f"the activations of {self.name} are not finite: its weights may be damaged")
            yield results[0], results[1]


def _rebatched(batches: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """The same images in the same order, so many at a time."""
    rest = None
    for images in batches:
        rest = images if rest is None or not len(rest) else np.concatenate([rest, images])
        while len(rest) >= batch_size:
            yield rest[:batch_size]
            rest = rest[batch_size:]
    if rest is not None and len(rest):
        yield rest
