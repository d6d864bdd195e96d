"""Runs a command's main function: user errors end in one line, only bugs in a traceback."""

from __future__ import annotations

import contextlib
import logging as standard_logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NoReturn

from absl import app, logging

from vitgan_tf.errors import Interrupted, UserError, first_line
from vitgan_tf.logs import is_ours_or_serious

LONG_FLAG = "unknown flag with a very long name (see --help)"


def guarded_run(main: Callable[[Sequence[str]], Any]) -> None:
    """Parses the flags and calls main(arguments); a user error ends in one line and exit code 1.

    Ctrl-C ends in one line and exit code 130, SIGTERM during a training or a sweep in exit code 143: see
    docs/reliability.md.

    Args:
      main: main function of the command; takes sys.argv without its first word and the flags.
    """

    def guarded(argv: Sequence[str]) -> None:
        try:
            with clear_errors():
                main(argv[1:])
            sys.stdout.flush()
        except (UserError, Interrupted) as error:
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            fail("interrupted", code=130)
        except BrokenPipeError:
            # The reader of our output is gone; Python would try to write the rest at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    logging.set_verbosity(logging.INFO)
    logging.get_absl_logger().addFilter(is_ours_or_serious)
    standard_logging.getLogger("matplotlib").setLevel(standard_logging.WARNING)
    app.run(guarded, flags_parser=_parse_flags)


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Turns a lack of memory into a UserError, and what some C code makes of Ctrl-C into a KeyboardInterrupt."""
    try:
        yield
    except MemoryError as error:
        raise _out_of_memory(error) from error
    except SystemError as error:
        if not isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from error
    except Exception as error:
        # TensorFlow's own type, compared by name: TensorFlow need not be imported here.
        if type(error).__name__ != "ResourceExhaustedError":
            raise
        raise _out_of_memory(error) from error


def fail(message: str, code: int = 1) -> NoReturn:
    """Prints one line on standard error, after the name of the command, and exits."""
    print(f"{os.path.basename(sys.argv[0])}: {' '.join(message.splitlines())}", file=sys.stderr)
    sys.exit(code)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(argv)
    except RecursionError:  # absl compares an unknown name with all others, letter by letter
        fail(LONG_FLAG)


def _out_of_memory(error: Exception) -> UserError:
    return UserError(f"out of memory ({first_line(error)}): use smaller batches, networks or images")
