"""IDX files, the format of MNIST:

    bytes 0, 1: zero    byte 2: the type, 8 = unsigned byte    byte 3: d
    d sizes, 4 bytes each, big-endian; their product in bytes, row-major; and nothing after.

Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database, "File formats".
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pooch

_UNSIGNED_BYTE = 0x08
_MAX_DIMS = 4  # (n, channels, height, width)
_CHUNK = 1 << 20


def read_idx(path: str | os.PathLike, md5: str | None = None) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, raw or gzipped (told by its content, not by its name).

    md5: of the uncompressed file; where given, another one is refused.
    Returns a read-only uint8 array of the d sizes. Raises ValueError for anything that is not such a file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "x").write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    ...     read_idx(Path(folder, "x"))
    array([[7, 8, 9]], dtype=uint8)
    """
    array, digest = read_with_md5(path)
    if md5 is not None and digest != md5:
        raise _refusal(Path(path), f"has MD5 {digest} uncompressed; {md5}")
    return array


def read_with_md5(path: str | os.PathLike) -> tuple[np.ndarray, str]:
    """What `read_idx` returns, and the MD5 of the uncompressed file."""
    path = Path(path)
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
        try:
            header, shape = _header(stream, path)
            body = _body(stream, path, shape)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _refusal(path, f"is damaged gzip ({error}); a whole .gz or an uncompressed file") from error
    # hashed in two parts: joining them would copy the images
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(body)
    return np.frombuffer(bytes(body), np.uint8).reshape(shape), digest.hexdigest()


def _header(stream: BinaryIO, path: Path) -> tuple[bytes, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4:
        raise _refusal(path, f"has {len(magic)} bytes before it ends; an IDX file opens with 4")
    if magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTE or not 1 <= magic[3] <= _MAX_DIMS:
        raise _refusal(path, f"opens with bytes {magic.hex()}; 0000 08 0d with d = 1 to {_MAX_DIMS} sizes")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise _refusal(path, f"ends within its header; {magic[3]} sizes of 4 bytes each")
    return magic + sizes, tuple(np.frombuffer(sizes, ">u4").tolist())


def _body(stream: BinaryIO, path: Path, shape: tuple[int, ...]) -> bytearray:
    claimed = math.prod(shape)
    if claimed == 0:
        raise _refusal(path, f"claims the shape {shape}, which is empty; sizes of at least 1")
    # Grows with what is there: neither the header nor a gzip is to be trusted with the memory. Reading on to
    # the end is also what makes gzip compare its checksum.
    body = bytearray()
    while len(body) <= claimed and (chunk := stream.read(_CHUNK)):
        body += chunk
    if len(body) != claimed:
        have = f"{len(body)}" if len(body) < claimed else f"at least {len(body)}"
        raise _refusal(path, f"has {have} bytes after its header; {claimed} for the shape {shape}")
    return body


def _refusal(path: Path, got_and_expected: str) -> ValueError:
    got, _, expected = got_and_expected.partition("; ")
    # what is fetched lies in <cache>/<name of the data>; what else there is belongs to someone, and may be whole
    fetched = path.resolve().parents[1:2] == (Path(pooch.os_cache("sdekit")).resolve(),)
    advice = ("It is a broken download: delete that file, and load the data again." if fetched else
              "Name the folder that holds this data set's files.")
    return ValueError(f"{path} {got}, but expected {expected}. {advice}")
