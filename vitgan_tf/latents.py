"""The latents behind generated images: each is determined by a seed and its place."""

from __future__ import annotations

import tensorflow as tf

# Latents come in chunks, so that any part of a long sequence can be drawn by itself.
CHUNK = 16


def chunk_of_latents(seed: tf.Tensor | int, index: tf.Tensor | int, latent_dim: int) -> tf.Tensor:
    """Latents number CHUNK * index and following, from N(0, I): (CHUNK, latent_dim)."""
    return tf.random.stateless_normal([CHUNK, latent_dim], tf.stack([seed, index]))
