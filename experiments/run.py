"""Trains a GAN: python experiments/run.py --dataset=celeba64

The same as `vitgan run`: see vitgan_tf/commands/run.py.
"""

from vitgan_tf.commands.main import start

if __name__ == "__main__":
    start("run")
