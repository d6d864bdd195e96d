"""The sections of a configuration: frozen dataclasses, checked on construction.

Sizes of images and patches are in pixels; `_kimg` counts thousands of real images shown to the discriminator,
`_steps` training steps (one update of the discriminator and one of the generator).
"""

from __future__ import annotations

import dataclasses

from vitgan_tf.config.choices import (
    ACTIVATIONS,
    ADVERSARIAL_LOSSES,
    ATTENTIONS,
    AUGMENTATIONS,
    DECODERS,
    EXTRACTORS,
    NORMALIZATIONS,
    POSITIONS,
)
from vitgan_tf.config.fields import Section, field
from vitgan_tf.config.networks import DISCRIMINATORS, GENERATORS
from vitgan_tf.errors import ConfigError

STYLE_INJECTIONS = ("modulate", "add", "prepend")
POOLINGS = ("class_token", "mean")
SPLITS = ("training", "evaluation")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
XLA_MODES = ("auto", "off", "kernels", "full")
NAN_POLICIES = ("stop", "skip", "rollback")


@dataclasses.dataclass(frozen=True)
class DataConfig(Section):
    """The training images."""

    dataset: str = field("name of the data set")
    image_size: int = field("edge of the square images, in pixels", minimum=1, maximum=8192)
    num_channels: int = field("colour channels of the images", choices=(1, 3))
    flip: bool = field("whether half of the images, drawn anew each time, are mirrored left to right", default=False)


