"""The contrastive discriminator: losses against float64 references, what its heads let pass, and a naive step."""

import numpy as np
import pytest
import tensorflow as tf
from reference import losses as reference
from reference.comparison import assert_close
from support import small

from vitgan_tf import losses
from vitgan_tf.augment import diff_augment
from vitgan_tf.config import ConfigError, override
from vitgan_tf.data.loading import load_images
from vitgan_tf.errors import UserError
from vitgan_tf.models.build import build_discriminator
from vitgan_tf.presets import preset
from vitgan_tf.randomness import BatchRandom
from vitgan_tf.training.build import build_gan
from vitgan_tf.training.plan import execution_plan

VARIANTS = ("vitgan_contrad", "stylegan2_contrad")
FIELDS = {**small.FIELDS, "train.xla": "off", "train.adam_epsilon": 1e-3, "loss.contrad_hidden_dim": 12}


def _config(variant, **fields):
    return override(preset("tiny", variant), {**FIELDS, **fields})


def _unit(*shape):
    vectors = np.random.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("size, temperature", [(2, 0.5), (7, 0.1), (7, 2.0)])
def test_simclr(size, temperature):
    views, others = _unit(size, 5), _unit(size, 5)
    assert_close(losses.simclr_loss(views, others, temperature), reference.simclr(views, others, temperature))


@pytest.mark.parametrize("size, temperature", [(2, 0.1), (7, 0.1), (7, 2.0)])
def test_supervised_contrast(size, temperature):
    views = _unit(size, 5), _unit(size, 5), _unit(size, 5)
    expected = reference.supervised_contrast(*views, temperature)
    assert_close(losses.supervised_contrastive_loss(*views, temperature), expected)


def test_losses_of_equal_views():
    """All similarities are equal: the logarithms of the numbers of the others."""
    views = np.tile(_unit(1, 5), (4, 1))
    np.testing.assert_allclose(losses.simclr_loss(views, views, 0.1), np.log(7), rtol=1e-6)
    np.testing.assert_allclose(losses.supervised_contrastive_loss(views, views, views, 0.1), np.log(11), rtol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_heads(variant):
    """Two projections of length 1; logits as in a plain call, which move nothing but their own head."""
    discriminator = build_discriminator(_config(variant))
    images = tf.random.uniform((8, 8, 8, 1), -1.0, 1.0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        contrast, logits = discriminator.contrast(images), discriminator(images)
    assert_close(contrast.logits, logits.numpy().astype(np.float64))
    for projection in contrast[1:]:
        np.testing.assert_allclose(np.linalg.norm(projection, axis=1), np.ones(8), rtol=1e-5)
        assert projection.shape == (8, 128)
    assert np.abs(contrast.of_real - contrast.of_fake).max() > 0.1

    def moved(outputs):
        gradients = zip(discriminator.trainable_variables, tape.gradient(outputs, discriminator.trainable_variables))
        return {id(variable) for variable, gradient in gradients if gradient is not None}

    head = discriminator.head
    projections = [*head.real_projection.trainable_variables, *head.fake_projection.trainable_variables]
    everything = {id(variable) for variable in discriminator.trainable_variables}
    assert moved(contrast.logits) == {id(variable) for variable in head.logit.trainable_variables}
    assert moved(logits) == everything - {id(variable) for variable in projections}
    assert moved(list(contrast)) == everything
    assert tape.gradient(contrast.logits, images) is None
    assert np.abs(tape.gradient(logits, images)).max() > 0


def _naive_contrast(discriminator, views, temperature):
    """L_D and its terms, by a pass of each view and sums of exponentials."""
    passes = [discriminator.contrast(view) for view in tf.split(views, 3)]  # real, generated, real again
    real, fake = passes[0].logits, passes[1].logits

    def log_share(vectors, i, j):
        similarities = tf.linalg.matvec(vectors, vectors[i]) / temperature
        total = tf.reduce_sum(tf.exp(similarities)) - tf.exp(similarities[i])
        return similarities[j] - tf.math.log(total)

    count = real.shape[0]
    vectors = tf.concat([passes[0].of_real, passes[2].of_real], axis=0)
    simclr = -sum(log_share(vectors, i, (i + count) % (2 * count)) for i in range(2 * count)) / (2 * count)
    vectors = tf.concat([passes[0].of_fake, passes[2].of_fake, passes[1].of_fake], axis=0)
    own = range(2 * count, 3 * count)
    supervised = -sum(log_share(vectors, i, j) for i in own for j in own if i != j) / (count * (count - 1))
    d_loss = tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(tf.nn.softplus(fake))
    return {"simclr": simclr, "supervised_contrast": supervised, "d_loss": d_loss}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_equals_a_naive_one(variant):
    config = _config(
        variant,
        **{"loss.contrad_lambda_real": 0.7, "loss.contrad_lambda_fake": 1.5, "loss.contrad_temperature": 0.2},
        **{"loss.r1_gamma": 0.0, "loss.style_mixing": 0.0},
    )
    gan, naive = build_gan(config), build_gan(config)
    real_images = load_images(config.data)[:8].astype(np.float32) / 127.5 - 1.0
    seeds = naive._seeds_of_step()
    random = BatchRandom(seeds[0], 8)
    fake_images = naive._generate(random)
    stacked = tf.concat([real_images, fake_images, real_images], axis=0)
    views = diff_augment(stacked, config.augment.policy, config.augment.probability, BatchRandom(seeds[1], 24))
    variables = naive.discriminator.trainable_variables
    with tf.GradientTape() as tape:
        terms = _naive_contrast(naive.discriminator, views, 0.2)
        loss = 0.7 * terms["simclr"] + 1.5 * terms["supervised_contrast"] + terms["d_loss"]
    naive.discriminator_optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    metrics = gan.train_step(tf.constant(real_images))
    for name, value in terms.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    for variable, other in zip(gan.discriminator.trainable_variables, variables):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), rtol=1e-3, atol=2e-5, err_msg=variable.name)


def test_all_images_of_a_replica_are_compared():
    assert execution_plan(_config("vitgan_contrad")).microbatch == 8
    with pytest.raises(UserError, match="which compare the images of the whole batch; got 4"):
        execution_plan(_config("vitgan_contrad", **{"train.microbatch": 4}))
    with pytest.raises(UserError, match="at least 2 images per replica, got 1"):
        execution_plan(_config("vitgan_contrad", **{"train.batch_size": 1}))


@pytest.mark.parametrize("name", ["resnet", "transgan", "biggan"])
def test_discriminators_without_a_head_are_refused(name):
    with pytest.raises(ConfigError, match=f"need discriminator.architecture=vit or stylegan2, got {name}"):
        override(preset("tiny", discriminator=name), {"loss.contrad_lambda_real": 1.0})
