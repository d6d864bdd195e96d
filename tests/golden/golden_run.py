"""The golden run: trains the digits for 32 kimg from fixed seeds and compares the result with golden.json.

    python tests/golden/golden_run.py                       compares; exit code 1 if anything differs
    python tests/golden/golden_run.py --early               the first 16 steps alone
    python tests/golden/golden_run.py --record="reason"     makes golden.json anew and adds the reason to its changes

On the kind of processor, the TensorFlow and the number of threads that made golden.json, every number must be the
same, bit by bit. Elsewhere rounding differs, and training amplifies it: there the comparison is within TOLERANCES.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from PIL import Image

from vitgan_tf.config import override
from vitgan_tf.presets import preset
from vitgan_tf.training.run import run_experiment

GOLDEN = pathlib.Path(__file__).with_name("golden.json")
EARLY, LAST = 16, 500
SCORES = ("digits_fd", "digits_is", "digits_kd", "digits_precision", "digits_recall", "digits_fd_half_split")
THREADS = 2
# On other machines: relative to the recorded number, or to the least magnitude beside it. See README.md.
TOLERANCES = {
    "weights": {EARLY: (0.013, 1e-2), LAST: (2.0, 1e-2)},
    "losses": {EARLY: (0.004, 1e-2), LAST: (0.6, 1e-2)},
    # The classifier behind them is trained anew.
    "scores": {0: (0.3, 1.0), LAST: (0.5, 1.0)},
    "samples": {0: (1e-4, 1.0), LAST: (0.05, 1.0)},
}


def machine() -> dict[str, object]:
    """What decides the rounding: the processor with its instruction sets, TensorFlow, the threads."""
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    fields = dict(reversed([tuple(map(str.strip, line.split(":", 1))) for line in lines if ":" in line]))
    names = [fields.get(name, "?") for name in ("vendor_id", "cpu family", "model", "stepping")]
    vectors = [flag for flag in fields.get("flags", "").split() if flag.startswith(("avx", "fma", "amx"))]
    return {
        "processor": "{}, family {}, model {}, stepping {}".format(*names),
        "instructions": " ".join(sorted(vectors)),
        "tensorflow": tf.__version__,
        "threads": THREADS,
    }


class _Recorder(tf.keras.callbacks.Callback):
    """Takes the losses and the whole state of the training after the steps that count."""

    def __init__(self):
        super().__init__()
        self.values = {}

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 in (EARLY, LAST):
            self.values.update({f"{batch + 1}/losses/{name}": float(value) for name, value in logs.items()})
            self.values.update({f"{batch + 1}/weights/{name}": value for name, value in _state(self.model).items()})


def _state(gan) -> dict[str, list]:
    """Summaries of all values of a checkpoint, by their names there."""
    with tempfile.TemporaryDirectory() as folder:
        reader = tf.train.load_checkpoint(gan.checkpoint().write(os.path.join(folder, "state")))
        types = reader.get_variable_to_dtype_map()
        names = sorted(name for name in types if types[name] != tf.string and "save_counter" not in name)
        return {name.replace("/.ATTRIBUTES/VARIABLE_VALUE", ""): _summary(reader.get_tensor(name)) for name in names}


def _summary(values: np.ndarray) -> list:
    """Hash and root mean square."""
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return [digest[:16], float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))]


def train(num_steps: int) -> dict[str, float | list]:
    """Trains the digits; returns numbers, and [hash, root mean square] of arrays, as "step/kind/name"."""
    recorder = _Recorder()
    with tempfile.TemporaryDirectory() as folder:
        # Rates that fall at the end would make the early steps depend on the length of the run.
        fields = {"train.total_kimg": num_steps * 64 / 1000, "train.decay_fraction": 0.0}
        config = override(preset("digits"), fields)
        run_experiment(config, folder, callbacks=[recorder])
        values = recorder.values
        for line in pathlib.Path(folder, "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            scores = json.loads(line)
            if scores["step"] in (0, LAST):
                values.update({f"{scores['step']}/scores/{name}": scores[name] for name in SCORES})
        for step in {0, num_steps} - {EARLY}:
            with Image.open(pathlib.Path(folder, "samples", f"step_{step:08d}.png")) as image:
                values[f"{step}/samples/grid"] = _summary(np.asarray(image))
    return values


def differences(expected: dict[str, float | list], found: dict[str, float | list], exact: bool) -> list[str]:
    """What differs between two results of `train`, in words.

    Args:
      expected: the recorded result.
      found: the new one.
      exact: whether the numbers must be equal; if not, they must lie within TOLERANCES.
    """
    names = [*expected, *(name for name in found if name not in expected)]
    is_same = _equal if exact else _close
    return [
        f"{name}: {expected.get(name)} -> {found.get(name)}"
        for name in names
        if name not in expected or name not in found or not is_same(name, expected[name], found[name])
    ]


def _equal(name: str, old: float | list, new: float | list) -> bool:
    return old == new


def _close(name: str, old: float | list, new: float | list) -> bool:
    step, kind, _ = name.split("/", 2)
    old, new = (value[1] if isinstance(value, list) else value for value in (old, new))
    tolerance, least = TOLERANCES[kind][int(step)]
    return abs(new - old) <= tolerance * max(abs(old), least)


def _one_line_each(record: dict[str, object]) -> str:
    """JSON with a line for each value, so that a difference of two records can be read."""
    values = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in record["values"].items())
    rest = json.dumps({name: value for name, value in record.items() if name != "values"}, indent=2)
    return f'{rest[:-2]},\n  "values": {{\n{values}\n}}}}\n'


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--early", action="store_true", help=f"train {EARLY} steps in place of {LAST}")
    parser.add_argument("--record", metavar="REASON", help="write the file; REASON: which change moves the numbers")
    parser.add_argument("--file", type=pathlib.Path, default=GOLDEN, help="the record, by default %(default)s")
    options = parser.parse_args(arguments)
    if options.record == "":
        parser.error("--record needs a reason: which change moves the numbers")
    if options.record is None and not options.file.exists():
        parser.error(f"there is no record {options.file}: make one with --record=REASON")
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    record = json.loads(options.file.read_text(encoding="utf-8")) if options.file.exists() else {}
    num_steps = EARLY if options.early else LAST
    found = train(num_steps)
    if options.record is not None:
        record = {"changes": [*record.get("changes", []), options.record], "made_on": machine(), "values": found}
        options.file.write_text(_one_line_each(record), encoding="utf-8")
        return 0
    exact = record["made_on"] == machine()
    expected = {name: value for name, value in record["values"].items() if int(name.split("/")[0]) <= num_steps}
    messages = differences(expected, found, exact)
    print("\n".join(messages[:50]))
    way = "bit by bit" if exact else "within tolerances: another processor, TensorFlow or number of threads"
    print(f"golden run: {len(messages)} differences, compared {way}")
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
