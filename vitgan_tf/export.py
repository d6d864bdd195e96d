"""The SavedModel of a generator: needs TensorFlow alone to run."""

from __future__ import annotations

import os
import shutil

import tensorflow as tf

from vitgan_tf.images import to_uint8

MEAN_STYLE_SAMPLES = 10_000
IMAGES_PER_CHUNK = 64


class GeneratorModule(tf.Module):
    """What is saved: the generator, its mean style, and two functions.

    Args:
      generator: a built generator with `mapping`, `synthesize` and `latent_dim`.
      mean_style_seed: seed of the latents over whose styles the mean is taken.
    """

    def __init__(self, generator: tf.keras.Model, mean_style_seed: int = 0):
        super().__init__(name="vitgan_generator")
        # Its weights are saved, not its layers: each would be traced and saved as a function of its own.
        self._network = self._no_dependency(generator)
        self.generator_weights = generator.variables
        latents = tf.random.stateless_normal([MEAN_STYLE_SAMPLES, generator.latent_dim], [mean_style_seed, 0])
        mean_style = tf.reduce_mean(generator.mapping(latents), axis=0, keepdims=True)
        self.mean_style = tf.Variable(mean_style, trainable=False, name="mean_style")
        latents_spec = tf.TensorSpec([None, generator.latent_dim], tf.float32, name="latents")
        self.synthesize = tf.function(self._synthesize, input_signature=[latents_spec], autograph=False)
        self.generate = tf.function(
            self._generate,
            input_signature=[
                tf.TensorSpec([], tf.int32, name="num_images"),
                tf.TensorSpec([], tf.int32, name="seed"),
                tf.TensorSpec([], tf.float32, name="truncation"),
            ],
            autograph=False,
        )

    def _images(self, latents: tf.Tensor, truncation: tf.Tensor | float) -> tf.Tensor:
        styles = self.mean_style + truncation * (self._network.mapping(latents) - self.mean_style)
        return tf.clip_by_value(self._network.synthesize(styles), -1.0, 1.0)

    def _synthesize(self, latents: tf.Tensor) -> dict[str, tf.Tensor]:
        """latents (batch, latent_dim), from N(0, I) -> {"images": float32 in [-1, 1]}."""
        return {"images": self._images(latents, 1.0)}

    def _generate(self, num_images: tf.Tensor, seed: tf.Tensor, truncation: tf.Tensor) -> dict[str, tf.Tensor]:
        """num_images, seed, truncation psi -> {"images": uint8}; w' = mean + psi * (w - mean), 1 for no truncation.

        The same seed gives the same images; an image does not depend on how many follow it.
        """
        chunks = -(-num_images // IMAGES_PER_CHUNK)

        def chunk(index: tf.Tensor) -> tf.Tensor:
            latents = tf.random.stateless_normal(
                [IMAGES_PER_CHUNK, self._network.latent_dim], tf.stack([seed, index])
            )
            return to_uint8(self._images(latents, truncation))

        images = tf.map_fn(chunk, tf.range(chunks), fn_output_signature=tf.uint8, parallel_iterations=1)
        shape = images.shape[2:]
        return {"images": tf.reshape(images, [-1, *shape])[:num_images]}


def export_generator(generator: tf.keras.Model, path: str) -> None:
    """Writes a generator as a SavedModel folder, whole or not at all.

    Signatures, all results under the key "images":
      serving_default: latents (batch, latent_dim) float32, from N(0, I) -> (batch, size, size, channels) float32
        in [-1, 1].
      generate: num_images int32, seed int32, truncation float32 -> (num_images, size, size, channels) uint8.
    The loaded object has the same two as `synthesize` and `generate`, and the `mean_style`, (1, style_dim).

    Args:
      generator: a built generator; usually the moving average.
      path: of the folder; replaced if it exists.
    """
    module = GeneratorModule(generator)
    partial_path = path + ".partial"
    shutil.rmtree(partial_path, ignore_errors=True)
    tf.saved_model.save(
        module,
        partial_path,
        signatures={"serving_default": module.synthesize, "generate": module.generate},
    )
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial_path, path)
