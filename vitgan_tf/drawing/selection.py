"""Which images are drawn: of seeds, of a sequence, or of latents and styles in a file."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterator, Sequence

import numpy as np

from vitgan_tf.drawing.look import Look
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.evaluation.generation import numbered
from vitgan_tf.files import ARCHIVE_ERRORS, atomic_file
from vitgan_tf.latents import consecutive_latents
from vitgan_tf.trained.generator import Generator
from vitgan_tf.trained.module import FIXED_NOISE

LATENTS, STYLES, SEEDS = "latents", "styles", "seeds"


class Selection(abc.ABC):
    """Images in order: their latents or styles, their noise, and their names.

    Attributes:
      generator: draws them.
      count: number of images.
    """

    def __init__(self, generator: Generator, count: int):
        self.generator = generator
        self.count = count

    @abc.abstractmethod
    def latents(self, first: int, last: int) -> np.ndarray:
        """Returns the latents of images first to last - 1: (last - first, latent_dim)."""

    @abc.abstractmethod
    def noise(self, index: int) -> tuple[int, int]:
        """Returns the seed and the number of the noise of an image."""

    def name(self, index: int) -> str:
        """Returns the name of an image's file, without its ending."""
        return numbered(index)

    @property
    def has_own_noise(self) -> bool:
        """Whether consecutive images have unrelated noise, so that they cannot share a batch."""
        return False

    def styles(self, first: int, last: int, truncation: float = 1.0) -> np.ndarray:
        """Returns the styles of images first to last - 1: (last - first, num_styles, style_dim)."""
        return self.generator.map(self.latents(first, last), truncation)

    def images(self, look: Look, truncation: float | None = None) -> np.ndarray:
        """Returns all images: see `batches`."""
        return np.concatenate(list(self.batches(look, truncation)))

    def batches(self, look: Look, truncation: float | None = None) -> Iterator[np.ndarray]:
        """Yields the images (any number, size, size, channels) uint8.

        Args:
          look: how they are drawn.
          truncation: in place of that of `look`.
        """
        psi = look.truncation if truncation is None else truncation
        alone = self.generator.has_noise and self.has_own_noise and not look.has_fixed_noise
        number = 1 if alone else self.generator.batch_size(look.render_scale)
        for first in range(0, self.count, number):
            styles = self.styles(first, min(first + number, self.count), psi)
            noise = (FIXED_NOISE, 0) if look.has_fixed_noise else self.noise(first)
            yield self.generator.draw(styles, look.render_scale, *noise)


class OfSequence(Selection):
    """The first images of a seed: those of `Generator.generate`."""

    def __init__(self, generator: Generator, count: int, seed: int):
        super().__init__(generator, count)
        self._seed = seed

    def latents(self, first: int, last: int) -> np.ndarray:
        return consecutive_latents(self._seed, first, last - first, self.generator.latent_dim).numpy()

    def noise(self, index: int) -> tuple[int, int]:
        return self._seed, index


class OfSeeds(Selection):
    """The first image of each seed."""

    def __init__(self, generator: Generator, seeds: Sequence[int]):
        super().__init__(generator, len(seeds))
        self.seeds = seeds

    def latents(self, first: int, last: int) -> np.ndarray:
        dim = self.generator.latent_dim
        return np.concatenate([consecutive_latents(seed, 0, 1, dim).numpy() for seed in self.seeds[first:last]])

    def noise(self, index: int) -> tuple[int, int]:
        return self.seeds[index], 0

    @property
    def has_own_noise(self) -> bool:
        return True

    def name(self, index: int) -> str:
        return f"seed{self.seeds[index]:04d}"


class OfFile(Selection):
    """Latents or styles from a file that `save` wrote; where it holds both, the styles.

    Args:
      generator: draws them.
      path: NumPy archive with an array latents (n, latent_dim) or styles (n, num_styles, style_dim).
      seed: seed of the noise.

    Raises:
      UserError: the file cannot be read, or its arrays have other shapes.
    """

    def __init__(self, generator: Generator, path: str, seed: int):
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in (STYLES, LATENTS) if name in archive}
        except ARCHIVE_ERRORS as error:
            raise UserError(f"cannot read {path!r} as NumPy's archive: {first_line(error)}") from error
        if not arrays:
            raise UserError(f"{path!r} holds neither an array {LATENTS!r} nor {STYLES!r}")
        self._styles, self._latents = arrays.get(STYLES), arrays.get(LATENTS)
        for rows in arrays.values():
            if rows.ndim == 0 or len(rows) == 0 or rows.dtype.kind != "f" or not np.isfinite(rows).all():
                raise UserError(f"{path!r} must hold finite floating-point numbers, with one row per image")
        counts = set(map(len, arrays.values()))
        if len(counts) > 1:
            raise UserError(f"{path!r} holds another number of latents than of styles")
        super().__init__(generator, *counts)
        self._seed = seed

    def latents(self, first: int, last: int) -> np.ndarray:
        if self._latents is None:
            raise UserError("the file has styles but no latents: add --space=w")
        return self._latents[first:last]

    def styles(self, first: int, last: int, truncation: float = 1.0) -> np.ndarray:
        if self._styles is None:
            return super().styles(first, last, truncation)
        styles = self.generator.checked_styles(self._styles[first:last])
        return self.generator.truncated(styles, truncation)

    def noise(self, index: int) -> tuple[int, int]:
        return self._seed, index


def save(selection: Selection, path: str) -> None:
    """Writes the latents, where they are known, and the styles before truncation as a NumPy archive.

    Raises:
      OSError: the file cannot be written.
    """
    arrays = {STYLES: selection.styles(0, selection.count)}
    if isinstance(selection, OfSeeds):
        arrays[SEEDS] = np.array(selection.seeds)
    if not isinstance(selection, OfFile):
        arrays[LATENTS] = selection.latents(0, selection.count)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with atomic_file(path) as file:
        np.savez_compressed(file, **arrays)
