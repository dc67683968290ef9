"""Archives: what is whole lands in the cache once; what would leave its folder, or fill the disk, lands nowhere."""

import gzip
import hashlib
import io
import stat
import struct
import tarfile
import zipfile

import pooch
import pytest

from diffusion.data import archives, unpack

FILES = {"a/1.txt": b"one", "a/2.txt": b"", "größe/日本.txt": bytes(100_000)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    place = tmp_path / "cache"
    monkeypatch.setattr(pooch, "os_cache", lambda project: place)
    return place


def zipped(path, files, **kinds):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = kinds.get("mode", stat.S_IFREG | 0o644) << 16
            packed.writestr(info, content)
    return path


def tarred(path, files, mode="w", kind=tarfile.REGTYPE, link="", size=None):
    with tarfile.open(path, mode) as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(content) if kind == tarfile.REGTYPE else 0
            packed.addfile(info, io.BytesIO(content))
            if size is not None:  # claim more than there is
                packed.fileobj.seek(0)
                info.size = size
                packed.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
                packed.fileobj.seek(0, 2)
    return path


WAYS = {"zip": zipped, "tar": tarred, "tgz": lambda path, files: tarred(path, files, "w:gz"),
        "tar.bz2": lambda path, files: tarred(path, files, "w:bz2"),
        "tar.xz": lambda path, files: tarred(path, files, "w:xz")}


def content(place):
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def refused(path, cache, match):
    """The archive is named, and nothing of it is anywhere."""
    before = set(path.parent.iterdir())
    with pytest.raises(ValueError, match=match) as error:
        unpack(path)
    assert str(path) in str(error.value)
    assert set(path.parent.iterdir()) <= before | {cache}
    assert content(cache) == {} and not list(cache.glob("unpacked/*/*"))


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_comes_back_whole(tmp_path, way):
    path = WAYS[way](tmp_path / f"my shapes.{way}", FILES)
    place = unpack(path)
    assert content(place) == FILES and place.name == "my_shapes"


def test_the_kind_is_told_by_the_content(tmp_path):
    assert content(unpack(tarred(tmp_path / "x.zip", FILES, "w:gz"))) == FILES
    assert content(unpack(zipped(tmp_path / "x.tar", FILES))) == FILES


def test_it_is_unpacked_once_and_again_when_it_has_changed(tmp_path):
    path = zipped(tmp_path / "x.zip", {"a/1": b"one"})
    first = unpack(path)
    (first / "a" / "1").write_bytes(b"kept")
    assert unpack(path) == first and (first / "a" / "1").read_bytes() == b"kept"
    zipped(path, {"a/1": b"other"})
    assert (unpack(path) / "a" / "1").read_bytes() == b"other"


@pytest.mark.parametrize("prefix, expected", [("", ""), ("shapes/", "shapes"), ("data/shapes/", "data/shapes")])
def test_a_lone_folder_of_folders_is_the_data(tmp_path, cache, prefix, expected):
    names = [f"{prefix}disc/1.png", f"{prefix}ring/1.png", "__MACOSX/._1.png", ".DS_Store"]
    place = unpack(zipped(tmp_path / "x.zip", dict.fromkeys(names, b"")))
    assert place.as_posix().endswith(f"/x/{expected}".rstrip("/"))


def test_a_lone_class_is_not_entered(tmp_path):
    assert unpack(zipped(tmp_path / "x.zip", {"disc/1.png": b""})).name == "x"


# --- members that are refused


@pytest.mark.parametrize("way", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "//host/out.txt", "..\\out.txt",
                                  "C:\\out.txt", "C:out.txt", "a/.."])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, cache, way, name):
    path = WAYS[way](tmp_path / "slip", {"a/1.txt": b"good", name: b"bad"})
    refused(path, cache, r"its member '.*' would lie outside the archive's folder")


