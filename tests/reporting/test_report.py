"""The page about a run: what is in it, and that it works in a browser."""

import base64
import io
import json
import os
import re
import subprocess
import types

import numpy as np
import pytest
from PIL import Image
from support import browser

from vitgan_tf.config import override
from vitgan_tf.errors import UserError
from vitgan_tf.images import write_picture
from vitgan_tf.presets import preset
from vitgan_tf.reporting import report
from vitgan_tf.runs.directory import RunDirectory
from vitgan_tf.training.run import run_experiment
from vitgan_tf.training.summaries import Summaries

pytestmark = pytest.mark.slow

CHROMIUM = browser.PROGRAM
FIELDS = {"train.total_kimg": 0.032, "train.xla": "off", "generator.num_blocks": 1, "discriminator.num_blocks": 1}
# Moves every slider to every place, and tells which pictures are then to be seen, and which are broken.
LOOK = """
<script>
addEventListener("load", () => {
  const seen = [...document.querySelectorAll(".slides")].map(slides => {
    const slider = slides.querySelector("input"), places = [];
    const visible = () => [...slides.querySelectorAll("img")].filter(img => img.getClientRects().length)
      .map(img => img.alt + " " + (img.naturalWidth > 0 && img.clientHeight > 100));
    places.push([visible(), slides.querySelector("output").textContent]);
    for (let place = 0; place <= Number(slider.max); place++) {
      slider.value = place;
      slider.dispatchEvent(new Event("input"));
      places.push([visible(), slides.querySelector("output").textContent]);
    }
    return places;
  });
  const broken = [...document.images].filter(img => !img.naturalWidth).map(img => img.alt);
  document.body.dataset.looked = JSON.stringify({seen, broken});
});
</script>
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of four steps, and its page."""
    path = tmp_path_factory.mktemp("report") / "run <1>"
    every = {f"log.{name}_every_kimg": 0.016 for name in ("samples", "eval", "diagnostics")}
    run_experiment(override(preset("tiny"), {**FIELDS, **every, "log.scalars_every_steps": 1}), str(path))
    report.write_report(str(path), str(path / "report.html"))
    return path, (path / "report.html").read_text()


def test_the_page_has_all_of_the_run_and_asks_for_nothing_else(run):
    path, page = run
    for title in ("Samples over time", "Interpolation", "Curves", "Scores", "Configuration"):
        assert f"<h2>{title}</h2>" in page
    for name in ("discriminator", "generator"):
        assert f"<h2>Attention of the {name}</h2>" in page
    assert "Run run &lt;1&gt;" in page and "run <1>" not in page
    assert "Changes to the preset digits:" in page and "generator.num_blocks: 4 -&gt; 1" in page
    last = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"digits_fd {last['digits_fd']:.4g} (half-split {last['digits_fd_half_split']:.4g}) at step 4" in page
    assert page.count(f"<td>{last['digits_fd']:.4g}</td>") == 1
    # Every picture is in it, and each sample grid is that of the run.
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert "://" not in re.sub(r'src="data:[^"]*"', "", page)
    grids = [(path / "samples" / f"step_{step:08d}.png").read_bytes() for step in (0, 2, 4)]
    found = [base64.b64decode(source.split(",")[1]) for source in sources if source.startswith("data:image/png")]
    assert found[:3] == grids and len(found) == 9


