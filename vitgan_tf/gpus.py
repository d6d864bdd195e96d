"""NVIDIA GPUs that the driver reports, asked without TensorFlow."""

from __future__ import annotations

import ctypes


def count_gpus() -> int:
    """Returns the number of GPUs that the NVIDIA driver shows to this process; 0 without a driver.

    CUDA_VISIBLE_DEVICES hides GPUs from the driver's answer.
    """
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    except (OSError, AttributeError):
        pass
    return 0


def gpu_bytes() -> int | None:
    """Returns the memory of the GPU that has least of those the driver shows, in bytes; None without GPUs."""
    sizes = []
    for number in range(count_gpus()):
        driver, device, size = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0), ctypes.c_size_t(0)
        driver.cuDeviceGet(ctypes.byref(device), number)
        if driver.cuDeviceTotalMem_v2(ctypes.byref(size), device) == 0:
            sizes.append(size.value)
    return min(sizes, default=None)
