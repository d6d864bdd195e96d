"""The viewer: its answers beside pixels of the library, what it refuses, and its page in a browser."""

import dataclasses
import http.client
import io
import json
import socket
import threading
import time

import numpy as np
import pytest
from PIL import Image
from support import browser, trained

from vitgan_tf.drawing.walks import slerp
from vitgan_tf.errors import UserError
from vitgan_tf.images import to_uint8
from vitgan_tf.latents import consecutive_latents
from vitgan_tf.trained.functions import of_network
from vitgan_tf.trained.generator import Generator, Origin
from vitgan_tf.viewer.answers import HttpError, Viewer
from vitgan_tf.viewer.jobs import MAX_WAITING, OvertakenError, Projections, Turns
from vitgan_tf.viewer.server import MAX_UPLOAD, Server

STEPS = 40


@pytest.fixture(scope="module")
def generators():
    noisy = trained.network(3, {"generator.architecture": "stylegan2"})
    for weight in noisy.weights:
        if "noise_strength" in weight.name:
            weight.assign(0.3)
    scores = {**trained.scores(7), "digits_fd_half_split": 1.5}
    return {
        "plain": Generator(of_network(trained.network(1)), Origin("here", scores=scores)),
        "noisy": Generator(of_network(noisy), Origin("there")),
    }


@pytest.fixture(scope="module")
def viewer(generators):
    return Viewer(generators, STEPS)


@pytest.fixture(scope="module")
def server(viewer):
    with Server(viewer, port=0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def _picture(content):
    pixels = np.asarray(Image.open(io.BytesIO(content))).astype(int)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _get(viewer, path, **query):
    return viewer.answer("GET", path, {name: str(value) for name, value in query.items()})


@pytest.mark.parametrize("model", [0, 1])
def test_the_image_of_a_seed_is_that_of_generate(viewer, generators, model):
    generator = list(generators.values())[model]
    for seed, truncation in ((0, 1.0), (7, -0.5)):
        found = _picture(_get(viewer, "/api/image", model=model, seed=seed, truncation=truncation).content)
        np.testing.assert_allclose(found, generator.generate(1, seed, truncation)[0].astype(int), atol=1)


def test_ways_mixtures_and_scales(viewer, generators):
    generator = generators["plain"]
    a, b = (consecutive_latents(seed, 0, 1, 16).numpy() for seed in (3, 9))
    z, w = generator.map(slerp(a, b, 0.25)), 0.75 * generator.map(a) + 0.25 * generator.map(b)
    mixed = np.concatenate([generator.map(a)[:, :1], generator.map(b)[:, 1:]], axis=1)
    for styles, query in (
        (z, {"fraction": 0.25}),
        (w, {"fraction": 0.25, "space": "w"}),
        (mixed, {"mixed": "1"}),
    ):
        found = _picture(_get(viewer, "/api/image", seed=3, other=9, scale=1.5, **query).content)
        expected = to_uint8(generator.render(styles, 1.5)).numpy()[0].astype(int)
        assert found.shape == (12, 12, 1)
        np.testing.assert_allclose(found, expected, atol=1)
        with np.load(io.BytesIO(_get(viewer, "/api/latents", seed=3, other=9, **query).content)) as file:
            np.testing.assert_allclose(file["styles"], styles, atol=1e-5)
            assert "latents" not in file
    with np.load(io.BytesIO(_get(viewer, "/api/latents", seed=3).content)) as file:
        np.testing.assert_array_equal(file["latents"], a)


@pytest.mark.parametrize("model", [0, 1])
def test_the_wall_shows_the_images_of_its_seeds(viewer, generators, model):
    generator = list(generators.values())[model]
    found = _picture(_get(viewer, "/api/wall", model=model, first=5, count=4, truncation=0.7).content)
    expected = np.concatenate([generator.generate(1, seed, 0.7)[0] for seed in range(5, 9)], axis=1)
    np.testing.assert_allclose(found, expected.astype(int), atol=1)


def test_what_the_page_knows_of_the_models(viewer):
    plain, noisy = json.loads(_get(viewer, "/api/models").content)
    assert plain["score"] == "digits_fd 19.5 (half-split 1.5)" and noisy["score"] == ""
    assert plain["any_scale"] and not noisy["any_scale"] and plain["can_project"]


@pytest.mark.slow
@pytest.mark.parametrize("model", [0, 1])
def test_a_picture_is_projected_and_stands_for_the_seed(viewer, generators, model):
    generator = list(generators.values())[model]
    content = io.BytesIO()
    Image.fromarray(generator.generate(1, 4)[0, ..., 0]).save(content, "PNG")
    started = viewer.answer("POST", "/api/projections", {"model": str(model)}, content.getvalue())
    number = json.loads(started.content)["projection"]
    for _ in range(600):
        job = json.loads(_get(viewer, "/api/projections", model=model, projection=number).content)
        if job["psnr"] is not None:
            break
        time.sleep(0.05)
    assert job == {"step": STEPS, "steps": STEPS, "psnr": job["psnr"], "error": None}
    styles = viewer._projections[model].styles(number)
    found = _picture(_get(viewer, "/api/image", model=model, projection=number).content)
    expected = to_uint8(generator.render(styles[None], noise_seed=-1)).numpy()[0].astype(int)
    np.testing.assert_allclose(found, expected, atol=1)


WRONG = {
    "seed=-1": "seed must be a number from 0 to 2.14748e+09",
    "seed=nan": "seed must be a number",
    "seed=x": "seed must be a number",
    "scale=0.01": "render_scale 0.01 leaves no pixels",
    "scale=100000": "scale must be a number from 0 to 256",
    "model=1&scale=2": "renders at 8 pixels only",
    "model=2": "model must be a number from 0 to 1",
    "space=x": "space must be z or w",
    "mixed=0,7": "place must be a number from 0 to 1",
    "projection=5": "there is no projection 5",
    "truncation=inf": "truncation must be a number from -2 to 2",
}


@pytest.mark.parametrize("query", WRONG)
def test_wrong_values_are_answered_in_a_line(server, query):
    status, answer = _request(server, "GET", f"/api/image?{query}")
    assert status == 400 and WRONG[query] in json.loads(answer)["error"]


def _request(server, method, path, headers=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers.get("Access-Control-Allow-Origin") is None
        return response.status, content
    finally:
        connection.close()


def test_pages_elsewhere_can_neither_read_nor_drive_it(server):
    ours = f"http://localhost:{server.server_address[1]}"
    for headers, status in (
        ({"Host": "evil.example"}, 403),
        ({"Host": f"evil.example:{server.server_address[1]}"}, 403),  # a name that was made to point here
        ({"Host": f"localhost.evil.example:{server.server_address[1]}"}, 403),
        ({"Host": "[::1]"}, 200),
        ({"Host": "localhost:9000", "Origin": "http://localhost:9000"}, 200),  # a tunnel from another port
        ({"Host": "localhost:9000", "Origin": "http://localhost:8000"}, 403),  # another page of this machine
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": f"localhost:{server.server_address[1]}", "Origin": ours, "Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 200),
    ):
        assert _request(server, "GET", "/api/models", headers)[0] == status, headers
    assert _request(server, "POST", "/api/projections", {}, b"x")[0] == 403  # a form of another page could send it
    assert _request(server, "POST", "/api/projections", {"X-Viewer": "1"}, b"x")[0] == 400
    too_long = {"X-Viewer": "1", "Content-Length": str(MAX_UPLOAD + 1)}
    assert _request(server, "POST", "/api/projections", too_long)[0] == 413
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert _request(server, "GET", "/", link)[0] == 200 and _request(server, "GET", "/api/image", link)[0] == 403
    for path in ("/../server.py", "/%2e%2e/server.py", "/server.py", "/page/index.html"):
        assert _request(server, "GET", path)[0] == 404


def test_what_follows_a_refused_request_is_not_read(server):
    """A form of another page whose body is a request of its own."""
    hidden = b"GET /api/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = f"POST /api/projections HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(hidden)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=10) as connection:
        connection.sendall(head.encode() + hidden)
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 403") and answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "host, names, address",
    [("127.0.0.1", (), "localhost"), ("0.0.0.0", ("lab.example",), "localhost"), ("::1", (), "localhost")],
)
def test_addresses(viewer, host, names, address):
    with Server(viewer, host, 0, names) as running:
        assert running.address == f"http://{address}:{running.server_address[1]}/"
        assert {"localhost", *names} <= running.names


