"""tools/evaluate.py on runs and SavedModels, offline, with a stand-in for Inception; scores during training."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import reference.scores as reference
import tensorflow as tf
from support import classifier, commands, official, small, stand_in, tiny_network
from support.events import events

from vitgan_tf.evaluation.scores import kernel_blocks

pytestmark = pytest.mark.slow

EVALUATE, TRAIN = "tools/evaluate.py", "experiments/run.py"
# Networks of a few thousand weights, for four steps with an evaluation at 0, 2 and 4.
SMALL = [
    *("--batch_size=8", "--total_kimg=0.032", "--mapping_layers=2", "--generator.latent_dim=16"),
    *(f"--{net}.{field}" for net in ("generator", "discriminator") for field in ("embed_dim=24", "mlp_dim=32")),
    *(f"--{net}.num_blocks=1" for net in ("generator", "discriminator")),
    *("--diagnostics_every_kimg=0", "--xla=off"),
    *("--eval_every_kimg=0.016", "--checkpoint_every_kimg=0.008", "--eval_samples=24", "--eval_real_images=30"),
]
NUM_REAL, NUM_GENERATED = 50, 44


def _succeeds(*arguments):
    """The table, the result line, and the log of an evaluation."""
    result = commands.run(EVALUATE, *arguments)
    assert result.returncode == 0, result.stderr
    *table, line = result.stdout.splitlines()
    return "\n".join(table), json.loads(line), result.stderr


def _metrics(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A small CIFAR-10, a stand-in of few features, which is quick, and a run with scores during training."""
    path = tmp_path_factory.mktemp("setting")
    training, _ = official.write_cifar10(path / "data" / "raw" / "cifar10", training=NUM_REAL)
    assert commands.run("tools/prepare_data.py", "--dataset=cifar10", f"--data_dir={path / 'data'}").returncode == 0
    inception = stand_in.write(path / "inception", values=stand_in.weights(96))
    place = [f"--data_dir={path / 'data'}", f"--inception={inception}", f"--cache_dir={path / 'cache'}"]
    result = commands.run(TRAIN, "--dataset=cifar10", *SMALL, *place, f"--model_dir={path / 'run'}")
    assert result.returncode == 0, result.stderr
    shutil.copytree(path / "run" / "saved_model", path / "elsewhere" / "model")
    return path, place, training, result.stderr


def _activations(images_uint8):
    resized = reference.resize_bilinear_tf1(reference.to_unit_range(images_uint8), 299)
    return reference.stand_in_inception(resized, stand_in.weights())


def _expected(real_images, generated):
    """All scores, by NumPy and SciPy in float64."""
    (real, _), (features, logits) = _activations(real_images), _activations(generated)
    real_order, order = reference.scrambled_order(real, seed=1), reference.scrambled_order(features, seed=0)
    blocks = kernel_blocks(len(real), len(features))
    inception_score = reference.inception_score(logits, order)
    kernel = reference.kernel_distance(real[real_order], features[order], blocks)
    precision, recall = reference.precision_and_recall(real, features)
    density, coverage = reference.density_and_coverage(real, features)
    count = len(features)
    return {
        f"fid{count}_full": reference.frechet_distance_low_rank(real, features),
        f"is{count}": inception_score[0],
        f"is{count}_std": inception_score[1],
        f"kid{count}_full": kernel[0],
        f"kid{count}_full_std": kernel[1],
        f"precision{count}_full": precision,
        f"recall{count}_full": recall,
        f"density{count}_full": density,
        f"coverage{count}_full": coverage,
        f"authenticity{count}_full": reference.authenticity(real, features),
    }


