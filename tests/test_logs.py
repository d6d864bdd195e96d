"""Which log lines are shown, and that the program's own settings are back afterwards."""

import contextlib
import logging as standard_logging
import threading

import pytest
import tensorflow as tf
from absl import flags, logging

from vitgan_tf.logs import concerns_users, is_ours_or_serious, shown_logs
from vitgan_tf.shared_context import shared_context

VERBOSITY = flags.FLAGS["verbosity"]


def _state():
    loggers = (standard_logging.root, logging.get_absl_logger(), tf.get_logger())
    each = [(logger.level, list(logger.handlers), list(logger.filters)) for logger in loggers]
    return VERBOSITY.value, VERBOSITY.using_default_value, each


@contextlib.contextmanager
def _fresh_process():
    """A process whose logs nobody has configured. Pytest adds handlers of its own after all fixtures."""
    root, logger = standard_logging.root, logging.get_absl_logger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(root, "handlers", [])
        for other in (logger, tf.get_logger()):
            patch.setattr(other, "filters", [])
        before = VERBOSITY.value, VERBOSITY.using_default_value, root.level, logger.level
        _configure(VERBOSITY.default, True, standard_logging.WARNING, standard_logging.NOTSET)
        try:
            yield
        finally:
            _configure(*before)


def _configure(verbosity, is_default, root_level, level):
    VERBOSITY.value, VERBOSITY.using_default_value = verbosity, is_default
    standard_logging.root.setLevel(root_level)
    logging.get_absl_logger().setLevel(level)


def test_the_packages_lines_are_shown_and_all_is_as_before(capsys):
    with _fresh_process():
        before = _state()
        logging.get_absl_logger().info("hidden")
        with shown_logs():
            with shown_logs():
                logging.info("shown")
            # As TensorFlow does where it saves a model.
            level = logging.get_verbosity()
            logging.set_verbosity(logging.FATAL)
            logging.set_verbosity(level)
            logging.info("shown too")
        assert _state() == before
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("] ")[1] for line in lines] == ["shown", "shown too"]


@pytest.mark.parametrize(
    "choose",
    [lambda: logging.set_verbosity(logging.WARNING), lambda: standard_logging.root.setLevel(standard_logging.ERROR)],
)
def test_a_level_that_was_chosen_stays(capsys, choose):
    with _fresh_process():
        choose()
        before = _state()
        with shown_logs():
            logging.info("hidden")
        assert _state() == before
    assert capsys.readouterr().err == ""


def test_filters_do_not_pile_up_and_the_programs_own_stay():
    with _fresh_process():
        logging.get_absl_logger().addFilter(is_ours_or_serious)
        for _ in range(2):
            with shown_logs():
                assert tf.get_logger().filters == [concerns_users]
                assert not tf.get_logger().isEnabledFor(logging.INFO)
        assert logging.get_absl_logger().filters == [is_ours_or_serious] and tf.get_logger().filters == []


def test_contexts_that_overlap_are_undone_by_the_last():
    events = []

    @shared_context
    def changed():
        """Words."""
        events.append("changed")
        try:
            yield
        finally:
            events.append("undone")

    entered, left = threading.Event(), threading.Event()

    def other():
        with changed():
            entered.set()
            left.wait(10)

    thread = threading.Thread(target=other)
    with changed():
        thread.start()
        entered.wait(10)
    assert events == ["changed"]
    left.set()
    thread.join()
    with pytest.raises(ZeroDivisionError), changed():
        _ = 1 / 0
    assert events == ["changed", "undone", "changed", "undone"] and changed.__doc__ == "Words."
