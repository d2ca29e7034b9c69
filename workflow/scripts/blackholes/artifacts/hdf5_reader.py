"""Reads one history out of an HDF5 file: a program of its own, which `artifacts.hdf5` starts and may end.

libhdf5 was not made for files of strangers: a damaged one can make it hang or crash, and a file may tell it to read
others (external storage, virtual datasets, links) or to load a library (filters). So a process without anything to lose
opens the file, refuses all that is not plain data in the file itself, and hands over what it is asked for.

    python -m blackholes.artifacts.hdf5_reader FILE KEY

It writes a line of JSON, `{"error": …}` or what it found. Then, for every line `start stop` that it reads, a line with
the number of bytes and the bytes of these snapshots; or `-1` and a line that says why not.
"""

import contextlib
import ctypes
import json
import math
import os
import signal
import sys
from typing import Any, BinaryIO

KEY_WORDS = "uint16 (S, V, D), the bits of bfloat16"
LARGEST_CHUNK = 2**30  # bytes
MOST_ATTRIBUTES, LONGEST_ATTRIBUTE = 1000, 2**20  # of a file; characters of one
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # HDF5's number → h5py's name; all come with h5py


class Refused(Exception):
    """What is wrong with the file, for a message that begins with its name."""


def main() -> None:
    path, key = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libhdf5 may print
    if sys.platform == "linux":  # ends with who started it, even inside a call that does not return
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # no filter is loaded from a library that a file names
    try:
        serve(path, key, answers)
    except Refused as error:
        say(answers, {"error": str(error)})
    except Exception as error:  # h5py raises many kinds for damaged files
        say(answers, {"error": f"not a complete HDF5 file: {type(error).__name__}: {' '.join(str(error).split())}"})


def say(answers: BinaryIO, fact: dict[str, Any]) -> None:
    answers.write(json.dumps(fact).encode() + b"\n")
    answers.flush()


def serve(path: str, key: str, answers: BinaryIO) -> None:
    import h5py
    import numpy as np

    with h5py.File(path, "r") as file:
        data = find(file, key)
        if data is None:
            names = ", ".join(list(file)[:20]) or "none"
            raise Refused(f"no dataset '{key}' ({KEY_WORDS}); the file has {names}")
        if not is_bits(data):
            raise Refused(f"dataset '{key}' is {data.dtype} {data.shape}, expected {KEY_WORDS}")
        size = os.path.getsize(path)
        refuse_layout(data, key, size)
        facts = {"shape": data.shape, "metadata": metadata(file), "dead_mask": dead_mask(file, data.shape[1], size)}
        say(answers, facts)
        for line in sys.stdin.buffer:
            start, stop = map(int, line.split())
            try:
                bits = np.empty((stop - start, *data.shape[1:]), np.uint16)
                data.read_direct(bits, np.s_[start:stop])
            except Exception as error:
                answers.write(b"-1\n%s\n" % " ".join(str(error).split()).encode())
            else:
                answers.write(b"%d\n" % bits.nbytes)
                answers.write(bits.data)
            answers.flush()


def find(file: Any, key: str) -> Any:
    """The dataset under this name, reached through the file's own groups; None if there is none.

    Raises Refused for a link to another file or another place.
    """
    import h5py

    here = file
    for part in filter(None, key.split("/")):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise Refused(f"'{key}' is a link; expected a dataset in the file itself")
        here = here.get(part)
    return here if isinstance(here, h5py.Dataset) else None


def is_bits(data: Any) -> bool:
    from h5py import h5t

    kind = data.id.get_type()
    return data.ndim == 3 and 0 not in data.shape and (kind == h5t.STD_U16LE or kind == h5t.STD_U16BE)


def refuse_layout(data: Any, key: str, size: int) -> None:
    """Raise Refused unless every byte of a dataset lies, written, in the file itself, which has `size` bytes."""
    from h5py import h5d

    made = data.id.get_create_plist()
    if made.get_external_count():
        raise Refused(f"dataset '{key}' is stored in other files; expected data in the file itself")
    layout = made.get_layout()
    if layout not in (h5d.CONTIGUOUS, h5d.CHUNKED):
        kind = "is a view of other datasets" if layout == h5d.VIRTUAL else "is not contiguous or chunked"
        raise Refused(f"dataset '{key}' {kind}; expected data in the file itself")
    for number in range(made.get_nfilters()):
        code = made.get_filter(number)[0]
        if code not in FILTERS:
            raise Refused(f"dataset '{key}' went through filter {code}; expected {', '.join(FILTERS.values())} or none")
    item = data.dtype.itemsize
    if layout == h5d.CONTIGUOUS:
        start, length = data.id.get_offset(), data.id.get_storage_size()
        if start is None or length != math.prod(data.shape) * item:
            raise Refused(f"dataset '{key}' is incomplete: it was never written")
        pieces = [(start, length)]
    else:
        pieces = chunks(data, key, made.get_nfilters() > 0)
    end = 0
    for start, length in sorted(pieces):
        if start < end or start + length > size:
            raise Refused(f"dataset '{key}' is damaged: its pieces overlap, or lie outside of the file")
        end = start + length


def chunks(data: Any, key: str, filtered: bool) -> list[tuple[int, int]]:
    """(first byte, bytes) of every chunk, all of which have to be there."""
    whole = math.prod(data.chunks) * data.dtype.itemsize
    if whole > LARGEST_CHUNK:
        raise Refused(f"dataset '{key}' has chunks of {whole / 1e9:.1f} GB; expected at most 1.1 GB")
    places: dict[tuple[int, ...], tuple[int, int]] = {}
    wrong = False

    def look(chunk: Any) -> None:
        nonlocal wrong
        inside = all(
            0 <= at < size and at % step == 0
            for at, size, step in zip(chunk.chunk_offset, data.shape, data.chunks, strict=True)
        )
        wrong |= not inside or chunk.chunk_offset in places or (not filtered and chunk.size != whole)
        places[chunk.chunk_offset] = (chunk.byte_offset, chunk.size)

    data.id.chunk_iter(look)
    if len(places) < math.prod(-(-size // step) for size, step in zip(data.shape, data.chunks, strict=True)):
        raise Refused(f"dataset '{key}' is incomplete: chunks were never written")
    if wrong:
        raise Refused(f"dataset '{key}' is damaged: its index of chunks contradicts its shape")
    return list(places.values())


def metadata(file: Any) -> dict[str, str]:
    """The file's attributes as text."""
    names = list(file.attrs)
    if len(names) > MOST_ATTRIBUTES:
        raise Refused(f"{len(names):,} attributes; expected at most {MOST_ATTRIBUTES:,}")
    found = {}
    for name in names:
        if file.attrs.get_id(name).get_storage_size() > LONGEST_ATTRIBUTE:
            raise Refused(f"attribute '{name[:80]}' is larger than 1 MiB")
        text = str(file.attrs[name])[:LONGEST_ATTRIBUTE]
        found[name.encode("utf-8", "replace").decode()] = text.encode("utf-8", "replace").decode()
    return found


def dead_mask(file: Any, tokens: int, size: int) -> list[int] | None:
    """`dead_mask` as zeros and ones, where the file has one for so many tokens."""
    mask = find(file, "dead_mask") if "dead_mask" in file else None
    if mask is None or mask.shape != (tokens,) or mask.dtype.kind not in "bui":  # a group, or another array
        return None
    refuse_layout(mask, "dead_mask", size)
    return mask[:].astype(bool).astype(int).tolist()


if __name__ == "__main__":
    main()
