"""Serves a page to play with trained generators: vitgan view --model=digits

The page controls seed, truncation, interpolation, style mixing and render scale; it shows samples and projects
pictures. Repeat --model to compare generators side by side. Only this machine can reach it, unless --host allows
others.
"""

from __future__ import annotations

import webbrowser

from absl import flags, logging

from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.models import MODEL_HELP, check_checkpoint_flags, define_checkpoint_flags
from vitgan_tf.commands.plugins import define_plugin_flag
from vitgan_tf.commands.quiet import import_tensorflow


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_plugin_flag(given)
    flags.DEFINE_multi_string(
        "model", ["digits"], f"{MODEL_HELP} Repeat the flag to compare generators.", flag_values=given
    )
    define_checkpoint_flags(given)
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "Address to listen at: 127.0.0.1 for this machine alone, 0.0.0.0 for all that reach it.",
        flag_values=given,
    )
    flags.DEFINE_list(
        "names",
        [],
        "Additional host names to accept, for use with --host: example.org,10.0.0.5.",
        flag_values=given,
    )
    flags.DEFINE_integer(
        "port", 8350, "Port; 0 for any free one.", lower_bound=0, upper_bound=65_535, flag_values=given
    )
    flags.DEFINE_integer("steps", 500, "Steps of a projection.", lower_bound=1, flag_values=given)
    flags.DEFINE_bool("open", False, "Open the page in a browser.", flag_values=given)


def main(line: CommandLine) -> None:
    """Serves the page until Ctrl-C."""
    given = line.flags
    check_checkpoint_flags(given)
    import_tensorflow()
    from vitgan_tf.trained.loading import load
    from vitgan_tf.viewer.answers import Viewer
    from vitgan_tf.viewer.server import Server

    checkpoint, weights = given.checkpoint or "latest", given.weights or "ema"
    generators = {source: load(source, checkpoint, weights) for source in given.model}
    viewer = Viewer(generators, given.steps)
    with Server(viewer, given.host, given.port, given.names) as server:
        viewer.warm_up()
        logging.info("the viewer is at %s (Ctrl-C ends it)", server.address)
        if given.open:
            webbrowser.open(server.address)
        server.serve_forever()
