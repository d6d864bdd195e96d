"""What a TPU demands of the training step and of sampling, checked without one.

XLA translates both whole, with static shapes, for every preset and every variant: `experimental_get_compiler_ir` runs
TensorFlow's translation to XLA's HLO, and leaves out the code for a processor. test_gan.py runs steps compiled whole.
"""

import math
import re

import pytest
import tensorflow as tf
from support import choices
from tensorflow.python.framework.kernels import get_registered_kernels_for_op

from vitgan_tf.config import override
from vitgan_tf.evaluation.generation import ImageSampler
from vitgan_tf.presets import PRESETS, preset
from vitgan_tf.training.experiment import build_gan

pytestmark = pytest.mark.slow

# What stateless random numbers compute with 64 bits are their keys and counters, of four numbers at most.
_MAX_WIDE_ELEMENTS = 32
_WIDE_TENSOR = re.compile(r"\b([suf]64)\[(\d[\d,]*)\]")
_DYNAMIC_SHAPE = re.compile(r"\b\w+\[[\d,]*<=[\d,<=]*\]")
# Instructions that leave the device or keep a random state.
_HLO_FAULT = re.compile(
    r"(?<= )(?:custom-call|(?:send|recv)(?:-done)?|infeed|outfeed|rng|rng-get-and-update-state)"
    r"(?=\()"
)
_RANDOM_OP = re.compile("Random|Rng|Uniform|Normal|Multinomial|Binomial|Poisson")


def _op_types(concrete_function):
    """Names of all operations of a graph and of the functions that it calls, in conditions and loops too."""
    graph = concrete_function.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    functions = {function.signature.name for function in graph.library.function}
    return {node.op for node in nodes} - functions - {"Placeholder"}  # the arguments


def _op_problems(op_types):
    """Operations that XLA cannot translate, and random ones with a state. XLA's kernels must have been registered."""
    problems = []
    for name in sorted(op_types):
        if "XLA_CPU_JIT" not in {kernel.device_type for kernel in get_registered_kernels_for_op(name).kernel}:
            problems.append(f"no XLA kernel: {name}")
        if _RANDOM_OP.search(name) and not name.startswith("Stateless"):
            problems.append(f"random numbers with a state: {name}")
    return problems


def _hlo_problems(hlo):
    dynamic = {match[0] for match in _DYNAMIC_SHAPE.finditer(hlo)}
    faults = {match[0] for match in _HLO_FAULT.finditer(hlo)}
    wide = {
        match[0]
        for match in _WIDE_TENSOR.finditer(hlo)
        if math.prod(map(int, match[2].split(","))) > _MAX_WIDE_ELEMENTS
    }
    return [
        *(f"dynamic shape: {shape}" for shape in sorted(dynamic)),
        *(f"instruction: {name}" for name in sorted(faults)),
        *(f"64 bits: {shape}" for shape in sorted(wide)),
    ]


def _translate(function, *arguments):
    """HLO of a function, "" where XLA refuses it, and what a TPU would not run, in words.

    The arguments are specifications: XLA would use the values of tensors for the shapes that depend on them.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)
    concrete_function = compiled.get_concrete_function(*arguments)
    try:
        hlo, problems = compiled.experimental_get_compiler_ir(*arguments)(stage="hlo"), []
    except ValueError as error:
        hlo, problems = "", [f"not translated: {error}"]
    return hlo, _op_problems(_op_types(concrete_function)) + _hlo_problems(hlo) + problems


def _gan(config, num_parts=1, batch_size=4):
    """As on a TPU, where the step is compiled whole, and nothing but the configuration divides a share."""
    fields = {"train.batch_size": batch_size, "train.microbatch": batch_size // num_parts, "train.xla": "full"}
    return build_gan(override(config, fields))


def _step(gan):
    data = gan.config.data
    shape = [gan.config.train.batch_size, data.image_size, data.image_size, data.num_channels]
    return _translate(gan.train_step, tf.TensorSpec(shape))


def _sampling(gan):
    sampler = ImageSampler(gan, gan.generator.latent_dim, batch_size=16)
    return _translate(sampler._one_replica, *[tf.TensorSpec([], tf.int32)] * 2)


def _distinct(configs, key):
    """The first name of each configuration: several rows of a table may be the same, or differ in data alone."""
    return list({repr(key(config)): name for name, config in reversed(configs.items())}.values())[::-1]


# XLA keeps all that it has translated: the smallest preset is that of the variants.
_PRESETS = {name: make() for name, make in PRESETS.items() if name not in ("tiny", "digits")}
# Other rows of the paper's tables have no operations but those of these.
_ROWS = ("vitgan", "vanilla_vit", "g_prepend_conv", "g_modulate_linear", "stylegan2", "transgan", "biggan", "d_sn")
_VARIANTS = {**{name: preset("tiny", name) for name in _ROWS}, **choices.configs_of_fields()}
# Blocks and layers are all alike.
_ONE_BLOCK = {"generator.num_blocks": 1, "discriminator.num_blocks": 1, "generator.mapping_layers": 2}
_NARROW = ("mnist", "celeba64")  # as they are trained on TPUs


@pytest.mark.parametrize(
    "name",
    _distinct(_PRESETS, lambda config: (config.generator, config.discriminator, config.data.num_channels)),
)
def test_step_and_sampling_of_presets(name):
    precision = "mixed_bfloat16" if name in _NARROW else "float32"
    gan = _gan(override(_PRESETS[name], {**_ONE_BLOCK, "train.precision": precision}))
    hlo, problems = _step(gan)
    assert problems == []
    has_bfloat16_products = re.search(r"= bf16\[[\d,]+\]\S* dot\(", hlo) is not None
    assert has_bfloat16_products == (name in _NARROW)
    assert _sampling(gan)[1] == []


def test_every_choice_of_a_network_or_loss_is_among_the_variants():
    assert choices.missing(_VARIANTS.values()) == []


@pytest.mark.parametrize("name", _distinct(_VARIANTS, lambda config: config))
def test_step_of_variants(name):
    assert _step(_gan(override(_VARIANTS[name], _ONE_BLOCK)))[1] == []


@pytest.mark.parametrize("name", _distinct(_VARIANTS, lambda config: config.generator))
def test_sampling_of_variants(name):
    assert _sampling(_gan(override(_VARIANTS[name], _ONE_BLOCK)))[1] == []


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
    hlo, problems = _step(_gan(override(_VARIANTS[variant], {**_ONE_BLOCK, **fields}), num_parts=2))
    assert problems == []
    assert " while(" in hlo


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
    assert problem in _translate(function, tf.TensorSpec([1000]))[1]


def test_stateful_generators_are_found():
    generator = tf.random.Generator.from_seed(0)
    problems = _translate(lambda: generator.normal([10]))[1]
    assert "random numbers with a state: RngReadAndSkip" in problems


def test_what_xla_refuses_is_a_problem():
    problems = _translate(lambda x: tf.zeros([tf.cast(x[0], tf.int32)]), tf.TensorSpec([1]))[1]
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
    assert _hlo_problems(instruction) == [f"instruction: {name}"]


def test_a_clean_function_has_no_problems():
    def function(x, seed):
        return tf.sin(x) + tf.random.stateless_normal([1000], seed)

    assert _translate(function, tf.TensorSpec([1000]), tf.TensorSpec([2], tf.int32))[1] == []
