"""Writes an HTML report of a run: configuration, curves, scores and samples on one page."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from vitgan_tf.config import ExperimentConfig, as_dict
from vitgan_tf.drawing.animation import FRAME_MILLISECONDS, picture
from vitgan_tf.drawing.look import Look
from vitgan_tf.drawing.walks import Walk, random_keys
from vitgan_tf.errors import UserError
from vitgan_tf.files import FilePart, write_atomically
from vitgan_tf.presets import changes_to_preset
from vitgan_tf.reporting import curves, pictures
from vitgan_tf.reporting.summary import headline
from vitgan_tf.runs.directory import (
    CONFIG,
    DIVERGENCE,
    METRICS,
    SAMPLES,
    SAVED_MODEL,
    config_content,
    read_metrics,
    read_run,
    sample_step,
)
from vitgan_tf.runs.events import Events, read_events
from vitgan_tf.runs.metrics import TRAINING, distance_name, training_lines
from vitgan_tf.trained.loading import load

# Size of the page. Texts and curves have a maximum each, pictures share the rest.
MAX_BYTES = 3_000_000
# Behind one slider. The last picture of each, which shows first, has a share of several.
MAX_PICTURES, LAST_WEIGHT = 20, 4
MAX_WARNINGS, MAX_ROWS, MAX_SCORES, FIRST_CHANGES = 20, 100, 20, 6
# Characters of texts: a warning or a cell, a cell of the many scores, a change to the preset, a JSON file.
MAX_TEXT, MAX_SCORE, MAX_CHANGE, MAX_JSON = 1000, 60, 300, 30_000
# Bytes around the pictures of a section: heading, slider, notes.
_SECTION_BYTES = 1000
_NUM_IMAGES, _COLUMNS, _KEYFRAMES, _FRAMES = 10, 5, 4, 12

Item = TypeVar("Item")

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 0 1rem 2rem; }}
body {{ background: Canvas; color: CanvasText; }}
h1 {{ font-size: 1.3rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
.headline {{ font-size: 1.5rem; margin: .5rem 0; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .15rem .8rem .15rem 0; text-align: left; }}
th {{ border-bottom: 1px solid #8886; }} td {{ font-variant-numeric: tabular-nums; }}
img {{ max-width: min(100%, 44rem); height: auto; }} .charts {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
.charts img {{ width: min(100%, 31rem); background: white; }}
img.exact {{ image-rendering: pixelated; }} .slides input {{ width: min(40rem, 80%); }}
.wide {{ overflow-x: auto; }} pre {{ white-space: pre-wrap; }} .warning {{ color: #b00020; }}
@media (prefers-color-scheme: dark) {{ .warning {{ color: #ff8a80; }} }}
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
    configuration. Unfinished runs have no interpolation. The page has at most `MAX_BYTES`: it shows some of many
    pictures and lines, and reduces large pictures.

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
    sections = {
        "Samples over time": "",
        "Interpolation": "",
        "Curves": _curves(config, events.scalars, lines),
        "Scores": _scores(lines),
        "Attention of the discriminator": "",
        "Attention of the generator": "",
        "Configuration": _configuration(run_dir, config),
    }
    introduction = "\n".join((_summary(config, data, lines), _warnings(events.texts), _divergence(run_dir)))
    room = MAX_BYTES - len(_page(title, introduction, sections)) - len(sections) * _SECTION_BYTES
    sections["Interpolation"] = _interpolation(run_dir, room // 4)
    sections.update(_sliders(run_dir, events, room - len(sections["Interpolation"])))
    page = _page(title, introduction, sections)
    try:
        write_atomically(path, page)
    except OSError as error:
        raise UserError(f"cannot write {path!r}: {error.strerror}") from error


def _page(title: str, introduction: str, sections: Mapping[str, str]) -> bytes:
    """Returns the page, without its empty sections."""
    parts = [f"<h1>{html.escape(title)}</h1>", introduction]
    parts += [f"<h2>{html.escape(name)}</h2>\n{content}" for name, content in sections.items() if content]
    return _PAGE.format(title=html.escape(title), body="\n".join(part for part in parts if part)).encode()


def _escaped(text: str, limit: int = MAX_TEXT) -> str:
    """Returns a text for HTML; of more than `limit` characters, the first ones and the number of the others."""
    rest = len(text) - limit
    return html.escape(text if rest <= 0 else f"{text[:limit]}... and {rest:,} characters")


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]], limit: int = MAX_TEXT) -> str:
    """Returns an HTML table; floats have four significant digits, other cells at most `limit` characters."""

    def cell(value: Any) -> str:
        return _escaped(f"{value:.4g}" if isinstance(value, float) else str(value), limit)

    head = "<tr>" + "".join(f"<th>{cell(name)}</th>" for name in header) + "</tr>" if header else ""
    body = "\n".join("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table>{head}\n{body}</table></div>'


def _summary(config: ExperimentConfig, data: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> str:
    reached = max((line["step"] for line in lines), default=0)
    rows = [
        ("data", f"{config.data.dataset}, {config.data.image_size} x {config.data.image_size}"),
        ("real images", data.get("num_images", "")),
        ("networks", f"{config.generator.architecture} generator, {config.discriminator.architecture} discriminator"),
        ("steps", f"{reached} of {config.total_steps}, with {config.images_per_step} images each"),
    ]
    return _headline(lines) + _table((), rows) + _changes(config)


def _headline(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns the last distance of the training and, where another one is less, the least."""
    name = distance_name(lines)
    trained = [line for line in training_lines(lines) if name in line]
    if name is None or not trained:
        return '<p class="headline">not yet scored</p>'
    last, best = trained[-1], min(trained, key=lambda line: line[name])
    text = f"{headline(last) or f'{name} {last[name]:.4g}'} at step {last['step']:,}"
    if best[name] < last[name]:
        text += f"; least {best[name]:.4g} at step {best['step']:,}"
    return f'<p class="headline">{html.escape(text)}</p>'


