"""Makes a resized data set from its official files: vitgan prepare-data --dataset=celeba64 --source=DIR

Nothing is downloaded. The result is a data set in the format of tensorflow-datasets below --data_dir, where
`vitgan run` finds it. After an interruption, the same command resumes.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex

from absl import flags, logging

from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.configuration import section_from_flags
from vitgan_tf.commands.flags import define_field_flags, define_path, define_source_flags
from vitgan_tf.commands.quiet import import_tensorflow
from vitgan_tf.config import DataLocation
from vitgan_tf.config.choices import DATASETS
from vitgan_tf.errors import UserError
from vitgan_tf.invocation import invocation
from vitgan_tf.presets import PRESETS, preset


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    flags.DEFINE_enum(
        "dataset", None, sorted(set(DATASETS) - {"digits"}), "Data set to prepare.", required=True, flag_values=given
    )
    define_field_flags(given, "data", except_fields=("flip",))
    flags.DEFINE_alias("resolution", "data.image_size", given)
    define_path(
        given,
        "source",
        None,
        "Folder of the downloaded files, or an archive; default: raw/<data set> below --data_dir. cifar10: "
        "cifar-10-binary.tar.gz or cifar-10-python.tar.gz. mnist: train-images-idx3-ubyte.gz, "
        "t10k-images-idx3-ubyte.gz. celeba64, celeba128: img_align_celeba.zip, list_eval_partition.txt, or Kaggle's "
        "archive. lsun_bedroom64, lsun_bedroom128: bedroom_train_lmdb.zip, bedroom_val_lmdb.zip, or bedroom_train, "
        "bedroom_val with images. emoji: emoji-datasource-google-16.0.0.tgz, an npm package. folder: any images, "
        "subfolders included, or a zip archive. Unpacked archives and subfolders are found too.",
        is_single=True,
    )
    define_source_flags(given)
    define_path(
        given,
        "data_dir",
        None,
        "Folder of the data sets; default: TFDS_DATA_DIR or ~/tensorflow_datasets.",
        is_single=True,
    )
    flags.DEFINE_string(
        "name", None, "Name of a set made from a folder of images; default: the folder's.", flag_values=given
    )
    flags.DEFINE_bool("strict", False, "Fail at the first unusable file instead of skipping it.", flag_values=given)
    flags.DEFINE_integer(
        "num_threads", None, "Images decoded at a time; default: one per core.", lower_bound=1, flag_values=given
    )


def main(line: CommandLine) -> str:
    """Prepares the data set, and returns its folder."""
    given = line.flags
    config = dataclasses.replace(PRESETS[given.dataset]().data, **section_from_flags(given, "data"))
    import_tensorflow()
    from vitgan_tf.data.instructions import command_options
    from vitgan_tf.data.opening import limited_pixels
    from vitgan_tf.data.preparation import SKIPPED_FILE, prepare
    from vitgan_tf.data.registry import DatasetSpec, dataset_spec
    from vitgan_tf.data.tfds_sets import default_data_dir

    spec = dataset_spec(config, DataLocation(holdout_dir=given.holdout_dir))
    assert isinstance(spec, DatasetSpec)
    data_dir = given.data_dir or default_data_dir()
    source = given.source or spec.raw_dir(data_dir)
    name = given.name
    if config.dataset != "folder" and name is not None:
        raise UserError("--name is for --dataset=folder only: the names of other sets are fixed")
    preset(config.dataset, image_size=config.image_size)  # rejects sizes that no run could use
    if config.dataset == "folder":
        name = re.sub(r"\W+", "_", name or os.path.basename(os.path.abspath(source))).strip("_").lower() or "images"
    with limited_pixels(given.max_megapixels):
        prepared = prepare(spec, config, source, data_dir, name, given.strict, given.num_threads)
    for message in prepared.lines:
        logging.warning("%s", message)
    if prepared.skipped:
        logging.info("all of them are listed in %s", os.path.join(prepared.directory, SKIPPED_FILE))
    counts = " and ".join(f"{count} {split}" for split, count in prepared.num_images.items())
    logging.info("prepared %s images in %s", counts, prepared.directory)
    place = prepared.directory if config.dataset == "folder" else data_dir
    logging.info("train with: %s %s", invocation("run"), shlex.join(command_options(config, place)))
    return prepared.directory
