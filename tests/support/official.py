"""Small data sets of real photographs, in the files, names and formats in which the sets are published."""

import binascii
import gzip
import io
import json
import os
import tarfile
import zipfile

import lmdb
import numpy as np
from PIL import Image
from sklearn import datasets

CIFAR10_CLASSES = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"

CELEBA_ATTRIBUTES = """
    5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair
    Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male
    Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks
    Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace
    Wearing_Necktie Young
""".split()  # noqa: SIM905


def photos(count, height, width, seed=0):
    """Random crops, at random scales, of scikit-learn's two photographs: (count, height, width, 3) uint8."""
    random = np.random.RandomState(seed)
    originals = [Image.fromarray(image) for image in datasets.load_sample_images().images]
    crops = []
    for index in range(count):
        photo = originals[index % 2]
        scale = random.uniform(1.0, min(photo.width / width, photo.height / height))
        box_width, box_height = int(width * scale), int(height * scale)
        left = random.randint(0, photo.width - box_width + 1)
        top = random.randint(0, photo.height - box_height + 1)
        box = (left, top, left + box_width, top + box_height)
        crops.append(np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC, box)))
    return np.stack(crops)


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, file_format, **options)
    return buffer.getvalue()


def write_cifar10(folder, training=50, evaluation=10):
    """cifar-10-binary.tar.gz: five training batches and one for testing. Returns the images of both splits."""
    images = photos(training + evaluation, 32, 32)
    records = [bytes([i % 10]) + image.transpose(2, 0, 1).tobytes() for i, image in enumerate(images)]
    parts = np.array_split(np.arange(training), 5)
    files = {f"data_batch_{number}.bin": part for number, part in enumerate(parts, start=1)}
    files["test_batch.bin"] = np.arange(training, training + evaluation)
    os.makedirs(folder, exist_ok=True)
    with tarfile.open(os.path.join(folder, "cifar-10-binary.tar.gz"), "w:gz") as tar:
        contents = {name: b"".join(records[i] for i in indices) for name, indices in files.items()}
        for name, content in {**contents, "batches.meta.txt": CIFAR10_CLASSES, "readme.html": b""}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return images[:training], images[training:]


def write_mnist(folder, training=60, evaluation=10):
    """The four idx files, as .gz. Returns the images (n, 28, 28) of both splits; labels are `mnist_labels`."""
    scans = datasets.load_digits().images[: training + evaluation].astype(np.float32) * (255 / 16)
    images = np.stack(
        [
            np.asarray(Image.fromarray(scan).resize((28, 28), Image.Resampling.BILINEAR)).astype(np.uint8)
            for scan in scans
        ]
    )
    os.makedirs(folder, exist_ok=True)
    parts = {"train": images[:training], "t10k": images[training:]}
    labels_of = dict(zip(parts, mnist_labels(training, evaluation)))
    for prefix, part in parts.items():
        header = np.array([0x803, *part.shape], ">i4").tobytes()
        with gzip.open(os.path.join(folder, f"{prefix}-images-idx3-ubyte.gz"), "wb") as file:
            file.write(header + part.tobytes())
        labels = np.array([0x801, len(part)], ">i4").tobytes() + labels_of[prefix].astype(np.uint8).tobytes()
        with gzip.open(os.path.join(folder, f"{prefix}-labels-idx1-ubyte.gz"), "wb") as file:
            file.write(labels)
    return parts["train"], parts["t10k"]


def mnist_labels(training=60, evaluation=10):
    """The labels of both splits of `write_mnist`."""
    labels = datasets.load_digits().target[: training + evaluation]
    return labels[:training], labels[training:]