def _assert_scores(result, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_run_and_its_saved_models_score_as_numpy_and_scipy_score_their_files(setting, tmp_path):
    """The figure of the run, of the SavedModel in it and elsewhere, and that of the dumped PNG files are one.

    With 2,048 features and 1,008 logits, as Inception has them.
    """
    path, place, training, _ = setting
    place = [*place, f"--inception={stand_in.write(tmp_path / 'inception')}"]
    before = len(_metrics(path / "run" / "metrics.jsonl"))
    count = [f"--num_generated={NUM_GENERATED}", "--seed=3"]
    results = []
    for index, model in enumerate(("run", "run/saved_model", "elsewhere/model")):
        arguments = [f"--model={path / model}", f"--dump_images={tmp_path / str(index)}", *place, *count]
        if model == "elsewhere/model":
            arguments += ["--dataset=cifar10", f"--output={tmp_path / 'results' / 'all.jsonl'}", "--batch_size=16"]
        table, result, _ = _succeeds(*arguments)
        results.append(result)
        for name in ("fid44_full", "kid44_full_std"):
            assert f"{name}  " in table and f"{result[name]:.6g}" in table
        assert "Not comparable with published FIDs: 44 images are fewer than the 2048 dimensions" in table
    files = [reference.read_pngs(tmp_path / str(index)) for index in range(3)]
    assert files[0].shape == (NUM_GENERATED, 32, 32, 3)
    assert len(np.unique(files[0].reshape(NUM_GENERATED, -1), axis=0)) == NUM_GENERATED
    for other in files[1:]:
        np.testing.assert_array_equal(other, files[0])
    expected = _expected(training, files[0])
    for result in results:
        _assert_scores(result, expected)
    np.testing.assert_allclose(results[0]["fid44_full"], expected["fid44_full"], rtol=1e-4)
    # What the lines say of the generator, and where they are.
    assert [result["step"] for result in results] == [4, 4, 4]
    assert [result["kimg"] for result in results] == [0.032, 0.032, None]
    assert _metrics(path / "run" / "metrics.jsonl")[before:] == results[:2]
    assert _metrics(tmp_path / "results" / "all.jsonl") == results[2:]
    for result in results:
        assert result["source"] == "evaluate" and result["weights"] == "ema"
        assert (result["dataset"], result["split"], result["image_size"]) == ("cifar10", "training", 32)
        assert (result["num_real"], result["num_generated"], result["seed"]) == (NUM_REAL, NUM_GENERATED, 3)
        assert result["extractor"] == "tfgan_inception" and len(result["extractor_sha256"]) == 64
        assert "299 x 299" in result["resize"]


def test_statistics_of_real_images_are_kept_and_a_damaged_file_is_replaced(setting, tmp_path):
    path, place, _, _ = setting
    arguments = [f"--model={path / 'run'}", "--num_generated=12", *place, f"--output={tmp_path / 'out.jsonl'}"]
    arguments.append(f"--cache_dir={tmp_path / 'cache'}")
    _, first, log = _succeeds(*arguments)
    assert "computing tfgan_inception features of 50 real images" in log
    (cache,) = (tmp_path / "cache" / "statistics").glob("*.npz")
    content = cache.read_bytes()
    _, second, log = _succeeds(*arguments)
    assert "computing" not in log and f"statistics of the real images: {cache}" in log
    assert second == first and cache.read_bytes() == content
    cache.write_bytes(content[:1000])
    _, third, log = _succeeds(*arguments)
    warnings = [line for line in log.splitlines() if line.startswith("W")]
    assert len(warnings) == 1 and f"cannot use {cache}" in warnings[0]
    assert third == first and np.load(cache)["features"].shape == (NUM_REAL, 96)
    # Other real images: another file, and another figure.
    _, other, log = _succeeds(*arguments, "--split=evaluation")
    assert "computing tfgan_inception features of 10 real images" in log
    assert len(list((tmp_path / "cache" / "statistics").glob("*.npz"))) == 2
    assert other["num_real"] == 10 and "not the training images" in other["not_comparable_with_published"][-1]
    assert other["fid12_full"] != first["fid12_full"]


def test_scores_during_training_are_labelled_and_the_best_state_is_kept(setting, tmp_path):
    path, place, _, log = setting
    lines = [line for line in _metrics(path / "run" / "metrics.jsonl") if line["source"] == "training"]
    assert [line["step"] for line in lines] == [0, 2, 4]
    for line in lines:
        assert (line["num_generated"], line["num_real"], line["num_split"]) == (24, 30, NUM_REAL)
        assert {"fid24", "is24", "kid24", "kid24_std", "precision24", "recall24"} <= set(line)  # and not "full"
        assert "30 real images, not all 50" in line["not_comparable_with_published"]
    assert f"step 4: fid24 {lines[-1]['fid24']:.4g}" in log
    written = {step: float(value) for step, tag, value in events(path / "run") if tag == "fid24"}
    assert written == {line["step"]: pytest.approx(line["fid24"]) for line in lines}
    best = min(lines, key=lambda line: line["fid24"])
    record = json.loads((path / "run" / "best_checkpoint" / "best.json").read_text())
    assert (record["step"], record["distance"]) == (best["step"], best["fid24"])
    # What the evaluation of the best checkpoint says of the same images.
    arguments = [f"--model={path / 'run'}", "--checkpoint=best", f"--output={tmp_path / 'out.jsonl'}", *place]
    _, result, _ = _succeeds(*arguments, "--num_generated=24", "--num_real=30")
    assert result["step"] == best["step"]
    np.testing.assert_allclose(result["fid24"], best["fid24"], rtol=1e-6)


def test_raw_weights_and_other_checkpoints(setting, tmp_path):
    path, place, _, _ = setting
    arguments = [f"--model={path / 'run'}", "--num_generated=12", f"--output={tmp_path / 'out.jsonl'}", *place]
    results = [_succeeds(*arguments, *more)[1] for more in ([], ["--weights=raw"], ["--checkpoint=3"])]
    assert [(result["step"], result["weights"]) for result in results] == [(4, "ema"), (4, "raw"), (3, "ema")]
    assert len({result["fid12_full"] for result in results}) == 3


def test_any_network_judges_and_inception_is_given_clean_images(setting, tmp_path):
    path, place, training, _ = setting
    common = [f"--model={path / 'run'}", "--num_generated=12", *place, f"--output={tmp_path / 'out.jsonl'}"]
    network = f"--network={tiny_network.write(tmp_path / 'Tiny', 32)}"
    arguments = ["--network_range=0,1", f"--dump_images={tmp_path / 'images'}"]
    table, result, _ = _succeeds(*common, network, *arguments)
    real, generated = (
        images.reshape(len(images), -1) / 255 @ tiny_network.weights(32 * 32 * 3)
        for images in (training, reference.read_pngs(tmp_path / "images"))
    )
    expected = reference.frechet_distance_low_rank(real, generated)
    np.testing.assert_allclose(result["tiny_fd"], expected, rtol=1e-4)
    assert {"tiny_kd", "tiny_precision"} <= set(result) and not {"tiny_is", "tiny_is_std"} & set(result)
    assert result["extractor"] == "tiny" and result["extractor_input"] == "32 x 32 x 3, values from 0 to 1"
    assert "tiny is not the network of published FIDs" in table
    # Values are part of the key of the statistics.
    _, other, log = _succeeds(*common, network, "--network_range=0,2")
    assert "computing tiny features of 50 real images" in log
    np.testing.assert_allclose(other["tiny_fd"], 4 * expected, rtol=1e-4)
    table, result, _ = _succeeds(*common, "--resize=clean")
    assert {"clean_fid12_full", "clean_kid12_full", "clean_is12"} <= set(result) and "fid12_full" not in result
    assert "comparable with figures of clean-fid only" in table
    line = commands.error_line(EVALUATE, *common, "--extractor=network")
    assert line.endswith("--extractor=network needs a network: set --network=PATH")


def test_several_seeds_and_truncations_are_summed_up(setting, tmp_path):
    path, place, _, _ = setting
    output = tmp_path / "out.jsonl"
    common = [f"--model={path / 'run'}", "--num_generated=12", *place, f"--output={output}"]
    _, plain, _ = _succeeds(*common, "--seed=1")
    table, result, _ = _succeeds(*common, "--seed=0,1", "--truncation=0.5,1")
    lines = _metrics(output)[1:]
    assert lines == result["results"]
    assert [(line["truncation"], line["seed"]) for line in lines] == [(0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1)]
    assert lines[3] == plain
    assert "styles truncated by 0.5" in lines[0]["not_comparable_with_published"]
    for entry, chosen in zip(result["summary"], (lines[:2], lines[2:])):
        values = [line["fid12_full"] for line in chosen]
        np.testing.assert_allclose(entry["scores"]["fid12_full"], [np.mean(values), np.std(values, ddof=1)])
    assert "| truncation | seeds | fid12_full |" in table and "| 0.5 | 0, 1 | " in table
    assert (tmp_path / "truncation.png").read_bytes().startswith(b"\x89PNG")
    line = commands.error_line(EVALUATE, *common, "--seed=0,1", f"--dump_images={tmp_path / 'images'}")
    assert "--dump_images takes one seed and one truncation" in line


def test_path_lengths_of_a_run_and_of_its_saved_model_agree(setting, tmp_path):
    path, place, _, _ = setting
    common = ["--num_generated=12", "--path_length=20", *place, f"--output={tmp_path / 'out.jsonl'}"]
    lengths = [
        _succeeds(f"--model={path / model}", *common)[1]["tfgan_inception_ppl"]
        for model in ("run", "run/saved_model")
    ]
    assert lengths[0] > 0 and lengths[1] == pytest.approx(lengths[0], rel=0.05)


def test_truncated_images_are_those_that_the_saved_model_generates(setting, tmp_path):
    path, place, _, _ = setting
    for index, model in enumerate(("run", "elsewhere/model")):
        arguments = [f"--model={path / model}", "--truncation=0.4", f"--dump_images={tmp_path / str(index)}", *place]
        more = ["--dataset=cifar10"] if index else []
        _succeeds(*arguments, *more, "--num_generated=20", f"--output={tmp_path / 'out.jsonl'}")
    model = tf.saved_model.load(str(path / "elsewhere" / "model"))
    expected = model.generate(20, 0, 0.4)["images"].numpy()
    for index in range(2):
        images = reference.read_pngs(tmp_path / str(index)).astype(int)
        # The last digit of float32 may round a pixel the other way.
        assert np.abs(images - expected).max() <= 1 and np.mean(images != expected) < 1e-3
    assert np.abs(model.generate(20, 0)["images"].numpy().astype(int) - expected).mean() > 1


def test_scores_of_the_digits_need_nothing_else(tmp_path):
    tiny = ["--dataset=tiny", "--total_kimg=0.016", *small.FLAGS, "--diagnostics_every_kimg=0"]
    tiny.append(f"--model_dir={classifier.give(tmp_path / 'run')}")
    assert commands.run(TRAIN, *tiny).returncode == 0
    table, result, _ = _succeeds(f"--model={tmp_path / 'run'}", "--num_generated=200")
    last = _metrics(tmp_path / "run" / "metrics.jsonl")[-2]
    assert last["source"] == "training" and last["num_generated"] == 200
    for name in ("digits_fd", "digits_is", "digits_kd", "digits_precision", "digits_class_fractions"):
        np.testing.assert_allclose(result[name], last[name], rtol=1e-5)
    assert "digits is not the network of published FIDs" in table
    assert not (tmp_path / "run" / "statistics").exists()


def test_a_classifier_of_the_labels_scores_a_model_and_is_kept(setting, tmp_path):
    official.write_cifar10(tmp_path / "data" / "raw" / "cifar10", training=150)
    prepare = commands.run("tools/prepare_data.py", "--dataset=cifar10", f"--data_dir={tmp_path / 'data'}")
    assert prepare.returncode == 0, prepare.stderr
    place = [f"--data_dir={tmp_path / 'data'}", f"--cache_dir={tmp_path / 'cache'}"]
    arguments = ["--dataset=cifar10", "--extractor=classifier", "--num_generated=24", *place]
    model = f"--model={setting[0] / 'elsewhere' / 'model'}"
    table, first, log = _succeeds(model, *arguments, f"--output={tmp_path / 'out.jsonl'}")
    assert "classifier of 10 classes trained: held-out accuracy" in log
    accuracy = f"{100 * first['extractor_accuracy']:.1f} % of held-out images"
    assert re.search(f"^accuracy +{accuracy}$", table, re.MULTILINE)
    assert {"classifier_fd", "classifier_is", "classifier_kd", "classifier_fd_half_split"} <= set(first)
    assert first["extractor"] == "classifier" and len(first["classifier_class_fractions"]) == 10
    _, second, log = _succeeds(model, *arguments, f"--output={tmp_path / 'out.jsonl'}")
    assert second == first and "classes trained" not in log


def test_a_run_trains_the_classifier_of_its_folder(tmp_path):
    """The folder is decoded once for it; held-out images are scored by the classifier of the training images."""
    for split, count in (("train", 30), ("test", 10)):
        for label, grey in (("dark", 60), ("light", 190)):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            for index, photo in enumerate(official.photos(count, 16, 16, seed=grey)):
                image = np.clip(photo.astype(int) // 4 + grey, 0, 255).astype(np.uint8)
                (tmp_path / "images" / split / label / f"{index}.png").write_bytes(official.encoded(image, "png"))
    flags = ["--dataset=folder", "--resolution=16", f"--data_dir={tmp_path / 'images'}", "--extractor=classifier"]
    flags += ["--split=evaluation", f"--cache_dir={tmp_path / 'cache'}", f"--model_dir={tmp_path / 'run'}"]
    result = commands.run(TRAIN, *SMALL, *flags)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(": 60 images, ") == 1 and result.stderr.count(": 20 images, ") == 1
    lines = [line for line in _metrics(tmp_path / "run" / "metrics.jsonl") if line["source"] == "training"]
    assert {line["extractor_accuracy"] for line in lines} == {1.0}
    assert all(line["num_real"] == 20 and len(line["classifier_class_fractions"]) == 2 for line in lines)
    record = json.loads((tmp_path / "run" / "best_checkpoint" / "best.json").read_text())
    assert record["distance"] == min(line["classifier_fd"] for line in lines)


def _without_inception(setting, *arguments):
    path, _, _, _ = setting
    return [f"--data_dir={path / 'data'}", f"--cache_dir={path / 'empty'}", *arguments]


def test_without_inception_the_line_says_what_to_fetch_and_training_goes_on(setting, tmp_path):
    path = setting[0]
    wanted = [f"--model={path / 'run'}", "--extractor=tfgan_inception"]
    line = commands.error_line(EVALUATE, *wanted, *_without_inception(setting))
    for words in ("fetch https://tfhub.dev/tensorflow/tfgan/eval/inception/1?tf-hub-format=compressed", "unpack it"):
        assert words in line
    assert str(path / "empty" / "tfhub_modules") in line and "--inception=FOLDER" in line
    line = commands.error_line(EVALUATE, *wanted, *_without_inception(setting, "--download"))
    assert "not on this machine (" in line and "with --download" not in line
    # A run that did not ask for it has the score that needs no network, and says so once.
    short = [*SMALL, "--total_kimg=0.008", f"--model_dir={tmp_path / 'run'}"]
    result = commands.run(TRAIN, "--dataset=cifar10", *short, *_without_inception(setting))
    assert result.returncode == 0, result.stderr
    (warning,) = (line for line in result.stderr.splitlines() if line.startswith("W"))
    assert "without a network, the only score is the sliced Wasserstein distance: the Inception module" in warning
    lines = _metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [0, 1]
    assert lines[0]["extractor"] == "none" and lines[0]["num_swd"] == 24 and "fid24" not in lines[0]
    best = json.loads((tmp_path / "run" / "best_checkpoint" / "best.json").read_text())
    assert best["distance"] == min(line["swd"] for line in lines)
    assert {tag for _, tag, _ in events(tmp_path / "run")} >= {"swd", "swd_32px", "swd_16px"}
    report = commands.run("tools/report.py", str(tmp_path / "run"))
    assert report.returncode == 0
    assert f"swd {lines[-1]['swd']:.4g} at step 1" in (tmp_path / "run" / "report.html").read_text()
    table, result, _ = _succeeds(
        f"--model={tmp_path / 'run'}", "--num_generated=24", "--num_real=30", *_without_inception(setting)
    )
    assert result["swd"] == pytest.approx(lines[-1]["swd"], rel=1e-6) and "extractor none" in " ".join(table.split())
    # One that did is told before it trains.
    for more in (["--extractor=tfgan_inception"], ["--extractor=keras_inception", "--inception=nowhere.h5"]):
        other = [*SMALL, f"--model_dir={tmp_path / 'other'}", *more]
        line = commands.error_line(TRAIN, "--dataset=cifar10", *other, *_without_inception(setting))
        assert "fetch http" in line


def test_images_are_written_where_they_cannot_be_scored(setting, tmp_path):
    path, place, _, _ = setting
    scored, unscored = (
        [f"--model={path / 'run'}", "--num_generated=12", f"--dump_images={tmp_path / n}"] for n in "ab"
    )
    _succeeds(*scored, *place, f"--output={tmp_path / 'out.jsonl'}")
    line = commands.error_line(EVALUATE, *unscored, "--extractor=tfgan_inception", *_without_inception(setting))
    assert f"the images are in '{tmp_path / 'b'}', but there are no scores: the Inception module" in line
    np.testing.assert_array_equal(reference.read_pngs(tmp_path / "b"), reference.read_pngs(tmp_path / "a"))


def test_a_generator_from_elsewhere_is_scored(setting, tmp_path):
    """It has one signature, with other names, and nothing else."""
    path, place, _, _ = setting
    module = tf.Module()
    module.inner = tf.saved_model.load(str(path / "elsewhere" / "model"))
    module.draw = tf.function(
        lambda z: {"pixels": module.inner.synthesize(z)["images"]},
        input_signature=[tf.TensorSpec([None, 16], tf.float32, name="z")],
    )
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"serving_default": module.draw})
    common = ["--dataset=cifar10", "--num_generated=12", *place, f"--output={tmp_path / 'out.jsonl'}"]
    ours, other = (
        _succeeds(f"--model={model}", *common)[1] for model in (path / "elsewhere" / "model", tmp_path / "other")
    )
    assert other["step"] is None
    np.testing.assert_allclose(other["fid12_full"], ours["fid12_full"], rtol=1e-6)


