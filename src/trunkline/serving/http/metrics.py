"""`/metrics`: what the server did, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector, generate_latest

from trunkline.serving.engine import Engine
from trunkline.serving.observed import Computed, Presented, Tokenised

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_TOKENS = (16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Metrics:
    """The metrics of one server, in a registry of their own. `observe` is for its engine."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, said: str, *labels: str) -> Counter:
            return Counter(f"trunkline_{name}", said, labels, registry=registry)

        def histogram(name: str, said: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"trunkline_{name}", said, labels, registry=registry, buckets=buckets)

        self.requests = counter("requests", "Requests that were answered or refused.", "method", "route", "status")
        self.request_seconds = histogram("request_seconds", "Seconds from a request to its answer.", _SECONDS, "route")
        self.queue_seconds = histogram("queue_seconds", "Seconds until the texts of a request were in a batch.", _SECONDS)
        self.queue_tokens = Gauge("trunkline_queue_tokens", "Tokens of the requests in the engine.", registry=registry)
        self.queue_requests = Gauge("trunkline_queue_requests", "Requests in the engine.", registry=registry)
        self.batch_texts = histogram("batch_texts", "Texts in a batch.", _SIZES)
        self.batch_tokens = histogram("batch_tokens", "Tokens in a batch, padding included.", _TOKENS)
        self.tokens = counter("tokens", "Tokens that were read.")
        self.padding = counter("padding_tokens", "Tokens of padding that were computed beside them.")
        self.tokenise_seconds = histogram("tokenise_seconds", "Seconds of tokenising some texts.", _SECONDS)
        self.trunk_seconds = histogram("trunk_seconds", "Seconds of a batch in the trunk and its branches.", _SECONDS)
        self.branch_seconds = histogram("branch_seconds", "Seconds of decoding a branch's answers.", _SECONDS, "branch")
        self.branch_texts = counter("branch_texts", "Texts that a branch answered.", "branch")

    def watch(self, engine: Engine) -> None:
        """Let the gauges read the queue of this engine, and be told what it does."""
        self.queue_tokens.set_function(lambda: engine.admission.queued)
        self.queue_requests.set_function(lambda: engine.admission.requests)
        before = engine.observe

        def observe(event: Tokenised | Computed | Presented) -> None:
            before(event)
            self.observe(event)

        engine.observe = observe

    def observe(self, event: Tokenised | Computed | Presented) -> None:
        """Count what the engine has done."""
        match event:
            case Tokenised():
                self.tokenise_seconds.observe(event.seconds)
            case Computed():
                self.batch_texts.observe(event.texts)
                self.batch_tokens.observe(event.padded)
                self.tokens.inc(event.tokens)
                self.padding.inc(event.padded - event.tokens)
                self.trunk_seconds.observe(event.seconds)
            case Presented():
                self.branch_seconds.labels(event.branch).observe(event.seconds)
                self.branch_texts.labels(event.branch).inc(event.texts)

    def forget(self, branch: str) -> None:
        """Leave out a branch that was removed."""
        for metric in (self.branch_seconds, self.branch_texts):
            try:
                metric.remove(branch)
            except KeyError:
                continue

    def text(self) -> bytes:
        """All of them, in Prometheus's text format."""
        return generate_latest(self.registry)
