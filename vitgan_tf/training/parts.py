"""Parts of a replica's share of a batch, processed one after the other."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

from vitgan_tf.randomness import BatchRandom


class Parts:
    """This replica's images in a batch, divided into parts: memory holds the activations of one part at a time.

    Args:
      share: images per replica.
      size: images per part; 0 for the whole share.

    Raises:
      ValueError: the share is not a multiple of the size.
    """

    def __init__(self, share: int, size: int):
        self.share = share
        self.size = size or share
        if share % self.size:
            raise ValueError(f"a replica's share of {share} images is not a multiple of the microbatch {size}")
        self.count = share // self.size

    def random(self, seed: tf.Tensor, num_views: int = 1) -> BatchRandom:
        """Returns the random numbers of this replica's images in the global batch.

        Args:
          seed: (2,) integers.
          num_views: number of consecutive copies of the batch.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        total = self.share * replicas
        if replicas == 1:
            return BatchRandom(seed, num_views * total)
        first = tf.distribute.get_replica_context().replica_id_in_sync_group * self.share
        indices = total * tf.range(num_views)[:, None] + first + tf.range(self.share)
        return BatchRandom(seed, num_views * total, tf.reshape(indices, [-1]))

    def random_of_part(self, random: BatchRandom, part: tf.Tensor) -> BatchRandom:
        """Selects the random numbers of a part, given by its number, from those of the whole share."""
        return random if self.count == 1 else random.rows(part * self.size + tf.range(self.size))

    def map(self, function: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Applies number of a part -> float32 (rows, ...) to one part after the other: (count * rows, ...)."""
        if self.count == 1:
            return function(tf.constant(0))
        parts = tf.map_fn(function, tf.range(self.count), parallel_iterations=1, fn_output_signature=tf.float32)
        return tf.reshape(parts, [-1, *parts.shape[2:]])

    def split(self, views: tf.Tensor, num_views: int) -> tf.Tensor:
        """Groups views by part: (num_views * share, ...) -> (count, views of a part, ...).

        Args:
          views: first views of all images, then second views of all images, and so on.
          num_views: number of views per image.
        """
        shape = views.shape[1:]
        views = tf.reshape(views, [num_views, self.count, self.size, *shape])
        views = tf.transpose(views, [1, 0, *range(2, views.shape.rank)])
        return tf.reshape(views, [self.count, -1, *shape])