@dataclasses.dataclass(frozen=True)
class GeneratorConfig(Section):
    """The generator; but for architecture and mapping, the ViT generator (paper, "Generator Design")."""

    architecture: str = field(
        "vit, or a baseline, whose sizes are in the section of its name",
        default="vit",
        choices=GENERATORS,
    )
    style_injection: str = field(
        "where w enters: modulate = every layer norm (C, the method), add = the positional embeddings (A), "
        "prepend = as a further token (B)",
        default="modulate",
        choices=STYLE_INJECTIONS,
    )
    decoder: str = field(
        "from patch embeddings to pixels: fourier = network over coordinates (the method), linear = one layer, "
        "conv = StyleGAN2's blocks over the map of tokens",
        default="fourier",
        choices=DECODERS,
    )
    attention: str = field("logits of the self-attention", default="dot_product", choices=ATTENTIONS)
    normalization: str = field("spectral normalisation of the linear layers", default="none", choices=NORMALIZATIONS)
    positions: str = field(
        "positional embedding: fourier = of the patches' centres, learned = a table",
        default="fourier",
        choices=POSITIONS,
    )
    latent_dim: int = field("size of the latent z", default=384, minimum=1)
    embed_dim: int = field("token width D; also the size of the style w", default=384, minimum=1)
    mlp_dim: int = field("hidden width of the blocks' MLP", default=1536, minimum=1)
    num_heads: int = field("attention heads", default=6, minimum=1)
    num_blocks: int = field("transformer blocks", default=4, minimum=1)
    patch_size: int = field("edge of a patch P, in pixels", default=4, minimum=1)
    activation: str = field("activation of the blocks' MLP", default="gelu", choices=ACTIVATIONS)
    mapping_layers: int = field("layers of the mapping network", default=8, minimum=1)
    mapping_lr_multiplier: float = field("learning rate of the mapping network, relative", default=0.01, above=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_heads("generator", self.embed_dim, self.num_heads)
        if self.decoder == "conv" and self.patch_size & (self.patch_size - 1):
            raise ConfigError(
                f"generator.decoder=conv doubles the resolution step by step: generator.patch_size must be a power "
                f"of 2, got {self.patch_size}"
            )


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig(Section):
    """The discriminator; but for architecture, the ViT one (paper, "Regularizing ViT-based Discriminator")."""

    architecture: str = field(
        "vit, or a baseline, whose sizes are in the section of its name",
        default="vit",
        choices=DISCRIMINATORS,
    )
    attention: str = field("logits of the self-attention", default="l2", choices=ATTENTIONS)
    normalization: str = field(
        "of patch projection and blocks: isn = spectral norm held at its initial value, sn = at 1, none",
        default="isn",
        choices=NORMALIZATIONS,
    )
    pooling: str = field(
        "what the head reads: class_token = the output of a further, learned token, mean = the mean over patches",
        default="class_token",
        choices=POOLINGS,
    )
    positions: str = field(
        "positional embedding: fourier = of the patches' centres, learned = a table",
        default="fourier",
        choices=POSITIONS,
    )
    embed_dim: int = field("token width D", default=384, minimum=1)
    mlp_dim: int = field("hidden width of the blocks' MLP", default=1536, minimum=1)
    num_heads: int = field("attention heads", default=6, minimum=1)
    num_blocks: int = field("transformer blocks", default=4, minimum=1)
    patch_size: int = field("edge of a grid patch P, in pixels", default=4, minimum=1)
    patch_overlap: int = field("pixels o by which a patch is extended on every side", default=2, minimum=0)
    activation: str = field("activation of the blocks' MLP", default="gelu", choices=ACTIVATIONS)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_heads("discriminator", self.embed_dim, self.num_heads)


def _check_heads(network: str, embed_dim: int, num_heads: int) -> None:
    if embed_dim % num_heads:
        raise ConfigError(
            f"{network}.embed_dim must be a multiple of {network}.num_heads, got {embed_dim} and {num_heads}"
        )


@dataclasses.dataclass(frozen=True)
class LossConfig(Section):
    """The adversarial loss and its regularisers (paper, "Experiment Setup")."""

    adversarial: str = field(
        "loss of real against generated images", default="non_saturating", choices=ADVERSARIAL_LOSSES
    )
    bcr_lambda_real: float = field("weight of bCR on real images; 0 turns it off", default=10.0, minimum=0.0)
    bcr_lambda_fake: float = field("weight of bCR on generated images; 0 turns it off", default=10.0, minimum=0.0)
    r1_gamma: float = field("R1 adds gamma / 2 times its penalty; 0 turns it off", default=0.0, minimum=0.0)
    r1_every_steps: int = field(
        "steps between R1 penalties, each weighted by this number; 1 for every step", default=16, minimum=1
    )
    style_mixing: float = field(
        "share of the images that have a second style from a random place of the generator on",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
    )
    path_length_weight: float = field(
        "weight of the generator's path length penalty; 0 turns it off", default=0.0, minimum=0.0
    )
    path_length_every_steps: int = field(
        "steps between path length penalties, each weighted by this number; 1 for every step", default=4, minimum=1
    )
    path_length_decay: float = field(
        "share of a batch's mean path length in the moving average", default=0.01, above=0.0, maximum=1.0
    )
    lecam_lambda: float = field("weight of LeCam; 0 turns it off", default=0.0, minimum=0.0)
    lecam_decay: float = field(
        "factor by which LeCam's averages of the logits keep their value in a step",
        default=0.99,
        minimum=0.0,
        below=1.0,
    )

    @property
    def uses_bcr(self) -> bool:
        return self.bcr_lambda_real > 0 or self.bcr_lambda_fake > 0

    @property
    def num_views(self) -> int:
        """Images that the discriminator sees for each real one: that and a generated one, under bCR both twice."""
        return 4 if self.uses_bcr else 2


@dataclasses.dataclass(frozen=True)
class AugmentConfig(Section):
    """DiffAugment (Zhao et al. 2020)."""

    policy: tuple[str, ...] = field(
        "augmentations, applied in this order; empty for none",
        default=("color", "translation", "scaling", "cutout"),
        choices=AUGMENTATIONS,
    )
    probability: float = field(
        "probability of each augmentation, drawn per image", default=0.8, minimum=0.0, maximum=1.0
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig(Section):
    """Optimisation and the length of the run."""

    total_kimg: float = field("length of the run, in thousands of real images", above=0.0)
    batch_size: int = field("real images per step, over all devices", default=128, minimum=1)
    generator_learning_rate: float = field("Adam's learning rate for the generator", default=0.002, above=0.0)
    discriminator_learning_rate: float = field("Adam's learning rate for the discriminator", default=0.002, above=0.0)
    adam_beta1: float = field("Adam's beta1", default=0.0, minimum=0.0, below=1.0)
    adam_beta2: float = field("Adam's beta2", default=0.99, minimum=0.0, below=1.0)
    adam_epsilon: float = field("Adam's epsilon", default=1e-8, above=0.0)
    ema_halflife_kimg: float = field(
        "half-life of the generator's moving average, in thousands of images; 0 for none", default=10.0, minimum=0.0
    )
    ema_rampup: float = field(
        "the half-life is at most this fraction of the images seen so far; 0 for no ramp-up",
        default=0.05,
        minimum=0.0,
    )
    seed: int = field(
        "seed of weights, data order, latents and augmentation", default=0, minimum=0, maximum=2**31 - 1
    )
    microbatch: int = field(
        "images of a step that a device works on at a time: their gradients are summed up, and memory is that of so "
        "many images; must divide each device's share of the batch. 0 = all at once, but on CPUs as many as "
        "need about 1 GB",
        default=0,
        minimum=0,
    )
    steps_per_execution: int = field(
        "steps that a device runs before the host is asked; what is due in between comes at their end. 0 = 1, but on "
        "TPUs 100",
        default=0,
        minimum=0,
    )
    on_nan: str = field(
        "at a loss or gradient that is not finite: stop = end with an error, skip = leave that update out, "
        "rollback = go on from the newest checkpoint with other random numbers",
        default="stop",
        choices=NAN_POLICIES,
    )
    precision: str = field(
        "of both networks' activations and products; weights, spectral norms, softmax, statistics of the norms, "
        "losses and moving average are float32 in all. mixed_float16 is for GPUs, with a scaled loss",
        default="float32",
        choices=PRECISIONS,
    )
    xla: str = field(
        "what XLA compiles: full = the whole step, kernels = runs of element-wise operations, off = nothing; "
        "auto = full on TPUs, kernels on CPUs, off on GPUs",
        default="auto",
        choices=XLA_MODES,
    )


@dataclasses.dataclass(frozen=True)
class LogConfig(Section):
    """What a run writes, and how often. None of it changes the result of the training."""

    scalars_every_steps: int = field(
        "steps between TensorBoard scalars, means over the interval", default=100, minimum=1
    )
    samples_every_kimg: float = field("images between sample grids, in thousands", default=100.0, above=0.0)
    eval_every_kimg: float = field("images between evaluations, in thousands", default=500.0, above=0.0)
    checkpoint_every_kimg: float = field("images between checkpoints, in thousands", default=100.0, above=0.0)
    diagnostics_every_kimg: float = field(
        "images between diagnostics of spectral norms and attention, in thousands; 0 for none",
        default=100.0,
        minimum=0.0,
    )
    keep_checkpoints: int = field(
        "how many of the newest checkpoints are kept: at least two, one to fall back on", default=3, minimum=2
    )
    eval_samples: int = field("generated images per evaluation during training", default=2000, minimum=2)
    eval_real_images: int = field(
        "real images per evaluation during training, drawn at random; 0 for all", default=50_000, minimum=0
    )


@dataclasses.dataclass(frozen=True)
class EvalConfig(Section):
    """What scores are made of; it does not change the training.

    Network and split hold during training too; the numbers there are those of `LogConfig`.
    """

    extractor: str = field(
        "network whose features are compared: tfgan_inception = that of published FIDs, keras_inception = other "
        "weights, not comparable, digits = a classifier of the digits; auto = digits on the digits, else "
        "tfgan_inception",
        default="auto",
        choices=EXTRACTORS,
    )
    split: str = field("real images to compare with", default="training", choices=SPLITS)
    num_generated: int = field("generated images", default=50_000, minimum=2)
    num_real: int = field("real images, drawn at random; 0 for all of the split", default=0, minimum=0)
