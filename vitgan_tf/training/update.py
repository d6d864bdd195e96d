"""Update of a network: handles parts, replicas, loss scaling and skipped updates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Callable, NamedTuple

import tensorflow as tf

from vitgan_tf.layers.spectral import move_power_iterations, normalized_layers
from vitgan_tf.training.objectives import DiscriminatorPass, GeneratorPass, Objective


class Measure(NamedTuple):
    """Scalar of an update or a step.

    Attributes:
      value: the scalar, or its mean over several updates.
      weight: its weight in the mean over the steps.
      largest: its maximum over several updates; None for a single one.
    """

    value: tf.Tensor
    weight: tf.Tensor
    largest: tf.Tensor | None = None


class Update:
    """Updates a network's weights by an objective, and advances its power iterations.

    Args:
      network: network whose trainable variables are updated; the objective depends on all of them.
      optimizer: may scale the loss and skip non-finite updates.
      objective: objective of one part of the batch.
      name: name of the metric for the global gradient norm.
      leaves_out: whether the optimizer skips non-finite updates.
    """

    def __init__(
        self,
        network: tf.keras.Model,
        optimizer: tf.keras.optimizers.Optimizer,
        objective: Objective,
        name: str,
        leaves_out: bool,
    ):
        self.optimizer = optimizer
        self._objective = objective
        self._variables = network.trainable_variables
        self._normalized_layers = normalized_layers(network)
        self._name = name
        # Loss scaling also skips a step whose scale was too large, and lowers the scale for the next one.
        self._scales = isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        self._leaves_out = leaves_out or self._scales
        self._only_finite = leaves_out
        # Per-step diagnostic: norms by variable, equal on all replicas, not checkpointed.
        self.gradient_norms = tf.Variable(
            tf.zeros([len(self._variables)]),
            trainable=False,
            name=name,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def __call__(
        self, pass_of: Callable[[tf.Tensor], DiscriminatorPass | GeneratorPass], num_parts: int
    ) -> dict[str, Measure]:
        """Updates the network once by the mean loss over all parts and replicas.

        Args:
          pass_of: number of a part -> inputs of the objective.
          num_parts: number of parts of a replica's share, processed one after the other.

        Returns:
          Terms of the objective, means over this replica's images, and the norm of the gradient over all replicas.
          With leaves_out, those that are not finite have no weight.
        """
        gradients, measures = self._gradients(pass_of, num_parts)
        move_power_iterations(self._normalized_layers)
        self.optimizer.apply_gradients(zip(gradients, self._variables), skip_gradients_aggregation=True)
        measures = {**measures, self._name: self._norm(gradients)}
        return only_finite(measures) if self._only_finite else measures

    def _gradients(
        self, pass_of: Callable[[tf.Tensor], DiscriminatorPass | GeneratorPass], num_parts: int
    ) -> tuple[list[tf.Tensor], dict[str, Measure]]:
        context = tf.distribute.get_replica_context()
        replicas, names = context.num_replicas_in_sync, self._objective.names

        def part(index: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(self._variables)
                loss, terms = self._objective(pass_of(index))
                loss *= 1.0 / (num_parts * replicas)  # gradients are summed over parts and replicas
                loss = self.optimizer.get_scaled_loss(loss) if self._scales else loss
            values = tf.stack([*(term.value for term in terms.values()), *(term.due for term in terms.values())])
            return tape.gradient(loss, self._variables), values / num_parts

        gradients, values = part(tf.constant(0)) if num_parts == 1 else self._sum(part, num_parts, 2 * len(names))
        if replicas > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self._scales:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        values, dues = tf.split(values, 2)
        return gradients, dict(zip(names, map(Measure, tf.unstack(values), tf.unstack(dues))))

    def _sum(self, part: Callable, num_parts: int, num_values: int) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Sums the gradients and the values over the parts."""

        def add_part(index: tf.Tensor, gradients: list[tf.Tensor], values: tf.Tensor) -> tuple:
            # Keeps TensorFlow from merging this addition with sums inside the gradient: its memory optimizer gives
            # merged sums a buffer that is not freed in a loop, and the second step fails.
            of_part = tf.nest.map_structure(lambda tensor: tf.ensure_shape(tensor, tensor.shape), part(index))
            added = tf.nest.map_structure(tf.add, (gradients, values), of_part)
            return index + 1, *added

        zeros = [tf.zeros(variable.shape) for variable in self._variables]
        _, gradients, values = tf.while_loop(
            lambda index, *_: index < num_parts,
            add_part,
            (tf.constant(0), zeros, tf.zeros([num_values])),
            parallel_iterations=1,
            maximum_iterations=num_parts,
        )
        return gradients, values

    def _norm(self, gradients: list[tf.Tensor]) -> Measure:
        """Returns the global gradient norm; if updates may be skipped, 0 with weight 0 for a skipped one."""
        norms = tf.sqrt(2.0 * tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients]))
        self.gradient_norms.assign(norms)
        norm = tf.norm(norms)
        if not self._leaves_out:
            return Measure(norm, tf.ones([]))
        is_finite = tf.math.is_finite(norm)
        return Measure(tf.where(is_finite, norm, 0.0), tf.cast(is_finite, tf.float32))


def merged(updates: Iterable[dict[str, Measure]]) -> dict[str, Measure]:
    """Returns the measures of a step with several updates of a network."""
    of_updates = list(updates)
    if len(of_updates) == 1:
        return of_updates[0]
    result = {}
    for name in of_updates[0]:
        values, weights = (
            tf.stack([getattr(measures[name], part) for measures in of_updates]) for part in ("value", "weight")
        )
        weight = tf.reduce_sum(weights)
        mean = tf.math.divide_no_nan(tf.reduce_sum(values * weights), weight)
        result[name] = Measure(mean, weight, tf.reduce_max(values))
    return result


def only_finite(measures: dict[str, Measure]) -> dict[str, Measure]:
    """Gives the non-finite measures of a step with a skipped update the value 0 and the weight 0."""
    result = {}
    for name, (value, weight, _) in measures.items():
        is_finite = tf.math.is_finite(value)
        result[name] = Measure(tf.where(is_finite, value, 0.0), tf.where(is_finite, weight, 0.0))
    return result
