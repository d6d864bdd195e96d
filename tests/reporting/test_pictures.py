"""Pictures of a page: exact where they fit, and never larger than they may be."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from vitgan_tf.files import FilePart
from vitgan_tf.images import image_grid, write_picture
from vitgan_tf.reporting import pictures


def _noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _picture(path, pixels, weight=1):
    write_picture(str(path), pixels)
    return pictures.Picture(path.name, FilePart(str(path), 0, path.stat().st_size), f"there/{path.name}", weight)


def _opened(element):
    return Image.open(io.BytesIO(base64.b64decode(re.search(r'base64,([^"]*)"', element)[1])))


@pytest.mark.parametrize("channels", [1, 3])
def test_repeated_pixels_are_left_out_first(tmp_path, channels):
    """They lose nothing, and the page repeats them."""
    grid = image_grid(_noise(30, 16, 14, channels), columns=4, min_width=640)
    picture = _picture(tmp_path / "a.png", grid)
    room = 3_500 + 9_500 * channels
    assert picture.file.num_bytes > room  # as it is, it does not fit
    (element,) = pictures.elements([picture], room)
    assert len(element) <= room and 'alt="a.png"' in element
    assert 'width="649" class="exact"' in element and grid.shape[1] == 649
    exact = _opened(element)
    repeated = np.asarray(exact.convert("L" if channels == 1 else "RGB")).repeat(11, axis=0).repeat(11, axis=1)
    np.testing.assert_array_equal(repeated.reshape(grid.shape), grid)


@pytest.mark.parametrize("shape", [(300, 301, 3), (2, 5000, 1), (5000, 2, 3), (1, 1, 3)])
@pytest.mark.parametrize("limit", [0, 2100, 5000, 60_000])
def test_no_picture_is_larger_than_it_may_be(tmp_path, shape, limit):
    (element,) = pictures.elements([_picture(tmp_path / "a.png", _noise(*shape))], limit)
    assert len(element) <= max(limit, 100)
    if limit == 60_000:
        assert min(_opened(element).size) >= 1


def test_small_pictures_leave_their_room_to_the_others(tmp_path):
    small = [_picture(tmp_path / f"{number}.png", _noise(8, 8, 3)) for number in range(8)]
    large = _picture(tmp_path / "large.png", _noise(200, 200, 3), weight=2)
    elements = pictures.elements([small[0], large, *small[1:]], 60_000)
    assert [re.search('alt="([^".]*)', element)[1] for element in elements] == ["0", "large", *"1234567"]
    assert len(elements[1]) > 30_000 and sum(map(len, elements)) <= 60_000
    assert all("image/png" in element for element in (elements[0], *elements[2:]))


def test_files_that_would_fill_the_memory_are_not_read(tmp_path, monkeypatch):
    picture = _picture(tmp_path / "a.png", _noise(8, 8, 3))
    monkeypatch.setattr(pictures, "MAX_FILE_BYTES", picture.file.num_bytes - 1)
    assert pictures.elements([picture], 10_000) == ['<img alt="a.png cannot be read: there/a.png">']


def test_an_animation_of_few_pixels_is_exact(tmp_path):
    frames = [Image.fromarray(_noise(20, 32, 3) // 64 * 64 + number) for number in range(5)]
    element = pictures.animation([frame.copy() for frame in frames], 50, "moving", 200_000)
    moving = _opened(element)
    assert moving.n_frames == 5 and moving.info["loop"] == 0 and 'width="640" class="exact"' in element
    for number, frame in enumerate(frames):
        moving.seek(number)
        assert moving.convert("RGB").tobytes() == frame.tobytes()
    large = [Image.fromarray(_noise(1500, 3000, 3))] * 3
    element = pictures.animation([frame.copy() for frame in large], 50, "moving", 30_000)
    assert len(element) <= 30_000 and _opened(element).n_frames >= 1 and 'width="960">' in element
