"""Modules of TensorFlow Hub: their cache, their download, and the hash of a SavedModel."""

from __future__ import annotations

import glob
import hashlib
import os

from absl import logging

from vitgan_tf.config import DataLocation
from vitgan_tf.connectivity import unreachable
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.files import sha256_of_files


class ExtractorNotFoundError(UserError):
    """Missing weights of an extractor; the message says where to get them."""


def hub_module(address: str, location: DataLocation, description: str, flag: str) -> str:
    """Returns the folder of a module in TensorFlow Hub's cache, downloading it first if allowed.

    The cache is TFHUB_CACHE_DIR, or tfhub_modules in location.cache_dir.

    Args:
      address: the module's address, https://...
      location: its cache_dir and download are read.
      description: beginning of the message where the module is missing.
      flag: flag for another folder, such as "--inception=FOLDER".

    Raises:
      ExtractorNotFoundError: the module is missing, and was not or cannot be downloaded.
    """
    cache_dir = os.environ.get("TFHUB_CACHE_DIR") or os.path.join(location.cache_dir, "tfhub_modules")
    folder = os.path.join(cache_dir, hashlib.sha1(address.encode()).hexdigest())  # as TensorFlow Hub names it
    if os.path.isdir(folder) and os.listdir(folder):
        return folder
    reason: str | None = "--download would fetch it"
    if location.download:
        reason = unreachable(address)
        if reason is None:
            logging.info("downloading %s to %s", address, folder)
            try:
                return _download(address, cache_dir)
            except Exception as error:  # errors of many types: network, certificates, archive, disk
                reason = first_line(error)
    raise ExtractorNotFoundError(
        f"{description} is not on this machine ({reason}): fetch {address}?tf-hub-format=compressed, unpack it into "
        f"{folder!r}, or into any folder and pass {flag}"
    )


def _download(address: str, cache_dir: str) -> str:
    import tensorflow_hub

    before = os.environ.get("TFHUB_CACHE_DIR")
    os.environ["TFHUB_CACHE_DIR"] = cache_dir
    try:
        return tensorflow_hub.resolve(address)
    finally:
        if before is None:
            del os.environ["TFHUB_CACHE_DIR"]


def sha256_of_saved_model(path: str) -> str:
    """Hash of the files that a SavedModel is made of: saved_model.pb, variables and assets.

    Raises:
      OSError: a file cannot be read.
    """
    inside = glob.escape(path)
    weights = sorted(glob.glob(os.path.join(inside, "variables", "variables.*")))
    assets = sorted(filter(os.path.isfile, glob.glob(os.path.join(inside, "assets", "**"), recursive=True)))
    return sha256_of_files([os.path.join(path, "saved_model.pb"), *weights, *assets])