def _browse(path, page):
    """What the page says after the scripts in it, and the console's messages."""
    path.write_text(page)
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    options += ["--virtual-time-budget=9000", f"--user-data-dir={path.parent / 'profile'}"]
    result = subprocess.run(
        [CHROMIUM, *options, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_the_sliders_move_the_pictures(run, tmp_path):
    _, page = run
    dom, messages = _browse(tmp_path / "page.html", page.replace("</body>", f"{LOOK}</body>"))
    assert messages == []
    looked = json.loads(re.search(r'data-looked="([^"]*)"', dom)[1].replace("&quot;", '"'))
    assert looked["broken"] == []
    places = [[[f"step {step} true"], f"step {step}"] for step in (4, 0, 2, 4)]  # at first, the last one
    assert looked["seen"] == [places] * 3


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_browser_would_tell(tmp_path):
    """Of a script's error, and of anything that is loaded from outside."""
    for script, word in (("nothing.there()", "not defined"), ("new Image().src = 'http://127.0.0.1:9/x'", "Content")):
        page = report._PAGE.format(title="", body=f"<script>{script}</script>")
        _, messages = _browse(tmp_path / "page.html", page)
        assert len(messages) == 1 and word in messages[0]


def _begun(path, **provenance):
    directory = RunDirectory(str(path), preset("tiny"), provenance)
    return directory, Summaries(str(path))


def test_a_run_that_has_only_begun(tmp_path):
    directory, summaries = _begun(tmp_path / "run")
    report.write_report(directory.path, str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert "<img " not in page and "0 of 20" in page
    summaries.scalars(5, {"d_loss": 1.0, "g_loss": 0.0})
    summaries.text(7, "warnings", "all images are <alike>")
    (tmp_path / "run" / "divergence.json").write_text('{"step": 9}')
    report.write_report(directory.path, str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img ") == 1 and 'class="warning">all images are &lt;alike&gt;</p>' in page
    assert "{&quot;step&quot;: 9}" in page


def test_the_best_score_is_one_of_the_training(tmp_path):
    directory, _ = _begun(tmp_path / "run")
    for step, source, value in (
        (5, "training", 30.0),
        (10, "training", 20.0),
        (15, "training", 25.0),
        (15, "evaluate", 1.0),
    ):
        directory.append_metrics({"step": step, "source": source, "digits_fd": value})
    report.write_report(directory.path, str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert '<p class="headline">digits_fd 25 at step 15; least 20 at step 10</p>' in page


def test_of_many_pictures_some_are_shown(tmp_path):
    directory, _ = _begun(tmp_path)
    for step in range(101):
        write_picture(f"{directory.samples}/step_{step:08d}.png", np.full((4, 4, 1), step, np.uint8))
    report.write_report(directory.path, str(tmp_path / "page.html"))
    found = _pictures((tmp_path / "page.html").read_text(), "Samples over time")
    steps = [int(label.removeprefix("step ")) for label in found]
    assert len(steps) == 20 and (steps[0], steps[-1]) == (0, 100) and set(np.diff(steps)) == {5, 6}
    assert found == {f"step {step}": _content(directory, step) for step in steps}


def _content(directory, step):
    with open(directory.sample_path(step), "rb") as file:
        return file.read()


def _pictures(page, title):
    """The pictures of a section by label; None for one without content."""
    section = page.split(f"<h2>{title}</h2>")[1].split("<h2>")[0]
    found = re.findall(r'<img (?:hidden )?alt="([^"]*)"(?: src="data:[^,]*,([^"]*)")?', section)
    return {label: base64.b64decode(content) if content else None for label, content in found}


def _noise(random, *shape):
    return random.integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """A run with much of everything, its page, and the content of a small sample."""
    path, random = tmp_path_factory.mktemp("endless"), np.random.default_rng(0)
    directory, summaries = _begun(path, command=["word"] * 50_000, versions={"é" * 9: "<" * 50_000})
    small = directory.sample_path(0)
    write_picture(small, _noise(random, 16, 16, 3))
    Image.fromarray(_noise(random, 1025, 1025, 3)).save(directory.sample_path(1), compress_level=0)
    for step in range(2, 300):
        os.link(directory.sample_path(1), directory.sample_path(step))
    for step in range(2):
        pictures = {f"attention/{name}": _noise(random, 400, 400, 3) for name in ("discriminator", "generator")}
        summaries.images(step, pictures)
    for step in range(100):
        summaries.text(step, "warnings", f"warning {step} " + "&" * 5_000)
    (path / "divergence.json").write_text("{}" * 2_000_000)
    scores = {f"score_{number}": 0.5 for number in range(50)}
    with open(path / "metrics.jsonl", "w") as file:
        for step in range(100_000):
            source = "evaluate" if step == 12_345 else "training"
            line = {"step": step, "source": source, "digits_fd": 9000.0 if step == 77_777 else 10 + random.random()}
            file.write(json.dumps({**line, **(scores if step % 1000 == 345 else {})}) + "\n")
    (path / "saved_model").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        frames = [_noise(random, 200, 500, 3) for _ in range(48)]
        for name in ("load", "random_keys"):
            patch.setattr(report, name, lambda *_, **__: None)
        patch.setattr(report, "Walk", lambda *_: types.SimpleNamespace(grids=lambda *_: iter(frames)))
        report.write_report(str(path), str(path / "report.html"))
    return (path / "report.html").read_bytes(), _content(directory, 0)


def test_the_page_of_any_run_has_3_mb_at_most(endless):
    page, small = endless
    assert 1_500_000 < len(page) <= 3_000_000
    found = _pictures(page.decode(), "Samples over time")
    assert len(found) == 20 and next(iter(found.items())) == ("step 0", small)
    assert list(found)[-1] == "step 299, reduced: samples/step_00000299.png"
    opened = [Image.open(io.BytesIO(content)) for content in found.values()]
    assert all(picture.width > 50 for picture in opened[1:-1]) and opened[-1].width > 1.5 * opened[-2].width
    for name in ("discriminator", "generator"):
        labels = list(_pictures(page.decode(), f"Attention of the {name}"))
        assert len(labels) == 2 and labels[1].startswith("step 1, reduced: events.")
    (animation,) = _pictures(page.decode(), "Interpolation").values()
    assert Image.open(io.BytesIO(animation)).n_frames == 48


def test_what_a_long_run_shows(endless):
    page = endless[0].decode()
    assert "<td>99999</td>" in page and "<td>12345</td>" in page and "<td>0</td>" in page
    assert "100 of 100,000 lines of metrics.jsonl" in page
    assert "warning 0 " in page and "warning 99 " in page and "80 more warnings" in page
    # The spike rises above all of the curve.
    chart = _pictures(page, "Curves")["digits_fd"].decode()
    curve = max(re.findall(r'<path d="([^"]*)"', chart), key=len)
    heights = sorted(float(y) for _, y in re.findall(r"[ML] (\S+) (\S+)", curve))
    assert len(heights) < 410 and heights[1] - heights[0] > 100


@pytest.mark.parametrize(
    "damage", [lambda png: b"", lambda png: png[:-30], lambda png: png.replace(b"IDAT", b"IDAX")]
)
def test_a_damaged_picture_does_not_end_the_page(tmp_path, damage):
    directory, _ = _begun(tmp_path)
    for step in range(3):
        write_picture(directory.sample_path(step), _noise(np.random.default_rng(step), 8, 8, 1))
    content = damage(_content(directory, 1))
    with open(directory.sample_path(1), "wb") as file:
        file.write(content)
    report.write_report(directory.path, str(tmp_path / "page.html"))
    found = _pictures((tmp_path / "page.html").read_text(), "Samples over time")
    label = "step 1 cannot be read: samples/step_00000001.png"
    assert found == {"step 0": _content(directory, 0), label: None, "step 2": _content(directory, 2)}


def test_senseless_requests_are_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run directory"):
        report.write_report(str(tmp_path), str(tmp_path / "page.html"))
    directory, _ = _begun(tmp_path / "run")
    with pytest.raises(UserError, match="cannot write"):
        report.write_report(directory.path, str(tmp_path / "none" / "page.html"))
