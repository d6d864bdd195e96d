"""ViTGAN in TensorFlow 2: GANs whose generator and discriminator are vision transformers.

Lee, Chang, Jiang, Zhang, Tu, Liu: "ViTGAN: Training GANs with Vision Transformers", ICLR 2022,
arXiv 2107.04589. Importing this package imports neither TensorFlow nor anything else that is slow.
"""

__version__ = "0.1.0"
