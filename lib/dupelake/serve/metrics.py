"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        by_path = ("method", "path")
        self._requests = Counter(
            "dupelake_http_requests", "Requests by path and status.", (*by_path, "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "dupelake_http_request_seconds",
            "From the headers of a request to its answer.",
            by_path,
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._images = Counter(
            "dupelake_checked_images", "Images by the status of their answer.", ("status",), registry=self._registry
        )

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A value that is asked for when metrics are read; nan is shown where it is not known."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        """One request."""
        method = method if method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(method, path).observe(seconds)

    def count_image(self, status: str) -> None:
        """One checked image."""
        self._images.labels(status).inc()

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
