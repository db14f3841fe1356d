"""Raw files: found, downloaded in pieces, and converted whole or not at all."""

from __future__ import annotations

import hashlib
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmvae_bary.data.files import ATTEMPTS, obtain, open_archive

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file, of which each answer breaks off after ``most`` bytes."""

    def __init__(self, *, most: int = len(CONTENT), ranges: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.most = most
        self.ranges = ranges
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.asked.append(wanted)
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + self.server.most])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_a_download_that_breaks_off_goes_on(server: Server, tmp_path: Path) -> None:
    server.most = 400_000
    path = obtain(str(tmp_path), "file", [server.url], MD5)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=400000-", "bytes=800000-"]
    assert not (tmp_path / "file.part").exists()


def test_a_later_run_goes_on_where_one_was_killed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    assert obtain(str(tmp_path), "file", [server.url], MD5).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


def test_a_download_that_was_whole_but_not_moved_is_moved(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert obtain(str(tmp_path), "file", [server.url], MD5).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "file.part").write_bytes(b"something else")
    assert obtain(str(tmp_path), "file", [server.url], MD5).read_bytes() == CONTENT


def test_a_wrong_download_is_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"got a file of MD5 \w+, expected 00.*; put it int"
    ):
        obtain(str(tmp_path), "file", [server.url], "00")
    assert len(server.asked) == ATTEMPTS
    assert [file.name for file in tmp_path.iterdir()] == ["file.lock"]


def test_a_file_that_is_there_is_not_fetched(server: Server, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(CONTENT)
    assert obtain(str(tmp_path), "file", [server.url], MD5) == tmp_path / "deep" / "file"
    assert server.asked == []


def test_a_corrupt_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.gz").write_bytes(b"not what it should be")
    with pytest.raises(ValueError, match=r"file\.gz: got a file of MD5 \w+, expected 00"):
        obtain(str(tmp_path), "file.gz", ["https://invalid.invalid/file.gz"], "00")


def test_a_file_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"file\.gz: not under .* and not to be had from"):
        obtain(str(tmp_path), "file.gz", ["https://127.0.0.1:1/file.gz"], "00")


@pytest.mark.parametrize("member", ["../escape.txt", "/escape.txt", "a/../../b", "..\\escape"])
def test_an_archive_that_climbs_out_is_refused(tmp_path: Path, member: str) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, "content")
    said = r"archive\.zip: got the member .*, expected paths inside"
    with pytest.raises(ValueError, match=said), open_archive(path):
        pass
