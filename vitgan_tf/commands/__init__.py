"""The commands, on the command line (`main`) and as functions (`call`)."""

from vitgan_tf.commands.calls import call

__all__ = ["call"]
