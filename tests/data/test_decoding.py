"""From encoded images of every kind to uint8 at the size of the training."""

import io
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from PIL import Image
from reference import preprocessing as reference
from support.official import encoded, photos

from vitgan_tf.config import DataConfig
from vitgan_tf.data.decoding import Preprocessing, decode_all, encode_png
from vitgan_tf.data.opening import BadImageError
from vitgan_tf.registries import DATASETS


def _preprocessing(name, image_size, num_channels=3):
    return DATASETS[name].preprocessing(DataConfig(name, image_size, num_channels))


def _file(image, file_format="png", **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("image_size", [64, 128])
def test_celeba_is_the_aligned_centre_of_140(image_size):
    preprocess = _preprocessing(f"celeba{image_size}", image_size)
    for photo in photos(6, 218, 178):
        content = encoded(photo, "jpeg", quality=95)
        result = preprocess(content)
        # Pillow again, by another way: its own box, and floating-point planes in place of bytes.
        decoded = Image.open(io.BytesIO(content))
        box = (19, 39, 159, 179)
        planes = [
            plane.convert("F").crop(box).resize((image_size, image_size), Image.Resampling.LANCZOS)
            for plane in decoded.split()
        ]
        expected = np.clip(np.stack(planes, axis=-1), 0, 255)
        assert np.abs(result - expected).mean() < 0.5
        # And NumPy in float64. Pillow rounds and clips bytes between its two passes: by 0.3 levels on average.
        errors = np.abs(result - reference.celeba(np.asarray(decoded), image_size))
        assert errors.mean() < 0.4 and (errors > 1.5).mean() < 0.02
        # Neither another crop nor another filter would pass.
        off_by_one = reference.lanczos_resize(np.asarray(decoded)[38:178, 19:159], image_size)
        assert np.abs(result - off_by_one).mean() > 1


@pytest.mark.parametrize("height, width", [(256, 341), (300, 256), (64, 64)])
def test_lsun_is_the_largest_centred_square(height, width):
    photo = photos(1, height, width)[0]
    errors = np.abs(_preprocessing("lsun_bedroom64", 64)(photo) - reference.lsun(photo, 64))
    assert errors.mean() < 0.4
    if (height, width) == (64, 64):
        assert errors.max() < 1e-9


def test_cifar10_is_unchanged_and_mnist_has_a_border_of_two():
    photo = photos(1, 32, 32)[0]
    np.testing.assert_array_equal(_preprocessing("cifar10", 32)(photo), photo)
    scan = np.random.RandomState(0).randint(1, 256, (28, 28)).astype(np.uint8)
    padded = _preprocessing("mnist", 32, 1)(scan)
    np.testing.assert_array_equal(padded[2:30, 2:30, 0], scan)
    assert padded.shape == (32, 32, 1) and padded.sum(dtype=int) == scan.sum(dtype=int)
    np.testing.assert_array_equal(padded, reference.mnist(scan[..., None], 32))


def test_enlarging_is_the_same_filter():
    photo = photos(1, 32, 32)[0]
    errors = np.abs(Preprocessing(64, 3)(photo) - np.clip(reference.lanczos_resize(photo, 64), 0, 255))
    assert errors.mean() < 0.4


def test_colours_and_greys():
    photo = photos(1, 16, 16)[0]
    grey = Preprocessing(16, 1)(photo)
    np.testing.assert_allclose(grey, reference.grey(photo), atol=0.51)
    np.testing.assert_array_equal(Preprocessing(16, 3)(grey[..., 0]), np.repeat(grey, 3, axis=-1))


def test_transparent_pixels_are_white():
    random = np.random.RandomState(0)
    rgba = np.concatenate([photos(1, 16, 16)[0], random.randint(0, 256, (16, 16, 1))], axis=-1).astype(np.uint8)
    rgba[:8, :8, 3] = 0
    result = Preprocessing(16, 3)(_file(Image.fromarray(rgba)))
    np.testing.assert_allclose(result, reference.over_white(rgba), atol=1.0)
    assert (result[:8, :8] == 255).all()
    palette = Image.fromarray(rgba[..., :3]).convert("P", palette=Image.Palette.ADAPTIVE)
    hidden = int(np.asarray(palette)[0, 0])
    result = Preprocessing(16, 3)(_file(palette, transparency=hidden))
    assert (result[np.asarray(palette) == hidden] == 255).all()
    visible = np.asarray(palette) != hidden
    np.testing.assert_array_equal(result[visible], np.asarray(palette.convert("RGB"))[visible])


@pytest.mark.parametrize("file_format", ["png", "tiff"])
def test_16_bits_are_scaled_and_not_clipped(file_format):
    values = np.random.RandomState(0).randint(0, 65536, (16, 16)).astype(np.uint16)
    values[0, :4] = [0, 255, 256, 65535]
    result = Preprocessing(16, 1)(_file(Image.fromarray(values), file_format))
    np.testing.assert_allclose(result[..., 0], reference.from_16_bits(values), atol=0.51)
    assert list(result[0, :4, 0]) == [0, 1, 1, 255]
    if file_format == "png":
        result = Preprocessing(16, 1)(_file(Image.fromarray(values), transparency=int(values[5, 5])))
        expected = np.where(values == values[5, 5], 255, reference.from_16_bits(values))
        np.testing.assert_allclose(result[..., 0], expected, atol=0.51)


def test_cmyk_is_what_pillow_shows():
    photo = Image.fromarray(photos(1, 16, 16)[0])
    cmyk = photo.convert("CMYK")
    np.testing.assert_array_equal(Preprocessing(16, 3)(_file(cmyk, "tiff")), np.asarray(cmyk.convert("RGB")))
    back = Preprocessing(16, 3)(_file(cmyk, "jpeg", quality=100, subsampling=0))
    assert np.abs(back - np.asarray(photo, float)).mean() < 2


@pytest.mark.parametrize("mode, tolerance", [("1", 90), ("L", 25), ("LA", 25), ("P", 25), ("RGB", 0), ("RGBA", 0)])
def test_every_mode_gives_8_bits_of_rgb(mode, tolerance):
    photo = Image.fromarray(photos(1, 16, 16)[0])
    result = Preprocessing(16, 3)(_file(photo.convert(mode)))
    assert result.shape == (16, 16, 3) and result.dtype == np.uint8
    assert np.abs(result - np.asarray(photo, float)).mean() <= tolerance


def test_photographs_are_turned_upright():
    upright = photos(1, 24, 24)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # was taken with the camera turned: show it rotated by 90 degrees clockwise
    stored = Image.fromarray(np.rot90(upright))
    np.testing.assert_array_equal(Preprocessing(24, 3)(_file(stored, exif=exif)), upright)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "not an image"),
        (b"Dear reader, this is a letter.\n" * 100, "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "not an image"),
        (encoded(photos(1, 64, 64)[0], "jpeg")[:700], "damaged|not an image"),
        (encoded(photos(1, 64, 64)[0], "png")[:2000], "damaged"),
        (encoded(photos(1, 64, 64)[0], "webp")[:700], "damaged|not an image"),
        (encoded(np.zeros((1, 1, 3), np.uint8), "png"), "only 1 x 1 pixels, less than 8 x 8"),
        (encoded(np.zeros((7, 100, 3), np.uint8), "png"), "only 100 x 7 pixels"),
        (
            _file(Image.fromarray(np.zeros((16, 16), np.float32)), "tiff"),
            "32-bit pixels, whose range is unknown: .*--value_range=LOW,HIGH",
        ),
        (_file(Image.fromarray(np.full((16, 16), 70000, np.int32)), "tiff"), "32-bit pixels, whose range is unknown"),
        (_file(Image.new("1", (20000, 10000))), "more than 89.5 million pixels"),
        (_file(Image.new("1", (10000, 10000))), "more than 89.5 million pixels"),
    ],
    ids=[
        "empty",
        "text",
        "postscript",
        "jpeg",
        "png",
        "webp",
        "one_pixel",
        "narrow",
        "float",
        "32_bits",
        "bomb",
        "warned_bomb",
    ],
)
def test_bad_images_are_refused_with_the_reason(content, reason):
    with pytest.raises(BadImageError, match=reason):
        Preprocessing(8, 3)(content)


