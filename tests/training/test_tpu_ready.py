"""What a TPU demands of the training step and of sampling, checked without one.

XLA translates both whole, with static shapes, for every preset and every variant: `experimental_get_compiler_ir` runs
TensorFlow's translation to XLA's HLO, and leaves out the code for a processor. test_gan.py runs steps compiled whole.
"""

import json
import re

import pytest
import tensorflow as tf
from support import choices, commands, small
from support.tpu import hlo_problems, translate

from vitgan_tf.config import as_dict, override
from vitgan_tf.presets import PRESETS, preset

pytestmark = pytest.mark.slow


def _found(kind, config, num_parts=1):
    """What `support.tpu` says of a configuration."""
    result = commands.run("tests/support/tpu.py", kind, num_parts, json.dumps(as_dict(config)))
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


def _distinct(configs, key):
    """The first name of each configuration: several rows of a table may be the same, or differ in data alone."""
    return list({repr(key(config)): name for name, config in reversed(configs.items())}.values())[::-1]


# The smallest presets are those of the variants.
_PRESETS = {name: make() for name, make in PRESETS.items() if name not in ("tiny", "digits")}
# Other rows of the paper's tables have no operations but those of these.
_ROWS = (
    *("vitgan", "vanilla_vit", "g_prepend_conv", "stylegan2", "transgan", "biggan", "d_sn"),
    *("vitgan_contrad", "vitgan_r3gan"),
)
# Several updates of the discriminator have the same operations several times.
_VARIANTS = {
    **{name: override(preset("tiny", name), {"train.discriminator_steps": 1}) for name in _ROWS},
    **choices.configs_of_fields(),
}
_NARROW = ("mnist", "celeba64")  # as they are trained on TPUs


@pytest.mark.parametrize(
    "name",
    _distinct(_PRESETS, lambda config: (config.generator, config.discriminator, config.data.num_channels)),
)
def test_step_and_sampling_of_presets(name):
    precision = "mixed_bfloat16" if name in _NARROW else "float32"
    config = override(_PRESETS[name], {**small.FIELDS, "train.precision": precision})
    found = _found("step", config)
    assert found["problems"] == []
    assert found["narrow"] == (name in _NARROW)
    assert _found("sampling", config)["problems"] == []


def test_every_choice_of_a_network_or_loss_is_among_the_variants():
    assert choices.missing(_VARIANTS.values()) == []


@pytest.mark.parametrize("name", _distinct(_VARIANTS, lambda config: config))
def test_step_of_variants(name):
    assert _found("step", override(_VARIANTS[name], small.FIELDS))["problems"] == []


@pytest.mark.parametrize("name", _distinct(_VARIANTS, lambda config: config.generator))
def test_sampling_of_variants(name):
    assert _found("sampling", override(_VARIANTS[name], small.FIELDS))["problems"] == []


@pytest.mark.parametrize(
    "variant, fields",
    [
        ("vitgan", {"train.precision": "mixed_bfloat16"}),
        ("vanilla_vit", {}),
        ("g_prepend_conv", {"loss.lecam_lambda": 0.3, "generator.normalization": "isn"}),
    ],
)
def test_step_in_parts(variant, fields):
    """The gradients of two microbatches are summed up in a loop."""
    found = _found("step", override(_VARIANTS[variant], {**small.FIELDS, **fields}), num_parts=2)
    assert found["problems"] == [] and found["loop"]


def _in_a_loop(function):
    """Out of sight for who reads the outermost graph alone."""
    return lambda x: tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, function(x)), [tf.constant(0), x])[1]


@pytest.mark.parametrize(
    "function, problem",
    [
        (lambda x: tf.py_function(lambda y: y, [x], tf.float32), "no XLA kernel: EagerPyFunc"),
        (
            _in_a_loop(lambda x: tf.ensure_shape(tf.numpy_function(lambda y: y, [x], tf.float32), [1000])),
            "no XLA kernel: PyFunc",
        ),
        (lambda x: tf.cast(x, tf.int64) * 3, "64 bits: s64[1000]"),
        (_in_a_loop(lambda x: tf.cast(tf.cast(x, tf.float64) * 3.0, tf.float32)), "64 bits: f64[1000]"),
        (lambda x: x + tf.random.normal([1000]), "random numbers with a state: RandomStandardNormal"),
        (_in_a_loop(lambda x: x + tf.random.uniform([1000])), "random numbers with a state: RandomUniform"),
        (lambda x: x + tf.random.normal([1000]), "instruction: rng"),
        (lambda x: tf.unique(x)[0], "dynamic shape: f32[<=1000]"),
        (lambda x: tf.where(x > 0), "dynamic shape: s64[<=1000,1]"),
        (_in_a_loop(lambda x: x + tf.reduce_sum(tf.boolean_mask(x, x > 0))), "dynamic shape: f32[<=1000]"),
    ],
)
def test_planted_faults_are_found(function, problem):
    assert problem in translate(function, tf.TensorSpec([1000]))[1]


def test_stateful_generators_are_found():
    generator = tf.random.Generator.from_seed(0)
    problems = translate(lambda: generator.normal([10]))[1]
    assert "random numbers with a state: RngReadAndSkip" in problems


def test_what_xla_refuses_is_a_problem():
    problems = translate(lambda x: tf.zeros([tf.cast(x[0], tf.int32)]), tf.TensorSpec([1]))[1]
    assert [problem.split(":")[0] for problem in problems] == ["not translated"]


@pytest.mark.parametrize(
    "instruction",
    [
        '%call.1 = f32[4]{0} custom-call(f32[4]{0} %x), custom_call_target="host"',
        "%send.1 = (f32[4]{0}, u32[], token[]) send(f32[4]{0} %x, token[] %t), channel_id=1, is_host_transfer=true",
        "%recv-done.1 = (f32[4]{0}, token[]) recv-done((f32[4]{0}, u32[], token[]) %recv.1), channel_id=1",
        "%outfeed.1 = token[] outfeed(f32[4]{0} %x, token[] %t)",
    ],
)
def test_instructions_that_leave_the_device_are_found(instruction):
    name = re.search(r" ([a-z-]+)\(", instruction.split(" = ")[1])[1]
    assert hlo_problems(instruction) == [f"instruction: {name}"]


def test_a_clean_function_has_no_problems():
    def function(x, seed):
        return tf.sin(x) + tf.random.stateless_normal([1000], seed)

    assert translate(function, tf.TensorSpec([1000]), tf.TensorSpec([2], tf.int32))[1] == []