def test_a_model_is_compared_with_held_out_images_of_a_folder(setting, tmp_path):
    path, place, training, _ = setting
    for index, image in enumerate(training[:20]):
        (tmp_path / f"{index:02d}.png").write_bytes(official.encoded(image, "png"))
    model = f"--model={path / 'elsewhere' / 'model'}"
    images = ["--dataset=folder", f"--data_dir={tmp_path}", "--holdout=0.25", "--split=evaluation", *place[1:]]
    _, result, _ = _succeeds(model, *images, "--num_generated=8")
    assert (result["num_real"], result["split"]) == (5, "evaluation")
    line = commands.error_line(EVALUATE, model, "--holdout=0.25")
    assert "--holdout applies only to an exported generator, with --dataset" in line
    line = commands.error_line(EVALUATE, f"--model={path / 'run'}", "--split=evaluation", *place, "--holdout=0.25")
    assert "--holdout applies only to an exported generator, with --dataset" in line


def _broken(setting, tmp_path, kind):
    """Arguments of a command that must fail, and words of its line."""
    path, place, _, _ = setting
    model = [f"--model={path / 'elsewhere' / 'model'}", *place, f"--output={tmp_path / 'out.jsonl'}"]
    if kind == "nothing there":
        return [f"--model={tmp_path / 'none'}"], "there is no generator"
    if kind == "no signature":
        tf.saved_model.save(tf.Module(), str(tmp_path / "module"))
        return [f"--model={tmp_path / 'module'}", "--dataset=cifar10"], "is not a generator: it has no signature"
    if kind == "no images":
        module = tf.Module()
        module.f = tf.function(lambda x: tf.reduce_sum(x, 1), input_signature=[tf.TensorSpec([None, 16])])
        tf.saved_model.save(module, str(tmp_path / "module"), signatures={"serving_default": module.f})
        return [f"--model={tmp_path / 'module'}", "--dataset=cifar10"], "must map float latents (batch, size) to"
    if kind == "damaged model":
        (tmp_path / "damaged").mkdir()
        (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"garbage")
        return [f"--model={tmp_path / 'damaged'}", "--dataset=cifar10"], "cannot load the SavedModel"
    if kind == "wrong resolution":
        return [*model, "--dataset=celeba64"], "draws images of 32 x 32 x 3, but those of celeba64 are 64 x 64 x 3"
    if kind == "which data":
        return model, "are not known: set --dataset=NAME"
    if kind == "no data":
        return [model[0], "--dataset=cifar10", f"--data_dir={tmp_path}", *place[1:]], "no images of cifar10 in"
    if kind == "not inception":
        return [*model, "--dataset=cifar10", f"--inception={tmp_path}"], "is not an unpacked TensorFlow Hub module"
    if kind == "digits' classifier":
        return [
            *model,
            "--dataset=cifar10",
            "--extractor=digits",
        ], "classifier cannot score images of cifar10"
    if kind == "fifty labels":
        return [*model, "--dataset=cifar10", "--extractor=classifier"], "50 images of 10 classes are too few to train"
    if kind == "no labels":
        (tmp_path / "images").mkdir()
        for index, image in enumerate(official.photos(40, 32, 32)):
            (tmp_path / "images" / f"{index}.png").write_bytes(official.encoded(image, "png"))
        words = "--extractor=classifier needs labels, and folder has none: give each class a subfolder"
        folder = ["--dataset=folder", f"--data_dir={tmp_path / 'images'}", "--extractor=classifier"]
        return [model[0], *folder, model[-1]], words
    if kind == "zero samples":
        return [*model, "--dataset=cifar10", "--num_generated=0"], "eval.num_generated must be at least 2, got 0"
    if kind == "wrong extractor":
        return [*model, "--extractor=inception"], "eval.extractor must be one of auto, tfgan_inception"
    if kind == "full folder":
        return [*model, "--dataset=cifar10", f"--dump_images={path}"], "is not an empty folder"
    if kind == "no place":
        return [
            *model,
            "--dataset=cifar10",
            f"--output={path / 'inception' / 'saved_model.pb' / 'x'}",
        ], "cannot write"
    if kind == "checkpoint of a model":
        return [*model, "--dataset=cifar10", "--checkpoint=best"], "--checkpoint applies only to a run directory"
    if kind == "data of a run":
        return [f"--model={path / 'run'}", "--dataset=cifar10"], "--dataset applies only to an exported generator"
    return [
        f"--model={path / 'run'}",
        "--checkpoint=17",
        *place,
    ], "no checkpoint '17': available steps: 2, 3, 4"


