"""Finds the styles of given pictures: python tools/project.py --model=digits --image=photo.png --outdir=projected

The same as `vitgan project`: see vitgan_tf/commands/project.py.
"""

from vitgan_tf.commands.main import start

if __name__ == "__main__":
    start("project")
