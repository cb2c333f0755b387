"""The HTTP API of a Prometheus server, read only: one question, one bounded answer.

Raw samples are asked for with a range selector (`metric[60s]` in an instant query), never with
`query_range`: that one repeats an old value for up to five minutes, and a hole must stay a hole.

Source: prometheus.io/docs/prometheus/latest/querying/api.
"""

from __future__ import annotations

import base64
import functools
import http.client
import io
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_gpupredict.core import plain
from jupyter_gpupredict.core.errors import (
    InvalidOption,
    PermissionDenied,
    SourceUnavailable,
    TelemetryError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TOKEN = "GPUPREDICT_PROMETHEUS_TOKEN"  # noqa: S105 - the variable's name
USER = "GPUPREDICT_PROMETHEUS_USER"
PASSWORD = "GPUPREDICT_PROMETHEUS_PASSWORD"  # noqa: S105 - the variable's name
TIMEOUT_S = 10.0
"""From connecting to the last byte of the answer."""
MAX_BYTES = 16 << 20
"""An hour of eight series of one GPU at a second's interval is about one MiB."""
LATEST_S = 4_102_444_800.0
"""The year 2100: no server's clock says later."""
_ROUNDING_S = 1.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MATCHER = r'\s*[A-Za-z_][A-Za-z0-9_]*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\\n]|\\.)*"\s*'
_MATCHERS = re.compile(rf"{_MATCHER}(?:,{_MATCHER})*,?\s*")


class Unanswered(SourceUnavailable):
    """The server did not answer, or asked for a pause: worth another try."""

    def __init__(self, message: str, hint: str, after_s: float = 0.0) -> None:
        super().__init__(message, hint, "timed_out")
        self.after_s = after_s
        """Seconds for which the server wants no further request."""


class Stream(NamedTuple):
    """The raw samples of one series, oldest first."""

    labels: dict[str, str]
    times_s: tuple[float, ...]
    """The server's wall clock, seconds since 1970."""
    values: tuple[float, ...]


class _Until(io.RawIOBase):
    """What a socket gives until a deadline: its own time-out begins anew with every byte."""

    def __init__(self, sock: Any, raw: io.RawIOBase, until_s: float) -> None:
        self._sock, self._raw, self._until_s = sock, raw, until_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._until_s - time.monotonic()
        if left_s > 0.0:
            self._sock.settimeout(left_s)
            try:
                return self._raw.readinto(buffer)
            except TimeoutError:
                pass
        raise TimeoutError(f"its answer takes more than {TIMEOUT_S:g} s")

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """Headers and body come before one deadline."""

    def __init__(self, sock: Any, *options: Any, until_s: float, **named: Any) -> None:
        super().__init__(sock, *options, **named)
        self.fp = io.BufferedReader(_Until(sock, self.fp.detach(), until_s))


class _Handler(
    urllib.request.HTTPSHandler, urllib.request.HTTPHandler, urllib.request.HTTPRedirectHandler
):
    """Bounds the time of an answer, and follows no redirect: it would carry credentials along."""

    def redirect_request(self, *_: object) -> None:
        return None

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._kind(http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._kind(http.client.HTTPSConnection), request)

    @staticmethod
    def _kind(kind: type[http.client.HTTPConnection]) -> Callable[..., http.client.HTTPConnection]:
        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            made = kind(host, **options)
            until_s = time.monotonic() + options["timeout"]
            made.response_class = functools.partial(_Response, until_s=until_s)  # type: ignore[assignment]
            return made

        return connection


class PrometheusApi:
    """One server. Nothing is connected before the first question."""

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        self._base, self._headers = _checked(url, environ)
        self._open = urllib.request.build_opener(_Handler).open

    def now_s(self) -> float:
        """Return the server's wall clock, seconds since 1970; raises as `streams`."""
        found = self._ask({"query": "time()"})
        try:
            return _stamp_s(found["result"][0], 0.0, LATEST_S)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise _nonsense("no time") from error

    def streams(self, selector: str, span_s: float, end_s: float) -> list[Stream]:
        """Return the samples of all series found in `(end - span, end]`, by the server's clock.

        Raises:
            Unanswered: No answer in time, 408, 429 or 5xx: try again later.
            PermissionDenied: 401 or 403.
            SourceUnavailable: Anything else; the message never holds a credential.
        """
        query = f"{selector}[{max(1, math.ceil(1000.0 * span_s))}ms]"
        found = self._ask({"query": query, "time": f"{end_s:.3f}"})
        if found.get("resultType") != "matrix" or not isinstance(found.get("result"), list):
            raise _nonsense("no matrix")
        try:
            return [_stream(one, end_s - span_s, end_s) for one in found["result"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _nonsense("a series of another form") from error

    def _ask(self, query: dict[str, str]) -> dict[str, Any]:
        url = f"{self._base}/api/v1/query?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers=self._headers)  # noqa: S310 - scheme is checked
        try:
            with self._open(request, timeout=TIMEOUT_S) as reply:
                body = reply.read(MAX_BYTES + 1)
                whole = reply.length in (0, None)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from error
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", None) or error
            message = f"Prometheus at {self._base} does not answer: {why or type(error).__name__}"
            hint = "is --url right, and is it reachable from here?"
            raise Unanswered(message, hint) from error
        if len(body) > MAX_BYTES:
            message = f"Prometheus answered with more than {MAX_BYTES >> 20} MiB"
            hint = "narrow --match, or choose a shorter time"
            raise SourceUnavailable(message, hint, "no_data_yet")
        if not whole:
            raise Unanswered("Prometheus's answer was cut off", "is a proxy in between?")
        try:
            answer = plain.parse(body)
            if answer["status"] != "success":
                raise _nonsense(str(answer.get("error", answer["status"]))[:200])
            found = answer["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise _nonsense("no JSON of its API") from error
        if not isinstance(found, dict):
            raise _nonsense("no result")
        return found

    def _refused(self, error: urllib.error.HTTPError) -> TelemetryError:
        status = error.code
        if status in (401, 403):
            hint = f"set {TOKEN}, or {USER} and {PASSWORD}"
            message = f"Prometheus refuses the request: HTTP {status}"
            return PermissionDenied(message, hint, "no_permission")
        if status in (408, 429) or status >= 500:
            try:
                after_s = max(0.0, float(error.headers.get("Retry-After", "0")))
            except ValueError:
                after_s = 0.0  # a date: our own back-off will do
            return Unanswered(f"Prometheus answers HTTP {status}", "it is tried again", after_s)
        if 300 <= status < 400:
            place = urllib.parse.urlsplit(error.headers.get("Location", ""))
            message = f"Prometheus at {self._base} redirects to {place.netloc or 'another place'}"
            hint = "credentials do not follow redirects: give the final --url"
            return SourceUnavailable(message, hint)
        message = f"Prometheus answers HTTP {status}: {_error_text(error)}"
        hint = "is --url a Prometheus server, and --match a list of label matchers?"
        return SourceUnavailable(message, hint, "not_supported")


def matchers(text: str) -> str:
    """Return label matchers as they go into a selector; `InvalidOption` for anything else."""
    if not _MATCHERS.fullmatch(text):
        hint = "--match 'Hostname=~\"gpu.*\"'"
        raise InvalidOption(f"--match {text!r} is not a list of label matchers", hint)
    return text.strip().rstrip(",").rstrip()


def _checked(url: str, environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the URL without a slash at its end, and the headers of a request."""
    example = "--url https://HOST:9090"
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidOption(f"--url cannot be read: {error}", example) from error
    if parts.username is not None or parts.password is not None:
        raise InvalidOption("--url holds a user or password", f"set {USER} and {PASSWORD}")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise InvalidOption(f"--url {url!r} is not a server's URL", example)
    if any(sign.isspace() or not sign.isprintable() for sign in url):
        raise InvalidOption("--url holds blanks", example)
    base, headers = url.rstrip("/"), {"Accept": "application/json"}
    token, user = environ.get(TOKEN, ""), environ.get(USER, "")
    if not token and not user:
        return base, headers
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        hint = f"use https, or unset {TOKEN}"
        raise InvalidOption("credentials are set and --url is not https", hint)
    pair = f"{user}:{environ.get(PASSWORD, '')}"
    secret = f"Bearer {token}" if token else f"Basic {base64.b64encode(pair.encode()).decode()}"
    if not secret.isascii() or not secret.isprintable():
        message = f"{TOKEN} holds a character that no header may"
        raise InvalidOption(message, "does it end with a line break?")
    return base, {**headers, "Authorization": secret}


def _stream(one: dict[str, Any], begin_s: float, end_s: float) -> Stream:
    labels = one["metric"]
    if not all(isinstance(value, str) for value in labels.values()):
        raise TypeError("a label that is not a text")
    samples = sorted(
        (_stamp_s(time_s, begin_s - _ROUNDING_S, end_s + _ROUNDING_S), float(value))
        for time_s, value in one["values"]
    )
    return Stream(labels, tuple(t for t, _ in samples), tuple(v for _, v in samples))


def _stamp_s(given: Any, low_s: float, high_s: float) -> float:
    """Return a time on the server's wall clock; raises `ValueError` outside of the range."""
    number = isinstance(given, int | float) and not isinstance(given, bool)
    if not number or not low_s <= given <= high_s:
        raise ValueError("a stamp of another kind or time")
    return float(given)


def _error_text(error: urllib.error.HTTPError) -> str:
    try:
        return str(plain.parse(error.read(4096))["error"])[:200]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return error.reason or "no reason given"


def _nonsense(what: str) -> SourceUnavailable:
    message = f"the answer is not one of Prometheus's API: {what}"
    return SourceUnavailable(message, "is --url a Prometheus server?", "not_supported")
