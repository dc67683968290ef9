"""A .zip or .tar (also .gz, .bz2, .xz) of a folder, unpacked into the cache once, and told apart by its SHA-256.

An archive is a stranger's list of names and sizes. Before anything is written, all of it is looked through, and it is
refused where a member would land outside its folder (absolute, a drive, ..), is no plain file or folder (links,
devices), or where the sizes declared add up to more than `MOST_BYTES`, or than the disk has free. What is written is
only ever the bytes declared, with permissions of our own.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast
from urllib.parse import urlparse

import pooch
from tqdm import tqdm

from diffusion.data.folder import subfolders, visible

MOST_BYTES = 2**34
MOST_MEMBERS = 2_000_000
_MOST_HEADER = 2**22  # bytes of one header in a tar, which tarfile reads in one go
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, NotImplementedError,
           RuntimeError)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    kind: str  # "file", "folder", or what else it is
    open: Callable[[], IO[bytes] | None]


def unpack(archive: str | os.PathLike, sha256: str | None = None) -> Path:
    """The folder that an archive holds, unpacked into the cache if it is not there yet.

    archive   a path, or an address https://..., which is fetched into the cache
    sha256    of the archive, 64 hex digits; an address needs it, and another file than that is refused

    Returns the folder; where the archive holds nothing but one folder of folders, that inner one. Raises ValueError
    naming the archive and the member for one that is refused, damaged or of another hash; FileNotFoundError.

    >>> unpack("https://example.org/shapes.zip")
    Traceback (most recent call last):
    ValueError: https://example.org/shapes.zip needs the hash of what is to come: sha256="64 hex digits".
    """
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256 must be 64 hex digits, got {sha256!r}; `sha256sum FILE` prints them.")
    path = _fetched(str(archive), sha256) if "://" in str(archive) else Path(archive)
    if not path.is_file():
        raise FileNotFoundError(f"there is no archive {path}; name a .zip or a .tar, or an address https://...")
    digest = pooch.file_hash(str(path), alg="sha256")
    if sha256 is not None and digest != sha256.lower():
        raise ValueError(f"{path} has SHA-256 {digest}, but expected {sha256}. Fetch it again, or ask who made it.")
    stem = re.sub(r"[^\w-]", "_", _stem(archive)) or "archive"
    place = Path(pooch.os_cache("sdekit")) / "unpacked" / digest[:32] / stem
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, ignore_cleanup_errors=True) as draft:
            _write(path, Path(draft, stem))
            Path(draft, stem).replace(place)  # whole or not at all, also if this is killed
    return _root(place)


def _fetched(address: str, sha256: str | None) -> Path:
    if not address.startswith("https://"):
        raise ValueError(f"{address}: only https:// addresses are fetched; fetch it another way and name the file.")
    if sha256 is None:
        raise ValueError(f'{address} needs the hash of what is to come: sha256="64 hex digits".')
    place = Path(pooch.os_cache("sdekit")) / "archives"
    try:
        return Path(pooch.retrieve(address, f"sha256:{sha256}", sha256.lower(), place, progressbar=True))
    except OSError as error:
        raise ConnectionError(f"{address} could not be fetched: {error}. Fetch it another way and name the "
                              "file.") from error


def _stem(archive: str | os.PathLike) -> str:
    name = Path(urlparse(str(archive)).path).name
    return re.sub(r"(\.(zip|tar|gz|tgz|bz2|xz))+$", "", name, flags=re.IGNORECASE)


def _root(place: Path) -> Path:
    """`place`, or the one folder in it while that is all it holds and is itself made of folders."""
    inner = subfolders(place)
    alone = len(inner) == 1 == len(visible(place))
    return _root(inner[0]) if alone and subfolders(inner[0]) else place


def _write(path: Path, place: Path) -> None:
    """All members of an archive, into a new folder."""
    place.mkdir()
    try:
        with _opened(path) as listed:
            members = _checked(path, place, listed)
            if all(member.kind == "folder" for member in members):
                raise ValueError(f"{path} holds no files. Pack the folder again, or name the folder itself.")
            for member in tqdm(members, desc=f"unpacking {path.name}", unit="file", delay=2.0, leave=False):
                _write_one(path, place, member)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk, or one that may not be written to: not the archive's fault
        raise ValueError(f"{path} is damaged, encrypted or no .zip or .tar ({type(error).__name__}: {error}). Fetch "
                         "it again.") from error


def _write_one(path: Path, place: Path, member: _Member) -> None:
    target = place.joinpath(*PurePosixPath(member.name).parts)
    if member.kind == "folder":
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None or target.exists():
        raise _refusal(path, member, "is there twice")
    with source, target.open("xb") as out:
        shutil.copyfileobj(source, out)
    if target.stat().st_size != member.size:
        raise _refusal(path, member, f"has {target.stat().st_size} bytes where {member.size} are declared")


def _checked(path: Path, place: Path, members: Iterator[_Member]) -> list[_Member]:
    """The members, if every one of them may be written."""
    free, total, passed = shutil.disk_usage(place).free, 0, []
    for member in members:
        parts = PurePosixPath(member.name).parts
        if member.kind not in ("file", "folder"):
            raise _refusal(path, member, f"is a {member.kind}, and only files and folders are unpacked")
        if member.name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:|.*[\\\0]", member.name, re.DOTALL):
            raise _refusal(path, member, "would lie outside the archive's folder")
        total += member.size
        for most, what in ((MOST_BYTES, "unpacked at most"), (free, "free on the disk")):
            if total > most:
                raise _refusal(path, member, f"brings the sizes to {total:,} bytes, and {most:,} are {what}")
        if len(passed) >= MOST_MEMBERS:
            raise _refusal(path, member, f"comes after {MOST_MEMBERS:,} others, which is the most")
        passed.append(member)
    return passed


def _refusal(path: Path, member: _Member, what: str) -> ValueError:
    return ValueError(f"{path}: its member {member.name!r} {what}. Nothing of it was kept; if you trust it, unpack it "
                      "yourself and name the folder.")


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[_Member]]:
    """The members of a .zip or a .tar, told by the content."""
    with path.open("rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        if magic.startswith(b"PK"):
            with zipfile.ZipFile(raw) as packed:
                yield (_zip_member(packed, info) for info in packed.infolist())
            return
        opener = next((way for start, way in _PACKED.items() if magic.startswith(start)), None)
        modest = cast(IO[bytes], _Modest(opener(raw) if opener else raw))
        with tarfile.open(fileobj=modest, mode="r:") as packed:
            yield (_tar_member(packed, info) for info in packed)


def _zip_member(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16  # of Unix; 0 where the archive was made elsewhere
    kind = "folder" if info.is_dir() else "file"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "link" if stat.S_ISLNK(mode) else "device"
    return _Member(info.orig_filename, info.file_size, kind, lambda: packed.open(info))


def _tar_member(packed: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    kinds = {"file": info.isfile(), "folder": info.isdir(), "link": info.issym() or info.islnk(), "device": True}
    kind = next(name for name, true in kinds.items() if true)
    return _Member(info.name, info.size, kind, lambda: packed.extractfile(info))


class _Modest:
    """A stream that is not read in large pieces: tarfile takes a member's extended header in one go, however large."""

    def __init__(self, stream):
        self.stream, self.seek, self.tell = stream, stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if size > _MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes, and {_MOST_HEADER:,} are the most")
        return self.stream.read(size)
