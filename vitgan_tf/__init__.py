"""ViTGAN in TensorFlow 2: GANs whose generator and discriminator are vision transformers.

Lee, Chang, Jiang, Zhang, Tu, Liu: "ViTGAN: Training GANs with Vision Transformers", ICLR 2022,
arXiv 2107.04589. Importing this package imports neither TensorFlow nor anything else that is slow.
"""

from vitgan_tf.greeting import prepare_at_import

__version__ = "0.1.0"

prepare_at_import()
