"""Curves, tables, lineage drawings and the page that sum up a sweep. Reads plans and stores; trains nothing."""

from procray.report.match import tokens_to_match

__all__ = ["tokens_to_match"]