KINDS = """nothing there, no signature, no images, damaged model, wrong resolution, which data, no data,
    not inception, digits' classifier, fifty labels, no labels, zero samples, wrong extractor, full folder, no place,
    checkpoint of a model, data of a run, no such checkpoint"""


@pytest.mark.parametrize("kind", [" ".join(kind.split()) for kind in KINDS.split(",")])
def test_bad_input_ends_in_one_line_and_leaves_caches_alone(setting, tmp_path, kind):
    path = setting[0]
    arguments, words = _broken(setting, tmp_path, kind)

    def state():
        files = [file for file in (path / "cache").rglob("*") if file.is_file()]
        return {file: file.read_bytes() for file in [*files, path / "run" / "metrics.jsonl"]}

    before = state()
    assert words in commands.error_line(EVALUATE, *arguments)
    assert state() == before and len(before) > 1


def test_images_that_are_not_numbers_end_in_one_line(setting, tmp_path):
    path, place, _, _ = setting
    run = tmp_path / "run"
    shutil.copytree(path / "run", run)
    from vitgan_tf.runs.generator import load_generator

    trained = load_generator(str(run))
    trained.network.set_weights([np.full_like(weights, np.nan) for weights in trained.network.get_weights()])
    checkpoint = tf.train.Checkpoint(ema_generator=trained.network, step=tf.Variable(4, dtype=tf.int64))
    tf.train.CheckpointManager(checkpoint, str(run / "checkpoints"), max_to_keep=1).save(5)
    line = commands.error_line(
        EVALUATE, f"--model={run}", "--num_generated=12", *place, f"--dump_images={tmp_path / 'images'}"
    )
    assert "the generator's output is not finite: image 0 of seed 0" in line
    assert not (tmp_path / "images").exists() and not (tmp_path / "images.partial").exists()
    assert (run / "metrics.jsonl").read_bytes() == (path / "run" / "metrics.jsonl").read_bytes()


