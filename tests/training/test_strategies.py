"""Replicas, processes and microbatches: the same weights however a batch is divided; and which devices are chosen."""

import functools
import json
import os
import signal
import socket
import time
import types
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from support import classifier, replicas, small
from support.commands import OFFLINE, error_line, run, start

from vitgan_tf.commands import flags
from vitgan_tf.config import ConfigError, as_dict, override
from vitgan_tf.errors import UserError
from vitgan_tf.presets import preset
from vitgan_tf.training import plan as plan_module
from vitgan_tf.training import run as training_run
from vitgan_tf.training import strategies
from vitgan_tf.training.build import build_gan
from vitgan_tf.training.plan import execution_plan

# A large epsilon keeps Adam from turning rounding errors of vanishing gradients into full steps.
TINY = override(preset("tiny"), {**small.FIELDS, "train.adam_epsilon": 1e-3})
# All that depends on the whole batch, or draws numbers, or has a state of its own.
CASES = {
    "r1, no bCR, three discriminator steps": override(
        TINY,
        {
            "train.discriminator_steps": 3,
            "loss.r1_gamma": 10.0,
            "loss.r1_every_steps": 2,
            "loss.bcr_lambda_real": 0.0,
            "loss.bcr_lambda_fake": 0.0,
            "data.flip": True,
        },
    ),
    "lecam, noise and norms": override(
        TINY,
        {"loss.lecam_lambda": 1.0, "generator.decoder": "conv", "generator.normalization": "isn"},
    ),
    # Images are compared with their neighbours, most have a second style, and path lengths have an average.
    "stylegan2": override(
        preset("tiny", generator="stylegan2", discriminator="stylegan2"),
        {
            "train.xla": "off",
            "train.adam_epsilon": 1e-4,
            "stylegan2.group_size": 2,
            "loss.style_mixing": 0.7,
            "loss.path_length_weight": 2.0,
            "loss.path_length_every_steps": 2,
        },
    ),
    "transgan": override(
        preset("tiny", "transgan"),
        {"train.xla": "off", "train.adam_epsilon": 1e-4, "train.discriminator_steps": 1},
    ),
}
# Its batch norm needs the whole batch: no microbatches.
BIGGAN = override(
    preset("tiny", "biggan"), {"train.xla": "off", "train.adam_epsilon": 1e-4, "train.discriminator_steps": 1}
)


STEPS = 4


@functools.cache
def _whole(config):
    """State and metrics after steps on one device with the whole batch at once, nothing compiled."""
    config = override(config, {"train.xla": "off", "train.microbatch": 0, "train.steps_per_execution": 1})
    before = [variable.numpy() for variable in replicas.state(build_gan(config))]
    gan, metrics = replicas.train(config, tf.distribute.get_strategy(), STEPS, run_eagerly=True)
    after = [variable.numpy() for variable in replicas.state(gan)]
    moved = [np.abs(value - other).max() for value, other in zip(after, before)]
    for network, first in ((gan.generator, 0), (gan.discriminator, len(gan.generator.variables))):
        # Far more than the tolerance: both have learned something that may differ.
        assert max(moved[first : first + len(network.trainable_variables)]) > 1e-3
    return after, metrics


def _assert_as_whole(state, metrics, config):
    expected, expected_metrics = _whole(config)
    assert len(state) == len(expected)
    for value, other in zip(state, expected):
        np.testing.assert_allclose(value, other, rtol=1e-3, atol=2e-5)
    assert set(metrics) == set(expected_metrics)
    for name, value in metrics.items():
        np.testing.assert_allclose(value, expected_metrics[name], rtol=1e-3, atol=1e-5, err_msg=name)


def _replicated(config, num_replicas, path):
    """State of each replica, and metrics, in a process of its own: logical devices are made once in a process."""
    result = run("tests/support/replicas.py", path, num_replicas, STEPS, json.dumps(as_dict(config)))
    assert result.returncode == 0, result.stderr[-3000:]
    with np.load(path) as content:
        values = {name: content[name] for name in content.files}
    metrics = {name.split("/")[1]: value for name, value in values.items() if name.startswith("metric/")}
    count = sum(name.endswith("/0") for name in values)
    return [[values[f"{n}/{replica}"] for n in range(count)] for replica in range(num_replicas)], metrics


