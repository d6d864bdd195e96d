"""Writes an HTML report of a run: configuration, curves, scores and samples on one page."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vitgan_tf import sampling
from vitgan_tf.config import ExperimentConfig, as_dict, differences
from vitgan_tf.errors import UserError
from vitgan_tf.files import write_atomically
from vitgan_tf.presets import preset
from vitgan_tf.runs.directory import CONFIG, DIVERGENCE, SAMPLES, SAVED_MODEL, read_metrics, read_run, sample_step
from vitgan_tf.runs.events import read_events
from vitgan_tf.runs.metrics import distance_name, training_lines

# Maximum number of pictures behind one slider: with all those of a long run, the page would not open.
MAX_PICTURES = 40
# (title, names of the event scalars, whether the y axis is logarithmic)
CHARTS = (
    ("Losses", ("d_loss", "g_loss"), False),
    ("Mean logits", ("real_logits", "fake_logits"), False),
    ("Gradient norms", ("d_gradient_norm", "g_gradient_norm"), True),
    ("Gradient norms: maximum over mean", ("d_gradient_norm_spike", "g_gradient_norm_spike"), False),
    ("Regularisers", ("bcr_real", "bcr_fake", "r1", "lecam", "path_penalty"), True),
    ("Images per second", ("images_per_second",), False),
    ("Standard deviation of samples, grey levels of 255", ("samples_deviation",), False),
)
_FRAME: dict[str, Any] = {"num_images": 10, "columns": 5, "keyframes": 4, "frames": 12, "min_width": 640}

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
h1, h2 {{ line-height: 1.2; }} h2 {{ margin-top: 2.5rem; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .15rem .8rem .15rem 0; text-align: left; }}
th {{ border-bottom: 1px solid #aaa; }} td {{ font-variant-numeric: tabular-nums; }}
img {{ max-width: 100%; }} .charts {{ display: flex; flex-wrap: wrap; gap: 1rem; }} .charts img {{ width: 34rem; }}
.slides img {{ image-rendering: pixelated; }} .slides input {{ width: min(40rem, 80%); }}
.wide {{ overflow-x: auto; }} pre {{ white-space: pre-wrap; }} .warning {{ color: #a40000; }}
</style></head><body>
{body}
<script>
for (const slides of document.querySelectorAll(".slides")) {{
  const slider = slides.querySelector("input"), pictures = slides.querySelectorAll("img");
  const show = () => pictures.forEach((picture, index) => {{
    picture.hidden = index !== slider.valueAsNumber;
    if (!picture.hidden) slides.querySelector("output").textContent = picture.alt;
  }});
  slider.addEventListener("input", show);
  show();
}}
</script>
</body></html>
"""


def write_report(run_dir: str, path: str) -> None:
    """Writes a self-contained HTML page about a run, which needs no other file and no network.

    The page shows sample grids over time behind a slider, an interpolation, curves, scores, attention maps and the
    configuration. Unfinished runs have no interpolation.

    Args:
      run_dir: run directory.
      path: path of the page; an existing file is replaced.

    Raises:
      UserError: run_dir is not a run directory or is damaged, or the page cannot be written.
    """
    try:
        config, data = read_run(run_dir)
    except FileNotFoundError as error:
        raise UserError(f"{run_dir!r} is not a run directory: it has no {CONFIG}") from error
    events = read_events(run_dir)
    lines = read_metrics(run_dir)
    title = f"Run {os.path.basename(os.path.abspath(run_dir))}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _summary(config, data, lines),
        *(f'<p class="warning">{html.escape(warning)}</p>' for warning in events.texts),
        _divergence(run_dir),
        _section("Samples over time", _slides(_samples(run_dir))),
        _section("Interpolation", _interpolation(run_dir)),
        _section("Curves", _curves(config, events.scalars, lines)),
        _section("Scores", _scores(lines)),
        *(
            _section(f"Attention of the {name}", _slides(_thinned(events.pictures.get(f"attention/{name}", {}))))
            for name in ("discriminator", "generator")
        ),
        _section("Configuration", _configuration(run_dir, config)),
    ]
    page = _PAGE.format(title=html.escape(title), body="\n".join(part for part in parts if part))
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise UserError(f"cannot write {path!r}: {error.strerror}") from error


