"""The scores of a finished generator: of a run or of a SavedModel."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from typing import Any, Callable

import tensorflow as tf
from absl import logging

from vitgan_tf import sampling
from vitgan_tf.config import DataConfig, DataLocation, EvalConfig
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.build import build_evaluator
from vitgan_tf.evaluation.generation import ImageSampler, dump_folder
from vitgan_tf.progress import progress
from vitgan_tf.runs.directory import CONFIG, DIGITS_CLASSIFIER, METRICS, read_run
from vitgan_tf.runs.generator import load_generator


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A generator to be scored.

    Attributes:
      draw: latents (batch, latent_dim) -> images in [-1, 1].
      latent_dim: size of a latent.
      data: of the images that it was trained on, or is compared with.
      eval: how its run wants it to be scored.
      origin: entries of the result that say what it is: "model", "step", "kimg", "weights".
      run_dir: of its run, where it is known.
      fingerprint: of the images that it was trained on, where it is known.
    """

    draw: Callable[[tf.Tensor], tf.Tensor]
    latent_dim: int
    data: DataConfig
    eval: EvalConfig
    origin: dict[str, Any]
    run_dir: str | None = None
    fingerprint: str | None = None


def from_run(model_dir: str, checkpoint: str = "latest", weights: str = "ema") -> Candidate:
    """The generator of a run directory; the arguments are those of `load_generator`.

    Raises:
      UserError: there is no such run or checkpoint, or it cannot be read.
    """
    trained = load_generator(model_dir, checkpoint, weights)
    config = trained.config

    def draw(latents: tf.Tensor) -> tf.Tensor:
        return trained.network(latents)

    origin = {
        "model": model_dir,
        "step": trained.step,
        "kimg": trained.step * config.train.batch_size / 1000,
        "weights": weights,
    }
    return Candidate(
        draw, trained.network.latent_dim, config.data, config.eval, origin, model_dir, trained.data.get("fingerprint")
    )


def from_saved_model(path: str, data: DataConfig | None = None, eval_config: EvalConfig | None = None) -> Candidate:
    """The generator of a SavedModel.

    Args:
      path: of the SavedModel.
      data: of the images to compare with; by default those of the run in whose directory the SavedModel is. Of
        "folder" the size is that of the generator's images.
      eval_config: how to score it, by default as the run says.

    Raises:
      UserError: path is no generator, its images are of another size, or the data is not known.
    """
    model = sampling.load(path)
    step = int(model.step.numpy()) if hasattr(model, "step") else None
    origin: dict[str, Any] = {"model": path, "step": step, "kimg": None, "weights": "ema"}
    folder, run_dir, fingerprint = os.path.dirname(os.path.abspath(path)), None, None
    if data is None and os.path.exists(os.path.join(folder, CONFIG)):
        run_dir = folder
        config, run_data = read_run(run_dir)
        data, eval_config, fingerprint = config.data, config.eval, run_data.get("fingerprint")
        origin["kimg"] = None if step is None else step * config.train.batch_size / 1000
    if data is None:
        raise UserError(f"say which images {path!r} is to be compared with: --dataset=NAME")
    height, width, channels = model.signatures["serving_default"].structured_outputs["images"].shape[1:]
    if data.dataset == "folder":
        data = dataclasses.replace(data, image_size=height, num_channels=channels)
    if (height, width, channels) != (data.image_size, data.image_size, data.num_channels):
        raise UserError(
            f"{path!r} draws images of {height} x {width} x {channels}, and those of {data.dataset} are "
            f"{data.image_size} x {data.image_size} x {data.num_channels}: choose the --dataset of its training"
        )

    def draw(latents: tf.Tensor) -> tf.Tensor:
        return model.synthesize(latents)["images"]

    latent_dim = sampling.latent_dim(model)
    return Candidate(draw, latent_dim, data, eval_config or EvalConfig(), origin, run_dir, fingerprint)


def evaluate(
    candidate: Candidate,
    eval_config: EvalConfig,
    location: DataLocation,
    seed: int = 0,
    batch_size: int = 128,
    dump_dir: str | None = None,
) -> dict[str, Any]:
    """Draws images and scores them, under the current `tf.distribute` strategy.

    Args:
      candidate: the generator.
      eval_config: the numbers of images, the split and the extractor.
      location: of the real images, of Inception's weights and of the cache.
      seed: of the latents.
      batch_size: images drawn at a time, over all replicas.
      dump_dir: folder for the images as PNG files; none by default.

    Returns:
      The result line: what the generator is, the protocol, the scores.

    Raises:
      UserError: something is not there or does not go together, or the generator draws values that are not finite.
    """
    classifier = os.path.join(candidate.run_dir, DIGITS_CLASSIFIER) if candidate.run_dir else None
    # The folder first: what cannot be written is said before the rest, which takes long.
    with dump_folder(dump_dir) if dump_dir is not None else contextlib.nullcontext(iter) as written:
        evaluator = build_evaluator(
            candidate.data,
            location,
            extractor_name=eval_config.extractor,
            split=eval_config.split,
            num_generated=eval_config.num_generated,
            num_real=eval_config.num_real,
            seed=seed,
            classifier_path=classifier,
        )
        protocol = evaluator.protocol
        result = {**candidate.origin, "source": "tools/evaluate.py", **protocol.as_dict()}
        if eval_config.split == "training" and candidate.fingerprint not in (None, protocol.real_fingerprint):
            reason = "not the images of the training, whose fingerprint is in the run's config.json"
            result["not_comparable_with_published"].append(reason)
            logging.warning("the real images are %s", reason)
        sampler = ImageSampler(candidate.draw, candidate.latent_dim, min(batch_size, protocol.num_generated))
        batches = written(sampler.batches(protocol.num_generated, seed))
        total = math.ceil(protocol.num_generated / sampler.images_per_step)
        return {**result, **evaluator.evaluate(progress(batches, "generated images", total, "batch"))}


def table(result: dict[str, Any]) -> str:
    """A result of `evaluate` for people to read."""
    step = "unknown" if result["step"] is None else result["step"]
    kimg = "" if result["kimg"] is None else f", {result['kimg']:g} kimg"
    weights = {"ema": "moving average", "raw": "raw weights"}[result["weights"]]
    size = f"{result['image_size']} x {result['image_size']} x {result['num_channels']}"
    kept = result["num_real_kept"]
    kept = "" if kept == result["num_real"] else f"; {kept} for kd, precision and recall"
    real = f"{result['num_real']} of {result['num_split']} images, {result['dataset']}, {result['split']}{kept}"
    rows = [
        ("model", result["model"]),
        ("step", f"{step}{kimg}, {weights}"),
        ("generated", f"{result['num_generated']} images, {size}, seed {result['seed']}"),
        ("real", real),
        ("extractor", f"{result['extractor']}, sha256 {result['extractor_sha256'][:16]}"),
        ("resize", result["resize"]),
    ]
    protocol_end = list(result).index("not_comparable_with_published")
    for name, value in list(result.items())[protocol_end + 1 :]:
        if isinstance(value, list):
            rows.append((name, " ".join(f"{item:.3f}" for item in value)))
        else:
            rows.append((name, "not defined" if value is None else f"{value:.6g}"))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    reasons = result["not_comparable_with_published"]
    if reasons:
        lines.append(f"Not comparable with published FIDs: {'; '.join(reasons)}.")
    return "\n".join(lines)


def metrics_path(candidate: Candidate) -> str | None:
    """The metrics.jsonl of the candidate's run; None where that is not known."""
    return os.path.join(candidate.run_dir, METRICS) if candidate.run_dir else None
