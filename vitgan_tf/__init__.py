"""ViTGAN in TensorFlow 2: GANs whose generator and discriminator are vision transformers.

Lee, Chang, Jiang, Zhang, Tu, Liu: "ViTGAN: Training GANs with Vision Transformers", ICLR 2022,
arXiv 2107.04589. Importing this package imports neither TensorFlow nor anything else that is slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitgan_tf.greeting import prepare_at_import
from vitgan_tf.version import __version__

if TYPE_CHECKING:
    from vitgan_tf.trained.generator import Generator

__all__ = ["__version__", "load"]

prepare_at_import()


def load(source: str, checkpoint: str = "latest", weights: str = "ema") -> Generator:
    """Loads a trained generator: `load("digits").generate(16)`; see `vitgan_tf.trained.loading.load`."""
    from vitgan_tf.trained import loading

    return loading.load(source, checkpoint, weights)
