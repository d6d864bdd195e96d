"""L_D and L_G as tables of named, weighted terms (paper, "Experiment Setup").

A loss is the weighted sum of its terms, and each term is a metric. Terms are computed if their configured weight is
above 0; watched terms are metrics only. The terms of a table are computed in order, from one part of the batch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

import tensorflow as tf

from vitgan_tf import losses
from vitgan_tf.config import LossConfig
from vitgan_tf.config.choices import ADVERSARIAL_LOSSES
from vitgan_tf.layers.formulas import input_gradient
from vitgan_tf.models.contrad import Contrast
from vitgan_tf.randomness import DIRECTION, INTERPOLATION, NOISE, BatchRandom
from vitgan_tf.training.lazy import lazily


class Value(NamedTuple):
    """Value of a term in a step.

    Attributes:
      value: a scalar, mean over the images.
      due: factor on the term's weight, 0 in steps that skip the term; also its weight in the mean over the steps.
    """

    value: tf.Tensor
    due: tf.Tensor | float = 1.0


@dataclasses.dataclass(frozen=True)
class Term:
    """Term of a loss.

    Attributes:
      value: `DiscriminatorPass` or `GeneratorPass` -> a scalar, mean over the images.
      weight: weight in the loss; terms of weight 0 are not computed.
      is_watched: the term is only a metric, not part of the loss; computed if its weight is above 0.
    """

    value: Callable[[Any], tf.Tensor | Value]
    weight: Callable[[LossConfig], float] = lambda loss: 1.0
    is_watched: bool = False


@dataclasses.dataclass
class DiscriminatorPass:
    """Inputs of the terms of L_D for one part of the batch.

    Attributes:
      discriminator: images -> logits.
      views: augmented images of the part: real, generated, with ContraD or bCR a second view of the real ones, and
        with bCR one of the generated ones.
      loss: configuration of the loss.
      number: number of this update in the run.
      random: random numbers of the part's generated images.
      lecam: (mean real logit, mean fake logit) -> LeCam's moving averages of both.
    """

    discriminator: tf.keras.Model
    views: tf.Tensor
    loss: LossConfig
    number: tf.Tensor
    random: BatchRandom
    lecam: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

    @functools.cached_property
    def contrast(self) -> Contrast:
        """Outputs of a contrastive discriminator for all views."""
        return self.discriminator.contrast(self.views)

    @functools.cached_property
    def logits(self) -> list[tf.Tensor]:
        """Logits of each view, from one pass."""
        logits = self.contrast.logits if self.loss.uses_contrad else self.discriminator(self.views)
        return tf.split(logits, self.loss.num_views)

    @property
    def real(self) -> tf.Tensor:
        """D(T(x))."""
        return self.logits[0]

    @property
    def fake(self) -> tf.Tensor:
        """D(T(G(z)))."""
        return self.logits[1]

    @property
    def real_again(self) -> tf.Tensor:
        """D(T'(x)), only with bCR."""
        return self.logits[2]

    @property
    def fake_again(self) -> tf.Tensor:
        """D(T'(G(z))), only with bCR."""
        return self.logits[3]

    @property
    def real_images(self) -> tf.Tensor:
        """T(x)."""
        return tf.split(self.views, self.loss.num_views)[0]

    @property
    def fake_images(self) -> tf.Tensor:
        """T(G(z))."""
        return tf.split(self.views, self.loss.num_views)[1]

    @functools.cached_property
    def means(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean logits of the real and of the generated images."""
        return tf.reduce_mean(self.real), tf.reduce_mean(self.fake)


@dataclasses.dataclass
class GeneratorPass:
    """Inputs of the terms of L_G for one part of the batch.

    Attributes:
      generator: latents -> images.
      logits_of_fake: () -> D(T(G(z))).
      logits_of_real: () -> D(T(x)), for losses that compare real and generated images.
      random: random numbers of the part's images, from which z is drawn.
      path_length_average: moving average of the generator's path lengths.
      loss: configuration of the loss.
      step: number of this step.
    """

    generator: tf.keras.Model
    logits_of_fake: Callable[[], tf.Tensor]
    logits_of_real: Callable[[], tf.Tensor]
    random: BatchRandom
    path_length_average: tf.Tensor
    loss: LossConfig
    step: tf.Tensor

    @functools.cached_property
    def path_length(self) -> tuple[Value, Value]:
        """Path length penalty and mean path length."""
        penalty = functools.partial(
            path_length_penalty_and_mean, self.generator, self.random, self.path_length_average
        )
        variables, interval = self.generator.trainable_variables, self.loss.path_length_every_steps
        values, due = lazily(penalty, 2, variables, self.step, interval)
        return Value(values[0], due), Value(values[1], due)


def r1(discriminator: tf.keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Computes `losses.r1_penalty` at images, (batch, height, width, channels); at generated ones, it is R2."""
    return losses.r1_penalty(input_gradient(discriminator, images))


def path_length_penalty_and_mean(
    generator: tf.keras.Model, random: BatchRandom, average: tf.Tensor
) -> list[tf.Tensor]:
    """Computes `losses.path_length_penalty` for a batch of latents, and the mean of its `losses.path_lengths`.

    The penalty uses the average of the previous steps, which is the same for all parts of the batch.
    """

    def projected(styles: tf.Tensor) -> tf.Tensor:
        images = generator.synthesize(styles, random=random.fork(NOISE))
        return tf.reduce_sum(images * random.fork(DIRECTION).normal(*images.shape[1:])) / images.shape[1]

    styles = generator.styles_by_place(generator.mapping(random.normal(generator.latent_dim)))
    lengths = losses.path_lengths(input_gradient(projected, styles))
    return [losses.path_length_penalty(lengths, average), tf.reduce_mean(lengths)]


def lazy_r1(d: DiscriminatorPass) -> Value:
    """Computes R1 on the real views every r1_every_steps updates of the discriminator."""
    return _lazily_on(d.real_images, d)


def lazy_r2(d: DiscriminatorPass) -> Value:
    """Computes R2, R1's penalty on the generated views, in the same updates."""
    return _lazily_on(d.fake_images, d)


def _lazily_on(images: tf.Tensor, d: DiscriminatorPass) -> Value:
    variables, interval = d.discriminator.trainable_variables, d.loss.r1_every_steps
    (value,), due = lazily(lambda: [r1(d.discriminator, images)], 1, variables, d.number, interval)
    return Value(value, due)


def gradient_penalty(d: DiscriminatorPass) -> tf.Tensor:
    """Computes `losses.gradient_penalty` at a random place between each real view and a generated one."""
    share = d.random.fork(INTERPOLATION).uniform(1, 1, 1)
    images = d.real_images + share * (d.fake_images - d.real_images)
    return losses.gradient_penalty(input_gradient(d.discriminator, images), d.loss.gradient_penalty_target)


def _simclr(d: DiscriminatorPass) -> tf.Tensor:
    """Computes `losses.simclr_loss` of the real images' two views."""
    real, _, real_again, *_ = tf.split(d.contrast.of_real, d.loss.num_views)
    return losses.simclr_loss(real, real_again, d.loss.contrad_temperature)


def _supervised_contrast(d: DiscriminatorPass) -> tf.Tensor:
    """Computes `losses.supervised_contrastive_loss` of the generated images."""
    real, fake, real_again, *_ = tf.split(d.contrast.of_fake, d.loss.num_views)
    return losses.supervised_contrastive_loss(real, real_again, fake, d.loss.contrad_temperature)


def _lecam(d: DiscriminatorPass) -> tf.Tensor:
    """Returns LeCam in the configured form."""
    formula = losses.rectified_lecam_loss if d.loss.lecam_form == "authors" else losses.lecam_loss
    return formula(d.real, d.fake, *d.lecam(*d.means))


def _generator_loss(g: GeneratorPass) -> tf.Tensor:
    adversarial = ADVERSARIAL_LOSSES[g.loss.adversarial]
    real = [g.logits_of_real()] if adversarial.compares else []
    return adversarial.generator(*real, g.logits_of_fake())


DISCRIMINATOR_TERMS: dict[str, Term] = {
    "r1": Term(lazy_r1, lambda loss: loss.r1_gamma / 2),
    "r2": Term(lazy_r2, lambda loss: loss.r2_gamma / 2),
    "gradient_penalty": Term(gradient_penalty, lambda loss: loss.gradient_penalty_weight),
    "drift": Term(lambda d: losses.drift_penalty(d.real), lambda loss: loss.drift_weight),
    "d_loss": Term(lambda d: ADVERSARIAL_LOSSES[d.loss.adversarial].discriminator(d.real, d.fake)),
    "bcr_real": Term(lambda d: losses.consistency_loss(d.real, d.real_again), lambda loss: loss.bcr_lambda_real),
    "bcr_fake": Term(lambda d: losses.consistency_loss(d.fake, d.fake_again), lambda loss: loss.bcr_lambda_fake),
    "simclr": Term(_simclr, lambda loss: loss.contrad_lambda_real),
    "supervised_contrast": Term(_supervised_contrast, lambda loss: loss.contrad_lambda_fake),
    "real_logits": Term(lambda d: d.means[0], is_watched=True),
    "fake_logits": Term(lambda d: d.means[1], is_watched=True),
    "lecam": Term(_lecam, lambda loss: loss.lecam_lambda),
}
GENERATOR_TERMS: dict[str, Term] = {
    "g_loss": Term(_generator_loss),
    "path_penalty": Term(lambda g: g.path_length[0], lambda loss: loss.path_length_weight),
    "path_length": Term(lambda g: g.path_length[1], lambda loss: loss.path_length_weight, is_watched=True),
}


class Objective:
    """Loss of one network: the terms of a table whose configured weight is above 0.

    Args:
      table: `DISCRIMINATOR_TERMS` or `GENERATOR_TERMS`.
      loss: provides the weights.
    """

    def __init__(self, table: Mapping[str, Term], loss: LossConfig):
        self._terms = {name: term for name, term in table.items() if term.weight(loss) > 0}
        self._loss = loss

    @property
    def names(self) -> list[str]:
        return list(self._terms)

    def __call__(self, images: DiscriminatorPass | GeneratorPass) -> tuple[tf.Tensor, dict[str, Value]]:
        """Returns the loss of one part of the batch and its unweighted terms."""
        values = {name: _as_value(term.value(images)) for name, term in self._terms.items()}
        weighted = [
            term.weight(self._loss) * values[name].due * values[name].value
            for name, term in self._terms.items()
            if not term.is_watched
        ]
        return tf.add_n(weighted), values


def _as_value(value: tf.Tensor | Value) -> Value:
    return value if isinstance(value, Value) else Value(value)
