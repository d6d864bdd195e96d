"""Advice about the images of a data set that are not there."""

from __future__ import annotations

import os
import re
import shlex

from vitgan_tf.config import DataConfig
from vitgan_tf.data.registry import DatasetSpec
from vitgan_tf.data.sources.base import PACKED_SUFFIXES, contents, entries, find_below
from vitgan_tf.invocation import invocation
from vitgan_tf.presets import PRESETS


def instructions(spec: DatasetSpec, config: DataConfig, data_dir: str, reason: str) -> str:
    """Returns how to get or prepare a set that is not in data_dir.

    Args:
      spec: data set.
      config: its images.
      data_dir: folder in which it was looked for.
      reason: why it was not downloaded.
    """
    if os.path.isfile(data_dir):
        return f"{data_dir!r} is a file: {_preparation(config, os.path.dirname(data_dir) or '.', data_dir)}"
    for place in (spec.raw_dir(data_dir), data_dir):
        if find_below(place, *spec.files, *spec.other_names, exists=os.path.exists):
            source = None if place == spec.raw_dir(data_dir) else place
            return f"{config.dataset} is in {place!r} as it was downloaded: {_preparation(config, data_dir, source)}"
    prepared = spec.prepared_name(config)
    sets = f"neither {prepared} nor {spec.tfds_name}" if spec.tfds_name else f"no {prepared}"
    return (
        f"no images of {config.dataset} in {data_dir!r}, {sets} ({reason}; {contents(data_dir)})"
        f"{_if_it_is_it(config, data_dir)}: fetch {' and '.join(spec.files)} from {spec.url}, "
        f"put {'it' if len(spec.files) == 1 else 'them'} into {spec.raw_dir(data_dir)!r} and run: "
        f"{_command(config, data_dir)}"
    )


def _if_it_is_it(config: DataConfig, data_dir: str) -> str:
    """Returns how to prepare an archive that may be the set, or the category of LSUN that is there."""
    names = sorted(entries(data_dir)) if os.path.isdir(data_dir) else []
    if config.dataset.startswith("lsun"):
        others = [match[1] for name in names if (match := re.fullmatch(r"(\w+?)(_train)?_lmdb(\.zip)?", name))]
        return f". For {others[0]}, set --category={others[0]}. Otherwise" if others else ""
    archives = [name for name in names if name.lower().endswith(PACKED_SUFFIXES)]
    if not archives:
        return ""
    source = os.path.join(data_dir, archives[0])
    return f". If {archives[0]} holds them, {_preparation(config, data_dir, source)}. Otherwise"


def _preparation(config: DataConfig, data_dir: str, source: str | None) -> str:
    return f"prepare it with {_command(config, data_dir, source)}"


def _command(config: DataConfig, data_dir: str, source: str | None = None) -> str:
    options = command_options(config, data_dir) + ([] if source is None else [f"--source={source}"])
    return f"{invocation('prepare-data')} {shlex.join(options)}"


def command_options(config: DataConfig, data_dir: str) -> list[str]:
    """Returns the options that select these images in tools/prepare_data.py and experiments/run.py."""
    options = [f"--dataset={config.dataset}", f"--data_dir={data_dir}"]
    usual = PRESETS[config.dataset]().data
    if config.category:
        options.append(f"--category={config.category}")
    if config.skin_tones:
        options.append("--skin_tones")
    if config.image_size != usual.image_size:
        options.append(f"--resolution={config.image_size}")
    if config.num_channels != usual.num_channels:
        options.append(f"--num_channels={config.num_channels}")
    return options
