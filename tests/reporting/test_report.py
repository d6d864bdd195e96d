"""The page about a run: what is in it, and that it works in a browser."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.config import override
from vitgan_tf.errors import UserError
from vitgan_tf.images import write_picture
from vitgan_tf.presets import preset
from vitgan_tf.reporting import report
from vitgan_tf.runs.directory import RunDirectory
from vitgan_tf.training.run import run_experiment
from vitgan_tf.training.summaries import Summaries

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
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
    assert f"{last['digits_fd']:.4g} at step 4" in page and page.count(f"<td>{last['digits_fd']:.4g}</td>") == 1
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


def _begun(path):
    directory = RunDirectory(str(path), preset("tiny"))
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
    assert "<td>best digits_fd</td><td>20 at step 10</td>" in page
    assert "<td>digits_fd</td><td>25 at step 15</td>" in page


def test_of_many_pictures_some_are_shown(tmp_path):
    directory, _ = _begun(tmp_path)
    for step in range(101):
        write_picture(f"{directory.samples}/step_{step:08d}.png", np.full((4, 4, 1), step, np.uint8))
    steps = list(report._samples(directory.path))
    assert len(steps) == report.MAX_PICTURES and (steps[0], steps[-1]) == (0, 100)
    assert set(np.diff(steps)) == {2, 3}
    assert tf.io.decode_png(report._samples(directory.path)[100]).numpy().max() == 100


def test_senseless_requests_are_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run directory"):
        report.write_report(str(tmp_path), str(tmp_path / "page.html"))
    directory, _ = _begun(tmp_path / "run")
    with pytest.raises(UserError, match="cannot write"):
        report.write_report(directory.path, str(tmp_path / "none" / "page.html"))
