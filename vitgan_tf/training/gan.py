"""The GAN as a Keras model: one training step of both networks."""

from __future__ import annotations

import tensorflow as tf

from vitgan_tf import losses
from vitgan_tf.augment import diff_augment
from vitgan_tf.config import ExperimentConfig
from vitgan_tf.layers.kernels import compiled_kernels
from vitgan_tf.training.ema import ema_beta, update_ema
from vitgan_tf.training.optimizer import build_optimizer

_METRICS = (
    "d_loss",
    "g_loss",
    "real_logits",
    "fake_logits",
    "bcr_real",
    "bcr_fake",
    "d_gradient_norm",
    "g_gradient_norm",
)


class GAN(tf.keras.Model):
    """Generator, discriminator and the generator's moving average, trained with `compile` and `fit`.

    A step updates the discriminator on a batch of real images, as many generated ones and a second augmented
    view of both, all in one pass; then the generator, through the updated discriminator, with fresh latents; then
    the moving average. It draws every random number from (seed, step, replica): the same step always does the
    same, whether or not the run was interrupted before it.

    `fit` takes batches of real images, float (batch_size, image_size, image_size, num_channels) in [-1, 1]. All
    that a run needs to go on is in the object that `checkpoint` returns.

    Args:
      generator: latents (batch, latent_dim) -> images; with a `latent_dim` and a `get_config`.
      discriminator: images -> logits (batch,).
      config: losses, augmentation and training are read from it.
    """

    def __init__(self, generator: tf.keras.Model, discriminator: tf.keras.Model, config: ExperimentConfig):
        super().__init__(name="gan")
        self.generator = generator
        self.discriminator = discriminator
        self.config = config
        self.ema_generator = type(generator).from_config({**generator.get_config(), "name": "ema_generator"})
        self.ema_generator.build((None, generator.latent_dim))
        self.ema_generator.set_weights(generator.get_weights())
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._means = {name: tf.keras.metrics.Mean(name=name) for name in _METRICS}

    def compile(self, xla: str = "off", **kwargs):
        """Makes the optimisers.

        Args:
          xla: "full", "kernels" or "off": see `TrainConfig.xla`.
          **kwargs: of `tf.keras.Model.compile`.
        """
        super().compile(jit_compile=xla == "full", **kwargs)
        self._uses_kernels = xla == "kernels"
        train = self.config.train
        self.generator_optimizer = build_optimizer(train.generator_learning_rate, train)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer = build_optimizer(train.discriminator_learning_rate, train)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)

    def checkpoint(self) -> tf.train.Checkpoint:
        """All state: networks, spectral-norm vectors, moving average, optimisers and step."""
        return tf.train.Checkpoint(
            generator=self.generator,
            discriminator=self.discriminator,
            ema_generator=self.ema_generator,
            generator_optimizer=self.generator_optimizer,
            discriminator_optimizer=self.discriminator_optimizer,
            step=self.step,
        )

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        return list(self._means.values())

    def call(self, latents: tf.Tensor) -> tf.Tensor:
        """Latents (batch, latent_dim) -> images of the moving average."""
        return self.ema_generator(latents, training=False)

    def train_step(self, real_images: tf.Tensor) -> dict[str, tf.Tensor]:
        """One update of both networks.

        Returns:
          Means since the metrics were last reset: losses (without bCR), logits, the two unweighted bCR terms,
          and the global norms of the two gradients.
        """
        seeds = tf.unstack(self._step_seeds(4))
        with compiled_kernels(self._uses_kernels):
            values = self._discriminator_step(real_images, *seeds[:2])
            values.update(self._generator_step(real_images.shape[0], *seeds[2:]))
        train = self.config.train
        images_seen = self.step * train.batch_size
        beta = ema_beta(images_seen, train.batch_size, train.ema_halflife_kimg, train.ema_rampup)
        update_ema(self.ema_generator, self.generator, beta)
        self.step.assign_add(1)
        for name, value in values.items():
            self._means[name].update_state(value)
        return {name: mean.result() for name, mean in self._means.items()}

    def _step_seeds(self, count: int) -> tf.Tensor:
        """Seeds of this step on this replica, (count, 2)."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.stack([self.config.train.seed, replica])
        step_seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(self.step, tf.int32))
        return tf.random.experimental.stateless_split(step_seed, count)

    def _generate(self, batch_size: int, seed: tf.Tensor) -> tf.Tensor:
        latents = tf.random.stateless_normal([batch_size, self.generator.latent_dim], seed)
        return self.generator(latents, training=True)

    def _augment(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return diff_augment(images, self.config.augment.policy, self.config.augment.probability, seed)

    def _discriminator_step(
        self, real_images: tf.Tensor, latent_seed: tf.Tensor, augment_seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        loss_config = self.config.loss
        fake_images = self._generate(real_images.shape[0], latent_seed)
        use_bcr = loss_config.bcr_lambda_real > 0 or loss_config.bcr_lambda_fake > 0
        images = tf.concat([real_images, fake_images] * (2 if use_bcr else 1), axis=0)
        views = self._augment(images, augment_seed)
        variables = self.discriminator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            logits = tf.split(self.discriminator(views, training=True), 4 if use_bcr else 2)
            real_logits, fake_logits = logits[:2]
            adversarial = losses.non_saturating_discriminator_loss(real_logits, fake_logits)
            loss = adversarial
            bcr_real = bcr_fake = tf.zeros([])
            if use_bcr:
                bcr_real = losses.consistency_loss(real_logits, logits[2])
                bcr_fake = losses.consistency_loss(fake_logits, logits[3])
                loss += loss_config.bcr_lambda_real * bcr_real + loss_config.bcr_lambda_fake * bcr_fake
        gradients = tape.gradient(loss, variables)
        self.discriminator_optimizer.apply_gradients(zip(gradients, variables))
        return {
            "d_loss": adversarial,
            "real_logits": tf.reduce_mean(real_logits),
            "fake_logits": tf.reduce_mean(fake_logits),
            "bcr_real": bcr_real,
            "bcr_fake": bcr_fake,
            "d_gradient_norm": tf.linalg.global_norm(gradients),
        }

    def _generator_step(
        self, batch_size: int, latent_seed: tf.Tensor, augment_seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            views = self._augment(self._generate(batch_size, latent_seed), augment_seed)
            # In inference mode: a spectral norm's power iteration moves once per step, in the other update.
            loss = losses.non_saturating_generator_loss(self.discriminator(views, training=False))
        gradients = tape.gradient(loss, variables)
        self.generator_optimizer.apply_gradients(zip(gradients, variables))
        return {"g_loss": loss, "g_gradient_norm": tf.linalg.global_norm(gradients)}
