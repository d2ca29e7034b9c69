"""A text by its address: bounded in time and size, over http and https only, from the first connection to the last."""

import http.client
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from blackholes.errors import UserError
from blackholes.limits import LARGEST_TEXT

_WEB = ("http", "https")


def download(url: str, timeout: float = 30.0, tries: int = 3, pause: float = 2.0, deadline: float = 600.0) -> bytes:
    """The bytes at an address, held in memory: nothing is left on disk when it fails.

    Temporary failures (no connection, a time-out, a lost connection, a busy server) are retried with growing pauses.

    Args:
        timeout: seconds without a byte; deadline: seconds for one try as a whole, from looking up the host's name on.

    Raises:
        UserError: naming the address and what went wrong.
    """
    if urlsplit(url).scheme.lower() not in _WEB:
        raise UserError(f"{url}: expected http:// or https:// (corpus.url)")
    for attempt in range(1, tries + 1):
        try:
            return _within(deadline, lambda gave_up: _fetch(url, timeout, gave_up))
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 425, 429):
                raise UserError(f"{url}: {' '.join(reason.split())} (corpus.url)") from error
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
            reason = " ".join(str(getattr(error, "reason", "") or error).split()) or type(error).__name__
        if attempt < tries:
            time.sleep(pause * 2 ** (attempt - 1))
    raise UserError(
        f"{url}: cannot be read, tried {tries} times: {reason} (corpus.url; offline, use corpus.source file or builtin)"
    )


def _within(seconds: float, work: Callable[[threading.Event], bytes]) -> bytes:
    """What `work` returns or raises; TimeoutError after so many seconds, whatever it waits for by then.

    It runs in a thread: neither the lookup of a name nor a header that comes byte by byte has a time limit of its own.
    """
    outcome: queue.SimpleQueue[tuple[bytes, BaseException | None]] = queue.SimpleQueue()
    gave_up = threading.Event()

    def run() -> None:
        try:
            outcome.put((work(gave_up), None))
        except BaseException as error:
            outcome.put((b"", error))

    threading.Thread(target=run, daemon=True).start()
    try:
        data, error = outcome.get(timeout=seconds)
    except queue.Empty:
        gave_up.set()
        raise TimeoutError(f"not complete after {seconds:g} s") from None
    if error is not None:
        raise error
    return data


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https; does not read what comes with a redirect, which may have no end."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        fp.close()
        if urlsplit(newurl).scheme.lower() not in _WEB:
            raise UserError(f"{req.full_url}: redirects to {newurl}; expected http:// or https:// (corpus.url)")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """An opener that knows no other protocols: not file, ftp or data, which urllib's own has too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _WebOnly(),
    ):
        opener.add_handler(handler)
    return opener


def _fetch(url: str, timeout: float, gave_up: threading.Event) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "token-black-holes (corpus download)"})
    data = bytearray()
    with _opener().open(request, timeout=timeout) as response:
        kind = response.headers.get_content_type()
        if kind in ("text/html", "application/xhtml+xml"):
            raise UserError(f"{url}: is a web page ({kind}); expected plain text (corpus.url)")
        length = response.length  # of the header; None without one
        while not gave_up.is_set() and (chunk := response.read1(1 << 16)):
            data += chunk
            if len(data) > LARGEST_TEXT or (length or 0) > LARGEST_TEXT:
                raise UserError(f"{url}: is larger than {LARGEST_TEXT / 2**20:.0f} MiB; expected a text (corpus.url)")
    if length is not None and len(data) != length:  # http.client does not report a body that ends early
        raise ConnectionError(f"{len(data):,} bytes came of {length:,}")
    return bytes(data)
