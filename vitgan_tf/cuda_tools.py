"""Files of CUDA that XLA needs to compile for NVIDIA GPUs, found without TensorFlow.

TensorFlow 2.15 looks for ptxas on PATH first (stream_executor::FindCudaExecutable), and then for it and libdevice in
the folders below (xla::gpu::nvptx::LibDevicePath, tsl::CandidateCudaRoots): the xla_gpu_cuda_data_dir of XLA_FLAGS,
the CUDA that it was built with, /usr/local/cuda, nvidia/cuda_nvcc beside its own package, and the current folder.
Variables such as CUDA_HOME do not count.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil

_FILES = (_LIBDEVICE, _PTXAS) = (os.path.join("nvvm", "libdevice", "libdevice.10.bc"), os.path.join("bin", "ptxas"))
# In XLA_FLAGS, followed by = and a folder.
DATA_DIR_FLAG = "--xla_gpu_cuda_data_dir"
_DATA_DIR = re.compile(DATA_DIR_FLAG + r"""=(?:"([^"]*)"|'([^']*)'|(\S*))""")
_DEFAULT_DATA_DIR = "./cuda_sdk_lib"
_SYSTEM_ROOTS = ("/usr/local/cuda-12.2", "/usr/local/cuda")


def use_packaged_tools() -> None:
    """Makes XLA use the files of the package nvidia-cuda-nvcc-cu12, whose release fits TensorFlow.

    Sets XLA_FLAGS and PATH, which TensorFlow reads when XLA first compiles. Both stay as they are without the
    package, and where XLA_FLAGS names a folder of the user's, or a file with flags.
    """
    flags, root = os.environ.get("XLA_FLAGS", "").strip(), _packaged_root()
    # XLA takes a value that does not begin with a dash for the name of a file.
    is_file = bool(flags) and not flags.startswith("-")
    if root is None or is_file or _DATA_DIR.search(flags):
        return
    os.environ["XLA_FLAGS"] = f'{flags} {DATA_DIR_FLAG}="{root}"'.strip()
    os.environ["PATH"] = os.pathsep.join([os.path.join(root, "bin"), os.environ.get("PATH", os.defpath)])


def missing_tools() -> list[str]:
    """Returns those of libdevice and ptxas that XLA would not find."""
    named = _DATA_DIR.search(os.environ.get("XLA_FLAGS", ""))
    data_dir = next(filter(None, named.groups()), "") if named else _DEFAULT_DATA_DIR
    roots = [data_dir, *_SYSTEM_ROOTS, *_packages(), "."]
    found = {
        "libdevice": any(os.path.isfile(os.path.join(root, _LIBDEVICE)) for root in roots),
        "ptxas": shutil.which("ptxas") or any(os.access(os.path.join(root, _PTXAS), os.X_OK) for root in roots),
    }
    return [name for name, is_found in found.items() if not is_found]


def _packaged_root() -> str | None:
    """Returns the folder of the package with both files; None without it."""
    complete = (root for root in _packages() if all(os.path.isfile(os.path.join(root, path)) for path in _FILES))
    return next(complete, None)


def _packages() -> list[str]:
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec is not None else None
    return [os.path.join(folder, "cuda_nvcc") for folder in folders or ()]
