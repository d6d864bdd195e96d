"""Base class of the generators: latents to styles, styles to images."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from vitgan_tf.randomness import CUTOFF, IS_MIXED, OTHER_LATENT, BatchRandom, ImageRandom


class StyleGenerator(tf.keras.Model):
    """images = synthesize(w),   w = mapping(z): the generator interface of training, sampling and export.

    A subclass defines `synthesize` and the attributes latent_dim, image_size, num_channels, mapping, num_styles (the
    number of places that can have their own style) and renders_at_any_scale. If uses_batch_statistics is true, `call`
    and `synthesize` take an argument use_batch_statistics: it is set in training and makes the images of a batch
    depend on each other. A generator with noise sets has_noise and draws it by `random.fork(n).noise(fixed)`, with
    another n for each layer.

    Call: latents (batch, latent_dim), drawn from N(0, I) -> images (batch, image_size, image_size, num_channels).
    Images are trained towards [-1, 1] and not clipped. Other arguments are those of `synthesize`.
    """

    uses_batch_statistics = False

    def __init__(self, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)  # latents and styles are float32 in all precisions

    @property
    def has_noise(self) -> bool:
        """True if images depend on noise besides their latents."""
        return False

    def call(self, latents: tf.Tensor, random: ImageRandom | None = None) -> tf.Tensor:
        return self.synthesize(self.mapping(tf.cast(latents, self.variable_dtype)), random)

    def mixed_styles(self, latents: tf.Tensor, random: BatchRandom, share: float) -> tf.Tensor:
        """Maps latents to styles and mixes some with the styles of other latents, from a random place on.

        Style mixing: Karras et al. 2019, section 3.1.

        Args:
          latents: (batch, latent_dim).
          random: random numbers of the images.
          share: probability that an image gets a second style.

        Returns:
          (batch, num_styles, style_dim).
        """
        others = random.fork(OTHER_LATENT).normal(self.latent_dim)
        is_mixed = random.fork(IS_MIXED).uniform() < share
        cutoff = random.fork(CUTOFF).uniform(low=1, high=self.num_styles, dtype=tf.int32)
        cutoff = tf.where(is_mixed, cutoff, self.num_styles)
        is_first = tf.range(self.num_styles)[:, None] < cutoff[:, None, None]  # (batch, num_styles, 1)
        return tf.where(is_first, *(self.mapping(z)[:, None] for z in (latents, others)))

    def styles_by_place(self, styles: tf.Tensor) -> tf.Tensor:
        """Returns one style per place, (batch, num_styles, style_dim).

        Args:
          styles: (batch, style_dim), repeated for all places; or (batch, num_styles, style_dim), returned as it is.

        Raises:
          ValueError: the number of styles is not num_styles.
        """
        if styles.shape.rank == 2:
            return tf.tile(styles[:, None], [1, self.num_styles, 1])
        if styles.shape[1] != self.num_styles:
            raise ValueError(f"the number of styles per image must be {self.num_styles}, got {styles.shape[1]}")
        return styles

    def synthesize(self, styles: tf.Tensor, random: ImageRandom | None = None) -> tf.Tensor:
        """Renders images from styles.

        Args:
          styles: w, (batch, style_dim); or mixed styles, one per place, (batch, num_styles, style_dim).
          random: random numbers of the images, for the convolutions' noise; None uses their fixed noise.

        Returns:
          (batch, image_size, image_size, num_channels), float32.

        Raises:
          ValueError: the number of styles is not num_styles.
        """
        raise NotImplementedError
