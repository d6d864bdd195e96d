"""The evaluation protocol of a run."""

from __future__ import annotations

import dataclasses

from vitgan_tf.config import choices
from vitgan_tf.config.fields import Section, field
from vitgan_tf.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class EvalConfig(Section):
    """Evaluation protocol. It does not change the training.

    Extractor and split also apply to evaluations during training, whose numbers of images are in `LogConfig`.
    """

    extractor: str = field(
        "feature extractor: tfgan_inception = network of published FIDs, keras_inception = other weights, not "
        "comparable, classifier = small network trained on the labelled training images, digits = that of the "
        "digits, network = the one of eval.network, none = only scores without a network; auto = network if that is "
        "set, else digits for the digits, else tfgan_inception if it is there",
        default="auto",
        choices=choices.EXTRACTORS,
    )
    resize: str = field(
        "resizing to the extractor's input size: tf1 = bilinear by TensorFlow 1's rule, as in published FIDs, "
        "bilinear = bilinear with aligned pixel centres, clean = bicubic with antialiasing by Pillow's rule, as in "
        "clean-fid, none = no resizing; empty = the extractor's own: tf1 for tfgan_inception, bilinear for "
        "keras_inception, clean for network",
        default="",
        choices=choices.RESIZES,
    )
    network: str = field(
        "network whose features are compared: folder of a SavedModel, address of a TensorFlow Hub module, or file of "
        "a Keras model, .h5 or .keras",
        default="",
    )
    network_output: str = field(
        "its output: name of an output of a SavedModel, or of a layer of a Keras model; empty = the only output, or "
        "the only one with a usual name such as features or pooler_output",
        default="",
    )
    network_tokens: str = field(
        "features from an output of tokens, (batch, tokens, features): class_token = the first token, mean = mean "
        "over all tokens; empty = tokens are refused",
        default="",
        choices=choices.POOLINGS,
    )
    network_size: int = field(
        "edge of its input, in pixels; 0 = as the network says, or the images' own size where it takes any",
        default=0,
        minimum=0,
        maximum=8192,
    )
    network_range: tuple[float, ...] = field(
        "its input values LOW,HIGH for black and white; empty = -1,1", default=()
    )
    network_mean: tuple[float, ...] = field(
        "mean R,G,B that is subtracted from values in [0, 1], in place of network_range", default=()
    )
    network_std: tuple[float, ...] = field(
        "standard deviation R,G,B that these differences are divided by", default=(), above=0.0
    )
    noise: str = field(
        "noise of generators that have it (StyleGAN2, decoder=conv): per_image = each image its own, as in training, "
        "fixed = one fixed map per layer",
        default="per_image",
        choices=choices.NOISES,
    )
    split: str = field("split of the real images", default="training", choices=choices.SPLITS)
    num_generated: int = field("number of generated images", default=50_000, minimum=2)
    num_real: int = field("number of real images, drawn at random; 0 = the whole split", default=0, minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network_range and (len(self.network_range) != 2 or self.network_range[0] == self.network_range[1]):
            raise ConfigError(
                f"eval.network_range must be two different numbers, got {', '.join(map(str, self.network_range))}"
            )
        lengths = len(self.network_mean), len(self.network_std)
        if lengths not in ((0, 0), (1, 1), (3, 3)):
            raise ConfigError(
                "eval.network_mean and eval.network_std must have one number each, or one for each of 3 channels, "
                f"got {lengths[0]} and {lengths[1]}"
            )
        if self.network_mean and self.network_range:
            raise ConfigError("eval.network_mean and eval.network_range exclude each other")
        if self.network_size and self.resize == "none":
            raise ConfigError(f"eval.network_size must be 0 with eval.resize=none, got {self.network_size}")
        self._check_network()

    def _check_network(self) -> None:
        if self.network and self.extractor not in ("auto", "network"):
            raise ConfigError(
                f"eval.network is for eval.extractor=network, got {self.extractor}: leave out one of them"
            )
        for field_ in dataclasses.fields(self):
            if field_.name.startswith("network_") and getattr(self, field_.name) and not self.network:
                raise ConfigError(f"eval.{field_.name} needs eval.network: set --network=PATH")
