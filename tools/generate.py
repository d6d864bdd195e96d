"""Images from a SavedModel: python tools/generate.py --model=runs/digits/saved_model --output=grid.png

With --gif, an animation of latents that travel from one random point to the next and back to the first.
"""

from __future__ import annotations

import os

from absl import flags, logging

from vitgan_tf import command_line
from vitgan_tf.errors import UserError

flags.DEFINE_string("model", None, "SavedModel folder, as a run leaves it in saved_model/.", required=True)
flags.DEFINE_string("output", None, "PNG file for a grid of images.")
flags.DEFINE_string("gif", None, "GIF file for an interpolation.")
flags.DEFINE_integer("num_images", 100, "Images of the grid; animated images of the GIF.", lower_bound=1)
flags.DEFINE_integer("columns", 10, "Images in a row.", lower_bound=1)
flags.DEFINE_integer("min_width", 640, "Least width of the picture in pixels; pixels are repeated.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of the latents.", lower_bound=0, upper_bound=2**31 - 1)
flags.DEFINE_float("truncation", 1.0, "Pulls styles towards their mean: 1 is none, 0 the mean.", lower_bound=0.0)
flags.DEFINE_integer("keyframes", 4, "Random points that the interpolation visits.", lower_bound=2)
flags.DEFINE_integer("frames", 20, "Frames from one point to the next.", lower_bound=1)
FLAGS = flags.FLAGS


def main(_):
    if not (FLAGS.output or FLAGS.gif):
        raise UserError("nothing to make: give --output=FILE.png, --gif=FILE.gif or both")
    command_line.import_tensorflow()
    from vitgan_tf import sampling

    model = sampling.load(FLAGS.model)
    layout = {"columns": FLAGS.columns, "min_width": FLAGS.min_width}
    try:
        if FLAGS.output:
            sampling.write_grid(model, _path(FLAGS.output), FLAGS.num_images, FLAGS.seed, FLAGS.truncation, **layout)
        if FLAGS.gif:
            sampling.write_interpolation(
                model, _path(FLAGS.gif), FLAGS.num_images, FLAGS.seed, FLAGS.keyframes, FLAGS.frames, **layout
            )
    except OSError as error:
        raise UserError(f"cannot write {error.filename!r}: {error.strerror}") from error


def _path(path: str) -> str:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    logging.info("writing %s", path)
    return path


if __name__ == "__main__":
    command_line.run(main)
