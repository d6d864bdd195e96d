"""Scores a run or a SavedModel: python tools/evaluate.py --model=runs/cifar10

The same as `vitgan evaluate`: see vitgan_tf/commands/evaluate.py.
"""

from vitgan_tf.commands.main import start

if __name__ == "__main__":
    start("evaluate")