def test_a_result_outlives_what_reads_it_and_where_it_should_go(setting, tmp_path):
    path, place, _, _ = setting
    arguments = [f"--model={path / 'run'}", "--num_generated=12", *place]
    command = commands.command(EVALUATE, *arguments, f"--output={tmp_path / 'out.jsonl'}")
    with open(tmp_path / "log", "w") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        process.stdout.close()  # as head does
    assert "Traceback" not in (tmp_path / "log").read_text() and process.returncode == 1
    (result,) = _metrics(tmp_path / "out.jsonl")
    failed = commands.run(EVALUATE, *arguments, "--output=/dev/full")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "cannot write '/dev/full' (No space left on device)" in failed.stderr.splitlines()[-1]
    assert json.loads(failed.stdout.splitlines()[-1]) == result


def test_the_data_may_have_changed_since_the_training(setting, tmp_path):
    path, place, _, _ = setting
    run = tmp_path / "run"
    shutil.copytree(path / "run", run)
    config = json.loads((run / "config.json").read_text())
    config["data"]["fingerprint"] = "0123456789abcdef"
    (run / "config.json").write_text(json.dumps(config))
    _, result, log = _succeeds(f"--model={run}", "--num_generated=12", *place)
    (warning,) = (line for line in log.splitlines() if line.startswith("W"))
    assert "not the training images" in warning
    assert "not the training images" in result["not_comparable_with_published"][-1]


def test_help_is_quick_and_lists_the_protocol():
    result = commands.run(EVALUATE, "--help")
    for words in ("--num_generated", "--extractor", "--inception", "--dump_images", "--checkpoint", "--weights"):
        assert words in result.stdout
    assert "--batch_size" in result.stdout and "--generator.embed_dim" not in result.stdout
