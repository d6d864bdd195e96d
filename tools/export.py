"""Exports a trained generator: python tools/export.py --model=runs/digits --format=onnx --output=exported

The same as `vitgan export`: see vitgan_tf/commands/export.py.
"""

from vitgan_tf.commands.main import start

if __name__ == "__main__":
    start("export")
