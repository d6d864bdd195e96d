"""The training step against one written out naively, and what a step may and may not touch."""

import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from reference.layers import spectral_norm_step
from support import small

from vitgan_tf.augment import diff_augment
from vitgan_tf.config import override
from vitgan_tf.data.loading import load_images
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.layers import fused
from vitgan_tf.layers.spectral import ISNDense, normalized_layers
from vitgan_tf.presets import preset
from vitgan_tf.randomness import INTERPOLATION, BatchRandom
from vitgan_tf.training.build import build_gan, trace_step
from vitgan_tf.training.objectives import DiscriminatorPass, lazy_r1
from vitgan_tf.training.plan import execution_plan

# A large epsilon keeps Adam from turning rounding errors of vanishing gradients into full steps.
CONFIG = override(preset("tiny"), {**small.FIELDS, "train.xla": "off", "train.adam_epsilon": 1e-3})


def _batches(config, first_step=0):
    images = load_images(config.data)
    updates = config.train.discriminator_steps
    return training_dataset(images, config.train.batch_size, config.train.seed, first_step, batches_per_step=updates)


def _fit(gan, steps, first_step=0, run_eagerly=True):
    """Without tracing, which takes longer than such steps, where nothing else is asked for."""
    gan.run_eagerly = run_eagerly
    return gan.fit(_batches(gan.config, first_step), steps_per_epoch=steps, verbose=0).history


def _values(network):
    return [variable.numpy() for variable in network.variables]


def _norm(gradients):
    return float(np.sqrt(sum(np.sum(gradient.numpy().astype(np.float64) ** 2) for gradient in gradients)))


def _augmented(gan, images, seed):
    augment = gan.config.augment
    return diff_augment(images, augment.policy, augment.probability, BatchRandom(seed, len(images)))


def _naive_discriminator_update(gan, real_images, latent_seed, augment_seed):
    generator, discriminator = gan.generator, gan.discriminator
    powers = [layer.power_iteration()[1] for layer in discriminator.submodules if isinstance(layer, ISNDense)]
    fake_images = generator(tf.random.stateless_normal([len(real_images), generator.latent_dim], latent_seed))
    stacked = tf.concat([real_images, fake_images, real_images, fake_images], axis=0)
    real, fake, real_again, fake_again = tf.split(_augmented(gan, stacked, augment_seed), 4)
    with tf.GradientTape() as tape:
        logits = discriminator(real), discriminator(fake)
        adversarial = tf.reduce_mean(tf.math.log1p(tf.exp(-logits[0])) + tf.math.log1p(tf.exp(logits[1])))
        consistency = [
            tf.reduce_mean((logits[0] - discriminator(real_again)) ** 2),
            tf.reduce_mean((logits[1] - discriminator(fake_again)) ** 2),
        ]
        loss = adversarial + 10.0 * consistency[0] + 10.0 * consistency[1]
    variables = discriminator.trainable_variables
    gradients = tape.gradient(loss, variables)
    gan.discriminator_optimizer.apply_gradients(zip(gradients, variables))
    for layer, u in zip((m for m in discriminator.submodules if isinstance(m, ISNDense)), powers):
        layer.u.assign(u)
    return {
        "d_loss": adversarial.numpy(),
        "real_logits": np.mean(logits[0]),
        "fake_logits": np.mean(logits[1]),
        "bcr_real": consistency[0].numpy(),
        "bcr_fake": consistency[1].numpy(),
        "d_gradient_norm": _norm(gradients),
    }


