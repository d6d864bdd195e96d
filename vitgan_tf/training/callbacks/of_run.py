"""Assembles the callbacks that write the files of a run."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vitgan_tf.config import ExperimentConfig
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.generation import ImageSampler
from vitgan_tf.images import to_float
from vitgan_tf.runs.best_checkpoint import BestCheckpoint
from vitgan_tf.runs.checkpoints import RunCheckpoints
from vitgan_tf.runs.directory import RunDirectory
from vitgan_tf.training.callbacks.diagnostics import DiagnosticsWriter
from vitgan_tf.training.callbacks.guards import CollapseWatch
from vitgan_tf.training.callbacks.writers import CheckpointWriter, MetricsWriter, SampleWriter, ScalarWriter
from vitgan_tf.training.gan import GAN
from vitgan_tf.training.summaries import Summaries


def writing_callbacks(
    gan: GAN,
    config: ExperimentConfig,
    images: np.ndarray,
    directory: RunDirectory,
    checkpoints: RunCheckpoints,
    evaluator: Evaluator,
    first_step: int,
    total_steps: int,
) -> list[tf.keras.callbacks.Callback]:
    """Returns the callbacks in the order in which they act at a step; the checkpoint comes last."""
    log, train = config.log, config.train
    schedule = {"first_step": first_step, "total_steps": total_steps}
    summaries = Summaries(directory.path)
    sampler = ImageSampler(gan, gan.generator.latent_dim, has_fixed_noise=config.eval.noise == "fixed")
    samples_period = config.kimg_to_steps(log.samples_every_kimg)
    best = BestCheckpoint(gan.checkpoint(), directory.best_checkpoint)
    eval_period = config.kimg_to_steps(log.eval_every_kimg)
    callbacks: list[tf.keras.callbacks.Callback] = [
        CollapseWatch(summaries, sampler, train.seed, period=samples_period, **schedule),
        ScalarWriter(summaries, config.images_per_step, period=log.scalars_every_steps, **schedule),
        SampleWriter(directory, summaries, sampler, train.seed, period=samples_period, **schedule),
        MetricsWriter(
            directory, summaries, sampler, evaluator, best, config.images_per_step, period=eval_period, **schedule
        ),
    ]
    if log.diagnostics_every_kimg > 0:
        period = config.kimg_to_steps(log.diagnostics_every_kimg)
        shown = to_float(images[: DiagnosticsWriter.NUM_IMAGES])
        callbacks.append(DiagnosticsWriter(summaries, shown, train.seed, period=period, **schedule))
    period = config.kimg_to_steps(log.checkpoint_every_kimg)
    return [*callbacks, CheckpointWriter(checkpoints, period=period, **schedule)]
