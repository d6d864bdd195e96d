"""Finds the styles of given pictures: vitgan project --model=digits --image=photo.png --outdir=projected

Finds the style, or one style per block, that best reproduces a picture, or each picture of a folder. Writes the
reconstruction, the styles for `generate --latents`, target and reconstruction side by side and, with --way, an
animation of the search. By default, only pixels are compared; --extractor or --network adds a feature loss. Prints
the peak signal-to-noise ratios as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.configuration import data_location_from_flags, section_from_flags
from vitgan_tf.commands.flags import define_amount, define_data_location_flags, define_field_flags, define_path
from vitgan_tf.commands.models import define_model_flags, load_model
from vitgan_tf.config import DataConfig, EvalConfig
from vitgan_tf.config.choices import PROJECTION_SPACES
from vitgan_tf.errors import UserError

if TYPE_CHECKING:
    from vitgan_tf.trained.generator import Generator
    from vitgan_tf.trained.projection import Features

_WAYS = ("gif", "webp", "mp4")
_WAY_FRAMES = 60
_NOT_OF_PROJECTIONS = ("noise", "split", "num_generated", "num_real")


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_model_flags(given)
    define_path(given, "image", None, "Picture, or folder or zip archive of pictures.", required=True)
    define_path(given, "outdir", None, "Folder for the results.", required=True)
    flags.DEFINE_enum(
        "space",
        "w+",
        PROJECTION_SPACES,
        "w+, one style per block, or w, one style for all blocks.",
        flag_values=given,
    )
    flags.DEFINE_bool(
        "optimize_noise",
        True,
        "Search the noise too, of a generator that has some; without it, the fixed noise gives the same image again.",
        flag_values=given,
    )
    flags.DEFINE_integer("steps", 1000, "Steps of the search.", lower_bound=1, flag_values=given)
    flags.DEFINE_integer(
        "starts",
        1,
        "Parallel searches, the best of which is kept; the first starts at the mean style, the others at random "
        "styles.",
        lower_bound=1,
        flag_values=given,
    )
    define_amount(given, "learning_rate", 0.1, "Peak learning rate, in standard deviations of w.")
    define_amount(
        given, "feature_weight", 1.0, "Weight of the feature loss of --extractor, relative to the pixel loss."
    )
    flags.DEFINE_integer("seed", 0, "Seed of the search.", lower_bound=0, upper_bound=2**31 - 1, flag_values=given)
    flags.DEFINE_enum("way", None, _WAYS, "Format of an animation of the search; default: none.", flag_values=given)
    define_field_flags(given, "eval", default="unset", except_fields=_NOT_OF_PROJECTIONS)
    define_data_location_flags(given)


def main(line: CommandLine) -> dict[str, Any]:
    """Projects the pictures, and returns the result."""
    given = line.flags
    generator = load_model(given)
    from vitgan_tf.data.opening import limited_pixels
    from vitgan_tf.drawing import projections
    from vitgan_tf.trained.projection import Projector, Search, shown_psnr

    search = Search(
        given.steps,
        given.starts,
        given.space,
        given.learning_rate,
        given.seed,
        given.feature_weight,
        given.optimize_noise,
    )
    lines: list[dict[str, Any]] = []
    try:
        with limited_pixels(given.max_megapixels):
            targets = projections.read_targets(given.image, generator)
        projections.check_outputs(given.outdir, targets, given.image)
        os.makedirs(given.outdir, exist_ok=True)
        projector = Projector(generator, search, _features(given, generator))
        for name, target in targets.items():
            start = time.perf_counter()
            projection = projector.project(target, _WAY_FRAMES if given.way else 0)
            seconds = time.perf_counter() - start
            lines.append({"image": name, "psnr": shown_psnr(projection.psnr), "seconds": round(seconds, 2)})
            logging.info("%s: %.2f dB after %d steps, %.1f s", name, projection.psnr, given.steps, seconds)
            projections.write_projection(given.outdir, name, projection, target)
            if given.way:
                path = os.path.join(given.outdir, f"{name}_way.{given.way}")
                projections.write_way(path, generator, projection, target)
        projections.write_summary(given.outdir, lines)
    except OSError as error:
        place = repr(error.filename) if error.filename else "a file"
        raise UserError(f"cannot use {place}: {error.strerror or error}") from error
    result = {"median_psnr": statistics.median(entry["psnr"] for entry in lines), "images": lines}
    print(json.dumps(result))
    return result


def _features(given: flags.FlagValues, generator: Generator) -> Features | None:
    """Returns the features of the extractor that the flags name; None for none."""
    settings = EvalConfig(**section_from_flags(given, "eval"))
    if settings.extractor == "none" or (settings.extractor == "auto" and not settings.network):
        return None
    from vitgan_tf.evaluation.build import load_extractor

    config = generator.config
    data = DataConfig("folder", generator.image_size, generator.num_channels) if config is None else config.data
    extractor = load_extractor(settings.extractor, data, data_location_from_flags(given), settings=settings)
    return None if extractor is None else extractor.features
