"""tools/generate.py and tools/export.py from end to end: their pixels beside those of the library."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import commands, trained

import vitgan_tf
from vitgan_tf.commands.calls import call
from vitgan_tf.drawing.walks import slerp
from vitgan_tf.errors import UserError
from vitgan_tf.images import image_grid, to_uint8

GENERATE, EXPORT = "tools/generate.py", "tools/export.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    networks = [trained.network(seed) for seed in (1, 2)]
    return trained.write_run(tmp_path_factory.mktemp("generate") / "run", *networks)


@pytest.fixture(scope="module")
def generator(run):
    return vitgan_tf.load(run)


def _picture(path):
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.slow
def test_everything_that_is_drawn_of_seeds(run, generator, tmp_path):
    result = commands.run(
        GENERATE, f"--model={run}", "--seeds=3-5,100", f"--outdir={tmp_path / 'images'}",
        f"--output={tmp_path / 'new' / 'grid.png'}", f"--walk={tmp_path / 'walk.webp'}", "--num_images=2",
        "--frames=4",
        f"--save_latents={tmp_path / 'saved.npz'}", "--columns=2", "--min_width=30", "--render_scale=1.5",
        "--truncation=0.7",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    seeds = [3, 4, 5, 100]
    images = np.concatenate([generator.generate(1, seed, 0.7, 1.5) for seed in seeds]).astype(int)
    assert sorted(os.listdir(tmp_path / "images")) == [f"seed{seed:04d}.png" for seed in seeds]
    for seed, image in zip(seeds, images):
        np.testing.assert_allclose(_picture(tmp_path / "images" / f"seed{seed:04d}.png"), image[..., 0], atol=1)
    grid = _picture(tmp_path / "new" / "grid.png")
    np.testing.assert_allclose(grid, image_grid(images.astype(np.uint8), 2, 30)[..., 0].astype(int), atol=1)
    with np.load(tmp_path / "saved.npz") as saved:
        latents, styles = saved["latents"], saved["styles"]
    np.testing.assert_allclose(generator.map(latents), styles, atol=1e-5)
    # The middle of the way from seed 3 to 4 and from 5 to 100, as `synthesize` draws it.
    with Image.open(tmp_path / "walk.webp") as walk:
        assert walk.n_frames == 8
        walk.seek(2)
        frame = np.asarray(walk.convert("L")).astype(int)
    between = slerp(latents[[0, 2]], latents[[1, 3]], 0.5)
    expected = to_uint8(generator.render(generator.map(between, 0.7), 1.5)).numpy()
    np.testing.assert_allclose(frame, image_grid(expected, 2, 30)[..., 0].astype(int), atol=1)


@pytest.mark.slow
def test_latents_from_a_file_tables_and_the_raw_weights(run, tmp_path):
    raw = vitgan_tf.load(run, weights="raw")
    latents = np.random.RandomState(0).normal(size=(3, 16)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", latents=latents)
    mine = {"model": run, "weights": "raw", "latents": tmp_path / "mine.npz"}
    assert call("generate", **mine, truncations=tmp_path / "t.png", truncation="0,0.5,1", min_width=1) == [
        str(tmp_path / "t.png")
    ]
    walk = {"walk": tmp_path / "walk.gif", "space": "w", "loop": False, "frames": 2}
    assert call("generate", **mine, **walk) == [str(tmp_path / "walk.gif")]
    table = _picture(tmp_path / "t.png")
    assert table.shape == (3 * 9 - 1, 3 * 9 - 1)
    for column, psi in enumerate((0.0, 0.5, 1.0)):
        expected = to_uint8(raw.render(raw.map(latents, psi))).numpy()[..., 0].astype(int)
        for row in range(3):
            cell = table[9 * row : 9 * row + 8, 9 * column : 9 * column + 8]
            np.testing.assert_allclose(cell, expected[row], atol=1)


@pytest.mark.slow
def test_export_writes_what_load_and_tensorflows_own_tool_read(run, generator, tmp_path):
    path = tmp_path / "models" / "1"
    result = commands.run(EXPORT, f"--model={run}", f"--output={path}", "--warmup")
    assert result.returncode == 0, result.stderr
    assert (path / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 100
    np.testing.assert_array_equal(vitgan_tf.load(str(path)).generate(5), generator.generate(5))
    program = os.path.join(os.path.dirname(sys.executable), "saved_model_cli")
    command = [program, "run", "--dir", str(path), "--tag_set", "serve", "--signature_def", "generate"]
    inputs = {
        "num_images": np.int32(3),
        "seed": np.int32(1),
        "truncation": np.float32(0.7),
        "render_scale": np.float32(2),
    }
    np.savez(tmp_path / "inputs.npz", **inputs)
    named = ";".join(f"{name}={tmp_path / 'inputs.npz'}[{name}]" for name in inputs)
    shown = subprocess.run([*command, "--inputs", named, "--outdir", str(tmp_path)], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    np.testing.assert_allclose(np.load(tmp_path / "images.npy"), generator.generate(3, 1, 0.7, 2.0), atol=1)
    for name, weights in (("npz", "raw"), ("tflite", "ema")):
        folder = call("export", model=run, weights=weights, format=name, output=tmp_path / name, checkpoint=3)
        expected = vitgan_tf.load(run, "3", weights).generate(5).astype(int)
        np.testing.assert_allclose(vitgan_tf.load(folder).generate(5).astype(int), expected, atol=1)


WRONG = {
    "nothing": ({}, "nothing to draw: give --output=FILE.png"),
    "a range backwards": ({"seeds": "5-3", "output": "a.png"}, "the lower number of a range first"),
    "no numbers": (
        {"seeds": "a,b", "output": "a.png"},
        "write whole numbers and ranges, separated by commas: 0-31,100",
    ),
    "a seed twice": ({"seeds": "1-3,2", "output": "a.png"}, "a number is given twice"),
    "a huge range": ({"seeds": "0-99999999", "output": "a.png"}, "a range has at most 10,000,000 numbers"),
    "both": ({"seeds": "1", "latents": "a.npz", "output": "a.png"}, "leave out one of them"),
    "no table": ({"truncation": "0,1", "output": "a.png"}, "add --truncations=FILE.png"),
    "one column": ({"truncation": "1", "truncations": "a.png"}, "add --truncation=0,0.5,1"),
    "two numbers of images": ({"seeds": "1-2", "num_images": 1, "output": "a.png"}, "--num_images can be combined"),
    "a grid beside": (
        {"truncation": "0,1", "truncations": "a.png", "output": "b.png"},
        "--output takes one --truncation, and --truncations several",
    ),
    "mixed seeds": ({"seeds": "1-2", "mixing": "a.png"}, "--mixing draws random latents of --seed"),
    "no file": ({"latents": "none.npz", "output": "a.png"}, "cannot read 'none.npz' as NumPy's archive"),
    "one keyframe": ({"seeds": "1", "walk": "a.gif"}, "1 keyframes cannot be divided evenly among 1 images"),
    "a full folder": ({"outdir": "."}, "'.' is not an empty folder: choose a new one for the images"),
    "a long walk": ({"walk": "a.webp", "frames": 1_000_000}, "4000000 pictures of 712 x 712 pixels are too large"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_drawn_is_one_line(run, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    flags, words = WRONG[kind]
    with pytest.raises(UserError) as error:
        call("generate", model=run, **flags)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"format": "onxx"}, "should be one of <saved_model|npz|onnx|tflite>"),
        ({"format": "npz", "warmup": True}, "add --format=saved_model"),
        ({"checkpoint": 4}, "no checkpoint '4': available steps: 3, 7"),
        ({"output": "."}, "is not an empty folder"),
        ({"model": "digitz"}, "there is no generator 'digitz'"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_what_cannot_be_exported_is_one_line(run, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError) as error:
        call("export", **{"model": run, "output": tmp_path / "out", **flags})
    assert words in str(error.value)
    assert os.listdir(tmp_path) == ["mine"]