@pytest.mark.slow
@pytest.mark.parametrize(
    "num_replicas, name",
    [
        (2, "r1, no bCR, three discriminator steps"),
        (2, "lecam, noise and norms"),
        (2, "stylegan2"),
        (2, "biggan"),
    ],
)
def test_replicas_with_a_share_each_do_what_one_does_with_all(tmp_path, num_replicas, name):
    """In microbatches too; and all replicas stay identical, bit by bit."""
    config = BIGGAN if name == "biggan" else CASES[name]
    parts = {"train.microbatch": 2} if name == "lecam, noise and norms" else {}
    states, metrics = _replicated(override(config, parts), num_replicas, tmp_path / "state.npz")
    _assert_as_whole(states[0], metrics, config)
    for other in states[1:]:
        for value, first in zip(other, states[0]):
            np.testing.assert_array_equal(value, first)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_gradients_of_microbatches_add_up_to_that_of_the_batch(name):
    """Compiled as configured, against the whole batch in eager mode."""
    gan, metrics = replicas.train(override(CASES[name], {"train.microbatch": 2}), tf.distribute.get_strategy(), STEPS)
    _assert_as_whole([variable.numpy() for variable in replicas.state(gan)], metrics, CASES[name])


@pytest.mark.slow
def test_microbatches_of_large_networks_have_a_second_step():
    """TensorFlow's memory optimizer gave sums in a loop a buffer, which the second step found to be there already."""
    size = {"data.image_size": 64, "stylegan2.channel_base": 1024, "stylegan2.channel_max": 16}
    config = override(preset("tiny", "stylegan2"), {**size, "train.batch_size": 32, "train.microbatch": 16})
    gan = build_gan(override(config, {"train.xla": "off"}))
    images = tf.data.Dataset.from_tensors(tf.zeros([32, 64, 64, 1])).repeat()
    losses = gan.fit(images, epochs=2, steps_per_epoch=1, verbose=0).history["g_loss"]
    assert np.isfinite(losses).all() and losses[0] != losses[1]


def test_a_batch_norm_over_the_whole_batch_takes_no_microbatches():
    single = tf.distribute.get_strategy()
    with pytest.raises(UserError, match=r"train\.microbatch must be 0 with generator\.architecture=biggan"):
        execution_plan(override(BIGGAN, {"train.microbatch": 4}), single)
    assert execution_plan(override(BIGGAN, {"train.microbatch": 8}), single).microbatch == 8
    # As large as it is; the attention of TransGAN's generator, 4 x 1024^2 numbers of an image, is divided.
    large = {"train.batch_size": 1024}
    assert execution_plan(override(preset("cifar10", "biggan"), large), single).microbatch == 1024
    assert execution_plan(preset("cifar10", "transgan"), single).microbatch == 2


def test_groups_are_not_divided():
    config = CASES["stylegan2"]
    for fields in ({"stylegan2.group_size": 3}, {"train.microbatch": 4, "stylegan2.group_size": 8}):
        with pytest.raises(UserError, match=r"stylegan2\.group_size must divide the 8 images"):
            execution_plan(override(config, fields), tf.distribute.get_strategy())
    # 64 x 64 x 256 features of 4 views in float32 are 17 MB of an image: one group alone is beyond the bound.
    large = preset("celeba64", discriminator="stylegan2")
    assert execution_plan(large, tf.distribute.get_strategy()).microbatch == 4
    # 16 x 16 x 64: 52 MB hold 198 images; the largest divisor of 600 that is a multiple of 4.
    small = override(preset("digits", discriminator="stylegan2"), {"train.batch_size": 600})
    assert execution_plan(small, tf.distribute.get_strategy()).microbatch == 120


@pytest.mark.slow
def test_memory_of_a_step_is_that_of_its_microbatch():
    """The largest tensor of the graphs of a step: a quarter with a quarter of the images."""

    def largest(microbatch):
        gan = build_gan(override(TINY, {"train.batch_size": 64, "train.microbatch": microbatch, "train.xla": "off"}))
        images = tf.TensorSpec([64, 8, 8, 1])
        definition = (
            tf.function(gan.train_step, autograph=False)
            .get_concrete_function(images)
            .graph.as_graph_def(add_shapes=True)
        )
        nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
        products = [
            node for node in nodes if node.op in ("MatMul", "BatchMatMulV2") and "_output_shapes" in node.attr
        ]
        sizes = [
            np.prod([dim.size for dim in shape.dim])
            for node in products
            for shape in node.attr["_output_shapes"].list.shape
        ]
        return max(sizes)

    assert largest(16) * 4 == largest(64)


