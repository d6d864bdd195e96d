"""Scores a candidate: a generator, or given images."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from vitgan_tf.config import DataLocation, EvalConfig
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.build import build_evaluator
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.generation import dump_folder
from vitgan_tf.evaluation.nearest import nearest_real
from vitgan_tf.evaluation.path_length import path_length
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.evaluation.statistics_files import write_statistics
from vitgan_tf.logs import shown_logs
from vitgan_tf.progress import progress
from vitgan_tf.reporting.candidates import Candidate
from vitgan_tf.reporting.nearest import write_nearest
from vitgan_tf.runs.directory import DIGITS_CLASSIFIER, METRICS


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of `Scoring` beside the protocol.

    Attributes:
      batch_size: images drawn at a time, over all replicas.
      dump_dir: folder for the images as PNG files, written even if they cannot be scored; None for none.
      cross_check: see `Evaluator.evaluate`.
      statistics: file of the real images' statistics, in place of the images; see `read_statistics`.
      path_samples: number of samples of the path length; 0 to leave it out.
    """

    batch_size: int = 128
    dump_dir: str | None = None
    cross_check: bool = False
    statistics: str | None = None
    path_samples: int = 0


class Scoring:
    """Draws and scores images of a candidate under the current `tf.distribute` strategy.

    The real images are loaded, and their statistics computed, at the first result.

    Args:
      candidate: what is scored.
      config: numbers of images, split, extractor and noise.
      location: location of the real images, of the extractor's weights and of the cache.
      options: further settings.
    """

    def __init__(
        self, candidate: Candidate, config: EvalConfig, location: DataLocation, options: Options = Options()
    ):
        self._candidate = candidate
        self._config = config
        self._location = location
        self._options = options
        self._built: Evaluator | None = None

    @shown_logs()
    def result(self, seed: int = 0, truncation: float = 1.0) -> dict[str, Any]:
        """Draws images and scores them.

        Args:
          seed: seed of the latents.
          truncation: truncation psi of the styles; 1 for none.

        Returns:
          The result line: origin of the images, protocol and scores.

        Raises:
          UserError: data or weights are missing, settings do not fit together, or the generator draws values that are
            not finite.
        """
        options, count = self._options, self._config.num_generated
        drawn, total = self._candidate.truncated(truncation).batches(
            count, seed, options.batch_size, self._config.noise == "fixed"
        )
        # Opened first: a folder that cannot be written fails before the long evaluation.
        with (
            dump_folder(options.dump_dir) if options.dump_dir is not None else contextlib.nullcontext(iter) as written
        ):
            batches = progress(written(drawn), "generated images", total, "batch")
            try:
                evaluator = self._evaluator()
            except UserError as error:
                if options.dump_dir is None:
                    raise
                logging.warning("no scores, only images: %s", error)
                reason = error
                for _ in batches:
                    pass
            else:
                evaluator.protocol = dataclasses.replace(evaluator.protocol, seed=seed, truncation=truncation)
                # First: it may be refused.
                lengths = self._path_length(evaluator, seed, truncation)
                scores = evaluator.evaluate(batches, options.cross_check)
                return {**self._head(evaluator.protocol), **scores, **lengths}
        raise UserError(f"the images are in {options.dump_dir!r}, but there are no scores: {reason}") from reason

    @shown_logs()
    def write_nearest(self, path: str, count: int, seed: int, truncation: float = 1.0) -> None:
        """Writes a picture of the first images of a seed, each beside the real images nearest to it.

        Nearest by the extractor's features; without a network, by pixels.

        Args:
          path: see `images.write_picture`.
          count: number of images, at most as many as are scored.
          seed: seed of the latents.
          truncation: truncation psi of the styles.

        Raises:
          UserError: only statistics of the real images are known, or the picture cannot be written.
        """
        evaluator = self._evaluator()
        if not len(evaluator.split_images):
            raise UserError("--nearest needs real images, not their statistics: set another --reference")
        count, is_fixed = min(count, self._config.num_generated), self._config.noise == "fixed"
        drawn, _ = self._candidate.truncated(truncation).batches(count, seed, self._options.batch_size, is_fixed)
        images = np.concatenate(list(drawn))
        indices, _ = nearest_real(images, evaluator.split_images, evaluator.extractor, evaluator.real)
        try:
            write_nearest(path, images, evaluator.split_images, indices)
        except OSError as error:
            raise UserError(f"cannot write {path!r}: {error.strerror or error}") from error
        logging.info(
            "%d images of seed %d, truncation %g, beside the nearest real ones: %s",
            len(images),
            seed,
            truncation,
            path,
        )

    @shown_logs()
    def save_statistics(self, path: str) -> None:
        """Writes the statistics of the real images, see `write_statistics`.

        Raises:
          UserError: no network computes them, or the file cannot be written.
        """
        evaluator = self._evaluator()
        if self._options.statistics is not None:
            raise UserError("--save_statistics describes real images, not statistics: set another --reference")
        if evaluator.real is None:
            raise UserError("--save_statistics needs a network whose features are described: choose an --extractor")
        write_statistics(path, evaluator.real, evaluator.protocol)
        logging.info("statistics of the real images: %s", path)

    def _path_length(self, evaluator: Evaluator, seed: int, truncation: float) -> dict[str, float]:
        """Returns the path length by its name; nothing for truncated styles, whose paths are shorter."""
        options, candidate = self._options, self._candidate
        if not options.path_samples or truncation != 1.0:
            return {}
        if candidate.styles is None or evaluator.extractor is None:
            raise UserError("--path_length needs a generator with styles, and an --extractor")
        styles = candidate.styles()
        value = path_length(
            styles.map,
            lambda w: tf.clip_by_value(styles.draw(w, None), -1.0, 1.0),  # as people see them
            evaluator.extractor,
            candidate.latent_dim,
            options.path_samples,
            seed,
            options.batch_size,
        )
        return {f"{evaluator.protocol.extractor}_ppl": value}

    def _evaluator(self) -> Evaluator:
        if self._built is None:
            candidate, config = self._candidate, self._config
            self._built = build_evaluator(
                candidate.data,
                self._location,
                extractor_name=config.extractor,
                split=config.split,
                num_generated=config.num_generated,
                num_real=config.num_real,
                seed=0,
                classifier_path=os.path.join(candidate.run_dir, DIGITS_CLASSIFIER) if candidate.run_dir else None,
                noise=config.noise if candidate.has_noise else None,
                settings=config,
                statistics=self._options.statistics,
            )
        return self._built

    def _head(self, protocol: Protocol) -> dict[str, Any]:
        """Returns the entries of a result before its scores."""
        result = {**self._candidate.origin, "source": "evaluate", **protocol.as_dict()}
        known = self._candidate.fingerprint
        if protocol.split == "training" and known not in (None, protocol.real_fingerprint):
            reason = "not the training images: the run's config.json has another fingerprint"
            result["not_comparable_with_published"].append(reason)
            logging.warning("the real images are %s", reason)
        return result


