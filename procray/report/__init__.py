"""Curves, tables, lineage drawings and the page that sum up a sweep. Reads plans and stores; trains nothing.

paths = write_report(plan, store)          # page, pictures, tables
print(answer(paths.results, paths.page))   # the same in plain text
"""

from procray.report.figures.lineage import lineage_svg
from procray.report.numbers.crossing import tokens_to_match
from procray.report.numbers.interchange import results_json
from procray.report.numbers.results import Results
from procray.report.numbers.summary import summarise
from procray.report.page.answer import answer
from procray.report.page.lineage_text import lineage_text
from procray.report.page.write import ReportPaths, write_report

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