def test_cpu_microbatch_divides_the_share_and_bounds_the_activations():
    paper = preset("cifar10")
    for share, expected in ((128, 32), (64, 32), (32, 32), (16, 16), (36, 18), (37, 1)):
        resolved = execution_plan(override(paper, {"train.batch_size": share}), tf.distribute.get_strategy())
        assert (resolved.xla, resolved.microbatch, resolved.steps_per_execution) == ("kernels", expected, 1)
    # 4 views of 65 tokens, 1536 wide, in float32.
    assert 32 * 4 * 65 * 1536 * 4 <= plan_module._CPU_ACTIVATION_BYTES < 33 * 4 * 65 * 1536 * 4
    assert execution_plan(preset("digits"), tf.distribute.get_strategy()).microbatch == 64
    given = override(paper, {"train.microbatch": 64, "train.steps_per_execution": 7, "train.xla": "off"})
    resolved = execution_plan(given, tf.distribute.get_strategy())
    assert (resolved.xla, resolved.microbatch, resolved.steps_per_execution) == ("off", 64, 7)


def test_updates_overlap_on_a_cpu_where_activations_are_small(monkeypatch):
    single = tf.distribute.get_strategy()
    chosen = [execution_plan(preset(name), single).overlaps_updates for name in ("digits", "cifar10", "celeba64")]
    assert chosen == [True, False, False]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert not execution_plan(preset("digits"), single).overlaps_updates


def test_what_cannot_be_shared_is_refused():
    class Three:
        num_replicas_in_sync = 3

    with pytest.raises(UserError, match="multiple of the number of replicas, got 8 and 3"):
        execution_plan(TINY, Three())
    with pytest.raises(UserError, match=r"divide the 8 images of each replica \(.*\), got 3"):
        execution_plan(override(TINY, {"train.microbatch": 3}), tf.distribute.get_strategy())
    Three.num_replicas_in_sync = 2
    with pytest.raises(UserError, match="compiles the step of one device"):
        execution_plan(override(TINY, {"train.xla": "full"}), Three())
    for field in ("r1_gamma", "r2_gamma", "gradient_penalty_weight", "path_length_weight"):
        with pytest.raises(ConfigError, match=rf"too narrow for the second derivatives of loss\.{field}"):
            override(TINY, {"train.precision": "mixed_float16", f"loss.{field}": 1.0})


@pytest.mark.slow
def test_steps_in_one_execution_are_the_same_steps():
    """Four steps as 3 + 1: one graph, whose operations TensorFlow fuses otherwise, but for rounding."""
    config = override(TINY, {"train.steps_per_execution": 3})
    gan, metrics = replicas.train(config, tf.distribute.get_strategy(), STEPS)
    _assert_as_whole([variable.numpy() for variable in replicas.state(gan)], metrics, TINY)
    assert int(gan.step.numpy()) == STEPS


class _Gpus:
    def __init__(self, monkeypatch, count):
        devices = {"GPU": ["gpu"] * count, "CPU": ["cpu"]}
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: devices.get(kind, []))


@pytest.mark.parametrize(
    "environment, gpus, tpu, logical_cpus, expected",
    [
        ({}, 0, None, 0, "single"),
        ({}, 1, None, 0, "single"),
        ({}, 4, None, 0, "mirrored"),
        ({}, 0, None, 2, "mirrored"),
        ({"TF_CONFIG": "{}"}, 4, None, 0, "multi_worker"),
        ({"TF_CONFIG": "{}", "TPU_NAME": "v3"}, 4, None, 0, "tpu"),
        ({}, 0, "v3", 0, "tpu"),
    ],
)
def test_auto_takes_what_it_finds(monkeypatch, environment, gpus, tpu, logical_cpus, expected):
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _Gpus(monkeypatch, gpus)
    monkeypatch.setattr(strategies, "_has_tpu", lambda: False)
    assert strategies._automatic(tpu, logical_cpus, several_processes=True) == expected
    if expected == "multi_worker":
        assert strategies._automatic(tpu, logical_cpus, several_processes=False) == "mirrored"


def test_a_cpu_in_use_cannot_be_split():
    tf.constant(0)
    with pytest.raises(UserError, match="cannot split the CPU: TensorFlow has already started"):
        strategies.build_strategy("mirrored", logical_cpus=7)