def table(result: dict[str, Any]) -> str:
    """Returns a result of `evaluate` as a table for people."""
    size = f"{result['image_size']} x {result['image_size']} x {result['num_channels']}"
    kept = result["num_real_kept"]
    kept = "" if kept in (0, result["num_real"]) else f"; {kept} for all but fd and is"
    real = f"{result['num_real']} of {result['num_split']} images, {result['dataset']}, {result['split']}{kept}"
    if result["split"] == "unknown":
        real = f"statistics of {result['dataset']}"
    rows = [
        *_origin_rows(result, size),
        ("real", real),
        *_network_rows(result),
        *([("images for swd", f"{result['num_swd']} of each set")] if result["num_swd"] else []),
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


def _origin_rows(result: dict[str, Any], size: str) -> list[tuple[str, str]]:
    compared = [("reference", result["reference"])] if "reference" in result else []
    count = f"{result['num_generated']} images, {size}"
    if "images" in result:
        return [("images", f"{result['images']}, {count}"), *compared]
    step = "unknown" if result["step"] is None else result["step"]
    kimg = "" if result["kimg"] is None else f", {result['kimg']:g} kimg"
    weights = {"ema": "moving average", "raw": "raw weights", None: "weights unknown"}[result["weights"]]
    truncation = "" if result["truncation"] == 1.0 else f", truncation {result['truncation']:g}"
    return [
        ("model", result["model"]),
        ("step", f"{step}{kimg}, {weights}"),
        ("generated", f"{count}, seed {result['seed']}{truncation}"),
        *compared,
    ]


def _network_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    if result["extractor"] == "none":
        return [("extractor", "none")]
    name = f"{result['extractor']}, sha256 {result['extractor_sha256'][:16]}"
    accuracy = result["extractor_accuracy"]
    shown = [] if accuracy is None else [("accuracy", f"{100 * accuracy:.1f} % of held-out images")]
    return [("extractor", name), *shown, ("resize", result["resize"])]


def metrics_path(candidate: Candidate) -> str | None:
    """Returns the path of the run's metrics.jsonl; None if the run is not known."""
    return os.path.join(candidate.run_dir, METRICS) if candidate.run_dir else None
