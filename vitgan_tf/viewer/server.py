"""Serves the viewer's page and what it shows, to this machine alone unless told otherwise."""

from __future__ import annotations

import http.server
import json
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from absl import logging

from vitgan_tf.data.decoding import Preprocessing, encode_png
from vitgan_tf.data.opening import BadImageError
from vitgan_tf.errors import UserError
from vitgan_tf.reporting.summary import headline
from vitgan_tf.trained.generator import Generator
from vitgan_tf.viewer import scene
from vitgan_tf.viewer.jobs import OvertakenError, Projections, Turns

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
MAX_UPLOAD = 20 * 2**20
# Custom header: forces a CORS preflight on cross-origin requests, which the server does not grant.
_HEADER = "X-Viewer"
_PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")
_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "viewer.js": "text/javascript; charset=utf-8",
    "viewer.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class HttpError(Exception):
    """An answer other than what was asked for.

    Args:
      status: HTTP status.
      message: shown on the page.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Answer:
    """Content of an answer.

    Attributes:
      content: the bytes.
      content_type: their media type.
      download: file name for a download.
    """

    def __init__(self, content: bytes, content_type: str, download: str | None = None):
        self.content = content
        self.content_type = content_type
        self.download = download


def _json(value: Any) -> Answer:
    return Answer(json.dumps(value).encode(), "application/json")


class Viewer:
    """Answers requests about generators.

    Args:
      generators: generators by the name that the page shows.
      projection_steps: steps of a search.
    """

    def __init__(self, generators: Mapping[str, Generator], projection_steps: int):
        self._names = list(generators)
        self._generators = list(generators.values())
        self._projections = [Projections(generator, projection_steps) for generator in self._generators]
        self._turns = Turns()
        self._routes: dict[tuple[str, str], Callable[[Mapping[str, str], bytes], Answer]] = {
            ("GET", "/api/models"): self._models,
            ("GET", "/api/image"): self._image,
            ("GET", "/api/wall"): self._wall,
            ("GET", "/api/latents"): self._latents,
            ("POST", "/api/projections"): self._project,
            ("GET", "/api/projections"): self._projection,
        }

    def warm_up(self) -> None:
        """Draws once with each generator, so that nobody waits for TensorFlow's first call."""
        for model in range(len(self._generators)):
            self.answer("GET", "/api/image", {"model": str(model)})
            self.answer("GET", "/api/wall", {"model": str(model)})

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes = b"") -> Answer:
        """Answers a request.

        Raises:
          HttpError: there is nothing of that kind, a newer request has overtaken this one, or a value is wrong.
        """
        name = "index.html" if path == "/" else path[1:]
        if method == "GET" and name in _TYPES:
            with open(os.path.join(_PAGE, name), "rb") as file:
                return Answer(file.read(), _TYPES[name])
        if (method, path) not in self._routes:
            raise HttpError(404, "there is no such page")
        try:
            return self._routes[method, path](query, body)
        except OvertakenError as error:
            raise HttpError(409, "overtaken") from error
        except (UserError, BadImageError) as error:
            raise HttpError(400, str(error)) from error

    def _index(self, query: Mapping[str, str]) -> int:
        return int(scene.number(query, "model", 0, 0, len(self._generators) - 1))

    def _models(self, query: Mapping[str, str], body: bytes) -> Answer:
        return _json(
            [
                {
                    "name": name,
                    "image_size": generator.image_size,
                    "num_styles": generator.num_styles,
                    "any_scale": generator.renders_at_any_scale,
                    "can_project": generator.functions.is_traceable,
                    "score": headline(generator.scores),
                }
                for name, generator in zip(self._names, self._generators)
            ]
        )

    def _scene(self, query: Mapping[str, str]) -> tuple[scene.Scene, Generator, scene.Projected]:
        index = self._index(query)
        generator = self._generators[index]
        return scene.parsed_scene(query, generator), generator, self._projections[index].styles

    def _image(self, query: Mapping[str, str], body: bytes) -> Answer:
        order, client = int(scene.number(query, "order", 0, 0, 2**53)), query.get("client", "")[:64]
        with self._turns.turn(f"{client} {self._index(query)}", order):
            return Answer(encode_png(scene.draw(*self._scene(query))), "image/png")

    def _wall(self, query: Mapping[str, str], body: bytes) -> Answer:
        generator = self._generators[self._index(query)]
        count = int(scene.number(query, "count", 24, 1, scene.MAX_WALL))
        first = int(scene.number(query, "first", 0, 0, scene.MAX_SEED - count))
        truncation = scene.number(query, "truncation", 1.0, *scene.TRUNCATIONS)
        with self._turns.turn(f"{query.get('client', '')[:64]} wall", int(scene.number(query, "order", 0, 0, 2**53))):
            return Answer(encode_png(scene.wall(generator, first, count, truncation)), "image/png")

    def _latents(self, query: Mapping[str, str], body: bytes) -> Answer:
        return Answer(scene.latents_file(*self._scene(query)), "application/octet-stream", "latents.npz")

    def _project(self, query: Mapping[str, str], body: bytes) -> Answer:
        index = self._index(query)
        generator = self._generators[index]
        target = Preprocessing(generator.image_size, generator.num_channels)(body)
        return _json({"projection": self._projections[index].start(target)})

    def _projection(self, query: Mapping[str, str], body: bytes) -> Answer:
        job = self._projections[self._index(query)].job(int(scene.number(query, "projection", 0, 0, scene.MAX_SEED)))
        found = None if job.result is None else min(job.result.psnr, 99.0)  # JSON has no infinity
        return _json({"step": job.step, "steps": job.steps, "psnr": found, "error": job.error})


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "viewer", ""
    # Of a client that says nothing.
    timeout = 60

    def do_GET(self) -> None:
        self._respond("GET")

    def do_POST(self) -> None:
        self._respond("POST")

    def _respond(self, method: str) -> None:
        try:
            self._check_origin(method)
            address = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(address.query))
            answer = self.server.viewer.answer(method, address.path, query, self._body() if method == "POST" else b"")
        except HttpError as error:
            self._send(error.status, _json({"error": str(error)}))
        except (BrokenPipeError, ConnectionResetError):  # the page has gone on
            self.close_connection = True
        except Exception as error:  # the page shows it, and the log says where
            logging.exception("%s %s", method, self.path)
            self._send(500, _json({"error": f"{type(error).__name__}: {error}"}))
        else:
            self._send(200, answer)

    def _check_origin(self, method: str) -> None:
        """Refuses requests that another site makes a browser send."""
        host = self.headers.get("Host", "")
        if host not in self.server.hosts:
            raise HttpError(403, f"host name {host!r} is not allowed: add it to --names")
        origin = self.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] not in self.server.hosts:
            raise HttpError(403, "cross-origin requests are refused")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise HttpError(403, "cross-origin requests are refused")
        if method == "POST" and self.headers.get(_HEADER) is None:
            raise HttpError(403, f"the header {_HEADER} is missing")

    def _body(self) -> bytes:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 < length <= MAX_UPLOAD:
            self.close_connection = True
            raise HttpError(413, f"a picture must have 1 to {MAX_UPLOAD:,} bytes")
        return self.rfile.read(length)

    def _send(self, status: int, answer: Answer) -> None:
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.content)),
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        if answer.download:
            headers["Content-Disposition"] = f'attachment; filename="{answer.download}"'
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a slider sends dozens of requests a second."""


class Server(http.server.ThreadingHTTPServer):
    """HTTP server of a viewer.

    Args:
      viewer: answers.
      host: address to listen at.
      port: port to listen at; 0 for any free one.
      names: further names under which this machine may be addressed.

    Raises:
      UserError: the address or port cannot be used.
    """

    daemon_threads = True

    def __init__(self, viewer: Viewer, host: str = "127.0.0.1", port: int = 0, names: Sequence[str] = ()):
        self.viewer = viewer
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise UserError(
                f"cannot listen at {host}, port {port} ({error.strerror}): choose another --port"
            ) from error
        self.port = self.server_address[1]
        self.hosts = {f"{name}:{self.port}" for name in (*LOCAL_NAMES, *names)}

    @property
    def address(self) -> str:
        """Address of the page."""
        return f"http://localhost:{self.port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that hang up."""
