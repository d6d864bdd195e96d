"""Everything but the generator that a score depends on."""

from __future__ import annotations

import dataclasses
from typing import Any

PUBLISHED_NUM_GENERATED = 50_000
PUBLISHED_FEATURE_DIM = 2048
_PUBLISHED_NAMES = {"fd": "fid", "kd": "kid"}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Everything needed to compare a score with another; part of every result.

    Attributes:
      dataset: name of the real data set.
      split: "training" or "evaluation"; "unknown" for statistics in a file of another program.
      image_size: edge of real and generated images in pixels.
      num_channels: colour channels.
      real_fingerprint: fingerprint of the split's real images, as in a run's config.json.
      num_real: number of real images behind the mean and covariance; 0 if unknown.
      num_split: number of real images in the split.
      num_real_kept: number of real images behind kernel distance, precision and recall.
      num_generated: number of generated images.
      seed: seed of their latents.
      extractor: name of the network whose features are compared; "none" for no network.
      extractor_sha256: hash of its weights.
      is_published_extractor: whether it is the network of published FIDs.
      feature_dim: number of its features.
      resize: how images are resized to its input size, in words.
      other_resize: for the network of published FIDs, name of the resizing in `choices.RESIZES` if it is not theirs.
      extractor_input: size and values of the network's input, in words.
      extractor_output: output whose values are the features, in words; empty where there is no choice.
      noise: "per_image" or "fixed", see `EvalConfig`; None for generators without noise.
      tf32: whether matrix products were computed in TensorFloat-32.
      truncation: truncation psi of the styles; 1 for none.
      num_swd: number of images of each set behind the sliced Wasserstein distance.
      extractor_accuracy: share of held-out real images that a classifier, trained on the others, gets right; None for
        other networks and for classifiers of earlier versions.
      classes: numbers of the classes whose real images are compared, separated by commas; empty for all.
    """

    dataset: str
    split: str
    image_size: int
    num_channels: int
    real_fingerprint: str
    num_real: int
    num_split: int
    num_real_kept: int
    num_generated: int
    seed: int
    extractor: str
    extractor_sha256: str
    is_published_extractor: bool
    feature_dim: int
    resize: str
    other_resize: str = ""
    extractor_input: str = ""
    extractor_output: str = ""
    noise: str | None = None
    tf32: bool = False
    truncation: float = 1.0
    num_swd: int = 0
    extractor_accuracy: float | None = None
    classes: str = ""

    def not_comparable(self) -> list[str]:
        """Returns why the Frechet distance is not comparable with published FIDs; empty if it is."""
        if self.extractor == "none":
            return ["no network's features are compared"]
        reasons = []
        if not self.is_published_extractor:
            reasons.append(f"{self.extractor} is not the network of published FIDs")
        elif self.feature_dim != PUBLISHED_FEATURE_DIM:
            reasons.append(f"{self.feature_dim} features, not {PUBLISHED_FEATURE_DIM}: this is another network")
        if self.other_resize == "clean":
            reasons.append("images resized as clean-fid does: comparable with figures of clean-fid only")
        elif self.other_resize:
            reasons.append(f"resize={self.other_resize}, not TensorFlow 1's resizing")
        fewest = min(self.num_generated, self.num_real or self.num_generated)
        if fewest < self.feature_dim:
            reasons.append(f"{fewest} images are fewer than the {self.feature_dim} dimensions of the features")
        if self.num_generated != PUBLISHED_NUM_GENERATED:
            reasons.append(f"{self.num_generated} generated images, not {PUBLISHED_NUM_GENERATED}")
        if self.num_real < self.num_split:
            reasons.append(f"{self.num_real} real images, not all {self.num_split}")
        if self.classes:
            reasons.append(f"only the classes {self.classes}")
        if self.split == "unknown":
            reasons.append(f"{self.dataset} does not say which images it describes")
        elif self.split != "training":
            reasons.append(f"the {self.split} images, not the training images")
        if self.truncation != 1.0:
            reasons.append(f"styles truncated by {self.truncation:g}")
        if self.tf32:
            reasons.append("features rounded to TensorFloat-32")
        return reasons

    def score_name(self, name: str) -> str:
        """Returns the public name of a score in `choices.SCORES`, or of its deviation, such as "is_std".

        With the published network, the name holds the number of generated images, in thousands if that is whole,
        and "full" if all real images of the split are compared: fid50k_full, is50k, kid5k. It starts with the
        resizing where that is not the one of published FIDs: clean_fid50k_full. With other networks, it starts with
        the name of the network instead: digits_fd.
        """
        if not self.is_published_extractor:
            return f"{self.extractor}_{name}"
        thousands, rest = divmod(self.num_generated, 1000)
        count = str(self.num_generated) if rest else f"{thousands}k"
        base = name.removesuffix("_std")
        num_real = {"fd": self.num_real, "is": 0}.get(base, self.num_real_kept)
        full = "_full" if num_real == self.num_split and num_real else ""
        resize = f"{self.other_resize}_" if self.other_resize else ""
        return resize + _PUBLISHED_NAMES.get(base, base) + count + full + name[len(base) :]

    def as_dict(self) -> dict[str, Any]:
        """Returns all attributes by name, and `not_comparable` as "not_comparable_with_published"."""
        return {**dataclasses.asdict(self), "not_comparable_with_published": self.not_comparable()}
