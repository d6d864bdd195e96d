"""GAN as a Keras model, with the training step of both networks."""

from __future__ import annotations

import functools
from typing import Any, Callable

import tensorflow as tf

from vitgan_tf.augment import diff_augment
from vitgan_tf.config import ExperimentConfig
from vitgan_tf.layers.formulas import fused_ops
from vitgan_tf.randomness import NOISE, BatchRandom, ImageRandom
from vitgan_tf.training.ema import ema_beta, initial_average, update_ema
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
from vitgan_tf.training.plan import ExecutionPlan
from vitgan_tf.training.update import Measure, Update, merged

D_NORM, G_NORM = "d_gradient_norm", "g_gradient_norm"


class GAN(tf.keras.Model):
    """Generator, discriminator and moving average of the generator, trained with `compile` and `fit`.

    A step updates the discriminator, once or `train.discriminator_steps` times, then the generator through the
    updated discriminator with fresh latents, then the moving average. The discriminator sees real images, as many
    generated ones and, with bCR, a second augmented view of both, all in one pass; an R1 penalty, when due, takes
    another pass over the real views.

    The random numbers of the whole batch are drawn from (seed, attempt, step), and each replica takes those of its
    own images. A step therefore draws the same numbers after an interruption, on any number of replicas and in any
    number of parts.

    Under a `tf.distribute` strategy, create the model in its scope. Losses are divided by the number of replicas and
    gradients are summed. Variables stay equal on all replicas: gradients are shared, power iterations and moving
    averages start from equal weights, and LeCam's averages are averaged over the replicas.

    `fit` takes the real images of a step, float (images_per_step, image_size, image_size, num_channels) in [-1, 1]: a
    batch for each update of the discriminator, one after the other.
    `checkpoint` returns all state that is needed to resume.

    Args:
      generator: latents (batch, latent_dim) -> images; a `StyleGenerator`.
      discriminator: images -> logits (batch,).
      config: provides the settings of losses, augmentation and training.
    """

    def __init__(self, generator: tf.keras.Model, discriminator: tf.keras.Model, config: ExperimentConfig):
        super().__init__(name="gan")
        self.generator = generator
        self.discriminator = discriminator
        self.config = config
        self.ema_generator = initial_average(generator)
        # Equal on all replicas, so that any copy may be kept.
        counter = functools.partial(
            tf.Variable, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self.step = counter(0, dtype=tf.int64, name="step")
        # Incremented on rollback, so that retried steps draw new random numbers.
        self.attempt = counter(0, dtype=tf.int32, name="attempt")
        # Per-step diagnostic: consecutive steps with a skipped update; not checkpointed.
        self.skipped_in_a_row = counter(0, dtype=tf.int32, name="skipped_in_a_row")
        average = functools.partial(tf.Variable, 0.0, trainable=False, aggregation=tf.VariableAggregation.MEAN)
        # Moving averages of LeCam's mean logits, a_R and a_F, and of the generator's path lengths.
        self.real_logit_average = average(name="real_logit_average")
        self.fake_logit_average = average(name="fake_logit_average")
        # Sum of the weights of the batches in those averages: the rest is the zero at their start.
        self.logit_average_weight = average(name="logit_average_weight")
        self.path_length_average = average(name="path_length_average")
        self._d_objective = Objective(DISCRIMINATOR_TERMS, config.loss)
        self._g_objective = Objective(GENERATOR_TERMS, config.loss)
        norms = [D_NORM, G_NORM]
        self._step_metrics = StepMetrics([*self._d_objective.names, *self._g_objective.names, *norms], maxima=norms)

    def compile(self, plan: ExecutionPlan, **kwargs: Any) -> None:
        """Builds the optimisers.

        Args:
          plan: compilation, microbatches and steps per execution.
          **kwargs: passed to `tf.keras.Model.compile`.
        """
        super().compile(jit_compile=plan.compiles_step, steps_per_execution=plan.steps_per_execution, **kwargs)
        self.plan, train = plan, self.config.train
        optimizer = functools.partial(build_optimizer, config=train, scales_loss=plan.scales_loss)
        self.generator_optimizer = optimizer(train.generator_learning_rate, self.config.images_per_step)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer = optimizer(train.discriminator_learning_rate, train.batch_size)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        leaves_out = train.on_nan == "skip"
        self._update_discriminator = Update(
            self.discriminator, self.discriminator_optimizer, self._d_objective, D_NORM, leaves_out
        )
        self._update_generator = Update(
            self.generator, self.generator_optimizer, self._g_objective, G_NORM, leaves_out
        )

    def checkpoint(self) -> tf.train.Checkpoint:
        """Returns all state: networks, spectral-norm vectors, moving average, optimisers, loss averages, step."""
        further = {}
        if self.config.loss.path_length_weight > 0:
            further["path_length_average"] = self.path_length_average
        if self.config.loss.lecam_form == "authors":
            further["logit_average_weight"] = self.logit_average_weight
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
            **further,
        )
        # Created now, because all processes must create variables together, but only one of them saves.
        checkpoint.save_counter  # noqa: B018
        return checkpoint

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        return self._step_metrics.all

    @property
    def gradient_norms(self) -> dict[str, tf.Variable]:
        """Per-variable gradient norms of the last step, by the name of their global norm."""
        return {D_NORM: self._update_discriminator.gradient_norms, G_NORM: self._update_generator.gradient_norms}

    def call(self, latents: tf.Tensor, random: ImageRandom | None = None) -> tf.Tensor:
        """Maps latents (batch, latent_dim) to images with the moving average."""
        return self.ema_generator(latents, random if self.ema_generator.has_noise else None)

    # No Python control flow depends on tensors; searching every layer for it takes a third of the tracing time.
    @tf.autograph.experimental.do_not_convert
    def train_step(self, real_images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Updates the discriminator, the generator through it, and the moving average.

        Args:
          real_images: this replica's share of each batch of the step, one after the other.

        Returns:
          Means over all steps since the last reset and over all replicas: unweighted terms of both losses, logits and
          the global norms of both gradients; also the maxima of these norms.
        """
        batches = tf.split(real_images, self.config.train.discriminator_steps)
        parts = Parts(batches[0].shape[0], self.plan.microbatch)
        seeds = self._seeds_of_step()
        with fused_ops(self.plan.uses_kernels):
            d_measures = merged(
                self._discriminator_step(batch, parts, update, *seeds[2 * update : 2 * update + 2])
                for update, batch in enumerate(batches)
            )
            # Otherwise TensorFlow would begin the second update early, and keep its kernels and activations.
            before = [] if self.plan.overlaps_updates else [measure.value for measure in d_measures.values()]
            with tf.control_dependencies(before):
                g_measures = self._generator_step(batches[-1], parts, *seeds[-2:])
        update_ema(self.ema_generator, self.generator, self._ema_beta())
        self.step.assign_add(1)
        measures = {**d_measures, **g_measures}
        self._count_skipped(measures)
        return self._step_metrics.update(measures)

    def _discriminator_step(
        self, real_images: tf.Tensor, parts: Parts, update: int, latent_seed: tf.Tensor, augment_seed: tf.Tensor
    ) -> dict[str, Measure]:
        """Updates the discriminator by L_D, with all views of real and generated images in one pass.

        Args:
          real_images: this replica's share of a batch.
          parts: division of that share.
          update: number of this update in the step.
          latent_seed: (2,) integers.
          augment_seed: (2,) integers.
        """
        num_views = self.config.loss.num_views
        random = parts.random(latent_seed)
        fake_images = parts.map(lambda part: self._generate(parts.random_of_part(random, part)))
        images = tf.concat(([real_images, fake_images] * 2)[:num_views], axis=0)
        views = parts.split(self._augment(images, parts.random(augment_seed, num_views)), num_views)
        lecam = self._lecam(views)
        number = self.step * self.config.train.discriminator_steps + update

        def pass_of(part: tf.Tensor) -> DiscriminatorPass:
            own = parts.random_of_part(random, part)
            return DiscriminatorPass(self.discriminator, views[part], self.config.loss, number, own, lecam)

        return self._update_discriminator(pass_of, parts.count)

    def _generator_step(
        self, real_images: tf.Tensor, parts: Parts, latent_seed: tf.Tensor, augment_seed: tf.Tensor
    ) -> dict[str, Measure]:
        """Updates the generator by L_G through the updated discriminator, with fresh latents."""
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
        """Returns two seeds for each update, latents and augmentation: (2,) integers, equal on all replicas."""
        seed = tf.stack([self.config.train.seed, self.attempt])
        step_seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(self.step, tf.int32))
        count = 2 * (self.config.train.discriminator_steps + 1)
        return tf.unstack(tf.random.experimental.stateless_split(step_seed, count))

    def _generate(self, random: BatchRandom) -> tf.Tensor:
        """Generates images, (count, height, width, channels), with style mixing if configured."""
        generator, share = self.generator, self.config.loss.style_mixing
        latents = random.normal(generator.latent_dim)
        styles = generator.mixed_styles(latents, random, share) if share > 0 else generator.mapping(latents)
        options = {"use_batch_statistics": True} if generator.uses_batch_statistics else {}
        return generator.synthesize(styles, random=random.fork(NOISE), **options)

    def _augment(self, images: tf.Tensor, random: BatchRandom) -> tf.Tensor:
        return diff_augment(images, self.config.augment.policy, self.config.augment.probability, random)

    def _lecam(self, views: tf.Tensor) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Returns (mean real logit, mean fake logit) -> LeCam's averages, updated by this batch.

        Args:
          views: (parts, views of a part, ...).
        """
        if views.shape[0] == 1 or self.config.loss.lecam_lambda == 0:
            return self._move_logit_averages
        # Each image's loss depends on the mean logits of the whole batch, so all parts are evaluated beforehand.
        averages = self._move_logit_averages(*self._mean_logits(views))
        return lambda *_: averages

    def _mean_logits(self, views: tf.Tensor) -> list[tf.Tensor]:
        """Returns the mean logits of this replica's real and generated images."""

        def means(part: tf.Tensor) -> tf.Tensor:
            logits = tf.split(self.discriminator(part), self.config.loss.num_views)
            return tf.reduce_mean(tf.stack(logits[:2]), axis=1)

        parts = tf.map_fn(means, views, parallel_iterations=1, fn_output_signature=tf.float32)
        return tf.unstack(tf.reduce_mean(parts, axis=0))

    def _move_logit_averages(self, real_mean: tf.Tensor, fake_mean: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Updates LeCam's averages with this batch's mean logits, and returns them.

        Each replica uses the means of its own images; the stored averages are means over the replicas.
        """
        decay, means = self.config.loss.lecam_decay, tf.stop_gradient(tf.stack([real_mean, fake_mean]))
        # A batch whose update is skipped does not count.
        skips = self.config.train.on_nan == "skip"
        is_counted = tf.reduce_all(tf.math.is_finite(means)) if skips else tf.constant(True)
        averages = self.real_logit_average, self.fake_logit_average
        for average, mean in zip(averages, tf.unstack(means)):
            average.assign(tf.where(is_counted, decay * average + (1.0 - decay) * mean, average))
        if self.config.loss.lecam_form == "paper":
            return tf.convert_to_tensor(averages[0]), tf.convert_to_tensor(averages[1])
        weight = self.logit_average_weight
        weight.assign(tf.where(is_counted, decay * weight + (1.0 - decay), weight))
        return tf.math.divide_no_nan(averages[0], weight), tf.math.divide_no_nan(averages[1], weight)

    def _move_path_length_average(self, length: Measure) -> None:
        """Updates the path length average: each replica by its own mean; the mean over the replicas is stored."""
        average, decay = self.path_length_average, self.config.loss.path_length_decay
        is_counted = (length.weight > 0) & tf.math.is_finite(length.value)
        average.assign_add(tf.where(is_counted, decay * (length.value - average), 0.0))

    def _ema_beta(self) -> tf.Tensor:
        train = self.config.train
        return ema_beta(self.step * train.batch_size, train.batch_size, train.ema_halflife_kimg, train.ema_rampup)

    def _count_skipped(self, measures: dict[str, Measure]) -> None:
        """With train.on_nan=skip, counts the steps in a row with a skipped update."""
        if self.config.train.on_nan == "skip":
            updates = self.config.train.discriminator_steps + 1
            has_skipped = measures[D_NORM].weight + measures[G_NORM].weight < updates
            self.skipped_in_a_row.assign(tf.where(has_skipped, self.skipped_in_a_row + 1, 0))
