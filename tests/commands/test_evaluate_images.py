"""`vitgan evaluate --images --reference`: folders, archives and files of statistics, beside NumPy and SciPy."""

import json
import zipfile

import numpy as np
import pytest
import reference.scores as reference
from PIL import Image
from support import official, tiny_network

from vitgan_tf.commands import call
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.sliced_wasserstein import sliced_wasserstein

EDGE, NUM_IMAGES, NUM_REAL = 8, 24, 30


def _write(folder, images):
    folder.mkdir()
    for index, image in enumerate(images):
        (folder / f"{index:02d}.png").write_bytes(official.encoded(image.squeeze(), "png"))
    return folder


def _random(count, seed, edge=EDGE, channels=3):
    return np.random.RandomState(seed).randint(0, 256, (count, edge, edge, channels)).astype(np.uint8)


def _chosen(count, wanted):
    return np.sort(np.random.RandomState(0).permutation(count)[:wanted])


def _features(images):
    flat = (images / 127.5 - 1).reshape(len(images), -1)
    return flat @ tiny_network.weights(flat.shape[1])


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    images, real = _random(NUM_IMAGES, 0), _random(NUM_REAL, 1)
    _write(path / "images", images)
    _write(path / "real", real)
    network = tiny_network.write(path / "tiny", EDGE)
    return path, images, real, {"network": network, "cache_dir": str(path / "cache")}


def _evaluate(setting, capsys, **options):
    path, _, _, common = setting
    result = call("evaluate", **{"images": path / "images", "reference": path / "real", **common, **options})
    *table, line = capsys.readouterr().out.splitlines()
    assert json.loads(line) == result
    return result, "\n".join(table)


def test_two_folders_are_compared(setting, capsys):
    path, images, real, _ = setting
    result, table = _evaluate(setting, capsys, cross_check=True)
    expected = reference.frechet_distance_low_rank(_features(real), _features(images))
    assert result["tiny_fd"] == pytest.approx(expected, rel=1e-4)
    assert result["tiny_fd_scipy"] == pytest.approx(expected, rel=1e-4)
    assert result["tiny_fd_tfgan"] == pytest.approx(expected, rel=1e-3)
    assert (result["tiny_precision"], result["tiny_recall"]) == reference.precision_and_recall(
        _features(real), _features(images)
    )
    assert result["swd"] == sliced_wasserstein(images, real[_chosen(NUM_REAL, NUM_IMAGES)])[EDGE]
    assert (result["num_generated"], result["num_real"], result["num_swd"]) == (NUM_IMAGES, NUM_REAL, NUM_IMAGES)
    assert str(path / "images") in table and str(path / "real") in table and "step" not in table


def test_an_archive_is_scored_as_its_folder(setting, capsys, tmp_path):
    path = setting[0]
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for file in sorted((path / "images").iterdir()):
            archive.write(file, file.name)
    results = [_evaluate(setting, capsys, images=images)[0] for images in (tmp_path / "images.zip", path / "images")]
    for result in results:
        del result["images"]
    assert results[0] == results[1]


def test_a_part_of_the_images_is_scored(setting, capsys):
    _, images, real, _ = setting
    result, _ = _evaluate(setting, capsys, num_generated=10, num_real=20)
    features = [_features(values[_chosen(len(values), count)]) for values, count in ((real, 20), (images, 10))]
    assert result["tiny_fd"] == pytest.approx(reference.frechet_distance_low_rank(*features), rel=1e-4)


