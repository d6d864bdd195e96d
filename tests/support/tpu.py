"""What a TPU would not run of a training step or of sampling: python tests/support/tpu.py KIND NUM_PARTS CONFIG_JSON

In a process of its own, as XLA keeps all that it has translated. KIND is step or sampling. Prints the problems,
whether products have 16 bits, and whether there is a loop, as JSON.
"""

import json
import math
import re
import sys

import tensorflow as tf
from tensorflow.python.framework.kernels import get_registered_kernels_for_op

from vitgan_tf.config import from_dict, override
from vitgan_tf.evaluation.generation import ImageSampler
from vitgan_tf.training.build import build_gan

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


def hlo_problems(hlo):
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


def translate(function, *arguments):
    """HLO of a function, "" where XLA refuses it, and what a TPU would not run, in words.

    The arguments are specifications: XLA would use the values of tensors for the shapes that depend on them.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)
    concrete_function = compiled.get_concrete_function(*arguments)
    try:
        hlo, problems = compiled.experimental_get_compiler_ir(*arguments)(stage="hlo"), []
    except ValueError as error:
        hlo, problems = "", [f"not translated: {error}"]
    return hlo, _op_problems(_op_types(concrete_function)) + hlo_problems(hlo) + problems


def _gan(config, num_parts=1, batch_size=4):
    """As on a TPU, where the step is compiled whole, and nothing but the configuration divides a share."""
    fields = {"train.batch_size": batch_size, "train.microbatch": batch_size // num_parts, "train.xla": "full"}
    return build_gan(override(config, fields))


def _step(gan):
    data = gan.config.data
    shape = [gan.config.train.batch_size, data.image_size, data.image_size, data.num_channels]
    return translate(gan.train_step, tf.TensorSpec(shape))


def _sampling(gan):
    sampler = ImageSampler(gan, gan.generator.latent_dim, batch_size=16)
    return translate(sampler._one_replica, *[tf.TensorSpec([], tf.int32)] * 2)


def main(kind, num_parts, config):
    gan = _gan(from_dict(json.loads(config)), int(num_parts))
    hlo, problems = {"step": _step, "sampling": _sampling}[kind](gan)
    has_narrow_products = re.search(r"= bf16\[[\d,]+\]\S* dot\(", hlo) is not None
    print(json.dumps({"problems": problems, "narrow": has_narrow_products, "loop": " while(" in hlo}))


if __name__ == "__main__":
    main(*sys.argv[1:])
