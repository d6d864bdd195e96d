"""The commands as a user runs them: in processes of their own."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image
from support import commands, small
from support.events import events

from vitgan_tf.commands import tables
from vitgan_tf.config import override
from vitgan_tf.presets import preset
from vitgan_tf.presets.tables import TABLES

pytestmark = pytest.mark.slow

RUN = "experiments/run.py"
STEPS = 40
# Long enough for a kill in the middle; a checkpoint every 5 steps, two evaluations and grids.
TINY = ["--dataset=tiny", f"--total_kimg={STEPS * 8 / 1000}", "--samples_every_kimg=0.16", "--eval_every_kimg=0.16"]
TINY += small.FLAGS


# Of XLA, when it first compiles something; no log level hides it.
GREETING = r"WARNING: All log messages before absl::InitializeLog\(\)|I0000 .*Compiled cluster using XLA!"


def _error(script, *arguments, **options):
    """The error lines of a command that must fail without a traceback."""
    result = commands.run(script, *arguments, **options)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()


def _variables(model_dir):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(model_dir / "checkpoints")))
    return {
        name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if "save_counter" not in name
    }


def _metrics(model_dir):
    return [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run from its first step to its last, and what it printed."""
    model_dir = tmp_path_factory.mktemp("finished") / "run"
    result = commands.run(RUN, *TINY, f"--model_dir={model_dir}")
    assert result.returncode == 0, result.stderr
    return model_dir, result


def test_a_run_leaves_all_its_files(finished):
    model_dir, _ = finished
    names = {path.name.split(".")[0] or path.name for path in model_dir.iterdir()}
    assert names == {
        ".lock",
        "config",
        "checkpoints",
        "samples",
        "events",
        "metrics",
        "saved_model",
        "best_checkpoint",
        "digits_classifier",
    }
    assert sorted(path.name for path in (model_dir / "samples").iterdir()) == [
        "real.png",
        *(f"step_{step:08d}.png" for step in (0, 20, 40)),
    ]
    checkpoints = {path.name.split(".")[0] for path in (model_dir / "checkpoints").glob("ckpt-*")}
    assert checkpoints == {"ckpt-30", "ckpt-35", "ckpt-40"}
    lines = _metrics(model_dir)
    assert [line["step"] for line in lines] == [0, 20, 40]
    for line in lines:
        assert {"step", "kimg", "extractor_sha256", "digits_fd", "digits_is", "digits_fd_half_split"} <= set(line)
        assert line["kimg"] == line["step"] * 8 / 1000
        np.testing.assert_allclose(sum(line["digits_class_fractions"]), 1.0)
    config = json.loads((model_dir / "config.json").read_text())
    assert config["config"]["train"]["total_kimg"] == STEPS * 8 / 1000
    assert config["command"] == ["python", str(commands.ROOT / RUN), *TINY, f"--model_dir={model_dir}"]


def test_the_log_is_readable(finished):
    """Lines of the command's own log, and XLA's greeting: no warning of TensorFlow or of what it imports."""
    _, result = finished
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not re.match(GREETING, line)]
    assert len(result.stderr.splitlines()) - len(lines) <= 2
    for line in lines:
        assert re.fullmatch(
            r"I\d{4} \d\d:\d\d:\d\d\.\d{6} \d+ (run|classifier|writers|progress)\.py:\d+\] .+", line
        ), line
    for words in ("generator 0.01 M weights", "held-out accuracy", "steps: ", "run complete"):
        assert words in result.stderr


