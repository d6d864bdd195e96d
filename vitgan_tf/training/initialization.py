"""Starts a training from the weights of another one."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
from collections.abc import Iterable
from typing import Any

import tensorflow as tf
from absl import logging

from vitgan_tf.config import ExperimentConfig
from vitgan_tf.errors import UserError
from vitgan_tf.files import is_locked
from vitgan_tf.runs.checkpoints import restore_from
from vitgan_tf.runs.directory import CHECKPOINTS, read_run, recorded_source
from vitgan_tf.runs.generator import checkpoint_path
from vitgan_tf.trained.loading import load
from vitgan_tf.trained.sources import is_run_source
from vitgan_tf.training.build import build_gan
from vitgan_tf.training.gan import GAN
from vitgan_tf.training.plan import ExecutionPlan

_LISTED = 8
NETWORKS = ("generator", "ema_generator", "discriminator")
_OPTIMIZERS = {"generator": "generator_optimizer", "discriminator": "discriminator_optimizer"}


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights that a training starts from.

    Attributes:
      networks: networks by their name in `GAN`; a trained generator stands for the moving average too.
      optimizers: optimisers by the name of their network; empty for a trained generator.
      identity: entries of config.json: path, step and hash.
      with_optimizer: see `Initialization`.
    """

    networks: dict[str, tf.keras.Model]
    optimizers: dict[str, tf.keras.optimizers.Optimizer]
    identity: dict[str, Any]
    with_optimizer: bool = False


@dataclasses.dataclass(frozen=True)
class Initialization:
    """Start of a new training from another one.

    Attributes:
      path: run directory, or argument of `load`.
      checkpoint: of a run: see `load`.
      with_optimizer: whether the optimisers start from the source's too, where all layers of their network do.
    """

    path: str
    checkpoint: str = "latest"
    with_optimizer: bool = False


def source_of_new_run(
    init: Initialization | None, config: ExperimentConfig, plan: ExecutionPlan, model_dir: str
) -> Source | None:
    """Returns what a run starts from: None for nothing, and for a run that goes on from a checkpoint of its own.

    Raises:
      UserError: the run has a checkpoint and did not start from this source; see also `read_source`.
    """
    if init is None:
        return None
    if glob.glob(os.path.join(glob.escape(model_dir), CHECKPOINTS, "ckpt-*.index")):
        started = recorded_source(model_dir).get("path")
        if started is None or os.path.realpath(started) != os.path.realpath(init.path):
            raise UserError(
                f"{model_dir!r} holds a run that started from {started or 'nothing'}, not from {init.path}: choose "
                "another --model_dir"
            )
        logging.info("the run goes on from its own checkpoint, not from %s", init.path)
        return None
    # Built before the new networks, whose first weights depend on their own seed alone.
    with plan.strategy.scope():
        return read_source(init, config, plan)


def read_source(init: Initialization, config: ExperimentConfig, plan: ExecutionPlan) -> Source:
    """Reads the networks and optimisers of a run, or the generator of another source of `load`.

    Args:
      init: what is read.
      config: configuration of the new training.
      plan: execution plan of the new training.

    Raises:
      UserError: the source cannot be read, holds no network, its images have another number of channels, or what is
        asked for applies only to a run or to constant rates.
    """
    path = init.path
    if is_run_source(path):
        _check_rates(init, config)
        source = _of_run(init, plan)
    else:
        if init.with_optimizer or init.checkpoint != "latest":
            raise UserError(
                f"--init_optimizer and --init_checkpoint apply only to a run: {path!r} is a generator alone"
            )
        generator = load(path)
        if generator.network is None:
            raise UserError(f"--init_from={path}: it holds a generator's functions, not its network: give the run")
        identity = {"path": path, "step": generator.step, "sha256": weights_hash(generator.network)}
        source = Source(dict.fromkeys(NETWORKS[:2], generator.network), {}, identity)
    channels = source.networks["generator"].num_channels
    if channels != config.data.num_channels:
        raise UserError(
            f"--init_from={path}: its images have {channels} channel(s), those of this run {config.data.num_channels}"
        )
    return source


def _check_rates(init: Initialization, config: ExperimentConfig) -> None:
    if init.with_optimizer and (config.train.warmup_kimg or config.train.decay_fraction):
        raise UserError(
            "--init_optimizer goes on with the source's count of updates, which a rate that changes depends on: add "
            "--warmup_kimg=0 --decay_fraction=0"
        )


