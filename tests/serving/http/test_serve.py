"""`trunkline serve` as a process of its own, on loopback: clients that misbehave, and its end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from bundletools import make
from clitools import invoke
from tiny import tiny_bert

from trunkline.cli.common import working
from trunkline.cli.serve import example
from trunkline.model.branch import save_branch
from trunkline.trunk.load import load_trunk

LONG = 0.4  # seconds that a batch takes with the text SLOW in it
SLOW = "slow"


@pytest.fixture(scope="module")
def branch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    trunk = load_trunk(tiny_bert(folder / "tiny-bert"), dtype="fp32", device="cpu")
    made = make(trunk, "sequence")
    made.task.name = "mood"
    save_branch(made, folder / "mood")
    return folder / "mood"


@pytest.mark.parametrize(("columns", "keys"), [([None], ["text"]), (["b"], ["text", "pair"]), (["b", None], ["text"])])
def test_the_example_has_a_second_text_where_none_reads_texts_alone(columns, keys):
    assert list(example(SimpleNamespace(text_pair=column) for column in columns)) == keys


def run_server(folder, branch, head_seconds=0.2):
    """In a process of its own: the command, with its output in files, and a trunk that is slow where it is asked to be."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY), number)
    from trunkline.serving import engine
    from trunkline.serving.http import head
    from trunkline.serving.http import run as running
    from trunkline.trunk import speeds

    run = engine.run_batch

    def slow(texts, *rest):
        if any(text.job.asked.texts[text.number] == SLOW for text in texts):
            time.sleep(LONG)
        return run(texts, *rest)

    engine.run_batch, head.HEAD_SECONDS, running.CLOSING = slow, head_seconds, 1.0
    speeds.compiles = lambda: False  # nothing is measured
    sys.argv = ["trunkline", "serve", str(branch), "--port", "0", "--json"]
    from trunkline.cli import main

    main()


def run_held_server(folder, branch):
    """As `run_server`; when it is about to listen no more, it accepts, reads and closes nothing until there is a file `sent`.

    Only its end closes connections: none is closed as nothing comes over it for some seconds.
    """
    import uvicorn

    from trunkline.serving.http import connection, ending

    loop = uvicorn.Server.main_loop

    async def held(server):
        await loop(server)
        (folder / "held").touch()
        while not (folder / "sent").exists():
            time.sleep(0.01)

    uvicorn.Server.main_loop, ending.SILENT = held, 60.0
    connection.Connection.timeout_keep_alive_handler = lambda connection: None
    run_server(folder, branch, head_seconds=60.0)


@pytest.fixture
def server(processes, branch, tmp_path, request):
    """The process, and its port."""
    process = processes.Process(target=getattr(request, "param", run_server), args=(tmp_path, branch))
    process.start()
    try:
        while process.is_alive() and "}" not in (tmp_path / "out").read_text() if (tmp_path / "out").exists() else True:
            time.sleep(0.02)
        started = json.loads((tmp_path / "out").read_text())
        assert started["tasks"] == ["mood"] and started["address"].startswith("http://127.0.0.1:")
        yield process, int(started["address"].rpartition(":")[2])
    finally:
        process.kill()
        process.join()


