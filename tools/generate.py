"""Draws images of a trained generator: python tools/generate.py --model=runs/digits --output=grid.png

The same as `vitgan generate`: see vitgan_tf/commands/generate.py.
"""

from vitgan_tf.commands.main import start

if __name__ == "__main__":
    start("generate")
