"""Parts of every kind from a file outside the package: a network, a loss, a score, a data set, a format and more."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from support import commands

from vitgan_tf import losses, registries
from vitgan_tf.errors import ConfigError

PLUGIN = pathlib.Path(__file__).parents[1] / "support" / "toy_plugin.py"


@pytest.mark.slow
def test_a_plugin_is_trained_evaluated_and_exported(tmp_path):
    run = tmp_path / "run"
    given = [f"--plugin={PLUGIN}", "--dataset=checkerboards", "--generator=toy", "--toy.width=24"]
    given += ["--adversarial=relativistic_squares", "--policy=negative,translation", "--total_kimg=0.024"]
    given += ["--discriminator.num_blocks=1", "--diagnostics_every_kimg=0", "--xla=off", f"--model_dir={run}"]
    trained = commands.run("experiments/run.py", *given)
    assert trained.returncode == 0, trained.stderr
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["toy"] == {"latent_dim": 8, "width": 24} and config["loss"]["adversarial"] == "relativistic_squares"
    model = tf.saved_model.load(str(run / "saved_model"))
    assert model.generate(num_images=2, seed=0)["images"].shape == (2, 8, 8, 1)
    kernel = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(run / "checkpoints")))
    assert kernel.get_tensor("generator/hidden/kernel/.ATTRIBUTES/VARIABLE_VALUE").shape == (8, 24)
    dumped = tmp_path / "images"
    arguments = [f"--plugin={PLUGIN}", f"--model={run}", "--num_generated=200", f"--dump_images={dumped}"]
    evaluated = commands.run("tools/evaluate.py", *arguments, "--resize=mirrored")
    assert evaluated.returncode == 0, evaluated.stderr
    result = json.loads(evaluated.stdout.splitlines()[-1])
    assert result["resize"] == "mirrored"
    images = [tf.io.decode_png(path.read_bytes()).numpy() for path in sorted(dumped.iterdir())]
    np.testing.assert_allclose(result["pixels_brightness"], np.mean(images) / 127.5 - 1, atol=1e-5)
    exported = (
        "tools/export.py",
        f"--plugin={PLUGIN}",
        f"--model={run}",
        "--format=keras",
        f"--output={tmp_path / 'e'}",
    )
    drawn = ("tools/generate.py", f"--plugin={PLUGIN}", f"--model={tmp_path / 'e'}", f"--outdir={tmp_path / 'few'}")
    for command in (exported, (*drawn, "--num_images=3")):
        result = commands.run(*command)
        assert result.returncode == 0, result.stderr
    for path in sorted((tmp_path / "few").iterdir()):
        difference = tf.io.decode_png(path.read_bytes()).numpy().astype(int) - images[int(path.stem[-6:])]
        assert np.abs(difference).max() <= 1
    # Without it, the run cannot be read: the line says what is missing.
    line = commands.error_line("tools/evaluate.py", f"--model={run}")
    assert line.endswith(f"biggan, got 'toy'); it was trained with --plugin={PLUGIN}")


@pytest.mark.slow
def test_mistakes_in_a_plugin_end_in_a_line(tmp_path):
    assert "there is no such Python file" in commands.error_line(
        "experiments/run.py", f"--plugin={tmp_path / 'x.py'}"
    )
    twice = tmp_path / "twice.py"
    twice.write_text("from vitgan_tf import registries\nregistries.ADVERSARIAL_LOSSES.register('hinge', None)\n")
    line = commands.error_line("experiments/run.py", f"--plugin={twice}")
    assert line.endswith("twice.py: there is already an adversarial loss 'hinge'")


def test_names_are_known_before_what_they_stand_for_is_imported():
    registry = registries.Registry("thing", {"a": "no_such_module:A", "b": "vitgan_tf.losses:HINGE"})
    assert list(registry) == ["a", "b"] and "a" in registry and "c" not in registry
    assert registry["b"] is losses.HINGE
    with pytest.raises(ConfigError, match=r"unknown thing 'bb'; did you mean 'b'\? \(available: a, b\)"):
        registry["bb"]
    with pytest.raises(ConfigError, match="there is already a thing 'b'"):
        registry.register("b", 1)


@pytest.mark.parametrize(
    "registry",
    [
        getattr(registries, name)
        for name in registries.__all__
        if isinstance(getattr(registries, name), registries.Registry)
    ],
    ids=lambda registry: registry._kind,
)
def test_every_name_stands_for_something(registry):
    assert all(registry[name] is not None for name in registry)
