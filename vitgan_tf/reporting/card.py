"""The model card of an exported generator."""

from __future__ import annotations

import os

from vitgan_tf.config import ExperimentConfig
from vitgan_tf.files import printable, write_atomically
from vitgan_tf.images import image_grid, write_picture
from vitgan_tf.presets import changes_to_preset
from vitgan_tf.reporting.evaluation import table
from vitgan_tf.trained.generator import Generator

GRID = "grid.png"
_COLUMNS, _MIN_WIDTH = 10, 640
_WEIGHTS = {"ema": "the moving average of the weights", "raw": "the raw weights"}
_TENSORFLOW = """\
`serving_default` and `map_latents` take latents `({n}, {latent_dim})` from N(0, 1), `render` takes styles
`({n}, {num_styles}, {style_dim})` and a scale, `generate` takes a number of images and a seed. With TensorFlow alone:

```python
import tensorflow as tf

generator = tf.saved_model.load("FOLDER")
images = generator.generate(num_images=16, seed=0)["images"]  # (16, {size}, {size}, {channels}) uint8
```

A SavedModel is a program: load it only if you trust where it comes from."""
_PORTABLE = """\
`synthesize.{suffix}` maps latents `({n}, {latent_dim})` from N(0, 1) to images `({n}, {size}, {size}, {channels})` in
[-1, 1]. `map_latents.{suffix}` maps latents to styles `({n}, {num_styles}, {style_dim})`, and `render.{suffix}` maps
styles {scale}to images. There is no `generate`: its random numbers are TensorFlow's.{noise}"""
_NPZ = """\
`weights.npz` holds the weights in float16, and `config.json` the network that they fill."""
_USE = """\
With vitgan_tf:

```python
import vitgan_tf

generator = vitgan_tf.load("FOLDER")
images = generator.generate(16, seed=0)  # (16, {size}, {size}, {channels}) uint8
```"""


def write_card(folder: str, generator: Generator, format_name: str, batch_size: int | None = None) -> None:
    """Writes the model card as README.md, and the grid that it shows; see `model_card`.

    Raises:
      OSError: a file cannot be written.
    """
    card = model_card(generator, format_name, batch_size)
    write_atomically(os.path.join(folder, "README.md"), card.encode())
    grid = image_grid(generator.generate(_COLUMNS**2), _COLUMNS, _MIN_WIDTH)
    write_picture(os.path.join(folder, GRID), grid)


def model_card(generator: Generator, format_name: str, batch_size: int | None = None) -> str:
    """Returns a model card in Markdown: what the generator is, how to use it, its training, scores and limits.

    Args:
      generator: result of `load` whose configuration is known.
      format_name: name in `choices.EXPORT_FORMATS`.
      batch_size: fixed batch size; None for any.
    """
    config = generator.config
    assert config is not None
    data, size = config.data, generator.image_size
    places = {
        "n": batch_size or "n",
        "latent_dim": generator.latent_dim,
        "num_styles": generator.num_styles,
        "style_dim": generator.style_dim,
        "size": size,
        "channels": generator.num_channels,
        "suffix": format_name,
        "scale": "and `render_scale` " if generator.renders_at_any_scale else "",
        "noise": " The layers' noise is a fixed one." if generator.has_noise else "",
    }
    use = {"saved_model": _TENSORFLOW, "npz": _NPZ}.get(format_name, _PORTABLE)
    sections = [
        f"# A generator of {data.dataset} images, {size} x {size} x {generator.num_channels}",
        f"![The first hundred images of seed 0, not picked]({GRID})",
        "A generative adversarial network draws these images from random numbers: the generator "
        f"`{config.generator.architecture}`, trained against the discriminator "
        f"`{config.discriminator.architecture}` by vitgan_tf, which implements ViTGAN (Lee et al., ICLR 2022, arXiv "
        "2107.04589).",
        "## Use",
        use.format(**places),
        _USE.format(**places),
        "## Training",
        _training(generator, config),
        "## Scores",
        _scores(generator),
        "## Limits",
        "It draws what its training images show, with their gaps and biases, and nothing else. Some images may be "
        "close to training images: `vitgan evaluate --nearest=16` shows the nearest ones. The rights in the training "
        "images may extend to what it draws. `config.json` has the whole configuration, and "
        "`assets.extra/sha256.json` the checksums of the files.",
    ]
    return "\n\n".join(sections) + "\n"


def _training(generator: Generator, config: ExperimentConfig) -> str:
    origin = generator.origin
    provenance, data = origin.provenance, config.data
    step = generator.step or 0
    changes = changes_to_preset(config)
    known = ", ".join(f"{name} {value}" for name, value in origin.data.items())
    rows = [
        ("training images", f"{data.dataset}{f': {known}' if known else ''}"),
        (
            "weights",
            f"{_WEIGHTS[origin.weights]} after {step:,} steps, {step * config.images_per_step / 1000:g} kimg",
        ),
        ("command", f"`{printable(' '.join(map(str, provenance.get('command', []))))}`"),
        ("commit", provenance.get("commit") or "unknown"),
        ("versions", ", ".join(f"{name} {value}" for name, value in provenance.get("versions", {}).items())),
        (f"changes to the preset `{data.dataset}`", _listed(changes)),
    ]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def _scores(generator: Generator) -> str:
    try:
        return f"```\n{table({'model': generator.origin.source, **generator.scores})}\n```"
    except (KeyError, ValueError):  # no scores, or those of an earlier version
        return "This step was not scored."


def _listed(changes: list[str] | None) -> str:
    if changes is None:
        return "there is no such preset"
    return "; ".join(f"`{change}`" for change in changes) or "none"
