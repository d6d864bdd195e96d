"""XLA's tools for GPUs: found in the package of the extra gpu, and where TensorFlow looks for them."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest
import tensorflow as tf

from vitgan_tf import cuda_tools
from vitgan_tf.config import override
from vitgan_tf.presets import preset
from vitgan_tf.training import plan
from vitgan_tf.training.plan import execution_plan

NAMES = {"libdevice": "nvvm/libdevice/libdevice.10.bc", "ptxas": "bin/ptxas"}


def _add_tools(root, names=NAMES):
    for name in names:
        path = root / NAMES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        path.chmod(0o755)
    return str(root)


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without CUDA's tools, whatever this one has; the folder that counts as site-packages."""
    for folder in ("site-packages", "folder"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(cuda_tools, "_SYSTEM_ROOTS", (str(tmp_path / "cuda-12.2"), str(tmp_path / "cuda")))
    monkeypatch.chdir(tmp_path / "folder")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    plan._warn_of_missing_tools.cache_clear()
    return tmp_path / "site-packages"


@pytest.fixture
def a_gpu(monkeypatch):
    devices = {"GPU": ["gpu"], "CPU": ["cpu"]}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: devices.get(kind, []))


def test_a_machine_without_tools_lacks_both(bare):
    cuda_tools.use_packaged_tools()
    assert cuda_tools.missing_tools() == ["libdevice", "ptxas"]
    assert "XLA_FLAGS" not in os.environ and os.environ["PATH"] == str(bare.parent)


@pytest.mark.parametrize("before", ["", "--xla_cpu_enable_fast_math=false", " --xla_a=1 --xla_b='x y' "])
def test_the_package_is_used_beside_the_users_own_flags(bare, monkeypatch, before):
    root = _add_tools(bare / "nvidia" / "cuda_nvcc")
    monkeypatch.setenv("XLA_FLAGS", before)
    for _ in range(2):  # once more changes nothing
        cuda_tools.use_packaged_tools()
    assert os.environ["XLA_FLAGS"] == f'{before.strip()} --xla_gpu_cuda_data_dir="{root}"'.strip()
    assert os.environ["PATH"] == f"{root}/bin:{bare.parent}"
    assert cuda_tools.missing_tools() == []


@pytest.mark.parametrize(
    "before", ["--xla_gpu_cuda_data_dir=/own", '--xla_x=1 --xla_gpu_cuda_data_dir="/o wn"', "file"]
)
def test_the_users_own_folder_and_file_of_flags_stay(bare, monkeypatch, before):
    _add_tools(bare / "nvidia" / "cuda_nvcc")
    monkeypatch.setenv("XLA_FLAGS", before)
    cuda_tools.use_packaged_tools()
    assert os.environ["XLA_FLAGS"] == before and os.environ["PATH"] == str(bare.parent)


def test_half_a_package_is_not_used(bare):
    _add_tools(bare / "nvidia" / "cuda_nvcc", ["ptxas"])
    cuda_tools.use_packaged_tools()
    assert "XLA_FLAGS" not in os.environ and cuda_tools.missing_tools() == ["libdevice"]


@pytest.mark.parametrize(
    "place", ["cuda-12.2", "cuda", "folder", "folder/cuda_sdk_lib", "site-packages/nvidia/cuda_nvcc"]
)
def test_tools_are_found_where_tensorflow_looks(bare, place):
    _add_tools(bare.parent / place)
    assert cuda_tools.missing_tools() == []


def test_the_folder_of_the_flag_takes_the_place_of_the_default(bare, monkeypatch):
    _add_tools(bare.parent / "folder" / "cuda_sdk_lib", ["libdevice"])
    own = _add_tools(bare.parent / "own place", ["ptxas"])
    assert cuda_tools.missing_tools() == ["ptxas"]
    for value in (f'"{own}"', f"'{own}'"):
        monkeypatch.setenv("XLA_FLAGS", f"--xla_gpu_cuda_data_dir={value} --xla_x=1")
        assert cuda_tools.missing_tools() == ["libdevice"]


