"""The distance that tells how good a run is, among the names of its scores."""

import pytest

from vitgan_tf.runs.metrics import distance_name


@pytest.mark.parametrize(
    "names, expected",
    [
        (["swd", "swd_32px", "fid5k_full", "is5k"], "fid5k_full"),
        (["bilinear_fid5k", "swd"], "bilinear_fid5k"),
        (["clean_fid50k_full", "clean_kid50k_full", "swd"], "clean_fid50k_full"),
        (["digits_kd", "digits_fd", "digits_fd_half_split", "swd"], "digits_fd"),
        (["swd_32px", "swd_16px", "swd"], "swd"),
        (["is5k", "confidence"], None),
    ],
)
def test_the_frechet_distance_comes_before_the_sliced_one(names, expected):
    assert distance_name([{"step": 0, "kimg": 0.0}, dict.fromkeys(names, 1.0)]) == expected
    assert distance_name([{"source": "evaluate", **dict.fromkeys(names, 1.0)}]) is None
