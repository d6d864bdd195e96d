"""Writes a page of HTML about a run: python tools/report.py runs/digits

The same as `vitgan report`: see vitgan_tf/commands/report.py.
"""

from vitgan_tf.commands.main import start

if __name__ == "__main__":
    start("report")
