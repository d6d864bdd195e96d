"""One update of a network: all that knows of parts, replicas, loss scales and updates that are left out."""

from __future__ import annotations

from typing import Callable, NamedTuple

import tensorflow as tf

from vitgan_tf.layers.spectral import move_power_iterations, normalized_layers
from vitgan_tf.training.objectives import DiscriminatorPass, GeneratorPass, Objective


class Measure(NamedTuple):
    """A scalar of a step, and its weight in the mean over the steps."""

    value: tf.Tensor
    weight: tf.Tensor


class Update:
    """Moves a network's weights, and its power iterations, by an objective.

    Args:
      network: its trainable variables are moved; the objective depends on all of them.
      optimizer: may scale the loss, and may leave out an update that is not finite.
      objective: of a part of the batch.
      name: of the metric of the gradients' global norm.
      leaves_out: whether the optimizer leaves out an update that is not finite.
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
        # With a scale that was too large, the step is left out too, and the next one tries a smaller one.
        self._scales = isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        self._leaves_out = leaves_out or self._scales
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
        """One update by the mean loss over all parts and replicas.

        Args:
          pass_of: number of a part -> what the objective reads of it.
          num_parts: parts of a replica's share, worked on one after the other.

        Returns:
          The objective's terms, means over this replica's images, and the norm of the gradient of all replicas.
        """
        gradients, measures = self._gradients(pass_of, num_parts)
        move_power_iterations(self._normalized_layers)
        self.optimizer.apply_gradients(zip(gradients, self._variables), skip_gradients_aggregation=True)
        return {**measures, self._name: self._norm(gradients)}

    def _gradients(
        self, pass_of: Callable[[tf.Tensor], DiscriminatorPass | GeneratorPass], num_parts: int
    ) -> tuple[list[tf.Tensor], dict[str, Measure]]:
        context = tf.distribute.get_replica_context()
        replicas, names = context.num_replicas_in_sync, self._objective.names

        def part(index: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(self._variables)
                loss, terms = self._objective(pass_of(index))
                loss *= 1.0 / (num_parts * replicas)  # the parts and the replicas are summed up
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
        """Sums over the parts of the gradients and of the values."""

        def add_part(index: tf.Tensor, gradients: list[tf.Tensor], values: tf.Tensor) -> tuple:
            added = tf.nest.map_structure(tf.add, (gradients, values), part(index))
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
        """Global norm; where updates may be left out, 0 with weight 0 in those that are."""
        norms = tf.sqrt(2.0 * tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients]))
        self.gradient_norms.assign(norms)
        norm = tf.norm(norms)
        if not self._leaves_out:
            return Measure(norm, tf.ones([]))
        is_finite = tf.math.is_finite(norm)
        return Measure(tf.where(is_finite, norm, 0.0), tf.cast(is_finite, tf.float32))


def only_finite(measures: dict[str, Measure]) -> dict[str, Measure]:
    """Measures of a step in which an update may have been left out: what is not finite has weight 0."""
    result = {}
    for name, (value, weight) in measures.items():
        is_finite = tf.math.is_finite(value)
        result[name] = Measure(tf.where(is_finite, value, 0.0), tf.where(is_finite, weight, 0.0))
    return result
