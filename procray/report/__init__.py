"""Curves, tables, lineage drawings and the page that sum up a sweep. Reads plans and stores; trains nothing.

paths = write_report(plan, store)          # page, pictures, tables
print(answer(paths.results, paths.page))   # the same in plain text
"""

from procray.report.answer import answer
from procray.report.interchange import results_json
from procray.report.lineage import lineage_svg, lineage_text
from procray.report.match import tokens_to_match
from procray.report.results import Results, summarise
from procray.report.write import ReportPaths, write_report

__all__ = [
    "ReportPaths",
    "Results",
    "answer",
    "lineage_svg",
    "lineage_text",
    "results_json",
    "summarise",
    "tokens_to_match",
    "write_report",
]
