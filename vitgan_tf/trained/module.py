"""The functions of a generator as a TensorFlow module, which a SavedModel holds."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

from vitgan_tf.images import to_uint8
from vitgan_tf.latents import CHUNK, SequenceRandom, chunk_of_latents

MEAN_STYLE_SAMPLES = 10_000
FIXED_NOISE = -1


def mean_style(generator: tf.keras.Model) -> tf.Tensor:
    """Returns the mean of w = mapping(z) over 10,000 fixed latents: (1, style_dim)."""
    latents = tf.random.stateless_normal([MEAN_STYLE_SAMPLES, generator.latent_dim], [0, 0])
    return tf.reduce_mean(generator.mapping(latents), axis=0, keepdims=True)


class GeneratorModule(tf.Module):
    """Module to export: the generator, its mean style, and functions from latents or styles to images.

    Args:
      generator: a built `StyleGenerator`.
      step: number of training steps so far.
      batch_size: fixed batch size of all functions but `generate`; None for any.
    """

    def __init__(self, generator: tf.keras.Model, step: int, batch_size: int | None = None):
        super().__init__(name="vitgan_generator")
        self.step = tf.Variable(step, trainable=False, name="step")
        # Only the weights are tracked: each layer would be traced and saved as a separate function.
        self._network = self._no_dependency(generator)
        self.generator_weights = generator.variables
        self.mean_style = tf.Variable(mean_style(generator), trainable=False, name="mean_style")
        self.renders_at_any_scale = tf.Variable(
            generator.renders_at_any_scale, trainable=False, name="renders_at_any_scale"
        )
        latents_spec = tf.TensorSpec([batch_size, generator.latent_dim], tf.float32, name="latents")
        styles_spec = tf.TensorSpec(
            [batch_size, generator.num_styles, self.mean_style.shape[-1]], tf.float32, name="styles"
        )
        scale_spec = tf.TensorSpec([], tf.float32, name="render_scale")
        count_spec, seed_spec = (tf.TensorSpec([], tf.int32, name=name) for name in ("num_images", "seed"))
        noise_specs = [tf.TensorSpec([], tf.int32, name=name) for name in ("noise_seed", "first_image")]
        generate_specs = [count_spec, seed_spec, tf.TensorSpec([], tf.float32, name="truncation"), scale_spec]
        self.has_noise = tf.Variable(generator.has_noise, trainable=False, name="has_noise")
        self.map_latents = self._function(self._map_latents, latents_spec)
        self.render = self._function(self._render, styles_spec, scale_spec, *noise_specs)
        self.synthesize = self._function(self._synthesize, latents_spec, *noise_specs)
        self.generate = self._function(
            self._generate, *generate_specs, tf.TensorSpec([], tf.bool, name="has_fixed_noise")
        )
        # Signatures have no default values: theirs are these functions with the defaults filled in.
        self.signatures = self._no_dependency(
            {
                "serving_default": self._function(lambda latents: self._synthesize(latents), latents_spec),
                "map_latents": self.map_latents,
                "render": self._function(lambda styles, scale: self._render(styles, scale), styles_spec, scale_spec),
                "generate": self._function(lambda *arguments: self._generate(*arguments), *generate_specs),
            }
        )

    @staticmethod
    def _function(function: Callable, *signature: tf.TensorSpec) -> tf.types.experimental.GenericFunction:
        return tf.function(function, input_signature=signature, autograph=False)

    def _noise(self, noise_seed: tf.Tensor, first_image: tf.Tensor, images: tf.Tensor) -> SequenceRandom | None:
        """Returns the noise of as many images as the tensor has rows; None for a generator without noise."""
        if not self._network.has_noise:
            return None
        noise_seed, first_image = tf.convert_to_tensor(noise_seed), tf.convert_to_tensor(first_image)
        return SequenceRandom(
            noise_seed,
            first_chunk=first_image // CHUNK,
            num_images=tf.shape(images)[0],
            offset=first_image % CHUNK,
            is_fixed=noise_seed == FIXED_NOISE,
        )

    def _images(self, styles: tf.Tensor, render_scale: tf.Tensor, random: SequenceRandom | None) -> tf.Tensor:
        """Renders images; scale 1 uses exactly the operations of training, and only there are shapes static."""
        native_size = self._network.image_size
        size = tf.cast(tf.round(render_scale * native_size), tf.int32)
        if not self._network.renders_at_any_scale:
            message = "this generator has no Fourier decoder: it renders at render_scale 1 only"
            with tf.control_dependencies([tf.debugging.assert_equal(size, native_size, message)]):
                return tf.clip_by_value(self._network.synthesize(tf.identity(styles), random), -1.0, 1.0)
        with tf.control_dependencies([tf.debugging.assert_positive(size, "no pixels at this render_scale")]):
            images = tf.cond(
                size == native_size,
                lambda: self._network.synthesize(styles),
                lambda: self._network.synthesize(styles, rendered_size=size),
            )
        return tf.clip_by_value(images, -1.0, 1.0)

    def _map_latents(self, latents: tf.Tensor) -> dict[str, tf.Tensor]:
        """latents (batch, latent_dim) -> {"styles": (batch, num_styles, style_dim)}, w for each place it enters."""
        styles = self._network.mapping(latents)[:, None]
        return {"styles": tf.tile(styles, [1, self._network.num_styles, 1])}

    def _render(
        self,
        styles: tf.Tensor,
        render_scale: tf.Tensor | float = 1.0,
        noise_seed: tf.Tensor | int = 0,
        first_image: tf.Tensor | int = 0,
    ) -> dict[str, tf.Tensor]:
        """styles (batch, num_styles, style_dim), render_scale, noise -> {"images": float32 in [-1, 1]}."""
        return {"images": self._images(styles, render_scale, self._noise(noise_seed, first_image, styles))}

    def _synthesize(
        self, latents: tf.Tensor, noise_seed: tf.Tensor | int = 0, first_image: tf.Tensor | int = 0
    ) -> dict[str, tf.Tensor]:
        """latents (batch, latent_dim), from N(0, I), noise -> {"images": float32 in [-1, 1]}."""
        images = self._network(latents, self._noise(noise_seed, first_image, latents))
        return {"images": tf.clip_by_value(images, -1.0, 1.0)}

    def _generate(
        self,
        num_images: tf.Tensor,
        seed: tf.Tensor,
        truncation: tf.Tensor | float = 1.0,
        render_scale: tf.Tensor | float = 1.0,
        has_fixed_noise: tf.Tensor | bool = False,
    ) -> dict[str, tf.Tensor]:
        """num_images, seed, truncation psi -> {"images": uint8}; w' = mean + psi * (w - mean), 1 for no truncation.

        The same seed gives the same images; an image does not depend on num_images.
        """
        chunks = -(-num_images // CHUNK)

        def chunk(index: tf.Tensor) -> tf.Tensor:
            latents = chunk_of_latents(seed, index, self._network.latent_dim)
            styles = self.mean_style + truncation * (self._network.mapping(latents) - self.mean_style)
            noise = None
            if self._network.has_noise:
                is_fixed = tf.convert_to_tensor(has_fixed_noise)
                noise = SequenceRandom(tf.convert_to_tensor(seed), index, CHUNK, is_fixed=is_fixed)
            return to_uint8(self._images(styles, render_scale, noise))

        images = tf.map_fn(chunk, tf.range(chunks), fn_output_signature=tf.uint8, parallel_iterations=1)
        shape = tf.concat([[-1], tf.shape(images)[2:]], axis=0)
        return {"images": tf.reshape(images, shape)[:num_images]}
