"""Signals end a training between two steps, and a second one ends it at once."""

import http.server
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from support import commands, kernel

from vitgan_tf.errors import Interrupted
from vitgan_tf.training import interruption
from vitgan_tf.training.interruption import StopRequest

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # Python calls handlers between two of its operations


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_a_step_waits_for_its_end(number):
    stop = StopRequest(first_step=5, total_steps=100)
    with stop.received():
        stop.on_train_batch_begin(0)
        stop.on_train_batch_end(0, {})
        stop.on_train_batch_begin(1)
        _send(number)
        with pytest.raises(Interrupted) as caught:
            stop.on_train_batch_end(1, {})
    assert stop.step == 7 and caught.value.exit_code == 128 + number
    with pytest.raises(Interrupted):
        stop.check()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "where", ["before the training", "during the first step", "after the first step", "between two steps"]
)
def test_elsewhere_a_signal_ends_what_is_being_done(number, where):
    stop = StopRequest(first_step=0, total_steps=100)
    with stop.received():
        stop.check()
        if where != "before the training":
            stop.on_train_batch_begin(0)
        if where in ("after the first step", "between two steps"):
            stop.on_train_batch_end(0, {})
        if where == "between two steps":
            stop.on_train_batch_begin(1)
            stop.on_train_batch_end(1, {})
        with pytest.raises(Interrupted) as caught:
            _send(number)
    assert caught.value.signal_number == number
    assert isinstance(caught.value, KeyboardInterrupt)  # what those who know nothing of it handle


@pytest.fixture()
def interruptible():
    """Ctrl-C is Python's own, also where a shell has started pytest in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_handlers_are_put_back(interruptible):
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopRequest().received():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
    with pytest.raises(KeyboardInterrupt) as caught:
        _send(signal.SIGINT)
    assert type(caught.value) is KeyboardInterrupt


def test_on_another_thread_signals_are_left_alone():
    inside = []

    def train():
        with StopRequest().received():
            inside.append([signal.getsignal(number) for number in SIGNALS])

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert inside == [[signal.getsignal(number) for number in SIGNALS]]


SECOND_SIGNAL = """
import os, signal, time
from vitgan_tf.training.interruption import StopRequest
stop = StopRequest(0, 10)
with stop.received():
    stop.on_train_batch_begin(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    print("still computing", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
    print("never")
"""


@pytest.mark.slow
def test_the_second_signal_ends_the_process_at_once():
    result = subprocess.run(
        [sys.executable, "-c", SECOND_SIGNAL], capture_output=True, text=True, timeout=60, cwd=commands.ROOT
    )
    assert result.returncode == 130 and result.stdout == "still computing\n"
    assert result.stderr.splitlines()[-1] == "stopped at once: the state is that of the last checkpoint"


def test_in_a_notebook_the_second_signal_ends_the_training_alone(monkeypatch):
    kernel.pretend(monkeypatch)
    stop = StopRequest(0, 10)
    with stop.received():
        stop.on_train_batch_begin(1)
        _send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt, match="stopped at once: the state is that of the last checkpoint"):
            _send(signal.SIGINT)


@pytest.fixture()
def metadata(monkeypatch):
    """A server of the metadata of a Google Cloud machine: what it answers, by name, and what it was asked."""
    answers, asked = {"preempted": "FALSE", "maintenance-event": "NONE"}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Metadata-Flavor"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[self.path.rsplit("/", 1)[1]].encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{server.server_port}")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.setattr(interruption, "_POLL_SECONDS", 0.05)
    yield answers, asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "name, notice", [("preempted", "TRUE"), ("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE")]
)
def test_preemption_of_a_google_machine_is_a_sigterm(metadata, name, notice, caplog):
    answers, asked = metadata
    stop = StopRequest(0, 10)
    with stop.received(), caplog.at_level("WARNING", logger="absl"):
        time.sleep(0.5)
        assert len(asked) >= 4
        with pytest.raises(Interrupted) as caught:
            answers[name] = notice
            time.sleep(10)
    assert caught.value.signal_number == signal.SIGTERM and f"terminated ({name})" in caplog.text
    assert set(asked) == {(f"/computeMetadata/v1/instance/{kind}", "Google") for kind in answers}


class _Polls:
    """In place of the event that ends the watch: it comes after so many of them."""

    def __init__(self, number):
        self._left = number

    def wait(self, _):
        self._left -= 1
        return self._left < 0


@pytest.mark.parametrize("answer, sent", [("TRUE", 1), ("TRUE\n", 1), ("FALSE", 0), ("", 0), ("NOT TRUE", 0)])
def test_of_one_notice_there_is_one_sigterm(metadata, monkeypatch, answer, sent):
    """A second one would end the process before its state is saved."""
    answers, asked = metadata
    answers["preempted"] = answer
    signals = []
    monkeypatch.setattr(os, "kill", lambda *arguments: signals.append(arguments))
    interruption._watch(os.environ["GCE_METADATA_HOST"], _Polls(3))
    assert signals == [(os.getpid(), signal.SIGTERM)] * sent
    assert len(asked) == (1 if sent else 3 * 2)


def test_an_answer_that_is_none_is_not_the_end_of_asking(monkeypatch):
    """Who listens at that port first speaks no HTTP, and then says that the machine is preempted."""
    replies = [b"garbage\r\n\r\n"] * 2 + [b"HTTP/1.0 200 OK\r\n\r\nTRUE"]
    signals = []
    monkeypatch.setattr(os, "kill", lambda *arguments: signals.append(arguments))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            for reply in replies:
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(reply)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        interruption._watch(f"127.0.0.1:{server.getsockname()[1]}", _Polls(2))
        thread.join(10)
    assert signals == [(os.getpid(), signal.SIGTERM)]


def test_nobody_is_asked_once_the_training_has_ended(metadata):
    before = set(threading.enumerate())
    with StopRequest(0, 10).received():
        (thread,) = set(threading.enumerate()) - before
        assert thread.is_alive() and thread.daemon  # which does not keep a process that ends
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "product, expected",
    [
        ("Google Compute Engine\n", True),
        ("Google\n", True),
        ("Standard PC (Q35 + ICH9, 2009)\n", False),
        (None, False),
    ],
)
def test_a_google_machine_is_known_by_its_product_name(monkeypatch, product, expected):
    def read(path, **_):
        assert path == "/sys/class/dmi/id/product_name"
        if product is None:
            raise FileNotFoundError(path)
        return io.StringIO(product)

    monkeypatch.setattr(interruption, "open", read, raising=False)
    assert interruption._is_google_machine() is expected


def test_a_server_of_metadata_that_is_gone_is_no_preemption(metadata, monkeypatch):
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")
    with StopRequest(0, 10).received():
        time.sleep(0.5)


def test_elsewhere_nobody_is_asked(monkeypatch):
    monkeypatch.delenv("GCE_METADATA_HOST", raising=False)
    monkeypatch.setattr(interruption, "_is_google_machine", lambda: False)
    before = threading.active_count()
    with StopRequest(0, 10).received():
        assert threading.active_count() == before
