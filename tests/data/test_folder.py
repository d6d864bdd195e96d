"""People's folders and archives of images: which images count, and for which split."""

import os
import zipfile

import numpy as np
import pytest
from support.official import encoded, photos

from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.data import loading, reading
from vitgan_tf.data.kinds import left_out_line
from vitgan_tf.data.loading import load_images
from vitgan_tf.data.preparation import prepare
from vitgan_tf.data.registry import dataset_spec
from vitgan_tf.data.sources.base import MissingFilesError
from vitgan_tf.data.sources.folder import image_folder
from vitgan_tf.errors import UserError
from vitgan_tf.files import format_bytes, printable

PHOTOS = photos(12, 16, 16)


def _write(folder, *names):
    """Writes photograph i under name i."""
    for index, name in enumerate(names):
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(encoded(PHOTOS[index], "png"))


@pytest.fixture
def messages(monkeypatch):
    lines = []
    for module in (reading, loading):
        monkeypatch.setattr(module.logging, "warning", lambda text, *values: lines.append(text % values))
    return lines


def test_first_bytes_decide_where_the_name_does_not(tmp_path):
    formats = {"a.jfif": "jpeg", "b.jpe": "jpeg", "c": "png", "d.avif": "avif", "e.jp2": "jpeg2000", "f.pgm": "ppm"}
    for (name, file_format), photo in zip(formats.items(), PHOTOS):
        (tmp_path / name).write_bytes(encoded(photo, file_format))
    (tmp_path / "raw.dng").write_bytes(encoded(PHOTOS[0], "tiff"))
    (tmp_path / "captions.txt").write_text("a house")
    os.mkfifo(tmp_path / "pipe")
    source = image_folder(str(tmp_path))
    assert source.names == list(formats)
    assert source.others == [("captions.txt", None), ("pipe", None), ("raw.dng", "camera raw")]
    with zipfile.ZipFile(tmp_path.parent / "images.zip", "w") as archive:
        for name in (*formats, "raw.dng", "captions.txt"):
            archive.write(tmp_path / name, name)
    packed = image_folder(str(tmp_path.parent / "images.zip"))
    assert packed.names == list(formats) and packed.read(2) == source.read(2)


def test_kinds_that_are_left_out_are_counted_by_name():
    line = left_out_line(
        [("1.heic", "HEIF"), ("2.HEIC", "HEIF"), ("notes.txt", None), ("LICENSE", None), ("clip.mov", "video")]
    )
    assert line == (
        "left out, as they are no images that can be read: 2 .heic (pip install pillow-heif, or convert them to "
        "PNG), 1 .txt, 1 without suffix, 1 .mov (extract their frames)"
    )
    assert left_out_line([]) is None


def test_without_its_package_heic_is_left_out_with_the_advice(tmp_path, monkeypatch):
    from vitgan_tf.data import kinds

    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(50))
    _write(tmp_path, "a.png")
    monkeypatch.setattr(kinds, "formats", lambda: ("PNG", "JPEG"))
    source = image_folder(str(tmp_path))
    assert source.names == ["a.png"]
    assert "1 .heic (pip install pillow-heif, or convert them to PNG)" in source.remarks()[0]


@pytest.mark.parametrize("nested", [False, True])
def test_a_zip_archive_is_a_folder(tmp_path, nested):
    _write(tmp_path / "in", "b/2.png", "a/1.png", "a/.hidden.png")
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for name in ("b/2.png", "a/1.png", "a/.hidden.png"):
            archive.write(tmp_path / "in" / name, f"top/{name}" if nested else name)
        archive.writestr("__MACOSX/a/._1.png", b"resource fork")
        archive.writestr("dataset.json", b"{}")
    expected = [PHOTOS[1], PHOTOS[0]]
    config = DataConfig("folder", 16, 3)
    np.testing.assert_array_equal(load_images(config, DataLocation(str(tmp_path / "faces.zip"))), expected)
    # And where the archive is all that a folder holds.
    (tmp_path / "downloads").mkdir()
    os.rename(tmp_path / "faces.zip", tmp_path / "downloads" / "faces.zip")
    np.testing.assert_array_equal(load_images(config, DataLocation(str(tmp_path / "downloads"))), expected)
    prepared = prepare(dataset_spec(config), config, str(tmp_path / "downloads"), str(tmp_path), "faces")
    np.testing.assert_array_equal(load_images(config, DataLocation(prepared.directory)), expected)