def _naive_step(gan, real_images):
    """One step in eager mode: every view through the discriminator by itself, gradients of plain formulas.

    Returns lists of the measures, one for each update.
    """
    batch_size, updates = gan.config.train.batch_size, gan.config.train.discriminator_steps
    generator, discriminator, step = gan.generator, gan.discriminator, int(gan.step.numpy())
    seed = tf.random.experimental.stateless_fold_in([gan.config.train.seed, 0], step)
    seeds = tf.random.experimental.stateless_split(seed, 2 * updates + 2)
    measures = collections.defaultdict(list)
    for update in range(updates):
        batch = real_images[update * batch_size : (update + 1) * batch_size]
        for name, value in _naive_discriminator_update(gan, batch, *seeds[2 * update : 2 * update + 2]).items():
            measures[name].append(value)
    with tf.GradientTape() as tape:
        fake_images = generator(tf.random.stateless_normal([batch_size, generator.latent_dim], seeds[-2]))
        g_loss = tf.reduce_mean(tf.math.log1p(tf.exp(-discriminator(_augmented(gan, fake_images, seeds[-1])))))
    variables = generator.trainable_variables
    g_gradients = tape.gradient(g_loss, variables)
    gan.generator_optimizer.apply_gradients(zip(g_gradients, variables))
    halflife = min(10_000.0, 0.05 * step * batch_size)
    beta = 0.5 ** (batch_size / halflife) if halflife else 0.0
    for mean, variable in zip(gan.ema_generator.variables, generator.variables):
        mean.assign(beta * mean + (1 - beta) * variable)
    gan.step.assign_add(1)
    return {**measures, "g_loss": [g_loss.numpy()], "g_gradient_norm": [_norm(g_gradients)]}


@pytest.mark.slow
def test_a_step_that_xla_compiles_whole_is_finite():
    """XLA draws other random numbers than TensorFlow's own kernels; other terms are compiled in test_tpu_ready.py."""
    fields = {"train.xla": "full", "augment.policy": ("translation",)}
    gan = build_gan(override(CONFIG, {**fields, "loss.bcr_lambda_real": 0.0, "loss.bcr_lambda_fake": 0.0}))
    history = _fit(gan, 2, run_eagerly=False)
    assert all(np.isfinite(value[0]) for value in history.values())
    assert int(gan.step.numpy()) == 2


@pytest.mark.parametrize(
    "xla, updates",
    [
        ("eager", 1),
        ("eager", 3),
        pytest.param("off", 1, marks=pytest.mark.slow),
        pytest.param("kernels", 3, marks=pytest.mark.slow),
    ],
)
def test_steps_equal_naive_steps(xla, updates, monkeypatch):
    xla, is_eager = ("off", True) if xla == "eager" else (xla, False)
    monkeypatch.setattr(fused, "_LARGE", 0)  # the kernels compute every GELU again
    config = override(CONFIG, {"train.discriminator_steps": updates})
    gan, naive = build_gan(override(config, {"train.xla": xla})), build_gan(config)
    batches = list(_batches(config).take(3))
    expected = [_naive_step(naive, batch) for batch in batches]
    history = _fit(gan, 3, run_eagerly=is_eager)
    for name, values in history.items():
        summary = np.max if name.endswith("_max") else np.mean
        value = summary([value for step in expected for value in step[name.replace("_max", "")]])
        np.testing.assert_allclose(values[0], value, rtol=1e-3, atol=1e-5, err_msg=name)
    assert set(history) == {*expected[0], "d_gradient_norm_max", "g_gradient_norm_max"}
    for network in ("generator", "discriminator", "ema_generator"):
        for value, other in zip(_values(getattr(gan, network)), _values(getattr(naive, network))):
            np.testing.assert_allclose(value, other, rtol=1e-3, atol=2e-5)
    assert int(gan.step.numpy()) == int(naive.step.numpy()) == 3


@pytest.mark.slow
def test_compiled_steps_equal_eager_ones_where_r1_is_inside_a_condition():
    """Other variants are compared so in microbatches: test_strategies.py."""
    fields = {**small.FIELDS, "loss.r1_every_steps": 2, "train.adam_epsilon": 1e-3}
    config = override(preset("tiny", "vanilla_vit"), fields)
    compiled = build_gan(override(config, {"train.xla": "kernels"}))
    eager = build_gan(override(config, {"train.xla": "off"}))
    expected, history = _fit(eager, 3), _fit(compiled, 3, run_eagerly=False)
    assert set(history) == set(expected) and "r1" in history
    for name, values in history.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-3, atol=1e-5, err_msg=name)
    for network in ("generator", "discriminator", "ema_generator"):
        for value, other in zip(_values(getattr(compiled, network)), _values(getattr(eager, network))):
            np.testing.assert_allclose(value, other, rtol=1e-3, atol=2e-5)


