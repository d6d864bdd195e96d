"""The picture of generated images beside their nearest real ones, read back from its file."""

import numpy as np
import pytest
from PIL import Image

from vitgan_tf.reporting import nearest


@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_shows_the_sample_and_its_nearest_real_images(tmp_path, monkeypatch, channels):
    monkeypatch.setattr(nearest, "MIN_WIDTH", 100)
    random = np.random.RandomState(0)
    images, real = (random.randint(0, 256, (count, 8, 8, channels)).astype(np.uint8) for count in (3, 20))
    indices = random.randint(0, 20, (3, 4))
    path = str(tmp_path / "nearest.png")
    nearest.write_nearest(path, images, real, indices)
    picture = np.asarray(Image.open(path)).reshape(-1, 3 * 45, channels)
    # Sample, gap and four images with lines between them: 8 + 2 + 35 pixels, each three times as wide and high.
    assert picture.shape == (3 * 26, 135, channels)
    pixels = picture[::3, ::3]
    np.testing.assert_array_equal(pixels.repeat(3, axis=0).repeat(3, axis=1), picture)
    for row in range(3):
        rows = pixels[9 * row : 9 * row + 8]
        np.testing.assert_array_equal(rows[:, :8], images[row])
        assert (rows[:, 8:10] == 128).all()
        for column in range(4):
            np.testing.assert_array_equal(rows[:, 10 + 9 * column :][:, :8], real[indices[row, column]])