def write_celeba(folder, training=40, validation=5, evaluation=10, file_format="jpeg"):
    """img_align_celeba.zip, list_eval_partition.txt, and the lists of landmarks, attributes and identities.

    Returns the JPEG files of the training and of the evaluation split.
    """
    total = training + validation + evaluation
    files = [encoded(image, file_format, quality=95) for image in photos(total, 218, 178)]
    names = [f"{number:06d}.jpg" for number in range(1, total + 1)]
    partition = [0] * training + [1] * validation + [2] * evaluation
    os.makedirs(folder, exist_ok=True)
    with zipfile.ZipFile(os.path.join(folder, "img_align_celeba.zip"), "w") as archive:
        archive.writestr("img_align_celeba/", b"")
        for name, content in zip(names, files):
            archive.writestr(f"img_align_celeba/{name}", content)
    with open(os.path.join(folder, "list_eval_partition.txt"), "w") as file:
        file.writelines(f"{name} {part}\n" for name, part in zip(names, partition))
    points = ["lefteye", "righteye", "nose", "leftmouth", "rightmouth"]
    with open(os.path.join(folder, "list_landmarks_align_celeba.txt"), "w") as file:
        file.write(f"{total}\n{' '.join(f'{p}_x {p}_y' for p in points)}\n")
        file.writelines(f"{name} 69  109  106  113   77  142   73  152  108  154\n" for name in names)
    with open(os.path.join(folder, "list_attr_celeba.txt"), "w") as file:
        file.write(f"{total}\n{' '.join(CELEBA_ATTRIBUTES)}\n")
        file.writelines(f"{name}{' -1' * len(CELEBA_ATTRIBUTES)}\n" for name in names)
    with open(os.path.join(folder, "identity_CelebA.txt"), "w") as file:
        file.writelines(f"{name} 2880\n" for name in names)
    return files[:training], files[training + validation :]


def write_lsun(folder, training=40, evaluation=10):
    """The LMDB environments bedroom_train_lmdb and bedroom_val_lmdb. Returns their files in the order of the keys."""
    files = [encoded(image, "webp", quality=90) for image in photos(training + evaluation, 256, 341)]
    splits = {"train": files[:training], "val": files[training:]}
    by_key = []
    for split, part in splits.items():
        # LSUN's keys are hashes, in no order of the images.
        keyed = {f"{(i * 2654435761) % 2**32:040x}".encode(): content for i, content in enumerate(part)}
        path = os.path.join(folder, f"bedroom_{split}_lmdb")
        os.makedirs(path)
        with lmdb.open(path, map_size=2**26) as environment, environment.begin(write=True) as transaction:
            for key, content in keyed.items():
                transaction.put(key, content)
        os.remove(os.path.join(path, "lock.mdb"))
        by_key.append([keyed[key] for key in sorted(keyed)])
    return tuple(by_key)


EMOJI_CATEGORIES = ("Flags", "Food & Drink", "People & Body")


def write_emoji(folder, training=45, evaluation=5):
    """emoji-datasource-google-16.0.0.tgz: pictures with transparency and their list. Returns the list.

    Every third emoji is of a person, in five skin tones. The code points are such that the splits have these numbers.
    """
    bases = {"training": [], "evaluation": []}
    number = 0x1F300
    while len(bases["training"]) < training or len(bases["evaluation"]) < evaluation:
        base = f"{number:X}"
        bases["evaluation" if binascii.crc32(base.encode()) % 10 == 0 else "training"].append(base)
        number += 1
    chosen = sorted(bases["training"][:training] + bases["evaluation"][:evaluation])
    entries = [_emoji(base, EMOJI_CATEGORIES[place % 3]) for place, base in enumerate(chosen)]
    entries.append(_emoji("1F3FB", "Component"))
    names = [one["image"] for entry in entries for one in (entry, *entry.get("skin_variations", {}).values())]
    files = {"emoji.json": json.dumps(entries).encode(), "img/google/sheets/64.png": b"large"}
    for name, photo in zip(names, photos(len(names), 64, 64)):
        alpha = np.zeros((64, 64, 1), np.uint8)
        alpha[8:56, 8:56] = 255
        files[f"img/google/64/{name}"] = encoded(np.concatenate([photo, alpha], 2), "png")
    os.makedirs(folder, exist_ok=True)
    with tarfile.open(os.path.join(folder, "emoji-datasource-google-16.0.0.tgz"), "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return entries


def _emoji(base, category):
    entry = {"unified": base, "image": f"{base.lower()}.png", "category": category}
    if category == "People & Body":
        tones = [f"1F3F{tone}" for tone in "BCDEF"]
        entry["skin_variations"] = {
            tone: {"unified": f"{base}-{tone}", "image": f"{base.lower()}-{tone.lower()}.png"} for tone in tones
        }
    return entry
