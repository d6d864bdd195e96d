"""Runs an experiment: trains, evaluates and exports a generator."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from vitgan_tf.config import DataLocation, ExperimentConfig
from vitgan_tf.data.labels import LabelledImages
from vitgan_tf.data.loading import load_labelled_images
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.data.reading import fingerprint
from vitgan_tf.errors import Interrupted, UserError, first_line
from vitgan_tf.evaluation.build import build_evaluator
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.logs import shown_logs
from vitgan_tf.runs.checkpoints import RunCheckpoints
from vitgan_tf.runs.directory import CHECKPOINTS, RunDirectory, held_run
from vitgan_tf.trained.saved_model import export_generator
from vitgan_tf.training.build import build_gan
from vitgan_tf.training.callbacks.guards import SkipWatch, StopOnDivergence
from vitgan_tf.training.callbacks.memory import MemoryCheck
from vitgan_tf.training.callbacks.of_run import writing_callbacks
from vitgan_tf.training.callbacks.progress import ProgressBar
from vitgan_tf.training.callbacks.tf32 import TF32
from vitgan_tf.training.callbacks.writers import MetricsReset, write_real_images
from vitgan_tf.training.diagnostics import divergence_report
from vitgan_tf.training.initialization import Initialization, Source, initialize, source_of_new_run
from vitgan_tf.training.interruption import StopRequest
from vitgan_tf.training.plan import ExecutionPlan, execution_plan
from vitgan_tf.training.rollback import with_rollbacks
from vitgan_tf.training.strategies import LOST, agree_on_step, distribute, lost_processes, num_workers, worker


@shown_logs()
def run_experiment(
    config: ExperimentConfig,
    model_dir: str,
    provenance: Mapping[str, Any] | None = None,
    location: DataLocation | None = None,
    strategy: tf.distribute.Strategy | None = None,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    init: Initialization | None = None,
) -> None:
    """Trains to the configured length, resuming from the newest checkpoint in model_dir, and exports the generator.

    Shows its log lines and its progress, as the command does.

    Args:
      config: configuration of the experiment.
      model_dir: run directory; with several processes, on storage that all of them share.
      provenance: further entries of config.json.
      location: location of the data on this machine; default: that of tensorflow-datasets.
      strategy: strategy of the training; default: one device. With several processes, only the chief writes.
      callbacks: extra Keras callbacks, called after the run's own.
      init: weights that a new run starts from; a run that is resumed must have started from them.

    Raises:
      UserError: the data or the directory cannot be used, another run writes to the directory, the configuration
        does not fit the devices, or another process has ended.
      DivergedError: a loss or gradient is not finite, and `TrainConfig.on_nan` allows no recovery.
      Interrupted: Ctrl-C or SIGTERM during the training; the state after the last finished step is saved.
    """
    plan, location = execution_plan(config, strategy), location or DataLocation()
    training_images = load_labelled_images(config.data, location)
    images = training_images.images
    is_chief = worker(plan.strategy) == 0
    with held_run(model_dir) if is_chief else contextlib.nullcontext(), lost_processes(plan.strategy):
        directory = None
        if is_chief:
            identity = {"num_images": len(images), "fingerprint": fingerprint(images)}
            entries = {**(provenance or {}), "execution": plan.description}
            directory = RunDirectory(model_dir, config, entries, identity)
        source = source_of_new_run(init, config, plan, model_dir)
        run = Run(config, plan, training_images, location, model_dir, directory, callbacks)
        first_step = run.restore() or run.start(source)
        del source  # its networks and optimisers
        run.fit(first_step)
        run.export()


class Run:
    """Training of one configuration: call `restore` and, for a new run, `start`, then `fit` and `export`.

    Args:
      config: configuration of the experiment.
      plan: execution plan.
      training_images: training images, with labels if the set has them.
      location: location of the data and of Inception's weights.
      model_dir: run directory.
      directory: files of the run; None in a process that does not write.
      extra_callbacks: Keras callbacks, called after the run's own.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        plan: ExecutionPlan,
        training_images: LabelledImages,
        location: DataLocation,
        model_dir: str,
        directory: RunDirectory | None,
        extra_callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    ):
        _disable_tf32()
        self._config = config
        self._strategy = plan.strategy
        self._training_images = training_images
        self._images = training_images.images
        self._location = location
        self._directory = directory
        self._extra_callbacks = extra_callbacks
        with plan.strategy.scope():
            self.gan = build_gan(config, plan)
        path = os.path.join(model_dir, CHECKPOINTS)
        self._checkpoints = RunCheckpoints(self.gan.checkpoint(), path, config.log.keep_checkpoints)

    def restore(self) -> int | None:
        """Restores the newest checkpoint and returns its step; None if there is none.

        Raises:
          UserError: no checkpoint can be restored, or the processes have restored different ones.
        """
        step = self._checkpoints.restore_newest()
        agree_on_step(self._strategy, step or 0)
        return step

    def start(self, source: Source | None) -> int:
        """Starts a new training from the weights of another one, if there is one, and returns step 0."""
        record = {} if source is None else initialize(self.gan, source)
        if self._directory is not None:
            self._directory.record_source(record)
        return 0

    def fit(self, first_step: int) -> None:
        """Trains from a step to the configured length; see `run_experiment` for the errors."""
        if first_step < self._config.total_steps:
            with_rollbacks(self.gan, self.restore, self._fit, first_step)
            step = int(self.gan.step.numpy())
            agree_on_step(self._strategy, step)  # barrier: workers outlive the chief's last evaluation
            # No process ends before all have passed that barrier. One that is lost from here on has done its work.
            with contextlib.suppress(*LOST):
                agree_on_step(self._strategy, step)

    def export(self) -> None:
        """Exports the moving average as a SavedModel.

        Raises:
          UserError: the SavedModel cannot be written.
        """
        if self._directory is None:
            return
        path = self._directory.saved_model
        try:
            export_generator(self.gan.ema_generator, path, int(self.gan.step.numpy()))
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"cannot write {path} ({first_line(error)}): the training is complete and saved; the same command "
                "exports it"
            ) from error
        logging.info("run complete: %s holds samples/ and saved_model/", self._directory.path)

    def _fit(self, first_step: int) -> None:
        """Trains from a step to the configured length, or until the training diverges."""
        schedule = {"first_step": first_step, "total_steps": self._config.total_steps}
        self._log_start(first_step)
        if self._directory is not None and not os.path.exists(self._directory.real_images):
            train, flip = self._config.train, self._config.data.flip
            write_real_images(self._directory, self._images, train.seed, flip)
        stop, progress = StopRequest(**schedule), ProgressBar(**schedule)
        tf32, batches = [TF32()] if self._config.train.tf32 else [], self._batches(first_step)
        callbacks = [*tf32, self._guard(schedule), stop, *self._callbacks(schedule)]
        if self._directory is not None:
            callbacks.append(progress)
        # Traces the step: after the progress bar has begun.
        callbacks += [MemoryCheck(batches), *self._extra_callbacks]
        steps = self._config.total_steps - first_step
        with stop.received():
            try:
                self.gan.fit(batches, steps_per_epoch=steps, verbose=0, callbacks=callbacks)
            except Interrupted as error:
                progress.close()
                raise self._saved(error, first_step) from None
            except LOST:
                stop.check()  # a signal has ended the other processes too
                raise
            finally:
                progress.close()
                _disable_tf32()  # an error in a step has left it enabled

    def _log_start(self, first_step: int) -> None:
        logging.info(
            "generator %.2f M weights, discriminator %.2f M, on %s, %d images, batch %d, %d steps from step %d",
            self.gan.generator.count_params() / 1e6,
            self.gan.discriminator.count_params() / 1e6,
            self.gan.plan.description,
            len(self._images),
            self._config.train.batch_size,
            self._config.total_steps,
            first_step,
        )

    def _batches(self, first_step: int) -> tf.data.Dataset:
        """Returns the batches from a step on, distributed over the replicas."""
        train, flip = self._config.train, self._config.data.flip

        def share_of(num_pipelines: int, pipeline: int) -> tf.data.Dataset:
            return training_dataset(
                self._images,
                train.batch_size,
                train.seed,
                first_step,
                flip,
                num_workers=num_pipelines,
                worker=pipeline,
                batches_per_step=train.discriminator_steps,
            )

        return distribute(self._strategy, share_of, train.discriminator_steps)

    def _guard(self, schedule: Mapping[str, int]) -> tf.keras.callbacks.Callback:
        """Returns the callback that watches for losses and gradients that are not finite."""
        guard = SkipWatch if self._config.train.on_nan == "skip" else StopOnDivergence
        return guard(report=self._report_divergence, **schedule)

    def _report_divergence(self, step: int, logs: dict[str, float]) -> str:
        """Writes divergence.json and returns the end of the error line, which names the file."""
        if self._directory is None:
            return ""
        try:
            return f"; see {self._directory.write_divergence(divergence_report(self.gan, step, logs))}"
        except OSError:
            return ""

    def _callbacks(self, schedule: Mapping[str, int]) -> list[tf.keras.callbacks.Callback]:
        """Returns the callbacks that write files; in other processes, those that keep in step with it."""
        if self._directory is None:
            return [MetricsReset(period=self._config.log.scalars_every_steps, **schedule)]
        # A run that starts over evaluates step 0 again.
        self._directory.drop_metrics_after(schedule["first_step"] or -1)
        # The chief of several processes draws and evaluates alone, while the others wait for the next step.
        with self._strategy.scope() if num_workers(self._strategy) == 1 else contextlib.nullcontext():
            has_noise = self.gan.generator.has_noise
            evaluator = _evaluator(self._config, self._training_images, self._directory, self._location, has_noise)
            return writing_callbacks(
                self.gan, self._config, self._images, self._directory, self._checkpoints, evaluator, **schedule
            )

    def _saved(self, error: Interrupted, first_step: int) -> Interrupted:
        """Saves the state of an interrupted training and returns the error that reports it."""
        step, total_steps = int(self.gan.step.numpy()), self._config.total_steps
        # A checkpoint of the last step would imply that its evaluation is done.
        if first_step < step < total_steps and self._directory is not None:
            self._checkpoints.save(step)
        place = "there" if step < total_steps else "the newest checkpoint"
        name = signal.Signals(error.signal_number).name
        return Interrupted(
            error.signal_number, f"stopped by {name} after step {step}: the same command resumes from {place}"
        )


def _disable_tf32() -> None:
    """Disables TensorFloat-32: TensorFlow's default on GPUs would round spectral norms, samples and scores too."""
    tf.config.experimental.enable_tensor_float_32_execution(False)


def _evaluator(
    config: ExperimentConfig,
    training_images: LabelledImages,
    directory: RunDirectory,
    location: DataLocation,
    has_noise: bool,
) -> Evaluator:
    return build_evaluator(
        config.data,
        location,
        extractor_name=config.eval.extractor,
        split=config.eval.split,
        num_generated=config.log.eval_samples,
        num_real=config.log.eval_real_images,
        seed=config.train.seed,
        training_images=training_images,
        classifier_path=directory.classifier,
        noise=config.eval.noise if has_noise else None,
        settings=config.eval,
    )