def ask(port, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def post(length, body):
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


def say(port, data, *, close=False):
    """Send bytes, and return all that comes until the server closes the connection; or close it oneself."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        if close:
            return b""
        found = b""
        while part := connection.recv(1 << 16):
            found += part
        return found


def metric(port, name):
    return next((line.split()[-1] for line in ask(port, "/metrics")[1].splitlines() if line.startswith(name)), None)


def until(reached):
    end = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_bears_clients_that_misbehave_and_ends_when_it_is_told_to(server, tmp_path):
    process, port = server
    blank = post("16 \t", b'{"text": "good"}').replace(b"Host: localhost", b"Host: localhost \r\nConnection: close")
    assert say(port, blank).startswith(b"HTTP/1.1 200 ")
    # heads that are none, too long, or never end
    for data, status in [
        (b"no http at all\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 66_000, 431),
        (b"GET / HTTP/1.1\r\nHo", 408),
        (b"", 408),  # not counted: it is no request
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ]:
        answer = say(port, data)
        assert answer.startswith(b"HTTP/1.1 %d " % status), (data[:40], answer[:80])
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    # a body that is longer than its head says is another request, and no valid one; they are answered in their order
    told = say(port, post(2, b'{}{"text": "a"}'))
    assert told.startswith(b"HTTP/1.1 422 ") and told.count(b"HTTP/1.1 400 ") == told.count(b"HTTP/1.1 ") - 1 == 1
    refused = 'trunkline_requests_total{method="other",route="other",status="%d"}'
    assert [metric(port, refused % status) for status in (400, 408, 414, 431)] == ["3.0", "1.0", "1.0", "1.0"]
    broken = (
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nx"
    )
    assert say(port, broken).startswith(b"HTTP/1.1 400 ")
    until(lambda: metric(port, 'trunkline_requests_total{method="POST",route="/v1/predict",status="400"}') == "1.0")
    # a long body that is refused before it is there, with the connection closed or not: the client writes on, and then reads
    for more, status in (({}, 404), ({"Content-Encoding": "gzip"}, 415)):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for _ in range(2):
            client.request("POST", "/nope", (b"a" * 10_000 for _ in range(300)), {"Content-Length": "3000000", **more})
            answer = client.getresponse()
            assert answer.status == status and json.loads(answer.read())["error"]
        client.close()
    # one that is shorter than it says, of a client that goes away
    say(port, post(100, b'{"text"'), close=True)
    assert ask(port, "/v1/predict", {"text": "so good"})[0] == 200
    # clients that do not wait: the one in the queue is dropped from it
    first = threading.Thread(target=ask, args=(port, "/v1/predict", {"text": SLOW}))
    first.start()
    until(lambda: metric(port, "trunkline_queue_requests") == "1.0")
    body = json.dumps({"texts": ["so good"] * 100}).encode()
    say(port, post(len(body), body), close=True)
    until(lambda: metric(port, 'trunkline_requests_total{method="POST",route="/v1/predict",status="499"}'))
    first.join()
    until(lambda: metric(port, "trunkline_queue_requests") == "0.0")
    # told to end, it answers what is there, and takes no more
    answers = []
    last = threading.Thread(target=lambda: answers.append(ask(port, "/v1/predict", {"text": SLOW})))
    last.start()
    until(lambda: metric(port, "trunkline_queue_requests") == "1.0")
    stalled = socket.create_connection(("127.0.0.1", port), timeout=20)
    stalled.sendall(post(100, b'{"text"'))
    os.kill(process.pid, signal.SIGTERM)
    until(lambda: ask(port, "/readyz")[0] == 503)
    assert ask(port, "/v1/predict", {"text": "a"})[0] == 503 and ask(port, "/livez")[0] == 200
    last.join()
    process.join(20)
    assert answers[0][0] == 200 and json.loads(answers[0][1])["predictions"][0]["mood"]["label"]
    assert process.exitcode == 0
    with stalled, stalled.makefile("rb") as read:
        told = read.read()
    assert told.startswith(b"HTTP/1.1 503 ") and json.loads(told.partition(b"\r\n\r\n")[2])["error_type"] == "unavailable"
    lines = (tmp_path / "err").read_text().splitlines()
    assert {json.loads(line)["status"] for line in lines if '"request"' in line} >= {200, 400, 408, 414, 431, 499, 503}
    events = [line for line in map(json.loads, lines) if line["event"] != "request" and line["level"] == "info"]
    assert [line["event"] for line in events] == ["requests are taken", "told to end: new requests are refused", "ended"]
    assert events[0]["tasks"] == ["mood"] and events[1]["requests"] == 1
    assert "so good" not in "".join(lines) and "Traceback" not in "".join(lines)


@pytest.mark.parametrize("server", [run_held_server], indirect=True)
def test_what_has_reached_it_before_it_listens_no_more_is_answered(server, tmp_path):
    process, port = server

    def client():
        return socket.create_connection(("127.0.0.1", port), timeout=20)

    whole = post(16, b'{"text": "good"}')
    asked, kept, late, early = (client() for _ in range(4))
    for connection in (asked, kept, late):
        connection.sendall(whole)
        first = http.client.HTTPResponse(connection)  # reads all of it: its head and its body may come apart
        first.begin()
        assert first.status == 200 and first.read()
    asked.sendall(post(16, b'{"text": "slow"}'))
    until(lambda: metric(port, "trunkline_queue_requests") == "1.0")
    os.kill(process.pid, signal.SIGTERM)
    until((tmp_path / "held").exists)
    new = [client() for _ in range(5)]  # wait to be accepted
    for connection in (kept, early, *new[:3]):
        connection.sendall(whole)
    new[3].sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    new[4].sendall(whole[:30])  # some of a head, with no more to come
    (tmp_path / "sent").touch()

    def told(connection):
        with connection, connection.makefile("rb") as read:
            answer = read.read()
        return answer[9:12], b"connection: close" in answer, answer.count(b"HTTP/1.1 ")

    assert told(asked) == told(new[3]) == (b"200", True, 1)
    assert [told(connection) for connection in (kept, early, *new[:3])] == [(b"503", True, 1)] * 5
    until(lambda: refused(port))
    time.sleep(0.2)  # in which a server that did not wait would close all
    late.sendall(whole)  # nobody listens, and a connection that there is may still ask
    assert told(late) == (b"503", True, 1)
    assert told(new[4]) == (b"503", True, 1)
    process.join(20)
    assert process.exitcode == 0


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=20).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.slow
def test_a_second_signal_ends_it_while_it_computes(server):
    process, port = server
    texts = {"texts": [SLOW] * 100, "tasks": ["mood"]}

    def asking():
        with contextlib.suppress(OSError):
            ask(port, "/v1/predict", texts)

    thread = threading.Thread(target=asking)
    thread.start()
    until(lambda: metric(port, "trunkline_queue_requests") == "1.0")
    os.kill(process.pid, signal.SIGTERM)
    until(lambda: ask(port, "/readyz")[0] == 503)
    os.kill(process.pid, signal.SIGTERM)
    process.join(20)
    thread.join()
    assert process.exitcode == 128 + signal.SIGTERM


def test_what_takes_long_is_one_line_of_a_log(capsys):
    with working("nothing"):
        pass
    with working("compiling", seconds=0.0):
        until(lambda: capsys.readouterr().err == "compiling\n")
    assert capsys.readouterr().err == ""


def test_what_it_cannot_serve_ends_with_one_sentence(branch, tmp_path, monkeypatch):
    def refused(*arguments):
        result = invoke("serve", *map(str, arguments))
        assert result.exit_code == 2, result.output
        assert result.stderr.count("\n") == 1 and result.stderr.startswith("trunkline: ")
        return result.stderr

    assert "--without-keys" in refused(branch, "--host", "0.0.0.0", "--port", 0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "in use by another program" in refused(branch, "--port", other.getsockname()[1])
    assert "expected a run or a branch" in refused(tmp_path / "none")
    assert "--branches: found no folder" in refused(branch, "--branches", tmp_path / "none")
    (tmp_path / "keys").write_text("short\n")
    assert "keys line 1" in refused(branch, "--keys", tmp_path / "keys")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "branch.json").write_bytes((branch / "branch.json").read_bytes())
    (broken / "weights.safetensors").write_bytes(b"\x80\x04pickle")
    assert "cannot be read as safetensors" in refused(broken, "--port", 0)
    monkeypatch.setattr("trunkline.serving.http.listening.MODULES", ("fastapi", "no_such_module"))
    assert "pip install 'trunkline[serve]'" in refused(branch)
