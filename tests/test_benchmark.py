"""The benchmark's arithmetic: counted operations against the formulas."""

import time

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.config import override
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.presets import preset
from vitgan_tf.training import benchmark_data, benchmark_evaluation
from vitgan_tf.training.benchmark import matmul_flops, measure_training, training_step_flops


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


def _formula(config, whole_last_block=False):
    """Operations of a step's large products, by hand: tokens times weights, and attention."""
    g, d, batch = config.generator, config.discriminator, config.train.batch_size
    channels, tokens = config.data.num_channels, (config.data.image_size // g.patch_size) ** 2

    def block(count, width, mlp_dim, input_projections, queries=None):
        """Keys and values of all tokens; attention, output projection and MLP of the queries."""
        queries = queries or count
        return count * input_projections * width**2 + queries * (width**2 + 2 * width * mlp_dim + 2 * width * count)

    pixels = g.patch_size**2
    affine = 2 * g.embed_dim**2 + g.embed_dim**2 + pixels * g.embed_dim * (g.embed_dim + channels)
    generator = g.num_blocks * block(tokens, g.embed_dim, g.mlp_dim, 3) + tokens * affine
    patch = (d.patch_size + 2 * d.patch_overlap) ** 2 * channels
    seen = (config.data.image_size // d.patch_size) ** 2
    discriminator = (d.num_blocks - 1) * block(seen + 1, d.embed_dim, d.mlp_dim, 2) + seen * patch * d.embed_dim
    discriminator += block(seen + 1, d.embed_dim, d.mlp_dim, 2, queries=None if whole_last_block else 1)
    # Discriminator step: one generator pass, four views forward and back (weights and inputs); generator step:
    # forward and back through the generator, and through the discriminator to its inputs.
    return 2 * batch * (generator + 3 * 4 * discriminator + 3 * generator + 2 * discriminator)


def test_counted_operations_of_the_papers_step():
    """cifar10 at batch 2: within two percent of the formula, which leaves out mapping, norms and sigma."""
    config = override(preset("cifar10"), {"train.batch_size": 2})
    counted = training_step_flops(config)
    np.testing.assert_allclose(counted, _formula(config), rtol=0.02)
    # An independent count, of the same networks in PyTorch: 17.39 GFLOP per image. There the last block of the
    # discriminator computes all tokens, here the class token alone.
    np.testing.assert_allclose(_formula(config, whole_last_block=True) / 2, 17.39e9, rtol=0.02)


def test_measures_are_consistent():
    # Of one step, the median is the step itself, and that of the two products around it their mean.
    result = measure_training(preset("tiny"), num_steps=1)
    assert result["steps"] == 1 and result["batch_size"] == 8 and result["xla"] == "kernels"
    np.testing.assert_allclose(result["images_per_second"], 8 / result["step_seconds"], rtol=1e-2)
    np.testing.assert_allclose(
        result["fraction_of_matmul_peak"],
        result["gflops_per_step"] / result["step_seconds"] / result["matmul_peak_gflops"],
        rtol=1e-2,
    )
    assert result["step_seconds_min"] == result["step_seconds"]
    assert 0.3 < result["peak_memory_gb"] < 10
    assert result["matmul_peak_gflops"] > 1 and result["seconds_to_first_step"] > 1


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
