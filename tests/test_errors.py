"""One line for any error."""

import pytest
import tensorflow as tf

from vitgan_tf.errors import first_line

PLACES = (
    'Graph execution error:\n\nDetected at node Assert defined at (most recent call last):\n  File "a.py", line 1\n\n'
)


@pytest.mark.parametrize(
    "text, line",
    [
        ("one\ntwo", "one"),
        ("", "ValueError"),
        ("{{node a/b}} one", "one"),
        (f"{PLACES}no room\n\t [[{{{{node a}}}}]] [Op:__inference_f_1]", "no room"),
        (
            f"{PLACES}2 root error(s) found.\n  (0) INVALID_ARGUMENT: no room\n\t [[{{{{node a}}}}]]\n\t [[b/_3]]\n"
            "  (1) INVALID_ARGUMENT: no room\n\t [[{{node a}}]]\n0 successful operations.\n0 derived errors ignored.",
            "(0) INVALID_ARGUMENT: no room",
        ),
        ("Graph execution error:", "Graph execution error:"),
    ],
)
def test_the_line_names_the_cause(text, line):
    assert first_line(ValueError(text)) == line


def test_a_graph_of_tensorflows():
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        tf.function(tf.linalg.inv)(tf.zeros([2, 2]))
    assert first_line(error.value) == "Input is not invertible."
