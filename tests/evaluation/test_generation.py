"""The same images however they are drawn, and files of them."""

import dataclasses
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import reference.scores as reference
import tensorflow as tf

from vitgan_tf.config import override
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation import generation
from vitgan_tf.evaluation.generation import ImageSampler, dump_folder
from vitgan_tf.images import to_uint8
from vitgan_tf.latents import SequenceRandom, chunk_of_latents
from vitgan_tf.models.build import build_generator
from vitgan_tf.presets import preset
from vitgan_tf.trained.saved_model import export_generator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def generator():
    tf.keras.utils.set_random_seed(3)
    return build_generator(preset("tiny"))


def _sampler(generator, **options):
    return ImageSampler(generator, generator.latent_dim, **options)


def _assert_same(images, expected):
    """Drawn by other graphs, a grey level that lies between two may fall to the other side."""
    differences = np.abs(np.asarray(images).astype(int) - expected)
    assert differences.max() <= 1 and np.mean(differences > 0) < 1e-3


@pytest.mark.parametrize("batch_size", [1, 16, 17, 100, 500])
def test_images_do_not_depend_on_batch_size_or_number(generator, batch_size):
    expected = _sampler(generator, batch_size=48).images(203, seed=5)
    assert expected.shape == (203, 8, 8, 1) and expected.dtype == np.uint8
    np.testing.assert_array_equal(_sampler(generator, batch_size=batch_size).images(203, seed=5), expected)
    np.testing.assert_array_equal(_sampler(generator, batch_size=batch_size).images(7, seed=5), expected[:7])


def test_another_seed_draws_other_images_and_none_comes_twice(generator):
    images = _sampler(generator).images(300, seed=0)
    others = _sampler(generator).images(300, seed=1)
    assert len(np.unique(np.concatenate([images, others]), axis=0)) == 600


def test_latents_are_normal_and_independent():
    latents = ImageSampler(lambda latents, _: latents[:, None, None] / 4, 3, batch_size=64).images(20_000, seed=0)
    values = (latents[:, 0, 0].astype(np.float64) / 127.5 - 1.0) * 4
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=0.03)
    np.testing.assert_allclose(values.std(axis=0), 1.0, atol=0.02)
    neighbours = np.corrcoef(values[:-1].ravel(), values[1:].ravel())[0, 1]
    assert abs(neighbours) < 0.02


def test_the_saved_model_draws_the_same_images(generator, tmp_path):
    export_generator(generator, str(tmp_path / "model"), step=12)
    model = tf.saved_model.load(str(tmp_path / "model"))
    expected = _sampler(generator).images(40, seed=9)
    _assert_same(model.generate(40, 9)["images"], expected)
    sampler = ImageSampler(lambda latents, _: model.synthesize(latents)["images"], 16)
    _assert_same(sampler.images(40, seed=9), expected)
    assert int(model.step) == 12


def _with_noise(changes):
    tf.keras.utils.set_random_seed(3)
    generator = build_generator(override(preset("tiny"), changes))
    strengths = [weight for weight in generator.weights if "noise_strength" in weight.name]
    assert strengths and generator.has_noise
    for strength in strengths:
        strength.assign(0.3)
    return generator


NOISY = {"conv": {"generator.decoder": "conv"}, "stylegan2": {"generator.architecture": "stylegan2"}}


@pytest.fixture(scope="module", params=NOISY)
def noisy(request):
    return _with_noise(NOISY[request.param])


def test_each_image_has_its_own_noise_whatever_the_batch(noisy):
    expected = _sampler(noisy, batch_size=48).images(40, seed=5)
    for batch_size, count in ((16, 40), (100, 40), (32, 21)):
        np.testing.assert_array_equal(_sampler(noisy, batch_size=batch_size).images(count, seed=5), expected[:count])

    def draw(latents, random):
        return noisy(tf.zeros_like(latents), random)

    by_noise = [ImageSampler(draw, noisy.latent_dim, batch_size=16).images(40, seed) for seed in (0, 1)]
    assert len(np.unique(np.concatenate(by_noise), axis=0)) == 80
    fixed = ImageSampler(draw, noisy.latent_dim, has_fixed_noise=True).images(40, seed=0)
    assert len(np.unique(fixed, axis=0)) == 1


