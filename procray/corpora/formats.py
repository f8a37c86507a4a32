"""What a local file holds and how its documents are read: text, lines of JSON, tables, compressed or not.

A file's name decides; nothing is read as something else than its name says. What the name promises and the content
does not keep is an error with the key or name that would be right (`problem_of`), and what has no text at all
(pictures, archives) is left out by name (`without_text`).
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from procray.corpora.local import LocalFile
from procray.errors import CorpusError, EnvironmentProblem, did_you_mean
from procray.files import refuse_room

# A document and what was met: None, "replaced" (bytes that are not in its encoding), "null" (then no text).
Document = tuple[str, str | None]
Kind = Literal["text", "lines", "csv", "parquet"]

_LINES = (".jsonl", ".ndjson")
_TABLES = {".csv": ",", ".tsv": "\t"}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_ROWS = 256  # of a Parquet file at once
_CHUNK = 8 << 20  # bytes read at once: between two chunks a signal is heard
_LONG_LINE = 1 << 20
LARGEST_LINE = 128 << 20  # characters of a line, bytes of a compressed text or a row of a table
_PACKED_AT_MOST = 250  # times a compressed file's size; text comes to some 10, and no more than 100
_ALWAYS = 256 << 20  # bytes that it may hold whatever its size
_CELLS = 1_000_000  # of a row
_MARKS = (  # the longer first: UTF-16's little-endian mark begins UTF-32's
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_FOREIGN = {
    b"%PDF": "a PDF", b"PK\x03\x04": "a zip archive or an office document", b"\x1f\x8b": "gzip without .gz in its name",
    b"\x28\xb5\x2f\xfd": "zstd without .zst in its name", b"\xfd7zXZ": "xz without .xz in its name",
    b"BZh": "bzip2 without .bz2 in its name", b"PAR1": "Parquet without .parquet in its name", b"7z\xbc\xaf": "7-Zip",
}  # fmt: skip
_OBJECT = re.compile(r'\s*\{\s*("|\}\s*$)')


def kind_of(file: LocalFile, field: str | None) -> Kind:
    """What the file's name and `field:` say that it holds."""
    name = _plain_name(file)
    if name.endswith(_LINES):
        return "lines"
    if name.endswith(tuple(_TABLES)):
        return "csv"
    if name.endswith(".parquet"):
        return "parquet"
    return "text" if field is None else "lines"


def is_packed(file: LocalFile) -> bool:
    """Whether a file is compressed."""
    return file.name.lower().endswith(_COMPRESSED)


def _plain_name(file: LocalFile) -> str:
    """The name in small letters without the ending of a compression."""
    name = file.name.lower()
    ending = next((ending for ending in _COMPRESSED if name.endswith(ending)), "")
    return name.removesuffix(ending)


def documents_of(file: LocalFile, field: str | None) -> Iterator[Document]:
    """Every document of a file: the whole text, or the `field` (by default `text`) of every line or row.

    Raises:
        CorpusError: it cannot be read, with its line where it has lines.
        EnvironmentProblem: the package that reads it is missing.
    """
    kind = kind_of(file, field)
    if kind == "text":
        yield read_text(file)
    elif kind == "lines":
        yield from _json_documents(file, field or "text")
    elif kind == "csv":
        yield from _csv_documents(file, field or "text")
    else:
        yield from _parquet_documents(file, field or "text")


def without_text(file: LocalFile, field: str | None) -> str:
    """Why a file of plain text has none, such as `a PDF`; empty where it has."""
    if kind_of(file, field) != "text":
        return ""
    with opened(file) as stream:
        head = stream.read(8192)
    if _encoding(head) != "utf-8":
        return ""
    foreign = next((what for mark, what in _FOREIGN.items() if head.startswith(mark)), "")
    return foreign or ("binary" if b"\0" in head else "")


def problem_of(file: LocalFile, field: str | None) -> str:
    """What is wrong with how a file is to be read, as far as its beginning tells; empty where nothing is."""
    kind = kind_of(file, field)
    if kind == "csv":
        if field is None:
            return f"{file.path} is a table; name the column that holds the text with `field:`{_among(_columns(file))}"
        columns = _columns(file)
        return "" if not columns or field in columns else f"{file.path} has no column '{field}'{_among(columns, field)}"
    if kind == "parquet":
        return _parquet_problem(file, field or "text")
    with opened(file) as stream:
        first = next((line for line, _ in _lines(stream, _LONG_LINE) if line.strip()), "")
    row: Any = None
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        if kind == "text" and len(first) >= _LONG_LINE and _OBJECT.match(first):
            row = {}
    if not isinstance(row, dict):
        return ""  # of lines, reading says which one is wrong
    if kind == "text":
        return (
            f"{file.path} begins with a line of JSON; name the field that holds the text with `field:`"
            f"{_among(list(row))}, or the file *.jsonl"
        )
    wanted = field or "text"
    return "" if wanted in row else f"{file.path}, line 1: no field '{wanted}'{_among(list(row), wanted)}; set `field:`"


