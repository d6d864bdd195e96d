"""Scores the generator of a run or of a SavedModel."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from typing import Any

import tensorflow as tf
from absl import logging

from vitgan_tf import sampling
from vitgan_tf.config import DataConfig, DataLocation, EvalConfig
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.build import build_evaluator
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.generation import Draw, ImageSampler, dump_folder
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.export import FIXED_NOISE
from vitgan_tf.latents import CHUNK, SequenceRandom
from vitgan_tf.logs import shown_logs
from vitgan_tf.progress import progress
from vitgan_tf.runs.directory import CONFIG, DIGITS_CLASSIFIER, METRICS, read_run
from vitgan_tf.runs.generator import load_generator


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Generator to be scored.

    Attributes:
      draw: see `ImageSampler`.
      latent_dim: size of a latent.
      data: configuration of the images that it was trained on or is compared with.
      eval: evaluation settings of its run or preset.
      origin: entries of the result that identify it: "model", "step", "kimg", "weights".
      run_dir: its run directory, if known.
      fingerprint: fingerprint of its training images, if known.
      has_noise: whether its images depend on noise.
    """

    draw: Draw
    latent_dim: int
    data: DataConfig
    eval: EvalConfig
    origin: dict[str, Any]
    run_dir: str | None = None
    fingerprint: str | None = None
    has_noise: bool = False


def from_run(model_dir: str, checkpoint: str = "latest", weights: str = "ema") -> Candidate:
    """Returns the generator of a run directory; see `load_generator` for the arguments.

    Raises:
      UserError: the run or the checkpoint does not exist or cannot be read.
    """
    trained = load_generator(model_dir, checkpoint, weights)
    config = trained.config

    def draw(latents: tf.Tensor, random: SequenceRandom | None) -> tf.Tensor:
        return network(latents, random if network.has_noise else None)

    network, fingerprint = trained.network, trained.data.get("fingerprint")
    origin = {
        "model": model_dir,
        "step": trained.step,
        "kimg": trained.step * config.train.batch_size / 1000,
        "weights": weights,
    }
    return Candidate(
        draw, network.latent_dim, config.data, config.eval, origin, model_dir, fingerprint, network.has_noise
    )


def from_saved_model(path: str, data: DataConfig | None = None, eval_config: EvalConfig | None = None) -> Candidate:
    """Returns the generator of a SavedModel, which may come from elsewhere.

    Its signature serving_default must map latents from N(0, I) to images in [-1, 1].

    Args:
      path: folder of the SavedModel.
      data: images to compare with; default: those of the run whose directory contains the SavedModel. For "folder",
        the generator's images determine the size.
      eval_config: evaluation settings that go with `data`; without `data`, the run's are used.

    Raises:
      UserError: path is not a generator, its images have another size, or the images to compare with are not known.
    """
    model = sampling.load(path, signatures=("serving_default",))
    (latents_name, latents_spec), (images_name, images_spec) = sampling.serving_specs(model, path)
    is_ours = set(sampling.SIGNATURES) <= set(model.signatures)
    step = int(model.step.numpy()) if is_ours and hasattr(model, "step") else None
    origin: dict[str, Any] = {"model": path, "step": step, "kimg": None, "weights": "ema" if is_ours else None}
    folder, run_dir, fingerprint = os.path.dirname(os.path.abspath(path)), None, None
    if data is None and os.path.exists(os.path.join(folder, CONFIG)):
        run_dir = folder
        config, run_data = read_run(run_dir)
        data, eval_config, fingerprint = config.data, config.eval, run_data.get("fingerprint")
        origin["kimg"] = None if step is None else step * config.train.batch_size / 1000
    if data is None:
        raise UserError(f"the images to compare {path!r} with are not known: set --dataset=NAME")
    height, width, channels = images_spec.shape[1:]
    if data.dataset == "folder":
        data = dataclasses.replace(data, image_size=height, num_channels=channels)
    if (height, width, channels) != (data.image_size, data.image_size, data.num_channels):
        raise UserError(
            f"{path!r} draws images of {height} x {width} x {channels}, but those of {data.dataset} are "
            f"{data.image_size} x {data.image_size} x {data.num_channels}: choose the --dataset it was trained on"
        )

    has_noise = is_ours and sampling.has_noise(model)

    def draw(latents: tf.Tensor, random: SequenceRandom | None) -> tf.Tensor:
        if not has_noise:
            latents = tf.cast(latents, latents_spec.dtype)
            return tf.cast(model.signatures["serving_default"](**{latents_name: latents})[images_name], tf.float32)
        noise = (FIXED_NOISE, 0) if random is None else (random.image_seed, random.first_chunk * CHUNK)
        return model.synthesize(latents, *noise)["images"]

    latent_dim = latents_spec.shape[1]
    return Candidate(draw, latent_dim, data, eval_config or EvalConfig(), origin, run_dir, fingerprint, has_noise)


