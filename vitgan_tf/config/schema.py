"""Sections of a configuration: frozen dataclasses, checked on construction.

Image and patch sizes are in pixels. `_kimg` counts thousands of real images shown to the discriminator, `_steps`
counts training steps (one update of the discriminator and one of the generator).
"""

from __future__ import annotations

import dataclasses

from vitgan_tf.config import choices
from vitgan_tf.config.fields import Section, field
from vitgan_tf.config.networks import DISCRIMINATORS, GENERATORS
from vitgan_tf.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class GeneratorConfig(Section):
    """Generator. Apart from architecture and mapping, for the ViT only (paper, "Generator Design")."""

    architecture: str = field(
        "network architecture; the sizes of a baseline are in the section of its name",
        default="vit",
        choices=GENERATORS,
    )
    style_injection: str = field(
        "how the style w enters: modulate = in every layer norm (C, the method), add = added to the positional "
        "embeddings (A), prepend = as an extra token (B)",
        default="modulate",
        choices=choices.STYLE_INJECTIONS,
    )
    decoder: str = field(
        "decoder from patch embeddings to pixels: fourier = coordinate network (the method), linear = linear layer, "
        "conv = StyleGAN2 blocks on the token map",
        default="fourier",
        choices=choices.DECODERS,
    )
    attention: str = field("kind of self-attention logits", default="dot_product", choices=choices.ATTENTIONS)
    normalization: str = field(
        "spectral normalisation of the linear layers", default="none", choices=choices.NORMALIZATIONS
    )
    positions: str = field(
        "positional embedding: fourier = Fourier features of the patch centres, learned = lookup table",
        default="fourier",
        choices=choices.POSITIONS,
    )
    latent_dim: int = field("size of the latent z", default=384, minimum=1)
    embed_dim: int = field("token width D and size of the style w", default=384, minimum=1)
    mlp_dim: int = field("hidden width of the MLP in each block", default=1536, minimum=1)
    num_heads: int = field("attention heads per block", default=6, minimum=1)
    num_blocks: int = field("number of transformer blocks", default=4, minimum=1)
    patch_size: int = field("patch size P, in pixels", default=4, minimum=1)
    activation: str = field("activation of the MLP in each block", default="gelu", choices=choices.ACTIVATIONS)
    mapping_layers: int = field("number of layers in the mapping network", default=8, minimum=1)
    mapping_lr_multiplier: float = field("learning-rate multiplier of the mapping network", default=0.01, above=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_heads("generator", self.embed_dim, self.num_heads)
        if self.decoder == "conv" and self.patch_size & (self.patch_size - 1):
            raise ConfigError(
                f"with generator.decoder=conv, generator.patch_size must be a power of 2, got {self.patch_size}"
            )


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig(Section):
    """Discriminator. Apart from architecture, for the ViT only (paper, "Regularizing ViT-based Discriminator")."""

    architecture: str = field(
        "network architecture; the sizes of a baseline are in the section of its name",
        default="vit",
        choices=DISCRIMINATORS,
    )
    attention: str = field("kind of self-attention logits", default="l2", choices=choices.ATTENTIONS)
    normalization: str = field(
        "spectral normalisation of patch projection and blocks: isn = spectral norm held at its initial value, "
        "sn = spectral norm 1, none = no normalisation",
        default="isn",
        choices=choices.NORMALIZATIONS,
    )
    pooling: str = field(
        "input of the head: class_token = output of an extra learned token, mean = mean over the patch tokens",
        default="class_token",
        choices=choices.POOLINGS,
    )
    positions: str = field(
        "positional embedding: fourier = Fourier features of the patch centres, learned = lookup table",
        default="fourier",
        choices=choices.POSITIONS,
    )
    embed_dim: int = field("token width D", default=384, minimum=1)
    mlp_dim: int = field("hidden width of the MLP in each block", default=1536, minimum=1)
    num_heads: int = field("attention heads per block", default=6, minimum=1)
    num_blocks: int = field("number of transformer blocks", default=4, minimum=1)
    patch_size: int = field("patch size P without overlap, in pixels", default=4, minimum=1)
    patch_overlap: int = field("patch overlap o: pixels added to a patch on every side", default=2, minimum=0)
    activation: str = field("activation of the MLP in each block", default="gelu", choices=choices.ACTIVATIONS)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_heads("discriminator", self.embed_dim, self.num_heads)


def _check_heads(network: str, embed_dim: int, num_heads: int) -> None:
    if embed_dim % num_heads:
        raise ConfigError(
            f"{network}.embed_dim must be a multiple of {network}.num_heads, got {embed_dim} and {num_heads}"
        )


@dataclasses.dataclass(frozen=True)
class AugmentConfig(Section):
    """DiffAugment (Zhao et al. 2020)."""

    policy: tuple[str, ...] = field(
        "augmentations in the order of application; empty for none",
        default=("color", "translation", "scaling", "cutout"),
        choices=choices.AUGMENTATIONS,
    )
    probability: float = field("probability of each augmentation, per image", default=0.8, minimum=0.0, maximum=1.0)


@dataclasses.dataclass(frozen=True)
class TrainConfig(Section):
    """Optimisation and length of the run."""

    total_kimg: float = field("length of the run, in thousands of real images", above=0.0)
    batch_size: int = field(
        "global batch size: real images per update of the discriminator, over all devices", default=128, minimum=1
    )
    discriminator_steps: int = field(
        "updates of the discriminator per update of the generator, each with its own batch of real images",
        default=1,
        minimum=1,
    )
    generator_learning_rate: float = field("Adam learning rate of the generator", default=0.002, above=0.0)
    discriminator_learning_rate: float = field("Adam learning rate of the discriminator", default=0.002, above=0.0)
    warmup_kimg: float = field(
        "both learning rates rise linearly over so many thousand images at the start", default=0.0, minimum=0.0
    )
    decay_fraction: float = field(
        "both learning rates fall linearly to 0 over this last part of total_kimg; 0 = constant rates",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
    )
    adam_beta1: float = field("Adam beta1", default=0.0, minimum=0.0, below=1.0)
    adam_beta2: float = field("Adam beta2", default=0.99, minimum=0.0, below=1.0)
    adam_epsilon: float = field("Adam epsilon", default=1e-8, above=0.0)
    ema_halflife_kimg: float = field(
        "half-life of the moving average of the generator's weights, in thousands of images; 0 = no averaging",
        default=10.0,
        minimum=0.0,
    )
    ema_rampup: float = field(
        "upper limit of the half-life, as a fraction of the images seen so far; 0 = no limit",
        default=0.05,
        minimum=0.0,
    )
    seed: int = field(
        "random seed of weights, data order, latents and augmentation", default=0, minimum=0, maximum=2**31 - 1
    )
    microbatch: int = field(
        "images per device and pass, with gradient accumulation, to save memory; must divide the per-device batch; "
        "0 = the whole per-device batch, on CPUs as many images as need about 1 GB",
        default=0,
        minimum=0,
    )
    steps_per_execution: int = field(
        "training steps per call to the device; logs, samples and checkpoints due in between follow at its end; "
        "0 = 100 on TPUs, else 1",
        default=0,
        minimum=0,
    )
    on_nan: str = field(
        "action on a non-finite loss or gradient: stop = end with an error, skip = skip the update, "
        "rollback = resume from the newest checkpoint with new random numbers",
        default="stop",
        choices=choices.NAN_POLICIES,
    )
    precision: str = field(
        "precision of activations and matrix products; weights, spectral norms, softmax, normalisation statistics, "
        "losses and the moving average are always float32; mixed_float16 is for GPUs and uses loss scaling",
        default="float32",
        choices=choices.PRECISIONS,
    )
    tf32: bool = field(
        "TensorFloat-32 matrix products (10 bits of mantissa) in training steps on GPUs since Ampere; samples and "
        "scores never use them",
        default=False,
    )
    gpu_memory_gb: float = field(
        "memory that TensorFlow may use on each GPU, in 10^9 bytes; 0 = no limit, and memory is taken as needed",
        default=0.0,
        minimum=0.0,
    )
    xla: str = field(
        "XLA compilation: full = the whole step, kernels = chains of element-wise operations, off = none; "
        "auto = full on TPUs and, where XLA finds CUDA's libdevice and ptxas, on one GPU; kernels on CPUs, else off",
        default="auto",
        choices=choices.XLA_MODES,
    )


@dataclasses.dataclass(frozen=True)
class LogConfig(Section):
    """Outputs of a run and their intervals. They do not change the result of the training."""

    scalars_every_steps: int = field(
        "interval of TensorBoard scalars, in steps; scalars are means over the interval", default=100, minimum=1
    )
    samples_every_kimg: float = field("interval of sample grids, in thousands of images", default=100.0, above=0.0)
    eval_every_kimg: float = field("interval of evaluations, in thousands of images", default=500.0, above=0.0)
    checkpoint_every_kimg: float = field("interval of checkpoints, in thousands of images", default=100.0, above=0.0)
    diagnostics_every_kimg: float = field(
        "interval of spectral-norm and attention diagnostics, in thousands of images; 0 = none",
        default=100.0,
        minimum=0.0,
    )
    keep_checkpoints: int = field(
        "number of newest checkpoints to keep; at least 2, so that there is one to fall back on",
        default=3,
        minimum=2,
    )
    eval_samples: int = field("generated images per evaluation during training", default=2000, minimum=2)
    eval_real_images: int = field(
        "real images per evaluation during training, drawn at random; 0 = all", default=50_000, minimum=0
    )
