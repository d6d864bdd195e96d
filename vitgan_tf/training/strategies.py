"""On which devices a run computes: TensorFlow's `tf.distribute` strategies by name."""

from __future__ import annotations

import json
import os
from typing import Any, Callable

import numpy as np
import tensorflow as tf
from absl import logging

from vitgan_tf.config import ExperimentConfig
from vitgan_tf.errors import UserError, first_line

# On CPUs, the widest activations of a pass take no more than this, in bytes: with less, the step is slower.
_CPU_ACTIVATION_BYTES = 52_000_000
_TPU_STEPS_PER_EXECUTION = 100


def build_strategy(
    name: str = "auto", tpu: str | None = None, logical_cpus: int = 0, several_processes: bool = True
) -> tf.distribute.Strategy:
    """Makes a strategy; to be called before TensorFlow has computed anything.

    Args:
      name: "single", one device; "mirrored", all GPUs of this machine, or its logical CPUs; "multi_worker", the
        processes that TF_CONFIG names; "tpu"; or "auto": the first of tpu, multi_worker and mirrored that finds what
        it needs (a TPU's name or device, a TF_CONFIG, two GPUs), else single.
      tpu: name of a TPU, or "local" for the one of this machine; by default TPU_NAME of the environment, else local.
      logical_cpus: divides the CPU into so many devices, to run "mirrored" without GPUs; 0 leaves it whole.
      several_processes: whether "auto" looks at TF_CONFIG.

    Raises:
      UserError: the devices are not there, or cannot be reached.
    """
    if logical_cpus:
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(logical_cpus)]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    chosen = _automatic(tpu, logical_cpus, several_processes) if name == "auto" else name
    strategy = _MAKERS[chosen](tpu)
    if chosen != "single":
        logging.info("strategy: %s%s, %s", chosen, " (auto)" if name == "auto" else "", describe(strategy))
    return strategy


def describe(strategy: tf.distribute.Strategy) -> str:
    """Replicas and devices of a strategy, in words."""
    replicas = strategy.num_replicas_in_sync
    if num_workers(strategy) > 1:
        return f"{replicas} replicas in {num_workers(strategy)} processes, this is number {worker(strategy)}"
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return f"{replicas} TPU cores"
    if replicas == 1:
        return "1 GPU" if tf.config.list_physical_devices("GPU") else "1 CPU"
    kinds = {device.rsplit(":", 2)[-2] for device in strategy.extended.worker_devices}
    return f"{replicas} replicas on {'logical CPUs' if kinds == {'CPU'} else 'GPUs'}"


def _automatic(tpu: str | None, logical_cpus: int, several_processes: bool) -> str:
    if tpu or os.environ.get("TPU_NAME") or _has_tpu():
        return "tpu"
    if several_processes and os.environ.get("TF_CONFIG"):
        return "multi_worker"
    num_gpus = len(tf.config.list_physical_devices("GPU"))
    return "mirrored" if num_gpus > 1 or (logical_cpus > 1 and not num_gpus) else "single"


def _single(_: str | None) -> tf.distribute.Strategy:
    return tf.distribute.get_strategy()


def _mirrored(_: str | None) -> tf.distribute.Strategy:
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("CPU")])


def _multi_worker(_: str | None) -> tf.distribute.Strategy:
    example = """{"cluster": {"worker": ["host0:port", "host1:port"]}, "task": {"type": "worker", "index": 0}}"""
    try:
        content = json.loads(os.environ.get("TF_CONFIG", ""))
        task, cluster = content["task"], content["cluster"]
        if task["type"] not in ("chief", "worker") or not 0 <= task["index"] < len(cluster[task["type"]]):
            raise ValueError(f"there is no {task['type']} {task['index']} in its cluster")
        addresses = [address for of_kind in cluster.values() for address in of_kind]
        hosts = [address.rsplit(":", 1)[0].strip("[]") for address in addresses]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"multi_worker needs every process's own TF_CONFIG in its environment, for example {example} "
            f"({first_line(error)})"
        ) from error
    _connect_directly(hosts)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise UserError(f"cannot join the processes of TF_CONFIG: {first_line(error)}") from error


def _connect_directly(hosts: list[str]) -> None:
    """Keeps gRPC from sending for other processes by way of http_proxy, where they wait for each other for ever.

    A grpc_proxy of the environment is meant for them, and stays.
    """
    # gRPC reads these names in lower case alone.
    if not os.environ.get("grpc_proxy"):  # noqa: SIM112
        others = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy")  # noqa: SIM112
        os.environ["no_grpc_proxy"] = ",".join([*([others] if others else []), *hosts])  # noqa: SIM112


def _has_tpu() -> bool:
    """Whether this is a TPU VM: its chips are /dev/accel*, newer ones /dev/vfio/*, as are other devices elsewhere."""
    return os.path.exists("/dev/accel0") or (os.path.exists("/dev/vfio/0") and os.path.exists("/lib/libtpu.so"))


def _tpu(tpu: str | None) -> tf.distribute.Strategy:
    name = tpu or os.environ.get("TPU_NAME") or "local"
    if name == "local" and not _has_tpu():
        raise UserError("this machine has no TPU: run on a TPU VM, or name one with --tpu")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, ValueError, RuntimeError, OSError) as error:
        raise UserError(f"cannot use the TPU {name!r}: {first_line(error)}") from error


