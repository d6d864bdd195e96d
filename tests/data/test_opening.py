"""Images whose pixels are sound, whatever surrounds these."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from support.official import encoded, photos

from vitgan_tf.data.decoding import Preprocessing
from vitgan_tf.data.opening import BadImageError

# As in a command; pytest turns every warning into an error.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PHOTO = photos(1, 40, 48)[0]
PIXELS = Preprocessing(24, 3)(PHOTO)


def _file(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _chunk(name, content, crc=None):
    crc = zlib.crc32(name + content) if crc is None else crc
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def _png_with(*chunks):
    """A PNG file with chunks after its header."""
    file = encoded(PHOTO, "png")
    return file[:33] + b"".join(chunks) + file[33:]


def _jpeg_with(*segments, **options):
    file = encoded(PHOTO, "jpeg", quality=100, subsampling=0, **options)
    parts = (struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
    return file[:2] + b"".join(parts) + file[2:]


def _exif(orientation=6, resolution=(72, 1)):
    """EXIF data with an orientation and a resolution, in big-endian order."""
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack(">HHII", 0x011A, 5, 1, 38)
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + entries + bytes(4) + struct.pack(">II", *resolution)


def _tiff_with_tag(tag, kind, count, value):
    """A little-endian TIFF file whose directory has another entry."""
    file = _file(Image.fromarray(PHOTO), "tiff")
    start = struct.unpack_from("<I", file, 4)[0]
    count_of_entries = struct.unpack_from("<H", file, start)[0]
    entries = [file[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count_of_entries)]
    entries = [entry for entry in entries if struct.unpack_from("<H", entry)[0] != tag]
    entries.append(struct.pack("<HHI4s", tag, kind, count, value))
    directory = struct.pack("<H", len(entries)) + b"".join(sorted(entries)) + bytes(4)
    return file[:4] + struct.pack("<I", len(file)) + file[8:] + directory


DEFLATED = zlib.compress(b" " * 2**27)
FAULTY_METADATA = {
    "text above the limit": _png_with(_chunk(b"zTXt", b"Comment\0\0" + DEFLATED)),
    "international text above the limit": _png_with(_chunk(b"iTXt", b"Comment\0\x01\0\0\0" + DEFLATED)),
    "many texts": _png_with(*[_chunk(b"tEXt", b"Comment\0" + b"x" * 10**6)] * 70),
    "profile above the limit": _png_with(_chunk(b"iCCP", b"profile\0\0" + DEFLATED)),
    "profile that is not deflated": _png_with(_chunk(b"iCCP", b"profile\0\0words")),
    "wrong CRC of a text": _png_with(_chunk(b"tEXt", b"Comment\0words", crc=1)),
    "wrong CRC of gamma": _png_with(_chunk(b"gAMA", b"\0\0\xb1\x8f", crc=1)),
    "wrong CRC of an unknown chunk": _png_with(_chunk(b"vpAg", b"words", crc=1)),
    "short resolution": _png_with(_chunk(b"pHYs", b"\0")),
    "short gamma": _png_with(_chunk(b"gAMA", b"\0")),
    "short intent": _png_with(_chunk(b"sRGB", b"")),
    "EXIF that is none, in PNG": _png_with(_chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff")),
    "EXIF that is none": _jpeg_with((0xE1, b"Exif\0\0words")),
    "EXIF that is cut": _jpeg_with((0xE1, _exif(orientation=1)[:20])),
    "resolution over zero": _jpeg_with((0xE1, _exif(orientation=1, resolution=(72, 0)))),
    "Photoshop data that are cut": _jpeg_with((0xED, b"Photoshop 3.0\08BIM\x03\xed\0\0\0\0\0\x10\0")),
    "a multi-picture index that is none": _jpeg_with((0xE2, b"MPF\0words")),
    "a profile in parts that are missing": _jpeg_with((0xE2, b"ICC_PROFILE\0\x01\x05words")),
    "a short JFIF header": _jpeg_with((0xE0, b"JFIF\0")),
    "transparency of a wrong length": _png_with(_chunk(b"tRNS", b"\0")),
    "EXIF of WebP that is cut": _file(Image.fromarray(PHOTO), "webp", lossless=True, exif=b"Exif\0\0" + bytes(400))[
        :-200
    ],
    "TIFF resolution in words": _tiff_with_tag(282, 2, 4, b"abc\0"),
    "TIFF resolution beyond the file": _tiff_with_tag(282, 5, 1, b"\xff\xff\xff\x7f"),
    "TIFF tag of an unknown type": _tiff_with_tag(305, 99, 1, b"abcd"),
    "TIFF text beyond the file": _tiff_with_tag(305, 2, 2**20, b"\0\0\0\x01"),
    "no end chunk": encoded(PHOTO, "png")[:-12],
    "no end marker": _jpeg_with()[:-2],
    "half an end marker": _jpeg_with()[:-1],
    "zeros in place of the end marker": _jpeg_with()[:-2] + bytes(1000),
    "no end marker, progressive": _jpeg_with(progressive=True)[:-2],
    "no end marker, and wrong metadata": _jpeg_with((0xE1, b"Exif\0\0words"), (0xE0, b"JFIF\0"))[:-2],
}


@pytest.mark.parametrize("name", FAULTY_METADATA)
def test_sound_pixels_are_used_whatever_the_metadata(name):
    result = Preprocessing(24, 3).decode(FAULTY_METADATA[name])
    tolerance = 0 if FAULTY_METADATA[name].startswith((b"\x89PNG", b"II", b"RIFF")) else 2
    assert np.abs(result.pixels.astype(int) - PIXELS).max() <= tolerance
    assert len(result.notes) <= 1


@pytest.mark.parametrize("seed", range(150))
def test_any_fault_in_the_metadata_leaves_the_pixels(seed):
    """Random bytes within text, profile and EXIF data, of which the orientation is 1 and may change."""
    random = np.random.RandomState(seed)
    exif = _exif(orientation=1)[6:]
    profile = random.bytes(64)
    whole = [
        _png_with(
            _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"words" * 10)),
            _chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile)),
            _chunk(b"eXIf", exif),
        ),
        _jpeg_with((0xE1, b"Exif\0\0" + exif), (0xE2, b"ICC_PROFILE\0\x01\x01" + profile)),
    ][seed % 2]
    start, end = (33, whole.index(b"IDAT") - 4) if seed % 2 == 0 else (2, whole.index(b"ICC_PROFILE") + 78)
    flawed = bytearray(whole)
    # Not the lengths and names of chunks and segments, without which nothing behind them can be found.
    spared = [whole.index(name) for name in (b"zTXt", b"iCCP", b"eXIf") if name in whole]
    spared += [whole.index(name) for name in (b"\xff\xe1", b"\xff\xe2") if seed % 2]
    for position in random.randint(start, end, 4):
        if not any(name - 4 <= position < name + 4 for name in spared):
            flawed[position] = random.randint(256)
    result = Preprocessing(24, 3)(bytes(flawed)).astype(int)
    square = PHOTO[:, 4:44].astype(int)
    turned = [np.rot90(flip, times) for times in range(4) for flip in (square, square[:, ::-1])]
    errors = [np.abs(result - Preprocessing(24, 3)(np.ascontiguousarray(t).astype(np.uint8))).max() for t in turned]
    assert min(errors) <= 2


def test_an_orientation_survives_other_faults():
    upright = photos(1, 24, 24)[0]
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    exif = _exif(orientation=6, resolution=(72, 0))
    jpeg = _file(stored, "jpeg", quality=100, subsampling=0)
    for extra in (b"", b"\xff\xe0\0\x07JFIF\0"):
        file = jpeg[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(exif) + 2) + exif + extra + jpeg[2:-2]
        assert np.abs(Preprocessing(24, 3)(file).astype(int) - upright).max() <= 4
    png = _file(stored, "png")
    file = png[:33] + _chunk(b"eXIf", exif[6:]) + _chunk(b"tEXt", b"a\0b", crc=1) + png[33:]
    np.testing.assert_array_equal(Preprocessing(24, 3)(file), upright)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_jpeg_is_damaged_wherever_pixels_are_missing(progressive):
    whole = encoded(PHOTO, "jpeg", quality=90, progressive=progressive)
    reference = np.asarray(Image.open(io.BytesIO(whole)))
    for length in [*range(len(whole) // 2, len(whole) - 40, 37), *range(len(whole) - 40, len(whole) - 2)]:
        try:
            pixels = Preprocessing(40, 3)(whole[:length])
        except BadImageError:
            continue
        # What is used has every pixel: the missing bits were padding, or change none.
        np.testing.assert_array_equal(pixels, reference[:, 4:44])
        assert length > len(whole) - 8


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("end", ["nothing", "zeros", "end marker"])
def test_a_jpeg_that_ends_early_is_no_grey_image(mode, options, end):
    whole = _file(Image.fromarray(PHOTO).convert(mode), "jpeg", quality=90, **options)
    expected = Preprocessing(40, 3)(whole)
    cuts = [*range(len(whole) // 2, len(whole) - 2, 61)]
    if "restart_marker_rows" in options:  # the ends of restart intervals
        cuts += [index for index in range(len(whole) - 1) if whole[index] == 0xFF and 0xD0 <= whole[index + 1] < 0xD8]
    for cut in cuts:
        rest = {"nothing": b"", "zeros": bytes(len(whole) - cut), "end marker": b"\xff\xd9"}[end]
        try:
            pixels = Preprocessing(40, 3)(whole[:cut] + rest)
        except BadImageError:
            continue
        # With an end marker, a few blocks, or bits that refine the last coefficients, may be missing.
        tolerance = 5 if end == "end marker" else 0
        assert np.abs(pixels.astype(int) - expected).mean() <= tolerance, cut


def test_a_grey_corner_is_no_fault():
    photo = PHOTO.copy()
    photo[-16:, -16:] = 128
    for progressive in (False, True):
        file = encoded(photo, "jpeg", quality=90, progressive=progressive)
        assert Preprocessing(40, 3).decode(file).notes == ()


@pytest.mark.parametrize("cut", [2, 3, 5])
def test_a_jpeg_cut_in_the_header_of_a_scan_is_damaged(cut):
    whole = encoded(PHOTO, "jpeg", progressive=True)
    with pytest.raises(BadImageError, match="damaged"):
        Preprocessing(24, 3)(whole[: whole.rfind(b"\xff\xda") + cut])


def test_a_flipped_bit_of_a_png_is_found():
    whole = encoded(PHOTO, "png")
    for position in range(60, len(whole) - 20, 53):
        flawed = bytearray(whole)
        flawed[position] ^= 4
        with pytest.raises(BadImageError, match="damaged"):
            Preprocessing(24, 3)(bytes(flawed))


def test_the_upper_bits_of_16_bit_colours_are_read_and_scaled():
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16
    rows = b"".join(b"\0" + np.repeat(row[:, None], 3, axis=1).astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    file = (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    )
    result = Preprocessing(16, 3).decode(file)
    assert result.notes == ("of the 16 bits of its colours, the upper 8 are read",)
    assert result.limit == 65_535 and result.extremes == (0, 15 * 257)
    stretched = Preprocessing(16, 3, value_range=(0, 4080))(file)[..., 0].astype(int)
    assert np.abs(stretched - np.arange(256).reshape(16, 16)).max() <= 17


def test_16_bits_of_which_zero_is_white():
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    file = bytearray(_wide(values))
    start = struct.unpack_from("<I", file, 4)[0]
    for index in range(struct.unpack_from("<H", file, start)[0]):
        if struct.unpack_from("<H", file, start + 2 + 12 * index)[0] == 262:
            file[start + 10 + 12 * index] = 0
    np.testing.assert_array_equal(Preprocessing(16, 1)(bytes(file))[..., 0], 255 - np.arange(256).reshape(16, 16))


@pytest.mark.parametrize("position", [20, 200, -20])
def test_a_png_with_a_fault_in_its_pixels_is_damaged(position):
    file = bytearray(encoded(PHOTO, "png"))
    file[position] ^= 0xFF
    with pytest.raises(BadImageError, match="damaged"):
        Preprocessing(24, 3)(bytes(file))


def test_notes_name_the_fault():
    def notes(file):
        return Preprocessing(24, 3).decode(file).notes

    assert notes(encoded(PHOTO, "png")) == ()
    assert notes(_jpeg_with()[:-2]) == ("used: only its end marker is missing",)
    faulty = FAULTY_METADATA["wrong CRC of a text"]
    assert notes(faulty) == ("used without its metadata, which cannot be read",)
    frames = [Image.fromarray(PHOTO), Image.fromarray(PHOTO[::-1].copy())]
    for file_format in ("gif", "tiff", "webp", "png"):
        file = _file(frames[0], file_format, save_all=True, append_images=frames[1:])
        assert notes(file) == ("only its first frame is used",), file_format


@pytest.mark.parametrize(
    "file_format, tolerance", [("avif", 5), ("heif", 5), ("jpeg2000", 0), ("ppm", 0), ("mpo", 5)]
)
def test_further_formats(file_format, tolerance):
    if file_format == "heif":
        pytest.importorskip("pillow_heif").register_heif_opener()
    result = Preprocessing(24, 3)(encoded(PHOTO, file_format, **({} if file_format == "ppm" else {"quality": 95})))
    assert np.abs(result.astype(int) - PIXELS).mean() <= tolerance


def test_16_bits_of_a_portable_greymap():
    values = np.arange(256, dtype=">u2").reshape(16, 16) * 257
    file = b"P5 16 16 65535\n" + values.tobytes()
    np.testing.assert_array_equal(Preprocessing(16, 1)(file)[..., 0], np.arange(256).reshape(16, 16))


@pytest.mark.parametrize(
    "head, words",
    [
        (b"8BPS\0\x01", "Photoshop: convert them to PNG"),
        (b"\0\0\0\x20ftypmp42\0\0\0\0mp42isom", "video: extract their frames"),
        (b"PK\x03\x04", "archive: unpack them"),
        (b"\xff\x0a", "JPEG XL: convert them to PNG"),
    ],
)
def test_other_kinds_under_the_name_of_an_image(head, words):
    with pytest.raises(BadImageError, match=f"not an image that can be read .{words}"):
        Preprocessing(24, 3)(head + bytes(100))


def _wide(values, file_format="tiff"):
    return _file(Image.fromarray(values), file_format)


def test_pixels_without_a_range_are_refused_until_it_is_given():
    values = np.arange(256, dtype=np.int32).reshape(16, 16)
    for wide in (values, (values / 255).astype(np.float32)):
        with pytest.raises(BadImageError, match=r"32-bit pixels, whose range is unknown: .*--value_range=LOW,HIGH"):
            Preprocessing(16, 1)(_wide(wide))
        high = float(wide.max())
        result = Preprocessing(16, 1, value_range=(0, high)).decode(_wide(wide))
        np.testing.assert_array_equal(result.pixels[..., 0], values)
        assert result.limit == np.inf and result.extremes == (0, 255)
    signed = Preprocessing(16, 1, value_range=(-1, 1))(
        _wide(np.linspace(-1, 1, 256, dtype=np.float32).reshape(16, 16))
    )
    np.testing.assert_array_equal(signed[..., 0], values)
    infinite = np.full((16, 16), np.nan, np.float32)
    with pytest.raises(BadImageError, match="pixels that are not finite numbers"):
        Preprocessing(16, 1, value_range=(0, 1))(_wide(infinite))


def test_a_range_of_values_is_stretched_and_clipped():
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16  # 12 bits in 16
    result = Preprocessing(16, 1, value_range=(0, 4080)).decode(_wide(values))
    np.testing.assert_array_equal(result.pixels[..., 0], np.arange(256).reshape(16, 16))
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.rint(np.clip((levels - 10.0) / 20.0, 0, 1) * 255)
    for image in (levels, np.stack([levels] * 3, axis=-1)):
        result = Preprocessing(16, 1, value_range=(10, 30))(_wide(image, "png"))
        np.testing.assert_array_equal(result[..., 0], expected)
    transparent = np.stack([levels] * 3 + [np.full_like(levels, 255)], axis=-1)
    result = Preprocessing(16, 3, value_range=(10, 30)).decode(_wide(transparent, "png"))
    np.testing.assert_array_equal(result.pixels, np.repeat(expected[..., None], 3, axis=-1))
    assert result.extremes == (0, 255)
