"""Which tests reach which statements, also through a fixture that another test has set up."""

import ast
import textwrap

import mutations
import reaching

SOURCE = '''\
"""Words."""

from __future__ import annotations

LIMIT = 3


def made(number: int) -> int:
    """More words."""
    if number > LIMIT:
        return LIMIT
    elif number < 0:
        raise ValueError("below")
    for _ in range(number):
        number += 1
    return number


class Other:
    def never(self) -> None:
        made(1)
'''
TESTS = """\
import time
import pytest
import code_

@pytest.fixture(scope="module")
def small():
    return code_.made(1)

def test_first(small):
    assert small == 2

def test_second(small):
    time.thread_time()
    sum(range(3_000_000))
    assert small == 2

def test_large():
    assert code_.made(9) == 3

def test_nothing():
    pass
"""


def test_a_module_with_notes_does_what_it_did():
    noted = reaching.noted(SOURCE, "code_.py")
    space: dict = {}
    exec(compile(noted, "code_.py", "exec"), space)
    assert [space["made"](number) for number in (1, 3, 9)] == [2, 6, 3]
    assert ast.get_docstring(ast.parse(noted)) == "Words."
    lines = [line for line in range(1, 30) if f"_reached_(('code_.py', {line}))" in noted]
    assert lines == [9, 10, 11, 12, 13, 14, 15, 16, 21]


def test_tests_are_chosen_by_what_they_reach_the_quickest_first(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "code_.py").write_text(reaching.noted(SOURCE, "code_.py"))
    (tmp_path / "tests" / "test_code.py").write_text(textwrap.dedent(TESTS))
    assert mutations.noticed(tmp_path, ["tests/test_code.py"], 600.0, tmp_path / "notes.json") == (False, "")
    reach = reaching.read(tmp_path / "notes.json")

    def tests(first: int, last: int) -> list[str]:
        return [one.partition("::")[2] for one in reach.tests("code_.py", ["tests/test_code.py"], first, last)]

    assert tests(11, 11) == ["test_large"]
    assert set(tests(15, 15)) == {"test_first", "test_second"}  # the second one by the fixture of the first
    assert set(tests(8, 16)) == set(tests(0, 0)) == {"test_first", "test_second", "test_large"}
    assert tests(0, 0)[-1] == "test_second"
    assert tests(13, 13) == tests(21, 21) == []
    assert reach.tests("code_.py", ["tests/test_other.py"], 8, 16) == []
    assert reach.tests("other.py", ["tests/test_code.py"], 0, 0) == []
    assert reach.together(["tests/test_code.py"]) >= reach.together(["tests/test_code.py::test_second"]) > 0
