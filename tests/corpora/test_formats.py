"""Local files are read as their names say, whole or by line or by cell, and nothing is read as something else."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma

import pyarrow
import pyarrow.parquet
import pytest

from procray.corpora import recipe
from procray.corpora.formats import documents_of, problem_of, without_text
from procray.corpora.local import LocalFile
from procray.errors import CorpusError

TEXT = "Ein Wörterbuch — 漢字\nsecond line\n"
ROWS = [{"body": "one Ü \ud800"}, {"body": "two\nlines"}, {"body": None}, {"body": ""}]


def zstd(data):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESSIONS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


def written(folder, name, content):
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    return LocalFile(name, folder / name)


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_text_and_lines_in_every_compression(tmp_path, ending):
    compress = COMPRESSIONS[ending]
    # Of two parts, as programs that compress in parallel write them.
    text = written(tmp_path, f"a.txt{ending}", compress(TEXT.encode()) + compress(b"more"))
    assert list(documents_of(text, None)) == [(TEXT + "more", None)]
    rows = written(tmp_path, f"a.jsonl{ending}", compress(lines(ROWS[:2])) + compress(lines(ROWS[2:])))
    expected = [("one Ü ?", None), ("two\nlines", None), ("", "null"), ("", None)]  # a lone surrogate is no text
    assert list(documents_of(rows, "body")) == expected
    assert without_text(text, None) == problem_of(text, None) == problem_of(rows, "body") == ""


@pytest.mark.parametrize("ending", list(COMPRESSIONS)[1:])
def test_damaged_compression_is_named(tmp_path, ending):
    file = written(tmp_path, f"a.txt{ending}", COMPRESSIONS[ending](TEXT.encode() * 500)[:-12])
    with pytest.raises(CorpusError, match=rf"cannot read .*a\.txt\{ending}"):
        list(documents_of(file, None))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark(tmp_path, encoding):
    file = written(tmp_path, "a.txt", TEXT.encode(encoding))
    assert list(documents_of(file, None)) == [(TEXT, None)]
    assert without_text(file, None) == ""
    file = written(tmp_path, "a.jsonl", '{"text": "漢字"}\n{"text": "b"}\n'.encode(encoding))
    assert list(documents_of(file, None)) == [("漢字", None), ("b", None)]
    file = written(tmp_path, "a.csv", "text\n漢字\n".encode(encoding))
    assert list(documents_of(file, "text")) == [("漢字", None)]


def test_big_endian_mark(tmp_path):
    file = written(tmp_path, "a.txt", b"\xfe\xff" + TEXT.encode("utf-16-be"))
    assert list(documents_of(file, None)) == [(TEXT, None)]


def test_bytes_of_another_encoding_are_replaced_and_noted(tmp_path):
    assert list(documents_of(written(tmp_path, "a.txt", b"caf\xe9"), None)) == [("caf\ufffd", "replaced")]
    assert list(documents_of(written(tmp_path, "a.jsonl", b'{"text": "caf\xe9"}'), None)) == [("caf\ufffd", "replaced")]
    assert list(documents_of(written(tmp_path, "a.csv", b"text\ncaf\xe9\nb\n"), "text")) == [
        ("caf\ufffd", "replaced"),
        ("b", None),
    ]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", b"\x89PNG\0\0", "binary"),
        ("a.txt", b"%PDF-1.7 ...", "a PDF"),
        ("a.docx", b"PK\x03\x04....", "a zip archive or an office document"),
        ("a.txt", gzip.compress(b"text", mtime=0), "gzip without .gz in its name"),
        ("a.txt", zstd(b"text"), "zstd without .zst in its name"),
        ("a.txt", b"", ""),
    ],
)
def test_what_has_no_text_has_a_reason(tmp_path, name, content, why):
    file = written(tmp_path, name, content)
    assert without_text(file, None) == why
    assert list(documents_of(file, None)) == [("", None)]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.txt", "a"])
def test_lines_of_json_are_not_trained_as_raw_text(tmp_path, name):
    data = b"\n" + lines([{"content": "text", "id": 1}])
    file = written(tmp_path, name, gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(CorpusError) as error:
        recipe({"files": str(file.path)}, "byte")
    assert "begins with a line of JSON; name the field that holds the text with `field:`" in str(error.value)
    assert "(it has: content, id), or the file *.jsonl" in str(error.value)
    assert list(documents_of(file, "content")) == [("text", None)]
    assert problem_of(file, "content") == ""


def test_every_file_is_named_at_once_up_to_a_few(tmp_path):
    for number in range(7):
        written(tmp_path, f"{number}.json", lines([{"text": "a"}]))
    with pytest.raises(CorpusError, match=r"0\.json .*4\.json .*; and 2 more"):
        recipe({"files": f"{tmp_path}/*.json"}, "byte")


def test_a_long_first_line_of_json_is_seen(tmp_path):
    file = written(tmp_path, "a.json", lines([{"text": "a" * 1_100_000}]))
    assert "begins with a line of JSON" in problem_of(file, None)


@pytest.mark.parametrize("content", ['{\n  "text": "a"\n}\n', "[1, 2]\n", "{ shell; }\n", "{}\nand so on", "{"])
def test_other_text_with_braces_is_text(tmp_path, content):
    file = written(tmp_path, "a.txt", content)
    if content.startswith("{}"):
        assert "begins with a line of JSON" in problem_of(file, None)
    else:
        assert problem_of(file, None) == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a"', "line 2: not JSON"),
        ('{"body": "a", "id": 1}', r"line 2: no text in field 'text' \(it has: body, id\)"),
        ("[1]", "it has: list"),
        ('{"text": 7}', "line 2: field 'text' holds int 7, not text; set `field:`"),
    ],
)
def test_bad_json_names_file_and_line(tmp_path, line, message):
    file = written(tmp_path, "a.jsonl", '{"text": "good"}\n' + line + "\n")
    with pytest.raises(CorpusError, match=message):
        list(documents_of(file, None))


def test_a_wrong_field_is_told_when_the_corpus_is_named(tmp_path):
    file = written(tmp_path, "a.jsonl", lines([{"content": "a", "id": 1}]))
    with pytest.raises(
        CorpusError, match=r"line 1: no field 'contnt' \(it has: content, id; did you mean 'content'\?\)"
    ):
        recipe({"files": str(file.path), "field": "contnt"})


def test_cells_of_a_csv_are_text_as_they_stand(tmp_path):
    path = tmp_path / "a.csv"
    cells = ["None", "NA", "null", "12", "", 'a "quote", a\nline', "Ü" * 200_000]
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *([n, cell] for n, cell in enumerate(cells))])
    assert list(documents_of(LocalFile("a.csv", path), "text")) == [(cell, None) for cell in cells]
    tabs = written(tmp_path, "a.tsv", "id\ttext\n1\ta,b\n")
    assert list(documents_of(tabs, "text")) == [("a,b", None)]


def test_a_csv_needs_its_column(tmp_path):
    file = written(tmp_path, "a.csv", "id,body\n1,a\n")
    with pytest.raises(CorpusError, match=r"is a table; name the column .* `field:` \(it has: id, body\)"):
        recipe({"files": str(file.path)})
    with pytest.raises(CorpusError, match=r"has no column 'bdy' \(it has: id, body; did you mean 'body'\?\)"):
        recipe({"files": str(file.path), "field": "bdy"})


@pytest.mark.parametrize(
    ("content", "message"),
    [("text\na\nb,c\n", "line 3: 2 cells, and its header has 1"), ('text\n"a\n', "line 2: unexpected end of data")],
)
def test_a_broken_csv_names_its_line(tmp_path, content, message):
    file = written(tmp_path, "a.csv", content)
    with pytest.raises(CorpusError, match=rf"a\.csv, {message}"):
        list(documents_of(file, "text"))


def test_parquet(tmp_path):
    table = pyarrow.table({"text": ["one", None, "three"], "id": [1, 2, 3]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    file = LocalFile("a.parquet", tmp_path / "a.parquet")
    assert list(documents_of(file, None)) == [("one", None), ("", "null"), ("three", None)]
    with pytest.raises(CorpusError, match=r"column 'id' holds int64, not text"):
        recipe({"files": str(file.path), "field": "id"})
    with pytest.raises(CorpusError, match=r"no column 'txt' \(it has: text, id; did you mean 'text'\?\)"):
        recipe({"files": str(file.path), "field": "txt"})
    damaged = written(tmp_path, "b.parquet", b"PAR1 and nothing of it")
    with pytest.raises(CorpusError, match=r"cannot read .*b\.parquet"):
        recipe({"files": str(damaged.path)})
