"""Draws images from a SavedModel: vitgan generate --model=runs/digits/saved_model --output=grid.png

--gif draws an animation that interpolates between random latents and returns to the first one. --mixing draws a table
of images whose first blocks take the style of one latent and whose other blocks take the style of another.
"""

from __future__ import annotations

import os

from absl import flags, logging

from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.flags import define_amount, define_path
from vitgan_tf.commands.quiet import import_tensorflow
from vitgan_tf.config import NOISES
from vitgan_tf.errors import UserError

_PICTURES = (".png", ".jpg", ".jpeg")


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_path(given, "model", None, "SavedModel folder, such as saved_model/ of a run.", required=True)
    define_path(given, "output", None, "PNG or JPEG file for a grid of images.", suffixes=_PICTURES)
    define_path(given, "gif", None, "GIF file for an interpolation.", suffixes=(".gif",))
    define_path(given, "mixing", None, "PNG or JPEG file for a table of mixed styles.", suffixes=_PICTURES)
    flags.DEFINE_integer(
        "num_images",
        None,
        "Number of images in the grid or the GIF, default 100; rows and columns of the table, default 6.",
        lower_bound=1,
        flag_values=given,
    )
    flags.DEFINE_integer("columns", 10, "Images per row.", lower_bound=1, flag_values=given)
    flags.DEFINE_integer(
        "min_width", 640, "Minimum width in pixels, reached by repeating pixels.", lower_bound=1, flag_values=given
    )
    flags.DEFINE_integer(
        "crossover",
        2,
        "Number of initial blocks that take the style of the row in the table.",
        lower_bound=0,
        flag_values=given,
    )
    flags.DEFINE_integer("keyframes", 4, "Random latents along the interpolation.", lower_bound=2, flag_values=given)
    flags.DEFINE_integer("frames", 20, "Frames from one latent to the next.", lower_bound=1, flag_values=given)
    _define_image_flags(given)


def _define_image_flags(given: flags.FlagValues) -> None:
    """Defines what determines each image."""
    flags.DEFINE_enum(
        "noise",
        NOISES[0],
        NOISES,
        "Noise of generators that have it: one per image, or a fixed one per layer.",
        flag_values=given,
    )
    flags.DEFINE_integer("seed", 0, "Seed of the latents.", lower_bound=0, upper_bound=2**31 - 1, flag_values=given)
    define_amount(
        given,
        "truncation",
        1.0,
        "Truncation psi, which pulls styles towards their mean: 1 for none, 0 for the mean.",
        upper_bound=100.0,
    )
    define_amount(
        given,
        "render_scale",
        1.0,
        "Resolution relative to that of the training, not necessarily whole: 2 draws a 32 x 32 model at 64 x 64.",
    )


def main(line: CommandLine) -> list[str]:
    """Draws the pictures, and returns their paths."""
    given = line.flags
    if not (given.output or given.gif or given.mixing):
        raise UserError("nothing to draw: give --output=FILE.png, --gif=FILE.gif or --mixing=FILE.png")
    import_tensorflow()
    from vitgan_tf import sampling

    model = sampling.load(given.model)
    common = {
        "seed": given.seed,
        "truncation": given.truncation,
        "render_scale": given.render_scale,
        "min_width": given.min_width,
        "has_fixed_noise": given.noise == "fixed",
    }
    num_images = given.num_images or 100
    try:
        if given.output:
            sampling.write_grid(model, _path(given.output), num_images, columns=given.columns, **common)
        if given.gif:
            sampling.write_interpolation(
                model,
                _path(given.gif),
                num_images,
                keyframes=given.keyframes,
                frames=given.frames,
                columns=given.columns,
                **common,
            )
        if given.mixing:
            table = {"num_images": given.num_images or 6, "crossover": given.crossover}
            sampling.write_style_mixing(model, _path(given.mixing), **table, **common)
    except OSError as error:
        place = repr(error.filename) if error.filename else "the picture"
        raise UserError(f"cannot write {place}: {error.strerror or error}") from error
    return [path for path in (given.output, given.gif, given.mixing) if path]


def _path(path: str) -> str:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    logging.info("writing %s", path)
    return path