def test_a_bomb_is_refused_and_not_warned_of():
    """In a process of its own: pytest turns every warning into an error."""
    code = (
        "import io; from PIL import Image; from vitgan_tf.data.decoding import *"
        "; from vitgan_tf.data.opening import *\n"
        "file = io.BytesIO(); Image.new('1', (10000, 10000)).save(file, 'png')\n"
        "try: Preprocessing(8, 3)(file.getvalue())\n"
        "except BadImageError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == (
        "more than 89.5 million pixels (--max_megapixels=0 lifts the limit)\n",
        "",
    )


def test_the_programs_own_warnings_stay_as_they_are():
    before = list(warnings.filters)
    Preprocessing(8, 3)(_file(Image.new("RGB", (8, 8))))
    assert warnings.filters == before
    code = "import warnings, numpy, PIL.ImageOps; n = len(warnings.filters); from vitgan_tf.data import decoding\n"
    code += "assert len(warnings.filters) == n"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_image_smaller_than_the_crop_is_refused():
    with pytest.raises(BadImageError, match="only 178 x 139 pixels, less than the crop of 140 x 140"):
        _preprocessing("celeba64", 64)(photos(1, 139, 178)[0])


def test_every_cut_of_a_file_is_an_image_or_a_bad_image():
    photo = photos(1, 40, 40)[0]
    for file_format in ("jpeg", "png", "webp", "gif", "bmp", "tiff"):
        whole = encoded(photo, file_format)
        random = np.random.RandomState(0)
        for _ in range(60):
            flawed = bytearray(whole[: random.randint(len(whole))])
            for position in random.randint(0, max(1, len(flawed)), 3):
                if flawed:
                    flawed[position] = random.randint(256)
            try:
                assert Preprocessing(16, 3)(bytes(flawed)).shape == (16, 16, 3)
            except BadImageError as error:
                assert str(error)


