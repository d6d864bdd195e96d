"""The SavedModel: used by a process that has TensorFlow alone."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from support import trained

from vitgan_tf.images import to_uint8
from vitgan_tf.models.build import build_generator
from vitgan_tf.presets import preset
from vitgan_tf.trained.saved_model import export_generator

pytestmark = pytest.mark.slow

USE = """
import json, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
serve, generate = model.signatures["serving_default"], model.signatures["generate"]
latents = tf.random.stateless_normal([3, 16], [1, 2])
images = serve(latents=latents)["images"]
out = {
    "modules": [name for name in sys.modules if name.startswith(("vitgan", "keras", "sklearn"))],
    "serve": images.numpy().tolist(),
    "wide": float(tf.reduce_max(tf.abs(serve(latents=latents * 1e3)["images"]))),
}
for seed, truncation in ((5, 1.0), (6, 1.0), (5, 0.5), (5, 0.0)):
    some = generate(
        num_images=tf.constant(3),
        seed=tf.constant(seed),
        truncation=tf.constant(truncation),
        render_scale=tf.constant(1.0),
    )["images"]
    out[f"{seed}, {truncation}"] = some.numpy().tolist()
    assert some.dtype == tf.uint8
many = model.generate(tf.constant(130), tf.constant(5))["images"]
out["many"] = many.numpy().tolist()
styles = model.map_latents(latents)["styles"]
for scale in (1.0, 0.5, 1.3, 2.0):
    out[f"scale {scale}"] = model.render(styles, scale)["images"].numpy().tolist()
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    tf.keras.utils.set_random_seed(0)  # before those of the tests
    path = str(tmp_path_factory.mktemp("export") / "saved_model")
    generator = build_generator(preset("tiny"))
    export_generator(generator, path)
    output = subprocess.run(
        [sys.executable, "-c", USE, path], capture_output=True, text=True, check=True, cwd="/"
    ).stdout
    return generator, path, {key: np.array(value) for key, value in json.loads(output).items()}


def test_needs_none_of_our_code(exported):
    _, _, out = exported
    assert not [name for name in out["modules"] if name.startswith(("vitgan", "sklearn"))]


def test_serves_the_generators_images_within_range(exported):
    generator, _, out = exported
    latents = tf.random.stateless_normal([3, 16], [1, 2])
    expected = np.clip(generator(latents).numpy(), -1, 1)
    np.testing.assert_allclose(out["serve"], expected, rtol=1e-4, atol=1e-5)
    assert out["wide"] <= 1.0


def test_same_seed_same_images_whatever_their_number(exported):
    _, _, out = exported
    assert out["many"].shape == (130, 8, 8, 1)
    np.testing.assert_array_equal(out["many"][:3], out["5, 1.0"])
    assert np.abs(out["5, 1.0"] - out["6, 1.0"]).max() > 5
    flat = out["many"].reshape(130, -1)
    assert len({row.tobytes() for row in flat}) == 130


def test_truncation_moves_styles_towards_their_mean(exported):
    generator, path, out = exported
    mean_style = tf.saved_model.load(path).mean_style
    styles = generator.mapping(tf.random.normal((20_000, 16)))
    np.testing.assert_allclose(mean_style.numpy()[0], tf.reduce_mean(styles, axis=0).numpy(), atol=0.05)
    mean_image = to_uint8(generator.synthesize(tf.convert_to_tensor(mean_style))).numpy()[0].astype(int)
    for image in out["5, 0.0"]:
        assert np.abs(image - mean_image).max() <= 1
    spread = {psi: np.mean(np.abs(out[f"5, {psi}"] - mean_image)) for psi in (0.0, 0.5, 1.0)}
    assert spread[0.0] < spread[0.5] < spread[1.0]


def test_renders_at_any_scale_and_at_scale_1_the_same_bits(exported):
    generator, _, out = exported
    np.testing.assert_array_equal(out["scale 1.0"], out["serve"])
    styles = generator.mapping(tf.random.stateless_normal([3, 16], [1, 2]))
    for scale, size in ((0.5, 4), (1.3, 10), (2.0, 16)):
        expected = np.clip(generator.synthesize(styles, rendered_size=size).numpy(), -1, 1)
        assert expected.shape == (3, size, size, 1)
        np.testing.assert_allclose(out[f"scale {scale}"], expected, rtol=1e-4, atol=1e-5)


def test_export_replaces_an_older_model_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "saved_model"
    (tmp_path / "saved_model.partial").mkdir()  # of an export that was killed
    for _ in range(2):
        export_generator(trained.network(), str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved_model"]
    assert tf.saved_model.contains_saved_model(str(path))
