"""The corpus: cleaning, tokens, and every way that a text can be missing or wrong."""

import csv
import hashlib
import os
import re
import string
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.config import model as config
from blackholes.errors import UserError
from blackholes.training import corpus, downloads, tokens
from blackholes.training.vocabulary import character
from hypothesis import given
from hypothesis import strategies as st

BODY = "The Great Book\n\n   Chapter 1\n\nIt was “cold” — very.\n\nThe end"
KEPT = "The Great Book\n\n   Chapter 1\n\nIt was cold  very.\n\nThe end"


def settings(**corpus_keys):
    return config.load({"corpus": corpus_keys}).corpus.model_dump()


def from_file(path, data, **keys):
    path.write_bytes(data)
    return settings(source="file", path=str(path), **keys)


@pytest.fixture
def outputs(tmp_path):
    return tuple(tmp_path / "out" / name for name in ("tokens.safetensors", "tokens.csv", "tokenizer.json"))


def refused(chosen, outputs):
    """The message with which the settings are refused; nothing may be left behind."""
    with pytest.raises(UserError) as caught:
        corpus.write(chosen, *outputs)
    folder = outputs[0].parent
    assert not folder.exists() or list(folder.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- cleaning


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (
            "*** START OF THE PROJECT GUTENBERG EBOOK THE GREAT BOOK ***",
            "*** END OF THE PROJECT GUTENBERG EBOOK THE GREAT BOOK ***",
        ),
        (
            "***START OF THIS PROJECT GUTENBERG EBOOK THE GREAT BOOK***",
            "***END OF THIS PROJECT GUTENBERG EBOOK THE GREAT BOOK***",
        ),
        (
            "*** START OF THIS PROJECT GUTENBERG EBOOK A VERY LONG TITLE, BEING\nTHE STORY OF IT, IN\nTHREE LINES ***",
            "*** END OF THIS PROJECT GUTENBERG EBOOK A VERY LONG TITLE, BEING\nTHE STORY ***",
        ),
        ("*** START OF THE PROJECT GUTENBERG EBOOK WITHOUT ITS STARS", "*** END OF THE PROJECT GUTENBERG EBOOK"),
        (
            "  *** start of the project gutenberg ebook the great book ***  ",
            "End of the Project Gutenberg EBook of The Great Book\n\n*** END OF THIS PROJECT GUTENBERG EBOOK X ***",
        ),
        ("*** START OF THE PROJECT GUTENBERG EBOOK X ***", "End of Project Gutenberg's The Great Book, by A. Writer"),
        (
            "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
            "End of The Project Gutenberg Etext of The Great Book",
        ),
    ],
    ids=["of now", "of 2010", "long title", "no closing stars", "lower case", "no end marker", "small print"],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_header_and_footer_are_cut(start, end, line_end):
    text = f"The Project Gutenberg eBook\n\nTitle: X\n\n{start}\n\n\n{BODY}\n\n\n{end}\n\nlicence ***\n"
    cleaned = corpus.clean(text.replace("\n", line_end))
    assert cleaned.text == KEPT
    assert cleaned.dropped == {"“": 1, "”": 1, "—": 1}
    assert cleaned.cut == len(text) - len(BODY)


def test_only_a_footer_is_cut_too():
    assert corpus.clean(f"{BODY}\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\nlicence").text == KEPT


@pytest.mark.parametrize(
    "text",
    [
        "a\n***\nb",
        "* * *\nSTART OF THE PROJECT GUTENBERG EBOOK",
        "End of Project Gutenberg, he said, is near",
        "see *** START OF THE PROJECT GUTENBERG EBOOK X *** there",
    ],
)
def test_other_text_is_not_cut(text):
    assert corpus.clean(text) == corpus.Cleaned(text, {}, 0)


def test_line_ends_and_edges():
    assert corpus.clean("\ufeff\t a\r\nb\rc\n \x0bd\n\n\u00a0 ") == corpus.Cleaned("a\nb\nc\n \x0bd", {"\u00a0": 1}, 5)


def test_the_last_character_of_the_vocabulary_and_the_first_beyond_it():
    assert corpus.clean("a\x7f\x80\x81b") == corpus.Cleaned("a\x7fb", {"\x80": 1, "\x81": 1}, 0)
    assert corpus.clean("aÿĀb", 256) == corpus.Cleaned("aÿb", {"Ā": 1}, 0)
    assert corpus.encode("\x7f").tolist() == [127]