def test_parallel_decoding_keeps_the_order_and_names_the_bad():
    random = np.random.RandomState(0)
    delays = random.uniform(0, 0.005, 400)
    threads = set()

    def reader(number):
        def read():
            threads.add(threading.get_ident())
            time.sleep(delays[number])
            if number == 7:
                raise PermissionError(13, "Permission denied")
            return number

        return read

    def decode(number):
        if number % 10 == 3:
            raise BadImageError("three")
        return -number

    items = [(f"image {number}", reader(number)) for number in range(400)]
    results = list(decode_all(items, decode, num_threads=4))
    assert [name for name, _ in results] == [f"image {number}" for number in range(400)]
    assert len(threads) == 4
    for number, (_, result) in enumerate(results):
        if number == 7:
            assert str(result) == "cannot be read: Permission denied"
        elif number % 10 == 3:
            assert isinstance(result, BadImageError)
        else:
            assert result == -number


def test_decoding_does_not_run_ahead():
    """The images that are decoded and not yet taken are few, whatever their number."""
    started = []
    results = decode_all(((str(n), lambda n=n: started.append(n)) for n in range(1000)), lambda raw: raw, 2)
    for _ in range(10):
        next(results)
    time.sleep(0.3)  # long enough to decode them all
    ahead = 6 * 16  # four handfuls wait, one is taken from, and one may have been asked for
    assert len(started) <= ahead
    results.close()
    assert len(started) <= ahead


def test_our_own_mistakes_are_not_hidden():
    def decode(_):
        raise KeyError("a fault in the program")

    with pytest.raises(KeyError):
        list(decode_all([("image", lambda: b"")], decode))


def test_png_is_lossless():
    for channels in (1, 3):
        image = np.random.RandomState(0).randint(0, 256, (9, 9, channels)).astype(np.uint8)
        np.testing.assert_array_equal(Preprocessing(9, channels)(encode_png(image)), image)
