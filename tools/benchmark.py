"""Measures speed and memory: python tools/benchmark.py train --dataset=cifar10

The same as `vitgan benchmark`: see vitgan_tf/commands/benchmark.py.
"""

from vitgan_tf.commands.main import start

if __name__ == "__main__":
    start("benchmark")
