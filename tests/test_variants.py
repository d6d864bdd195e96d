"""Every row of the paper's tables, and every field that has alternatives, trains, is saved, restored and exported."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.config import field_paths, override
from vitgan_tf.data.loading import load_images
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.export import export_generator
from vitgan_tf.presets import DISCRIMINATORS, GENERATORS, VARIANTS, preset
from vitgan_tf.training.experiment import build_gan

# What no row of the paper has.
FIELDS = [
    {"generator.attention": "l2", "generator.normalization": "isn", "generator.activation": "relu"},
    {"generator.normalization": "sn", "generator.activation": "silu", "generator.positions": "learned"},
    {"discriminator.positions": "learned", "discriminator.activation": "relu", "discriminator.pooling": "mean"},
    {"discriminator.patch_overlap": 5, "discriminator.activation": "silu", "discriminator.patch_size": 2},
    {"loss.adversarial": "hinge", "loss.r1_gamma": 1.0, "loss.r1_every_steps": 1, "augment.policy": ["scaling"]},
    {"loss.adversarial": "wasserstein", "loss.lecam_lambda": 0.3, "augment.policy": ["cutout", "color"]},
    {"discriminator.embed_dim": 32, "loss.bcr_lambda_real": 0.0, "augment.policy": ["translation"]},
    {"generator.architecture": "stylegan2", "loss.style_mixing": 0.9, "loss.path_length_weight": 2.0},
    {"discriminator.architecture": "resnet", "resnet.spectral_norm": "isn", "loss.style_mixing": 0.5},
    {"discriminator.architecture": "resnet", "resnet.spectral_norm": "none"},
]


def _cases():
    """Each configuration once: some rows of the two tables are the same."""
    configs = [(name, preset("tiny", name)) for name in VARIANTS]
    pairs = itertools.product(GENERATORS, DISCRIMINATORS)
    configs += [(f"{g} with {d}", preset("tiny", generator=g, discriminator=d)) for g, d in pairs]
    configs += [(", ".join(fields), override(preset("tiny"), fields)) for fields in FIELDS]
    unique = {}
    for name, config in configs:
        unique.setdefault(repr(config), (name, config))
    return [pytest.param(config, id=name) for name, config in unique.values()]


@pytest.mark.parametrize("config", _cases())
def test_trains_three_finite_steps_saves_restores_and_exports(config, tmp_path):
    # One block, and steps without tracing, which would take most of the time: tests/training/test_gan.py has graphs.
    config = override(config, {"train.xla": "off", "generator.num_blocks": 1, "discriminator.num_blocks": 1})
    images = load_images(config.data)
    gan = build_gan(config)
    gan.run_eagerly = True
    before = [variable.numpy() for variable in gan.generator.trainable_variables]
    history = gan.fit(training_dataset(images, 8, seed=0), steps_per_epoch=3, verbose=0).history
    assert all(np.isfinite(values[0]) for values in history.values()), history
    for variable, value in zip(gan.generator.trainable_variables, before):
        assert np.isfinite(variable.numpy()).all() and np.any(variable.numpy() != value), variable.name
    path = gan.checkpoint().save(str(tmp_path / "checkpoint"))
    twin = build_gan(override(config, {"train.seed": 1}))
    twin.checkpoint().restore(path).assert_consumed()
    for network in ("generator", "discriminator", "ema_generator"):
        for a, b in zip(getattr(gan, network).variables, getattr(twin, network).variables):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    latents = tf.random.normal((2, gan.generator.latent_dim))
    export_generator(twin.ema_generator, str(tmp_path / "model"))
    model = tf.saved_model.load(str(tmp_path / "model"))
    drawn = model.synthesize(latents)["images"].numpy()
    np.testing.assert_allclose(drawn, np.clip(gan(latents).numpy(), -1, 1), rtol=1e-4, atol=1e-5)


def test_every_choice_of_a_network_or_loss_is_among_the_cases():
    configs = [dataclasses.asdict(case.values[0]) for case in _cases()]
    for path, field, _ in field_paths():
        section, name = path.split(".")
        if section not in ("generator", "discriminator", "loss") or field.metadata["choices"] is None:
            continue
        assert {config[section][name] for config in configs} == set(field.metadata["choices"]), path
