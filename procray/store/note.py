"""A word from the command to its runners, in a place that all of them see: the store's."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from procray import links
from procray.errors import StoreError
from procray.files import read_bytes
from procray.store.objects import PATIENCE, Objects

LARGEST_NOTE = 1 << 16  # bytes


class Note(Protocol):
    """A small text that is replaced as a whole.

    Attributes:
        address: for `open_note` in another process.
        look_every: seconds between two looks, at least.
    """

    address: str
    look_every: float

    def write(self, text: str) -> None: ...

    def read(self) -> str:
        """The text; empty when there is none."""

    def remove(self) -> None: ...


def open_note(address: str) -> Note:
    """The note in a file or an object."""
    return _ObjectNote(address) if "://" in address else _FileNote(address)


class _FileNote:
    # Its content changes, not its name: on NFS an open sees a new content at once, a new name only after the
    # folder's cache has run out.
    look_every = 0.25

    def __init__(self, address: str):
        self.address = address
        self._path = Path(address)

    def write(self, text: str) -> None:
        try:  # over what stands there: works on a full disk too
            with open(self._path, "r+", encoding="utf-8", opener=links.open_file) as file:
                file.write(text)
                file.truncate()
        except FileNotFoundError:
            links.make_folder(self._path.parent)
            with open(self._path, "w", encoding="utf-8", opener=links.open_file) as file:
                file.write(text)

    def read(self) -> str:
        try:
            return read_bytes(self._path, LARGEST_NOTE).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        except ValueError as error:
            raise StoreError(f"{self._path} is no word of a command: {error}") from None

    def remove(self) -> None:
        links.remove(self._path)


class _ObjectNote:
    look_every = 5.0  # each look is a request that costs money

    def __init__(self, address: str):
        self.address = address
        folder, _, self._name = address.rpartition("/")
        self._objects = Objects(folder, PATIENCE)

    def write(self, text: str) -> None:
        self._objects.put(self._name, text.encode(), patience=10.0)

    def read(self) -> str:
        found = self._objects.get(self._name, LARGEST_NOTE, patience=0.0)
        return found[0].decode("utf-8", "replace") if found else ""

    def remove(self) -> None:
        self._objects.remove([self._name])
