"""The paper's tables and its figure of stability, row by row."""

from __future__ import annotations

import itertools

from vitgan_tf.presets.variants import DISCRIMINATORS, GENERATORS

# Name of the row, as in reporting/published.csv where the paper has it, and the arguments of `preset` that make it.
MAIN_ROWS = (
    ("BigGAN + DiffAugment", {"variant": "biggan"}),
    ("StyleGAN2", {"variant": "stylegan2"}),
    ("TransGAN", {"variant": "transgan"}),
    ("Vanilla-ViT", {"variant": "vanilla_vit"}),
    ("ViTGAN", {"variant": "vitgan"}),
    ("StyleGAN2-D + ViTGAN-G", {"variant": "stylegan2_d"}),
)
GENERATOR_ROWS = (
    ("(A) add, linear", {"variant": "g_add_linear"}),
    ("(A) add, Fourier", {"variant": "g_add_fourier"}),
    ("(B) prepend, linear", {"variant": "g_prepend_linear"}),
    ("(B) prepend, Fourier", {"variant": "g_prepend_fourier"}),
    ("(C) modulate, linear", {"variant": "g_modulate_linear"}),
    ("(C) modulate, Fourier", {"variant": "vitgan"}),
)
DISCRIMINATOR_ROWS = (
    ("ISN, augmentation, overlap", {"variant": "vitgan"}),
    ("SN, augmentation, overlap", {"variant": "d_sn"}),
    ("R1, augmentation, overlap", {"variant": "d_r1"}),
    ("none, augmentation, overlap", {"variant": "d_none"}),
    ("ISN, no augmentation, overlap", {"variant": "d_isn_no_augmentation"}),
    ("ISN, augmentation, no overlap", {"variant": "d_isn_no_overlap"}),
)
_NAMES = {"vitgan": "ViTGAN", "vanilla_vit": "Vanilla-ViT", "stylegan2": "StyleGAN2", "resnet": "ResNet"}
NETWORKS_ROWS = tuple(
    (f"{_NAMES[g]}-G, {_NAMES[d]}-D", {"generator": g, "discriminator": d})
    for g, d in itertools.product(GENERATORS, DISCRIMINATORS)
    if g in _NAMES and d in _NAMES
)
STABILITY_ROWS = (
    ("ViTGAN", {"variant": "vitgan"}),
    ("ViTGAN, SN for ISN", {"variant": "d_sn"}),
    ("ViTGAN, R1 for ISN", {"variant": "d_r1"}),
    ("ViTGAN without ISN", {"variant": "d_none"}),
    ("ViTGAN-G, Vanilla-ViT-D", {"discriminator": "vanilla_vit"}),
    ("Vanilla-ViT", {"variant": "vanilla_vit"}),
)
TABLES = {
    "main": MAIN_ROWS,
    "generator": GENERATOR_ROWS,
    "discriminator": DISCRIMINATOR_ROWS,
    "networks": NETWORKS_ROWS,
    "stability": STABILITY_ROWS,
}

# Rates are constant: longer runs begin like shorter ones.
DIGITS_FIELDS = {
    "train.total_kimg": 24.0,
    "train.decay_fraction": 0.0,
    "log.eval_every_kimg": 8.0,
    "log.scalars_every_steps": 10,
}
