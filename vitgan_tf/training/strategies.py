"""Builds the `tf.distribute` strategy of a run from its name."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from vitgan_tf.errors import UserError, first_line

# Errors of collective operations after another process has ended.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError, tf.errors.CancelledError)


def build_strategy(
    name: str = "auto",
    tpu: str | None = None,
    logical_cpus: int = 0,
    several_processes: bool = True,
    gpu_memory_gb: float = 0.0,
) -> tf.distribute.Strategy:
    """Builds a strategy. Call it before TensorFlow has computed anything.

    Args:
      name: "single", one device; "mirrored", all GPUs of this machine, or its logical CPUs; "multi_worker", the
        processes in TF_CONFIG; "tpu"; or "auto": the first of tpu, multi_worker and mirrored whose requirement (a
        TPU's name or device, a TF_CONFIG, two GPUs or logical CPUs) is met, else single.
      tpu: name of a TPU, or "local" for this machine's; default: TPU_NAME of the environment, else local.
      logical_cpus: number of logical devices that the CPU is split into, to run "mirrored" without GPUs; 0 for none.
      several_processes: whether "auto" looks at TF_CONFIG.
      gpu_memory_gb: see `TrainConfig`.

    Raises:
      UserError: the devices are missing or cannot be reached.
    """
    _limit_gpus(gpu_memory_gb)
    if logical_cpus:
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(logical_cpus)]
        try:
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
        except RuntimeError as error:
            raise UserError(f"cannot split the CPU: TensorFlow has already started ({first_line(error)})") from error
    chosen = strategy_name(name, tpu, logical_cpus, several_processes)
    strategy = _MAKERS[chosen](tpu)
    if chosen != "single":
        logging.info("strategy: %s%s, %s", chosen, " (auto)" if name == "auto" else "", describe(strategy))
    return strategy


def _limit_gpus(memory_gb: float) -> None:
    """Lets TensorFlow take the memory of GPUs as needed, up to a limit; by default, it would take all at once."""
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            if memory_gb:
                limit = tf.config.LogicalDeviceConfiguration(memory_limit=int(memory_gb * 1e9 / 2**20))  # in MiB
                tf.config.set_logical_device_configuration(gpu, [limit])
            else:
                tf.config.experimental.set_memory_growth(gpu, True)
        except (RuntimeError, ValueError) as error:
            # TensorFlow has already computed something, for example in a plugin, and taken the memory its way.
            if memory_gb:
                raise UserError(
                    f"cannot limit the memory of GPUs to {memory_gb:g} GB: {first_line(error)}"
                ) from error


def describe(strategy: tf.distribute.Strategy) -> str:
    """Returns a description of a strategy's replicas and devices."""
    replicas = strategy.num_replicas_in_sync
    if num_workers(strategy) > 1:
        return f"{replicas} replicas in {num_workers(strategy)} processes, this is process {worker(strategy)}"
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return f"{replicas} TPU cores"
    if replicas == 1:
        return "1 GPU" if tf.config.list_physical_devices("GPU") else "1 CPU"
    kinds = {device.rsplit(":", 2)[-2] for device in strategy.extended.worker_devices}
    return f"{replicas} replicas on {'logical CPUs' if kinds == {'CPU'} else 'GPUs'}"


def strategy_name(name: str, tpu: str | None, logical_cpus: int, several_processes: bool) -> str:
    """Returns the name of a strategy, with that of the devices found for "auto"; see `build_strategy`."""
    return _automatic(tpu, logical_cpus, several_processes) if name == "auto" else name


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
    cpus = tf.config.list_logical_devices("CPU")
    if len(cpus) < 2:
        raise UserError(
            "mirrored needs GPUs, and TensorFlow finds none: --strategy=single computes on the CPU, and "
            "--logical_cpus=2 tries mirrored without GPUs"
        )
    return tf.distribute.MirroredStrategy([device.name for device in cpus])


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
    """Stops gRPC from routing worker traffic through http_proxy, where processes wait for each other for ever.

    A grpc_proxy in the environment is meant for that traffic, and stays.
    """
    # gRPC reads these names in lower case only.
    if not os.environ.get("grpc_proxy"):  # noqa: SIM112
        others = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy")  # noqa: SIM112
        os.environ["no_grpc_proxy"] = ",".join([*([others] if others else []), *hosts])  # noqa: SIM112


def _has_tpu() -> bool:
    """True on a TPU VM.

    The chips are /dev/accel* or, on newer machines, /dev/vfio/*. Other devices use /dev/vfio too, hence libtpu.so.
    """
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
    """Returns the number of processes that compute together: 1 unless the strategy is multi_worker."""
    return _input_workers(strategy)[0]


def worker(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of this process. Process 0 is the chief, which writes the run directory."""
    return _input_workers(strategy)[1]


def _input_workers(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1, 0
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict()
    has_chief = "chief" in cluster
    number = resolver.task_id + (1 if has_chief and resolver.task_type == "worker" else 0)
    return sum(len(cluster.get(kind, ())) for kind in ("chief", "worker")), number


def agree_on_step(strategy: tf.distribute.Strategy, step: int) -> None:
    """Raises UserError if the processes of a run are not at the same step. Also a barrier."""
    if num_workers(strategy) == 1:
        return

    @tf.function(autograph=False)
    def gathered() -> tf.Tensor:
        return strategy.run(
            lambda: tf.distribute.get_replica_context().all_gather(tf.constant([step], tf.int32), axis=0)
        )

    steps = gathered()
    steps = np.unique(strategy.experimental_local_results(steps)[0].numpy())
    if len(steps) > 1:
        raise UserError(
            f"the processes have found checkpoints of different steps, {', '.join(map(str, steps))}: put --model_dir "
            "on storage that all of them share"
        )


def distribute(
    strategy: tf.distribute.Strategy, dataset_of: Callable[[int, int], tf.data.Dataset], batches_per_step: int = 1
) -> tf.data.Dataset:
    """Returns the data set that `fit` reads under a strategy: a share of every batch for each replica.

    Args:
      strategy: strategy of the training.
      dataset_of: (number of input pipelines, index of one) -> endless data set of that pipeline's share of every
        batch. Each process, or each host of a TPU slice, has one pipeline.
      batches_per_step: number of batches in an element of that data set, one after the other.
    """
    if strategy.num_replicas_in_sync == 1:
        return dataset_of(1, 0)

    def of_pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
        dataset = dataset_of(context.num_input_pipelines, context.input_pipeline_id)
        local_replicas = context.num_replicas_in_sync // context.num_input_pipelines
        shape = dataset.element_spec.shape

        def shares(batch: tf.Tensor) -> tf.data.Dataset:
            by_replica = tf.reshape(batch, [batches_per_step, local_replicas, -1, *shape[1:]])
            by_replica = tf.transpose(by_replica, [1, 0, *range(2, by_replica.shape.rank)])
            return tf.data.Dataset.from_tensor_slices(tf.reshape(by_replica, [local_replicas, -1, *shape[1:]]))

        static = [shape[0] // local_replicas, *shape[1:]]
        parts = dataset.flat_map(shares).map(lambda share: tf.ensure_shape(share, static))
        # A finite data set could end with a smaller batch, so its shapes would not be static.
        parts = parts.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        return parts.prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(of_pipeline)


@contextlib.contextmanager
def lost_processes(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns the errors that follow the end of another process into a UserError."""
    try:
        yield
    except LOST as error:
        if num_workers(strategy) == 1:
            raise
        raise UserError(
            "another process of this run has ended: start all of them again with the same commands, and they resume "
            f"from the newest checkpoint ({first_line(error)})"
        ) from error
