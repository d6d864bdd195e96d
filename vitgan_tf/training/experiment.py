"""A whole run: from a configuration to a trained, evaluated, exported generator."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import numpy as np
import tensorflow as tf
from absl import logging

from vitgan_tf.config import DataLocation, ExperimentConfig
from vitgan_tf.data.loading import fingerprint, load_images
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.errors import DivergedError, Interrupted, UserError, first_line
from vitgan_tf.evaluation.build import build_evaluator
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.generation import ImageSampler
from vitgan_tf.evaluation.inception import ExtractorNotFoundError
from vitgan_tf.export import export_generator
from vitgan_tf.images import to_float
from vitgan_tf.models.build import build_discriminator, build_generator
from vitgan_tf.runs.best_checkpoint import BestCheckpoint
from vitgan_tf.runs.checkpoints import RunCheckpoints
from vitgan_tf.runs.directory import CHECKPOINTS, RunDirectory, held_run
from vitgan_tf.training.callbacks.diagnostics import DiagnosticsWriter
from vitgan_tf.training.callbacks.guards import CollapseWatch, SkipWatch, StopOnDivergence
from vitgan_tf.training.callbacks.progress import ProgressBar
from vitgan_tf.training.callbacks.writers import (
    CheckpointWriter,
    MetricsReset,
    MetricsWriter,
    SampleWriter,
    ScalarWriter,
)
from vitgan_tf.training.diagnostics import divergence_report
from vitgan_tf.training.gan import GAN
from vitgan_tf.training.interruption import StopRequest
from vitgan_tf.training.strategies import agree_on_step, describe, distribute, num_workers, resolve, worker
from vitgan_tf.training.summaries import Summaries


@contextlib.contextmanager
def _precision_policy(name: str) -> Iterator[None]:
    """Layers that are made inside have this Keras policy: the dtype of their weights and that of their results."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        # None: whatever floatx() says.
        is_default = before.name == tf.keras.backend.floatx()
        tf.keras.mixed_precision.set_global_policy(None if is_default else before)


def build_gan(config: ExperimentConfig) -> GAN:
    """Both networks of a configuration with their optimisers, from its seed, under the current strategy.

    Sets the global random seeds.

    Raises:
      UserError: the batch cannot be shared by the replicas, or a share not by the microbatches.
    """
    options = resolve(config, tf.distribute.get_strategy())
    tf.keras.utils.set_random_seed(config.train.seed)
    with _precision_policy(config.train.precision):
        generator, discriminator = build_generator(config), build_discriminator(config)
    gan = GAN(generator, discriminator, config)
    gan.compile(**options)
    return gan


def run_experiment(
    config: ExperimentConfig,
    model_dir: str,
    provenance: dict[str, Any] | None = None,
    location: DataLocation | None = None,
    strategy: tf.distribute.Strategy | None = None,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> None:
    """Trains to the configured length, going on from the newest checkpoint in model_dir, and exports.

    Args:
      config: the experiment.
      model_dir: the run directory; with several processes, on storage that all of them see.
      provenance: further entries of config.json.
      location: of the data on this machine; by default that of tensorflow-datasets.
      strategy: devices to compute on, by default one. Of several processes, the chief alone writes.
      callbacks: further ones of Keras, which act after the run's own.

    Raises:
      UserError: data or directory cannot be used, another run writes to it, the batch cannot be shared by the
        replicas, or another process has ended.
      DivergedError: a loss or gradient is not finite, and `TrainConfig.on_nan` does not help.
      Interrupted: by Ctrl-C or SIGTERM while it trained; the state after the last finished step is saved.
    """
    strategy, location = strategy or tf.distribute.get_strategy(), location or DataLocation()
    resolve(config, strategy)  # what does not go together is said before images are decoded for minutes
    images = load_images(config.data, location)
    identity = {"num_images": len(images), "fingerprint": fingerprint(images)}
    is_chief = worker(strategy) == 0  # of several processes, it alone writes
    with held_run(model_dir) if is_chief else contextlib.nullcontext():
        directory = RunDirectory(model_dir, config, provenance, identity) if is_chief else None
        _run(config, model_dir, strategy, images, directory, location, callbacks)


def _run(
    config: ExperimentConfig,
    model_dir: str,
    strategy: tf.distribute.Strategy,
    images: np.ndarray,
    directory: RunDirectory | None,
    location: DataLocation,
    further: Sequence[tf.keras.callbacks.Callback],
) -> None:
    """Trains and exports; directory is None where another process writes."""
    try:
        with strategy.scope():
            gan = build_gan(config)
        checkpoints = RunCheckpoints(
            gan.checkpoint(), os.path.join(model_dir, CHECKPOINTS), config.log.keep_checkpoints
        )
        first_step = checkpoints.restore_newest() or 0
        agree_on_step(strategy, first_step)
        if first_step < config.total_steps:
            fit = functools.partial(_fit, gan, strategy, images, directory, checkpoints, location, further)
            _train(gan, checkpoints, fit, first_step)
            # The others stay until the chief has evaluated: it would miss them.
            agree_on_step(strategy, int(gan.step.numpy()))
    except _LOST as error:
        if num_workers(strategy) == 1:
            raise
        raise UserError(
            "another process of this run has ended: give all of them their commands again, and they go on from the "
            f"newest checkpoint ({first_line(error)})"
        ) from error
    if directory is not None:
        try:
            export_generator(gan.ema_generator, directory.saved_model, int(gan.step.numpy()))
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"cannot write {directory.saved_model} ({first_line(error)}): the training is complete and saved, "
                "and the same command exports it"
            ) from error
        logging.info("run complete: %s holds samples/ and saved_model/", model_dir)


