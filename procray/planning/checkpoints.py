"""The checkpoints from outside that a sweep file names, each looked up once."""

from __future__ import annotations

import os
from typing import Any

from procray.errors import NotHere, ProcrayError
from procray.files import canonical_json
from procray.model.outside import Outside, look_up
from procray.planning.inspection import Inspection
from procray.spec.cells import Pick
from procray.spec.paths import Path


class Checkpoints:
    """What is known of them; `found` is by id."""

    def __init__(self, inspection: Inspection):
        self.found: dict[str, Outside] = {}
        self._inspection = inspection
        self._looked_up: dict[str, Outside | ProcrayError] = {}  # by how the file names them

    def read(self, where: Path, value: Any, pick: Pick) -> Outside | None:
        """The checkpoint that a value of the file names; None where it cannot be used, which is reported."""
        key = canonical_json(value)
        if key not in self._looked_up:
            if self._inspection.light and isinstance(value, dict):
                self._looked_up[key] = Outside("0" * 16, "", dict(value), None, None)
            else:
                try:
                    self._looked_up[key] = look_up(self._placed(value))
                except ProcrayError as error:
                    self._looked_up[key] = error
        found = self._looked_up[key]
        if isinstance(found, ProcrayError):
            self._inspection.report(where, pick, str(found), not_here=isinstance(found, NotHere))
            return None
        self.found[found.id] = found
        return found

    def _placed(self, value: Any) -> Any:
        """The same with an absolute path: a relative one starts at the sweep file's folder."""
        if not isinstance(value, dict):
            return value
        return {**value, "path": str(self._inspection.spec.folder / os.path.expanduser(value["path"]))}
