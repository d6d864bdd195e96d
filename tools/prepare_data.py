"""Makes a resized data set from its official files: python tools/prepare_data.py --dataset=celeba64 --source=DIR

The same as `vitgan prepare-data`: see vitgan_tf/commands/prepare_data.py.
"""

from vitgan_tf.commands.main import start

if __name__ == "__main__":
    start("prepare-data")