@pytest.mark.parametrize("gigabytes, limits, growing", [(0.0, [], ["gpu"] * 2), (2.5, [2384] * 2, [])])
def test_memory_of_gpus_grows_by_need_or_up_to_a_limit(monkeypatch, gigabytes, limits, growing):
    """2.5e9 bytes are 2,384 MiB."""
    _Gpus(monkeypatch, 2)
    limited, grown = [], []
    monkeypatch.setattr(
        tf.config, "set_logical_device_configuration", lambda gpu, parts: limited.append(parts[0].memory_limit)
    )
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: grown.append(gpu) if on else None
    )
    strategies.build_strategy("single", gpu_memory_gb=gigabytes)
    assert (limited, grown) == (limits, growing)


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, "h0,h1"),
        ({"no_proxy": "localhost"}, "localhost,h0,h1"),
        ({"no_proxy": "localhost", "no_grpc_proxy": "a,b"}, "a,b,h0,h1"),
        ({"grpc_proxy": "http://p:1"}, None),
    ],
)
def test_processes_reach_each_other_past_the_proxy(monkeypatch, environment, expected):
    """gRPC asks http_proxy for the way to any host that is in none of these lists: the first that is there counts."""
    for name in ("grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_grpc_proxy", "")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    strategies._connect_directly(["h0", "h1"])
    assert (os.environ["no_grpc_proxy"] or None) == expected  # noqa: SIM112


@pytest.mark.parametrize("task, number", [(("chief", 0), 0), (("worker", 0), 1), (("worker", 1), 2)])
def test_processes_are_counted_from_the_chief_on(task, number):
    cluster = tf.train.ClusterSpec({"chief": ["h0:1"], "worker": ["h1:1", "h2:1"]})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, task_type=task[0], task_id=task[1])
    strategy = mock.Mock(spec=tf.distribute.MultiWorkerMirroredStrategy, cluster_resolver=resolver)
    assert (strategies.num_workers(strategy), strategies.worker(strategy)) == (3, number)


def test_names_of_the_flag_are_those_of_the_strategies():
    assert ("auto", *strategies._MAKERS) == flags.STRATEGIES


TRAIN = ("experiments/run.py", "--dataset=tiny", *small.FLAGS, "--diagnostics_every_kimg=0", "--xla=off")


def _train(*arguments):
    return run(*TRAIN, *arguments)


@pytest.mark.slow
def test_users_mistakes_end_in_a_line(tmp_path):
    def error(*arguments, tf_config=None):
        env = OFFLINE if tf_config is None else {**OFFLINE, "TF_CONFIG": tf_config}
        return error_line("experiments/run.py", "--dataset=tiny", f"--model_dir={tmp_path}", *arguments, env=env)

    assert "multi_worker needs every process's own TF_CONFIG" in error("--strategy=multi_worker")
    assert "multi_worker needs every process's own TF_CONFIG" in error(tf_config="{}")
    cluster = {"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 1}}
    assert "there is no worker 1 in its cluster" in error(tf_config=json.dumps(cluster))
    assert "this machine has no TPU" in error("--strategy=tpu")
    assert "must be a multiple of the number of replicas, got 8 and 3" in error("--logical_cpus=3")
    assert not os.path.exists(tmp_path / "config.json")


def _checkpoint(directory, step):
    """All of a checkpoint's values but those that count saves."""
    reader = tf.train.load_checkpoint(str(directory / "checkpoints" / f"ckpt-{step}"))
    names = [name for name in reader.get_variable_to_shape_map() if "save_counter" not in name]
    return {name: reader.get_tensor(name) for name in names if reader.get_variable_to_dtype_map()[name] != tf.string}


def _assert_same_checkpoints(first, second):
    assert set(first) == set(second) and len(first) > 100
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=1e-3, atol=2e-5, err_msg=name)


LONG = ["--adam_epsilon=1e-3", "--total_kimg=0.24", "--eval_every_kimg=0.24"]
LONG += ["--checkpoint_every_kimg=0.08", "--samples_every_kimg=0.08"]


@pytest.fixture(scope="module")
def single_run(tmp_path_factory):
    directory = classifier.give(tmp_path_factory.mktemp("single"))
    assert _train(*LONG, f"--model_dir={directory}").returncode == 0
    return directory


