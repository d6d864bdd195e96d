"""Changes, compares, writes and reads configurations by the paths of their fields."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from vitgan_tf.config import aliases
from vitgan_tf.config.experiment import ExperimentConfig
from vitgan_tf.config.fields import Section
from vitgan_tf.config.networks import SECTIONS
from vitgan_tf.errors import ConfigError, did_you_mean


def section_types() -> dict[str, type[Section]]:
    """Returns the section types by name: the experiment's sections, then those of networks."""
    types = typing.get_type_hints(ExperimentConfig)
    del types["networks"]
    return {**types, **SECTIONS}


def field_paths() -> Iterator[tuple[str, dataclasses.Field, Any]]:
    """Yields every configuration field as ("section.name", dataclass field, type), in order."""
    for section, section_type in section_types().items():
        types = typing.get_type_hints(section_type)
        for each in dataclasses.fields(section_type):
            yield f"{section}.{each.name}", each, types[each.name]


def short_names() -> dict[str, str]:
    """Returns field name -> path for all unambiguous names.

    A name is unambiguous if exactly one section of the experiment has it or, if none does, exactly one section of a
    network.
    """
    found: dict[str, list[str]] = {}
    for path, _, _ in field_paths():
        section, name = path.split(".")
        if section not in SECTIONS or all(other.split(".")[0] in SECTIONS for other in found.get(name, [])):
            found.setdefault(name, []).append(path)
    return {name: paths[0] for name, paths in found.items() if len(paths) == 1}


def override(config: ExperimentConfig, values: dict[str, Any]) -> ExperimentConfig:
    """Returns a copy of a configuration with some fields changed.

    Args:
      config: configuration to start from.
      values: new values by path, for example {"train.batch_size": 64}.

    Raises:
      ConfigError: a path is unknown (the message suggests the nearest one), or a value is invalid.
    """
    valid = [path for path, _, _ in field_paths()]
    changes: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        if path not in valid:
            raise ConfigError(f"unknown configuration field {path!r}{did_you_mean(path, valid)}")
        section, name = path.split(".")
        changes.setdefault(section, {})[name] = value
    sections = {name: getattr(config, name) for name in section_types()}
    sections.update({name: dataclasses.replace(sections[name], **fields) for name, fields in changes.items()})
    return _from_sections(sections)


def _from_sections(sections: dict[str, Any]) -> ExperimentConfig:
    networks = {name: section for name, section in sections.items() if name in SECTIONS}
    others = {name: section for name, section in sections.items() if name not in SECTIONS}
    return ExperimentConfig(**others, networks=networks)


def as_dict(config: ExperimentConfig) -> dict[str, dict[str, Any]]:
    """Returns a configuration by section and field, as stored in a run's config.json."""
    return {name: dataclasses.asdict(getattr(config, name)) for name in section_types()}


def from_dict(values: dict[str, dict[str, Any]]) -> ExperimentConfig:
    """Inverts `as_dict`; also reads the fields of earlier versions (see `aliases`).

    Raises:
      ConfigError: a section or field is missing, unknown or invalid.
    """
    types = section_types()
    try:
        values = aliases.renamed_fields(values)
        return _from_sections({name: types[name](**fields) for name, fields in values.items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"not a configuration of this version: {error}") from error


def is_of_network(path: str) -> bool:
    """Returns True if the field at this path belongs to a network."""
    return path.split(".")[0] in ("generator", "discriminator", *SECTIONS)


def log_intervals() -> tuple[str, ...]:
    """Returns the paths of the intervals of a run's outputs, in thousands of images."""
    return tuple(path for path, _, _ in field_paths() if path.startswith("log.") and path.endswith("_every_kimg"))


def unread_fields(config: ExperimentConfig) -> tuple[str, ...]:
    """Returns the paths of all network fields that neither of the chosen networks reads."""
    read = {path for network in config.chosen_networks() for path in network.arguments.values()}
    paths = (path for path, _, _ in field_paths() if is_of_network(path))
    return tuple(path for path in paths if path not in read and not path.endswith(".architecture"))


def differences(old: ExperimentConfig, new: ExperimentConfig, ignored: tuple[str, ...] = ()) -> list[str]:
    """Returns "section.name: old -> new" for each field that differs, except paths with an ignored prefix."""
    found = []
    for path, _, _ in field_paths():
        before, after = old.value(path), new.value(path)
        if before != after and not path.startswith(ignored):
            found.append(f"{path}: {before} -> {after}")
    return found
