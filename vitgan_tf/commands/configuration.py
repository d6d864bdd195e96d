"""Builds the configuration, data location and run name from the flags."""

from __future__ import annotations

import sys
from typing import Any

from absl import flags

from vitgan_tf import config as config_lib
from vitgan_tf.commands.flags import DEFAULT_VARIANT
from vitgan_tf.presets import DEFAULT_SIZE, VARIANTS, network_changes, preset
from vitgan_tf.runs.directory import read_config

# Flags that --config replaces.
_PRESET_FLAGS = ("dataset", "size", "variant", "generator", "discriminator")


def data_location_from_flags(given: flags.FlagValues) -> config_lib.DataLocation:
    """Returns the location of data and weights from the flags of `define_data_location_flags`."""
    download = sys.stderr.isatty() if given.download is None else given.download
    return config_lib.DataLocation(
        given.data_dir,
        download,
        given.memory_gb,
        given.cache_dir,
        given.inception,
        given.verify,
        given.holdout_dir,
        given.max_megapixels,
    )


def config_from_flags(given: flags.FlagValues) -> config_lib.ExperimentConfig:
    """Returns the configuration of --config, or of --dataset and the networks, with the command line's fields set.

    Raises:
      ConfigError: a name or value is invalid, or the command line sets a field that no chosen network reads.
    """
    fields = fields_from_flags(given)
    config = config_lib.override(_base_config(given, fields), fields)
    for path in config_lib.unread_fields(config):
        if path in fields:
            raise config_lib.ConfigError(
                f"--{path} has no effect: neither generator.architecture={config.generator.architecture} nor "
                f"discriminator.architecture={config.discriminator.architecture} reads it"
            )
    return config


def _base_config(given: flags.FlagValues, fields: dict[str, Any]) -> config_lib.ExperimentConfig:
    if given.config is None:
        networks = {"variant": given.variant, "generator": given.generator, "discriminator": given.discriminator}
        return preset_from_flags(given, fields, networks)
    for name in _PRESET_FLAGS:
        if given[name].present:
            raise config_lib.ConfigError(f"--{name} does not go with --config, which sets it: leave out one of them")
    try:
        config, _ = read_config(given.config)
    except OSError as error:
        raise config_lib.ConfigError(f"cannot read --config={given.config}: {error.strerror or error}") from error
    return config


def changes_of_networks(given: flags.FlagValues) -> list[str]:
    """Returns the fields outside the networks that the chosen networks change in the preset, as "path=value".

    Fields that the command line sets are left out.
    """
    changes = {}
    for kind in ("generator", "discriminator"):
        changes.update(network_changes(kind, str(given[kind].value)))
    changes.update(VARIANTS[given.variant])
    fields = fields_from_flags(given)
    elsewhere = [path for path in sorted(changes) if not config_lib.is_of_network(path) and path not in fields]
    if not elsewhere:
        return []
    unchanged = preset_from_flags(given, fields, {})
    return [f"{path}={changes[path]}" for path in elsewhere if changes[path] != unchanged.value(path)]


def preset_from_flags(
    given: flags.FlagValues, fields: dict[str, Any], networks: dict[str, str]
) -> config_lib.ExperimentConfig:
    """Returns the preset of --dataset and --size with these networks, for the image size in the fields.

    Args:
      given: flags of the command.
      fields: configuration fields by path.
      networks: arguments of `preset`.

    Raises:
      ConfigError: see `preset`.
    """
    return preset(given.dataset, image_size=fields.get("data.image_size"), size=given.size, **networks)


def run_name_from_flags(given: flags.FlagValues) -> str:
    """Returns the name of a run's folder: <dataset>, then size, variant and networks other than the default."""
    parts = [("", given.size), ("", given.variant), ("g_", given.generator), ("d_", given.discriminator)]
    chosen = (prefix + name for prefix, name in parts if name not in (DEFAULT_SIZE, DEFAULT_VARIANT))
    return "-".join([given.dataset, *chosen])


def fields_from_flags(given: flags.FlagValues) -> dict[str, Any]:
    """Returns the fields that the command line sets, by path, not yet checked."""
    paths = (path for path, _, _ in config_lib.field_paths() if path in given)
    return {path: given[path].value for path in paths if given[path].present}


def section_from_flags(given: flags.FlagValues, section: str) -> dict[str, Any]:
    """Returns the fields of a section that the command line sets, by name, not yet checked."""
    paths = ((path.split("."), value) for path, value in fields_from_flags(given).items())
    return {name: value for (found, name), value in paths if found == section}
