"""Files however they are compressed, and files that are broken or hostile."""

import gzip
import os
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from app.common import limits
from app.events.imports.lines import FileRefused, Line, LineReader

LINES = [b'{"n":1}', b'{"n":2}', b'{"n":3}']
TEXT = b"\n".join(LINES) + b"\n"


def lines_of(path: Path, after: int = 0) -> list[Line]:
    reader = LineReader(str(path))
    reader.skip_to(after)
    return list(reader)


def packed(folder: Path, how: str) -> Path:
    path = folder / "events"
    if how == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("1/00.json.gz", gzip.compress(LINES[0] + b"\n"))
            archive.writestr("1/01.json", b"\n".join(LINES[1:]))
        return path
    content = {"plain": TEXT, "gz": gzip.compress(TEXT), "zst": zstandard.compress(TEXT)}[how]
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("how", ["plain", "gz", "zst", "zip"])
def test_every_compression_is_told_by_the_content(tmp_path: Path, how: str) -> None:
    lines = lines_of(packed(tmp_path, how))

    assert [line.text for line in lines] == LINES
    assert lines_of(packed(tmp_path, how), lines[1].end) == lines[2:]


def test_joined_compressed_files_are_read_to_the_end(tmp_path: Path) -> None:
    for name, compress in (("gz", gzip.compress), ("zst", zstandard.compress)):
        path = tmp_path / name
        path.write_bytes(compress(LINES[0] + b"\n") + compress(LINES[1]))

        assert [line.text for line in lines_of(path)] == LINES[:2]


def test_line_ends_and_byte_order_marks_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "windows.json"
    path.write_bytes(b"\xef\xbb\xbf" + LINES[0] + b"\r\n\r\n" + LINES[1])

    assert [(line.number, line.text) for line in lines_of(path)] == [(1, LINES[0]), (3, LINES[1])]


def test_a_long_line_is_passed_over_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_bytes(LINES[0] + b"\n" + b"x" * (limits.IMPORTED_LINE_BYTES.value + 1) + b"\n" + LINES[1] + b"\n")

    assert [(line.number, line.text) for line in lines_of(path)] == [(1, LINES[0]), (2, None), (3, LINES[1])]


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_file_that_is_cut_off_is_refused_by_line(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    path = tmp_path / "cut"
    content = b"\n".join(b'{"n":%d,"of":"%x"}' % (number, number**9) for number in range(50_000))
    whole: bytes = compress(content)
    path.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(FileRefused, match=r"cut: line [\d,]+: the file is damaged or incomplete here"):
        lines_of(path)


def test_bombs_are_refused_by_line(tmp_path: Path) -> None:
    one_line, many_lines = tmp_path / "one", tmp_path / "many"
    with gzip.open(one_line, "wb", compresslevel=1) as target:
        for _ in range(70):
            target.write(bytes(1024 * 1024))
    with many_lines.open("wb") as raw, zstandard.ZstdCompressor().stream_writer(raw) as target:
        for _ in range(300):
            target.write(b" " * (1024 * 1024 - 1) + b"\n")

    with pytest.raises(FileRefused, match="one: line 1: is longer than 64 MiB"):
        lines_of(one_line)
    with pytest.raises(FileRefused, match="many: line 257: the file unpacks to more than 500 times its size"):
        lines_of(many_lines)


def test_archives_in_archives_and_secrets_are_refused_by_name(tmp_path: Path) -> None:
    inner, outer, secret = packed(tmp_path, "zip"), tmp_path / "outer.zip", tmp_path / "secret.zip"
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(inner, "inner.zip")
    with zipfile.ZipFile(secret, "w") as archive:
        archive.writestr("a.json", TEXT)
    content = bytearray(secret.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of an encrypted member
        content[content.index(mark) + offset] |= 1
    secret.write_bytes(content)

    with pytest.raises(FileRefused, match=r"inner\.zip is an archive inside an archive"):
        lines_of(outer)
    with pytest.raises(FileRefused, match=r"a\.json is encrypted"):
        lines_of(secret)


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "missing", "No such file"),
        (tmp_path / "pipe", "is not a file; send it to the standard input"),
    ):
        with pytest.raises(FileRefused, match=reason):
            lines_of(path)


@pytest.mark.parametrize(
    "changes",
    [
        {6: 99},  # the version that is needed to read it
        {9: 0x08, 46: 0xFF},  # a name that is said to be UTF-8, and is not
    ],
)
def test_archives_that_are_not_understood_are_refused(tmp_path: Path, changes: dict[int, int]) -> None:
    path = packed(tmp_path, "zip")
    content = bytearray(path.read_bytes())
    for offset, byte in changes.items():
        content[content.index(b"PK\x01\x02") + offset] = byte
    path.write_bytes(content)

    with pytest.raises(FileRefused):
        lines_of(path)


def test_an_archive_is_refused_before_its_list_of_files_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "events.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", TEXT)
    content = path.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    members = content[start:end] * 200_000
    ending = bytearray(content[end:])
    ending[12:16] = len(members).to_bytes(4, "little")
    path.write_bytes(content[:start] + members + ending)

    with pytest.raises(FileRefused, match="too many files"):
        lines_of(path)


@pytest.mark.parametrize("text", [b"\xff", b"x" * 9])
def test_damaged_texts_of_parquet_are_refused_by_line(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "events.parquet"
    parquet.write_table(pyarrow.table({"event": ["purchase"]}), path, compression="none", use_dictionary=False)
    content = path.read_bytes()
    at = content.index(b"\x08\x00\x00\x00purchase")
    damaged = b"\x08\x00\x00\x00" + (text + b"purchase")[:8] if len(text) == 1 else text + b"\x00\x00\x00"
    path.write_bytes(content[:at] + damaged + content[at + 12 :])

    with pytest.raises(FileRefused, match="line 1: "):
        lines_of(path)


def test_a_value_that_parquet_stores_once_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    parquet.write_table(pyarrow.table({"event": pyarrow.array(["x" * 50_000] * 1_000)}), path, compression="zstd")

    tracemalloc.start()
    try:
        count = sum(1 for _ in LineReader(str(path)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 1_000
    assert peak < 8_000_000
