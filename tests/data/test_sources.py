"""The official files of the data sets, and folders of images."""

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from support import official

from vitgan_tf.data.opening import BadImageError
from vitgan_tf.data.sources.base import MissingFilesError
from vitgan_tf.data.sources.celeba import celeba
from vitgan_tf.data.sources.cifar10 import cifar10
from vitgan_tf.data.sources.emoji import emoji
from vitgan_tf.data.sources.folder import image_folder
from vitgan_tf.data.sources.lsun import lsun
from vitgan_tf.data.sources.mnist import mnist
from vitgan_tf.errors import UserError


def _all(source):
    return [source.read(index) for index in range(len(source))]


@pytest.mark.parametrize("unpacked", [False, True])
def test_cifar10(tmp_path, unpacked):
    training, evaluation = official.write_cifar10(tmp_path)
    archive = tmp_path / "cifar-10-binary.tar.gz"
    if unpacked:
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path)
        archive.unlink()
    places = [tmp_path, tmp_path / "cifar-10-batches-bin"] if unpacked else [tmp_path, archive]
    for place in places:
        np.testing.assert_array_equal(_all(cifar10(str(place), "training")), training)
        np.testing.assert_array_equal(_all(cifar10(str(place), "evaluation")), evaluation)


def test_cifar10_that_is_not_whole(tmp_path):
    with pytest.raises(MissingFilesError, match=r"no CIFAR-10, cifar-10-binary.tar.gz or .* is needed: .* is empty"):
        cifar10(str(tmp_path), "training")
    official.write_cifar10(tmp_path)
    archive = tmp_path / "cifar-10-binary.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cannot read .*cifar-10"):
        cifar10(str(tmp_path), "training")
    archive.unlink()
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        tar.extractall(tmp_path)
    batch = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    batch.write_bytes(batch.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"data_batch_3.bin is damaged: .* no number of images of 3073"):
        cifar10(str(tmp_path), "training")
    batch.unlink()
    with pytest.raises(UserError, match=r"data_batch_3.bin"):
        cifar10(str(tmp_path), "training")


def test_a_pickle_runs_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    import pickle

    content = pickle.dumps(Bomb())
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as tar:
        for number in range(1, 6):
            member = tarfile.TarInfo(f"cifar-10-batches-py/data_batch_{number}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(UserError, match=r"data_batch_1 is damaged: it holds posix.mkdir"):
        cifar10(str(tmp_path / "cifar-10-python.tar.gz"), "training")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["{}-images-idx3-ubyte.gz", "{}-images-idx3-ubyte", "{}-images.idx3-ubyte"])
def test_mnist(tmp_path, name):
    parts = dict(zip(("train", "t10k"), official.write_mnist(tmp_path)))
    for prefix in parts:
        packed = tmp_path / f"{prefix}-images-idx3-ubyte.gz"
        content = packed.read_bytes()
        packed.unlink()
        if not name.endswith(".gz"):
            content = gzip.decompress(content)
        (tmp_path / name.format(prefix)).write_bytes(content)
    np.testing.assert_array_equal(_all(mnist(str(tmp_path), "training")), parts["train"])
    np.testing.assert_array_equal(_all(mnist(str(tmp_path), "evaluation")), parts["t10k"])


def test_mnist_that_is_not_whole(tmp_path):
    with pytest.raises(MissingFilesError, match=r"train-images-idx3-ubyte nor train-images-idx3-ubyte.gz"):
        mnist(str(tmp_path), "training")
    official.write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    labels = (tmp_path / "train-labels-idx1-ubyte.gz").read_bytes()
    plain = gzip.decompress(content)
    for wrong in (content[:-20], b"", labels, gzip.compress(plain[:-1]), gzip.compress(plain[:9]), plain[:-1]):
        path.write_bytes(wrong)
        with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz'"):
            mnist(str(tmp_path), "training")


@pytest.mark.parametrize("form", ["zip", "folder", "nested_zip_and_csv"])
def test_celeba_follows_the_official_partition(tmp_path, form):
    training, evaluation = official.write_celeba(tmp_path)
    archive = tmp_path / "img_align_celeba.zip"
    if form == "folder":
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(tmp_path)
        archive.unlink()
    elif form == "nested_zip_and_csv":  # as on Kaggle
        with zipfile.ZipFile(archive) as opened:
            members = {info.filename: opened.read(info) for info in opened.infolist() if not info.is_dir()}
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as changed:
            for name, content in reversed(members.items()):
                changed.writestr(f"img_align_celeba/{name}", content)
        partition = (tmp_path / "list_eval_partition.txt").read_text().replace(" ", ",")
        (tmp_path / "list_eval_partition.txt").unlink()
        (tmp_path / "list_eval_partition.csv").write_text("image_id,partition\n" + partition)
    source = celeba(str(tmp_path), "training")
    assert _all(source) == training
    assert source.names[:2] == ["000001.jpg", "000002.jpg"]
    source = celeba(str(tmp_path), "evaluation")
    assert _all(source) == evaluation
    assert source.names[0] == "000046.jpg"  # after 40 for training and 5 for validation