@given(st.text())
def test_cleaning_keeps_ascii_in_order_and_counts_the_rest(text):
    cleaned = corpus.clean(text)
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert cleaned.text == "".join(c for c in lines if ord(c) < 128).strip(string.whitespace)
    assert sum(cleaned.dropped.values()) == sum(ord(c) >= 128 for c in lines)
    assert len(cleaned.text) + sum(cleaned.dropped.values()) + cleaned.cut == len(lines)
    assert corpus.clean(cleaned.text) == corpus.Cleaned(cleaned.text, {}, 0)


# --- tokens


@given(st.text(st.characters(max_codepoint=127)))
def test_encoding_is_the_code_point_and_back(text):
    ids = corpus.encode(text)
    assert ids.dtype == np.uint8
    assert ids.tolist() == [ord(c) for c in text]
    assert corpus.decode(ids) == text


def test_token_ids_of_large_vocabularies_are_uint16():
    assert corpus.encode("aé", 256).dtype == np.uint8
    assert corpus.encode("Ā", 257).tolist() == [256]
    ids = corpus.encode("aé€", 65536)
    assert ids.dtype == np.uint16
    assert corpus.decode(ids) == "aé€"


@pytest.mark.parametrize("character", ["\x80", "é", "€"])
def test_a_character_outside_the_vocabulary_is_no_token(character):
    with pytest.raises(ValueError, match=re.escape(f"{character!r} is not among the 128 tokens")):
        corpus.encode(f"a{character}b")


def test_every_token_has_a_printable_name_of_its_own():
    names = [character(token) for token in range(128)]
    assert len(set(names)) == 128
    assert all(name and name.isprintable() and name == name.strip() for name in names)
    assert (names[0], names[9], names[10], names[27], names[32], names[127]) == (
        "NUL",
        r"TAB \t",
        r"LF \n",
        "ESC",
        "space",
        "DEL",
    )
    assert "".join(names[33:127]) == "".join(map(chr, range(33, 127)))