def _among(names: list[str], wanted: str | None = None) -> str:
    if not names:
        return ""
    near = did_you_mean(wanted, names) if wanted is not None else ""
    return f" (it has: {', '.join(map(str, names[:20]))}{near.rstrip('?')}{'?' if near else ''})"


@contextmanager
def opened(file: LocalFile) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed as its name says.

    Raises:
        CorpusError: it cannot be read, also later while it is.
        EnvironmentProblem: the package for it is missing.
    """
    ending = next((ending for ending in _COMPRESSED if file.name.lower().endswith(ending)), "")
    try:
        with _opener(ending)(file.path) as stream:
            if ending:
                most = max(_ALWAYS, _PACKED_AT_MOST * file.path.stat().st_size)
                yield io.BufferedReader(_Unpacked(stream, most), 1 << 20)
            else:
                yield stream
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise CorpusError(f"files: cannot read {file.path}: {error}") from error


class _Unpacked(io.RawIOBase):
    """A decompressed stream that ends with an error where it goes on for longer than text does."""

    def __init__(self, stream: IO[bytes], most: int):
        self._stream, self._left, self._most = stream, most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise OSError(
                f"it unpacks to more than {self._most:,} bytes, {_PACKED_AT_MOST} times its size, which no text does; "
                "unpack it yourself if that is meant"
            )
        buffer[: len(data)] = data
        return len(data)


def _opener(ending: str) -> Callable[[Path], Any]:
    if ending == ".zst":
        arrow = _arrow()
        return lambda path: io.BufferedReader(arrow.input_stream(str(path), compression="zstd"), 1 << 20)
    openers: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return openers.get(ending, lambda path: path.open("rb"))


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise EnvironmentProblem(f"files of .zst and .parquet need the package 'pyarrow' ({error})") from error
    return pyarrow


def read_text(file: LocalFile) -> Document:
    """The file's text; nothing where `without_text` has a reason."""
    if without_text(file, None):
        return "", None
    packed = file.name.lower().endswith(_COMPRESSED)
    with opened(file) as stream:
        chunks, size = [], 0
        while chunk := stream.read(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if packed and size > LARGEST_LINE:
                raise CorpusError(
                    f"files: {file.path}: one text of more than {LARGEST_LINE:,} bytes; unpack it, or split it"
                )
    encoding = _encoding(chunks[0] if chunks else b"")
    try:
        return _decoded(chunks, encoding, "strict"), None
    except UnicodeDecodeError:
        return _decoded(chunks, encoding, "replace"), "replaced"


def _decoded(chunks: list[bytes], encoding: str, errors: str) -> str:
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)(errors)
    return "".join([*(decoder.decode(chunk) for chunk in chunks), decoder.decode(b"", True)])


def _encoding(head: bytes) -> str:
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8")


def _wrapped(stream: IO[bytes], newline: str) -> io.TextIOWrapper:
    """The stream as text, its line ends untouched; bytes that are not in its encoding become lone surrogates."""
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream, _CHUNK)  # type: ignore[type-var]
    encoding = _encoding(buffered.peek(4)[:4])
    errors = "surrogateescape" if encoding == "utf-8" else "replace"
    return io.TextIOWrapper(buffered, "utf-8-sig" if encoding == "utf-8" else encoding, errors, newline)


def _mended(text: str) -> Document:
    """The text with U+FFFD for bytes that were not in its encoding."""
    if text.isascii():
        return text, None
    try:
        text.encode()
        return text, None
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), "replaced"


def _lines(stream: IO[bytes], most: int = -1) -> Iterator[Document]:
    for line in _short(_wrapped(stream, "\n"), most):
        yield _mended(line)


def _short(text: io.TextIOWrapper, most: int = -1, delimiter: str = "") -> Iterator[str]:
    """The lines of a text.

    Args:
        most: characters after which a line is cut; else it is an error where it is far longer than documents are.
        delimiter: of cells, of which a line may not have too many either.
    """
    for line in iter(lambda: text.readline(most if most > 0 else LARGEST_LINE + 1), ""):
        if len(line) > LARGEST_LINE:
            raise OSError(f"a line of more than {LARGEST_LINE:,} characters")
        if delimiter and line.count(delimiter) > _CELLS:
            raise OSError(f"a line of more than {_CELLS:,} cells")
        yield line