def _changes(config: ExperimentConfig) -> str:
    """Returns how the run differs from its preset: a few changes, the others behind a line."""
    found = changes_to_preset(config)
    if found is None:
        return f"<p>There is no preset {_escaped(config.data.dataset)} to compare with.</p>"
    changes = [f"<li><code>{_escaped(change, MAX_CHANGE)}</code></li>" for change in found]
    if not changes:
        return f"<p>As the preset {_escaped(config.data.dataset)}.</p>"
    first, rest = "".join(changes[:FIRST_CHANGES]), "".join(changes[FIRST_CHANGES:])
    number = len(changes) - FIRST_CHANGES
    more = f"<details><summary>{number} more changes</summary><ul>{rest}</ul></details>" if rest else ""
    return f"<p>Changes to the preset {_escaped(config.data.dataset)}:</p><ul>{first}</ul>{more}"


def _warnings(texts: Sequence[str]) -> str:
    shown = _evenly(texts, MAX_WARNINGS)
    rest = [f"{len(texts) - len(shown):,} more warnings are in TensorBoard"] if len(shown) < len(texts) else []
    return "\n".join(f'<p class="warning">{_escaped(text)}</p>' for text in (*shown, *rest))


def _divergence(run_dir: str) -> str:
    path = os.path.join(run_dir, DIVERGENCE)
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        content = _escaped(file.read(), MAX_JSON)
    return f'<details class="warning"><summary>{DIVERGENCE}</summary><pre>{content}</pre></details>'


def _sliders(run_dir: str, events: Events, limit: int) -> dict[str, str]:
    """Returns samples and attention maps over time by title, of at most `limit` bytes together."""
    files = {"Samples over time": _samples(run_dir)}
    for name in ("discriminator", "generator"):
        files[f"Attention of the {name}"] = events.pictures.get(f"attention/{name}", {})
    slides = {title: _slides(run_dir, by_step) for title, by_step in files.items()}
    elements = iter(pictures.elements([picture for some in slides.values() for picture in some], limit))
    return {title: _slider([next(elements) for _ in some]) for title, some in slides.items()}