# What collective operations end with when a process is gone.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError, tf.errors.CancelledError)


# From the same checkpoint.
_MAX_ROLLBACKS = 3


def _train(gan: GAN, checkpoints: RunCheckpoints, fit: Callable[[int], None], first_step: int) -> None:
    """From first_step to the end, and from the newest checkpoint again where it diverges and that is wanted."""
    rollbacks: list[int] = []
    while True:
        try:
            fit(first_step)
            return
        except DivergedError as error:
            attempt = int(gan.attempt.numpy())
            if gan.config.train.on_nan != "rollback":
                raise
            step = checkpoints.restore_newest()
            if step is None or rollbacks.count(step) == _MAX_ROLLBACKS:
                raise
            logging.warning("%s. Going on from step %d with other random numbers", error, step)
            rollbacks.append(step)
            gan.attempt.assign(attempt + 1)
            first_step = step


def _fit(
    gan: GAN,
    strategy: tf.distribute.Strategy,
    images: np.ndarray,
    directory: RunDirectory | None,
    checkpoints: RunCheckpoints,
    location: DataLocation,
    further: Sequence[tf.keras.callbacks.Callback],
    first_step: int,
) -> None:
    """From first_step to the end; directory is None where another process writes."""
    config, train, total_steps = gan.config, gan.config.train, gan.config.total_steps
    logging.info(
        "generator %.2f M weights, discriminator %.2f M, on %s, %d images, batch %d, %d steps from step %d",
        gan.generator.count_params() / 1e6,
        gan.discriminator.count_params() / 1e6,
        describe(strategy),
        len(images),
        train.batch_size,
        total_steps,
        first_step,
    )

    def share_of(num_pipelines: int, pipeline: int) -> tf.data.Dataset:
        return training_dataset(
            images,
            train.batch_size,
            train.seed,
            first_step,
            config.data.flip,
            num_workers=num_pipelines,
            worker=pipeline,
        )

    dataset = distribute(strategy, share_of)
    run = {"first_step": first_step, "total_steps": total_steps}
    stop, progress = StopRequest(**run), ProgressBar(**run)

    def report(step: int, logs: dict[str, float]) -> str:
        if directory is None:
            return ""
        try:
            return f"; see {directory.write_divergence(divergence_report(gan, step, logs))}"
        except OSError:
            return ""

    guard = SkipWatch if train.on_nan == "skip" else StopOnDivergence
    callbacks = [guard(report=report, **run), stop]
    if directory is None:
        callbacks += [MetricsReset(period=config.log.scalars_every_steps, **run)]
    else:
        # From its beginning, a run evaluates step 0 again.
        directory.drop_metrics_after(first_step or -1)
        # The chief of several processes draws and evaluates alone, while the others wait for the next step.
        with strategy.scope() if num_workers(strategy) == 1 else contextlib.nullcontext():
            evaluator = _evaluator(config, images, directory, location)
            callbacks += _callbacks(gan, config, images, directory, checkpoints, evaluator, first_step)
        callbacks += [progress]
    with stop.received():
        try:
            steps = total_steps - first_step
            gan.fit(dataset, steps_per_epoch=steps, verbose=0, callbacks=[*callbacks, *further])
        except Interrupted as error:
            progress.close()
            step = int(gan.step.numpy())
            # A checkpoint of the last step says that its evaluation is done, too.
            if first_step < step < total_steps and directory is not None:
                checkpoints.save(step)
            place = "there" if step < total_steps else "the newest checkpoint"
            name = signal.Signals(error.signal_number).name
            message = f"stopped by {name} after step {step}: the same command goes on from {place}"
            raise Interrupted(error.signal_number, message) from None
        except _LOST:
            stop.check()  # then the others were stopped as well
            raise
        finally:
            progress.close()


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
    checkpoints: RunCheckpoints,
    evaluator: Evaluator | None,
    first_step: int,
) -> list[tf.keras.callbacks.Callback]:
    """In the order in which they act at a step: a checkpoint comes after all that belongs to its step."""
    log, train = config.log, config.train
    summaries = Summaries(directory.path)
    run = {"first_step": first_step, "total_steps": config.total_steps}
    sampler = ImageSampler(gan, gan.generator.latent_dim)
    metrics, diagnostics = [], []
    if evaluator is not None:
        best = BestCheckpoint(gan.checkpoint(), directory.best_checkpoint)
        metrics.append(
            MetricsWriter(
                directory,
                summaries,
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
        diagnostics.append(DiagnosticsWriter(summaries, shown, train.seed, period=period, **run))
    samples_period = config.kimg_to_steps(log.samples_every_kimg)
    return [
        CollapseWatch(summaries, sampler, train.seed, period=samples_period, **run),
        ScalarWriter(summaries, train.batch_size, period=log.scalars_every_steps, **run),
        SampleWriter(directory, summaries, sampler, train.seed, period=samples_period, **run),
        *metrics,
        *diagnostics,
        CheckpointWriter(checkpoints, period=config.kimg_to_steps(log.checkpoint_every_kimg), **run),
    ]
