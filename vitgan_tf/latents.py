"""Latents of generated images, each determined by a seed and its index."""

from __future__ import annotations

import tensorflow as tf

# Latents are drawn in chunks, so that any part of a long sequence can be drawn on its own.
CHUNK = 16


def chunk_of_latents(seed: tf.Tensor | int, index: tf.Tensor | int, latent_dim: int) -> tf.Tensor:
    """Draws CHUNK latents from N(0, I), starting with number CHUNK * index: (CHUNK, latent_dim)."""
    return tf.random.stateless_normal([CHUNK, latent_dim], tf.stack([seed, index]))
