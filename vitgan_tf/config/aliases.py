"""Renamed networks and fields: old names are still accepted on the command line and in a run's config.json."""

from __future__ import annotations

from typing import Any

# "vit" was the Vanilla-ViT in --generator and --discriminator, but is any ViT in generator.architecture.
NETWORKS = {"vit": "vanilla_vit"}
# Old path -> new path of a configuration field.
FIELDS = {"transgan.z_dim": "transgan.latent_dim"}


def renamed_fields(values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns a configuration, by section and field, with old field names replaced by new ones."""
    result = {section: dict(fields) for section, fields in values.items()}
    for old, new in FIELDS.items():
        (old_section, old_name), (new_section, new_name) = old.split("."), new.split(".")
        if old_name in result.get(old_section, {}):
            result.setdefault(new_section, {})[new_name] = result[old_section].pop(old_name)
    return result
