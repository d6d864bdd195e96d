"""Small configurations in which every choice of a network or loss occurs."""

from vitgan_tf.config import as_dict, field_paths, override
from vitgan_tf.presets import preset

# Beside the rows of the paper: what none of them has.
FIELDS = {
    "l2 and hinge": {
        **{"generator.attention": "l2", "generator.normalization": "isn", "generator.activation": "relu"},
        **{"discriminator.positions": "learned", "discriminator.activation": "relu", "discriminator.pooling": "mean"},
        **{"loss.adversarial": "hinge", "loss.r1_gamma": 1.0, "loss.r1_every_steps": 1},
        "augment.policy": ["scaling"],
    },
    "sn and wasserstein": {
        **{"generator.normalization": "sn", "generator.activation": "silu", "generator.positions": "learned"},
        **{"discriminator.patch_overlap": 5, "discriminator.activation": "silu", "discriminator.patch_size": 2},
        **{"loss.adversarial": "wasserstein", "loss.lecam_lambda": 0.3, "loss.bcr_lambda_real": 0.0},
        **{"loss.gradient_penalty_weight": 10.0, "loss.drift_weight": 0.001},
        "augment.policy": ["cutout", "color"],
    },
    "mixed styles": {
        **{"generator.architecture": "stylegan2", "loss.style_mixing": 0.9, "loss.path_length_weight": 2.0},
        **{"discriminator.embed_dim": 32, "augment.policy": ["translation"]},
        **{"loss.lecam_lambda": 0.3, "loss.lecam_form": "authors"},
    },
    "resnet isn": {
        **{"discriminator.architecture": "resnet", "resnet.spectral_norm": "isn", "loss.style_mixing": 0.5}
    },
    "resnet none": {
        **{"discriminator.architecture": "resnet", "resnet.spectral_norm": "none"},
        **{"loss.adversarial": "relativistic", "loss.r1_gamma": 1.0, "loss.r2_gamma": 1.0},
    },
}


def configs_of_fields():
    """{name: configuration} of FIELDS."""
    return {name: override(preset("tiny"), fields) for name, fields in FIELDS.items()}


def missing(configs):
    """Choices of networks and losses that are in none of the configurations."""
    configs, absent = list(map(as_dict, configs)), []
    for path, field, _ in field_paths():
        section, name = path.split(".")
        if section in ("generator", "discriminator", "loss") and field.metadata["choices"] is not None:
            found = {config[section][name] for config in configs}
            absent += [f"{path}={choice}" for choice in field.metadata["choices"] if choice not in found]
    return absent
