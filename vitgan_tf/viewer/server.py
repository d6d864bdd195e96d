"""Serves the viewer's page and what it shows, to this machine alone unless told otherwise."""

from __future__ import annotations

import http.server
import socket
import urllib.parse
from collections.abc import Sequence
from typing import Any

from absl import logging

from vitgan_tf.errors import UserError
from vitgan_tf.viewer.answers import Answer, HttpError, Viewer, json_answer

_WILDCARDS = ("", "0.0.0.0", "::")
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
MAX_UPLOAD = 20 * 2**20
# Custom header: forces a CORS preflight on cross-origin requests, which the server does not grant.
_HEADER = "X-Viewer"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "viewer", ""
    # Seconds for a client that says nothing.
    timeout = 60

    def do_GET(self) -> None:
        self._respond("GET")

    def do_POST(self) -> None:
        self._respond("POST")

    def _respond(self, method: str) -> None:
        try:
            address = urllib.parse.urlsplit(self.path)
            self._check_origin(method, address.path)
            query = dict(urllib.parse.parse_qsl(address.query))
            answer = self.server.viewer.answer(method, address.path, query, self._body() if method == "POST" else b"")
        except HttpError as error:
            # The rest of the request must not be read as another one.
            self.close_connection = True
            self._send(error.status, json_answer({"error": str(error)}))
        except (BrokenPipeError, ConnectionResetError):  # the page has gone on
            self.close_connection = True
        except Exception as error:  # the page shows it, and the log says where
            logging.exception("%s %s", method, self.path)
            self.close_connection = True
            self._send(500, json_answer({"error": f"{type(error).__name__}: {error}"}))
        else:
            self._send(200, answer)

    def _check_origin(self, method: str, path: str) -> None:
        """Refuses requests that another site makes a browser send.

        A name of this machine that another site has made up (DNS rebinding) is not among the server's.
        """
        host = self.headers.get("Host", "")
        if _host_name(host) not in self.server.names:
            raise HttpError(403, f"host name {host!r} is not allowed: add it to --names")
        origin = self.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise HttpError(403, "cross-origin requests are refused")
        is_link = path == "/" and self.headers.get("Sec-Fetch-Mode") == "navigate"
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and not is_link:
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
            if self.close_connection:
                headers["Connection"] = "close"
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a slider sends dozens of requests a second."""


def _host_name(host: str) -> str:
    """Returns a Host header without its port."""
    return host.rpartition(":")[0] if host.rpartition("]")[2].count(":") else host


class Server(http.server.ThreadingHTTPServer):
    """HTTP server of a viewer.

    Args:
      viewer: answers.
      host: address to listen at.
      port: port to listen at; 0 for any free one.
      names: further names under which this machine may be addressed.

    Attributes:
      address: address of the page.
      names: names under which this machine may be addressed.

    Raises:
      UserError: the address or port cannot be used.
    """

    daemon_threads = True

    def __init__(self, viewer: Viewer, host: str = "127.0.0.1", port: int = 0, names: Sequence[str] = ()):
        self.viewer = viewer
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            reason = f"cannot listen at {host}, port {port} ({error.strerror})"
            raise UserError(f"{reason}: choose another --port") from error
        own = f"[{host}]" if ":" in host else host
        is_named = host not in _WILDCARDS and own not in LOCAL_NAMES
        self.names = {*LOCAL_NAMES, *names, own}
        self.address = f"http://{own if is_named else 'localhost'}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that hang up."""
