"""Value ranges, grids and atomic files."""

import os

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.images import image_grid, to_float, to_uint8, write_picture


def test_ranges_are_exact_and_inverse():
    grey = np.arange(256, dtype=np.uint8)
    floats = to_float(grey).numpy()
    np.testing.assert_allclose(floats, np.arange(256) / 127.5 - 1.0, atol=1e-6)
    assert (floats[0], floats[255]) == (-1.0, 1.0)
    np.testing.assert_array_equal(to_uint8(floats).numpy(), grey)
    np.testing.assert_array_equal(to_uint8(np.array([-7.0, 7.0, 0.0], np.float32)).numpy(), [0, 255, 128])


def test_grid_places_images_row_by_row_and_enlarges_whole_pixels():
    images = np.random.randint(0, 256, size=(5, 2, 3, 3)).astype(np.uint8)
    grid = image_grid(images, columns=3, min_width=23)
    assert grid.shape == (5 * 3, 11 * 3, 3)  # 5 x 11 with the lines between, times 3, the first to reach 23 pixels
    small = grid[::3, ::3]
    for offset in range(3):
        np.testing.assert_array_equal(grid[offset::3, 2 - offset :: 3], small)
    for i in range(5):
        row, column = 3 * (i // 3), 4 * (i % 3)
        np.testing.assert_array_equal(small[row : row + 2, column : column + 3], images[i])
    assert np.all(small[2] == 128) and np.all(small[:, 3] == 128) and np.all(small[3:, 8:] == 128)


def test_the_name_decides_the_format_and_png_holds_the_pixels(tmp_path):
    for channels in (1, 3):
        image = np.random.randint(0, 256, size=(4, 6, channels)).astype(np.uint8)
        path = str(tmp_path / "image.png")
        write_picture(path, image)
        np.testing.assert_array_equal(tf.io.decode_png(tf.io.read_file(path)).numpy(), image)
    assert os.listdir(tmp_path) == ["image.png"]
    for name in ("image.jpg", "image.JPEG"):
        write_picture(str(tmp_path / name), np.full((8, 8, 3), 77, np.uint8))
        assert (tmp_path / name).read_bytes()[:3] == b"\xff\xd8\xff"
        assert np.abs(tf.io.decode_jpeg((tmp_path / name).read_bytes()).numpy().astype(int) - 77).max() <= 1
    with pytest.raises(OSError, match="65,500 pixels"):
        write_picture(str(tmp_path / "wide.jpg"), np.zeros((1, 65_501, 1), np.uint8))