def test_every_link_counts_and_repetition_is_said(tmp_path):
    _write(tmp_path / "store", "x.png", "y.png")
    images = tmp_path / "images"
    images.mkdir()
    for name in ("first", "second"):
        (images / name).symlink_to(tmp_path / "store")
    (images / "file.png").symlink_to(tmp_path / "store" / "x.png")
    source = image_folder(str(images))
    assert source.names == ["file.png", "first/x.png", "first/y.png", "second/x.png", "second/y.png"]
    assert source.notes == ["3 of the 5 images are links to others of them: these count more than once"]
    (images / "second").unlink()
    (images / "file.png").unlink()
    assert image_folder(str(images)).notes == []
    (tmp_path / "store" / "circle").symlink_to(images)
    assert image_folder(str(images)).names == ["first/x.png", "first/y.png"]


@pytest.mark.parametrize("top", ["", "pictures/"])
def test_train_and_test_are_not_trained_together(tmp_path, top):
    _write(
        tmp_path, *(f"{top}{name}.png" for name in ("train/cat/1", "train/dog/2", "test/cat/3", "val/4", "extra/5"))
    )
    training = image_folder(str(tmp_path))
    assert [os.path.basename(name) for name in training.names] == ["1.png", "2.png"]
    assert image_folder(str(tmp_path), "evaluation").names == [f"{top}test/cat/3.png"]
    assert training.notes == ["images in train/, for training: 2; in test/, held out: 1; left out elsewhere: 2"]
    with pytest.raises(UserError, match="has held-out images, in test/: leave out --holdout"):
        image_folder(str(tmp_path), holdout=0.1)


@pytest.mark.parametrize(
    "names",
    [
        ("images/train/1", "images/test/2", "preview"),
        ("cats/train/1", "dogs/train/2", "cats/test/3", "dogs/test/4"),
        ("train2017/1", "val2017/2"),
        ("trainA/1", "trainB/2", "testA/3", "testB/4"),
        ("training_set/1", "test_set/2"),
        ("train_images/1", "Test_Images/2"),
    ],
)
def test_splits_under_the_names_that_people_give_them(tmp_path, names):
    _write(tmp_path, *(f"{name}.png" for name in names))
    splits = {split: image_folder(str(tmp_path), split).names for split in ("training", "evaluation")}
    assert splits["training"] == sorted(f"{name}.png" for name in names if "train" in name)
    assert splits["evaluation"] == sorted(f"{name}.png" for name in names if "test" in name.lower() or "val" in name)


def test_no_image_is_in_both_splits_through_a_link(tmp_path):
    _write(tmp_path / "images", *(f"x/{index}.png" for index in range(12)))
    (tmp_path / "images" / "y").mkdir()
    for index in range(12):
        (tmp_path / "images" / "y" / f"{index}.png").symlink_to(tmp_path / "images" / "x" / f"{index}.png")
    parts = [image_folder(str(tmp_path / "images"), split, 0.5).names for split in ("training", "evaluation")]
    training, evaluation = ({os.path.basename(name) for name in part} for part in parts)
    assert training and evaluation and not training & evaluation
    _write(tmp_path / "held", "h.png")
    (tmp_path / "images" / "l.png").symlink_to(tmp_path / "held" / "h.png")
    held = str(tmp_path / "held")
    assert "l.png" not in image_folder(str(tmp_path / "images"), holdout_dir=held).names


def test_held_out_folders_that_hold_nothing_or_all(tmp_path):
    _write(tmp_path / "images", "a.png")
    (tmp_path / "empty").mkdir()
    for split in ("training", "evaluation"):
        with pytest.raises(UserError, match=r"no images in .*empty.* .--holdout_dir."):
            image_folder(str(tmp_path / "images"), split, holdout_dir=str(tmp_path / "empty"))
        for held in (tmp_path, tmp_path / "images"):
            with pytest.raises(UserError, match="holds all training images: name another folder"):
                image_folder(str(tmp_path / "images"), split, holdout_dir=str(held))
    config = DataConfig("folder", 16, 3)
    prepared = prepare(dataset_spec(config), config, str(tmp_path / "images"), str(tmp_path / "sets"), "x")
    with pytest.raises(UserError, match="--holdout_dir where it is prepared"):
        load_images(config, DataLocation(prepared.directory, holdout_dir=str(tmp_path / "empty")))
    with pytest.raises(UserError, match=r"the prepared set is one level down: set --data_dir=.*vitgan_x_16x16x3"):
        load_images(config, DataLocation(str(tmp_path / "sets")))