@pytest.mark.slow
def test_the_whole_command_on_two_logical_cpus_is_that_on_one(tmp_path, single_run):
    """Trained, evaluated, exported: the same weights, samples and files."""
    arguments = [*LONG, f"--model_dir={classifier.give(tmp_path)}", "--strategy=mirrored", "--logical_cpus=2"]
    result = _train(*arguments)
    assert result.returncode == 0, result.stderr
    assert "strategy: mirrored, 2 replicas on logical CPUs" in result.stderr and "WARNING" not in result.stderr
    _assert_same_checkpoints(_checkpoint(tmp_path, 30), _checkpoint(single_run, 30))
    assert {file.name for file in tmp_path.iterdir() if "tfevents" not in file.name} == {
        file.name for file in single_run.iterdir() if "tfevents" not in file.name
    }
    assert sorted(file.name for file in (tmp_path / "samples").iterdir()) == [
        "real.png",
        *(f"step_{step:08d}.png" for step in (0, 10, 20, 30)),
    ]
    latents = tf.random.stateless_normal([4, 16], [0, 0])
    # Held while they are called: a signature does not keep its variables alive.
    models = [tf.saved_model.load(str(directory / "saved_model")) for directory in (tmp_path, single_run)]
    images = [model.synthesize(latents)["images"] for model in models]
    np.testing.assert_allclose(*images, atol=1e-3)
    scores = run("tools/evaluate.py", f"--model={tmp_path}", "--strategy=mirrored", "--logical_cpus=2")
    assert scores.returncode == 0 and json.loads(scores.stdout.splitlines()[-1])["step"] == 30


def test_a_process_that_is_lost_after_the_last_step_is_lost_only_before_the_last_barrier(monkeypatch):
    """An answer may be lost with a process that ends. All have passed one barrier then, so the others go on."""
    agreed = []

    def lost_at(number):
        def agree_on_step(*_):
            agreed.append(number)
            if len(agreed) == number:
                raise tf.errors.UnavailableError(None, None, "Socket closed")

        agreed.clear()
        monkeypatch.setattr(training_run, "agree_on_step", agree_on_step)

    monkeypatch.setattr(training_run, "with_rollbacks", lambda *_: None)
    config, gan = types.SimpleNamespace(total_steps=2), types.SimpleNamespace(step=tf.constant(2))
    run = types.SimpleNamespace(_config=config, gan=gan, restore=None, _fit=None, _strategy=None)
    lost_at(2)
    training_run.Run.fit(run, 0)
    assert len(agreed) == 2
    lost_at(1)
    with pytest.raises(tf.errors.UnavailableError):
        training_run.Run.fit(run, 0)


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _start_workers(*arguments):
    workers = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    tasks = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in range(2)]
    return [start(*TRAIN, *arguments, env={**OFFLINE, "TF_CONFIG": json.dumps(task)}) for task in tasks]


@pytest.mark.slow
def test_two_processes_train_and_go_on_after_one_is_killed(tmp_path, single_run):
    """With the weights of one process that was never stopped, and one set of files."""
    run_dir = classifier.give(tmp_path / "run")
    processes = _start_workers(*LONG, f"--model_dir={run_dir}")
    try:
        deadline = time.time() + 240
        while not (run_dir / "checkpoints" / "ckpt-10.index").exists():
            assert time.time() < deadline and all(process.poll() is None for process in processes)
            time.sleep(0.05)
        processes[1].send_signal(signal.SIGKILL)
        # The chief does not wait for ever, and says what to do.
        assert processes[0].wait() == 1
    finally:
        for process in processes:
            process.kill()
    log = processes[0].printed("stderr")
    assert "another process of this run has ended" in log.splitlines()[-1] and "Traceback" not in log, log
    saved = max(int(file.stem.split("-")[1]) for file in (run_dir / "checkpoints").glob("ckpt-*.index"))
    assert 10 <= saved < 30
    restarted = _start_workers(*LONG, f"--model_dir={run_dir}")
    for index, process in enumerate(restarted):
        code, log = process.wait(), process.printed("stderr")
        assert code == 0, log
        assert f"from step {saved}" in log and f"in 2 processes, this is process {index}" in log, log
    _assert_same_checkpoints(_checkpoint(run_dir, 30), _checkpoint(single_run, 30))
    folders = (run_dir, single_run)
    names = [{file.name for file in folder.iterdir() if "tfevents" not in file.name} for folder in folders]
    assert names[0] == names[1] and "saved_model" in names[0]
    # The killed and the restarted chief: one file each.
    assert len(list(run_dir.glob("events.*"))) == 2
    steps = [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert steps == [0, 30]
