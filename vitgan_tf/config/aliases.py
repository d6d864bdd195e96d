"""Names that have changed: the old spellings are still read, from the command line and from a run's config.json."""

from __future__ import annotations

from typing import Any

# --generator and --discriminator called the Vanilla-ViT "vit", while generator.architecture=vit is any ViT.
NETWORKS = {"vit": "vanilla_vit"}
# Configuration fields, old path -> new path.
FIELDS = {"transgan.z_dim": "transgan.latent_dim"}


def renamed_fields(values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A configuration by section and field, with the new names of its fields."""
    result = {section: dict(fields) for section, fields in values.items()}
    for old, new in FIELDS.items():
        (old_section, old_name), (new_section, new_name) = old.split("."), new.split(".")
        if old_name in result.get(old_section, {}):
            result.setdefault(new_section, {})[new_name] = result[old_section].pop(old_name)
    return result
