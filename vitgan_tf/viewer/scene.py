"""Requests for images: parsing and drawing."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from typing import Callable

import numpy as np

from vitgan_tf.config.choices import WALK_SPACES
from vitgan_tf.drawing.selection import LATENTS, STYLES
from vitgan_tf.drawing.walks import slerp
from vitgan_tf.errors import UserError
from vitgan_tf.latents import consecutive_latents
from vitgan_tf.trained.generator import Generator
from vitgan_tf.trained.module import FIXED_NOISE

MAX_SEED = 2**31 - 1
# Bounds of what one request may cost: pixels of an image's edge, and images of a wall.
MAX_EDGE, MAX_WALL = 2048, 60
TRUNCATIONS = -2.0, 2.0

# Styles of a projection by its number: (num_styles, style_dim).
Projected = Callable[[int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Parameters of one image.

    Attributes:
      seed, other: seeds of the two latents between which the image lies.
      fraction: way from the first to the other, 0 to 1.
      space: where the way leads, see `choices.WALK_SPACES`.
      mixed: numbers of the places that take the other's style, whatever the fraction.
      truncation: psi.
      scale: render scale.
      projection: number of a projection that stands for the first latent; None for none.
    """

    seed: int = 0
    other: int = 1
    fraction: float = 0.0
    space: str = WALK_SPACES[0]
    mixed: tuple[int, ...] = ()
    truncation: float = 1.0
    scale: float = 1.0
    projection: int | None = None


def parsed_scene(query: Mapping[str, str], generator: Generator) -> Scene:
    """Returns the scene of a query.

    Raises:
      UserError: a value is out of its bounds.
    """
    scale = number(query, "scale", 1.0, 0.0, MAX_EDGE / generator.image_size)
    generator.rendered_size(scale)
    space = query.get("space", WALK_SPACES[0])
    if space not in WALK_SPACES:
        raise UserError(f"space must be {' or '.join(WALK_SPACES)}")
    mixed = [part for part in query.get("mixed", "").split(",") if part]
    places = tuple(int(number({"place": part}, "place", 0, 0, generator.num_styles - 1)) for part in mixed)
    projection = int(number(query, "projection", -1, -1, MAX_SEED))
    return Scene(
        int(number(query, "seed", 0, 0, MAX_SEED)),
        int(number(query, "other", 1, 0, MAX_SEED)),
        number(query, "fraction", 0.0, 0.0, 1.0),
        space,
        places,
        number(query, "truncation", 1.0, *TRUNCATIONS),
        scale,
        None if projection < 0 else projection,
    )


def number(query: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    """Returns a number of a query.

    Raises:
      UserError: it is no number from low to high.
    """
    try:
        value = float(query.get(name, default))
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise UserError(f"{name} must be a number from {low:g} to {high:g}")
    return value


def styles_of(scene: Scene, generator: Generator, projected: Projected) -> np.ndarray:
    """Returns the styles of a scene before truncation: (1, num_styles, style_dim)."""
    ends = [consecutive_latents(seed, 0, 1, generator.latent_dim).numpy() for seed in (scene.seed, scene.other)]
    if scene.projection is None and scene.space == "z":
        styles = generator.map(slerp(ends[0], ends[1], scene.fraction) if scene.fraction else ends[0])
    else:
        first = generator.map(ends[0]) if scene.projection is None else projected(scene.projection)[None]
        styles = first + np.float32(scene.fraction) * (generator.map(ends[1]) - first)
    if scene.mixed:
        styles = styles.copy()
        styles[:, list(scene.mixed)] = generator.map(ends[1])[:, list(scene.mixed)]
    return styles


def draw(scene: Scene, generator: Generator, projected: Projected) -> np.ndarray:
    """Returns the image of a scene: (size, size, num_channels) uint8, with the noise of its seed."""
    styles = generator.truncated(styles_of(scene, generator, projected), scene.truncation)
    noise_seed = scene.seed if scene.projection is None else FIXED_NOISE
    return generator.draw(styles, scene.scale, noise_seed)[0]


def latents_file(scene: Scene, generator: Generator, projected: Projected) -> bytes:
    """Returns a file for `generate --latents`: the styles of a scene and, where it is of one seed, its latent."""
    arrays = {STYLES: styles_of(scene, generator, projected)}
    if scene.projection is None and not scene.mixed and not scene.fraction:
        arrays[LATENTS] = consecutive_latents(scene.seed, 0, 1, generator.latent_dim).numpy()
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def wall(generator: Generator, first: int, count: int, truncation: float) -> np.ndarray:
    """Returns the images of consecutive seeds side by side: (size, count * size, num_channels) uint8."""
    latents = [consecutive_latents(first + index, 0, 1, generator.latent_dim).numpy() for index in range(count)]
    styles = generator.map(np.concatenate(latents), truncation)
    if generator.has_noise:
        images = [generator.draw(styles[index : index + 1], 1.0, first + index)[0] for index in range(count)]
    else:
        images = list(generator.draw(styles))
    return np.concatenate(images, axis=1)
