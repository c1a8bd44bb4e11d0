"""Paths come back with the same content, in a place of their own, and nothing is ever written outside of it."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from drawbar.agent.encoding import EncodingError, decode, encode


def round_trip(path, folder):
    made = encode(path)
    return made, decode(bytearray(made.join()), made.format, made.type, made.ext, str(folder))


@pytest.fixture
def folder(tmp_path):
    """A folder with what folders have: files, an executable, an empty folder, a link, long and foreign names."""
    top = tmp_path / "made"
    (top / "sub" / "deeper").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "sub" / "a.txt").write_text("hi")
    (top / "sub" / "deeper" / "big.bin").write_bytes(os.urandom(100_000))
    (top / "run.sh").write_text("#!/bin/sh\n")
    (top / "run.sh").chmod(0o700)
    (top / ("long " * 40)).write_text("")
    (top / "é\n😀").write_text("x")
    (top / "sub" / "link").symlink_to("../run.sh")
    return top


def listing(top):
    """Everything below `top`: names, kinds, content, and whether it may be executed."""
    found = {}
    for path in sorted(top.rglob("*")):
        name = path.relative_to(top).as_posix()
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        else:
            found[name] = ("folder",) if path.is_dir() else (path.read_bytes(), path.stat().st_mode & 0o100)
    return found


@pytest.mark.parametrize(
    ("name", "ext"),
    [
        ("model.onnx", ".onnx"),
        ("a.tar.gz", ".tar.gz"),
        ("v1.2.csv", ".csv"),
        ("README", ""),
        ("odd.ä b", ""),
        ("x.", ""),
    ],
)
@pytest.mark.parametrize("size", [0, 10, 200_000])
def test_a_file_comes_back_with_content_and_extension(tmp_path, name, ext, size):
    """Small, empty and large files survive byte by byte; an extension is kept where it is a plain one."""
    (tmp_path / name).write_bytes(b"x" * size)
    made, back = round_trip(tmp_path / name, tmp_path / "back")
    assert made.format == "file"
    assert made.ext == ext
    assert type(back) is type(tmp_path)
    assert back.read_bytes() == b"x" * size
    assert back.name == f"value{ext}"
    assert back.is_relative_to(tmp_path / "back")


def test_a_folder_comes_back_as_it_was(folder, tmp_path):
    """Files, empty folders, links, execute bits, long and foreign names survive."""
    made, back = round_trip(folder, tmp_path / "back")
    assert made.format == "folder"
    assert listing(back) == listing(folder)
    assert (back / "sub" / "link").read_text() == "#!/bin/sh\n"


def test_a_folder_is_its_content_alone(folder, tmp_path):
    """Times, place and the order of creation do not change the DataVersion; content, names and execute bits do."""
    first = encode(folder).digest()
    _, back = round_trip(folder, tmp_path / "back")
    os.utime(back / "run.sh", (1, 1))
    assert encode(back).digest() == first
    (back / "run.sh").chmod(0o600)
    assert encode(back).digest() != first


def test_a_stored_folder_is_a_tar_to_everyone(folder, tmp_path):
    """`tar` itself unpacks it to the same."""
    (tmp_path / "f.tar").write_bytes(encode(folder).join())
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "xf", tmp_path / "f.tar", "-C", tmp_path / "out"], check=True)
    assert listing(tmp_path / "out") == listing(folder)


def test_a_large_folder_is_the_same_without_memory(folder, monkeypatch):
    """Above the limit the tar goes through a nameless file, with the same bytes, and leaves nothing behind."""
    small = encode(folder).digest()
    monkeypatch.setattr("drawbar.agent.encoding.tars._IN_MEMORY", 10)
    assert encode(folder).digest() == small
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_two_values_in_one_folder_do_not_meet(tmp_path):
    """Two Paths of one name, read into one folder, are two files."""
    (tmp_path / "a.txt").write_text("a")
    places = [round_trip(tmp_path / "a.txt", tmp_path / "back")[1] for _ in range(2)]
    assert places[0] != places[1]


@pytest.mark.parametrize("link", ["/etc/passwd", "../outside", "sub/../../outside", "sub/link/../../x"])
def test_a_link_out_of_the_folder_is_refused(folder, link):
    """What a link outside points to would be missing wherever the folder is read, so it is an error that names it."""
    (folder / "bad").symlink_to(link)
    with pytest.raises(EncodingError) as caught:
        encode(folder)
    assert caught.value.what == f"The folder {str(folder)!r} cannot be stored."
    assert caught.value.found == f"the link 'bad' -> {link!r} leads out of it"
    assert caught.value.todo == "copy what it points to into the folder"


def test_what_is_no_file_is_refused(folder, tmp_path):
    """A path to nothing, a pipe, a folder with a pipe in it, and a name that is not utf-8 are errors that say so."""
    with pytest.raises(EncodingError, match="FileNotFoundError"):
        encode(tmp_path / "nowhere")
    with pytest.raises(EncodingError, match="neither a file nor a folder"):
        encode(Path("/dev/null"))
    os.mkfifo(folder / "pipe")
    with pytest.raises(EncodingError, match="'pipe' is none of these"):
        encode(folder)
    (folder / "pipe").unlink()
    Path(os.fsdecode(bytes(folder) + b"/\xff")).write_text("x")
    with pytest.raises(EncodingError, match="which is not utf-8"):
        encode(folder)


def hostile(*members, content=b"x"):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(content))
    return bytearray(sink.getvalue())


FILE, FOLDER, LINK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE


@pytest.mark.parametrize(
    "members",
    [
        [("../out", FILE, "")],
        [("/tmp/out", FILE, "")],
        [("a/../../out", FILE, "")],
        [("./a", FILE, "")],
        [("a" * 300, FILE, "")],
        [("a", FILE, ""), ("a", FILE, "")],
        [("no/folder", FILE, "")],
        [("l", LINK, "/etc")],
        [("l", LINK, "..")],
        [("l", LINK, "."), ("l/out", FILE, "")],
        [("l", LINK, "x/../..")],
        [("h", tarfile.LNKTYPE, "/etc/passwd")],
        [("d", tarfile.CHRTYPE, "")],
        [("p", tarfile.FIFOTYPE, "")],
        [("f", FOLDER, ""), ("f", LINK, "/etc"), ("f/out", FILE, "")],
    ],
)
def test_a_hostile_tar_writes_nothing(members, tmp_path):
    """Names and links that lead out, entries that are no files, and anything twice are refused before the first write."""
    with pytest.raises(EncodingError, match="cannot be read as folder"):
        decode(hostile(("ok", FILE, ""), *members), "folder", "pathlib.Path", ".tar", str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()


def test_sizes_that_lie_are_refused(tmp_path):
    """A size beyond the file, below zero, or of a sparse file is refused, and none makes the reader loop."""
    plain = hostile(("a", FILE, ""))
    for size in (b"77777777777\0", b"-0000000001\0", b"\x80" + b"\xff" * 11, b"nonsense\0\0\0\0"):
        block = bytearray(plain)
        block[124:136] = size
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block[:512])
        with pytest.raises(EncodingError):
            decode(block, "folder", "pathlib.Path", ".tar", str(tmp_path))
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a")
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.size": "99999999999"}
        archive.addfile(member)
    with pytest.raises(EncodingError, match="an extended header"):
        decode(bytearray(sink.getvalue()), "folder", "pathlib.Path", ".tar", str(tmp_path))


def test_an_extension_cannot_name_another_place(tmp_path):
    """An extension from a record is no path."""
    for ext in ("/../../x", ".a/b", "x", ".."):
        with pytest.raises(EncodingError, match="the extension"):
            decode(b"x", "file", "pathlib.Path", ext, str(tmp_path))
