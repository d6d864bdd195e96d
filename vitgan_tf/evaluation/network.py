"""Any network as feature extractor: DINOv2, CLIP or one of the images' own domain."""

from __future__ import annotations

import os
from typing import Callable

import numpy as np
import tensorflow as tf

from vitgan_tf.config import EvalConfig
from vitgan_tf.config.choices import EXTRACTORS, RESIZES
from vitgan_tf.errors import UserError, did_you_mean, first_line
from vitgan_tf.evaluation.build import ExtractorRequest
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.network_files import Network, is_address, load_network, short_name

# DINOv2 and CLIP are given images that Pillow resized in the same way.
_DEFAULT_RESIZE = "clean"
# Usual names of one vector per image.
_FEATURE_NAMES = (
    *("features", "feature_vector", "embedding", "embeddings", "image_embeds", "image_embeddings"),
    *("pooler_output", "pooled_output", "default"),
)
_POOLINGS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "": lambda vectors: vectors,
    "class token": lambda tokens: tokens[:, 0],
    "mean over tokens": lambda tokens: tf.reduce_mean(tokens, axis=1),
    "mean over space": lambda maps: tf.reduce_mean(maps, axis=[1, 2]),
}


def network_extractor(request: ExtractorRequest) -> FeatureExtractor:
    """Loads the network of settings.network, whose features are one vector per image; it has no logits.

    Its input: the images, resized to settings.network_size by settings.resize, with values according to
    settings.network_range, or network_mean and network_std. Its features: settings.network_output. Maps (batch,
    height, width, features) are averaged over space; settings.network_tokens says how tokens (batch, tokens,
    features) become one vector.

    Raises:
      ExtractorNotFoundError: it is a TensorFlow Hub module that is missing.
      UserError: it cannot be loaded, refuses the images, or has no such output.
    """
    settings, data = request.settings, request.data
    if not settings.network:
        raise UserError("--extractor=network needs a network: set --network=PATH")
    path = settings.network if is_address(settings.network) else os.path.expanduser(settings.network)
    network = load_network(path, settings.network_output, request.location)
    channels = network.input.shape[-1] or 3
    if data.num_channels > channels:
        raise UserError(f"{path!r} takes images of one channel, and those of {data.dataset} have {data.num_channels}")
    size = _input_size(network, settings, data.image_size)
    resizer = RESIZES[settings.resize or _DEFAULT_RESIZE]
    scale, offset = _scale_and_offset(settings, channels, path)

    def outputs(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return network.call(tf.cast(resizer.function(images, size) * scale + offset, network.input.dtype))

    found = _tried(outputs, [2, data.image_size, data.image_size, channels], size, path)
    name = _chosen_output(found, settings.network_output, path)
    pooling = _pooling(found[name], name, settings.network_tokens, path)

    def function(images: tf.Tensor) -> tuple[tf.Tensor, None]:
        return _POOLINGS[pooling](tf.cast(outputs(images)[name], tf.float32)), None

    return FeatureExtractor(
        _score_name(path),
        function,
        network.sha256,
        resizer.words.format(size),
        num_channels=channels,
        input_words=f"{size} x {size} x {channels}, {_values_in_words(settings)}",
        output_words=", ".join(filter(None, [name or "the only output", pooling])),
    )


def _score_name(path: str) -> str:
    name = short_name(path)
    return f"{name}_network" if name in EXTRACTORS and name != "network" else name


def _input_size(network: Network, settings: EvalConfig, image_size: int) -> int:
    """Returns the edge of the network's input.

    Raises:
      UserError: the network takes images of another size.
    """
    fixed = network.input.shape[1]
    size = settings.network_size or fixed or image_size
    if settings.resize == "none":
        size = image_size
    if fixed is not None and size != fixed:
        raise UserError(
            f"{settings.network!r} takes images of {fixed} x {fixed} only, not {size} x {size}: set "
            f"--network_size={fixed}, and no --resize=none"
        )
    return size


def _scale_and_offset(settings: EvalConfig, channels: int, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the float32 factor and summand, per channel or scalar, for values in [-1, 1]."""
    if len(settings.network_mean) not in (0, 1, channels):
        raise UserError(
            f"{path!r} takes images of one channel: set a single number for --network_mean and for --network_std"
        )
    if settings.network_mean:
        mean, std = np.asarray(settings.network_mean), np.asarray(settings.network_std)
        black, white = -mean / std, (1.0 - mean) / std
    else:
        black, white = map(np.asarray, settings.network_range or (-1.0, 1.0))
    return ((white - black) / 2.0).astype(np.float32), ((white + black) / 2.0).astype(np.float32)


def _values_in_words(settings: EvalConfig) -> str:
    if settings.network_mean:
        mean, std = (",".join(f"{value:.9g}" for value in v) for v in (settings.network_mean, settings.network_std))
        return f"values from 0 to 1 less the mean {mean} and divided by {std}"
    low, high = settings.network_range or (-1.0, 1.0)
    return f"values from {low:.9g} to {high:.9g}"


def _tried(
    outputs: Callable[[tf.Tensor], dict[str, tf.Tensor]], shape: list[int], size: int, path: str
) -> dict[str, tf.Tensor]:
    """Returns the outputs for grey images on the first replica.

    Raises:
      UserError: the network refuses them.
    """
    strategy = tf.distribute.get_strategy()  # a SavedModel that is loaded in its scope runs in its replicas only
    run = tf.function(lambda images: strategy.run(outputs, args=(images,)), autograph=False)
    try:
        found = run(tf.zeros(shape))
        return {name: strategy.experimental_local_results(value)[0] for name, value in found.items()}
    except Exception as error:  # networks of any origin raise errors of many types
        raise UserError(
            f"{path!r} refuses images of {size} x {size} x {shape[-1]}: {first_line(error)} (another size: "
            "--network_size)"
        ) from error


def _chosen_output(outputs: dict[str, tf.Tensor], wanted: str, path: str) -> str:
    usual = [name for name in outputs if name in _FEATURE_NAMES]
    names = [wanted] if wanted else list(outputs) if len(outputs) == 1 else usual
    if len(names) == 1 and names[0] in outputs:
        return names[0]
    listed = ", ".join(name or "one without a name" for name in outputs) or "none"
    if wanted:
        raise UserError(f"{path!r} has no output {wanted!r}{did_you_mean(wanted, outputs)} (outputs: {listed})")
    raise UserError(f"{path!r} has several outputs: choose one by --network_output (outputs: {listed})")


def _pooling(output: tf.Tensor, name: str, tokens: str, path: str) -> str:
    """Returns how an output becomes one vector per image: a key of `_POOLINGS`.

    Raises:
      UserError: the output is not numeric, not one entry per image, or tokens that were not asked for.
    """
    words = f"the output {name!r} of {path!r}" if name else f"the output of {path!r}"
    if not tf.is_tensor(output) or not (output.dtype.is_floating or output.dtype.is_integer):
        kind = output.dtype.name if tf.is_tensor(output) else type(output).__name__
        raise UserError(f"{words} is not numeric: {kind}")
    shape = ", ".join(["batch", *map(str, output.shape[1:])])
    if output.shape.rank not in (2, 3, 4) or output.shape[0] != 2:
        raise UserError(
            f"{words} has the shape {tuple(output.shape)} for 2 images: it must have one vector, map or "
            "sequence of tokens for each"
        )
    if output.shape.rank == 3 and not tokens:
        raise UserError(f"{words} is tokens ({shape}): set --network_tokens=class_token or --network_tokens=mean")
    kinds = {2: "", 3: "mean over tokens" if tokens == "mean" else "class token", 4: "mean over space"}
    return kinds[output.shape.rank]