@pytest.mark.parametrize("kind, message", [
    (tarfile.SYMTYPE, "is a link"), (tarfile.LNKTYPE, "is a link"), (tarfile.CHRTYPE, "is a device"),
    (tarfile.BLKTYPE, "is a device"), (tarfile.FIFOTYPE, "is a device"),
])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, cache, kind, message):
    refused(tarred(tmp_path / "x.tar", {"a/link": b""}, kind=kind, link="/etc/passwd"), cache, f"'a/link' {message}")


@pytest.mark.parametrize("mode, message", [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "is a device")])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, cache, mode, message):
    refused(zipped(tmp_path / "x.zip", {"a/link": b"/etc/passwd"}, mode=mode | 0o777), cache, f"'a/link' {message}")


def test_a_member_that_is_there_twice_is_refused(tmp_path, cache):
    with tarfile.open(tmp_path / "x.tar", "w") as packed:
        for text in (b"one", b"two"):
            info = tarfile.TarInfo("a/1")
            info.size = 3
            packed.addfile(info, io.BytesIO(text))
    refused(tmp_path / "x.tar", cache, "'a/1' is there twice")


# --- bombs


def test_a_tar_that_declares_too_much_is_refused(tmp_path, cache):
    refused(tarred(tmp_path / "x.tar", {"a/1": b"x"}, size=2**35), cache, f"brings the sizes to {2**35:,} bytes, and")


def test_a_zip_that_declares_too_much_is_refused(tmp_path, cache):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr("a/1", b"x")
        packed.infolist()[0].file_size = 2**40
    refused(tmp_path / "x.zip", cache, f"brings the sizes to {2**40:,} bytes, and {archives.MOST_BYTES:,} are unpacked")


@pytest.mark.parametrize("way", ["zip", "tgz"])
def test_many_members_add_up(tmp_path, cache, way, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 2_500_000)
    path = WAYS[way](tmp_path / "x", {f"a/{k}": bytes(10**6) for k in range(3)})
    refused(path, cache, "'a/2' brings the sizes to 3,000,000 bytes, and 2,500,000 are unpacked at most")


def test_more_than_the_disk_has_free_is_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 10}))
    refused(zipped(tmp_path / "x.zip", {"a/1": bytes(11)}), cache, "11 bytes, and 10 are free on the disk")


def test_too_many_members_are_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    refused(zipped(tmp_path / "x.zip", dict.fromkeys("abcd", b"")), cache, "'d' comes after 3 others")


def test_a_zip_whose_member_is_longer_than_declared_is_refused(tmp_path, cache):
    """What is inflated beyond the declared size is never written."""
    path = zipped(tmp_path / "x.zip", {"a/1": bytes(10**6)})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(struct.pack("<I", 10**6), struct.pack("<I", 10)))
    refused(path, cache, "damaged, encrypted or no .zip")


def test_a_tar_with_a_header_that_fills_the_memory_is_refused(tmp_path, cache):
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 2**32
    (tmp_path / "x.tgz").write_bytes(gzip.compress(info.tobuf() + bytes(10**5)))
    refused(tmp_path / "x.tgz", cache, "header of 4,294,967,296 bytes")


# --- damage


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
def test_a_cut_archive_is_refused(tmp_path, cache, way, cut):
    noise = hashlib.shake_128(b"noise").digest(60_000)  # which no packer shortens
    path = WAYS[way](tmp_path / f"x.{way}", {"a/1": noise})
    path.write_bytes(path.read_bytes()[:int(cut * 60_000)])
    refused(path, cache, "is damaged, encrypted or no .zip or .tar")


@pytest.mark.parametrize("way", ["zip", "tgz"])
def test_a_changed_archive_is_refused(tmp_path, cache, way):
    path = WAYS[way](tmp_path / "x", {"a/1": b"some text, packed", "a/2": hashlib.shake_128(b"noise").digest(5000)})
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 0xFF
    path.write_bytes(changed)
    if way == "zip":  # it has a checksum of each member; gzip compares its own at the end
        refused(path, cache, "Bad CRC-32")