@shown_logs()
def evaluate(
    candidate: Candidate,
    eval_config: EvalConfig,
    location: DataLocation,
    seed: int = 0,
    batch_size: int = 128,
    dump_dir: str | None = None,
    cross_check: bool = False,
) -> dict[str, Any]:
    """Draws images and scores them under the current `tf.distribute` strategy.

    Args:
      candidate: generator to score.
      eval_config: numbers of images, split and extractor.
      location: location of the real images, of Inception's weights and of the cache.
      seed: seed of the latents.
      batch_size: images drawn at a time, over all replicas.
      cross_check: see `Evaluator.evaluate`.
      dump_dir: folder for the images as PNG files; default: none. They are written even if they cannot be scored.

    Returns:
      The result line: origin of the generator, protocol and scores.

    Raises:
      UserError: data or weights are missing, settings do not fit together, or the generator draws values that are not
        finite.
    """
    batch_size = min(batch_size, eval_config.num_generated)
    sampler = ImageSampler(candidate.draw, candidate.latent_dim, batch_size, eval_config.noise == "fixed")
    total = math.ceil(eval_config.num_generated / sampler.images_per_step)
    # Opened first: a folder that cannot be written fails before the long evaluation.
    with dump_folder(dump_dir) if dump_dir is not None else contextlib.nullcontext(iter) as written:
        batches = progress(
            written(sampler.batches(eval_config.num_generated, seed)), "generated images", total, "batch"
        )
        try:
            evaluator = _evaluator(candidate, eval_config, location, seed)
        except UserError as error:
            if dump_dir is None:
                raise
            logging.warning("no scores, only images: %s", error)
            reason = error
            for _ in batches:
                pass
        else:
            return {**_head(candidate, eval_config, evaluator.protocol), **evaluator.evaluate(batches, cross_check)}
    raise UserError(f"the images are in {dump_dir!r}, but there are no scores: {reason}") from reason


def _evaluator(candidate: Candidate, eval_config: EvalConfig, location: DataLocation, seed: int) -> Evaluator:
    return build_evaluator(
        candidate.data,
        location,
        extractor_name=eval_config.extractor,
        split=eval_config.split,
        num_generated=eval_config.num_generated,
        num_real=eval_config.num_real,
        seed=seed,
        classifier_path=os.path.join(candidate.run_dir, DIGITS_CLASSIFIER) if candidate.run_dir else None,
        noise=eval_config.noise if candidate.has_noise else None,
        settings=eval_config,
    )


def _head(candidate: Candidate, eval_config: EvalConfig, protocol: Protocol) -> dict[str, Any]:
    """Returns the entries of a result before its scores."""
    result = {**candidate.origin, "source": "evaluate", **protocol.as_dict()}
    if eval_config.split == "training" and candidate.fingerprint not in (None, protocol.real_fingerprint):
        reason = "not the training images: the run's config.json has another fingerprint"
        result["not_comparable_with_published"].append(reason)
        logging.warning("the real images are %s", reason)
    return result


def table(result: dict[str, Any]) -> str:
    """Returns a result of `evaluate` as a table for people."""
    step = "unknown" if result["step"] is None else result["step"]
    kimg = "" if result["kimg"] is None else f", {result['kimg']:g} kimg"
    weights = {"ema": "moving average", "raw": "raw weights", None: "weights unknown"}[result["weights"]]
    size = f"{result['image_size']} x {result['image_size']} x {result['num_channels']}"
    kept = result["num_real_kept"]
    kept = "" if kept == result["num_real"] else f"; {kept} for all but fd and is"
    real = f"{result['num_real']} of {result['num_split']} images, {result['dataset']}, {result['split']}{kept}"
    rows = [
        ("model", result["model"]),
        ("step", f"{step}{kimg}, {weights}"),
        ("generated", f"{result['num_generated']} images, {size}, seed {result['seed']}"),
        ("real", real),
        ("extractor", f"{result['extractor']}, sha256 {result['extractor_sha256'][:16]}"),
        ("resize", result["resize"]),
        *([("noise", result["noise"].replace("_", " "))] if result["noise"] else []),
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
    """Returns the path of the run's metrics.jsonl; None if the run is not known."""
    return os.path.join(candidate.run_dir, METRICS) if candidate.run_dir else None