def test_the_saved_model_draws_the_same_noise(noisy, tmp_path):
    export_generator(noisy, str(tmp_path / "model"))
    model = tf.saved_model.load(str(tmp_path / "model"))
    expected = _sampler(noisy).images(40, seed=9)
    _assert_same(model.generate(40, 9)["images"], expected)
    arguments = {"num_images": 40, "seed": 9, "truncation": 1.0, "render_scale": 1.0}
    served = model.signatures["generate"](**{name: tf.constant(value) for name, value in arguments.items()})
    _assert_same(served["images"], expected)
    latents = tf.concat([chunk_of_latents(9, chunk, noisy.latent_dim) for chunk in range(3)], axis=0)[5:40]
    styles = model.map_latents(latents)["styles"]
    for images in (model.synthesize(latents, 9, 5), model.render(styles, 1.0, 9, 5)):
        _assert_same(to_uint8(images["images"]), expected[5:])
    of_default = model.signatures["serving_default"](latents=latents)["images"]
    np.testing.assert_array_equal(of_default, model.synthesize(latents, 0, 0)["images"])
    # Compiled by XLA, which draws other numbers, and must know all shapes, but does not know the image's place.
    compiled = tf.function(lambda latents, first: model.synthesize(latents, 9, first)["images"], jit_compile=True)
    whole = compiled(tf.pad(latents, [[5, 0], [0, 0]]), tf.constant(0))[5:]
    np.testing.assert_allclose(compiled(latents, tf.constant(5)), whole, atol=1e-5)
    # The fixed noise is that of the weights, which the network uses where it is given no other.
    fixed = _sampler(noisy, has_fixed_noise=True).images(40, seed=9)
    _assert_same(model.generate(40, 9, 1.0, 1.0, True)["images"], fixed)
    np.testing.assert_allclose(model.synthesize(latents, -1)["images"], np.clip(noisy(latents), -1, 1), atol=1e-5)
    assert np.abs(fixed.astype(int) - expected).max() > 10


def test_noise_is_normal_and_independent_of_the_latents():
    random = SequenceRandom(tf.constant(4), tf.constant(2), 1000)
    streams = (random, random.fork(1))
    layers = [stream.noise(tf.zeros([1, 4, 4, 1])).numpy().reshape(1000, 16) for stream in streams]
    other = dataclasses.replace(random, image_seed=tf.constant(5)).noise(tf.zeros([1, 4, 4, 1]))
    latents = np.concatenate([chunk_of_latents(4, chunk, 16) for chunk in range(2, 65)])[:1000]
    values = np.stack([*layers, other.numpy().reshape(1000, 16), latents]).astype(np.float64)
    np.testing.assert_allclose(values.mean(axis=(1, 2)), 0.0, atol=4 / 16_000**0.5)
    np.testing.assert_allclose(values.std(axis=(1, 2)), 1.0, atol=4 / 32_000**0.5)
    between = np.corrcoef(values.reshape(4, -1))[np.triu_indices(4, 1)]
    between = [*between, np.corrcoef(values[0, :-1].ravel(), values[0, 1:].ravel())[0, 1]]
    assert np.abs(between).max() < 4 / 15_984**0.5


def test_batches_come_in_order_and_one_at_a_time(generator):
    batches = list(_sampler(generator, batch_size=32).batches(70, seed=0))
    assert [len(batch) for batch in batches] == [32, 32, 6]
    np.testing.assert_array_equal(np.concatenate(batches), _sampler(generator).images(70, seed=0))


def test_values_that_are_not_finite_are_refused():
    def draw(latents, _):
        images = tf.zeros([tf.shape(latents)[0], 4, 4, 1])
        return tf.tensor_scatter_nd_update(images, [[5, 1, 1, 0]], [np.nan])

    with pytest.raises(UserError, match="not finite: image 5 of seed 2"):
        ImageSampler(draw, 3).images(20, seed=2)
    assert len(ImageSampler(draw, 3).images(5, seed=2)) == 5  # was not asked for


