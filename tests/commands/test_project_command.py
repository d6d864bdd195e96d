"""tools/project.py: what it writes for a picture and for a folder, and what it refuses."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from support import trained

import vitgan_tf
from vitgan_tf.commands.calls import call
from vitgan_tf.errors import UserError
from vitgan_tf.trained.projection import psnr


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    networks = [trained.network(seed) for seed in (1, 2)]
    return trained.write_run(tmp_path_factory.mktemp("project") / "run", *networks)


def _picture(path):
    return np.asarray(Image.open(path))


@pytest.mark.slow
def test_a_folder_of_pictures_is_projected(run, tmp_path, capsys):
    generator = vitgan_tf.load(run)
    own = generator.generate(1, seed=4)[0, ..., 0]
    (tmp_path / "in").mkdir()
    Image.fromarray(own).save(tmp_path / "in" / "own.png")
    # A wide one in colour, with a transparent half: its centre on white, in grey, at the generator's size.
    colours = np.zeros((16, 32, 4), np.uint8)
    colours[:, :16] = 90, 90, 90, 255
    Image.fromarray(colours, "RGBA").save(tmp_path / "in" / "wide.png")
    out = tmp_path / "out"
    result = call("project", model=run, image=tmp_path / "in", outdir=out, steps=150, way="webp")
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result
    assert json.loads((out / "projections.json").read_text()) == result["images"]
    assert [entry["image"] for entry in result["images"]] == ["own", "wide"]
    np.testing.assert_array_equal(_picture(out / "own_target.png"), own)
    expected = np.full((8, 8), 255)
    expected[:, :4] = 90
    np.testing.assert_allclose(
        _picture(out / "wide_target.png").astype(int)[:, [0, 1, 6, 7]], expected[:, [0, 1, 6, 7]], atol=8
    )
    for entry in result["images"]:
        name, found = entry["image"], _picture(out / f"{entry['image']}_projected.png")
        assert entry["psnr"] == pytest.approx(psnr(found, _picture(out / f"{name}_target.png")), abs=1e-3)
        with Image.open(out / f"{name}_way.webp") as way:
            assert way.n_frames > 10
        # What generate draws of the styles.
        call("generate", model=run, latents=out / f"{name}.npz", outdir=tmp_path / name, noise="fixed")
        again = _picture(tmp_path / name / "image_000000.png").astype(int)
        np.testing.assert_allclose(again, found.astype(int), atol=1)


WRONG = {
    "no picture": ({"image": "none.png"}, "there is no folder 'none.png'"),
    "a text": ({"image": "mine.txt"}, "cannot project 'mine.txt': not an image that can be read"),
    "too small": ({"image": "dot.png"}, "cannot project 'dot.png': only 3 x 3 pixels"),
    "twice": ({"image": "twice"}, "two pictures in 'twice' have the name 'a': rename one of them"),
    "nothing in it": ({"image": "empty"}, "no images in 'empty'"),
    "a file in the way": ({"image": "good.png", "outdir": "mine.txt"}, "cannot use 'mine.txt'"),
    "over its inputs": ({"image": "pairs", "outdir": "pairs"}, "would be overwritten: choose another --outdir"),
    "no steps": ({"image": "good.png", "steps": 0}, "steps"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_projected_is_one_line(run, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for path, size in (
        ("dot.png", 3),
        ("good.png", 8),
        ("twice/a.png", 8),
        ("twice/b/a.jpg", 8),
        ("pairs/a.png", 8),
        ("pairs/a_target.png", 8),
    ):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        Image.new("L", (size, size)).save(path)
    flags, words = WRONG[kind]
    with pytest.raises(UserError) as error:
        call("project", **{"model": run, "outdir": "out", "steps": 1, **flags})
    assert words in str(error.value) and "\n" not in str(error.value)
