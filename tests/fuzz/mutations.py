"""Bytes made from good ones, by a seed: flipped, cut, repeated, moved, and with numbers and words exchanged."""

import json
import random
import re

NUMBERS = [
    *(b"0", b"-1", b"1", b"2", b"255", b"65536", b"2147483648", b"9223372036854775807", b"18446744073709551616"),
    *(b"1e400", b"-1e-400", b"nan", b"NaN", b"inf", b"0x10", b"1_0", b"", b" ", b"--1", b"1.5", b"9" * 5000),
]
WORDS = [
    *(b"null", b"true", b"[]", b"{}", b'""', b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"\x1b[2J"),
    *(b"\\ud800", b"<a>", b"&x;", b"*a", b"&a [*a]", b"- " * 100, b"[" * 3000, b"{a: " * 200, b"'" * 3, b"!!python/x"),
    *("\u202e".encode(), "\u2028".encode(), "ſ".encode(), b"a" * 70_000, b"\t", b": ", b"#", b"../../x", b"/dev/zero"),
]
VALUES: list = [
    *(None, True, -1, 0, 2**63, 2**64, 10**30, 1.5, -0.0, float("nan"), float("inf"), "", "\0", "\ud800"),
    *("../../etc/passwd", "/dev/zero", [], {}, [[]], {"": {}}, ["a"] * 300, "9" * 5000, "x" * 70_000),
]


def mutated(data: bytes, others: list[bytes], kind: str, chance: random.Random) -> bytes:
    """The data, changed once to four times; `kind` is the end of the file's name, which says what it is made of."""
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        ways = [_flip, _cut, _repeat, _drop, _word, _splice]
        if kind in ("json", "index.json", "csv", "yaml", "graphml", "txt"):
            ways += [_number, _number, _swap]
        if kind.endswith("json"):
            ways += [_value] * 4
        if kind == "safetensors":
            ways += [_header] * 6
        data = chance.choice(ways)(data, others, chance)
    return data[: 1 << 22]


def _place(data: bytes, chance: random.Random) -> int:
    """Often near the beginning, where formats say what follows."""
    return chance.randrange(min(len(data), chance.choice([16, 256, len(data) or 1]))) if data else 0


def _flip(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 3, 20]) if data else 0):
        at = _place(data, chance)
        changed[at] = chance.choice([changed[at] ^ 1 << chance.randrange(8), 0, 255, chance.randrange(256)])
    return bytes(changed)


def _cut(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


def _piece(data: bytes, chance: random.Random) -> slice:
    start = _place(data, chance)
    return slice(start, start + chance.choice([1, 2, 8, 64, 1000]))


def _repeat(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    piece = _piece(data, chance)
    return data[: piece.stop] + data[piece] * chance.choice([1, 1, 3, 200]) + data[piece.stop :]


def _drop(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    piece = _piece(data, chance)
    return data[: piece.start] + data[piece.stop :]


def _word(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + chance.choice(WORDS) + data[at:]


def _splice(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    return data[: _place(data, chance)] + other[_place(other, chance) :]


def _number(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:20_000]))
    if not found:
        return data
    one = chance.choice(found)
    return data[: one.start()] + chance.choice(NUMBERS) + data[one.end() :]


def _swap(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Two lines, or two fields of a table."""
    by = chance.choice([b"\n", b","])
    parts = data.split(by)
    one, two = chance.randrange(len(parts)), chance.randrange(len(parts))
    parts[one], parts[two] = parts[two], parts[one]
    return by.join(parts)


def _value(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A value anywhere in a JSON text exchanged for another, removed, or put inside many lists."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places: list[tuple] = []
    left = [whole]
    while left and len(places) < 2000:
        node = left.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []:
            places.append((node, key))
            left.append(node[key])
    if not places:
        return json.dumps(chance.choice(VALUES)).encode("utf-8", "surrogatepass")
    node, key = chance.choice(places)
    if chance.random() < 0.2:
        del node[key]
    elif chance.random() < 0.05:
        return data[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    else:
        node[key] = chance.choice([*VALUES, chance.choice(places)[0]]) if chance.random() < 0.8 else node
    try:
        return json.dumps(whole).encode()
    except (ValueError, RecursionError):  # it contains itself by now
        return data


def _header(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A safetensors file with another header, of the right length."""
    length = int.from_bytes(data[:8], "little")
    text, rest = data[8 : 8 + length], data[8 + length :]
    changed = chance.choice([_value, _value, _number, _word])(text, [text], chance)
    return len(changed).to_bytes(8, "little") + changed + rest
