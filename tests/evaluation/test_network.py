"""Any network as extractor: its input, its output, its name and its hash, by NumPy and Pillow; what is refused."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support import tiny_network

from vitgan_tf.config import ConfigError, DataConfig, DataLocation, EvalConfig
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation import hub
from vitgan_tf.evaluation.build import load_extractor
from vitgan_tf.evaluation.hub import ExtractorNotFoundError
from vitgan_tf.evaluation.network_files import short_name

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
keras = tf.keras


def _images(size, channels=3, count=7):
    return np.random.RandomState(size).randint(0, 256, (count, size, size, channels)).astype(np.uint8)


def _load(path, data=None, location=None, **fields):
    data = data or DataConfig("folder", 12, 3)
    settings = EvalConfig(network=str(path), **fields)
    return load_extractor("network", data, location or DataLocation(), settings=settings)


def _features(extractor, images):
    features, logits = zip(*extractor.activations([images]))
    assert {values.shape[1] for values in logits} == {0}
    return np.concatenate(features)


def _resized(images, size):
    """Levels 0 to 255, by Pillow."""
    planes = np.moveaxis(images, -1, 1).reshape(-1, *images.shape[1:3]).astype(np.float32)
    resized = [Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC) for plane in planes]
    return np.moveaxis(np.reshape(resized, [len(images), -1, size, size]), 1, -1).clip(0, 255).astype(np.float64)


def _linear(inputs, seed=0):
    flat = inputs.reshape(len(inputs), -1)
    return flat @ tiny_network.weights(flat.shape[1], seed)


@pytest.mark.parametrize("signature_only", [False, True])
def test_a_saved_model_is_given_images_of_its_size(tmp_path, signature_only):
    path = tiny_network.write(tmp_path / "DINO v2-s", 8, signature_only)
    extractor = _load(path)
    images = _images(12)
    np.testing.assert_allclose(_features(extractor, images), _linear(_resized(images, 8) / 127.5 - 1), atol=1e-4)
    assert extractor.protocol_entries() == {
        "extractor": "dino_v2_s",
        "extractor_sha256": extractor.sha256,
        "is_published_extractor": False,
        "resize": "bicubic to 8 x 8 with antialiasing, as Pillow, clipped to the range of pixels, as clean-fid",
        "other_resize": "",
        "extractor_input": "8 x 8 x 3, values from -1 to 1",
        "extractor_output": "embedding" if signature_only else "the only output",
        "extractor_accuracy": None,
    }


@pytest.mark.parametrize(
    "fields, values, words",
    [
        ({"network_range": (0, 1)}, lambda x: x / 255, "values from 0 to 1"),
        ({"network_range": (255, 0)}, lambda x: 255 - x, "values from 255 to 0"),
        (
            {"network_mean": MEAN, "network_std": STD},
            lambda x: (x / 255 - MEAN) / STD,
            "values from 0 to 1 less the mean 0.485,0.456,0.406 and divided by 0.229,0.224,0.225",
        ),
        (
            {"network_mean": (0.5,), "network_std": (0.25,)},
            lambda x: (x / 255 - 0.5) / 0.25,
            "values from 0 to 1 less the mean 0.5 and divided by 0.25",
        ),
    ],
)
def test_values_of_pixels(tmp_path, fields, values, words):
    extractor = _load(tiny_network.write(tmp_path / "tiny", 8), **fields)
    images = _images(12)
    expected = _linear(values(_resized(images, 8)))
    np.testing.assert_allclose(_features(extractor, images), expected, rtol=1e-5, atol=1e-4 * np.abs(expected).max())
    assert extractor.input_words == f"8 x 8 x 3, {words}"


def _of_any_size(path, outputs, channels=3):
    module = tf.Module()
    spec = tf.TensorSpec([None, None, None, channels])
    module.__call__ = tf.function(outputs, input_signature=[spec])
    tf.saved_model.save(module, str(path))
    return str(path)


@pytest.mark.parametrize(
    "fields, size, words",
    [({}, 12, "bicubic to 12"), ({"network_size": 20}, 20, "bicubic to 20"), ({"resize": "none"}, 12, "none")],
)
def test_sizes_of_a_network_that_takes_any(tmp_path, fields, size, words):
    """Its features are values of corners, which depend on the size."""
    path = _of_any_size(tmp_path / "tiny", lambda x: tf.stack([x[:, -1, 0, 0], x[:, -1, -1, 1]], axis=1))
    extractor = _load(path, **fields)
    images = _images(12)
    levels = _resized(images, size) / 127.5 - 1
    expected = np.stack([levels[:, -1, 0, 0], levels[:, -1, -1, 1]], axis=1)
    np.testing.assert_allclose(_features(extractor, images), expected, atol=1e-5)
    assert extractor.resize.startswith(words) and extractor.input_words.startswith(f"{size} x {size} x 3")


def test_other_resizing(tmp_path):
    extractor = _load(tiny_network.write(tmp_path / "tiny", 8), resize="bilinear")
    images = _images(12)
    levels = tf.image.resize(images.astype(np.float32), [8, 8]).numpy()
    np.testing.assert_allclose(_features(extractor, images), _linear(levels / 127.5 - 1), atol=1e-4)
    assert extractor.resize == "bilinear to 8 x 8, centres of pixels aligned"


def test_maps_are_averaged_over_space_and_tokens_on_demand(tmp_path):
    path = _of_any_size(
        tmp_path / "tiny",
        lambda x: {"map": x * 2, "tokens": tf.reshape(x, [-1, 144, 3]), "flat": x[:, 0, 0], "codes": x[:, 1, 1] > 0},
    )
    images = _images(12)
    x = images / 127.5 - 1
    mean = x.mean(axis=(1, 2))
    for fields, expected, words in (
        ({"network_output": "map"}, mean * 2, "map, mean over space"),
        ({"network_output": "tokens", "network_tokens": "mean"}, mean, "tokens, mean over tokens"),
        ({"network_output": "tokens", "network_tokens": "class_token"}, x[:, 0, 0], "tokens, class token"),
        ({"network_output": "flat"}, x[:, 0, 0], "flat"),
    ):
        extractor = _load(path, **fields)
        np.testing.assert_allclose(_features(extractor, images), expected, atol=1e-5)
        assert extractor.output_words == words
    for fields, words in (
        ({"network_output": "tokens"}, r"is tokens \(batch, 144, 3\): set --network_tokens=class_token or"),
        ({"network_output": "codes"}, "the output 'codes' of .* is not numeric: bool"),
        (
            {"network_output": "flatt"},
            r"no output 'flatt'; did you mean 'flat'\? \(outputs: flat, map, codes, tokens",
        ),
        ({}, r"has several outputs: choose one by --network_output \(outputs: flat, map, codes, tokens\)"),
    ):
        with pytest.raises(UserError, match=words):
            _load(path, **fields)


def test_among_several_outputs_the_usual_name_is_chosen(tmp_path):
    path = _of_any_size(tmp_path / "a", lambda x: {"pooler_output": x[:, 0, 0], "hidden": (x, x * 2)})
    images = _images(12)
    x = images / 127.5 - 1
    np.testing.assert_allclose(_features(_load(path), images), x[:, 0, 0], atol=1e-5)
    extractor = _load(path, network_output="hidden/1")
    np.testing.assert_allclose(_features(extractor, images), 2 * x.mean(axis=(1, 2)), atol=1e-5)
    path = _of_any_size(tmp_path / "b", lambda x: {"pooler_output": x[:, 0, 0], "features": x[:, 1, 1]})
    with pytest.raises(UserError, match=r"several outputs: .*\(outputs: features, pooler_output\)"):
        _load(path)


def _keras_model(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input([8, 8, 3])
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv", bias_initializer="normal")(inputs)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))


def _by_numpy(model, images):
    """Map of the convolution, and the outputs of _keras_model without dropout."""
    x = _resized(images, 8) / 127.5 - 1
    kernel, bias, matrix, offset = (weights.astype(np.float64) for weights in model.get_weights())
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))  # (batch, 6, 6, 3, rows, columns)
    maps = np.maximum(np.einsum("byxcij,ijco->byxo", windows, kernel) + bias, 0)
    return maps.mean(axis=(1, 2)), maps.mean(axis=(1, 2)) @ matrix + offset


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
@pytest.mark.parametrize("kind", [".h5", ".keras", "folder"])
def test_a_keras_model_gives_a_layer(tmp_path, kind):
    model, images = _keras_model(), _images(12)
    path = tmp_path / f"My-Net.1{kind}"
    model.save(path, save_format="tf" if kind == "folder" else None)
    pooled, outputs = _by_numpy(model, images)
    extractor = _load(path)
    np.testing.assert_allclose(_features(extractor, images), outputs, atol=1e-5)
    assert extractor.name == ("my_net_1folder" if kind == "folder" else "my_net_1")
    if kind != "folder":
        assert extractor.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        for layer, words in (("pool", "pool"), ("conv", "conv, mean over space")):
            extractor = _load(path, network_output=layer)
            np.testing.assert_allclose(_features(extractor, images), pooled, atol=1e-5)
            assert extractor.output_words == words
        with pytest.raises(UserError, match=r"no layer 'pol'; did you mean 'pool'\? \(the last ones: .*pool, drop"):
            _load(path, network_output="pol")


def test_a_saved_keras_model_of_several_outputs_has_their_names(tmp_path):
    """Its call returns a list, its signature names the same outputs."""
    whole = _keras_model()
    model = keras.Model(whole.input, [whole.get_layer("pool").output, whole.output])
    model.export(str(tmp_path / "export"))
    tf.saved_model.save(model, str(tmp_path / "saved"))
    images = _images(12)
    pooled, _ = _by_numpy(whole, images)
    for path, name in ((tmp_path / "saved", "pool"), (tmp_path / "export", "output_0")):
        np.testing.assert_allclose(_features(_load(path, network_output=name), images), pooled, atol=1e-5)


def test_grey_images_become_three_channels_and_a_grey_network_takes_no_others(tmp_path):
    images = _images(12, channels=1)
    grey = DataConfig("folder", 12, 1)
    expected = np.repeat(_resized(images, 8), 3, axis=-1)
    extractor = _load(tiny_network.write(tmp_path / "a", 8), grey, network_mean=MEAN, network_std=STD)
    np.testing.assert_allclose(_features(extractor, images), _linear((expected / 255 - MEAN) / STD), atol=1e-3)
    one = tiny_network.write(tmp_path / "b", 8, channels=1)
    expected = _linear(_resized(images, 8) / 255 - 0.5)
    extractor = _load(one, grey, network_mean=(0.5,), network_std=(1.0,))
    np.testing.assert_allclose(_features(extractor, images), expected, atol=1e-4)
    with pytest.raises(UserError, match="takes images of one channel, and those of folder have 3"):
        _load(one)
    with pytest.raises(UserError, match="takes images of one channel: set a single number for --network_mean"):
        _load(one, grey, network_mean=MEAN, network_std=STD)


def test_the_hash_is_of_graph_weights_and_assets(tmp_path):
    first, other = (_load(tiny_network.write(tmp_path / str(seed), 8, seed=seed)).sha256 for seed in (0, 1))
    shutil.copytree(tmp_path / "0", tmp_path / "copy")
    shutil.copytree(tmp_path / "1" / "variables", tmp_path / "copy" / "variables", dirs_exist_ok=True)
    assert len({first, other, _load(tmp_path / "copy").sha256}) == 3
    shutil.copytree(tmp_path / "0", tmp_path / "copy", dirs_exist_ok=True)
    (tmp_path / "copy" / "README.md").write_text("not of the network")
    assert _load(tmp_path / "copy").sha256 == first
    (tmp_path / "copy" / "assets" / "words").mkdir(parents=True)
    assert _load(tmp_path / "copy").sha256 == first
    (tmp_path / "copy" / "assets" / "words" / "list.txt").write_text("of the network")
    assert _load(tmp_path / "copy").sha256 != first


@pytest.mark.parametrize(
    "address, name",
    [("https://tfhub.dev/a/tiny-b/3", "tiny_b"), ("https://www.kaggle.com/models/a/b/versions/2", "b")],
)
def test_a_hub_module_is_read_from_the_cache(tmp_path, monkeypatch, address, name):
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
    images = _images(12)
    folder = tmp_path / "tfhub_modules" / hashlib.sha1(address.encode()).hexdigest()
    location = DataLocation(cache_dir=str(tmp_path))
    with pytest.raises(ExtractorNotFoundError) as error:
        _load(address, location=location)
    assert str(error.value) == (
        f"the network {address!r} is not on this machine (--download would fetch it): fetch "
        f"{address}?tf-hub-format=compressed, unpack it into {str(folder)!r}, or into any folder and pass "
        "--network=FOLDER"
    )
    monkeypatch.setattr(hub, "unreachable", lambda url: f"no route to {url}")
    with pytest.raises(ExtractorNotFoundError, match=rf"\(no route to {address}\)"):
        _load(address, location=DataLocation(cache_dir=str(tmp_path), download=True))
    tiny_network.write(folder, 8)
    extractor = _load(address, location=location)
    np.testing.assert_allclose(_features(extractor, images), _linear(_resized(images, 8) / 127.5 - 1), atol=1e-4)
    assert extractor.name == name


@pytest.mark.slow
def test_replicas_extract_what_one_device_does(tmp_path):
    """Two replicas, on logical devices of the processor, in a process of their own."""
    paths = [tiny_network.write(tmp_path / "tiny", 8), str(tmp_path / "net.keras")]
    _keras_model().save(paths[1])
    images = _images(12, count=45)
    np.save(tmp_path / "images.npy", images)
    script = textwrap.dedent(
        """
        import sys
        import numpy as np, tensorflow as tf
        from vitgan_tf.config import DataConfig, DataLocation, EvalConfig
        from vitgan_tf.evaluation.build import load_extractor

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        images, results = np.load(sys.argv[1] + "/images.npy"), []
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            for path in sys.argv[2:]:
                settings = EvalConfig(network=path)
                extractor = load_extractor("auto", DataConfig("folder", 12, 3), DataLocation(), settings=settings)
                results.append(list(extractor.activations([images])))
        assert all(logits.shape == (len(features), 0) for result in results for features, logits in result)
        np.savez(sys.argv[1] + "/out.npz", *[np.concatenate([features for features, _ in r]) for r in results])
        """
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path), *paths], check=True, env=environment, timeout=300)
    with np.load(tmp_path / "out.npz") as results:
        for path, name in zip(paths, results.files):
            np.testing.assert_allclose(results[name], _features(_load(path), images), atol=1e-5)


@pytest.mark.parametrize(
    "path, name",
    [
        ("nets/DINOv2", "dinov2"),
        ("nets/DINOv2/", "dinov2"),
        ("clip.vit-b_32.KERAS", "clip_vit_b_32"),
        ("☃", "network"),
        ("x" * 200, "x" * 40),
        ("https://tfhub.dev/google/efficientnet/b0/feature-vector/1", "feature_vector"),
        ("https://tfhub.dev/google/b0/1?tf-hub-format=compressed", "b0"),
        ("https://tfhub.dev", "network"),
    ],
)
def test_the_short_name(path, name):
    assert short_name(path) == name


def test_the_name_of_another_extractor_is_not_taken(tmp_path):
    """Its scores and its statistics would pass for theirs."""
    assert _load(tiny_network.write(tmp_path / "digits", 8)).name == "digits_network"
    assert _load(tiny_network.write(tmp_path / "network", 8)).name == "network"


def test_auto_means_the_network_where_one_is_set(tmp_path):
    settings = EvalConfig(network=tiny_network.write(tmp_path / "tiny", 8))
    for dataset in ("digits", "cifar10"):
        assert load_extractor("auto", DataConfig(dataset, 12, 3), DataLocation(), settings=settings).name == "tiny"
    with pytest.raises(UserError, match="--extractor=network needs a network: set --network=PATH"):
        load_extractor("network", DataConfig("cifar10", 12, 3), DataLocation())


def _bad(kind, path):
    """A network that is refused, fields, and words of the line."""
    if kind == "missing":
        return path / "none", {}, "there is no network '.*none'"
    if kind == "empty folder":
        return path, {}, r"is not a SavedModel: saved_model\.pb is missing"
    if kind == "other file":
        (path / "net.onnx").write_bytes(b"x")
        return path / "net.onnx", {}, r"neither the folder of a SavedModel nor a Keras file, \.keras"
    if kind == "damaged graph":
        (path / "saved_model.pb").write_bytes(b"\x00garbage")
        return path, {}, "cannot load the SavedModel"
    if kind == "damaged keras":
        (path / "net.keras").write_bytes(b"garbage")
        return path / "net.keras", {}, r"cannot load the Keras model '.*net\.keras': "
    if kind == "weights only":
        _keras_model().save_weights(path / "net.h5")
        return path / "net.h5", {}, "cannot load the Keras model '.*': No model config found"
    if kind == "keras 3":
        with zipfile.ZipFile(path / "net.keras", "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.4.1"}))
            archive.writestr("config.json", json.dumps({"module": "keras.src", "class_name": "Functional"}))
        return path / "net.keras", {}, r"Keras 3\.4\.1 saved it, and this is Keras 2: export it as SavedModel: "
    if kind == "no signature":
        tf.saved_model.save(tf.Module(), str(path))
        return path, {}, r"is not callable, and has no signature serving_default \(its signatures: none\)"
    if kind == "other signature":
        module = tiny_network.Tiny(8, outputs=lambda features, images: {"x": features})
        tf.saved_model.save(module, str(path), signatures={"judge": module.judge})
        return path, {}, r"\(its signatures: judge\)"
    inputs = {
        "channels first": ([None, 3, 8, 8], "float32"),
        "not square": ([None, 8, 9, 3], "float32"),
        "fixed batch": ([32, 8, 8, 3], "float32"),
        "bytes": ([None, 8, 8, 3], "uint8"),
    }
    if kind in inputs:
        shape, dtype = inputs[kind]
        module = tf.Module()
        module.__call__ = tf.function(lambda x: x[:, 0, 0], input_signature=[tf.TensorSpec(shape, dtype)])
        tf.saved_model.save(module, str(path))
        words = re.escape(f"takes {dtype} ({', '.join(map(str, shape))}), not a batch of any number of square float")
        return path, {}, words
    if kind == "four channels":
        return tiny_network.write(path, 8, channels=4), {}, r"takes float32 \(None, 8, 8, 4\), not .* 1 or 3 channels"
    if kind == "several inputs":
        model = keras.Model(inputs := [keras.Input([8, 8, 3]), keras.Input([8, 8, 3])], keras.layers.add(inputs))
        model.save(path / "net.keras")
        return path / "net.keras", {}, r"takes float32 \(None, 8, 8, 3\), float32 \(None, 8, 8, 3\), not"
    if kind == "other size":
        return tiny_network.write(path, 8), {"network_size": 9}, "takes images of 8 x 8 only, not 9 x 9: set --netw"
    if kind == "no resizing":
        return tiny_network.write(path, 8), {"resize": "none"}, "takes images of 8 x 8 only, not 12 x 12: set --netw"
    if kind == "refused size":
        network = _of_any_size(path, lambda x: tf.reshape(x, [-1, 7, 7, 3])[: tf.shape(x)[0]])
        return (
            network,
            {"network_size": 8},
            "refuses images of 8 x 8 x 3: Dimension size must be .*another size: --network_size",
        )
    if kind == "refused at run time":

        def corner(images):
            with tf.control_dependencies([tf.debugging.assert_greater(tf.reduce_max(images), 5.0)]):
                return images[:, 0, 0] + 0.0

        return _of_any_size(path, corner), {}, "refuses images of 12 x 12 x 3: assertion failed: "
    if kind == "text":
        return _of_any_size(path, lambda x: tf.as_string(x[:, 0, 0])), {}, "the output of .* is not numeric: string"
    if kind == "one vector for all":
        return _of_any_size(path, lambda x: x[:1, 0, 0]), {}, r"the output of .* has the shape \(1, 3\) for 2 images"
    return _of_any_size(path, lambda x: x[:, 0, 0, 0]), {}, r"has the shape \(2,\) for 2 images"


KINDS = """missing, empty folder, other file, damaged graph, damaged keras, weights only, keras 3, no signature,
    other signature, channels first, not square, fixed batch, bytes, four channels, several inputs, other size,
    no resizing, refused size, refused at run time, text, one vector for all, one number"""


@pytest.mark.parametrize("kind", [" ".join(kind.split()) for kind in KINDS.split(",")])
def test_a_bad_network_ends_in_one_line(tmp_path, kind):
    path, fields, words = _bad(kind, tmp_path)
    with pytest.raises(UserError, match=words) as error:
        _load(path, **fields)
    assert len(str(error.value).splitlines()) == 1 and str(path) in str(error.value)


def test_features_that_are_not_numbers_are_refused(tmp_path):
    path = _of_any_size(tmp_path / "broken", lambda x: tf.math.log(x[:, 0, 0] - 2))
    with pytest.raises(UserError, match="the activations of broken are not finite"):
        _features(_load(path), _images(12))


@pytest.mark.parametrize(
    "fields, message",
    [
        (
            {"resize": "cleen"},
            "eval.resize must be one of tf1, bilinear, clean, none, got 'cleen'; did you mean 'clean'",
        ),
        ({"network_tokens": "first"}, "eval.network_tokens must be one of class_token, mean, got 'first'"),
        ({"network_size": -1}, "eval.network_size must be at least 0, got -1"),
        ({"network_range": (1.0,)}, "eval.network_range must be two different numbers, got 1.0"),
        ({"network_range": (1, 1)}, "eval.network_range must be two different numbers, got 1.0, 1.0"),
        ({"network_mean": MEAN}, "eval.network_mean and eval.network_std must have one number each, .*, got 3 and 0"),
        ({"network_mean": (0, 0), "network_std": (1, 1)}, "for each of 3 channels, got 2 and 2"),
        ({"network_mean": (0,), "network_std": (0,)}, "eval.network_std must be above 0.0, got 0.0"),
        (
            {"network_mean": MEAN, "network_std": STD, "network_range": (0, 1)},
            "eval.network_mean and eval.network_range exclude each other",
        ),
        ({"network_size": 8, "resize": "none"}, "eval.network_size must be 0 with eval.resize=none, got 8"),
    ],
)
def test_fields_are_checked_before_anything_is_loaded(fields, message):
    with pytest.raises(ConfigError, match=message):
        EvalConfig(**fields)


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny_network.write(tmp_path / "tiny", 8)
    assert _load(os.path.join("~", "tiny")).name == "tiny"