def test_power_iteration_moves_once_per_step():
    gan = build_gan(CONFIG)
    layers = [layer for layer in gan.discriminator.submodules if isinstance(layer, ISNDense)]
    _fit(gan, 2)  # so that u is no longer at its fixed point
    expected = [layer.power_iteration()[1].numpy() for layer in layers]
    initial = [layer.initial_sigma.numpy() for layer in layers]
    _fit(gan, 1, first_step=2)
    for layer, u, sigma in zip(layers, expected, initial):
        np.testing.assert_allclose(layer.u.numpy(), u, atol=1e-5)
        assert layer.initial_sigma.numpy() == sigma


@pytest.mark.parametrize("frozen", ["generator", "discriminator"])
def test_each_update_leaves_the_other_network_alone(frozen):
    """With one optimiser's learning rate at 0, that network rests and the other one moves."""
    gan = build_gan(CONFIG)
    getattr(gan, f"{frozen}_optimizer").learning_rate.assign(0.0)
    moving = {"generator": "discriminator", "discriminator": "generator"}[frozen]
    before = {name: [v.numpy() for v in getattr(gan, name).trainable_variables] for name in (frozen, moving)}
    _fit(gan, 1)
    for variable, value in zip(getattr(gan, frozen).trainable_variables, before[frozen]):
        np.testing.assert_array_equal(variable.numpy(), value)
    for variable, value in zip(getattr(gan, moving).trainable_variables, before[moving]):
        assert np.abs(variable.numpy() - value).max() > 0, variable.name


def _discriminator_calls(gan):
    """Number of images of each call of the discriminator in one step."""
    calls = []
    original = gan.discriminator.call

    def call(images):
        calls.append(len(images))
        return original(images)

    gan.discriminator.call = call
    metrics = gan.train_step(next(iter(_batches(CONFIG))))
    return calls, metrics


def test_real_fake_and_second_views_pass_in_one_batch():
    calls, metrics = _discriminator_calls(build_gan(CONFIG))
    assert calls == [32, 8]
    assert metrics["bcr_real"] > 0 and metrics["bcr_fake"] > 0


def test_without_bcr_the_discriminator_sees_two_views():
    config = override(CONFIG, {"loss.bcr_lambda_real": 0.0, "loss.bcr_lambda_fake": 0.0})
    calls, metrics = _discriminator_calls(build_gan(config))
    assert calls == [16, 8]
    assert "bcr_real" not in metrics and "bcr_fake" not in metrics