def test_names_in_archives_as_other_programs_write_them(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for index, name in enumerate((".\\train\\b.png", "./train/a.png", "../test/c.png")):
            archive.writestr(zipfile.ZipInfo(name), encoded(PHOTOS[index], "png"))
    assert image_folder(str(tmp_path / "a.zip")).names == ["train/a.png", "train/b.png"]
    assert image_folder(str(tmp_path / "a.zip"), "evaluation").names == ["test/c.png"]
    (tmp_path / "half.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:200])
    with pytest.raises(MissingFilesError, match="is a file and no whole zip archive"):
        image_folder(str(tmp_path / "half.zip"))


def test_words_are_no_images(tmp_path):
    _write(tmp_path, "a.png")
    for name, text in (("BMW.txt", "BMW 320"), ("P.txt", "P1 of two"), ("weights.npz", "PK\x03\x04")):
        (tmp_path / name).write_text(text)
    source = image_folder(str(tmp_path))
    assert source.names == ["a.png"]
    assert source.remarks() == ["left out, as they are no images that can be read: 2 .txt, 1 .npz"]


def test_a_lifted_limit_counts_for_cached_images_too(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "large.png").write_bytes(encoded(np.zeros((1000, 2000), np.uint8), "png"))
    _write(tmp_path / "images", "a.png")
    for limit, count in ((0.5, 1), (0, 2)):
        location = DataLocation(
            str(tmp_path / "images"), memory_gb=0, cache_dir=str(tmp_path / "cache"), max_megapixels=limit
        )
        assert len(load_images(DataConfig("folder", 16, 3), location)) == count


def test_a_range_that_does_not_fit_is_said(tmp_path, messages):
    (tmp_path / "a.png").write_bytes(encoded(np.arange(256, dtype=np.uint8).reshape(16, 16), "png"))
    load_images(DataConfig("folder", 16, 1, value_range=(0, 65535)), DataLocation(str(tmp_path)))
    assert messages == ["with this --value_range, pixel values become 0 to 1 of 0 to 255"]
    messages.clear()
    (tmp_path / "b.png").write_bytes(encoded(np.arange(256, dtype=np.uint16).reshape(16, 16) * 16, "png"))
    load_images(DataConfig("folder", 16, 1, value_range=(0, 4080)), DataLocation(str(tmp_path)))
    assert messages[0] == "images of 8 and 16 bits share one --value_range: it fits one kind of them at most"


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    _write(tmp_path, "train/1.png", "bus/2.png")
    assert len(image_folder(str(tmp_path))) == 2


def test_a_fraction_is_held_out_by_name(tmp_path):
    names = [f"{index:03d}.png" for index in range(200)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    parts = {split: image_folder(str(tmp_path), split, 0.1).names for split in ("training", "evaluation")}
    assert len(parts["evaluation"]) == 20 and sorted(parts["training"] + parts["evaluation"]) == names
    (tmp_path / "new.png").write_bytes(b"")
    assert len(set(parts["evaluation"]) ^ set(image_folder(str(tmp_path), "evaluation", 0.1).names)) <= 1
    with pytest.raises(UserError, match=r"--holdout=0.001 of 201 images is 0 images"):
        image_folder(str(tmp_path), "training", 0.001)
    with pytest.raises(MissingFilesError, match=r"--holdout_dir=DIR .*--holdout=0.1 holds out a tenth"):
        image_folder(str(tmp_path), "evaluation")


def test_a_folder_is_held_out(tmp_path):
    _write(tmp_path / "images", "1.png", "2.png", "held/3.png")
    held = str(tmp_path / "images" / "held")
    assert image_folder(str(tmp_path / "images"), "training", holdout_dir=held).names == ["1.png", "2.png"]
    assert image_folder(str(tmp_path / "images"), "evaluation", holdout_dir=held).names == ["3.png"]
    config, location = DataConfig("folder", 16, 3), DataLocation(str(tmp_path / "images"), holdout_dir=held)
    np.testing.assert_array_equal(load_images(config, location, "evaluation"), PHOTOS[2:3])
    prepared = prepare(dataset_spec(config, location), config, location.data_dir, str(tmp_path), "faces")
    assert prepared.num_images == {"training": 2, "evaluation": 1}
    with pytest.raises(UserError, match=r"there is no folder .*--holdout_dir"):
        image_folder(str(tmp_path / "images"), "training", holdout_dir=str(tmp_path / "none"))
    with pytest.raises(UserError, match="exclude each other"):
        image_folder(str(tmp_path / "images"), "training", 0.1, held)


def test_only_folders_have_ones_own_splits_and_other_sets_their_own_flags():
    for config, location in (
        (DataConfig("digits", 16, 1, holdout=0.1), None),
        (DataConfig("celeba64", 64, 3), DataLocation(holdout_dir="held")),
    ):
        with pytest.raises(UserError, match="--holdout and --holdout_dir are for --dataset=folder only"):
            load_images(config, location or DataLocation())
    with pytest.raises(UserError, match="--skin_tones is for --dataset=emoji only"):
        load_images(DataConfig("celeba64", 64, 3, skin_tones=True))
    with pytest.raises(UserError, match="--category is for LSUN only"):
        load_images(DataConfig("celeba64", 64, 3, category="tower"))
    with pytest.raises(UserError, match=r"no category 'church', did you mean|no category 'church'"):
        load_images(DataConfig("lsun_bedroom64", 64, 3, category="church"))


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_narrow_range_is_said_with_the_flag_that_helps(tmp_path, messages, on_disk):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(3):
        values = np.full((16, 16), index, np.uint16)
        values[:8] = 2000
        (images / f"{index}.png").write_bytes(encoded(values, "png"))
    cache = str(tmp_path / "cache")
    location = DataLocation(str(images), memory_gb=0 if on_disk else 1, cache_dir=cache)
    for _ in range(2):
        messages.clear()
        load_images(DataConfig("folder", 16, 1), location)
        assert messages == [
            "pixel values are close together (0 to 2000 of 0 to 65535), and the images look like one colour: "
            "training or preparation with --value_range=0,2000 makes these black and white"
        ]
    messages.clear()
    rescaled = load_images(DataConfig("folder", 16, 1, value_range=(0, 2000)), location)
    assert not messages and sorted(np.unique(rescaled)) == [0, 255]
    prepared = prepare(
        dataset_spec(DataConfig("folder", 16, 1)), DataConfig("folder", 16, 1), str(images), cache, "x"
    )
    assert "--value_range=0,2000" in prepared.lines[0]
    with pytest.raises(UserError, match="give --value_range, --holdout or --holdout_dir where it is prepared"):
        load_images(DataConfig("folder", 16, 1, value_range=(0, 2000)), DataLocation(prepared.directory))


def test_reasons_name_no_buffer(tmp_path, messages):
    _write(tmp_path, "a.png")
    (tmp_path / "b.png").write_bytes(b"GIF89a")
    load_images(DataConfig("folder", 16, 3), DataLocation(str(tmp_path)))
    assert messages == ["skipped files: 1", "  b.png: damaged, or of a kind that Pillow cannot read"]


def test_a_usual_range_is_not_mentioned(tmp_path, messages):
    _write(tmp_path, "a.png", "b.png")
    load_images(DataConfig("folder", 16, 3), DataLocation(str(tmp_path)))
    assert not messages


def test_the_limit_of_pixels_can_be_lifted(tmp_path):
    (tmp_path / "large.png").write_bytes(encoded(np.zeros((1000, 2000), np.uint8), "png"))
    _write(tmp_path, "a.png")
    config = DataConfig("folder", 16, 3)
    for limit, count in ((1.0, 1), (2.0, 2), (0, 2)):
        assert len(load_images(config, DataLocation(str(tmp_path), max_megapixels=limit))) == count


def test_names_stay_on_one_line(tmp_path, messages):
    (tmp_path / "two\nlines.png").write_bytes(b"")
    _write(tmp_path, "ü b.png")
    load_images(DataConfig("folder", 16, 3), DataLocation(str(tmp_path)))
    assert messages[-1] == r"  two\nlines.png: not an image that can be read"
    prepared = prepare(
        dataset_spec(DataConfig("folder", 16, 3)),
        DataConfig("folder", 16, 3),
        str(tmp_path),
        str(tmp_path / "d"),
        "x",
    )
    with open(os.path.join(prepared.directory, "skipped.txt"), encoding="utf-8") as file:
        assert file.read().splitlines() == [r"two\nlines.png: not an image that can be read"]
    assert printable("ü \u2028\t\udcff") == r"ü \u2028\t\udcff"


@pytest.mark.parametrize(
    "size, words", [(0, "0 bytes"), (20_700, "20.7 kB"), (999_700, "1 MB"), (1.99e9, "1.99 GB"), (5e13, "50 TB")]
)
def test_sizes_have_fitting_units(size, words):
    assert format_bytes(size) == words
