"""A whole run: from a configuration to a trained, evaluated, exported generator."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from vitgan_tf.config import DataLocation, ExperimentConfig
from vitgan_tf.data.loading import fingerprint, load_images
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.evaluation.build import build_evaluator
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.generation import ImageSampler
from vitgan_tf.evaluation.inception import ExtractorNotFoundError
from vitgan_tf.export import export_generator
from vitgan_tf.images import to_float
from vitgan_tf.models.discriminator import build_discriminator
from vitgan_tf.models.generator import build_generator
from vitgan_tf.training.callbacks import (
    CheckpointWriter,
    MetricsWriter,
    ProgressBar,
    SampleWriter,
    ScalarWriter,
    StopOnDivergence,
)
from vitgan_tf.training.checkpoints import BestCheckpoint, restore_from
from vitgan_tf.training.diagnostics import DiagnosticsWriter
from vitgan_tf.training.gan import GAN
from vitgan_tf.training.run_directory import RunDirectory


def resolve_xla(mode: str) -> str:
    """ "full", "kernels" or "off" from a `TrainConfig.xla`, for the devices that TensorFlow sees."""
    if mode != "auto":
        return mode
    if tf.config.list_physical_devices("TPU"):
        return "full"
    return "off" if tf.config.list_physical_devices("GPU") else "kernels"


def build_gan(config: ExperimentConfig) -> GAN:
    """Both networks of a configuration with their optimisers, from its seed. Sets the global random seeds."""
    tf.keras.utils.set_random_seed(config.train.seed)
    gan = GAN(build_generator(config), build_discriminator(config), config)
    gan.compile(xla=resolve_xla(config.train.xla))
    return gan


def restore(gan: GAN, manager: tf.train.CheckpointManager) -> int:
    """Loads the newest checkpoint, if there is one, and returns the number of finished steps.

    Raises:
      UserError: the checkpoint cannot be read, or does not hold all of the state.
    """
    if manager.latest_checkpoint:
        restore_from(manager.latest_checkpoint, manager.checkpoint)
    return int(gan.step.numpy())


def run_experiment(
    config: ExperimentConfig,
    model_dir: str,
    provenance: dict[str, Any] | None = None,
    location: DataLocation | None = None,
) -> None:
    """Trains to the configured length, going on from the newest checkpoint in model_dir, and exports.

    Args:
      config: the experiment.
      model_dir: the run directory.
      provenance: further entries of config.json.
      location: of the data on this machine; by default that of tensorflow-datasets.

    Raises:
      UserError: data or directory cannot be used, or the training diverged.
    """
    location = location or DataLocation()
    images = load_images(config.data, location)
    identity = {"num_images": len(images), "fingerprint": fingerprint(images)}
    directory = RunDirectory(model_dir, config, provenance, identity)
    gan = build_gan(config)
    manager = tf.train.CheckpointManager(
        gan.checkpoint(), directory.checkpoints, max_to_keep=config.log.keep_checkpoints
    )
    first_step = restore(gan, manager)
    total_steps = config.total_steps
    logging.info(
        "generator %.2f M weights, discriminator %.2f M, %d images, batch %d, %d steps from step %d",
        gan.generator.count_params() / 1e6,
        gan.discriminator.count_params() / 1e6,
        len(images),
        config.train.batch_size,
        total_steps,
        first_step,
    )
    if first_step < total_steps:
        # From its beginning, a run evaluates step 0 again.
        directory.drop_metrics_after(first_step or -1)
        train = config.train
        dataset = training_dataset(images, train.batch_size, train.seed, first_step, config.data.flip)
        evaluator = _evaluator(config, images, directory, location)
        progress = ProgressBar(first_step, total_steps)
        callbacks = [*_callbacks(gan, config, images, directory, manager, evaluator, first_step), progress]
        try:
            gan.fit(dataset, steps_per_epoch=total_steps - first_step, callbacks=callbacks, verbose=0)
        finally:
            progress.close()
    export_generator(gan.ema_generator, directory.saved_model, int(gan.step.numpy()))
    logging.info("run complete: %s holds samples/ and saved_model/", model_dir)


def _evaluator(
    config: ExperimentConfig, images: np.ndarray, directory: RunDirectory, location: DataLocation
) -> Evaluator | None:
    """Of the scores during training; None, with a line in the log, where the network behind them is not there."""
    try:
        return build_evaluator(
            config.data,
            location,
            extractor_name=config.eval.extractor,
            split=config.eval.split,
            num_generated=config.log.eval_samples,
            num_real=config.log.eval_real_images,
            seed=config.train.seed,
            images=images if config.eval.split == "training" else None,
            classifier_path=directory.classifier,
        )
    except ExtractorNotFoundError as error:
        # Asked for by name, or by the place of its file, it is an error.
        if config.eval.extractor != "auto" or location.inception is not None:
            raise
        logging.warning("no scores during training: %s", error)
        return None


def _callbacks(
    gan: GAN,
    config: ExperimentConfig,
    images: np.ndarray,
    directory: RunDirectory,
    manager: tf.train.CheckpointManager,
    evaluator: Evaluator | None,
    first_step: int,
) -> list[tf.keras.callbacks.Callback]:
    """In the order in which they act at a step: a checkpoint comes after all that belongs to its step."""
    log, train = config.log, config.train
    writer = tf.summary.create_file_writer(directory.path)
    run = {"first_step": first_step, "total_steps": config.total_steps}
    sampler = ImageSampler(gan, config.generator.latent_dim)
    metrics, diagnostics = [], []
    if evaluator is not None:
        best = BestCheckpoint(gan.checkpoint(), directory.best_checkpoint)
        metrics.append(
            MetricsWriter(
                directory,
                writer,
                sampler,
                evaluator,
                best,
                train.batch_size,
                period=config.kimg_to_steps(log.eval_every_kimg),
                **run,
            )
        )
    if log.diagnostics_every_kimg > 0:
        period = config.kimg_to_steps(log.diagnostics_every_kimg)
        shown = to_float(images[: DiagnosticsWriter.NUM_IMAGES])
        diagnostics.append(DiagnosticsWriter(writer, shown, train.seed, period=period, **run))
    return [
        StopOnDivergence(**run),
        ScalarWriter(writer, train.batch_size, period=log.scalars_every_steps, **run),
        SampleWriter(
            directory, writer, sampler, train.seed, period=config.kimg_to_steps(log.samples_every_kimg), **run
        ),
        *metrics,
        *diagnostics,
        CheckpointWriter(manager, period=config.kimg_to_steps(log.checkpoint_every_kimg), **run),
    ]