@pytest.mark.parametrize("text", [b"", b"not an archive", b"PK", b"\x1f\x8b", b"\x89PNG\r\n\x1a\n" + bytes(600)])
def test_what_is_no_archive_is_refused(tmp_path, cache, text):
    (tmp_path / "x.zip").write_bytes(text)
    refused(tmp_path / "x.zip", cache, "is damaged, encrypted or no .zip or .tar")


def test_an_encrypted_zip_is_refused(tmp_path, cache):
    path = zipped(tmp_path / "x.zip", {"a/1": b"text"})
    whole = bytearray(path.read_bytes())
    for start, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        whole[whole.index(start) + flags] |= 1
    path.write_bytes(whole)
    refused(path, cache, "encrypted")


def test_a_full_disk_is_not_the_archives_fault(tmp_path, cache, monkeypatch):
    def full(source, out):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left") as error:
        unpack(zipped(tmp_path / "x.zip", FILES))
    assert not isinstance(error.value, ValueError) and content(cache) == {}


# --- addresses and hashes


def test_an_address_is_fetched_by_its_hash(tmp_path, cache, monkeypatch):
    path = zipped(tmp_path / "x.zip", {"a/1": b"one"})
    digest, calls = hashlib.sha256(path.read_bytes()).hexdigest(), []

    def retrieve(url, known_hash, fname, place, progressbar):
        calls.append((url, known_hash))
        return str(path)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    place = unpack("https://example.org/files/shapes.zip?v=2", digest)
    assert calls == [("https://example.org/files/shapes.zip?v=2", f"sha256:{digest}")]
    assert place.name == "shapes" and (place / "a" / "1").read_bytes() == b"one"


def test_another_hash_is_refused(tmp_path, cache):
    path = zipped(tmp_path / "x.zip", {"a/1": b"one"})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert content(unpack(path, digest.upper())) == {"a/1": b"one"}
    with pytest.raises(ValueError, match=f"x.zip has SHA-256 {digest}, but expected {'0' * 64}"):
        unpack(path, "0" * 64)


@pytest.mark.parametrize("archive, sha256, error, message", [
    ("https://example.org/x.zip", None, ValueError, "needs the hash"),
    ("http://example.org/x.zip", "0" * 64, ValueError, "only https"),
    ("file:///etc/passwd", "0" * 64, ValueError, "only https"),
    ("x.zip", "md5:123", ValueError, "sha256 must be 64 hex digits"),
    ("nowhere/x.zip", None, FileNotFoundError, "there is no archive nowhere.x.zip"),
])
def test_what_is_not_fetched(archive, sha256, error, message):
    with pytest.raises(error, match=message):
        unpack(archive, sha256)


def test_an_address_that_fails_is_named(monkeypatch):
    def retrieve(*args, **options):
        raise OSError("no route")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(ConnectionError, match=r"example.org/x.zip could not be fetched: no route"):
        unpack("https://example.org/x.zip", "0" * 64)


@pytest.mark.parametrize("address", ["https://example.org/..", "https://example.org/", "https://example.org/%2e%2e.zip"])
def test_an_address_does_not_name_a_folder_outside(tmp_path, cache, monkeypatch, address):
    path = zipped(tmp_path / "x.zip", {"a/1": b"one"})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(pooch, "retrieve", lambda *args, **options: str(path))
    assert unpack(address, digest).parent == cache / "unpacked" / digest[:32]


@pytest.mark.parametrize("files", [{}, {"a/": b""}])
def test_an_archive_without_files_is_named(tmp_path, cache, files):
    refused(zipped(tmp_path / "a.zip", files), cache, r"a\.zip holds no files\. Pack the folder again")


def test_nor_does_an_empty_tar_pass(tmp_path, cache):
    refused(tarred(tmp_path / "a.tar", {}), cache, r"a\.tar holds no files")
