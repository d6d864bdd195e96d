"""Answers of the viewer: the page, and what it asks for."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any, Callable

from vitgan_tf.data.decoding import Preprocessing, encode_png
from vitgan_tf.data.opening import BadImageError
from vitgan_tf.errors import UserError
from vitgan_tf.reporting.summary import headline
from vitgan_tf.trained.generator import Generator
from vitgan_tf.trained.projection import shown_psnr
from vitgan_tf.viewer import scene
from vitgan_tf.viewer.jobs import OvertakenError, Projections, Turns

_PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")
_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "viewer.js": "text/javascript; charset=utf-8",
    "viewer.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


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


def json_answer(value: Any) -> Answer:
    """Returns a value as JSON."""
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
        """Draws once with each generator, so that nobody waits for TensorFlow's first call.

        Raises:
          UserError: an image is not finite.
        """
        for generator in self._generators:
            scene.wall(generator, 0, scene.MAX_WALL, 1.0)
            generator.generate(1)

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
        return json_answer(
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

    def _turn(self, query: Mapping[str, str], picture: str) -> contextlib.AbstractContextManager[None]:
        """Returns the turn of a request for a picture of a page."""
        order = int(scene.number(query, "order", 0, 0, 2**53))
        return self._turns.turn(f"{query.get('client', '')[:64]} {picture}", order)

    def _image(self, query: Mapping[str, str], body: bytes) -> Answer:
        with self._turn(query, f"image {self._index(query)}"):
            return Answer(encode_png(scene.draw(*self._scene(query))), "image/png")

    def _wall(self, query: Mapping[str, str], body: bytes) -> Answer:
        generator = self._generators[self._index(query)]
        count = int(scene.number(query, "count", 24, 1, scene.MAX_WALL))
        first = int(scene.number(query, "first", 0, 0, scene.MAX_SEED - count))
        truncation = scene.number(query, "truncation", 1.0, *scene.TRUNCATIONS)
        with self._turn(query, "wall"):
            return Answer(encode_png(scene.wall(generator, first, count, truncation)), "image/png")

    def _latents(self, query: Mapping[str, str], body: bytes) -> Answer:
        return Answer(scene.latents_file(*self._scene(query)), "application/octet-stream", "latents.npz")

    def _project(self, query: Mapping[str, str], body: bytes) -> Answer:
        index = self._index(query)
        generator = self._generators[index]
        self._projections[index].check_room()
        target = Preprocessing(generator.image_size, generator.num_channels)(body)
        return json_answer({"projection": self._projections[index].start(target)})

    def _projection(self, query: Mapping[str, str], body: bytes) -> Answer:
        job = self._projections[self._index(query)].job(int(scene.number(query, "projection", 0, 0, scene.MAX_SEED)))
        found = None if job.result is None else shown_psnr(job.result.psnr)
        return json_answer({"step": job.step, "steps": job.steps, "psnr": found, "error": job.error})
