"""The benchmark's arithmetic: counted operations against the formulas, and ratios of known times."""

import json
import os
import sys
import time
import types

import numpy as np
import pytest
import tensorflow as tf
from support import commands, small

from vitgan_tf.benchmarks import data as benchmark_data
from vitgan_tf.benchmarks import endurance as benchmark_endurance
from vitgan_tf.benchmarks import evaluation as benchmark_evaluation
from vitgan_tf.benchmarks import products as benchmark_products
from vitgan_tf.benchmarks import sampling, timing, training
from vitgan_tf.benchmarks.sampling import measure_sampling
from vitgan_tf.benchmarks.scale import as_flags, in_own_process, measure_scale
from vitgan_tf.benchmarks.timing import Timing, convolution_flops, matmul_flops, time_between_products
from vitgan_tf.benchmarks.training import measure_training, training_step_flops
from vitgan_tf.config import override
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.errors import UserError
from vitgan_tf.presets import preset

pytestmark = pytest.mark.slow
TINY = override(preset("tiny"), small.FIELDS)


@pytest.fixture(autouse=True)
def _small_products(monkeypatch):
    """Those of the commands are as large as they are: seconds each."""
    monkeypatch.setattr(timing, "MATMUL_SIZE", 1024)


def test_products_are_counted_once_and_only_if_used():
    def function(a, b, batch):
        tf.matmul(a, a, transpose_b=True)  # unused
        return (
            tf.matmul(a, b),
            tf.matmul(b, a, transpose_a=True, transpose_b=True),
            tf.matmul(batch, batch, adjoint_a=True),
        )

    concrete = tf.function(function, autograph=False).get_concrete_function(
        tf.TensorSpec([2, 3]), tf.TensorSpec([3, 5]), tf.TensorSpec([7, 4, 4])
    )
    assert matmul_flops(concrete) == 2 * (2 * 3 * 5) + 2 * (5 * 3 * 2) + 2 * 7 * 4**3
    unknown = tf.function(function, autograph=False).get_concrete_function(
        tf.TensorSpec([None, 3]), tf.TensorSpec([3, 5]), tf.TensorSpec([7, 4, 4])
    )
    with pytest.raises(ValueError, match="not static"):
        matmul_flops(unknown)


@pytest.mark.parametrize("stride, size", [(1, 8), (2, 4)])
def test_convolutions_and_their_gradients_are_counted(stride, size):
    """Each takes a multiplication and an addition per output value and weight of its filter."""

    def function(images, filters):
        with tf.GradientTape() as tape:
            tape.watch((images, filters))
            loss = tf.reduce_sum(tf.nn.conv2d(images, filters, stride, "SAME") ** 2)
        return tape.gradient(loss, (images, filters))

    specs = tf.TensorSpec([2, 8, 8, 3]), tf.TensorSpec([5, 3, 3, 7])
    concrete = tf.function(function, autograph=False).get_concrete_function(*specs)
    assert convolution_flops(concrete) == 3 * 2 * (2 * size * size * 7) * (5 * 3 * 3)
    assert matmul_flops(concrete) == 0
    unknown = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([None, 8, 8, 3]), specs[1])
    with pytest.raises(ValueError, match="not static"):
        convolution_flops(unknown)


def _block(count, width, mlp_dim, input_projections, queries=None):
    """Keys and values of all tokens; attention, output projection and MLP of the queries."""
    queries = queries or count
    return count * input_projections * width**2 + queries * (width**2 + 2 * width * mlp_dim + 2 * width * count)