def test_verbosity_is_absls(finished):
    """Below 0, warnings alone, of which there are none; above, also what TensorFlow says."""
    model_dir, _ = finished
    env = {name: value for name, value in commands.OFFLINE.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    quiet, loud = (
        commands.run_anew(RUN, *TINY, f"--model_dir={model_dir}", f"--verbosity={level}", env=env)
        for level in (-1, 1)
    )
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert loud.returncode == 0 and "run complete" in loud.stderr and "tensorflow/core/" in loud.stderr


def test_tensorboard_has_the_scalars_and_samples(finished):
    model_dir, _ = finished
    tags = {tag for _, tag, _ in events(model_dir)}
    norms = {f"{network}_gradient_norm{suffix}" for network in "dg" for suffix in ("", "_max", "_spike")}
    sigmas = {tag for tag in tags if tag.startswith("sigma/discriminator/")}
    assert len(sigmas) == 2 * (1 + 5)  # patch projection, and five in the block; estimate and SVD
    assert tags - sigmas - norms == {
        *("d_loss", "g_loss", "real_logits", "fake_logits", "bcr_real", "bcr_fake"),
        *("images_per_second", "samples", "samples_deviation"),
        *("digits_fd", "digits_is", "digits_is_std", "digits_kd", "digits_kd_std"),
        *("digits_precision", "digits_recall", "digits_density", "digits_coverage"),
        *("digits_authenticity", "digits_fd_half_split", "swd"),
        *("sigma/largest_relative_error", "attention/discriminator", "attention/generator"),
    }
    assert norms <= tags


def _stopped(model_dir, at_step, stop_signal):
    """Exit code and log of a run that gets a signal when it has saved a checkpoint of this step or a later one."""
    saved = model_dir / "checkpoints" / "checkpoint"  # names the whole checkpoints, and is written last
    started = time.time()

    def has_saved():
        if not saved.exists() or saved.stat().st_mtime < started:
            return False
        return max(map(int, re.findall(r"ckpt-(\d+)", saved.read_text())), default=-1) >= at_step

    process = commands.start(RUN, *TINY, "--diagnostics_every_kimg=0", f"--model_dir={model_dir}", seconds=240)
    while not has_saved():
        assert process.poll() is None, process.printed("stderr")
        time.sleep(0.01)
    process.send_signal(stop_signal)
    return process.wait(), process.printed("stderr")


def test_stopped_run_goes_on_and_ends_with_the_same_weights(finished, tmp_path):
    """Ctrl-C, then SIGTERM, each after some checkpoint; then bit by bit the weights of the unbroken run."""
    unbroken, _ = finished
    model_dir = tmp_path / "run"
    model_dir.mkdir()
    shutil.copy(unbroken / "digits_classifier.h5", model_dir)
    for at_step, stop_signal, expected_code in ((5, signal.SIGINT, 130), (15, signal.SIGTERM, 143)):
        code, log = _stopped(model_dir, at_step, stop_signal)
        assert code == expected_code and "Traceback" not in log
        name, step = re.fullmatch(
            r"run.py: stopped by (\w+) after step (\d+): the same command resumes from there", log.splitlines()[-1]
        ).groups()
        assert name == stop_signal.name and at_step <= int(step) < STEPS
        assert tf.train.latest_checkpoint(str(model_dir / "checkpoints")).endswith(f"ckpt-{step}")
    assert not (model_dir / "saved_model").exists()
    result = commands.run(RUN, *TINY, f"--model_dir={model_dir}")
    assert result.returncode == 0, result.stderr
    first_step = int(result.stderr.split("steps from step ")[1].split()[0])
    assert 15 <= first_step < STEPS
    expected, variables = _variables(unbroken), _variables(model_dir)
    assert set(variables) == set(expected)
    for name, value in variables.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert [line["step"] for line in _metrics(model_dir)] == [0, 20, 40]
    assert (model_dir / "saved_model" / "saved_model.pb").exists()


def test_another_model_is_refused_and_nothing_lost(finished):
    model_dir, _ = finished
    before = {path: path.read_bytes() for path in model_dir.rglob("*") if path.is_file()}
    lines = _error(RUN, *TINY, "--generator.num_blocks=2", f"--model_dir={model_dir}")
    assert len(lines) == 1
    assert "generator.num_blocks: 1 -> 2" in lines[0] and "choose another --model_dir" in lines[0]
    assert f"--config={model_dir / 'config.json'}" in lines[0]
    assert {path: path.read_bytes() for path in model_dir.rglob("*") if path.is_file()} == before


def test_generate_makes_a_grid_and_a_gif(finished, tmp_path):
    model_dir, _ = finished
    grid, gif = tmp_path / "new" / "grid.png", tmp_path / "walk.gif"
    result = commands.run(
        "tools/generate.py", f"--model={model_dir / 'saved_model'}", f"--output={grid}", f"--gif={gif}",
        "--num_images=12", "--columns=4", "--min_width=64", "--frames=3", "--seed=7",
        f"--mixing={tmp_path / 'm.JPG'}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "m.JPG") as image:
        assert image.format == "JPEG" and image.size == (
            116,
            116,
        )  # 13 x 13 images of 8 pixels and the lines between them
    with Image.open(grid) as image:
        assert image.size == (70, 52)  # 4 x 3 images of 8 pixels and the lines between them, twice
        assert np.asarray(image).std() > 5
    with Image.open(gif) as image:
        assert image.size == (70, 52) and image.n_frames == 12


@pytest.mark.parametrize(
    "script, flag, names, endings",
    [
        ("tools/generate.py", "output", ("out.mp4", "out", "out.gif", "png"), ".png or .jpg or .jpeg"),
        ("tools/generate.py", "mixing", ("out.webp",), ".png or .jpg or .jpeg"),
        ("tools/generate.py", "walk", ("walk.avi", "walk.gif.png"), ".gif or .webp or .mp4"),
        ("tools/generate.py", "latents", ("a.npy",), ".npz"),
        ("tools/report.py", "output", ("report.pdf", "report"), ".html or .htm"),
    ],
)
def test_a_name_that_promises_another_format_is_refused(tmp_path, script, flag, names, endings):
    for name in names:
        lines = _error(script, f"--{flag}={tmp_path / name}")
        assert f"--{flag}" in lines[0] and f"the file's name must end in {endings}" in lines[0]
    assert not list(tmp_path.iterdir())


# Of the table of pairs, those that no other table has.
PAIRS = [
    *(("vitgan", "vanilla_vit"), ("vitgan", "resnet"), ("vanilla_vit", "stylegan2"), ("vanilla_vit", "resnet")),
    *(("stylegan2", "vitgan"), ("stylegan2", "vanilla_vit"), ("stylegan2", "resnet")),
]


def test_tables_are_made_and_only_what_is_missing_is_trained(finished, tmp_path):
    """Five of six cells are there, as copies of a finished run with scores of our own; the sixth is trained."""
    model_dir, _ = finished
    rows = ["g_add_linear", "g_add_fourier", "g_prepend_linear", "g_prepend_fourier", "g_modulate_linear"]
    for index, variant in enumerate(rows):
        cell = tmp_path / variant / "seed_0"
        shutil.copytree(model_dir / "saved_model", cell / "saved_model")
        (cell / "metrics.jsonl").write_text(json.dumps({"step": 2, "digits_fd": 10.0 + index, "swd": 2.0}) + "\n")
    length = "--train.total_kimg=0.016"
    flags = ("--dataset=tiny", "--table=generator", "--seeds=1", length, "--xla=off", *small.FLAGS)
    for _ in range(2):
        result = commands.run("experiments/tables.py", *flags, f"--output_dir={tmp_path}")
        assert result.returncode == 0, result.stderr
        assert result.stdout == (tmp_path / "generator.md").read_text() + "\n"
    assert "6 cells, 6 of them already finished" in result.stderr
    trained = _metrics(tmp_path / "vitgan" / "seed_0")
    assert [line["step"] for line in trained] == [0, 2]
    lines = (tmp_path / "generator.md").read_text().splitlines()[2:]
    assert lines[1] == "| (A) add, Fourier | 11 | 11 |  | 2 |  |  |  |  |  |  | 11.3 |"
    assert lines[5].startswith(f"| (C) modulate, Fourier | {trained[-1]['digits_fd']:.4g} |")
    with open(tmp_path / "generator.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["cell"] for row in table] == [*rows, "vitgan", "vitgan"]
    assert float(table[-1]["digits_fd"]) == trained[-1]["digits_fd"]
    with Image.open(tmp_path / "generator.png") as image:
        assert image.size == (1100, 550)
    # With a table that says it in other words: two cells that are in both.
    for variant in ("vanilla_vit", "stylegan2", "stylegan2_d", *(f"g_{g}-d_{d}" for g, d in PAIRS)):
        shutil.copytree(tmp_path / "g_add_linear", tmp_path / variant)
    result = commands.run("experiments/tables.py", *flags, "--table=networks", f"--output_dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert f"{6 + 11 - 1} cells, {6 + 11 - 1} of them already finished" in result.stderr
    # The same run is in other tables, but not one of other fields.
    lines = _error("experiments/tables.py", *flags, "--batch_size=4", f"--output_dir={tmp_path}")
    assert len(lines) == 1 and "another configuration (train.batch_size: 8 -> 4)" in lines[0]
    # Nor a longer one, which would not be trained, and has no scores there.
    shorter = (*flags[:3], *small.FLAGS, "--train.total_kimg=0.008", f"--output_dir={tmp_path}")
    lines = _error("experiments/tables.py", *shorter)
    assert len(lines) == 1 and "2 steps, without scores at step 1, the last of --total_kimg=0.008" in lines[0]
    lines = _error("experiments/tables.py", "--seed=3", f"--output_dir={tmp_path}")
    assert len(lines) == 1 and "the tables set --seed" in lines[0]


def test_tables_without_the_network_behind_their_scores_are_refused(tmp_path, monkeypatch):
    """Before anything is trained: a run would go on without scores."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    lines = _error("experiments/tables.py", "--dataset=cifar10", f"--output_dir={tmp_path / 'tables'}")
    assert len(lines) == 1 and "the Inception module of published FIDs is not on this machine" in lines[0]
    assert os.listdir(tmp_path / "tables") == [".lock"]


def test_rows_of_several_tables_share_their_runs():
    """Each configuration has one folder, whatever the tables call it."""
    given = flags.FlagValues()
    tables.define_flags(given)
    given(["tables"])
    found = []
    for table, rows in TABLES.items():
        for name, networks in rows:
            cell, config = tables._cell(given, networks, 0, {}, "folder")
            found.append((table, name, cell.variant, cell.model_dir, repr(config)))
    assert len({(table, name) for table, name, *_ in found}) == len(found) == 6 + 6 + 6 + 12 + 6
    assert all(model_dir == f"folder/{variant}/seed_0" for *_, variant, model_dir, _ in found)
    pairs = {(variant, config) for *_, variant, _, config in found}
    # The main table's six; five more of the generators, as vanilla ViT's partner is in none, and of the
    # discriminators; of the twelve pairs, five are among these.
    assert (
        len(pairs) == len({variant for variant, _ in pairs}) == len({config for _, config in pairs}) == 6 + 5 + 5 + 7
    )
    shared = [table for table, _, variant, *_ in found if variant == "vitgan"]
    assert shared == ["main", "generator", "discriminator", "networks", "stability"]


def test_only_named_rows_are_trained():
    given = flags.FlagValues()
    tables.define_flags(given)
    given(["tables", "--row=ViTGAN", "--row=(A) add, linear", "--table=main", "--table=generator", "--seeds=2"])
    configs, rows = tables._cells(given, {}, "folder")
    assert {table: len(of_table) for table, of_table in rows.items()} == {"main": 6, "generator": 6}
    # The first seed of each row comes first. The full method is a row of both tables, under another name.
    assert [(cell.variant, cell.seed) for cell in tables._chosen_cells(given, configs, rows)] == [
        (variant, seed) for seed in (0, 1) for variant in ("vitgan", "g_add_linear")
    ]
    line = _error("experiments/tables.py", "--table=main", "--row=VitGAN")[0]
    assert "--row=VitGAN is in none of these tables; did you mean 'ViTGAN'? (rows: BigGAN + DiffAugment; Sty" in line


def test_rows_have_the_size_of_the_table():
    given = flags.FlagValues()
    tables.define_flags(given)
    given(["tables", "--dataset=emoji", "--size=small"])
    cell, config = tables._cell(given, {"variant": "g_add_linear"}, 1, {}, "folder")
    assert {"--dataset=emoji", "--size=small", "--variant=g_add_linear", "--train.seed=1"} <= set(cell.command)
    assert config == override(preset("emoji", "g_add_linear", size="small"), {"train.seed": 1})
    assert config.generator.embed_dim == 192


def test_all_rows_of_the_tables_have_as_many_steps():
    """Those with several batches in a step have as many times more images, and evaluations at the same steps."""
    given = flags.FlagValues()
    tables.define_flags(given)
    given(["tables"])
    fields = {"train.total_kimg": 6.4, "log.eval_every_kimg": 1.6}
    batches = set()
    for networks in (networks for rows in TABLES.values() for _, networks in rows):
        cell, config = tables._cell(given, networks, 0, fields, "folder")
        assert (config.total_steps, config.log.eval_every_kimg / config.images_per_step) == (100, 1.6 / 64)
        batches.add(config.train.discriminator_steps)
        assert f"--train.total_kimg={config.train.total_kimg}" in cell.command
    assert batches == {1, 4, 5}


def test_benchmark_ends_with_one_json_line(tmp_path):
    result = commands.run(
        "tools/benchmark.py", "train", "--dataset=tiny", "--batch_size=4", "--steps=2", "--xla=off", *small.FLAGS
    )
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout.splitlines()[-1])
    assert {
        *("images_per_second", "gflops_per_step", "fraction_of_matmul_peak", "peak_memory_gb"),
        "seconds_to_first_step",
    } <= set(values)
    assert (values["dataset"], values["batch_size"], values["xla"]) == ("digits", 4, "off")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--dataset=celeba"], ["unknown dataset 'celeba'", "did you mean 'celeba64'"]),
        (
            ["--dataset=cifar10", "--data_dir=nowhere"],
            ["no images of cifar10 in 'nowhere'", "cifar-10-binary.tar.gz"],
        ),
        (["--variant=vanilla"], ["unknown variant 'vanilla'", "did you mean 'vanilla_vit'"]),
        (["--batch_size=0"], ["train.batch_size must be at least 1, got 0"]),
        (["--image_size=30"], ["data.image_size must be a multiple of generator.patch_size, got 30 and 4"]),
        (["--generator.num_heads=5"], ["generator.embed_dim must be a multiple", "96 and 5"]),
        (
            ["--discriminator=resnet", "--discriminator.num_blocks=2"],
            ["--discriminator.num_blocks has no effect", "discriminator.architecture=resnet"],
        ),
        (["--augment.policy=color,cutuot"], ["got 'cutuot'", "did you mean 'cutout'"]),
        (["digits"], ["unexpected argument 'digits'", "--name=value"]),
    ],
)
def test_wrong_values_end_in_one_line(arguments, words, tmp_path):
    model_dir = tmp_path / "run"
    lines = _error(RUN, *arguments, f"--model_dir={model_dir}")
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]
    assert not model_dir.exists()


@pytest.mark.parametrize(
    "argument, words",
    [
        ("--generater.embed_dim=8", "Did you mean: generator.embed_dim"),
        ("--batchsize=8", "Did you mean: batch_size"),
        ("--batch_size=many", "flag --train.batch_size=many: invalid literal for int()"),
        ("--learning_rate=1", "Unknown command line flag 'learning_rate'"),
    ],
)
def test_wrong_flags_are_answered_by_absl(argument, words):
    lines = _error(RUN, argument)
    assert words in lines[0] and len(lines) == 2  # the second says how to get help


def test_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    lines = _error(RUN, "--dataset=tiny", f"--model_dir={tmp_path / 'file' / 'run'}")
    assert len(lines) == 1 and "cannot write the run directory" in lines[0] and "--model_dir" in lines[0]
    assert (tmp_path / "file").read_text() == "mine"


def test_help_lists_every_field_and_imports_no_tensorflow():
    result = commands.run(RUN, "--help")
    for words in (
        "--dataset",
        "--model_dir",
        "--generator.embed_dim",
        "--batch_size",
        "celeba64: CelebA",
        "d_sn_no_overlap",
    ):
        assert words in result.stdout
    code = (
        "import runpy, sys\n"
        "try:\n"
        f"    sys.argv = ['run.py', '--help']; runpy.run_path({str(commands.ROOT / RUN)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "slow = {'tensorflow', 'numpy', 'sklearn', 'scipy', 'PIL', 'keras'} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_help_needs_no_docstrings():
    """python -OO takes them away; the help of --dataset is made of them."""
    command = [sys.executable, "-OO", str(commands.ROOT / RUN), "--helpshort"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "--dataset" in result.stdout and result.stderr == ""


def test_dry_run_prints_the_resolved_configuration():
    result = commands.run(RUN, "--dataset=celeba64", "--dry_run", "--batch_size=16", "--augment.policy=")
    config = json.loads(result.stdout)
    assert config["train"]["batch_size"] == 16 and config["generator"]["embed_dim"] == 384
    assert config["augment"]["policy"] == [] and config["data"]["dataset"] == "celeba64"
    assert "execution: 1 CPU, float32, xla=kernels, 16 images at a time" in result.stderr


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--strategy=multi_worker"], "execution: multi_worker"),
        (["--strategy=tpu", "--tpu=nobody"], "execution: tpu"),
        (["--strategy=mirrored", "--microbatch=3"], "execution: not on this machine: mirrored needs GPUs"),
        (
            ["--strategy=mirrored", "--logical_cpus=2"],
            "execution: 2 replicas on logical CPUs, float32, xla=kernels",
        ),
    ],
)
def test_dry_run_asks_no_other_machine(flags, words):
    """TF_CONFIG names a process that never starts."""
    cluster = {"worker": ["127.0.0.1:9", "127.0.0.1:10"]}
    environment = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})}
    result = commands.run(RUN, "--dataset=tiny", "--dry_run", *flags, env={**commands.OFFLINE, **environment})
    assert result.returncode == 0 and json.loads(result.stdout)["data"]["dataset"] == "digits"
    assert words in result.stderr


def test_what_networks_change_elsewhere_is_said():
    """But for what the command line sets itself, or the preset has too."""
    line = "these networks also change other fields of the preset: "
    given = RUN, "--dry_run", "--dataset=cifar10"
    found = commands.run(*given, "--generator=stylegan2", "--discriminator=vanilla_vit").stderr
    assert f"{line}loss.r1_gamma=10.0, loss.style_mixing=0.9, train.ema_halflife_kimg=1000.0\n" in found
    found = commands.run(*given, "--discriminator=stylegan2", "--r1_gamma=1").stderr
    assert line not in found
    found = commands.run(RUN, "--dry_run", "--dataset=digits", "--discriminator=stylegan2").stderr
    assert f"{line}loss.r1_gamma=0.4, train.discriminator_learning_rate=0.002\n" in found


def test_generate_refuses_a_folder_that_is_no_model(tmp_path):
    lines = _error("tools/generate.py", f"--model={tmp_path}", f"--output={tmp_path / 'x.png'}")
    assert len(lines) == 1 and "is neither a run directory nor an exported folder" in lines[0]
    lines = _error("tools/generate.py", f"--model={tmp_path}")
    assert len(lines) == 1 and "give --output=FILE.png, --outdir=DIR, --walk=FILE.gif, --mixing=" in lines[0]


def test_benchmark_refuses_unknown_measurements():
    lines = _error("tools/benchmark.py", "trian")
    measurements = "sample|scale|compare|train|products|data|render|eval|swd|endurance"
    assert len(lines) == 1 and f"{measurements} [--flags]" in lines[0]
    lines = _error("tools/benchmark.py", "data", "--dataset=digits")
    assert len(lines) == 1 and "'digits' is not read from files" in lines[0]
    lines = _error("tools/benchmark.py", "render")
    assert len(lines) == 1 and "render needs a generator" in lines[0]


def test_benchmark_of_renders(finished):
    model_dir, _ = finished
    result = commands.run("tools/benchmark.py", "render", f"--model={model_dir / 'saved_model'}", "--num_images=3")
    assert result.returncode == 0, result.stderr
    scales = {line["scale"]: line for line in json.loads(result.stdout.splitlines()[-1])["scales"]}
    assert list(scales) == [1.0, 1.5, 2.0, 4.0]
    assert scales[1.0]["relative_cost_per_pixel"] == 1.0 and scales[1.0]["difference_from_native"] == 0.0
    assert 0 < scales[2.0]["difference_from_native"] < 64 and scales[1.5]["difference_from_native"] is None
