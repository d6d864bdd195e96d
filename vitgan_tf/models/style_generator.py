"""What all generators have in common: images by way of styles."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from vitgan_tf.randomness import Places


class StyleGenerator(tf.keras.Model):
    """images = synthesize(w),   w = mapping(z): what training, sampling and export know of a generator.

    A subclass has the attributes latent_dim, image_size, num_channels, mapping, num_styles, the number of places in
    which a style of its own can enter, and renders_at_any_scale; uses_batch_statistics, whether training=True makes
    an image depend on the others of its batch; and the method `synthesize`.

    Call: latents (batch, latent_dim), drawn from N(0, I) -> images (batch, image_size, image_size, num_channels).
    The images are trained towards [-1, 1] and not clipped. training, noise_seed and places are those of `synthesize`.
    """

    uses_batch_statistics = False

    def __init__(self, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)  # latents and styles are float32 in all precisions

    def call(
        self,
        latents: tf.Tensor,
        training: bool = False,
        noise_seed: tf.Tensor | None = None,
        places: Places | None = None,
    ) -> tf.Tensor:
        latents = tf.cast(latents, self.variable_dtype)
        return self.synthesize(self.mapping(latents), training, noise_seed, places)

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

    def synthesize(
        self,
        styles: tf.Tensor,
        training: bool = False,
        noise_seed: tf.Tensor | None = None,
        places: Places | None = None,
    ) -> tf.Tensor:
        """Styles to images.

        Args:
          styles: w, (batch, style_dim); or one for each place in which it enters, (batch, num_styles, style_dim):
            mixed styles.
          training: whether power iterations move; or, with uses_batch_statistics, whether these are used.
          noise_seed: (2,) integers, seed of the noise of convolutions; None for their fixed noise.
          places: of the images in a larger batch whose noise the seed defines, see `randomness.draw_rows`.

        Returns:
          (batch, image_size, image_size, num_channels), float32.

        Raises:
          ValueError: another number of styles.
        """
        raise NotImplementedError
