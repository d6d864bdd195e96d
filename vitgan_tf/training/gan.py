"""The GAN as a Keras model: one training step of both networks."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from vitgan_tf import losses
from vitgan_tf.augment import diff_augment
from vitgan_tf.config import ExperimentConfig
from vitgan_tf.layers.kernels import compiled_kernels
from vitgan_tf.layers.spectral import move_power_iterations, normalized_layers
from vitgan_tf.randomness import Places, draw_rows
from vitgan_tf.training.ema import ema_beta, update_ema
from vitgan_tf.training.metrics import Maximum
from vitgan_tf.training.optimizer import build_optimizer


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
        # All replicas add 1 to the same step: any one of the copies may be kept.
        self.step = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            name="step",
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        # What makes the random numbers of a run that went back to a checkpoint others than before.
        self.attempt = tf.Variable(
            0,
            dtype=tf.int32,
            trainable=False,
            name="attempt",
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        # Updates that were left out since the last one that was not.
        self.skipped_in_a_row = self._last_of_a_step("skipped_in_a_row", [], tf.int32)
        # Of each variable, in the last step.
        self.gradient_norms = {
            name: self._last_of_a_step(name, [len(network.trainable_variables)])
            for name, network in (("d_gradient_norm", discriminator), ("g_gradient_norm", generator))
        }
        # LeCam's moving averages of the mean logits, a_R and a_F.
        self.real_logit_average, self.fake_logit_average = (
            tf.Variable(0.0, trainable=False, name=name, aggregation=tf.VariableAggregation.MEAN)
            for name in ("real_logit_average", "fake_logit_average")
        )
        self._uses_path_lengths = config.loss.path_length_weight > 0
        # Of the generator's path lengths: a.
        self.path_length_average = tf.Variable(
            0.0, trainable=False, name="path_length_average", aggregation=tf.VariableAggregation.MEAN
        )
        self._generator_norms, self._discriminator_norms = map(normalized_layers, (generator, discriminator))
        self._metrics_by_name = {name: _metric(name) for name in _metric_names(config)}

    @staticmethod
    def _last_of_a_step(name: str, shape: list[int], dtype: tf.DType = tf.float32) -> tf.Variable:
        """What a step leaves for who asks after it; all replicas compute the same. No state: not in checkpoints."""
        return tf.Variable(
            tf.zeros(shape, dtype),
            trainable=False,
            name=name,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

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
            **({"path_length_average": self.path_length_average} if self._uses_path_lengths else {}),
        )
        # Made now: of several processes one alone saves, and variables are made by all of them together.
        checkpoint.save_counter  # noqa: B018
        return checkpoint

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        return list(self._metrics_by_name.values())

    def call(self, latents: tf.Tensor) -> tf.Tensor:
        """Latents (batch, latent_dim) -> images of the moving average."""
        return self.ema_generator(latents, training=False)

    # Nothing here is Python control flow over tensors: to look for it in every layer is a third of the tracing.
    @tf.autograph.experimental.do_not_convert
    def train_step(self, real_images: tf.Tensor) -> dict[str, tf.Tensor]:
        """One update of both networks.

        Args:
          real_images: this replica's share of the batch.

        Returns:
          Means since the metrics were last reset, over all replicas: adversarial losses, logits, the unweighted
          regularisers that are configured, and the global norms of the two gradients, also their maxima.
        """
        seeds = tf.unstack(self._step_seeds(4))
        with compiled_kernels(self._uses_kernels):
            values = self._discriminator_step(real_images, *seeds[:2])
            # Otherwise TensorFlow would draw the generator's images before, and keep their activations.
            with tf.control_dependencies(list(values.values())):
                seeds = list(map(tf.identity, seeds))
            values.update(self._generator_step(real_images.shape[0], *seeds[2:]))
        train = self.config.train
        images_seen = self.step * train.batch_size
        beta = ema_beta(images_seen, train.batch_size, train.ema_halflife_kimg, train.ema_rampup)
        update_ema(self.ema_generator, self.generator, beta)
        self.step.assign_add(1)
        if train.on_nan == "skip":
            values = self._without_skipped(values)
        for name, metric in self._metrics_by_name.items():
            metric.update_state(values[name.replace("_max", "")], sample_weight=values.get(f"{name}_weight"))
        return {name: metric.result() for name, metric in self._metrics_by_name.items()}

    def _without_skipped(self, values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Values and weights for the metrics, where those that are not finite have weight 0; counts skipped steps."""
        has_skipped = values["d_gradient_norm_weight"] * values["g_gradient_norm_weight"] < 1.0
        self.skipped_in_a_row.assign(tf.where(has_skipped, self.skipped_in_a_row + 1, 0))
        result = {}
        for name in dict.fromkeys(name.replace("_max", "") for name in self._metrics_by_name):
            is_finite = tf.math.is_finite(values[name])
            result[name] = tf.where(is_finite, values[name], 0.0)
            result[f"{name}_weight"] = tf.where(is_finite, values.get(f"{name}_weight", 1.0), 0.0)
        return result

    def _step_seeds(self, count: int) -> tf.Tensor:
        """Seeds of this step, (count, 2), the same on all replicas: see `_places`."""
        seed = tf.stack([self.config.train.seed, self.attempt])
        step_seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(self.step, tf.int32))
        return tf.random.experimental.stateless_split(step_seed, count)

    def _places(self, share: int, num_views: int = 1) -> Places:
        """Of this replica's images in the batch of all replicas, or in one that holds that batch several times.

        Args:
          share: images of a replica.
          num_views: how often the batch is held, one time after the other.
        """
        total = share * tf.distribute.get_strategy().num_replicas_in_sync
        first = tf.distribute.get_replica_context().replica_id_in_sync_group * share
        indices = total * tf.range(num_views)[:, None] + first + tf.range(share)
        return Places(tf.reshape(indices, [-1]), num_views * total)

    def _parts(self, share: int) -> int:
        """In how many parts a replica's share is worked on."""
        size = self._microbatch or share
        if share % size:
            raise ValueError(f"a replica's share of {share} images is not a multiple of the microbatch {size}")
        return share // size

    def _latents(self, share: int, seed: tf.Tensor, places: Places) -> tf.Tensor:
        shape = [share, self.generator.latent_dim]
        return draw_rows(lambda shape: tf.random.stateless_normal(shape, seed), shape, places)

    def _drawn(self, latents: tf.Tensor, seed: tf.Tensor, places: Places) -> tf.Tensor:
        """The generator's images, with noise from the seed of the latents, and mixed styles where that is wanted."""
        options = {
            "training": self.generator.uses_batch_statistics,
            "noise_seed": tf.random.experimental.stateless_fold_in(seed, 1),
            "places": places,
        }
        if self.config.loss.style_mixing == 0:
            return self.generator(latents, **options)
        mixing_seeds = [tf.random.experimental.stateless_fold_in(seed, index) for index in (2, 3, 4)]
        styles = self._mixed_styles(latents, mixing_seeds, places)
        return self.generator.synthesize(styles, **options)

    def _mixed_styles(self, latents: tf.Tensor, seeds: list[tf.Tensor], places: Places) -> tf.Tensor:
        """Styles (batch, num_styles, style_dim): of some images, those of other latents from a random place on.

        See Karras et al. 2019, section 3.1.
        """
        batch_size, num_styles = latents.shape[0], self.generator.num_styles
        others = draw_rows(lambda shape: tf.random.stateless_normal(shape, seeds[0]), [*latents.shape], places)
        chance = draw_rows(lambda shape: tf.random.stateless_uniform(shape, seeds[1]), [batch_size], places)
        cutoff = draw_rows(
            lambda shape: tf.random.stateless_uniform(shape, seeds[2], 1, num_styles, tf.int32), [batch_size], places
        )
        cutoff = tf.where(chance < self.config.loss.style_mixing, cutoff, num_styles)
        is_first = tf.range(num_styles)[:, None] < cutoff[:, None, None]  # (batch, num_styles, 1)
        return tf.where(is_first, *(self.generator.mapping(z)[:, None] for z in (latents, others)))

    def _augment(self, images: tf.Tensor, seed: tf.Tensor, places: Places) -> tf.Tensor:
        return diff_augment(images, self.config.augment.policy, self.config.augment.probability, seed, places)

    def _gradients(
        self,
        loss_of: Callable[[tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]],
        names: list[str],
        variables: list[tf.Variable],
        optimizer: tf.keras.optimizers.Optimizer,
        num_parts: int,
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """Gradient of the mean loss over all parts and replicas, the same on all replicas; values of this one.

        The parts are worked on one after the other, so that memory holds the activations of one.

        Args:
          loss_of: number of a part -> mean loss of its images, and scalars to be averaged.
          names: of these scalars.
          variables: of the network, all of which the loss depends on.
          optimizer: may scale the loss.
          num_parts: parts of a replica's share.
        """
        replica_context = tf.distribute.get_replica_context()
        scales = isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        share = 1.0 / (num_parts * replica_context.num_replicas_in_sync)

        def part(index: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                loss, values = loss_of(index)
                loss *= share  # the parts and the replicas are summed up
                loss = optimizer.get_scaled_loss(loss) if scales else loss
            return tape.gradient(loss, variables), [values[name] / num_parts for name in names]

        if num_parts == 1:
            gradients, values = part(tf.constant(0))
        else:

            def add_part(index: tf.Tensor, gradients: list[tf.Tensor], values: list[tf.Tensor]) -> tuple:
                added = tf.nest.map_structure(tf.add, (gradients, values), part(index))
                return index + 1, *added

            zeros = [tf.zeros(variable.shape) for variable in variables]
            _, gradients, values = tf.while_loop(
                lambda index, *_: index < num_parts,
                add_part,
                [tf.constant(0), zeros, [tf.zeros([])] * len(names)],
                parallel_iterations=1,
                maximum_iterations=num_parts,
            )
        if replica_context.num_replicas_in_sync > 1:
            gradients = replica_context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if scales:
            gradients = optimizer.get_unscaled_gradients(gradients)
        return gradients, dict(zip(names, values))

    def _apply(
        self,
        optimizer: tf.keras.optimizers.Optimizer,
        gradients: list[tf.Tensor],
        variables: list[tf.Variable],
        name: str,
    ) -> dict[str, tf.Tensor]:
        """Updates the variables; returns the norm of the gradients under a name, and its weight as a metric."""
        optimizer.apply_gradients(zip(gradients, variables), skip_gradients_aggregation=True)
        norms = tf.sqrt(2.0 * tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients]))
        self.gradient_norms[name].assign(norms)
        norm, weight = tf.norm(norms), tf.ones([])
        scales = isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        if scales or self.config.train.on_nan == "skip":
            # With a scale that was too large, the step is left out too, and the next one tries a smaller one.
            is_finite = tf.math.is_finite(norm)
            norm, weight = tf.where(is_finite, norm, 0.0), tf.cast(is_finite, tf.float32)
        return {name: norm, f"{name}_weight": weight}

    def _discriminator_step(
        self, real_images: tf.Tensor, latent_seed: tf.Tensor, augment_seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        loss_config = self.config.loss
        share = real_images.shape[0]
        num_parts = self._parts(share)
        num_views = loss_config.num_views
        fake_images = self._fake_images(share, latent_seed, num_parts)
        images = tf.concat([real_images, fake_images] * (num_views // 2), axis=0)
        views = self._augment(images, augment_seed, self._places(share, num_views))
        # (parts, views of a part, ...): of each part its real images, its generated ones, and both again.
        views = tf.reshape(views, [num_views, num_parts, share // num_parts, *images.shape[1:]])
        views = tf.reshape(tf.transpose(views, [1, 0, 2, 3, 4, 5]), [num_parts, -1, *images.shape[1:]])
        uses_lecam = loss_config.lecam_lambda > 0
        # The loss of every image depends on the mean logits of all: those of all parts are computed beforehand.
        averages = self._move_logit_averages(*self._mean_logits(views)) if uses_lecam and num_parts > 1 else None

        def loss_of(part: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            values, loss = {}, tf.zeros([])
            if loss_config.r1_gamma > 0:
                values["r1"], values["r1_weight"] = self._lazy_r1(views[part][: share // num_parts])
                loss += loss_config.r1_gamma / 2 * values["r1_weight"] * values["r1"]
            logits = tf.split(self.discriminator(views[part], training=False), num_views)
            real_logits, fake_logits = logits[:2]
            values["d_loss"] = losses.ADVERSARIAL_LOSSES[loss_config.adversarial][0](real_logits, fake_logits)
            loss += values["d_loss"]
            if loss_config.uses_bcr:
                values["bcr_real"] = losses.consistency_loss(real_logits, logits[2])
                values["bcr_fake"] = losses.consistency_loss(fake_logits, logits[3])
                loss += loss_config.bcr_lambda_real * values["bcr_real"]
                loss += loss_config.bcr_lambda_fake * values["bcr_fake"]
            values["real_logits"] = tf.reduce_mean(real_logits)
            values["fake_logits"] = tf.reduce_mean(fake_logits)
            if uses_lecam:
                now = averages or self._move_logit_averages(values["real_logits"], values["fake_logits"])
                values["lecam"] = losses.lecam_loss(real_logits, fake_logits, *now)
                loss += loss_config.lecam_lambda * values["lecam"]
            return loss, values

        names = [name for name in _metric_names(self.config) if not name.startswith(("d_grad", "g_", "path_"))]
        names += ["r1_weight"] if loss_config.r1_gamma > 0 else []
        optimizer, variables = self.discriminator_optimizer, self.discriminator.trainable_variables
        gradients, values = self._gradients(loss_of, names, variables, optimizer, num_parts)
        move_power_iterations(self._discriminator_norms)
        return {**values, **self._apply(optimizer, gradients, variables, "d_gradient_norm")}

    def _fake_images(self, share: int, seed: tf.Tensor, num_parts: int) -> tf.Tensor:
        """Images of the generator as it is, (share, height, width, channels), drawn part by part."""
        places = self._places(share)
        latents = self._latents(share, seed, places)
        if num_parts == 1:
            return self._drawn(latents, seed, places)

        def draw(part: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            return self._drawn(part[0], seed, Places(part[1], places.total))

        parts = [tf.reshape(rows, [num_parts, -1, *rows.shape[1:]]) for rows in (latents, places.indices)]
        images = tf.map_fn(draw, tuple(parts), parallel_iterations=1, fn_output_signature=tf.float32)
        return tf.reshape(images, [share, *images.shape[2:]])

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

        variables = self.discriminator.trainable_variables
        (value,), weight = self._lazily(lambda: [penalty()], 1, variables, self.config.loss.r1_every_steps)
        return value, weight

    def _lazy_path_length(
        self, latents: tf.Tensor, seed: tf.Tensor, places: Places
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Path length penalty, mean path length, and their weight, as of `_lazy_r1`.

        The average that lengths are compared with is that of the steps before: the same for all parts of the batch.
        """

        def penalty_and_length() -> list[tf.Tensor]:
            noise_seed, direction_seed = (tf.random.experimental.stateless_fold_in(seed, index) for index in (1, 5))
            with compiled_kernels(False), tf.GradientTape(watch_accessed_variables=False) as tape:
                styles = tf.tile(self.generator.mapping(latents)[:, None], [1, self.generator.num_styles, 1])
                tape.watch(styles)
                images = self.generator.synthesize(styles, noise_seed=noise_seed, places=places)
                shape = [latents.shape[0], *images.shape[1:]]
                directions = draw_rows(lambda shape: tf.random.stateless_normal(shape, direction_seed), shape, places)
                product = tf.reduce_sum(images * directions) / images.shape[1]
            lengths = losses.path_lengths(tape.gradient(product, styles))
            return [losses.path_length_penalty(lengths, self.path_length_average), tf.reduce_mean(lengths)]

        variables, interval = self.generator.trainable_variables, self.config.loss.path_length_every_steps
        (value, length), weight = self._lazily(penalty_and_length, 2, variables, interval)
        return value, length, weight

    def _lazily(
        self, penalty: Callable[[], list[tf.Tensor]], num_values: int, variables: list[tf.Variable], interval: int
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Values in every interval-th step, and the interval, their weight; in the other steps all are 0.

        Args:
          penalty: computes the values; the first one can be differentiated by the variables.
          num_values: how many they are.
          variables: see penalty.
          interval: in steps.
        """
        if interval == 1:
            return penalty(), tf.ones([])

        def with_gradients() -> list[tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                values = penalty()
            unconnected = tf.UnconnectedGradients.ZERO
            return [*values, *tape.gradient(values[0], variables, unconnected_gradients=unconnected)]

        def nothing() -> list[tf.Tensor]:
            return [*[tf.zeros([])] * num_values, *(tf.zeros(variable.shape) for variable in variables)]

        # XLA refuses a condition that is differentiated from outside: its gradients are computed inside, and what
        # comes out is made a linear function that has them.
        due = self.step % interval == 0
        results = [tf.stop_gradient(result) for result in tf.cond(due, with_gradients, nothing)]
        values, gradients = results[:num_values], results[num_values:]
        for variable, gradient in zip(variables, gradients):
            values[0] += tf.reduce_sum(gradient * (variable - tf.stop_gradient(variable)))
        return values, tf.where(due, float(interval), 0.0)

    def _mean_logits(self, views: tf.Tensor) -> list[tf.Tensor]:
        """Means of this replica's logits of real and of generated images; views as in `_discriminator_step`."""

        def means(part: tf.Tensor) -> tf.Tensor:
            logits = tf.split(self.discriminator(part, training=False), self.config.loss.num_views)
            return tf.reduce_mean(tf.stack(logits[:2]), axis=1)

        parts = tf.map_fn(means, views, parallel_iterations=1, fn_output_signature=tf.float32)
        return tf.unstack(tf.reduce_mean(parts, axis=0))

    def _move_logit_averages(self, real_mean: tf.Tensor, fake_mean: tf.Tensor) -> list[tf.Tensor]:
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
        return averages

    def _generator_step(self, share: int, latent_seed: tf.Tensor, augment_seed: tf.Tensor) -> dict[str, tf.Tensor]:
        loss_config, num_parts = self.config.loss, self._parts(share)
        size = share // num_parts
        places = self._places(share)
        latents = self._latents(share, latent_seed, places)

        def loss_of(part: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            rows = part * size + tf.range(size)
            part_places = Places(tf.gather(places.indices, rows), places.total)
            part_latents, values = tf.gather(latents, rows), {}
            images = self._drawn(part_latents, latent_seed, part_places)
            logits = self.discriminator(self._augment(images, augment_seed, part_places), training=False)
            loss = values["g_loss"] = losses.ADVERSARIAL_LOSSES[loss_config.adversarial][1](logits)
            if self._uses_path_lengths:
                penalty, length, weight = self._lazy_path_length(part_latents, latent_seed, part_places)
                values.update(path_penalty=penalty, path_length=length, path_length_weight=weight)
                loss += loss_config.path_length_weight * weight * penalty
            return loss, values

        names = ["g_loss"]
        names += ["path_penalty", "path_length", "path_length_weight"] if self._uses_path_lengths else []
        optimizer, variables = self.generator_optimizer, self.generator.trainable_variables
        gradients, values = self._gradients(loss_of, names, variables, optimizer, num_parts)
        if self._uses_path_lengths:
            values["path_penalty_weight"] = values["path_length_weight"]
            self._move_path_length_average(values["path_length"], values["path_length_weight"])
        move_power_iterations(self._generator_norms)
        return {**values, **self._apply(optimizer, gradients, variables, "g_gradient_norm")}

    def _move_path_length_average(self, length: tf.Tensor, weight: tf.Tensor) -> None:
        """Each replica moves it by its own mean length; what all keep is the mean over the replicas."""
        average, decay = self.path_length_average, self.config.loss.path_length_decay
        is_counted = (weight > 0) & tf.math.is_finite(length)
        average.assign_add(tf.where(is_counted, decay * (length - average), 0.0))


def _metric_names(config: ExperimentConfig) -> list[str]:
    names = ["d_loss", "g_loss", "real_logits", "fake_logits"]
    names += ["bcr_real", "bcr_fake"] if config.loss.uses_bcr else []
    names += ["r1"] if config.loss.r1_gamma > 0 else []
    names += ["path_penalty", "path_length"] if config.loss.path_length_weight > 0 else []
    names += ["lecam"] if config.loss.lecam_lambda > 0 else []
    norms = ["d_gradient_norm", "g_gradient_norm"]
    return names + norms + [f"{name}_max" for name in norms]


def _metric(name: str) -> tf.keras.metrics.Metric:
    return Maximum(name) if name.endswith("_max") else tf.keras.metrics.Mean(name)