def test_newer_requests_overtake_older_ones():
    turns, order = Turns(), []
    first = threading.Event()

    def request(number, client="page"):
        try:
            with turns.turn(client, number):
                first.set()
                time.sleep(0.2)
                order.append((client, number))
        except OvertakenError:
            order.append(("overtaken", number))

    threads = [threading.Thread(target=request, args=arguments) for arguments in ((1,), (2,), (3,), (1, "other"))]
    threads[0].start()
    first.wait()
    for thread in threads[1:]:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert sorted(order, key=str) == sorted([("page", 1), ("overtaken", 2), ("page", 3), ("other", 1)], key=str)


def test_searches_that_fail_or_wait(generators):
    generator = generators["plain"]
    projections = Projections(generator, steps=1)
    projections._busy.acquire()
    target = np.zeros((8, 8, 1), np.uint8)
    for _ in range(MAX_WAITING + 1):
        projections.start(target)
    with pytest.raises(UserError, match="searches wait already"):
        projections.start(target)
    with pytest.raises(UserError, match="is not done"):
        projections.styles(0)
    projections._busy.release()
    failing = Projections(generator, steps=1)
    number = failing.start(np.zeros((9, 9, 1), np.uint8))
    for _ in range(600):
        if failing.job(number).error:
            break
        time.sleep(0.05)
    assert "the image must have shape (8, 8, 1)" in failing.job(number).error


