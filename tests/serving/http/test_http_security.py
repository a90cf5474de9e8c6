"""Who is let in, and how much."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import os

import pytest
from bundletools import make
from starlette.testclient import TestClient
from test_engine import Held
from tiny import tiny_bert

from trunkline.errors import BadInput
from trunkline.model.bundle import Bundle
from trunkline.serving.engine import Engine, Limits
from trunkline.serving.http.app import create_app
from trunkline.serving.http.keys import Keys, from_environment
from trunkline.serving.http.listening import bind, is_loopback, with_hosts
from trunkline.serving.http.logs import JsonLines
from trunkline.serving.http.security import OPEN
from trunkline.serving.http.settings import Settings
from trunkline.trunk.load import load_trunk

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    trunk = load_trunk(tiny_bert(tmp_path_factory.mktemp("trunk") / "tiny-bert"), dtype="fp32", device="cpu")
    return Bundle(trunk, {"mood": make(trunk, "sequence")})


@pytest.fixture(scope="module")
def engine(bundle):
    with Engine(bundle) as engine:
        yield engine


def client_of(engine, **settings):
    return TestClient(create_app(engine, Settings(**settings)))


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_every_address_but_liveness_asks_for_a_key(engine):
    client = client_of(engine, keys=Keys(None, ["key-number-1", "key-number-2"]), docs=True)
    addresses = ["/docs", "/openapi.json", "/nowhere", "/v1/tasks/mood", *client.app.openapi()["paths"]]
    shown = [{}, bearer("key-number-3"), bearer(""), bearer("key-number-1x"), {"Authorization": "key-number-1"}]
    odd = (b"Basic \xff\xff", b"\xff \xff", b"Basic //8=", b"Basic a", b"Bearer \xff")
    shown += [{"Authorization": value} for value in odd]
    for path in addresses:
        for method in ("GET", "POST", "PUT", "DELETE"):
            if path in OPEN and method == "GET":  # the files of the page, which other clients post to
                continue
            for headers in shown:
                answer = client.request(method, path.replace("{name}", "mood"), headers=headers)
                assert answer.status_code == 401, (method, path)
                assert answer.json()["error_type"] == "unauthorized"
                assert answer.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/livez").json() == {"status": "alive"}
    for key in ("key-number-1", "key-number-2"):
        assert client.get("/v1/tasks", headers=bearer(key)).status_code == 200
    password = base64.b64encode(b"anybody:key-number-2").decode()  # as a browser that asks for it sends it
    assert client.get("/docs", headers={"Authorization": f"Basic {password}"}).status_code == 200
    for broken in ("Basic !", "Basic /w==", "Basic", "Bearer \xff"):
        assert client.get("/docs", headers={"Authorization": broken.encode("latin-1")}).status_code == 401


def test_operations_that_ask_for_a_key_are_described_as_such(engine):
    for keys, covered in ((Keys(None, ["key-number-1"]), True), (Keys(), False)):
        client = client_of(engine, keys=keys)
        for _ in range(2):
            described = client.get("/openapi.json", headers=bearer("key-number-1")).json()
        assert set(described["components"]["securitySchemes"]) == {"bearer", "basic"}
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                open_to_all = path in OPEN and method == "get"
                assert ("401" in operation["responses"]) is not open_to_all
                asks = method in ("put", "delete") or (covered and not open_to_all)
                assert operation.get("security") == ([{"bearer": []}, {"basic": []}] if asks else None), (path, method)


def test_an_admin_key_alone_covers_everything_too(engine):
    client = client_of(engine, admin_keys=Keys(None, ["admin-key"]))
    assert (
        client.get("/v1/tasks").status_code == 401 and client.get("/v1/tasks", headers=bearer("admin-key")).status_code == 200
    )


def test_keys_of_a_file_are_exchanged_without_a_restart(engine, tmp_path, caplog):
    file = tmp_path / "keys"
    file.write_text("# the first\nfirst-key\t# of # mine\n\n  second-key  \n #none\nthird#key\n")
    client = client_of(engine, keys=Keys(file))
    status = lambda key: client.get("/v1/tasks", headers=bearer(key)).status_code  # noqa: E731
    assert [status(key) for key in ("first-key", "second-key", "third#key", "# the first")] == [200, 200, 200, 401]
    file.write_text("third-key\n")
    assert [status("first-key"), status("third-key")] == [401, 200]
    file.write_text("short\n")  # not to be used: those before stay
    assert [status("short"), status("third-key")] == [401, 200]
    file.unlink()
    assert [status("third-key"), status("")] == [200, 401]
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]  # each reason once
    assert len(told) == 2 and f"{file} line 1: found a key of 5 characters" in told[0]
    assert f"{file}: cannot be read (No such file" in told[1]
    file.write_text("")  # no key at all lets nobody in
    assert [status("third-key"), status("")] == [401, 401]
    assert "key" in caplog.text and "third" not in caplog.text


@pytest.mark.parametrize("content", ["", "# none\n", "short\n", "with a blank\n", "ümlaut-key\n"])
def test_a_file_without_usable_keys_is_refused_at_start(tmp_path, content):
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(BadInput, match="expected") as error:
        Keys(file)
    assert "blank" not in str(error.value) or "without blanks" in str(error.value)
    with pytest.raises(BadInput, match="cannot be read"):
        Keys(tmp_path / "none")
    with pytest.raises(BadInput, match="found a folder"):
        Keys(tmp_path)


def test_a_file_of_keys_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "keys").write_text("first-key\n", "utf-8-sig")
    assert Keys(tmp_path / "keys").hold("first-key")


def test_probes_may_ask_for_the_head_alone(engine):
    client = client_of(engine)
    for path in ("/livez", "/readyz"):
        assert client.head(path).status_code == 200


def test_keys_of_the_environment(monkeypatch):
    monkeypatch.setenv("OWN_KEYS", "first-key, second-key\nthird-key")
    keys = Keys(None, from_environment("OWN_KEYS"))
    assert keys.given and all(map(keys.hold, ("first-key", "second-key", "third-key"))) and not keys.hold("first-key,")
    monkeypatch.delenv("OWN_KEYS")
    assert not Keys(None, from_environment("OWN_KEYS")).given


def test_every_key_is_compared(monkeypatch):
    compared = []
    monkeypatch.setattr("trunkline.serving.http.keys.hmac.compare_digest", lambda a, b: compared.append(b) or a == b)
    assert Keys(None, ["first-key", "second-key"]).hold("first-key")
    assert compared == [hashlib.sha256(key).digest() for key in (b"first-key", b"second-key")]


def test_only_names_of_this_machine_are_answered_on_loopback(engine):
    listening = bind("localhost", 0)
    try:
        settings = with_hosts(Settings(), listening, "localhost")
        assert is_loopback(listening)
        with pytest.raises(BadInput, match="in use by another program"):
            listening.listen()
            bind("localhost", listening.getsockname()[1])
    finally:
        listening.close()
    client = TestClient(create_app(engine, settings))
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"):
        assert client.get("/v1/tasks", headers={"Host": host}).status_code == 200
    for host in (
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
        "[::2]",
        "",
        "localhost@evil.example",
        "localhost:80@evil.example",
        "localhost:a",
        "[::1]evil.example",
        "[::1]:80@evil.example",
    ):
        answer = client.get("/v1/tasks", headers={"Host": host})
        assert answer.status_code == 403 and "Host" in answer.json()["error"]
    host = [("Host", "localhost")]
    for header in ("Host", "Authorization", "Content-Type", "Content-Encoding"):  # no one can tell which of two is meant
        two = client.get("/v1/tasks", headers=[*host * (header != "Host"), (header, "localhost"), (header, "localhost")])
        assert two.status_code == 400 and f"the header {header}: found 2, expected one" in two.json()["error"]
    assert client.get("/v1/tasks", headers=[*host, ("Cookie", "a=b"), ("Cookie", "c=d")]).status_code == 200
    for path, version, hosts, status in (
        ("/livez", "1.0", [], 200), ("/livez", "1.1", [], 403), ("/v1/tasks", "1.0", [], 403),
        ("/livez", "1.0", [(b"host", b"evil.example")], 403),
    ):  # fmt: skip
        wanted = {"path": path, "http_version": version, "method": "GET", "headers": hosts}
        assert asyncio.run(called(client.app, body(then=None), **wanted)) == status, (path, version, hosts)
    for host, port in (("no.such.host.invalid", 0), ("127.0.0.1", 99999), ("203.0.113.7", 0), ("a" * 300, 0)):
        with pytest.raises(BadInput, match=r"no address|no such port|cannot be"):
            bind(host, port)


def test_other_sites_may_not_read_or_send(client_headers, engine):
    client = client_of(engine)
    answer = client.get("/v1/tasks", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    for kind in client_headers:  # what a page may send without asking the server first
        assert client.post("/v1/predict", content='{"text": "a"}', headers=kind).status_code == 415
    assert client.options("/v1/predict", headers={"Origin": "https://evil.example"}).status_code == 405


@pytest.fixture
def client_headers():
    kinds = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "")
    return [{"Content-Type": kind, "Origin": "https://evil.example"} for kind in kinds]


def test_a_body_has_a_limit_whatever_its_head_says(engine):
    client, long = client_of(engine, body_bytes=1000), json.dumps({"text": "a" * 2000}).encode()
    parts = lambda: iter([long[:500], long[500:]])  # noqa: E731 - sent in chunks, without a length
    for content in (long, parts()):
        answer = client.post("/v1/predict", content=content, headers=JSON)
        assert (
            answer.status_code == 413 and answer.json()["error_type"] == "too_large" and "1000 bytes" in answer.json()["error"]
        )
    for stated in ("-1", "x", "1e9", "9" * 30):
        answer = client.post("/v1/predict", content=b"{}", headers={**JSON, "Content-Length": stated})
        assert answer.status_code in (400, 413), stated
    for coding in ("gzip", "br", "deflate, gzip"):
        answer = client.post("/v1/predict", content=b"\x1f\x8b", headers={**JSON, "Content-Encoding": coding})
        assert answer.status_code == 415 and "compressed" in answer.json()["error"]
    assert client.post("/v1/predict", json={"text": "a"}).status_code == 200


async def called(app, receive, *, path="/v1/predict", reads=None, **more):
    """The status of a request whose body `receive` brings, of a client that waits for `reads` before it reads the answer."""
    sent = []

    async def send(message):
        if reads is not None:
            await reads()
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers, "server": ("a", 1),
        **more,
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"]


def body(*parts, then):
    """A client that sends these parts, and then does something."""
    left = list(parts)

    async def receive():
        if left:
            part = left.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(left) or then is None}
        if then is None:
            await asyncio.sleep(60)
        await then()
        return {"type": "http.disconnect"}

    return receive


def test_a_body_that_does_not_come_is_not_waited_for(engine):
    app = create_app(engine, Settings(body_seconds=0.05))
    assert asyncio.run(called(app, body(b'{"text":', then=None))) == 408
    assert engine.admission.requests == 0


def test_bodies_that_are_not_finished_have_a_limit_in_all(engine):
    app = create_app(engine, Settings(held_bytes=1000))
    half, rest = b'{"text": "' + b"a" * 590, b'"}'

    async def three():
        came, goes = asyncio.Event(), asyncio.Event()

        parts = [half, rest]

        async def receive():
            if not parts:
                await asyncio.sleep(60)
            if len(parts) == 1:
                came.set()
                await goes.wait()
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        first = asyncio.create_task(called(app, receive))
        await came.wait()
        second = await called(app, whole())
        goes.set()
        return await first, second, await called(app, whole())

    def whole():
        return body(half, rest, then=lambda: asyncio.sleep(60))

    assert asyncio.run(three()) == (200, 429, 200)

    async def unread():
        waits, reads = asyncio.Event(), asyncio.Event()

        async def reading():
            waits.set()
            await reads.wait()

        first = asyncio.create_task(called(app, whole(), reads=reading))
        await waits.wait()
        second = await called(app, whole())
        reads.set()
        return await first, second

    assert asyncio.run(unread()) == (200, 200)  # an answer that is not read holds no body


def test_a_client_that_goes_away_costs_nothing_more(bundle, monkeypatch):
    held = Held(monkeypatch)

    async def gone():
        while engine.admission.requests < 2:
            await asyncio.sleep(0.005)

    with Engine(bundle) as engine:
        first = engine.submit(asked("a film"))
        app = create_app(engine)
        assert asyncio.run(called(app, body(b'{"text": "so good"}', then=gone))) == 499
        assert engine.admission.requests == 1
        held.free.set()
        assert first.result(30).predictions


def asked(text):
    from trunkline.serving.request import Request

    return Request([text])


def test_a_full_queue_a_timeout_and_an_end(bundle, monkeypatch):
    held = Held(monkeypatch)
    with Engine(bundle, Limits(queue_tokens=30)) as engine:
        client = client_of(engine)
        first = engine.submit(asked("a film " * 20))
        answer = client.post("/v1/predict", json={"text": "a"})
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
        assert answer.json() == {"error": answer.json()["error"], "error_type": "overloaded"}
        early = client.post("/v1/predict", content=b"no JSON at all", headers=JSON)
        assert early.status_code == 429  # it is not even read
        other = client.post("/v2/models/review/infer", content=b"no JSON at all", headers=JSON)
        assert other.status_code == 429 and client.get("/v1/tasks").status_code == 200
        assert client.post("/v1/nothing", json={"text": "a"}).status_code == 404
        counted = client.get("/metrics").text
        assert 'trunkline_requests_total{method="POST",route="/v1/predict",status="429"} 2.0' in counted
        assert client_of(engine, keys=Keys(None, ["first-key"])).post("/v1/predict", json={"text": "a"}).status_code == 401
        with monkeypatch.context() as without:  # the app is not even asked
            without.setattr(client.app, "middleware_stack", lambda *given: 1 / 0)
            assert client.post("/v1/predict", json={"text": "a"}).status_code == 429
        held.free.set()
        first.result(30)
        held.free.clear()
        late = client.post("/v1/predict", json={"text": "a film", "timeout": 0.03})
        assert late.status_code == 504 and late.json()["error_type"] == "timeout" and engine.admission.requests == 0
        held.free.set()
        client.app.state.service.stopping = True
        for path in ("/readyz", "/v1/predict"):
            answer = client.post(path, json={"text": "a"}) if "predict" in path else client.get(path)
            assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert client.get("/livez").status_code == 200


def test_metrics_and_logs_tell_no_text(engine, caplog):
    client = client_of(engine)
    with caplog.at_level(logging.INFO, "trunkline.serving"):
        client.post("/v1/predict", json={"texts": ["so good a film", "paris"]})
        client.get("/secret/paris?q=paris")
        client.post("/v1/predict", json={"paris": 1})
        client.get("/openapi.json")
        client.delete("/v1/tasks/paris")
        client.put("/livez")
        client.get("/livez%0a")
    text = client.get("/metrics").text
    assert 'trunkline_requests_total{method="POST",route="/v1/predict",status="200"} 1.0' in text
    assert 'trunkline_requests_total{method="GET",route="other",status="404"} 2.0' in text
    assert 'trunkline_branch_texts_total{branch="mood"} 2.0' in text and "trunkline_queue_tokens 0.0" in text
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if hasattr(record, "facts")]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/v1/predict", 200), ("other", 404), ("/v1/predict", 422), ("/openapi.json", 200), ("/v1/tasks/{name:path}", 403),
        ("/livez", 403), ("other", 404),
    ]  # fmt: skip
    assert lines[0]["texts"] == 2 and lines[0]["tokens"] > 4 and lines[0]["ms"] > 0
    assert "paris" not in text + json.dumps(lines) and "film" not in text + json.dumps(lines)


def test_a_request_is_a_span_of_its_trace(engine, monkeypatch):
    exporting = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    exporter, provider = exporting.InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    client = client_of(engine)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    client.post("/v1/predict", json={"text": "paris"}, headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
    client.get("/secret/paris?q=paris")
    predicted, other = exporter.get_finished_spans()
    assert predicted.name == "POST /v1/predict" and f"{predicted.context.trace_id:032x}" == trace_id
    attributes = dict(predicted.attributes)
    assert attributes["http.response.status_code"] == 200 and attributes["trunkline.tokens"] > 2
    assert other.name == "GET other" and "paris" not in str([predicted.to_json(), other.to_json()])


def test_an_error_is_logged_without_its_words():
    try:
        raise ValueError("about paris")
    except ValueError as error:
        record = logging.LogRecord(
            "trunkline", logging.ERROR, "", 0, "a request failed", None, (type(error), error, error.__traceback__)
        )
    line = json.loads(JsonLines().format(record))
    assert line["error"] == "ValueError" and os.path.basename(__file__) in line["at"][0] and "paris" not in json.dumps(line)
