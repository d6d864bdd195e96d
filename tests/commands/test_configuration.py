"""A run from a configuration file or a file of flags."""

import json

import pytest
from support import commands

pytestmark = pytest.mark.slow

RUN = "experiments/run.py"


def _resolved(*arguments):
    result = commands.run(RUN, "--dry_run", *arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_a_runs_configuration_starts_another(tmp_path):
    given = _resolved("--dataset=celeba64", "--discriminator=stylegan2", "--batch_size=16", "--policy=color,cutout")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": given}))
    assert _resolved(f"--config={path}") == given
    changed = _resolved(f"--config={path}", "--batch_size=32", "--r1_gamma=1")
    assert changed["train"].pop("batch_size") == 32 and changed["loss"].pop("r1_gamma") == 1.0
    assert given["train"].pop("batch_size") == 16 and given["loss"].pop("r1_gamma") == 0.4
    assert changed == given


@pytest.mark.parametrize(
    "flag", ["--dataset=digits", "--size=small", "--variant=vitgan", "--generator=biggan", "--discriminator=resnet"]
)
def test_a_configuration_takes_the_place_of_preset_and_networks(tmp_path, flag):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": _resolved()}))
    line = commands.error_line(RUN, f"--config={path}", flag)
    assert line.startswith(f"run.py: {flag.split('=')[0]} does not go with --config")


def test_mistakes_in_a_configuration_end_in_a_line(tmp_path):
    path = tmp_path / "config.json"
    assert f"cannot read --config={path}: No such file" in commands.error_line(RUN, f"--config={path}")
    path.write_text("{}")
    assert f"{path} is not the configuration of a run" in commands.error_line(RUN, f"--config={path}")
    path.write_text(json.dumps({"config": _resolved("--generator=stylegan2")}))
    assert "--config needs a run directory" in commands.error_line(RUN, f"--config={path}")
    line = commands.error_line(RUN, f"--config={path}", "--generator.num_blocks=2", "--model_dir=x")
    assert "--generator.num_blocks has no effect" in line
    line = commands.error_line("experiments/tables.py", "--variant=biggan", f"--output_dir={tmp_path}")
    assert "the rows of the tables set" in line
    line = commands.error_line("experiments/tables.py", f"--config={path}", f"--output_dir={tmp_path}")
    assert "the rows of the tables set" in line


def test_flags_from_a_file(tmp_path):
    path = tmp_path / "flags.txt"
    path.write_text("# A comment.\n--dataset=celeba64\n--batch_size=16\n")
    assert _resolved(f"--flagfile={path}", "--batch_size=8") == _resolved("--dataset=celeba64", "--batch_size=8")
    result = commands.run(RUN, f"--flagfile={tmp_path / 'missing'}")
    assert result.returncode == 1 and "Traceback" not in result.stderr and "missing" in result.stderr


def test_a_plugin_is_found_however_it_is_given(tmp_path):
    """With a space, in a file of flags, and two of one file name."""
    for folder, name in (("a", "one"), ("b", "two")):
        (tmp_path / folder).mkdir()
        text = f"from vitgan_tf import registries\nregistries.ADVERSARIAL_LOSSES.register('{name}', None)\n"
        (tmp_path / folder / "plugin.py").write_text(text)
    first, second = (str(tmp_path / folder / "plugin.py") for folder in "ab")
    flags = tmp_path / "flags.txt"
    flags.write_text(f"--plugin={second}\n--adversarial=two\n")
    assert _resolved("--plugin", first, "--adversarial=one")["loss"]["adversarial"] == "one"
    assert _resolved(f"--plugin={first}", f"--flagfile={flags}")["loss"]["adversarial"] == "two"