def _one_step_gradient(config, extra_loss):
    """Metrics and discriminator weights after one step of a GAN, and the weights with an extra loss by hand."""
    gan, plain = build_gan(config), build_gan(CONFIG)
    real_images = next(iter(_batches(CONFIG)))
    seeds = plain._seeds_of_step()
    latents = tf.random.stateless_normal([8, 16], seeds[0])
    stacked = tf.concat([real_images, plain.generator(latents)] * 2, axis=0)
    views = diff_augment(stacked, CONFIG.augment.policy, CONFIG.augment.probability, BatchRandom(seeds[1], 32))
    variables = plain.discriminator.trainable_variables
    with tf.GradientTape() as tape:
        real, fake, real_again, fake_again = tf.split(plain.discriminator(views), 4)
        loss = tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(tf.nn.softplus(fake))
        loss += 10 * tf.reduce_mean((real - real_again) ** 2) + 10 * tf.reduce_mean((fake - fake_again) ** 2)
        loss += extra_loss(plain.discriminator, views, real, fake)
    gradients = tape.gradient(loss, variables)
    metrics = {name: value.numpy() for name, value in gan.train_step(real_images).items()}
    np.testing.assert_allclose(metrics["d_gradient_norm"], _norm(gradients), rtol=1e-4)
    plain.discriminator_optimizer.apply_gradients(zip(gradients, variables))
    for variable, other in zip(gan.discriminator.trainable_variables, variables):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), rtol=1e-3, atol=2e-5)
    return gan, metrics


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("xla", ["off", pytest.param("kernels", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name, first", [("r1", 0), ("r2", 8)])
def test_r1_and_r2_steps_equal_naive_ones(name, first, every, xla):
    """gamma / 2 * interval * mean |dD/dx|^2, by gradients of each image's own logit."""
    penalties = []

    def extra_loss(discriminator, views, real_logits, fake_logits):
        penalty = 0.0
        for image in tf.split(views[first : first + 8], 8):
            with tf.GradientTape() as tape:
                tape.watch(image)
                logit = discriminator(image)[0]
            penalty += tf.reduce_sum(tape.gradient(logit, image) ** 2) / 8
        penalties.append(penalty)
        return 0.5 * 30.0 * every * penalty

    config = override(CONFIG, {f"loss.{name}_gamma": 30.0, "loss.r1_every_steps": every, "train.xla": xla})
    gan, metrics = _one_step_gradient(config, extra_loss)
    np.testing.assert_allclose(metrics[name], penalties[0].numpy(), rtol=1e-4)
    if every > 1:
        # The next steps have no penalty: the mean over the steps that had one stays.
        assert gan.train_step(next(iter(_batches(CONFIG))))[name].numpy() == metrics[name]
        images = DiscriminatorPass(gan.discriminator, tf.ones((8, 8, 8, 1)), config.loss, gan.step, None, None)
        assert [number.numpy() for number in lazy_r1(images)] == [0.0, 0.0]


@pytest.mark.parametrize("xla", ["off", pytest.param("kernels", marks=pytest.mark.slow)])
def test_a_step_with_gradient_penalty_and_drift_equals_a_naive_one(xla):
    """2 mean (|dD/dx| / 0.7 - 1)^2 between the first views of each pair, and 3 mean D(x)^2."""
    penalties = []

    def extra_loss(discriminator, views, real_logits, fake_logits):
        share = BatchRandom(build_gan(CONFIG)._seeds_of_step()[0], 8).fork(INTERPOLATION).uniform(1, 1, 1)
        assert 0.0 < np.min(share) < np.max(share) < 1.0
        penalty = 0.0
        for image in tf.split((1.0 - share) * views[:8] + share * views[8:16], 8):
            with tf.GradientTape() as tape:
                tape.watch(image)
                logit = discriminator(image)[0]
            penalty += (tf.norm(tape.gradient(logit, image)) / 0.7 - 1.0) ** 2 / 8
        penalties.extend([penalty, tf.reduce_mean(real_logits**2)])
        return 2.0 * penalties[0] + 3.0 * penalties[1]

    fields = {"gradient_penalty_weight": 2.0, "gradient_penalty_target": 0.7, "drift_weight": 3.0}
    config = override(CONFIG, {**{f"loss.{name}": value for name, value in fields.items()}, "train.xla": xla})
    _, metrics = _one_step_gradient(config, extra_loss)
    np.testing.assert_allclose([metrics["gradient_penalty"], metrics["drift"]], penalties, rtol=1e-4)


def test_lecam_step_equals_a_naive_one_and_its_averages_are_saved(tmp_path):
    def extra_loss(discriminator, views, real_logits, fake_logits):
        real_average, fake_average = (0.1 * tf.reduce_mean(x).numpy() for x in (real_logits, fake_logits))
        return 5.0 * (
            tf.reduce_mean((real_logits - fake_average) ** 2) + tf.reduce_mean((fake_logits - real_average) ** 2)
        )

    config = override(CONFIG, {"loss.lecam_lambda": 5.0, "loss.lecam_decay": 0.9})
    gan, metrics = _one_step_gradient(config, extra_loss)
    for average, name in ((gan.real_logit_average, "real_logits"), (gan.fake_logit_average, "fake_logits")):
        np.testing.assert_allclose(average.numpy(), 0.1 * metrics[name], rtol=1e-5)
    before, fake_before = gan.real_logit_average.numpy(), gan.fake_logit_average.numpy()
    path = gan.checkpoint().save(str(tmp_path / "checkpoint"))
    second = build_gan(config)
    second.checkpoint().restore(path).assert_consumed()
    assert second.real_logit_average.numpy() == before != 0
    assert second.fake_logit_average.numpy() == fake_before != 0
    gan.reset_metrics()
    real = gan.train_step(next(iter(_batches(CONFIG))))["real_logits"].numpy()
    np.testing.assert_allclose(gan.real_logit_average.numpy(), 0.9 * before + 0.1 * real, rtol=1e-5)


def test_lecam_as_its_authors_have_it_corrects_the_averages_for_their_start():
    """After the first batch they are its means; after the second, weighted by 0.9 and 1 over 1.9."""

    def extra_loss(discriminator, views, real_logits, fake_logits):
        real_average, fake_average = (tf.reduce_mean(x).numpy() for x in (real_logits, fake_logits))
        return 5.0 * (
            tf.reduce_mean(tf.maximum(real_logits - fake_average, 0.0) ** 2)
            + tf.reduce_mean(tf.maximum(real_average - fake_logits, 0.0) ** 2)
        )

    config = override(CONFIG, {"loss.lecam_lambda": 5.0, "loss.lecam_decay": 0.9, "loss.lecam_form": "authors"})
    gan, first = _one_step_gradient(config, extra_loss)
    gan.reset_metrics()
    second = gan.train_step(next(iter(_batches(CONFIG))))
    np.testing.assert_allclose(gan.logit_average_weight.numpy(), 1 - 0.9**2, rtol=1e-6)
    for average, name in ((gan.real_logit_average, "real_logits"), (gan.fake_logit_average, "fake_logits")):
        expected = (0.9 * first[name] + second[name]) / 1.9
        np.testing.assert_allclose(average.numpy() / (1 - 0.9**2), expected, rtol=1e-4)


def test_a_skipped_first_step_leaves_no_bias_in_lecams_averages():
    fields = {"loss.lecam_lambda": 5.0, "loss.lecam_decay": 0.9, "loss.lecam_form": "authors", "train.on_nan": "skip"}
    gan = build_gan(override(CONFIG, fields))
    skipped = gan._move_logit_averages(tf.constant(np.nan), tf.constant(1.0))
    np.testing.assert_array_equal(skipped, [0.0, 0.0])
    np.testing.assert_allclose(gan._move_logit_averages(tf.constant(2.0), tf.constant(-3.0)), [2.0, -3.0], rtol=1e-6)
    averages = gan._move_logit_averages(tf.constant(4.0), tf.constant(-3.0))
    np.testing.assert_allclose(averages, [(0.9 * 2 + 4) / 1.9, -3.0], rtol=1e-6)
    assert "logit_average_weight" in dict(gan.checkpoint()._trackable_children())


@pytest.mark.parametrize("name", ["hinge", "wasserstein"])
def test_the_configured_loss_is_the_one_that_is_trained(name):
    """With learning rates of 0, both losses follow from the networks as they are."""
    gan = build_gan(override(CONFIG, {"loss.adversarial": name}))
    for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
        optimizer.learning_rate.assign(0.0)
    real_images = next(iter(_batches(CONFIG)))
    seeds = gan._seeds_of_step()
    metrics = gan.train_step(real_images)

    def logits(images, seed):
        policy, probability = CONFIG.augment.policy, CONFIG.augment.probability
        return gan.discriminator(diff_augment(images, policy, probability, BatchRandom(seed, len(images)))).numpy()

    fake_images = [gan.generator(tf.random.stateless_normal([8, 16], seed)) for seed in (seeds[0], seeds[2])]
    real, fake = np.split(logits(tf.concat([real_images, fake_images[0]] * 2, axis=0), seeds[1]), 4)[:2]
    d_losses = {
        "hinge": np.mean(np.maximum(0, 1 - real)) + np.mean(np.maximum(0, 1 + fake)),
        "wasserstein": np.mean(fake) - np.mean(real),
    }
    np.testing.assert_allclose(metrics["d_loss"], d_losses[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["g_loss"], -np.mean(logits(fake_images[1], seeds[3])), rtol=1e-4)


def test_a_loss_that_compares_sees_real_images_in_the_generators_step():
    gan = build_gan(override(CONFIG, {"loss.adversarial": "relativistic"}))
    gan.discriminator_optimizer.learning_rate.assign(0.0)
    real_images, seeds = next(iter(_batches(CONFIG))), gan._seeds_of_step()
    random = BatchRandom(seeds[3], 8)
    fake_images = gan.generator(tf.random.stateless_normal([8, 16], seeds[2]))
    real, fake = (
        gan.discriminator(diff_augment(images, CONFIG.augment.policy, CONFIG.augment.probability, own))
        for images, own in ((real_images, random.fork(0)), (fake_images, random))
    )
    expected = np.mean(np.log1p(np.exp(real.numpy() - fake.numpy())))
    np.testing.assert_allclose(gan.train_step(real_images)["g_loss"], expected, rtol=1e-4)


def test_noise_of_the_conv_decoder_is_new_in_every_step_and_the_same_in_a_repeated_one():
    config = override(CONFIG, {"generator.decoder": "conv"})
    gan = build_gan(config)
    for layer in gan.generator.decoder.synthesis.convolutions:
        layer.noise_strength.assign(1.0)

    def image(step):
        gan.step.assign(step)
        seed = gan._seeds_of_step()[0]
        latents = tf.random.stateless_normal([2, 16], [0, 0])
        original = tf.random.stateless_normal
        with pytest.MonkeyPatch.context() as patch:
            # The latents stay, the noise follows the step.
            patch.setattr(
                tf.random,
                "stateless_normal",
                lambda shape, *args, **kwargs: (
                    latents if list(shape) == [2, 16] else original(shape, *args, **kwargs)
                ),
            )
            return gan._generate(BatchRandom(seed, 2)).numpy()

    np.testing.assert_array_equal(image(3), image(3))
    assert np.abs(image(3) - image(4)).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["isn", "sn"])
def test_power_iterations_of_the_generator_move_once_per_step(normalization):
    gan = build_gan(override(CONFIG, {"generator.normalization": normalization}))
    layers = [layer for layer in gan.generator.submodules if isinstance(layer, ISNDense)]
    assert len(layers) == 6
    _fit(gan, 2)
    expected = [layer.power_iteration()[1].numpy() for layer in layers]
    _fit(gan, 1, first_step=2)
    for layer, u in zip(layers, expected):
        np.testing.assert_allclose(layer.u.numpy(), u, atol=1e-5)
    averages = [layer for layer in gan.ema_generator.submodules if isinstance(layer, ISNDense)]
    for layer, average in zip(layers, averages):
        np.testing.assert_array_equal(layer.u.numpy(), average.u.numpy())


def test_seed_decides_initial_weights_latents_and_augmentation():
    gans = [build_gan(override(CONFIG, {"train.seed": seed})) for seed in (0, 0, 1)]
    weights = [_values(gan.generator) + _values(gan.discriminator) for gan in gans]
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[1]))
    assert not any(np.array_equal(a, b) for a, b in zip(weights[0], weights[2]) if a.size > 50)
    seeds = [np.stack(gan._seeds_of_step()) for gan in gans]
    gans[0].step.assign(1)
    seeds.append(np.stack(gans[0]._seeds_of_step()))
    np.testing.assert_array_equal(seeds[0], seeds[1])
    assert len({tuple(seed) for seed in np.concatenate([seeds[0], seeds[2], seeds[3]])}) == 12


def test_resumed_run_equals_unbroken_run(tmp_path):
    """Bit by bit: networks, spectral-norm vectors, moving average, both optimisers, as their rates rise and fall."""
    schedule = {"train.total_kimg": 0.16, "train.warmup_kimg": 0.08, "train.decay_fraction": 0.5}
    schedule["train.discriminator_steps"] = 2
    config = override(CONFIG, schedule)
    first = build_gan(config)
    _fit(first, 3)
    path = first.checkpoint().save(str(tmp_path / "checkpoint"))
    _fit(first, 5, first_step=3)
    unbroken = first
    second = build_gan(config)
    for variable in second.generator.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    second.checkpoint().restore(path).assert_consumed()
    assert int(second.step.numpy()) == 3
    _fit(second, 5, first_step=3)
    pairs = [(unbroken.generator, second.generator), (unbroken.discriminator, second.discriminator)]
    pairs.append((unbroken.ema_generator, second.ema_generator))
    for expected, network in pairs:
        for a, b in zip(_values(expected), _values(network)):
            np.testing.assert_array_equal(a, b)
    for name in ("generator_optimizer", "discriminator_optimizer"):
        for a, b in zip(getattr(unbroken, name).variables, getattr(second, name).variables):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_generator_of_samples_is_the_average():
    gan = build_gan(CONFIG)
    _fit(gan, 3)
    latents = tf.random.normal((2, 16))
    np.testing.assert_array_equal(gan(latents).numpy(), gan.ema_generator(latents).numpy())
    assert np.abs(gan(latents).numpy() - gan.generator(latents).numpy()).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("overlaps", [True, False])
def test_the_generators_step_waits_for_the_discriminators_gradients_unless_it_may_overlap(overlaps):
    """Or both steps' activations would be in memory together."""
    gan = build_gan(CONFIG, dataclasses.replace(execution_plan(CONFIG), overlaps_updates=overlaps))
    graph = trace_step(gan).graph

    def ancestors(operation, seen):
        pending = [operation]
        while pending:
            for source in [tensor.op for tensor in pending[-1].inputs] + list(pending.pop().control_inputs):
                if source not in seen:
                    seen.add(source)
                    pending.append(source)
        return seen

    latents = [op for op in graph.get_operations() if op.type == "StatelessRandomNormalV2"]
    gradient_norms = [sum(source.type == "L2Loss" for source in ancestors(operation, set())) for operation in latents]
    assert gradient_norms == [0, 0 if overlaps else len(gan.discriminator.trainable_variables)]


def test_batch_norms_use_their_batch_and_power_iterations_move_once():
    """BigGAN's generator is called for both networks' updates: statistics are taken twice, u moves once."""
    gan = build_gan(override(preset("tiny", "biggan"), {"train.xla": "off", "train.discriminator_steps": 1}))
    layers = normalized_layers(gan.generator)
    assert len(layers) == 1 + 7 + 1  # from latents; two gains, two offsets, two convolutions and a skip; to the image
    for layer in layers:  # u starts where iterations leave it
        layer.u.assign(tf.math.l2_normalize(tf.random.normal(layer.u.shape)))
    before = [(layer.kernel.numpy(), layer.u.numpy()[0]) for layer in layers]
    _fit(gan, 1)
    for layer, (kernel, u) in zip(layers, before):
        _, expected = spectral_norm_step(kernel, u)
        np.testing.assert_allclose(layer.u.numpy()[0], expected, atol=1e-5)
    for norm in (gan.generator.norm, gan.generator.blocks[0].first_norm.norm):
        # From 1, towards variances below it, a tenth of the way in each of two calls: in one, never below 0.9.
        moved = norm.moving_variance.numpy()
        assert np.all(moved >= 0.81 - 1e-6) and moved.min() < 0.9
    # Samples are drawn from averages of the averages; after the first step, all of them copies.
    for average, network in zip(gan.ema_generator.variables, gan.generator.variables):
        np.testing.assert_allclose(average.numpy(), network.numpy(), rtol=1e-6, atol=1e-7)