def test_statistics_have_the_shared_layout_and_serve_as_reference(setting, capsys, tmp_path):
    _, _, real, _ = setting
    ours, foreign = tmp_path / "ours.npz", tmp_path / "foreign.npz"
    expected, _ = _evaluate(setting, capsys, save_statistics=ours)
    with np.load(ours) as file:
        mean, covariance = file["mu"], file["sigma"]
    assert mean.dtype == covariance.dtype == np.float64
    np.testing.assert_allclose(mean, _features(real).mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(covariance, np.cov(_features(real), rowvar=False), rtol=1e-4, atol=1e-4)
    again, table = _evaluate(setting, capsys, reference=ours)
    same = (
        "tiny_fd",
        "tiny_kd",
        "tiny_precision",
        "tiny_recall",
        "tiny_density",
        "tiny_coverage",
        "num_real",
        "dataset",
    )
    assert {name: again[name] for name in same} == {name: expected[name] for name in same}
    assert "swd" not in again and "images for swd" not in table
    np.savez_compressed(foreign, mu=mean, sigma=covariance)  # as pytorch-fid does
    other, table = _evaluate(setting, capsys, reference=foreign)
    assert other["tiny_fd"] == expected["tiny_fd"] and "tiny_kd" not in other and "tiny_precision" not in other
    assert "statistics of foreign.npz" in table
    assert "foreign.npz does not say which images it describes" in other["not_comparable_with_published"]


def test_statistics_are_written_without_images_to_score(setting, tmp_path):
    path, _, real, common = setting
    result = call("evaluate", reference=path / "real", save_statistics=tmp_path / "new" / "s.npz", **common)
    assert result == {"statistics": str(tmp_path / "new" / "s.npz")}
    np.testing.assert_allclose(
        np.load(result["statistics"])["mu"], _features(real).mean(axis=0), rtol=1e-5, atol=1e-5
    )


def test_a_singular_covariance_has_a_distance(setting, capsys, tmp_path):
    _, images, _, _ = setting
    flat = np.full((5, EDGE, EDGE, 3), 90, np.uint8)
    result, _ = _evaluate(setting, capsys, reference=_write(tmp_path / "flat", flat), cross_check=True)
    features = _features(images)
    expected = np.sum((features.mean(axis=0) - _features(flat)[0]) ** 2) + np.trace(np.cov(features, rowvar=False))
    assert result["tiny_fd"] == pytest.approx(expected, rel=1e-4)
    assert result["tiny_fd_scipy"] == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("extractor", ["auto", "none"])
def test_images_are_drawn_beside_the_nearest_real_ones(setting, capsys, tmp_path, extractor):
    _, images, real, _ = setting
    options = {"extractor": extractor, "network": None} if extractor == "none" else {}
    copied = np.concatenate([real[[7, 3]], images[:4]])
    folder = _write(tmp_path / "copied", copied)
    _evaluate(setting, capsys, images=folder, nearest=5, output=tmp_path / "o.jsonl", **options)
    picture = np.asarray(Image.open(tmp_path / "nearest.png"))
    # Rows of 8 pixels and a line: the image, a gap, then its copy.
    factor = picture.shape[1] // (EDGE + 2 + 4 * EDGE + 3)
    small = picture[::factor, ::factor]
    shown = np.sort(np.random.RandomState(0).permutation(6)[:5])
    for row in range(5):
        first = small[row * (EDGE + 1) :][:EDGE, :EDGE]
        np.testing.assert_array_equal(first, copied[shown[row]])
        if shown[row] < 2:
            np.testing.assert_array_equal(small[row * (EDGE + 1) :][:EDGE, EDGE + 2 :][:, :EDGE], first)


def test_no_more_images_are_drawn_beside_real_ones_than_are_scored(setting, capsys, tmp_path):
    _evaluate(setting, capsys, nearest=999, output=tmp_path / "o.jsonl")
    height, width, _ = np.asarray(Image.open(tmp_path / "nearest.png")).shape
    factor = width // (EDGE + 2 + 4 * EDGE + 3)
    assert height == factor * (NUM_IMAGES * (EDGE + 1) - 1)


def test_statistics_that_cannot_be_written_are_named_at_once(setting, capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="choose another file with --save_statistics"):
        _evaluate(setting, capsys, save_statistics=tmp_path / "file" / "s.npz")


def test_settings_of_a_runs_own_network_are_changed(setting, capsys, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    # The run is read before its network is missed.
    with pytest.raises(UserError) as error:
        call("evaluate", model=tmp_path / "run", network_size=9)
    assert "eval.network" not in str(error.value)


def test_a_data_set_is_a_reference_by_its_name(setting, capsys, tmp_path):
    from vitgan_tf.data.digits import load_digits

    digits = load_digits(16)[0][:40]
    folder = _write(tmp_path / "digits", digits)
    result, _ = _evaluate(
        setting, capsys, images=folder, reference="digits", num_real=40, extractor="none", network=""
    )
    assert result["swd"] == sliced_wasserstein(digits, load_digits(16)[0][_chosen(1797, 40)])[16]
    assert result["dataset"] == "digits" and "digits_fd" not in result


def test_images_of_many_sizes_are_brought_to_one(setting, capsys, tmp_path):
    mixed = _write(tmp_path / "mixed", _random(3, 2))
    (mixed / "wide.png").write_bytes(official.encoded(_random(1, 3, 24)[0][:, :20], "png"))
    (mixed / "turned.png").write_bytes(official.encoded(_random(1, 3, 24)[0], "png"))
    with pytest.raises(UserError, match=r"several sizes \(8 x 8, 20 x 24\): set --resolution=EDGE"):
        _evaluate(setting, capsys, images=mixed)
    assert _evaluate(setting, capsys, images=mixed, resolution=8)[0]["num_generated"] == 5


def _statistics(path, **arrays):
    np.savez(path, **arrays)
    return path


DIM = tiny_network.DIM
BAD = {
    "other size": (
        lambda p: {"reference": _write(p / "x", _random(5, 0, 16))},
        "has images 8 pixels wide, the real ones are 16 pixels wide: --resolution=16 brings",
    ),
    "other channels": (
        lambda p: {"reference": _write(p / "x", _random(5, 0, channels=1))},
        r"has images of 3 channel\(s\), the real ones are of 1 channel\(s\): --num_channels=1 brings",
    ),
    "one image": (lambda p: {"images": _write(p / "x", _random(1, 0))}, "holds 1 image: at least 2 are needed"),
    "one real image": (lambda p: {"reference": _write(p / "x", _random(1, 0))}, "1 real images are too few"),
    "nothing": (lambda p: {"reference": _write(p / "x", [])}, "no images in .*x' is empty"),
    "empty archive": (lambda p: {"images": _zip(p / "x.zip")}, "the zip archive .*x.zip' is empty"),
    "nowhere": (lambda p: {"reference": p / "none"}, "there is no such data set, folder or file"),
    "too many": (lambda p: {"num_generated": 25}, "--num_generated=25: there are 24 images only"),
    "NaN": (
        lambda p: {"reference": _statistics(p / "x.npz", mu=np.full(DIM, np.nan), sigma=np.eye(DIM))},
        "holds values that are not finite numbers: mu",
    ),
    "other network": (
        lambda p: {"reference": _statistics(p / "x.npz", mu=np.zeros(64), sigma=np.eye(64))},
        "has 64 features, and tiny has 5: another network computed them",
    ),
    "shapes": (
        lambda p: {"reference": _statistics(p / "x.npz", mu=np.zeros(DIM), sigma=np.eye(4))},
        r"does not fit together: mu is \(5,\), sigma \(4, 4\)",
    ),
    "not symmetric": (
        lambda p: {"reference": _statistics(p / "x.npz", mu=np.zeros(DIM), sigma=np.triu(np.ones((DIM, DIM))))},
        "is no covariance: it is not symmetric",
    ),
    "negative": (
        lambda p: {"reference": _statistics(p / "x.npz", mu=np.zeros(DIM), sigma=-np.eye(DIM))},
        "is no covariance: it has negative eigenvalues",
    ),
    "no statistics": (lambda p: {"reference": _statistics(p / "x.npz", x=1)}, "it has x, not mu and sigma"),
    "damaged": (lambda p: {"reference": _garbage(p / "x.npz")}, "it is no .npz archive"),
    "an array alone": (lambda p: {"reference": _array(p / "x.npz")}, "it is no .npz archive"),
    "text": (
        lambda p: {"reference": _statistics(p / "x.npz", mu=np.full(DIM, "a"), sigma=np.eye(DIM))},
        "not finite numbers: mu",
    ),
    "complex": (
        lambda p: {"reference": _statistics(p / "x.npz", mu=np.zeros(DIM, complex), sigma=np.eye(DIM))},
        "not finite numbers: mu",
    ),
    "nothing in it": (
        lambda p: {"reference": _statistics(p / "x.npz", mu=np.zeros(0), sigma=np.zeros((0, 0)))},
        "does not fit together",
    ),
    "indefinite": (
        lambda p: {
            "reference": _statistics(p / "x.npz", mu=np.zeros(DIM), sigma=np.eye(DIM) * 0.1 + 1 - np.eye(DIM))
        },
        "negative eigenvalues",
    ),
    "cross-check of statistics": (
        lambda p: {"reference": _statistics(p / "x.npz", mu=np.zeros(DIM), sigma=np.eye(DIM)), "cross_check": True},
        "statistics alone are known",
    ),
    "statistics of statistics": (
        lambda p: {
            "reference": _statistics(p / "x.npz", mu=np.zeros(DIM), sigma=np.eye(DIM)),
            "save_statistics": p / "y.npz",
        },
        "describes real images, not statistics",
    ),
    "part of statistics": (
        lambda p: {"reference": _statistics(p / "x.npz", mu=np.zeros(DIM), sigma=np.eye(DIM)), "num_real": 5},
        "--num_real does not apply to statistics",
    ),
    "ignored network": (lambda p: {"extractor": "none"}, "eval.network is for eval.extractor=network, got none"),
    "setting of no network": (
        lambda p: {"network": None, "network_range": [0, 1], "extractor": "none"},
        "eval.network_range needs eval.network",
    ),
    "ignored resizing": (
        lambda p: {"network": None, "extractor": "none", "resize": "clean"},
        "images are not resized: leave out --resize=clean",
    ),
    "a seed twice": (lambda p: {"seed": [0, 0]}, "a number is given twice"),
    "no whole seed": (lambda p: {"seed": 1.5}, "write whole numbers, separated by commas"),
    "folder without a place": (lambda p: {"reference": "folder"}, "set --reference=DIR in its place"),
    "no network": (
        lambda p: {
            "reference": _statistics(p / "x.npz", mu=np.zeros(5), sigma=np.eye(5)),
            "extractor": "none",
            "network": None,
        },
        "need the network that computed them",
    ),
    "nearest without a place": (lambda p: {"nearest": 3}, "set --output=FILE"),
    "nearest of statistics": (
        lambda p: {
            "reference": _statistics(p / "x.npz", mu=np.zeros(DIM), sigma=np.eye(DIM)),
            "nearest": 3,
            "output": p / "o.jsonl",
        },
        "--nearest needs real images",
    ),
    "path of images": (
        lambda p: {"path_length": 3},
        "--path_length needs a generator: it does not apply to given images",
    ),
    "seeds": (lambda p: {"seed": [0, 1]}, "--seed needs a generator"),
    "truncation": (lambda p: {"truncation": 0.5}, "--truncation needs a generator"),
    "no reference": (lambda p: {"reference": None}, "set --reference=DIR, a data set or FILE.npz"),
    "nothing to score": (lambda p: {"images": None}, "say what is scored"),
    "both": (lambda p: {"reference": "digits", "dataset": "digits"}, "--reference takes the place of --dataset"),
    "checkpoint": (lambda p: {"checkpoint": "best"}, "--checkpoint applies only to a run directory"),
}


def _zip(path):
    zipfile.ZipFile(path, "w").close()
    return path


def _array(path):
    np.save(path.with_suffix(".npy"), np.zeros(3))
    return path.with_suffix(".npy").rename(path)


def _garbage(path):
    path.write_bytes(b"PK\x03\x04garbage")
    return path


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_ends_in_one_line(setting, capsys, tmp_path, kind):
    options, message = BAD[kind]
    with pytest.raises(UserError, match=message) as error:
        _evaluate(setting, capsys, **options(tmp_path))
    assert "\n" not in str(error.value)


def test_statistics_of_another_resizing_are_refused(setting, capsys, tmp_path):
    _evaluate(setting, capsys, save_statistics=tmp_path / "s.npz")
    with pytest.raises(UserError, match="was computed by another resizing: resize is 'bicubic to 8 x 8"):
        _evaluate(setting, capsys, reference=tmp_path / "s.npz", resize="bilinear")
    with pytest.raises(UserError, match="was computed by another network: extractor_sha256 is"):
        network = tiny_network.write(tmp_path / "tiny", EDGE, seed=1)
        _evaluate(setting, capsys, reference=tmp_path / "s.npz", network=network)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("protocol", "hello", "its protocol is not whole"),
        ("protocol", "[1]", "its protocol is not whole"),
        ("protocol", "{}", "its protocol is not whole"),
        ("radii", np.zeros(3), "features, radii and nearest do not fit together"),
        ("features", np.zeros((NUM_REAL, 4)), "features, radii and nearest do not fit together"),
        ("nearest", np.full(NUM_REAL, np.nan), "not finite numbers: nearest"),
    ],
)
def test_damaged_statistics_are_refused(setting, capsys, tmp_path, name, value, message):
    _evaluate(setting, capsys, save_statistics=tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "s.npz", **{**arrays, name: value})
    with pytest.raises(UserError, match=message):
        _evaluate(setting, capsys, reference=tmp_path / "s.npz")


def test_statistics_of_other_images_are_refused(setting, capsys, tmp_path):
    _evaluate(setting, capsys, save_statistics=tmp_path / "s.npz")
    grey = _write(tmp_path / "grey", _random(5, 0, channels=1))
    with pytest.raises(UserError, match="describes images of 8 x 8 x 3, not 8 x 8 x 1"):
        _evaluate(setting, capsys, images=grey, reference=tmp_path / "s.npz")


def test_a_network_of_the_command_line_takes_the_place_of_the_runs():
    from vitgan_tf.commands.evaluate import _changed
    from vitgan_tf.config import EvalConfig

    run = EvalConfig(extractor="classifier", split="evaluation")
    assert _changed(run, {"network": "x"}) == EvalConfig(network="x", split="evaluation")
    run = EvalConfig(network="x", network_size=8, num_real=7)
    assert _changed(run, {"extractor": "none"}) == EvalConfig(extractor="none", num_real=7)
    assert _changed(run, {"network_size": 9}) == EvalConfig(network="x", network_size=9, num_real=7)
