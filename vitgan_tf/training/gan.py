"""The GAN as a Keras model: one training step of both networks."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Callable

import tensorflow as tf

from vitgan_tf.augment import diff_augment
from vitgan_tf.config import ExperimentConfig
from vitgan_tf.layers.formulas import fused_ops
from vitgan_tf.randomness import NOISE, BatchRandom
from vitgan_tf.training.ema import ema_beta, update_ema
from vitgan_tf.training.metrics import StepMetrics
from vitgan_tf.training.objectives import (
    DISCRIMINATOR_TERMS,
    GENERATOR_TERMS,
    DiscriminatorPass,
    GeneratorPass,
    Objective,
)
from vitgan_tf.training.optimizer import build_optimizer
from vitgan_tf.training.parts import Parts
from vitgan_tf.training.update import Measure, Update, only_finite

D_NORM, G_NORM = "d_gradient_norm", "g_gradient_norm"


class GAN(tf.keras.Model):
    """Generator, discriminator and the generator's moving average, trained with `compile` and `fit`.

    A step updates the discriminator on a batch of real images, as many generated ones and a second augmented
    view of both, all in one pass (an R1 penalty, where due, takes a further pass over the real views); then the
    generator, through the updated discriminator, with fresh latents; then the moving average. It draws the random
    numbers of the whole batch from (seed, step), and each replica takes those of its own images: the same step does
    the same, whether or not the run was interrupted before it, on any number of replicas, in any number of parts.

    Under a `tf.distribute` strategy, to be made in its scope, a replica's losses are divided by the number of
    replicas and the gradients summed up. All replicas' variables stay equal: they apply the same gradients, move
    their power iterations and moving averages from equal weights, and keep the mean of LeCam's averages.

    `fit` takes batches of real images, float (batch_size, image_size, image_size, num_channels) in [-1, 1]. All
    that a run needs to go on is in the object that `checkpoint` returns.

    Args:
      generator: latents (batch, latent_dim) -> images: a `StyleGenerator`.
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
        # All replicas compute the same: any one of the copies may be kept.
        counter = functools.partial(
            tf.Variable, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self.step = counter(0, dtype=tf.int64, name="step")
        # Incremented on rollback, so that retried steps draw new random numbers.
        self.attempt = counter(0, dtype=tf.int32, name="attempt")
        # Per-step diagnostic: updates left out since the last one that was not; not checkpointed.
        self.skipped_in_a_row = counter(0, dtype=tf.int32, name="skipped_in_a_row")
        average = functools.partial(tf.Variable, 0.0, trainable=False, aggregation=tf.VariableAggregation.MEAN)
        # LeCam's moving averages of the mean logits, a_R and a_F, and that of the generator's path lengths.
        self.real_logit_average = average(name="real_logit_average")
        self.fake_logit_average = average(name="fake_logit_average")
        self.path_length_average = average(name="path_length_average")
        self._d_objective = Objective(DISCRIMINATOR_TERMS, config.loss)
        self._g_objective = Objective(GENERATOR_TERMS, config.loss)
        norms = [D_NORM, G_NORM]
        self._step_metrics = StepMetrics([*self._d_objective.names, *self._g_objective.names, *norms], maxima=norms)

    def compile(self, xla: str = "off", microbatch: int = 0, **kwargs: Any) -> None:
        """Makes the optimisers.

        Args:
          xla: "full", "kernels" or "off": see `TrainConfig.xla`.
          microbatch: images that a replica works on at a time, 0 for its whole share of the batch.
          **kwargs: of `tf.keras.Model.compile`.
        """
        # TPU strategies compile every step by themselves.
        is_tpu = isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
        super().compile(jit_compile=xla == "full" and not is_tpu, **kwargs)
        self._uses_kernels = xla == "kernels"
        self._microbatch = microbatch
        train = self.config.train
        self.generator_optimizer = build_optimizer(train.generator_learning_rate, train)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer = build_optimizer(train.discriminator_learning_rate, train)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        leaves_out = train.on_nan == "skip"
        self._update_discriminator = Update(
            self.discriminator, self.discriminator_optimizer, self._d_objective, D_NORM, leaves_out
        )
        self._update_generator = Update(
            self.generator, self.generator_optimizer, self._g_objective, G_NORM, leaves_out
        )

    def checkpoint(self) -> tf.train.Checkpoint:
        """All state: networks, spectral-norm vectors, moving average, optimisers, averages of the losses, step."""
        checkpoint = tf.train.Checkpoint(
            generator=self.generator,
            discriminator=self.discriminator,
            ema_generator=self.ema_generator,
            generator_optimizer=self.generator_optimizer,
            discriminator_optimizer=self.discriminator_optimizer,
            real_logit_average=self.real_logit_average,
            fake_logit_average=self.fake_logit_average,
            step=self.step,
            attempt=self.attempt,
            **({"path_length_average": self.path_length_average} if self.config.loss.path_length_weight > 0 else {}),
        )
        # Made now: of several processes one alone saves, and variables are made by all of them together.
        checkpoint.save_counter  # noqa: B018
        return checkpoint

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        return self._step_metrics.all

    @property
    def gradient_norms(self) -> dict[str, tf.Variable]:
        """Norms of the last step's gradients by variable of the network, by the name of their global norm."""
        return {D_NORM: self._update_discriminator.gradient_norms, G_NORM: self._update_generator.gradient_norms}

    def call(self, latents: tf.Tensor) -> tf.Tensor:
        """Latents (batch, latent_dim) -> images of the moving average."""
        return self.ema_generator(latents)

    # Nothing here is Python control flow over tensors: to look for it in every layer is a third of the tracing.
    @tf.autograph.experimental.do_not_convert
    def train_step(self, real_images: tf.Tensor) -> dict[str, tf.Tensor]:
        """One update of both networks: the discriminator, the generator through it, the moving average.

        Args:
          real_images: this replica's share of the batch.

        Returns:
          Means since the metrics were last reset, over all replicas: the terms of both losses, not weighted, logits,
          and the global norms of the two gradients, also their maxima.
        """
        parts = Parts(real_images.shape[0], self._microbatch)
        seeds = self._seeds_of_step()
        with fused_ops(self._uses_kernels):
            d_measures = self._discriminator_step(real_images, parts, *seeds[:2])
            # Otherwise TensorFlow would draw the generator's images before, and keep their activations.
            seeds = _after(d_measures, seeds)
            g_measures = self._generator_step(real_images, parts, *seeds[2:])
        update_ema(self.ema_generator, self.generator, self._ema_beta())
        self.step.assign_add(1)
        return self._step_metrics.update(self._without_skipped({**d_measures, **g_measures}))

    def _discriminator_step(
        self, real_images: tf.Tensor, parts: Parts, latent_seed: tf.Tensor, augment_seed: tf.Tensor
    ) -> dict[str, Measure]:
        """L_D, on views of real and of generated images that all pass at once."""
        num_views = self.config.loss.num_views
        random = parts.random(latent_seed)
        fake_images = parts.map(lambda part: self._generate(parts.random_of_part(random, part)))
        images = tf.concat([real_images, fake_images] * (num_views // 2), axis=0)
        views = parts.split(self._augment(images, parts.random(augment_seed, num_views)), num_views)
        lecam = self._lecam(views)

        def pass_of(part: tf.Tensor) -> DiscriminatorPass:
            return DiscriminatorPass(self.discriminator, views[part], self.config.loss, self.step, lecam)

        return self._update_discriminator(pass_of, parts.count)

    def _generator_step(
        self, real_images: tf.Tensor, parts: Parts, latent_seed: tf.Tensor, augment_seed: tf.Tensor
    ) -> dict[str, Measure]:
        """L_G, through the updated discriminator, on fresh latents."""
        latent_random, augment_random = parts.random(latent_seed), parts.random(augment_seed)

        def pass_of(part: tf.Tensor) -> GeneratorPass:
            random, augment = (parts.random_of_part(each, part) for each in (latent_random, augment_random))

            def logits(images: tf.Tensor, random: BatchRandom) -> tf.Tensor:
                return self.discriminator(self._augment(images, random))

            return GeneratorPass(
                self.generator,
                logits_of_fake=lambda: logits(self._generate(random), augment),
                logits_of_real=lambda: logits(parts.split(real_images, 1)[part], augment.fork(0)),
                random=random,
                path_length_average=self.path_length_average,
                loss=self.config.loss,
                step=self.step,
            )

        measures = self._update_generator(pass_of, parts.count)
        if "path_length" in measures:
            self._move_path_length_average(measures["path_length"])
        return measures

    def _seeds_of_step(self) -> list[tf.Tensor]:
        """(2,) integers each, the same on all replicas: latents and augmentation of either update."""
        seed = tf.stack([self.config.train.seed, self.attempt])
        step_seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(self.step, tf.int32))
        return tf.unstack(tf.random.experimental.stateless_split(step_seed, 4))

    def _generate(self, random: BatchRandom) -> tf.Tensor:
        """The generator's images, (count, height, width, channels), with mixed styles where that is wanted."""
        generator, share = self.generator, self.config.loss.style_mixing
        latents = random.normal(generator.latent_dim)
        styles = generator.mixed_styles(latents, random, share) if share > 0 else generator.mapping(latents)
        options = {"use_batch_statistics": True} if generator.uses_batch_statistics else {}
        return generator.synthesize(styles, random=random.fork(NOISE), **options)

    def _augment(self, images: tf.Tensor, random: BatchRandom) -> tf.Tensor:
        return diff_augment(images, self.config.augment.policy, self.config.augment.probability, random)

    def _lecam(self, views: tf.Tensor) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Moves LeCam's averages by a batch's mean logits, and returns them; views: (parts, views of a part, ...)."""
        if views.shape[0] == 1 or self.config.loss.lecam_lambda == 0:
            return self._move_logit_averages
        # The loss of every image depends on the mean logits of all: those of all parts are computed beforehand.
        averages = self._move_logit_averages(*self._mean_logits(views))
        return lambda *_: averages

    def _mean_logits(self, views: tf.Tensor) -> list[tf.Tensor]:
        """Means of this replica's logits of real and of generated images."""

        def means(part: tf.Tensor) -> tf.Tensor:
            logits = tf.split(self.discriminator(part), self.config.loss.num_views)
            return tf.reduce_mean(tf.stack(logits[:2]), axis=1)

        parts = tf.map_fn(means, views, parallel_iterations=1, fn_output_signature=tf.float32)
        return tf.unstack(tf.reduce_mean(parts, axis=0))

    def _move_logit_averages(self, real_mean: tf.Tensor, fake_mean: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes the mean logits of this batch into LeCam's averages, and returns these.

        Each replica moves them by its own means; what all keep is the mean over the replicas, that of the batch.
        """
        decay = self.config.loss.lecam_decay
        averages = []
        for average, mean in ((self.real_logit_average, real_mean), (self.fake_logit_average, fake_mean)):
            mean = tf.stop_gradient(mean)
            if self.config.train.on_nan == "skip":
                mean = tf.where(tf.math.is_finite(mean), mean, average)
            average.assign(decay * average + (1.0 - decay) * mean)
            averages.append(tf.convert_to_tensor(average))
        return averages[0], averages[1]

    def _move_path_length_average(self, length: Measure) -> None:
        """Each replica moves it by its own mean length; what all keep is the mean over the replicas."""
        average, decay = self.path_length_average, self.config.loss.path_length_decay
        is_counted = (length.weight > 0) & tf.math.is_finite(length.value)
        average.assign_add(tf.where(is_counted, decay * (length.value - average), 0.0))

    def _ema_beta(self) -> tf.Tensor:
        train = self.config.train
        return ema_beta(self.step * train.batch_size, train.batch_size, train.ema_halflife_kimg, train.ema_rampup)

    def _without_skipped(self, measures: dict[str, Measure]) -> dict[str, Measure]:
        """Measures for the metrics; under train.on_nan=skip, counts the steps of which an update was left out."""
        if self.config.train.on_nan != "skip":
            return measures
        has_skipped = measures[D_NORM].weight * measures[G_NORM].weight < 1.0
        self.skipped_in_a_row.assign(tf.where(has_skipped, self.skipped_in_a_row + 1, 0))
        return only_finite(measures)


def _after(measures: dict[str, Measure], tensors: Iterable[tf.Tensor]) -> list[tf.Tensor]:
    """The same tensors, once all measures are computed."""
    with tf.control_dependencies([measure.value for measure in measures.values()]):
        return [tf.identity(tensor) for tensor in tensors]