def _section(title: str, content: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n{content}" if content else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns an HTML table; floats have four significant digits."""

    def cell(value: Any) -> str:
        return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))

    head = "<tr>" + "".join(f"<th>{cell(name)}</th>" for name in header) + "</tr>" if header else ""
    body = "\n".join("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table>{head}\n{body}</table></div>'


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _summary(config: ExperimentConfig, data: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> str:
    reached = max((line["step"] for line in lines), default=0)
    rows = [
        ("data", f"{config.data.dataset}, {config.data.image_size} x {config.data.image_size}"),
        ("real images", data.get("num_images", "")),
        ("networks", f"{config.generator.architecture} generator, {config.discriminator.architecture} discriminator"),
        ("steps", f"{reached} of {config.total_steps}, with {config.train.batch_size} images each"),
    ]
    distance = distance_name(lines)
    if distance:
        trained = [line for line in training_lines(lines) if distance in line]
        best = min(trained, key=lambda line: line[distance])
        rows.append((distance, f"{trained[-1][distance]:.4g} at step {trained[-1]['step']}"))
        rows.append((f"best {distance}", f"{best[distance]:.4g} at step {best['step']}"))
    return _table((), rows)


def _divergence(run_dir: str) -> str:
    path = os.path.join(run_dir, DIVERGENCE)
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        content = file.read()
    return f'<details class="warning"><summary>{DIVERGENCE}</summary><pre>{html.escape(content)}</pre></details>'


def _samples(run_dir: str) -> dict[int, bytes]:
    folder = os.path.join(run_dir, SAMPLES)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    paths = {step: name for name in names if (step := sample_step(name)) is not None}
    pictures = {}
    for step, name in _thinned(paths).items():
        with open(os.path.join(folder, name), "rb") as file:
            pictures[step] = file.read()
    return pictures


def _thinned(by_step: Mapping[int, Any]) -> dict[int, Any]:
    """Returns at most MAX_PICTURES evenly spaced entries, including the first and the last."""
    steps = sorted(by_step)
    if len(steps) > MAX_PICTURES:
        steps = [steps[index] for index in np.linspace(0, len(steps) - 1, MAX_PICTURES).round().astype(int)]
    return {step: by_step[step] for step in steps}


def _slides(pictures: Mapping[int, bytes]) -> str:
    """Returns pictures behind a slider that starts at the last one. Without JavaScript, only the last one shows."""
    last = len(pictures) - 1
    images = "\n".join(
        f'<img alt="step {step}" src="{_data_uri(content, "png")}"{"" if index == last else " hidden"}>'
        for index, (step, content) in enumerate(pictures.items())
    )
    slider = f'<input type="range" min="0" max="{last}" value="{last}" aria-label="step">'
    return f'<div class="slides"><div>{slider} <output></output></div>\n{images}</div>' if pictures else ""


def _interpolation(run_dir: str) -> str:
    path = os.path.join(run_dir, SAVED_MODEL)
    if not os.path.isdir(path):
        return ""
    with tempfile.TemporaryDirectory() as folder:
        gif = os.path.join(folder, "interpolation.gif")
        sampling.write_interpolation(sampling.load(path), gif, seed=0, truncation=1.0, render_scale=1.0, **_FRAME)
        with open(gif, "rb") as file:
            content = file.read()
    return f'<img class="interpolation" alt="interpolation between latents" src="{_data_uri(content, "gif")}">'


def _curves(
    config: ExperimentConfig, scalars: Mapping[str, Mapping[int, float]], lines: Sequence[Mapping[str, Any]]
) -> str:
    kimg_per_step = config.train.batch_size / 1000
    charts: list[tuple[str, Mapping[str, Mapping[int, float]], bool]] = []
    distance = distance_name(lines)
    if distance:
        curve = {line["step"]: line[distance] for line in training_lines(lines) if distance in line}
        charts.append((distance, {distance: curve}, True))
    for title, names, is_logarithmic in CHARTS:
        curves = {name: scalars[name] for name in names if name in scalars}
        if curves:
            charts.append((title, curves, is_logarithmic))
    images = [
        f'<img alt="{html.escape(title)}" src="{_data_uri(_chart(title, curves, log, kimg_per_step), "svg+xml")}">'
        for title, curves, log in charts
    ]
    return f'<div class="charts">{"".join(images)}</div>' if images else ""


def _chart(
    title: str, curves: Mapping[str, Mapping[int, float]], is_logarithmic: bool, kimg_per_step: float
) -> bytes:
    """Returns an SVG of curves over kimg, thousands of real images."""
    # Imported here because it takes a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        steps = sorted(curve)
        axes.plot([step * kimg_per_step for step in steps], [curve[step] for step in steps], label=name, linewidth=1)
    values = [value for curve in curves.values() for value in curve.values()]
    is_wide = min(values) > 0 and max(values) > 10 * min(values)
    axes.set(title=title, xlabel="kimg", yscale="log" if is_logarithmic and is_wide else "linear")
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="svg")
    return content.getvalue()


def _scores(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns a table of all evaluations, newest first, with a column for each numeric score."""
    names = [
        name
        for name in dict.fromkeys(name for line in lines for name in line)
        if name != "kimg" and any(isinstance(line.get(name), float) for line in lines)
    ]
    header = ("step", "kimg", "source", "weights", *names)
    rows = [[line.get(name, "") for name in header] for line in reversed(lines)]
    return _table(header, rows) if lines else ""


def _configuration(run_dir: str, config: ExperimentConfig) -> str:
    with open(os.path.join(run_dir, CONFIG), encoding="utf-8") as file:
        content = json.load(file)
    command = " ".join(map(str, content.get("command", [])))
    versions = ", ".join(f"{name} {version}" for name, version in content.get("versions", {}).items())
    size = config.data.image_size if config.data.dataset == "folder" else None
    changes = differences(preset(config.data.dataset, image_size=size), config)
    rows = [("command", command), ("commit", content.get("commit")), ("versions", versions)]
    listed = "".join(f"<li><code>{html.escape(change)}</code></li>" for change in changes)
    whole = html.escape(json.dumps(as_dict(config), indent=2))
    return (
        f"{_table((), rows)}\n<p>Changes to the preset {html.escape(config.data.dataset)}:</p>"
        f"<ul>{listed or '<li>nothing</li>'}</ul>\n<details><summary>all fields</summary><pre>{whole}</pre></details>"
    )