_MAKERS = {"single": _single, "mirrored": _mirrored, "multi_worker": _multi_worker, "tpu": _tpu}


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Processes that compute together; 1 unless the strategy is multi_worker."""
    return _input_workers(strategy)[0]


def worker(strategy: tf.distribute.Strategy) -> int:
    """Number of this process among them. Number 0 is the chief, which writes the run directory."""
    return _input_workers(strategy)[1]


def _input_workers(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1, 0
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict()
    has_chief = "chief" in cluster
    number = resolver.task_id + (1 if has_chief and resolver.task_type == "worker" else 0)
    return sum(len(cluster.get(kind, ())) for kind in ("chief", "worker")), number


def resolve(config: ExperimentConfig, strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """The arguments of `GAN.compile`: what a configuration leaves open, decided for the devices of a strategy.

    Raises:
      UserError: the batch cannot be shared by the replicas, or a share not by the microbatches; or the devices do not
        have this precision or compilation.
    """
    train, replicas = config.train, strategy.num_replicas_in_sync
    if train.batch_size % replicas:
        raise UserError(
            f"train.batch_size must be a multiple of the number of replicas, got {train.batch_size} and {replicas}"
        )
    share = train.batch_size // replicas
    if train.microbatch and share % train.microbatch:
        raise UserError(
            f"train.microbatch must divide the {share} images of each replica, got {train.microbatch}: "
            "train.batch_size over the number of replicas"
        )
    generator, discriminator = config.chosen_networks()
    group_size = discriminator.group_size(config)
    if (train.microbatch or share) % group_size:
        name = config.discriminator.architecture
        raise UserError(
            f"{name}.group_size must divide the {share} images of each replica and train.microbatch, "
            f"got {group_size} and {train.microbatch}"
        )
    if generator.needs_whole_share and train.microbatch not in (0, share):
        raise UserError(
            f"train.microbatch must be 0 with generator.architecture={config.generator.architecture}: its batch norm "
            f"is over the whole batch; got {train.microbatch}"
        )
    is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    is_cpu = not is_tpu and not tf.config.list_physical_devices("GPU")
    if is_tpu and train.precision == "mixed_float16":
        raise UserError("a TPU computes in bfloat16: --precision=mixed_bfloat16")
    xla = train.xla
    if xla == "full" and replicas > 1 and not is_tpu:
        raise UserError("train.xla=full compiles the step of one device: with several, auto, kernels or off")
    if xla == "auto":
        xla = "full" if is_tpu else "kernels" if is_cpu else "off"
    return {
        "xla": xla,
        "microbatch": train.microbatch or (_cpu_microbatch(config, share) if is_cpu else share),
        "steps_per_execution": train.steps_per_execution or (_TPU_STEPS_PER_EXECUTION if is_tpu else 1),
    }


def _cpu_microbatch(config: ExperimentConfig, share: int) -> int:
    """The largest divisor of share with which the widest activations fit `_CPU_ACTIVATION_BYTES`."""
    generator, discriminator = config.chosen_networks()
    if generator.needs_whole_share:
        return share
    widest = max(
        config.loss.num_views * discriminator.widest_activations(config), generator.widest_activations(config), 1
    )
    limit = _CPU_ACTIVATION_BYTES // (4 * widest)
    fitting = range(1, min(share, max(1, limit)) + 1)
    group = discriminator.group_size(config)
    return max((size for size in fitting if share % size == 0 and size % group == 0), default=group)


def agree_on_step(strategy: tf.distribute.Strategy, step: int) -> None:
    """Makes sure that all processes go on from the same step.

    Raises:
      UserError: they have restored different checkpoints.
    """
    if num_workers(strategy) == 1:
        return
    steps = strategy.run(
        lambda: tf.distribute.get_replica_context().all_gather(tf.constant([step], tf.int32), axis=0)
    )
    steps = np.unique(strategy.experimental_local_results(steps)[0].numpy())
    if len(steps) > 1:
        raise UserError(
            f"the processes have found checkpoints of different steps, {', '.join(map(str, steps))}: --model_dir "
            "must be on storage that all of them see"
        )


def distribute(
    strategy: tf.distribute.Strategy, dataset_of: Callable[[int, int], tf.data.Dataset]
) -> tf.data.Dataset:
    """What `fit` reads under a strategy: each replica its own share of every batch.

    Args:
      strategy: of the training.
      dataset_of: number of input pipelines, number of one -> its share of every batch, without end. There is one
        pipeline for each process, or for each host of a TPU slice.
    """
    if strategy.num_replicas_in_sync == 1:
        return dataset_of(1, 0)

    def of_pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
        dataset = dataset_of(context.num_input_pipelines, context.input_pipeline_id)
        local_replicas = context.num_replicas_in_sync // context.num_input_pipelines
        shape = dataset.element_spec.shape

        def shares(batch: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.from_tensor_slices(tf.reshape(batch, [local_replicas, -1, *shape[1:]]))

        static = [shape[0] // local_replicas, *shape[1:]]
        parts = dataset.flat_map(shares).map(lambda share: tf.ensure_shape(share, static))
        # Without this, the last batch might be smaller, and shapes would not be static.
        parts = parts.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        return parts.prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(of_pipeline)
