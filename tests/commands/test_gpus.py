"""A machine whose driver reports a GPU that TensorFlow cannot use."""

import os
import shutil
import subprocess
import sys

import pytest
from support.commands import OFFLINE

from vitgan_tf.errors import UserError
from vitgan_tf.gpus import count_gpus, gpu_bytes
from vitgan_tf.training import strategies

# The driver's library as far as TensorFlow asks it before it looks for its own ones.
STUB = """
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 12020; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "A stub", size); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = 8; return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)8 << 30; return 0; }
int cuDeviceGetPCIBusId(char *id, int size, int device) { strncpy(id, "0000:00:00.0", size); return 0; }
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) { return 0; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 0; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)1; return 0; }
int cuCtxGetCurrent(void **context) { *context = (void *)1; return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuCtxGetDevice(int *device) { *device = 0; return 0; }
"""


def test_without_a_driver_there_are_no_gpus():
    assert (count_gpus(), gpu_bytes()) == (0, None)


def test_mirrored_without_gpus_is_refused():
    with pytest.raises(UserError, match="mirrored needs GPUs, and TensorFlow finds none: --strategy=single"):
        strategies.build_strategy("mirrored")


@pytest.mark.slow
def test_a_gpu_that_tensorflow_cannot_use_is_named_with_the_command_that_mends_it(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "stub.c").write_text(STUB)
    library = str(tmp_path / "libcuda.so.1")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, str(tmp_path / "stub.c")], check=True)
    code = (
        "from absl import logging; from vitgan_tf.commands.quiet import import_tensorflow\n"
        "logging.set_verbosity(logging.INFO); import_tensorflow(); tf = import_tensorflow()\n"
        "import os; print(tf.config.experimental.tensor_float_32_execution_enabled())\n"
        "print(os.environ['TF_FORCE_GPU_ALLOW_GROWTH'])\n"
        "from vitgan_tf.gpus import gpu_bytes; print(gpu_bytes())"
    )
    env = {**OFFLINE, "LD_LIBRARY_PATH": os.pathsep.join([str(tmp_path), os.environ.get("LD_LIBRARY_PATH", "")])}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if "the driver reports GPUs" in line]
    assert len(lines) == 1, result.stderr
    assert "computes on the CPU" in lines[0] and "its CUDA packages are not installed" in lines[0]
    # TF32 is off, and memory is taken as needed, in every command.
    assert result.stdout == f"False\ntrue\n{8 << 30}\n"
    assert "pip install 'tensorflow[and-cuda]==2.15." in lines[0] and "make GPU=1 run" in lines[0]
