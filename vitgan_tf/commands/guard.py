"""Runs a command's main function: user errors end in one line, only bugs in a traceback."""

from __future__ import annotations

import logging as standard_logging
import os
import sys
from collections.abc import Sequence
from typing import Callable, NoReturn

from absl import app, logging

from vitgan_tf.errors import Interrupted, UserError, first_line


def guarded_run(main: Callable[[Sequence[str]], None], takes_arguments: bool = False) -> None:
    """Parses the flags and calls main(arguments); a user error ends in one line and exit code 1.

    Ctrl-C ends in one line and exit code 130, SIGTERM during a training or a sweep in exit code 143: see
    docs/reliability.md.

    Args:
      main: main function of the command; takes sys.argv without the flags.
      takes_arguments: whether arguments other than flags are allowed.
    """

    def guarded(argv: Sequence[str]) -> None:
        if len(argv) > 1 and not takes_arguments:
            fail(f"unexpected argument {argv[1]!r}: every option is written --name=value (see --help)")
        try:
            main(argv)
            sys.stdout.flush()
        except (UserError, Interrupted) as error:
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            fail("interrupted", code=130)
        except MemoryError as error:
            _fail_for_memory(error)
        except SystemError as error:
            # Some C code turns a KeyboardInterrupt into this.
            if not isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
                raise
            fail("interrupted", code=130)
        except BrokenPipeError:
            # The reader of our output is gone; Python would try to write the rest at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:
            # TensorFlow's own type, compared by name: TensorFlow need not be imported here.
            if type(error).__name__ != "ResourceExhaustedError":
                raise
            _fail_for_memory(error)

    logging.set_verbosity(logging.INFO)
    logging.get_absl_logger().addFilter(_is_ours_or_serious)
    standard_logging.getLogger("matplotlib").setLevel(standard_logging.WARNING)
    app.run(guarded, flags_parser=_parse_flags)


def fail(message: str, code: int = 1) -> NoReturn:
    """Prints one line on standard error, after the name of the command, and exits."""
    print(f"{os.path.basename(sys.argv[0])}: {' '.join(message.splitlines())}", file=sys.stderr)
    sys.exit(code)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(argv)
    except RecursionError:  # absl compares an unknown name with all others, letter by letter
        fail("unknown flag with a very long name (see --help)")


def _is_ours_or_serious(record: standard_logging.LogRecord) -> bool:
    """Drops log lines about the internals of TensorFlow and tensorflow-datasets.

    tensorflow-datasets' warnings are dropped too: they are about its own deprecated calls.
    """
    if f"{os.sep}tensorflow_datasets{os.sep}" in record.pathname:
        return record.levelno >= standard_logging.ERROR
    return record.levelno >= standard_logging.WARNING or f"{os.sep}tensorflow{os.sep}" not in record.pathname


def _fail_for_memory(error: Exception) -> NoReturn:
    fail(f"out of memory ({first_line(error)}): use smaller batches, networks or images")