def weights_hash(network: tf.keras.Model) -> str:
    """Returns the SHA-256 of a network's weights, in the order of their paths."""
    digest = hashlib.sha256()
    for path, weight in sorted(network.get_weight_paths().items()):
        digest.update(path.encode() + weight.numpy().tobytes())
    return digest.hexdigest()


def _of_run(init: Initialization, plan: ExecutionPlan) -> Source:
    path = os.path.expanduser(init.path)
    config, _ = read_run(path)
    # Its optimisers scale the loss or do not, as its own precision says.
    gan = build_gan(config, dataclasses.replace(plan, precision=config.train.precision))
    restore_from(checkpoint_path(path, init.checkpoint), gan.checkpoint())
    sha256 = weights_hash(gan.ema_generator)
    networks = {name: getattr(gan, name) for name in NETWORKS}
    optimizers = {name: getattr(gan, optimizer) for name, optimizer in _OPTIMIZERS.items()}
    identity = {"path": path, "step": int(gan.step.numpy()), "sha256": sha256}
    if is_locked(path):
        logging.warning("%s is still being trained: this run starts from its step %d", path, identity["step"])
    return Source(networks, optimizers, identity, init.with_optimizer)


def initialize(gan: GAN, source: Source) -> dict[str, Any]:
    """Copies what fits: a layer starts anew if the source lacks one of its weights, or has it in another shape.

    The moving average takes the source's. The step and, unless the source says otherwise, the optimisers start at 0.

    Args:
      gan: the new training, built and not yet trained.
      source: the other one.

    Returns:
      The identity of the source, and by network the layers that start anew, for config.json.

    Raises:
      UserError: no layer of the generator fits.
    """
    anew = {}
    for name in NETWORKS:
        target, given = getattr(gan, name), source.networks.get(name)
        fitting = [] if given is None else fitting_layers(target, given)
        if name == "generator" and not fitting:
            raise UserError(f"--init_from={source.identity['path']}: no layer of its generator fits this one")
        if given is not None:
            _copy(target, given, fitting)
        anew[name] = [layer for layer in _layers(target) if layer not in fitting]
    for name, optimizer in _OPTIMIZERS.items():
        _log(name, anew[name], len(_layers(getattr(gan, name))))
        if not source.with_optimizer:
            continue
        if anew[name] or set(_layers(getattr(gan, name))) != set(_layers(source.networks[name])):
            logging.warning("%s: its optimiser starts anew, as its layers are not all those of the source", name)
        else:
            _copy_state(getattr(gan, optimizer), source.optimizers[name])
    return {**source.identity, "with_optimizer": source.with_optimizer, "started_anew": anew}


def fitting_layers(target: tf.keras.Model, source: tf.keras.Model) -> list[str]:
    """Returns the layers all of whose weights the source has, in the same shape."""
    given = {path: weight.shape for path, weight in source.get_weight_paths().items()}
    return [
        layer
        for layer, paths in _layers(target).items()
        if all(given.get(path) == weight.shape for path, weight in paths.items())
    ]


def _layers(network: tf.keras.Model) -> dict[str, dict[str, tf.Variable]]:
    """Returns weights by path, for each layer by its path."""
    layers: dict[str, dict[str, tf.Variable]] = {}
    for path, weight in network.get_weight_paths().items():
        layers.setdefault(path.rpartition(".")[0] or path, {})[path] = weight
    return layers


def _copy(target: tf.keras.Model, source: tf.keras.Model, fitting: Iterable[str]) -> None:
    given, layers = source.get_weight_paths(), _layers(target)
    for layer in fitting:
        for path, weight in layers[layer].items():
            weight.assign(given[path])


def _copy_state(target: tf.keras.optimizers.Optimizer, source: tf.keras.optimizers.Optimizer) -> None:
    """Copies Adam's averages and its count of updates, but not the rate."""
    target, source = (getattr(optimizer, "inner_optimizer", optimizer) for optimizer in (target, source))
    pairs = [(target.iterations, source.iterations)]
    pairs += [*zip(target._momentums, source._momentums), *zip(target._velocities, source._velocities)]
    for variable, value in pairs:
        variable.assign(value)


def _log(name: str, anew: list[str], total: int) -> None:
    if not anew:
        logging.info("%s: all layers start from the source", name)
        return
    listed = ", ".join(anew[:_LISTED]) + (f" and {len(anew) - _LISTED} more" if len(anew) > _LISTED else "")
    logging.warning("%s: %d of %d layers start anew: %s", name, len(anew), total, listed)
