"""Small configurations in which every choice of a network or loss occurs."""

import dataclasses

from vitgan_tf.config import field_paths, override
from vitgan_tf.presets import preset

# Beside the rows of the paper: what none of them has.
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


def configs_of_fields():
    """{name: configuration} of FIELDS."""
    return {", ".join(fields): override(preset("tiny"), fields) for fields in FIELDS}


def missing(configs):
    """Choices of networks and losses that are in none of the configurations."""
    configs, absent = list(map(dataclasses.asdict, configs)), []
    for path, field, _ in field_paths():
        section, name = path.split(".")
        if section in ("generator", "discriminator", "loss") and field.metadata["choices"] is not None:
            found = {config[section][name] for config in configs}
            absent += [f"{path}={choice}" for choice in field.metadata["choices"] if choice not in found]
    return absent