def test_celeba_lists_as_other_programs_save_them(tmp_path):
    training, _ = official.write_celeba(tmp_path)
    partition = tmp_path / "list_eval_partition.txt"
    text = partition.read_text()
    partition.write_text(text, encoding="utf-8-sig")
    assert _all(celeba(str(tmp_path), "training")) == training
    partition.unlink()
    (tmp_path / "list_eval_partition.csv").write_text("image_id, partition\n" + text.replace(" ", ", "))
    assert _all(celeba(str(tmp_path), "training")) == training
    archive = tmp_path / "img_align_celeba.zip"
    with zipfile.ZipFile(archive) as opened:
        members = {info.filename: opened.read(info) for info in opened.infolist() if not info.is_dir()}
    with zipfile.ZipFile(archive, "w") as changed:
        for name, content in members.items():
            changed.writestr(name.replace(".jpg", ".JPG"), content)
            changed.writestr(f"__MACOSX/{name}", b"resource fork")
    assert _all(celeba(str(tmp_path), "training")) == training


def test_celeba_that_is_not_whole(tmp_path):
    with pytest.raises(MissingFilesError, match=r"CelebA lacks list_eval_partition.txt and img_align_celeba.zip"):
        celeba(str(tmp_path), "training")
    official.write_celeba(tmp_path)
    archive = tmp_path / "img_align_celeba.zip"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"cannot read .*img_align_celeba.zip"):
        celeba(str(tmp_path), "training")
    flawed = bytearray(whole)
    flawed[whole.index(b"\xff\xd8\xff") + 300] ^= 0xFF  # in the first JPEG file
    archive.write_bytes(flawed)
    source = celeba(str(tmp_path), "training")
    with pytest.raises(BadImageError, match=r"damaged in the archive.*CRC"):
        source.read(0)
    assert source.read(1)
    archive.unlink()
    with pytest.raises(
        MissingFilesError,
        match=r"CelebA lacks img_align_celeba.zip or img_align_celeba/: .* holds identity_CelebA.txt",
    ):
        celeba(str(tmp_path), "training")


def _tree(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_lsun_lmdb(tmp_path):
    training, evaluation = official.write_lsun(tmp_path)
    before = _tree(tmp_path)
    assert _all(lsun(str(tmp_path), "training")) == training
    assert _all(lsun(str(tmp_path), "evaluation")) == evaluation
    assert _all(lsun(str(tmp_path / "bedroom_val_lmdb"), "evaluation")) == evaluation
    assert _tree(tmp_path) == before  # nothing is written beside the data, which may be on a medium that is read-only


def test_lsun_exported_to_folders(tmp_path):
    files = [official.encoded(photo, "webp") for photo in official.photos(6, 64, 80)]
    for index, content in enumerate(files):
        # The official export spreads the files over folders named after the key's first letters.
        folder = tmp_path / ("bedroom_train" if index < 4 else "bedroom_val") / f"{index % 2}" / "a"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:03d}.webp").write_bytes(content)
    assert sorted(_all(lsun(str(tmp_path), "training"))) == sorted(files[:4])
    assert sorted(_all(lsun(str(tmp_path), "evaluation"))) == sorted(files[4:])
    assert sorted(_all(lsun(str(tmp_path / "bedroom_train"), "training"))) == sorted(files[:4])