def test_replicas_draw_and_extract_what_one_device_does(tmp_path):
    """Two and three replicas, on logical devices of the processor, in processes of their own."""
    script = textwrap.dedent(
        """
        import sys
        import numpy as np, tensorflow as tf
        from vitgan_tf.evaluation.extractors import FeatureExtractor
        from vitgan_tf.evaluation.generation import ImageSampler
        from vitgan_tf.config import override
        from vitgan_tf.models.build import build_generator
        from vitgan_tf.presets import preset

        count = int(sys.argv[1])
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        devices = [f"CPU:{index}" for index in range(count)]
        strategy = tf.distribute.MirroredStrategy(devices) if count > 1 else tf.distribute.get_strategy()
        with strategy.scope():
            tf.keras.utils.set_random_seed(0)
            generator = build_generator(override(preset("tiny"), {"generator.decoder": "conv"}))
            for weight in generator.weights:
                if "noise_strength" in weight.name:
                    weight.assign(0.3)
            sampler = ImageSampler(generator, 16, batch_size=64)
            mixing = tf.Variable(np.random.RandomState(0).normal(size=(64, 9)).astype(np.float32))
            function = lambda images: (tf.reshape(images, [-1, 64]) @ mixing, tf.reshape(images, [-1, 64])[:, :3])
            extractor = FeatureExtractor("linear", function, "", "none", num_channels=1, batch_size=50)
            images = sampler.images(150, seed=4)
            features = np.concatenate([values for values, _ in extractor.activations([images[:70], images[70:]])])
        assert sampler.images_per_step == 16 * count * -(-64 // (16 * count))
        np.savez(sys.argv[2], images=images, features=features)
        """
    )
    results = []
    for count in (1, 2, 3):
        path = tmp_path / f"{count}.npz"
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run(
            [sys.executable, "-c", script, str(count), str(path)], check=True, env=environment, timeout=300
        )
        results.append(np.load(path))
    assert len(results[0]["images"]) == 150
    for other in results[1:]:
        np.testing.assert_array_equal(other["images"], results[0]["images"])
        np.testing.assert_allclose(other["features"], results[0]["features"], rtol=1e-5, atol=1e-5)


def _dump(batches, directory):
    with dump_folder(str(directory)) as written:
        return list(written(batches))


def _batch(count=1):
    return np.zeros((count, 4, 4, 1), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_dumped_files_hold_the_images(tmp_path, channels):
    images = np.random.RandomState(0).randint(0, 256, (13, 6, 6, channels)).astype(np.uint8)
    folder = tmp_path / "new" / "images"
    passed = _dump(iter(np.split(images, [5])), folder)
    np.testing.assert_array_equal(np.concatenate(passed), images)
    np.testing.assert_array_equal(reference.read_pngs(folder), images)
    assert sorted(path.name for path in folder.iterdir())[12] == "image_000012.png"
    assert [path.name for path in folder.parent.iterdir()] == ["images"]


def test_a_dump_that_is_interrupted_leaves_nothing(tmp_path):
    def batches():
        yield _batch(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _dump(batches(), tmp_path / "images")
    with pytest.raises(ZeroDivisionError), dump_folder(str(tmp_path / "images")) as written:
        list(written([_batch()]))
        raise ZeroDivisionError  # in what comes after the images
    assert list(tmp_path.iterdir()) == []


def test_a_dump_goes_into_a_folder_of_its_own_and_harms_no_other(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").write_text("keep")
    (tmp_path / "images.partial").mkdir()
    (tmp_path / "images.partial" / "photo.png").write_text("keep")
    (tmp_path / "file").write_text("keep")
    (tmp_path / "empty").mkdir()
    os.symlink(tmp_path / "empty", tmp_path / "link")
    os.symlink(tmp_path / "nothing", tmp_path / "dangling")
    for name in ("mine", "file", "link", "dangling"):
        with pytest.raises(UserError, match="not an empty folder"):
            _dump([_batch()], tmp_path / name)
    with pytest.raises(UserError, match="not an empty folder"):
        _dump([_batch()], "")
    with pytest.raises(UserError, match="cannot write the images"), dump_folder(str(tmp_path / "file" / "below")):
        raise AssertionError("is said before anything is drawn")
    _dump([_batch()], tmp_path / "images")
    _dump([_batch()], f"{tmp_path / 'empty'}{os.sep}")
    for name in ("mine/photo.png", "images.partial/photo.png", "file"):
        assert (tmp_path / name).read_text() == "keep"
    assert len(list((tmp_path / "empty").iterdir())) == len(list((tmp_path / "images").iterdir())) == 1


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def fail(path, mode):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(generation, "open", fail, raising=False)
    with pytest.raises(UserError, match=r"cannot write the images to .*: No space left"):
        _dump([_batch()], tmp_path / "images")
    assert list(tmp_path.iterdir()) == []


def test_larger_generators_do_not_depend_on_the_batch_size_either():
    config = override(preset("cifar10"), {"generator.num_blocks": 1})
    generator = build_generator(config)
    expected = _sampler(generator, batch_size=64).images(64, seed=0)
    np.testing.assert_array_equal(_sampler(generator, batch_size=16).images(64, seed=0), expected)
    # The first sixteen, drawn by hand, operation by operation: a grey level may fall to the other side.
    by_hand = to_uint8(generator(tf.random.stateless_normal([16, 384], [0, 0]))).numpy()
    assert np.abs(by_hand.astype(int) - expected[:16]).max() <= 1