def _json_documents(file: LocalFile, field: str) -> Iterator[Document]:
    with opened(file) as stream:
        for number, (line, note) in enumerate(_lines(stream), 1):
            if not line.strip():
                continue
            where = f"files: {file.path}, line {number}"
            try:
                refuse_room(line)
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CorpusError(f"{where}: not JSON: {error}") from error
            if not isinstance(row, dict) or field not in row:
                fields = ", ".join(sorted(row)) if isinstance(row, dict) else type(row).__name__
                raise CorpusError(f"{where}: no text in field '{field}' (it has: {fields}); set `field:`")
            value = row[field]
            if value is None:
                yield "", "null"
            elif isinstance(value, str):
                yield without_surrogates(value), note
            else:
                raise CorpusError(f"{where}: field '{field}' holds {_shown(value)}, not text; set `field:`")


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:40]}"


def without_surrogates(text: str) -> str:
    """The text with lone surrogates, which JSON can hold and UTF-8 cannot, as question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _rows(file: LocalFile, stream: IO[bytes]) -> Any:
    csv.field_size_limit(LARGEST_LINE)  # a cell is a document
    ending = next(ending for ending in _TABLES if _plain_name(file).endswith(ending))
    mark = _TABLES[ending]
    return csv.reader(_short(_wrapped(stream, ""), delimiter=mark), delimiter=mark, strict=True)


def _columns(file: LocalFile) -> list[str]:
    with opened(file) as stream:
        try:
            return next(_rows(file, stream), [])
        except csv.Error as error:
            raise CorpusError(f"files: {file.path}, line 1: {error}") from error


def _csv_documents(file: LocalFile, field: str) -> Iterator[Document]:
    """Cells are text as they stand: `NA`, `null` and numbers are not taken for anything else."""
    with opened(file) as stream:
        rows = _rows(file, stream)
        try:
            columns: list[str] = next(rows, [])
            if columns and field not in columns:
                raise CorpusError(f"files: {file.path} has no column '{field}'{_among(columns, field)}")
            for row in rows:
                if row and len(row) != len(columns):
                    raise CorpusError(
                        f"files: {file.path}, line {rows.line_num}: {len(row)} cells, and its header has {len(columns)}"
                    )
                if row:
                    yield _mended(row[columns.index(field)])
        except csv.Error as error:
            raise CorpusError(f"files: {file.path}, line {rows.line_num}: {error}") from error


@contextmanager
def _parquet(file: LocalFile, texts: list[str] | None = None) -> Iterator[Any]:
    """The table; equal texts of the columns `texts` stand in memory once."""
    arrow = _arrow()
    try:
        with arrow.parquet.ParquetFile(file.path, read_dictionary=texts) as table:
            yield table
    except (OSError, arrow.ArrowException) as error:
        raise CorpusError(f"files: cannot read {file.path}: {str(error).splitlines()[0][:200]}") from error


def _parquet_problem(file: LocalFile, field: str) -> str:
    with _parquet(file) as table:
        schema = table.schema_arrow
        if field not in schema.names:
            return f"{file.path} has no column '{field}'{_among(schema.names, field)}; set `field:`"
        found = schema.field(field).type
        types = _arrow().types
        plain = found.value_type if types.is_dictionary(found) else found
        if not (types.is_string(plain) or types.is_large_string(plain) or types.is_string_view(plain)):
            return f"{file.path}: column '{field}' holds {found}, not text; set `field:`"
    return ""


def _parquet_documents(file: LocalFile, field: str) -> Iterator[Document]:
    problem = _parquet_problem(file, field)
    if problem:
        raise CorpusError(f"files: {problem}")
    with _parquet(file, [field]) as table:
        _refuse_unpacked(file, table, field)
        for rows in table.iter_batches(_ROWS, columns=[field]):
            for cell in rows.column(0):  # one text at a time: a short file may hold a long one many times
                text = cell.as_py()
                yield ("", "null") if text is None else (text, None)


def _refuse_unpacked(file: LocalFile, table: Any, field: str) -> None:
    for number in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(number)
        for index in range(group.num_columns):
            column = group.column(index)
            if column.path_in_schema != field:
                continue
            most = max(_ALWAYS, _PACKED_AT_MOST * column.total_compressed_size)
            if column.total_uncompressed_size > most:
                raise CorpusError(
                    f"files: {file.path}: column '{field}' unpacks to {column.total_uncompressed_size:,} bytes, more "
                    f"than {_PACKED_AT_MOST} times its size, which no text does"
                )
