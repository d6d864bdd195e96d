"""Trains a GAN: vitgan run --dataset=celeba64

The same command resumes from the newest checkpoint in --model_dir.
"""

from __future__ import annotations

import json
import os
from typing import Any

from absl import flags, logging

from vitgan_tf import checkout
from vitgan_tf.commands import configuration
from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.flags import (
    define_config_flags,
    define_data_location_flags,
    define_path,
    define_strategy_flags,
)
from vitgan_tf.commands.quiet import import_tensorflow, strategy_from_flags
from vitgan_tf.config import ExperimentConfig, as_dict
from vitgan_tf.errors import UserError
from vitgan_tf.invocation import invocation


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_config_flags(given)
    define_data_location_flags(given)
    define_strategy_flags(given, several_processes=True)
    define_path(
        given,
        "model_dir",
        None,
        "Run directory; default: runs/<dataset>, followed by what --size, --variant, --generator and --discriminator "
        "set: runs/<dataset>-<size>-<variant>, runs/<dataset>-g_<generator>-d_<discriminator>. Required with "
        "--config.",
    )
    define_path(
        given,
        "init_from",
        None,
        "Initialise a new run from the weights of this run directory, npz export or shipped generator. Layers that "
        "do not fit are listed and initialised at random.",
    )
    flags.DEFINE_string(
        "init_checkpoint",
        "latest",
        "Checkpoint of the run of --init_from: latest, best, or the step of a saved checkpoint.",
        flag_values=given,
    )
    flags.DEFINE_bool(
        "init_optimizer",
        False,
        "Also copy the optimiser state of each network whose layers all fit.",
        flag_values=given,
    )
    flags.DEFINE_bool(
        "dry_run",
        False,
        "Print the resolved configuration as JSON, log how it would be executed here, and exit.",
        flag_values=given,
    )


def main(line: CommandLine) -> str | dict[str, Any]:
    """Trains, evaluates and exports, and returns the run directory; the configuration if --dry_run is given."""
    given = line.flags
    config = configuration.config_from_flags(given)
    changes = configuration.changes_of_networks(given)
    if changes:
        logging.info("these networks also change other fields of the preset: %s", ", ".join(changes))
    for name in ("init_optimizer", "init_checkpoint"):
        if given[name].present and not given.init_from:
            raise UserError(f"--{name} needs --init_from")
    if given.dry_run:
        print(json.dumps(as_dict(config), indent=2))
        _log_execution(given, config)
        return as_dict(config)
    model_dir = _model_dir(given)
    strategy = strategy_from_flags(given, several_processes=True, gpu_memory_gb=config.train.gpu_memory_gb)
    from vitgan_tf.training.initialization import Initialization
    from vitgan_tf.training.run import run_experiment

    provenance = {"command": [*invocation("run").split(), *line.words], "commit": checkout.commit()}
    init = None
    if given.init_from:
        init = Initialization(given.init_from, given.init_checkpoint, given.init_optimizer)
    location = configuration.data_location_from_flags(given)
    run_experiment(config, model_dir, provenance, location, strategy, init=init)
    return model_dir


def _log_execution(given: flags.FlagValues, config: ExperimentConfig) -> None:
    """Says what a run would do on the devices of this machine; other machines are not asked."""
    import_tensorflow()
    from vitgan_tf.training.plan import execution_plan
    from vitgan_tf.training.strategies import build_strategy, strategy_name

    name = strategy_name(given.strategy, given.tpu, given.logical_cpus, several_processes=True)
    if name in ("tpu", "multi_worker"):
        logging.info("execution: %s", name)
        return
    try:
        strategy = build_strategy(name, logical_cpus=given.logical_cpus, gpu_memory_gb=config.train.gpu_memory_gb)
        logging.info("execution: %s", execution_plan(config, strategy).description)
    except UserError as error:
        logging.warning("execution: not on this machine: %s", error)


def _model_dir(given: flags.FlagValues) -> str:
    if given.model_dir is None and given.config is not None:
        raise UserError("--config needs a run directory: give --model_dir=DIR")
    return given.model_dir or os.path.join("runs", configuration.run_name_from_flags(given))