def test_written_files(tmp_path, outputs):
    chosen = from_file(tmp_path / "My Text.txt", BODY.encode())
    said = corpus.write(chosen, *outputs, {"config_digest": "abc"})
    live = len(set(KEPT))
    dead = f"{128 - live} dead ({100 * (128 - live) / 128:.1f}%)"
    assert f"My Text.txt: {len(KEPT)} tokens, {live} live, {dead}; 3 characters" in said

    with open_tensors(outputs[0]) as file:
        assert set(file.keys()) == {"token_ids", "token_counts", "dead_mask"}
        assert file.metadata["config_digest"] == "abc"
        assert file.metadata["corpus_origin"] == "My Text.txt"
        assert file.metadata["corpus_sha256"] == hashlib.sha256(BODY.encode()).hexdigest()
        assert file.metadata["corpus_characters_dropped"] == "3"
    found = tokens.load(outputs[0])
    assert found.token_ids.dtype == torch.uint8
    assert bytes(found.token_ids.tolist()).decode() == KEPT
    assert found.token_counts.tolist() == [KEPT.count(chr(token)) for token in range(128)]
    assert torch.equal(found.dead_mask, found.token_counts == 0)

    with open(outputs[1], newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["token_id", "character", "count", "status"]
    assert len(rows) == 129
    assert rows[1 + ord(" ")] == ["32", "space", str(KEPT.count(" ")), "live"]
    assert rows[1 + ord(",")] == ["44", ",", "0", "dead"]
    assert rows[1 + ord('"')] == ["34", '"', "0", "dead"]


def test_the_same_text_gives_the_same_bytes_from_anywhere(tmp_path, outputs):
    (tmp_path / "elsewhere").mkdir()
    written = []
    for folder in (tmp_path, tmp_path / "elsewhere"):
        corpus.write(from_file(folder / "a.txt", BODY.encode()), *outputs)
        written.append([path.read_bytes() for path in outputs])
    assert written[0] == written[1]


def test_builtin_is_english_and_large_and_leaves_tokens_dead(outputs):
    corpus.write(settings(), *outputs)
    found = tokens.load(outputs[0])
    assert len(found.token_ids) > 300_000
    assert 20 < int(found.dead_mask.sum()) < 60
    text = bytes(found.token_ids.tolist()).decode()
    assert text.startswith('The "assert" statement')
    with open_tensors(outputs[0]) as file:
        assert file.metadata["corpus_python"].startswith("3.")
        assert len(file.metadata["corpus_sha256"]) == 64


def test_load_refuses_another_file(tmp_path):
    path = tmp_path / "tokens.safetensors"
    good = {
        "token_ids": np.zeros(5, np.uint8),
        "token_counts": np.zeros(128, np.int64),
        "dead_mask": np.zeros(128, bool),
    }
    for key, wrong in {
        "token_ids": np.zeros(5, np.int64),
        "token_counts": np.zeros((2, 2), np.int64),
        "dead_mask": np.zeros(127, bool),
    }.items():
        write_tensors(path, {**good, key: wrong})
        with pytest.raises(UserError, match=rf"tokens.safetensors: tensor '{key}'"):
            tokens.load(path)
        write_tensors(path, {name: value for name, value in good.items() if name != key})
        with pytest.raises(UserError, match=rf"tokens.safetensors: no tensor '{key}'"):
            tokens.load(path)


# --- windows


@given(st.integers(0, 40), st.integers(2, 10))
def test_windows_are_the_starts_from_which_all_inputs_and_one_target_can_be_read(n_tokens, context):
    assert tokens.windows(n_tokens, context) == len([s for s in range(n_tokens) if s + context < n_tokens])


def test_a_corpus_shorter_than_one_window():
    assert tokens.check(129, 128, 1, "x.txt") == 1
    with pytest.raises(UserError, match=r"^x.txt: 128 tokens are less than one window; expected at least 129 \(model"):
        tokens.check(128, 128, 1, "x.txt")


def test_a_batch_larger_than_the_corpus():
    assert tokens.check(144, 128, 16, "x.txt") == 16
    with pytest.raises(UserError, match=r"^x.txt: batch_size: 16 is not allowed; expected at most 15"):
        tokens.check(143, 128, 16, "x.txt")


# --- bad files


def test_missing_file(tmp_path, outputs):
    message = refused(settings(source="file", path=str(tmp_path / "none.txt")), outputs)
    assert message.startswith(f"{tmp_path}/none.txt: no such file (corpus.path")


def test_a_folder_is_no_text(tmp_path, outputs):
    assert f"{tmp_path}: cannot be read (corpus.path)" in refused(settings(source="file", path=str(tmp_path)), outputs)


def test_files_that_never_end(tmp_path, outputs):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a FIFO"), ("/dev/zero", "a device")):
        message = refused(settings(source="file", path=str(path)), outputs)
        assert message == f"{path}: is no regular file but {kind} (corpus.path)"
    bpe = {"vocabulary": "bpe", "vocabulary_size": 300, "tokenizer_text": "/dev/zero"}
    message = refused(from_file(tmp_path / "a.txt", BODY.encode(), **bpe), outputs)
    assert message == "/dev/zero: is no regular file but a device (corpus.tokenizer_text)"


def test_a_file_of_3_gib_is_refused_unread(tmp_path, outputs, monkeypatch):
    with open(tmp_path / "a.txt", "wb") as file:  # takes no room on the disk
        file.truncate(3 * 2**30)
    monkeypatch.setattr(corpus, "_decode", lambda *_: pytest.fail("read"))
    message = refused(settings(source="file", path=str(tmp_path / "a.txt")), outputs)
    assert message == f"{tmp_path}/a.txt: is 3,072 MiB; expected at most 256 MiB (corpus.path)"


def test_empty_file(tmp_path, outputs):
    assert "a.txt: is empty; expected text" in refused(from_file(tmp_path / "a.txt", b""), outputs)


@pytest.mark.parametrize("text", [" \r\n\t ", "“—”", "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n"])
def test_empty_after_cleaning(tmp_path, outputs, text):
    assert "a.txt: empty after cleaning (" in refused(from_file(tmp_path / "a.txt", text.encode()), outputs)


def test_wrong_encoding_names_the_byte(tmp_path, outputs):
    message = refused(from_file(tmp_path / "a.txt", "It was “cold”".encode("cp1252")), outputs)
    assert "a.txt: corpus.encoding: byte 0x93 at position 7 is not utf-8" in message


def test_the_right_encoding(tmp_path, outputs):
    corpus.write(from_file(tmp_path / "a.txt", BODY.encode("cp1252"), encoding="cp1252"), *outputs)
    assert bytes(tokens.load(outputs[0]).token_ids.tolist()).decode() == KEPT


@pytest.mark.parametrize("encoding", ["utf-16", "undefined"])
def test_encodings_that_fail_in_their_own_way(tmp_path, outputs, encoding):
    message = refused(from_file(tmp_path / "a.txt", b"odd", encoding=encoding), outputs)
    assert "a.txt: corpus.encoding: " in message


def test_checksum(tmp_path, outputs):
    digest = hashlib.sha256(BODY.encode()).hexdigest()
    corpus.write(from_file(tmp_path / "a.txt", BODY.encode(), sha256=digest.upper()), *outputs)
    for path in outputs:
        path.unlink()
    message = refused(from_file(tmp_path / "a.txt", b"other", sha256=digest), outputs)
    assert f"a.txt: corpus.sha256: expected {digest}, got {hashlib.sha256(b'other').hexdigest()}" in message


def test_a_python_without_its_reference(monkeypatch, outputs):
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    assert "corpus.source: builtin needs pydoc_data.topics" in refused(settings(), outputs)


# --- addresses


@contextmanager
def server(answer):
    """A server on loopback; `answer(handler, attempt)` writes the response. Yields its address and its attempts."""
    attempts = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            attempts.append(self.path)
            answer(self, len(attempts))

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/book.txt", attempts
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def respond(handler, data, status=200, kind="text/plain; charset=utf-8", length=None):
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(data) if length is None else length))
    handler.end_headers()
    handler.wfile.write(data)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """No proxy between us and loopback, short pauses; `patience(timeout, deadline)` sets the seconds of both."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    download = corpus.download

    def set_to(timeout, deadline):
        quick = partial(download, timeout=timeout, pause=0.01, deadline=deadline)
        monkeypatch.setattr(corpus, "download", quick)

    set_to(60.0, 60.0)
    return set_to


def test_a_text_by_address(outputs):
    with server(lambda handler, _: respond(handler, BODY.encode())) as (url, attempts):
        corpus.write(settings(source="url", url=url), *outputs)
    assert bytes(tokens.load(outputs[0]).token_ids.tolist()).decode() == KEPT
    assert attempts == ["/book.txt"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_busy_server_is_retried(status):
    def answer(handler, attempt):
        respond(handler, BODY.encode(), status if attempt < 3 else 200)

    with server(answer) as (url, attempts):
        assert corpus.download(url) == BODY.encode()
    assert len(attempts) == 3


def test_pauses_grow_and_the_last_try_has_none(monkeypatch):
    slept = []
    monkeypatch.setattr(downloads.time, "sleep", slept.append)
    with server(lambda handler, _: respond(handler, b"no", 503)) as (url, attempts):
        with pytest.raises(UserError, match="tried 4 times"):
            corpus.download(url, tries=4, pause=2.0)
    assert slept == [2.0, 4.0, 8.0]
    assert len(attempts) == 4


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("more", [0, 1])
def test_how_large_a_download_may_be(monkeypatch, announced, more):
    data = b"x" * (2**20 + more)

    def answer(handler, _):
        handler.send_response(200)
        if announced:
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        with suppress(OSError):  # nobody reads on
            handler.wfile.write(data)

    monkeypatch.setattr(downloads, "LARGEST_TEXT", 2**20)
    with server(answer) as (url, attempts):
        if more:
            with pytest.raises(UserError, match="is larger than 1 MiB; expected a text"):
                corpus.download(url)
        else:
            assert corpus.download(url) == data
    assert len(attempts) == 1


def hang(handler, _):
    time.sleep(0.6)


def drip(handler, _):
    handler.send_response(200)
    handler.end_headers()
    slowly(handler)


def drip_a_header(handler, _):
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain; name=")
    slowly(handler)


def slowly(handler):
    for _ in range(20):
        try:
            handler.wfile.write(b"x")
        except OSError:
            return
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("answer", "tries", "words"),
    [
        (lambda h, _: respond(h, b"no", 404), 1, "HTTP 404 Not Found (corpus.url)"),
        (lambda h, _: respond(h, b"no", 403), 1, "HTTP 403 Forbidden (corpus.url)"),
        (lambda h, _: respond(h, b"no", 500), 3, "cannot be read, tried 3 times: HTTP 500"),
        (lambda h, _: respond(h, b"half", length=800), 3, "tried 3 times: 4 bytes came of 800"),
        (lambda h, _: h.wfile.write(b"not http at all\n\n"), 3, "cannot be read, tried 3 times"),
        (lambda h, _: h.connection.close(), 3, "cannot be read, tried 3 times"),
        (hang, 3, "tried 3 times: timed out"),
        (drip, 3, "tried 3 times: not complete after 0.3 s"),
        (drip_a_header, 3, "tried 3 times: not complete after 0.3 s"),
        (
            lambda h, _: respond(h, b"<html>log in", kind="text/html"),
            1,
            "is a web page (text/html); expected plain text",
        ),
        (lambda h, _: respond(h, b"x", length=2**40), 1, "is larger than 256 MiB"),
        (lambda h, _: respond(h, b""), 1, "is empty; expected text"),
        (lambda h, _: respond(h, b"caf\xe9"), 1, "corpus.encoding: byte 0xe9 at position 3 is not utf-8"),
    ],
    ids=[
        "404",
        "403",
        "500",
        "cut short",
        "not HTTP",
        "closed",
        "hangs",
        "drips",
        "header drips",
        "page",
        "huge",
        "empty",
        "latin-1",
    ],
)
def test_download_errors(outputs, patience, answer, tries, words):
    if answer is hang:
        patience(0.3, 60.0)
    if answer in (drip, drip_a_header):
        patience(60.0, 0.3)
    with server(answer) as (url, attempts):
        message = refused(settings(source="url", url=url), outputs)
    assert message.startswith(f"{url}: ")
    assert words in message
    assert len(attempts) == tries


def redirect(place, body=b""):
    def answer(handler, attempt):
        if handler.path != "/book.txt":
            return respond(handler, BODY.encode())
        handler.send_response(302)
        handler.send_header("Location", place)
        handler.end_headers()
        with suppress(OSError):  # nobody reads it
            for _ in range(200 if body else 0):
                handler.wfile.write(body)

    return answer


def test_a_redirect_is_followed_and_what_comes_with_it_is_not_read():
    with server(redirect("/other.txt", body=bytes(2**20))) as (url, attempts):
        assert corpus.download(url) == BODY.encode()
    assert attempts == ["/book.txt", "/other.txt"]


@pytest.mark.parametrize("scheme", ["ftp", "file", "data", "gopher"])
def test_redirects_to_other_protocols_are_refused_before_a_connection(outputs, monkeypatch, scheme):
    with server(hang) as (other, asked):
        place = other.replace("http", scheme)
        with server(redirect(place)) as (url, attempts):
            message = refused(settings(source="url", url=url), outputs)
    assert message.startswith(f"{url}: ")
    assert place in message
    assert (attempts, asked) == (["/book.txt"], [])


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "x"])
def test_addresses_of_other_protocols(url):
    with pytest.raises(UserError) as caught:
        corpus.download(url)
    assert str(caught.value) == f"{url}: expected http:// or https:// (corpus.url)"


def test_a_server_sends_nothing_to_the_terminal(outputs):
    def answer(handler, _):
        handler.wfile.write(b"HTTP/1.0 404 \x1b]0;owned\x07\x9b2J\r\n\r\n")

    with server(answer) as (url, _):
        message = refused(settings(source="url", url=url), outputs)
    assert message == f"{url}: HTTP 404 \\x1b]0;owned\\x07\\x9b2J (corpus.url)"


def test_checksum_of_a_download(outputs):
    with server(lambda handler, _: respond(handler, BODY.encode())) as (url, _):
        message = refused(settings(source="url", url=url, sha256="0" * 64), outputs)
    assert f"{url}: corpus.sha256: expected {'0' * 64}, got {hashlib.sha256(BODY.encode()).hexdigest()}" in message


def test_connection_refused(outputs):
    with server(hang) as (url, _):
        pass
    message = refused(settings(source="url", url=url), outputs)
    assert message.startswith(f"{url}: cannot be read, tried 3 times: ")
    assert "refused" in message
    assert "offline, use corpus.source file or builtin" in message


def test_no_such_host(outputs):
    message = refused(settings(source="url", url="http://no-such-host.invalid/book.txt"), outputs)
    assert message.startswith("http://no-such-host.invalid/book.txt: cannot be read, tried 3 times: ")