def _generator_formula(config):
    """Products of two numbers, per image."""
    g = config.generator
    tokens, pixels = (config.data.image_size // g.patch_size) ** 2, g.patch_size**2
    affine = 2 * g.embed_dim**2 + g.embed_dim**2 + pixels * g.embed_dim * (g.embed_dim + config.data.num_channels)
    return g.num_blocks * _block(tokens, g.embed_dim, g.mlp_dim, 3) + tokens * affine


def _formula(config, whole_last_block=False):
    """Operations of a step's large products, by hand: tokens times weights, and attention."""
    d, generator = config.discriminator, _generator_formula(config)
    patch = (d.patch_size + 2 * d.patch_overlap) ** 2 * config.data.num_channels
    seen = (config.data.image_size // d.patch_size) ** 2
    discriminator = (d.num_blocks - 1) * _block(seen + 1, d.embed_dim, d.mlp_dim, 2) + seen * patch * d.embed_dim
    discriminator += _block(seen + 1, d.embed_dim, d.mlp_dim, 2, queries=None if whole_last_block else 1)
    # Discriminator step: one generator pass, four views forward and back (weights and inputs); generator step:
    # forward and back through the generator, and through the discriminator to its inputs.
    return 2 * config.train.batch_size * (generator + 3 * 4 * discriminator + 3 * generator + 2 * discriminator)


def test_counted_operations_of_the_papers_step():
    """cifar10 at batch 2: within two percent of the formula, which leaves out mapping, norms and sigma."""
    config = override(preset("cifar10"), {"train.batch_size": 2})
    counted, _ = training_step_flops(config)
    np.testing.assert_allclose(counted, _formula(config), rtol=0.02)
    # An independent count, of the same networks in PyTorch: 17.39 GFLOP per image. There the last block of the
    # discriminator computes all tokens, here the class token alone.
    np.testing.assert_allclose(_formula(config, whole_last_block=True) / 2, 17.39e9, rtol=0.02)


@pytest.mark.parametrize("patch_size", [8, 2])
def test_counted_operations_follow_the_number_of_tokens(patch_size):
    """16 and 256 tokens, of which attention takes 1 and 10 percent."""
    fields = {"train.batch_size": 2, "generator.num_blocks": 2, "discriminator.num_blocks": 2}
    patches = {f"{network}.patch_size": patch_size for network in ("generator", "discriminator")}
    config = override(preset("cifar10"), {**fields, **patches, "discriminator.patch_overlap": patch_size // 2})
    np.testing.assert_allclose(training_step_flops(config)[0], _formula(config), rtol=0.03)


def test_fraction_of_the_peak_takes_out_the_drift():
    """Half of the peak in both calls, though the machine was three times as fast in the second."""
    product_flops = 2 * timing.MATMUL_SIZE**3
    timed = Timing([6.0, 2.0], {"float32": [(2.0, 4.0), (1.0, 1.0)], "bfloat16": [(1.0, 1.0), (1.0, 1.0)]})
    peaks = timed.peaks(product_flops)
    assert peaks["fraction_of_matmul_peak"] == 0.5
    np.testing.assert_allclose(peaks["matmul_peak_gflops"], product_flops / 2.0 / 1e9, rtol=1e-3)
    # The median of calls as long as 6 and 2 products is 4.
    assert peaks["fraction_of_bfloat16_matmul_peak"] == 0.25
    np.testing.assert_allclose(peaks["bfloat16_matmul_peak_gflops"], product_flops / 1e9, rtol=1e-3)


def test_functions_are_timed_by_turns_between_products(monkeypatch):
    """Each call has as neighbours the products just before and after it, also those around another function."""
    events, clock = [], iter(range(100))

    def timer(dtype):
        def product():
            events.append(dtype)
            return float(next(clock))

        return product

    monkeypatch.setattr(timing, "_product_timer", timer)
    functions = [lambda: events.append("first"), lambda: events.append("second")]
    first, second = time_between_products(functions, 2, ("float32", "bfloat16"))
    both = ["float32", "bfloat16"]
    turn = ["first", *both, "second", *both]
    assert events == [*both, *both, *turn, *turn]
    assert first.products == {"float32": [(2.0, 4.0), (6.0, 8.0)], "bfloat16": [(3.0, 5.0), (7.0, 9.0)]}
    assert second.products == {"float32": [(4.0, 6.0), (8.0, 10.0)], "bfloat16": [(5.0, 7.0), (9.0, 11.0)]}
    assert len(first.seconds) == len(second.seconds) == 2


@pytest.mark.slow
def test_a_step_of_several_batches_counts_all_their_images():
    config = override(TINY, {"train.discriminator_steps": 2, "train.xla": "off"})
    result = measure_training(config, num_steps=1)
    np.testing.assert_allclose(result["images_per_second"], 2 * 8 / result["step_seconds"], rtol=1e-2)


def test_measures_are_consistent(tmp_path):
    # Of one step, the median is the step itself, and that of the two products around it their mean.
    result = measure_training(TINY, num_steps=1, profile=str(tmp_path / "new" / "profile"))
    assert result["steps"] == 1 and result["batch_size"] == 8 and result["xla"] == "kernels"
    np.testing.assert_allclose(result["images_per_second"], 8 / result["step_seconds"], rtol=1e-2)
    np.testing.assert_allclose(
        result["fraction_of_matmul_peak"],
        result["gflops_per_step"] / result["step_seconds"] / result["matmul_peak_gflops"],
        rtol=1e-2,
    )
    assert result["step_seconds_min"] == result["step_seconds"]
    assert 0.3 < result["peak_memory_gb"] < 10
    assert (result["generator_weights"], result["discriminator_weights"]) == (5_233, 3_073)
    # Both networks with Adam's moments and the moving average: 4 (4 * 5,233 + 3 * 3,073) bytes.
    assert 0.0001206 < result["estimated_memory_gb"] < result["peak_memory_gb"]
    assert result["matmul_peak_gflops"] > 1 and result["seconds_to_first_step"] > 1
    phases = result["seconds_of_start"]
    assert list(phases) == ["imports", "building", "tracing", "first_step"] and min(phases.values()) > 0
    np.testing.assert_allclose(sum(phases.values()), result["seconds_to_first_step"], rtol=1e-2)
    assert result["graph_operations"] > result["live_operations"] > 1000  # in the smallest networks
    assert not [name for name in result if "bfloat16" in name]
    (profile,) = (tmp_path / "new" / "profile").rglob("*.xplane.pb")
    content = profile.read_bytes()
    # Three steps, by name and number, and what ran in them.
    assert b"train" in content and b"step_num" in content and b"MatMul" in content


def test_a_profile_that_cannot_be_written_is_said_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "build_gan", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write a profile to .*not a directory"):
        measure_training(preset("tiny"), num_steps=1, profile=str(tmp_path / "file" / "profile"))


def test_bfloat16_is_compared_with_both_peaks():
    config = override(TINY, {"train.precision": "mixed_bfloat16", "train.xla": "off"})
    result = measure_training(config, num_steps=1)
    speed = result["gflops_per_step"] / result["step_seconds"]
    assert result["precision"] == "mixed_bfloat16"
    for prefix in ("", "bfloat16_"):
        expected = speed / result[f"{prefix}matmul_peak_gflops"]
        np.testing.assert_allclose(result[f"fraction_of_{prefix}matmul_peak"], expected, rtol=1e-2)
    # As many operations as in float32.
    np.testing.assert_allclose(result["gflops_per_step"], training_step_flops(TINY)[0] / 1e9, rtol=0.01)


@pytest.mark.parametrize("precision, prefix", [("float32", ""), ("mixed_bfloat16", "bfloat16_")])
def test_products_of_a_step_are_timed_by_themselves(monkeypatch, precision, prefix):
    """Every product takes 10 ns, the large one between them a second: 10 ns are 10^-8 of its operations."""
    dtype = "float32" if precision == "float32" else "bfloat16"

    def time_between_products(functions, repeats, dtypes):
        assert repeats == 3 and dtypes == (dtype,)
        for function in functions:
            function()
        return [Timing([1e-8] * 3, {dtype: [(1.0, 1.0)] * 3}) for _ in functions]

    monkeypatch.setattr(benchmark_products, "time_between_products", time_between_products)
    config = override(preset("tiny"), {"train.precision": precision})
    operations = timing.used_products(training.traced_training_step(config, xla="kernels"))
    flops = [timing.product_flops(operation) for operation in operations]
    result = benchmark_products.measure_products(config, repeats=3, min_flops=20_000)
    large = sum(count >= 20_000 for count in flops)
    assert 30 < large < len(flops) == sum(row["count"] for row in result["products"]) + len(flops) - large
    expected = sum(flops) / (
        sum(count for count in flops if count < 20_000) + large * 1e-8 * 2 * timing.MATMUL_SIZE**3
    )
    np.testing.assert_allclose(result[f"fraction_of_{prefix}matmul_peak"], expected, rtol=1e-3)
    np.testing.assert_allclose(result["gflops_per_step"], sum(flops) / 1e9, rtol=1e-3)
    for row in result["products"]:
        np.testing.assert_allclose(row["share_of_time"], row["count"] / large, rtol=1e-3)
    # 8 images, 2 views of both kinds, 4 patches and the class token: the discriminator's MLP, its kernel transposed.
    assert "160 x 16 x 32^T" in {row["product"] for row in result["products"] if row["dtype"] == dtype}


def test_memory_is_that_of_the_steps_without_the_products(monkeypatch):
    """It is read before the first product is made."""
    events, memory = [], timing.peak_memory

    def peak_memory():
        events.append("memory")
        return memory()

    def products(functions, repeats, dtypes=("float32",)):
        events.append("products")
        return [Timing([1.0] * repeats, {dtype: [(1.0, 1.0)] * repeats for dtype in dtypes}) for _ in functions]

    for module in (training, sampling):
        monkeypatch.setattr(module, "peak_memory", peak_memory)
        monkeypatch.setattr(module, "time_between_products", products)
    measure_training(override(TINY, {"train.xla": "off"}), num_steps=1)
    measure_sampling(TINY, num_draws=1, batch_sizes=(16, 32))
    assert events == ["memory", "products", "memory", "memory", "products"]


def test_measures_of_drawing_are_consistent():
    """Operations by the formula; at every batch size, fraction, speed and peak fit; memory only grows."""
    config = override(preset("cifar10"), {"generator.num_blocks": 2})
    result = measure_sampling(config, num_draws=1, batch_sizes=(16, 48))
    assert (result["dataset"], result["draws"]) == ("cifar10", 1)
    np.testing.assert_allclose(result["gflops_per_image"], 2 * _generator_formula(config) / 1e9, rtol=0.02)
    assert [row["batch_size"] for row in result["batch_sizes"]] == [16, 48]
    for row in result["batch_sizes"]:
        speed = result["gflops_per_image"] * row["images_per_second"]
        np.testing.assert_allclose(row["fraction_of_matmul_peak"], speed / row["matmul_peak_gflops"], rtol=1e-2)
        np.testing.assert_allclose(row["milliseconds_per_image"], 1000 / row["images_per_second"], rtol=1e-2)
    first, second = (row["peak_memory_gb"] for row in result["batch_sizes"])
    assert 0.3 < first <= second < 10


class _Machine:
    """Measures rows in no time: times are those of a formula, on a machine whose speed drifts from row to row."""

    def __init__(self):
        self.fields, self.drift = [], 1.0

    def __call__(self, fields):
        self.fields.append(fields)
        self.drift *= 1.25
        batch_size, patch_size = fields["train.batch_size"], fields.get("generator.patch_size", 4)
        tokens = (32 // patch_size) ** 2
        flops_per_image = 10.0 * tokens
        # A fifth of the time is per step at 16 images; time grows faster than the arithmetic with the tokens.
        seconds = self.drift * batch_size * (0.002 * tokens**1.5 + 0.001 * tokens**1.5 * 16 / (2 * batch_size))
        peak = 400.0 / self.drift
        return {
            "dataset": "cifar10",
            "batch_size": batch_size,
            "xla": "kernels",
            "microbatch": 8,
            "precision": "float32",
            "steps": 1,
            "step_seconds": seconds,
            "gflops_per_step": flops_per_image * batch_size,
            "matmul_peak_gflops": peak,
            "fraction_of_matmul_peak": flops_per_image * batch_size / seconds / peak,
            "peak_memory_gb": float(len(self.fields)),
            "seconds_to_first_step": 10.0 * len(self.fields),
        }


def test_ratios_of_the_scale_are_those_of_the_rows():
    machine = _Machine()
    result = measure_scale(preset("cifar10"), machine)
    batches, tokens = result["batch_sizes"], result["tokens"]
    sizes = np.array([16, 32, 64, 128])
    assert [row["batch_size"] for row in batches] == sizes.tolist()
    true_ratios = (2 + 8 / sizes) / 2.5
    np.testing.assert_allclose([row["relative_time_at_equal_peak"] for row in batches], true_ratios, rtol=1e-3)
    drift = 1.25 ** np.arange(4)
    np.testing.assert_allclose([row["relative_time_per_image"] for row in batches], true_ratios * drift, rtol=1e-3)
    np.testing.assert_allclose(result["largest_batch_deviation"], 1 - true_ratios[-1], atol=1e-4)
    np.testing.assert_allclose([row["gflops_per_image"] for row in batches], 640)
    np.testing.assert_allclose(batches[0]["milliseconds_per_image"], 1250 * 0.0025 * 64**1.5, rtol=1e-3)

    counts = np.array([16, 64, 256])
    assert [row["tokens"] for row in tokens] == counts.tolist()
    assert [(row["patch_size"], row["patch_overlap"]) for row in tokens] == [(8, 4), (4, 2), (2, 1)]
    np.testing.assert_allclose([row["relative_gflops_per_image"] for row in tokens], counts / 64)
    slower, drift = (counts / 64) ** 0.5, 1.25 ** np.arange(-1, 2)
    equal_peak = [row["relative_time_per_gflop_at_equal_peak"] for row in tokens]
    np.testing.assert_allclose(equal_peak, slower, rtol=1e-3)
    np.testing.assert_allclose([row["relative_time_per_gflop"] for row in tokens], slower * drift, rtol=1e-3)
    times = [row["relative_time_per_image"] for row in tokens]
    np.testing.assert_allclose(times, slower * drift * counts / 64, rtol=1e-3)

    # Each row's own, in the order of the measurements.
    assert [row["peak_memory_gb"] for row in batches + tokens] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert machine.fields[:2] == [{"train.batch_size": 16}, {"train.batch_size": 32}]
    assert machine.fields[-1] == {
        "train.batch_size": 32,
        "generator.patch_size": 2,
        "discriminator.patch_size": 2,
        "discriminator.patch_overlap": 1,
    }


def test_the_scale_has_as_many_tokens_as_there_are_pixels():
    """8 x 8 pixels: 64 tokens at most; and images that are not a multiple of 8 have nothing to compare with."""
    result = measure_scale(preset("tiny"), _Machine())
    assert [(row["tokens"], row["patch_size"], row["patch_overlap"]) for row in result["tokens"]] == [
        (16, 2, 1),
        (64, 1, 0),
    ]
    assert result["tokens"][1]["relative_time_per_image"] == 1.0
    machine = _Machine()
    with pytest.raises(UserError, match=r"multiple of 8, got 12"):
        measure_scale(override(preset("tiny"), {"data.image_size": 12}), machine)
    assert not machine.fields


def test_rows_are_measured_by_the_training_command(capsys):
    """In a process of its own, with the row's fields after those of the user; what it logs is printed once."""
    script = "import json, sys; print('a table'); print(json.dumps({'arguments': sys.argv[1:]}))"
    measure = in_own_process([sys.executable, "-c", script, "--given"])
    fields = {"train.batch_size": 16, "augment.policy": ("color", "cutout"), "data.flip": True}
    flags = ["--train.batch_size=16", "--augment.policy=color,cutout", "--data.flip=True"]
    assert as_flags(fields) == flags
    assert measure(fields) == {"arguments": ["--given", *flags]}
    for ending, words in (("sys.exit('benchmark.py: too large')", "too large"), ("sys.exit(3)", "exit code 3")):
        failing = in_own_process([sys.executable, "-c", f"import sys; print('a line', file=sys.stderr); {ending}"])
        with pytest.raises(UserError, match=f"cannot measure --train.batch_size=16: .*{words}$"):
            failing({"train.batch_size": 16})
        assert capsys.readouterr().err == "a line\n"
    script = "import os, sys; print('a line', file=sys.stderr); print(os.environ['NUMBER'])"
    measure = in_own_process([sys.executable, "-c", script], {**os.environ, "NUMBER": "17"})
    assert (measure({}), capsys.readouterr().err) == (17, "a line\n")
    measured = in_own_process(commands.command("tools/benchmark.py", "train", "--dataset=tiny", "--steps=1"))
    fields = {**small.FIELDS, "train.batch_size": 4, "generator.patch_size": 2, "discriminator.patch_size": 2}
    result = measured(fields)
    assert (result["dataset"], result["batch_size"], result["steps"]) == ("digits", 4, 1)
    flops, _ = training_step_flops(override(preset("tiny"), fields))
    np.testing.assert_allclose(result["gflops_per_step"], flops / 1e9, rtol=1e-3)


def test_the_table_says_what_the_json_line_says():
    result = commands.run("tools/benchmark.py", "sample", "--dataset=tiny", "--steps=1")
    assert result.returncode == 0 and result.stderr == "", result.stderr
    *table, last = result.stdout.splitlines()
    values = json.loads(last)
    rows = values.pop("batch_sizes")
    split = table.index("batch_sizes")
    for lines, columns in ((table[: split - 1], [values]), (table[split + 1 :], rows)):
        cells = [line.split() for line in lines]
        assert [name for name, *_ in cells] == list(columns[0])
        for name, *texts in cells:
            shown = texts if name == "dataset" else [float(text) for text in texts]
            assert shown == [column[name] for column in columns]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("sample", "--batch_size=8"), "sample sets its own batch sizes"),
        (("scale", "--dataset=tiny", "--train.batch_size=8"), "scale sets its own batch sizes"),
        (("scale", "--profile=somewhere"), "--profile applies only to train"),
        (("scale", "--dataset=tiny", "--image_size=12"), "must be a multiple of 8, got 12"),
    ],
)
def test_arguments_that_do_not_go_together(arguments, words):
    assert words in commands.error_line("tools/benchmark.py", *arguments)


def test_measures_of_the_input_are_consistent():
    """Their ratio is that of the speeds; and a step that is made to wait for its batch is seen to wait."""
    fields = {"embed_dim": 24, "mlp_dim": 32, "num_blocks": 1}
    small = {
        f"{network}.{name}": value for network in ("generator", "discriminator") for name, value in fields.items()
    }
    config = override(preset("mnist"), {**small, "train.batch_size": 8})
    result = benchmark_data.measure_data(config, num_images=400, num_steps=3)
    assert (result["dataset"], result["source"], result["num_images"]) == ("mnist", "png 28 x 28", 400)
    ratio = result["memory_images_per_second"] / result["train_images_per_second"]
    np.testing.assert_allclose(result["memory_over_train"], ratio, rtol=1e-3)
    assert len(result["memory_mb_after_epochs"]) == 3
    assert 0 < result["wait_fraction"] < 0.5

    def after_a_second(batch):
        time.sleep(1.0)
        return batch

    dataset = training_dataset(np.zeros((400, 32, 32, 1), np.uint8), batch_size=8, seed=0)
    delayed = dataset.map(
        lambda batch: tf.ensure_shape(tf.py_function(after_a_second, [batch], tf.float32), batch.shape)
    )
    speed, waited = benchmark_data._training(config, delayed, num_steps=3)
    assert waited > 0.5 and speed < 8 / 0.9


def test_measures_of_the_evaluation_agree_with_each_other(monkeypatch):
    """The three ways to the Frechet distance, at few dimensions, and a network of a speed that is known."""
    monkeypatch.setattr(benchmark_evaluation, "FEATURE_DIM", 64)
    monkeypatch.setattr(benchmark_evaluation, "REPEATS", 2)
    monkeypatch.setattr(benchmark_evaluation, "REPEATED_IMAGES", 40)
    monkeypatch.setattr(benchmark_evaluation, "_inception_speed", lambda: 12.0)
    result = benchmark_evaluation.measure_evaluation(300)
    assert (result["num_images"], result["feature_dim"], result["inception_images_per_second"]) == (300, 64, 12.0)
    # tensorflow-gan gives float32 back.
    assert result["tfgan_relative_difference"] < 1e-5 and result["scipy_relative_difference"] < 1e-8
    assert 0.3 < result["peak_memory_gb"] < 10 and abs(result["growth_mb"]) < 100
    assert min(value for name, value in result.items() if name.endswith("seconds")) > 0


def test_endurance_of_a_short_run(monkeypatch):
    """A process that grows by 50 kB, and by an open file, in every step, each of which takes longer."""
    now, steps = [0.0], [0]

    class Process:
        def memory_info(self):
            return types.SimpleNamespace(rss=10**9 + 50_000 * steps[0])

        def num_fds(self):
            return 7 + steps[0]

    def run(config, directory, location, callbacks):
        assert config.total_steps == 200 and config.log.eval_every_kimg == config.train.total_kimg / 40
        (recorder,) = callbacks
        with open(os.path.join(directory, "events.x"), "wb") as events:
            for batch in range(config.total_steps):
                recorder.on_train_batch_begin(batch)
                now[0] += 0.001 * batch
                steps[0] += 1
                events.write(bytes(1000))
                events.flush()
                recorder.on_train_batch_end(batch)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(benchmark_endurance.psutil, "Process", Process)
    monkeypatch.setattr(benchmark_endurance, "run_experiment", run)
    result = benchmark_endurance.measure_endurance(preset("tiny"), 200)
    rows = result["rows"]
    ends = list(range(20, 201, 20))
    assert [row["step"] for row in rows] == ends
    assert [row["open_files"] for row in rows] == [7 + end for end in ends]
    np.testing.assert_allclose([row["memory_mb"] for row in rows], [1000 + 0.05 * end for end in ends], rtol=1e-3)
    np.testing.assert_allclose([row["events_mb"] for row in rows], [0.001 * end for end in ends])
    np.testing.assert_allclose(result["memory_kb_per_1000_steps"], 50_000, rtol=1e-3)
    # From 9.5 milliseconds in the first twenty steps, at the middle, to 189.5 in the last ones.
    np.testing.assert_allclose(result["largest_step_time_ratio"], 189.5 / 9.5, rtol=1e-3)