def test_ptxas_counts_on_the_path(bare, monkeypatch):
    _add_tools(bare.parent / "own", ["ptxas"])
    monkeypatch.setenv("PATH", f"{bare.parent}:{bare.parent}/own/bin")
    assert cuda_tools.missing_tools() == ["libdevice"]


def test_auto_compiles_the_step_of_one_gpu_whose_tools_are_found(bare, a_gpu, messages):
    _add_tools(bare.parent / "cuda")
    found = execution_plan(preset("cifar10"))
    assert (found.xla, found.microbatch, messages) == ("full", 128, [])
    assert found.description == "1 GPU, float32, xla=full, 128 images at a time"


def test_auto_is_off_without_the_tools_and_says_so_once(bare, a_gpu, messages):
    _add_tools(bare.parent / "cuda", ["libdevice"])
    assert [execution_plan(preset("cifar10")).xla for _ in range(2)] == ["off"] * 2
    assert len(messages) == 1
    assert messages[0].startswith(
        "train.xla=auto is off on this GPU, as XLA finds no ptxas of CUDA: pip install nvidia-"
    )
    assert "XLA_FLAGS=--xla_gpu_cuda_data_dir=DIR" in messages[0]


@pytest.mark.parametrize("xla", ["full", "kernels", "off"])
def test_a_given_choice_is_not_looked_at(bare, a_gpu, messages, xla):
    assert execution_plan(override(preset("cifar10"), {"train.xla": xla})).xla == xla
    assert messages == []


def test_auto_is_off_on_several_gpus(bare, a_gpu, messages):
    class Two:
        num_replicas_in_sync = 2

    _add_tools(bare.parent / "cuda")
    assert (execution_plan(preset("cifar10"), Two()).xla, messages) == ("off", [])


def test_a_cpu_needs_no_tools(bare, messages):
    assert (execution_plan(preset("cifar10")).xla, messages) == ("kernels", [])


@pytest.mark.parametrize("num_gpus", [0, 1])
def test_the_environment_is_set_before_tensorflow_starts(tmp_path, num_gpus):
    """By a TensorFlow that says what it found, where the driver reports GPUs; else all stays as it is."""
    root = _add_tools(tmp_path / "nvidia" / "cuda_nvcc")
    (tmp_path / "tensorflow.py").write_text(
        "import os, shutil; print(os.environ.get('XLA_FLAGS'), shutil.which('ptxas'))"
    )
    code = f"import vitgan_tf.greeting as greeting; greeting.count_gpus = lambda: {num_gpus}; import tensorflow"
    folder = os.path.dirname(os.path.dirname(cuda_tools.__file__))
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{folder}", "PATH": str(tmp_path), "XLA_FLAGS": "--xla_a=1"}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    flag = f' --xla_gpu_cuda_data_dir="{root}"' if num_gpus else ""
    assert result.stdout == f"--xla_a=1{flag} {root + '/bin/ptxas' if num_gpus else None}\n", result.stderr


class _String(ctypes.Structure):
    _fields_ = [("begin", ctypes.c_void_p), ("size", ctypes.c_size_t), ("buffer", ctypes.c_char * 16)]

    def __str__(self):
        return ctypes.string_at(self.begin, self.size).decode()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the calling convention is that of x86-64")
def test_the_folders_are_those_of_tensorflow_itself():
    library = ctypes.CDLL(os.path.join(os.path.dirname(tf.__file__), "libtensorflow_cc.so.2"))
    vector = (ctypes.c_void_p * 3)()  # begin, end and capacity of a vector of strings
    library._ZN3tsl18CandidateCudaRootsB5cxx11Ev(ctypes.byref(vector))
    count = (vector[1] - vector[0]) // ctypes.sizeof(_String)
    roots = [str(root) for root in (_String * count).from_address(vector[0])]
    assert tuple(roots[:2]) == cuda_tools._SYSTEM_ROOTS
    site_packages = os.path.dirname(os.path.dirname(os.path.realpath(tf.__file__)))
    assert os.path.join(site_packages, "nvidia", "cuda_nvcc") in map(os.path.normpath, map(str, roots[2:]))