def test_lsun_that_is_not_there_or_packed_or_damaged(tmp_path):
    with pytest.raises(MissingFilesError, match=r"neither bedroom_train_lmdb/data.mdb, bedroom_train_lmdb.zip nor"):
        lsun(str(tmp_path), "training")
    (tmp_path / "bedroom_train_lmdb.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"cannot read .*bedroom_train_lmdb.zip"):
        lsun(str(tmp_path), "training")
    (tmp_path / "bedroom_train_lmdb.zip").unlink()
    (tmp_path / "bedroom_val").mkdir()
    (tmp_path / "bedroom_val" / "a.png").write_bytes(b"")
    for folder in (tmp_path, tmp_path / "bedroom_val"):  # images for validation are not for training
        with pytest.raises(MissingFilesError):
            lsun(str(folder), "training")
    (tmp_path / "bedroom_train_lmdb").mkdir()
    (tmp_path / "bedroom_train_lmdb" / "data.mdb").write_bytes(b"not a data base" * 1000)
    with pytest.raises(UserError, match="cannot read the LMDB environment"):
        lsun(str(tmp_path), "training")
    official.write_lsun(tmp_path / "whole")
    path = tmp_path / "whole" / "bedroom_train_lmdb" / "data.mdb"
    os.truncate(path, path.stat().st_size * 2 // 3)
    with pytest.raises(UserError, match=r"data.mdb' is truncated"):
        lsun(str(tmp_path / "whole"), "training")


def test_any_folder_of_images_can_be_lsun(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.webp").write_bytes(b"content")
    assert _all(lsun(str(tmp_path), "training")) == [b"content"]


def test_folder_is_sorted_and_follows_links_but_no_circles(tmp_path):
    root = tmp_path / "images"
    names = ["b.png", "a.JPG", "sub/c.webp", "sub/deeper/d.jpeg", "z.tiff"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "e.gif").write_bytes(b"link/e.gif")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "sub" / "circle").symlink_to(root)
    for name in ("notes.txt", "sub/labels.csv", ".hidden.png", ".thumbnails/f.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    source = image_folder(str(root))
    assert source.names == sorted([*names, "link/e.gif"])
    assert _all(source) == [name.encode() for name in source.names]
    assert source.others == [("notes.txt", None), ("sub/labels.csv", None)]
    assert [key.name for key, _ in source.items(2, 4)] == source.names[2:4]


def test_folders_without_images(tmp_path):
    with pytest.raises(MissingFilesError, match="there is no folder"):
        image_folder(str(tmp_path / "nowhere"))
    with pytest.raises(MissingFilesError, match=r"no images in .* is empty"):
        image_folder(str(tmp_path))
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(MissingFilesError, match=r"no images in .*: left out, .*: 1 .txt"):
        image_folder(str(tmp_path))
    with pytest.raises(MissingFilesError, match="no images in"):
        image_folder(str(tmp_path), "evaluation")


def test_what_cannot_be_read_as_a_file_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    with open(tmp_path / "sparse.png", "wb") as file:
        file.truncate(2**30)
    source = image_folder(str(tmp_path))
    assert source.names == ["dangling.png", "pipe.png", "sparse.png"]
    with pytest.raises(FileNotFoundError):
        source.read(0)
    with pytest.raises(BadImageError, match="not a regular file"):
        source.read(1)
    with pytest.raises(BadImageError, match=r"a file of 1.07 GB, more than 268 MB"):
        source.read(2)


@pytest.fixture
def unprivileged():
    """A folder, and a user who may not read everything: root may."""
    import tempfile

    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        for path, _, _ in os.walk(folder):
            os.chmod(path, stat.S_IRWXU)
        shutil.rmtree(folder)


def test_missing_permission(unprivileged):
    for name in ("a.png", "b.png"):
        with open(os.path.join(unprivileged, name), "wb") as file:
            file.write(b"content")
    os.chmod(os.path.join(unprivileged, "a.png"), 0)
    source = image_folder(unprivileged)
    with pytest.raises(PermissionError):
        source.read(0)
    assert source.read(1) == b"content"
    os.mkdir(os.path.join(unprivileged, "closed"), 0)
    with pytest.raises(UserError, match=r"cannot read the folder .*closed.*Permission denied"):
        image_folder(unprivileged)


def _of_list(entries, skin_tones):
    """Name, base and category of each picture."""
    for entry in entries:
        if entry["category"] != "Component" or skin_tones:
            yield entry["image"], entry["unified"], entry["category"]
        for variant in entry.get("skin_variations", {}).values() if skin_tones else ():
            yield variant["image"], entry["unified"], entry["category"]


@pytest.mark.parametrize("skin_tones", [False, True])
@pytest.mark.parametrize("unpacked", [False, True])
def test_emoji(tmp_path, unpacked, skin_tones):
    entries = official.write_emoji(tmp_path)
    archive = tmp_path / "emoji-datasource-google-16.0.0.tgz"
    with tarfile.open(archive) as tar:
        pictures = {os.path.basename(member.name): tar.extractfile(member).read() for member in tar}
        if unpacked:
            tar.extractall(tmp_path)
            archive.unlink()
    expected = {name: (base, category) for name, base, category in _of_list(entries, skin_tones)}
    places = [tmp_path, tmp_path / "package"] if unpacked else [tmp_path, archive]
    for place in places:
        bases, names = {}, []
        for split in ("training", "evaluation"):
            source = emoji(str(place), split, skin_tones)
            assert list(source.names) == sorted(source.names)
            assert _all(source) == [pictures[name] for name in source.names]
            categories = [source.class_names[label] for label in source.labels]
            assert categories == [expected[name][1] for name in source.names]
            bases[split] = {expected[name][0] for name in source.names}
            names += source.names
        assert sorted(names) == sorted(expected)
        # All skin tones of an emoji are in one split.
        assert not bases["training"] & bases["evaluation"]
        assert (len(bases["training"]), len(bases["evaluation"])) == (45 + skin_tones, 5)


def test_emoji_that_are_not_whole(tmp_path):
    with pytest.raises(MissingFilesError, match=r"no emoji, the npm package .* is needed: .* is empty"):
        emoji(str(tmp_path), "training")
    official.write_emoji(tmp_path)
    archive = tmp_path / "emoji-datasource-google-16.0.0.tgz"
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cannot read .*emoji-datasource-google"):
        emoji(str(tmp_path), "training")
    archive.unlink()
    package = tmp_path / "package"
    os.unlink(package / "img" / "google" / "64" / emoji(str(tmp_path), "training").names[7])
    source = emoji(str(tmp_path), "training")
    assert len(source) == 44 and source.notes == [f"1 of 45 emoji are not in {str(package)!r}: the others are used"]
    for content in ("[{}]", "[1]", "{", "3"):
        (package / "emoji.json").write_text(content)
        with pytest.raises(UserError, match=r"emoji.json is not a list of emoji"):
            emoji(str(tmp_path), "training")
