"""Trains and writes the paper's tables: python experiments/tables.py --table=main

The same as `vitgan tables`: see vitgan_tf/commands/tables.py.
"""

from vitgan_tf.commands.main import start

if __name__ == "__main__":
    start("tables")