def _samples(run_dir: str) -> dict[int, FilePart]:
    folder = os.path.join(run_dir, SAMPLES)
    files = {}
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        step, path = sample_step(name), os.path.join(folder, name)
        if step is not None and os.path.isfile(path):
            files[step] = FilePart(path, 0, os.path.getsize(path))
    return files


def _slides(run_dir: str, files: Mapping[int, FilePart]) -> list[pictures.Picture]:
    """Returns at most MAX_PICTURES evenly spaced pictures."""
    steps = _evenly(sorted(files), MAX_PICTURES)
    weights = {step: LAST_WEIGHT if step == steps[-1] else 1 for step in steps}
    return [
        pictures.Picture(f"step {step}", files[step], os.path.relpath(files[step].path, run_dir), weights[step])
        for step in steps
    ]


def _evenly(items: Sequence[Item], number: int) -> Sequence[Item]:
    """Returns at most `number` evenly spaced items, including the first and the last."""
    if len(items) <= number:
        return items
    return [items[index] for index in np.linspace(0, len(items) - 1, number).round().astype(int)]


def _slider(elements: Sequence[str]) -> str:
    """Returns pictures behind a slider that starts at the last one. Without JavaScript, only the last one shows."""
    if not elements:
        return ""
    last = len(elements) - 1
    images = "\n".join([*(element.replace("<img", "<img hidden", 1) for element in elements[:-1]), elements[-1]])
    slider = f'<input type="range" min="0" max="{last}" value="{last}" aria-label="step">'
    return f'<div class="slides"><div>{slider} <output></output></div>\n{images}</div>'


def _interpolation(run_dir: str, limit: int) -> str:
    path = os.path.join(run_dir, SAVED_MODEL)
    if not os.path.isdir(path):
        return ""
    generator = load(path)
    walk = Walk(generator, random_keys(generator, _KEYFRAMES, _NUM_IMAGES, seed=0), _FRAMES)
    frames = map(picture, walk.grids(Look(), _COLUMNS))
    return pictures.animation(frames, FRAME_MILLISECONDS, "interpolation between latents", limit)


def _curves(
    config: ExperimentConfig, scalars: Mapping[str, Mapping[int, float]], lines: Sequence[Mapping[str, Any]]
) -> str:
    charts = curves.charts(scalars, lines, config.images_per_step / 1000)
    images = "".join(pictures.img(title, content, "svg+xml") for title, content in charts)
    return f'<div class="charts">{images}</div>' if images else ""


def _scores(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns a table of at most MAX_ROWS evaluations, newest first, with a column for each numeric score."""
    names = dict.fromkeys(name for line in lines for name, value in line.items() if isinstance(value, float))
    header = ("step", "kimg", "source", "weights", *[name for name in names if name != "kimg"][:MAX_SCORES])
    # The few that `vitgan evaluate` wrote would hardly be among evenly spaced lines.
    is_training = [line.get("source", TRAINING) == TRAINING for line in lines]
    others = _evenly([index for index, is_one in enumerate(is_training) if not is_one], MAX_ROWS // 2)
    trained = _evenly([index for index, is_one in enumerate(is_training) if is_one], MAX_ROWS - len(others))
    rows = [[lines[index].get(name, "") for name in header] for index in sorted((*others, *trained), reverse=True)]
    note = f"<p>{len(rows)} of {len(lines):,} lines of {METRICS}</p>" if len(rows) < len(lines) else ""
    return _table(header, rows, MAX_SCORE) + note if lines else ""


def _configuration(run_dir: str, config: ExperimentConfig) -> str:
    content = config_content(os.path.join(run_dir, CONFIG))
    command = " ".join(map(str, content.get("command", [])))
    versions = ", ".join(f"{name} {version}" for name, version in content.get("versions", {}).items())
    rows = [("command", command), ("commit", content.get("commit")), ("versions", versions)]
    whole = _escaped(json.dumps(as_dict(config), indent=2), MAX_JSON)
    return f"{_table((), rows)}\n<details><summary>all fields</summary><pre>{whole}</pre></details>"
