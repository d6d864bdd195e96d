"""Images from a SavedModel: python tools/generate.py --model=runs/digits/saved_model --output=grid.png

With --gif, an animation of latents that travel from one random point to the next and back to the first. With
--mixing, a table of images whose first blocks follow one latent and whose others follow another.
"""

from __future__ import annotations

import os

from absl import flags, logging

from vitgan_tf import command_line
from vitgan_tf.errors import UserError

command_line.define_path("model", None, "SavedModel folder, as a run leaves it in saved_model/.", required=True)
command_line.define_path("output", None, "PNG file for a grid of images.")
command_line.define_path("gif", None, "GIF file for an interpolation.")
command_line.define_path("mixing", None, "PNG file for a table of mixed styles.")
flags.DEFINE_integer(
    "num_images",
    None,
    "Images of the grid, by default 100; animated images of the GIF, 100; rows and columns of the table, 6.",
    lower_bound=1,
)
flags.DEFINE_integer("columns", 10, "Images in a row.", lower_bound=1)
flags.DEFINE_integer("min_width", 640, "Least width of the picture in pixels; pixels are repeated.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of the latents.", lower_bound=0, upper_bound=2**31 - 1)
command_line.define_amount(
    "truncation", 1.0, "Pulls styles towards their mean: 1 is none, 0 the mean.", upper_bound=100.0
)
command_line.define_amount(
    "render_scale",
    1.0,
    "Resolution relative to that of the training, whole or not: 2 draws 32 x 32 models at 64 x 64.",
)
flags.DEFINE_integer(
    "crossover", 2, "Blocks, from the first on, that take the row's style in the table.", lower_bound=0
)
flags.DEFINE_integer("keyframes", 4, "Random points that the interpolation visits.", lower_bound=2)
flags.DEFINE_integer("frames", 20, "Frames from one point to the next.", lower_bound=1)
FLAGS = flags.FLAGS


def main(_):
    if not (FLAGS.output or FLAGS.gif or FLAGS.mixing):
        raise UserError("nothing to make: give --output=FILE.png, --gif=FILE.gif or --mixing=FILE.png")
    command_line.import_tensorflow()
    from vitgan_tf import sampling

    model = sampling.load(FLAGS.model)
    common = {
        "seed": FLAGS.seed,
        "truncation": FLAGS.truncation,
        "render_scale": FLAGS.render_scale,
        "min_width": FLAGS.min_width,
    }
    num_images = FLAGS.num_images or 100
    try:
        if FLAGS.output:
            sampling.write_grid(model, _path(FLAGS.output), num_images, columns=FLAGS.columns, **common)
        if FLAGS.gif:
            sampling.write_interpolation(
                model,
                _path(FLAGS.gif),
                num_images,
                keyframes=FLAGS.keyframes,
                frames=FLAGS.frames,
                columns=FLAGS.columns,
                **common,
            )
        if FLAGS.mixing:
            table = {"num_images": FLAGS.num_images or 6, "crossover": FLAGS.crossover}
            sampling.write_style_mixing(model, _path(FLAGS.mixing), **table, **common)
    except OSError as error:
        place = repr(error.filename) if error.filename else "the picture"
        raise UserError(f"cannot write {place}: {error.strerror or error}") from error


def _path(path: str) -> str:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    logging.info("writing %s", path)
    return path


if __name__ == "__main__":
    command_line.run(main)
