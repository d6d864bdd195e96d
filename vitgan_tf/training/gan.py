"""The GAN as a Keras model: one training step of both networks."""

from __future__ import annotations

import tensorflow as tf

from vitgan_tf import losses
from vitgan_tf.augment import diff_augment
from vitgan_tf.config import ExperimentConfig
from vitgan_tf.layers.kernels import compiled_kernels
from vitgan_tf.training.ema import ema_beta, update_ema
from vitgan_tf.training.metrics import Maximum
from vitgan_tf.training.optimizer import build_optimizer


class GAN(tf.keras.Model):
    """Generator, discriminator and the generator's moving average, trained with `compile` and `fit`.

    A step updates the discriminator on a batch of real images, as many generated ones and a second augmented
    view of both, all in one pass (an R1 penalty, where due, takes a further pass over the real views); then the
    generator, through the updated discriminator, with fresh latents; then the moving average. It draws every random
    number from (seed, step, replica): the same step always does the same, whether or not the run was interrupted
    before it.

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
        # LeCam's moving averages of the mean logits, a_R and a_F.
        self.real_logit_average, self.fake_logit_average = (
            tf.Variable(0.0, trainable=False, name=name, aggregation=tf.VariableAggregation.MEAN)
            for name in ("real_logit_average", "fake_logit_average")
        )
        self._metrics_by_name = {name: _metric(name) for name in _metric_names(config)}

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
        """All state: networks, spectral-norm vectors, moving average, optimisers, LeCam's averages and step."""
        return tf.train.Checkpoint(
            generator=self.generator,
            discriminator=self.discriminator,
            ema_generator=self.ema_generator,
            generator_optimizer=self.generator_optimizer,
            discriminator_optimizer=self.discriminator_optimizer,
            real_logit_average=self.real_logit_average,
            fake_logit_average=self.fake_logit_average,
            step=self.step,
        )

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        return list(self._metrics_by_name.values())

    def call(self, latents: tf.Tensor) -> tf.Tensor:
        """Latents (batch, latent_dim) -> images of the moving average."""
        return self.ema_generator(latents, training=False)

    def train_step(self, real_images: tf.Tensor) -> dict[str, tf.Tensor]:
        """One update of both networks.

        Returns:
          Means since the metrics were last reset: adversarial losses, logits, the unweighted regularisers that are
          configured, and the global norms of the two gradients, also their maxima.
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
        for name, metric in self._metrics_by_name.items():
            weight = values["r1_weight"] if name == "r1" else None
            metric.update_state(values[name.replace("_max", "")], sample_weight=weight)
        return {name: metric.result() for name, metric in self._metrics_by_name.items()}

    def _step_seeds(self, count: int) -> tf.Tensor:
        """Seeds of this step on this replica, (count, 2)."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.stack([self.config.train.seed, replica])
        step_seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(self.step, tf.int32))
        return tf.random.experimental.stateless_split(step_seed, count)

    def _generate(self, batch_size: int, seed: tf.Tensor, training: bool) -> tf.Tensor:
        latents = tf.random.stateless_normal([batch_size, self.generator.latent_dim], seed)
        noise_seed = tf.random.experimental.stateless_fold_in(seed, 1)
        return self.generator(latents, training=training, noise_seed=noise_seed)

    def _augment(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return diff_augment(images, self.config.augment.policy, self.config.augment.probability, seed)

    def _discriminator_step(
        self, real_images: tf.Tensor, latent_seed: tf.Tensor, augment_seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        loss_config = self.config.loss
        # In inference mode: a spectral norm's power iteration moves once per step, in the network's own update.
        fake_images = self._generate(real_images.shape[0], latent_seed, training=False)
        use_bcr = _uses_bcr(self.config)
        images = tf.concat([real_images, fake_images] * (2 if use_bcr else 1), axis=0)
        views = self._augment(images, augment_seed)
        variables = self.discriminator.trainable_variables
        values = {}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss = tf.zeros([])
            if loss_config.r1_gamma > 0:
                # Before the pass in which the power iterations move, so that both passes see the same weights.
                values["r1"], values["r1_weight"] = self._lazy_r1(views[: real_images.shape[0]])
                loss += loss_config.r1_gamma / 2 * values["r1_weight"] * values["r1"]
            logits = tf.split(self.discriminator(views, training=True), 4 if use_bcr else 2)
            real_logits, fake_logits = logits[:2]
            values["d_loss"] = losses.ADVERSARIAL_LOSSES[loss_config.adversarial][0](real_logits, fake_logits)
            loss += values["d_loss"]
            if use_bcr:
                values["bcr_real"] = losses.consistency_loss(real_logits, logits[2])
                values["bcr_fake"] = losses.consistency_loss(fake_logits, logits[3])
                loss += loss_config.bcr_lambda_real * values["bcr_real"]
                loss += loss_config.bcr_lambda_fake * values["bcr_fake"]
            if loss_config.lecam_lambda > 0:
                averages = self._move_logit_averages(real_logits, fake_logits)
                values["lecam"] = losses.lecam_loss(real_logits, fake_logits, *averages)
                loss += loss_config.lecam_lambda * values["lecam"]
        gradients = tape.gradient(loss, variables)
        self.discriminator_optimizer.apply_gradients(zip(gradients, variables))
        values["real_logits"] = tf.reduce_mean(real_logits)
        values["fake_logits"] = tf.reduce_mean(fake_logits)
        values["d_gradient_norm"] = tf.linalg.global_norm(gradients)
        return values

    def _lazy_r1(self, real_views: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """R1 penalty and its weight: the interval in every r1_every_steps-th step; in the others both are 0.

        The weight keeps the mean strength what it would be at every step (Karras et al. 2020, section 3.1, "lazy
        regularization").
        """

        def penalty() -> tf.Tensor:
            # The compiled kernels' gradients by hand cannot be differentiated again inside tf.cond.
            with compiled_kernels(False), tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(real_views)
                logits = self.discriminator(real_views, training=False)
            return losses.r1_penalty(tape.gradient(logits, real_views))

        interval = self.config.loss.r1_every_steps
        if interval == 1:
            return penalty(), tf.ones([])
        due = self.step % interval == 0
        return tf.cond(due, penalty, lambda: tf.zeros([])), tf.where(due, float(interval), 0.0)

    def _move_logit_averages(self, real_logits: tf.Tensor, fake_logits: tf.Tensor) -> list[tf.Tensor]:
        """Takes the means of this batch into LeCam's averages, and returns these."""
        decay = self.config.loss.lecam_decay
        averages = []
        for average, logits in ((self.real_logit_average, real_logits), (self.fake_logit_average, fake_logits)):
            mean = tf.reduce_mean(tf.stop_gradient(logits))
            average.assign(decay * average + (1.0 - decay) * mean)
            averages.append(tf.convert_to_tensor(average))
        return averages

    def _generator_step(
        self, batch_size: int, latent_seed: tf.Tensor, augment_seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            views = self._augment(self._generate(batch_size, latent_seed, training=True), augment_seed)
            logits = self.discriminator(views, training=False)
            loss = losses.ADVERSARIAL_LOSSES[self.config.loss.adversarial][1](logits)
        gradients = tape.gradient(loss, variables)
        self.generator_optimizer.apply_gradients(zip(gradients, variables))
        return {"g_loss": loss, "g_gradient_norm": tf.linalg.global_norm(gradients)}


def _uses_bcr(config: ExperimentConfig) -> bool:
    return config.loss.bcr_lambda_real > 0 or config.loss.bcr_lambda_fake > 0


def _metric_names(config: ExperimentConfig) -> list[str]:
    names = ["d_loss", "g_loss", "real_logits", "fake_logits"]
    names += ["bcr_real", "bcr_fake"] if _uses_bcr(config) else []
    names += ["r1"] if config.loss.r1_gamma > 0 else []
    names += ["lecam"] if config.loss.lecam_lambda > 0 else []
    norms = ["d_gradient_norm", "g_gradient_norm"]
    return names + norms + [f"{name}_max" for name in norms]


def _metric(name: str) -> tf.keras.metrics.Metric:
    return Maximum(name) if name.endswith("_max") else tf.keras.metrics.Mean(name)
