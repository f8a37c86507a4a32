"""Documents of local files in batches, from any place on."""

from __future__ import annotations

from procray.corpora import documents
from procray.corpora.documents import batches, read_documents
from procray.corpora.formats import documents_of
from procray.corpora.local import LocalFile


def test_batches_go_on_from_any_position(monkeypatch):
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 4)
    everything = [f"text {n}" for n in range(31)]
    whole = list(batches(iter(everything), None))
    assert [text for batch in whole for text in batch.texts] == everything
    assert len(whole) > 3
    for number, batch in enumerate(whole):
        again = list(batches(iter(everything), batch.position))
        assert again == whole[number:]


def test_explicit_validation_files_and_blank_ones(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name)
    (tmp_path / "d.txt").write_text(" \n")
    files = [LocalFile(f"{name}.txt", tmp_path / f"{name}.txt") for name in "abd"]
    kept = [LocalFile("c.txt", tmp_path / "c.txt")]
    read = lambda file: documents_of(file, None)
    assert list(read_documents(files, kept, read, None, "train")) == ["a", "b"]
    assert list(read_documents(files, kept, read, None, "validation")) == ["c"]
