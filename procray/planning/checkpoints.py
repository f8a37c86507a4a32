"""The checkpoints from outside that a sweep file names, each looked up once."""

from __future__ import annotations

from typing import Any

from procray.errors import ProcrayError
from procray.files import canonical_json
from procray.model.outside import Outside, look_up
from procray.planning.inspection import Inspection
from procray.spec.axes import Path, Pick


class Checkpoints:
    """What is known of them; `found` is by id."""

    def __init__(self, inspection: Inspection):
        self.found: dict[str, Outside] = {}
        self._inspection = inspection
        self._looked_up: dict[str, Outside | str] = {}  # by how the file names them; a text is a problem

    def read(self, where: Path, value: Any, pick: Pick) -> Outside | None:
        """The checkpoint that a value of the file names; None where it cannot be used, which is reported."""
        key = canonical_json(value)
        if key not in self._looked_up:
            if self._inspection.light and isinstance(value, dict):
                self._looked_up[key] = Outside("0" * 16, "", dict(value), None, None)
            else:
                try:
                    self._looked_up[key] = look_up(value)
                except ProcrayError as error:
                    self._looked_up[key] = str(error)
        found = self._looked_up[key]
        if isinstance(found, str):
            self._inspection.report(where, pick, found)
            return None
        self.found[found.id] = found
        return found
