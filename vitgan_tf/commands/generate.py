"""Draws images of a trained generator: vitgan generate --model=digits --output=grid.png

--output draws a grid, --outdir single images, --walk an animation that passes from latent to latent, --mixing a table
of images whose first blocks take the style of one latent and whose other blocks take the style of another, and
--truncations a table of the same images at several truncations. The images are those of --seeds, one for each; of
--latents, a file that --save_latents wrote; or the first --num_images of --seed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from absl import flags, logging

from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.flags import define_amount, define_numbers, define_path
from vitgan_tf.commands.models import define_model_flags, load_model
from vitgan_tf.commands.parsers import RangesParser
from vitgan_tf.config import NOISES
from vitgan_tf.config.choices import WALK_SPACES
from vitgan_tf.drawing.animation import SUFFIXES as ANIMATIONS
from vitgan_tf.errors import UserError

if TYPE_CHECKING:
    from vitgan_tf.drawing.look import Look
    from vitgan_tf.drawing.selection import Selection
    from vitgan_tf.drawing.walks import Walk
    from vitgan_tf.trained.generator import Generator

_PICTURES = (".png", ".jpg", ".jpeg")
_DRAWN = ("output", "outdir", "walk", "mixing", "truncations", "save_latents")
_MAX_SEED = 2**31 - 1
# Images of a grid, of a walk, and rows of a table.
_NUM_IMAGES, _NUM_ROWS = 100, 6


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_model_flags(given)
    define_path(given, "output", None, "PNG or JPEG file for a grid of images.", suffixes=_PICTURES)
    define_path(given, "outdir", None, "Folder for single images as PNG files; new or empty.")
    define_path(
        given,
        "walk",
        None,
        "GIF, WebP or MP4 file for an animated latent walk; MP4 needs the package imageio-ffmpeg.",
        suffixes=ANIMATIONS,
    )
    flags.DEFINE_alias("gif", "walk", given)
    define_path(given, "mixing", None, "PNG or JPEG file for a table of mixed styles.", suffixes=_PICTURES)
    define_path(
        given,
        "truncations",
        None,
        "PNG or JPEG file for a table with one row per image and one column per value of --truncation.",
        suffixes=_PICTURES,
    )
    define_path(given, "save_latents", None, "File for the latents and styles of the images.", suffixes=(".npz",))
    _define_choice_flags(given)
    _define_layout_flags(given)
    _define_image_flags(given)


def _define_choice_flags(given: flags.FlagValues) -> None:
    """Defines which images are drawn."""
    flags.DEFINE(
        RangesParser(_MAX_SEED),
        "seeds",
        None,
        "Draw the first image of each of these seeds: 0-31,100.",
        flag_values=given,
        serializer=flags.ArgumentSerializer(),
    )
    define_path(
        given,
        "latents",
        None,
        "File of latents or styles, as --save_latents writes it.",
        suffixes=(".npz",),
    )
    flags.DEFINE_integer(
        "num_images",
        None,
        "Images in a grid or a walk (default 100; 1 in a walk through --seeds or --latents), rows and columns of "
        "--mixing, or rows of --truncations (default 6).",
        lower_bound=1,
        flag_values=given,
    )
    flags.DEFINE_integer("seed", 0, "Seed of the latents.", lower_bound=0, upper_bound=_MAX_SEED, flag_values=given)


def _define_layout_flags(given: flags.FlagValues) -> None:
    """Defines how pictures are composed."""
    flags.DEFINE_integer("columns", 10, "Images per row.", lower_bound=1, flag_values=given)
    flags.DEFINE_integer(
        "min_width", 640, "Minimum width in pixels, reached by repeating pixels.", lower_bound=1, flag_values=given
    )
    flags.DEFINE_integer(
        "crossover",
        2,
        "Number of initial blocks that take the style of the row in --mixing.",
        lower_bound=0,
        flag_values=given,
    )
    flags.DEFINE_integer(
        "keyframes",
        4,
        "Random keyframes per image of a walk. --seeds or --latents replace them, divided evenly among the images.",
        lower_bound=2,
        flag_values=given,
    )
    flags.DEFINE_integer("frames", 20, "Frames from one latent to the next.", lower_bound=1, flag_values=given)
    flags.DEFINE_enum(
        "space",
        "z",
        WALK_SPACES,
        "Space of a walk: z, on a sphere between latents, or w, straight between styles.",
        flag_values=given,
    )
    flags.DEFINE_bool("loop", True, "Whether a walk returns to its first latent.", flag_values=given)


def _define_image_flags(given: flags.FlagValues) -> None:
    """Defines what determines each image."""
    flags.DEFINE_enum(
        "noise",
        NOISES[0],
        NOISES,
        "Noise of generators that have it: one per image, or a fixed one per layer.",
        flag_values=given,
    )
    define_numbers(
        given,
        "truncation",
        [1.0],
        "Truncation psi, which pulls styles towards their mean: 1 for none, 0 for the mean. --truncations takes "
        "several: 0,0.5,1.",
        float,
        (-100, 100),
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
    _check_flags(given)
    generator = load_model(given)
    from vitgan_tf.drawing import animation, pictures, selection
    from vitgan_tf.drawing.look import Look

    look = Look(given.truncation[0], given.render_scale, given.noise == "fixed", given.min_width)
    try:
        if given.output:
            pictures.write_grid(_selection(given, generator), _path(given.output), look, given.columns)
        if given.outdir:
            pictures.write_images(_selection(given, generator), _path(given.outdir), look)
        if given.walk:
            walk = _walk(given, generator, look)
            animation.write_animation(_path(given.walk), walk.shown(look, given.columns))
        if given.mixing:
            rows = given.num_images or _NUM_ROWS
            pictures.write_style_mixing(generator, _path(given.mixing), look, rows, given.seed, given.crossover)
        if given.truncations:
            rows = _selection(given, generator, _NUM_ROWS)
            pictures.write_truncations(rows, _path(given.truncations), look, given.truncation)
        if given.save_latents:
            selection.save(_selection(given, generator), _path(given.save_latents))
    except OSError as error:
        place = repr(error.filename) if error.filename else "the picture"
        raise UserError(f"cannot write {place}: {error.strerror or error}") from error
    return [str(given[name].value) for name in _DRAWN if given[name].value]


def _check_flags(given: flags.FlagValues) -> None:
    if not any(given[name].value for name in _DRAWN):
        raise UserError(
            "nothing to draw: give --output=FILE.png, --outdir=DIR, --walk=FILE.gif, --mixing=FILE.png or "
            "--truncations=FILE.png"
        )
    if given.seeds and given.latents:
        raise UserError("--seeds and --latents both say which images are drawn: leave out one of them")
    if len(given.truncation) > 1 and not given.truncations:
        raise UserError("several values of --truncation are for a table: add --truncations=FILE.png")
    others = [name for name in _DRAWN if name not in ("truncations", "save_latents") and given[name].value]
    if len(given.truncation) > 1 and others:
        raise UserError(
            f"--{others[0]} takes one --truncation, and --truncations several: draw them one after the other"
        )
    if given.mixing and (given.seeds or given.latents):
        raise UserError("--mixing draws random latents of --seed: leave out --seeds and --latents")
    if given.truncations and len(given.truncation) < 2:
        raise UserError("--truncations compares several values: add --truncation=0,0.5,1")
    if (given.seeds or given.latents) and given["num_images"].present and not given.walk:
        raise UserError("--num_images can be combined with --seeds or --latents only for --walk")


def _selection(given: flags.FlagValues, generator: Generator, num_images: int = _NUM_IMAGES) -> Selection:
    from vitgan_tf.drawing import selection

    if given.seeds:
        return selection.OfSeeds(generator, given.seeds)
    if given.latents:
        return selection.OfFile(generator, given.latents, given.seed)
    return selection.OfSequence(generator, given.num_images or num_images, given.seed)


def _walk(given: flags.FlagValues, generator: Generator, look: Look) -> Walk:
    from vitgan_tf.drawing import animation, walks

    if given.seeds or given.latents:
        keys = _selection(given, generator)
        num_images, keyframes = given.num_images or 1, keys.count // (given.num_images or 1)
    else:
        keys, num_images, keyframes = None, given.num_images or _NUM_IMAGES, given.keyframes
    # Before the keyframes are drawn, which may be too many as well.
    frames = 1 if animation.is_streamed(given.walk) else keyframes * given.frames
    look.check_size(generator, num_images, given.columns, frames, animation.max_edge(given.walk))
    if keys is None:
        points = walks.random_keys(generator, keyframes, num_images, given.seed, given.space)
    else:
        points = walks.keys_of(keys, num_images, given.space)
    return walks.Walk(generator, points, given.frames, given.loop, given.seed)


def _path(path: str) -> str:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    logging.info("writing %s", path)
    return path
