"""Serves a page to play with trained generators: python tools/view.py --model=digits

The same as `vitgan view`: see vitgan_tf/commands/view.py.
"""

from vitgan_tf.commands.main import start

if __name__ == "__main__":
    start("view")
