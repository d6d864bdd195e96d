"""The equations of ViTGAN in plain NumPy float64, to compare the library with.

Written from the paper alone, with loops and without any code of the library, so that an error of the
library is not repeated here. Slow on purpose: for small arrays only. Images are (batch, height, width,
channels), tokens (batch, length, width); every floating argument is taken to float64 first.
"""