def test_a_model_that_fails_says_so(generators):
    def broken(*_):
        raise RuntimeError("no memory left")

    functions = dataclasses.replace(generators["plain"].functions, render=broken)
    viewer = Viewer({"broken": Generator(functions, Origin("here"))}, 1)
    with Server(viewer, port=0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        status, answer = _request(running, "GET", "/api/image")
        running.shutdown()
    assert status == 500 and json.loads(answer) == {"error": "RuntimeError: no memory left"}


def test_a_port_that_is_taken(server):
    with pytest.raises(UserError, match=r"cannot listen at 127\.0\.0\.1, port \d+ .*choose another --port"):
        Server(server.viewer, port=server.server_address[1])


needs_browser = pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium")
SHOWN = """(async () => {
  const image = document.querySelector('#pictures [data-model="%d"] img');
  try { await image.decode(); } catch { return []; }  // replaced meanwhile
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data).filter((_, i) => i %% 4 === 0);
})()"""


def _wait_for(page, model, expected):
    """Waits until the picture of a model shows these pixels."""
    expected, end = expected[..., 0].astype(int).ravel(), time.time() + 20
    while True:
        shown = np.array(page.run(SHOWN % model))
        if shown.shape == expected.shape and np.abs(shown - expected).max() <= 1:
            return
        assert time.time() < end, "the picture has not changed to what it should be"
        time.sleep(0.05)


def _set(page, control, value):
    page.run(f"document.getElementById('{control}').value = {value!r}")
    for event in ("input", "change"):
        page.run(f"document.getElementById('{control}').dispatchEvent(new Event('{event}', {{bubbles: true}}))")


NAMELESS = """[...document.querySelectorAll("input, select, button, img")].filter((control) => !(
  control.labels?.length || control.getAttribute("aria-label") || control.alt || control.textContent
)).map((control) => control.id)"""
COLOURS = "(() => { const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]; })()"


@pytest.mark.slow
@needs_browser
def test_the_page_in_a_browser(server, generators, tmp_path):
    """Sliders, keyboard, wall and upload move the pictures; two models stand side by side; no word in the console."""
    plain, noisy = generators.values()
    with browser.Browser() as page:
        page.open(server.address)
        page.wait("document.querySelectorAll('#wall button').length === 24")
        _wait_for(page, 0, plain.generate(1, 0)[0])
        _wait_for(page, 1, noisy.generate(1, 0)[0])
        _set(page, "seed", 7)
        _wait_for(page, 0, plain.generate(1, 7)[0])
        _set(page, "truncation", 0.5)
        _wait_for(page, 1, noisy.generate(1, 7, 0.5)[0])
        _set(page, "scale", 2)
        _wait_for(page, 0, plain.generate(1, 7, 0.5, 2.0)[0])
        _wait_for(page, 1, noisy.generate(1, 7, 0.5)[0])
        # From the keyboard: the slider's next value, and a sample of the wall.
        page.run("document.getElementById('truncation').focus()")
        page.press("ArrowRight", 39)
        _wait_for(page, 0, plain.generate(1, 7, 0.55, 2.0)[0])
        page.wait("!!document.querySelector('#wall [data-seed=\"3\"]')")
        page.run("document.querySelector('#wall [data-seed=\"3\"]').focus()")
        page.press("\r", 13)
        _wait_for(page, 0, plain.generate(1, 3, 0.55, 2.0)[0])
        assert page.run("document.querySelector('[aria-pressed=\"true\"]').dataset.seed") == "3"
        assert page.run(NAMELESS) == []
        _set(page, "scale", 1)
        _set(page, "truncation", 1)
        picture = tmp_path / "own.png"
        Image.fromarray(plain.generate(1, 11)[0, ..., 0]).save(picture)
        page.upload("#upload", picture)
        page.wait("document.getElementById('projected').textContent.includes('PSNR')")
        number = max(server.viewer._projections[0]._jobs)
        styles = server.viewer._projections[0].styles(number)
        _wait_for(page, 0, to_uint8(plain.render(styles[None])).numpy()[0])
        page.run("document.getElementById('unproject').click()")
        _wait_for(page, 0, plain.generate(1, 3)[0])
        saved = page.run("document.getElementById('save-latents').getAttribute('href')")
        assert "seed=3" in saved and "projection" not in saved
        picture.write_bytes(b"no picture")
        page.run("document.getElementById('upload').value = ''")
        assert page.messages == []
        page.upload("#upload", picture)
        page.wait("document.getElementById('error').textContent.includes('not an image')")


@pytest.mark.slow
@needs_browser
def test_dark_and_narrow(server):
    with browser.Browser(width=400, dark=True) as page:
        page.open(server.address)
        page.wait("document.querySelectorAll('#wall button').length === 24")
        colours = page.run(COLOURS)
        light = [sum(map(int, colour[colour.index("(") + 1 : -1].split(",")[:3])) for colour in colours]
        assert light[0] > 500 > 200 > light[1]
        assert page.run("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.messages == []


def test_unknown_pages():
    with pytest.raises(HttpError) as error:
        Viewer({}, 1).answer("GET", "/none", {})
    assert error.value.status == 404
