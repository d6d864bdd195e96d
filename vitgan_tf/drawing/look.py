"""How images are drawn."""

from __future__ import annotations

import dataclasses

from vitgan_tf.drawing.animation import MAX_EDGE
from vitgan_tf.errors import UserError
from vitgan_tf.images import grid_size
from vitgan_tf.trained.generator import Generator

# Pixels of all frames, which are held in memory.
MAX_PIXELS = 2**29


@dataclasses.dataclass(frozen=True)
class Look:
    """Settings that determine pixels besides latents and seeds.

    Attributes:
      truncation: psi; 1 for none, 0 for the mean style.
      render_scale: edge of an image in relation to that of training.
      has_fixed_noise: whether all images have the fixed noise, for generators with noise.
      min_width: minimum width of a grid in pixels, reached by repeating pixels.
    """

    truncation: float = 1.0
    render_scale: float = 1.0
    has_fixed_noise: bool = False
    min_width: int = 1

    def check_size(
        self, generator: Generator, num_images: int, columns: int, frames: int = 1, max_edge: int = MAX_EDGE
    ) -> None:
        """Checks a grid of images before it is drawn.

        Args:
          generator: draws them.
          num_images: images of the grid.
          columns: images per row.
          frames: grids that are held in memory.
          max_edge: largest edge of the file's format, in pixels.

        Raises:
          UserError: the generator cannot render at this scale, or the picture is too large.
        """
        size = generator.rendered_size(self.render_scale)
        height, width = grid_size(num_images, size, size, columns, self.min_width)
        if max(height, width) > max_edge or height * width * frames > MAX_PIXELS:
            raise UserError(
                f"{frames} pictures of {width} x {height} pixels are too large, the limits are {max_edge} per edge "
                f"and {MAX_PIXELS} in total: change num_images, columns, min_width, render_scale, or keyframes and "
                "frames"
            )
