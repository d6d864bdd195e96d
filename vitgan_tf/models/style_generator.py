"""What all generators have in common: images by way of styles."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from vitgan_tf.randomness import CUTOFF, IS_MIXED, OTHER_LATENT, BatchRandom


class StyleGenerator(tf.keras.Model):
    """images = synthesize(w),   w = mapping(z): what training, sampling and export know of a generator.

    A subclass has the attributes latent_dim, image_size, num_channels, mapping, num_styles, the number of places in
    which a style of its own can enter, and renders_at_any_scale; and the method `synthesize`. With the attribute
    uses_batch_statistics, both calls have an argument use_batch_statistics, by which the images of a batch depend on
    each other: it is trained so.

    Call: latents (batch, latent_dim), drawn from N(0, I) -> images (batch, image_size, image_size, num_channels).
    The images are trained towards [-1, 1] and not clipped. The other arguments are those of `synthesize`.
    """

    uses_batch_statistics = False

    def __init__(self, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)  # latents and styles are float32 in all precisions

    def call(self, latents: tf.Tensor, random: BatchRandom | None = None) -> tf.Tensor:
        return self.synthesize(self.mapping(tf.cast(latents, self.variable_dtype)), random)

    def mixed_styles(self, latents: tf.Tensor, random: BatchRandom, share: float) -> tf.Tensor:
        """Styles of latents, for a share of the images replaced by those of other latents from a random place on.

        See Karras et al. 2019, section 3.1.

        Args:
          latents: (batch, latent_dim).
          random: random numbers of the images.
          share: chance of an image to have a second style.

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
        """One style, (batch, style_dim), in all places; or one for each -> (batch, num_styles, style_dim).

        Raises:
          ValueError: another number of styles.
        """
        if styles.shape.rank == 2:
            return tf.tile(styles[:, None], [1, self.num_styles, 1])
        if styles.shape[1] != self.num_styles:
            raise ValueError(f"the number of styles per image must be {self.num_styles}, got {styles.shape[1]}")
        return styles

    def synthesize(self, styles: tf.Tensor, random: BatchRandom | None = None) -> tf.Tensor:
        """Styles to images.

        Args:
          styles: w, (batch, style_dim); or one for each place in which it enters, (batch, num_styles, style_dim):
            mixed styles.
          random: random numbers of the images, for the noise of convolutions; None for their fixed noise.

        Returns:
          (batch, image_size, image_size, num_channels), float32.

        Raises:
          ValueError: another number of styles.
        """
        raise NotImplementedError
