"""The script that changes the source a little and looks whether tests notice."""

from __future__ import annotations

import ast
import textwrap

import mutations
import pytest

SOURCE = '''\
"""Words."""

from __future__ import annotations

LIMIT = 3
TYPE_CHECKING = False
if TYPE_CHECKING:
    NEVER = 1 + 1


def smallest(values: list[int] | None, least: int = 1) -> int:
    """More words."""
    assert values is not None, "given"
    if not values or len(values) > LIMIT:
        raise ValueError(f"more than {LIMIT + 1} or none")
    return max(least, min(values))


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> bool:
        self.count += 2
        return False
'''
WEAK = "import code_\n\ndef test_one():\n    assert code_.smallest([5]) == 5\n"
STRONG = """\
import pytest
import code_

def test_all():
    assert code_.LIMIT == 3
    assert code_.smallest([5, 7]) == 5
    assert code_.smallest([0, 2, 9]) == 1
    for wrong in ([], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="more than 4 or none"):
            code_.smallest(wrong)
    counter = code_.Counter()
    assert counter.count == 0
    counter.add()
    assert counter.count == 2
"""


def changes(source: str = SOURCE) -> dict[tuple[str, str, str], mutations.Mutant]:
    return {(one.key.inside, one.key.before, one.key.after): one for one in mutations.mutants("f.py", source)}


def test_what_is_changed_and_what_is_not():
    found = changes()
    condition = "if not values or len(values) > LIMIT:"
    words = "raise ValueError(f'more than {LIMIT + 1} or none')"
    assert set(found) == {
        ("", "LIMIT = 3", "LIMIT = 4"),
        ("", "TYPE_CHECKING = False", "TYPE_CHECKING = True"),
        ("smallest", "def smallest(values: list[int] | None, least: int=1) -> int:",
         "def smallest(values: list[int] | None, least: int=2) -> int:"),
        ("smallest", condition, "if not values and len(values) > LIMIT:"),
        ("smallest", condition, "if values or len(values) > LIMIT:"),
        ("smallest", condition, "if not values or len(values) >= LIMIT:"),
        ("smallest", condition, "if not values or len(values) <= LIMIT:"),
        ("smallest", words, "pass"),
        ("smallest", words, "raise ValueError(f'more than {LIMIT - 1} or none')"),
        ("smallest", words, "raise ValueError(f'more than {LIMIT + 2} or none')"),
        ("smallest", "return max(least, min(values))", "return min(least, min(values))"),
        ("smallest", "return max(least, min(values))", "return max(least, max(values))"),
        ("smallest", "return max(least, min(values))", "return None"),
        ("Counter.__init__", "self.count = 0", "self.count = 1"),
        ("Counter.add", "self.count += 2", "self.count -= 2"),
        ("Counter.add", "self.count += 2", "self.count += 3"),
        ("Counter.add", "self.count += 2", "pass"),
        ("Counter.add", "return False", "return True"),
    }  # fmt: skip
    plain = ast.dump(ast.parse(SOURCE))
    for mutant in found.values():
        assert ast.dump(ast.parse(mutant.make())) != plain
    lines = {mutant.key.before: mutant.line for mutant in found.values()}
    assert (lines["LIMIT = 3"], lines[condition], lines["return False"]) == (5, 14, 25)


def test_the_same_seed_draws_the_same_also_beside_other_code():
    found = mutations.mutants("f.py", SOURCE)
    drawn = mutations.choose(found, 6, 0)
    assert len(drawn) == len(set(drawn)) == 6
    assert len({mutant.key.before for mutant in drawn}) == 6, "another statement each, as long as there is one"
    assert drawn == mutations.choose(found[::-1], 6, 0) != mutations.choose(found, 6, 1)
    assert sorted(drawn, key=lambda mutant: mutant.line) == drawn
    assert set(mutations.choose(found, 99, 0)) == set(found)
    assert mutations.choose([], 5, 0) == []
    more = mutations.mutants("f.py", SOURCE + "\n\ndef more(a):\n    return a\n")
    kept = {mutant.key for mutant in mutations.choose(more, 6, 0)} & {mutant.key for mutant in drawn}
    assert len(kept) >= 5


@pytest.fixture
def project(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "code_.py").write_text(SOURCE)
    (tmp_path / "tests" / "test_code.py").write_text(WEAK)
    (tmp_path / "tests" / "mutations.yaml").write_text(
        textwrap.dedent("""\
        copied: [code_.py, tests]
        preload: [pytest]
        tests: {code_.py: [tests/test_c*.py]}
        groups: {all: ["*.py"], none: ["*.py", "!code_*"], lost: [gone.py]}
        """)
    )
    (tmp_path / "tests" / "mutations_known.yaml").write_text(
        textwrap.dedent("""\
        - file: code_.py
          inside: ""
          before: TYPE_CHECKING = False
          after: TYPE_CHECKING = True
          why: only type checkers read it
        - file: code_.py
          inside: Counter.add
          before: return False
          after: return True
          why: nobody asks
        - {file: code_.py, inside: Counter.add, before: x, after: y, why: it is gone}
        """)
    )
    return tmp_path


def test_what_nobody_notices_is_told_with_its_place(project, capfd):
    assert mutations.main(["all", "--count", "4", "--root", str(project)]) == 1
    told = capfd.readouterr().out
    assert "mutations_known.yaml speaks of what is gone: x -> y" in told
    assert "code_.py:5 \n    before: LIMIT = 3\n    after:  LIMIT = 4" in told
    assert "of 4 changes noticed" in told
    assert (project / "code_.py").read_text() == SOURCE, "the tree itself is left alone"
    assert sorted(path.name for path in project.iterdir()) == ["code_.py", "tests"]


def test_good_tests_notice_every_change_but_those_that_change_nothing(project, capfd):
    (project / "tests" / "test_code.py").write_text(STRONG)
    assert mutations.main(["code_.py", "--count", "99", "--least", "100", "--root", str(project)]) == 0
    told = capfd.readouterr().out
    assert "16 of 16 changes noticed, 100 % (3 known to change nothing)" in told
    assert "SURVIVED" not in told


def test_an_endless_loop_is_noticed(project, monkeypatch):
    endless = "import time\n\ndef test_sleeps():\n    time.sleep(600)\n"
    (project / "tests" / "test_code.py").write_text(endless)
    assert mutations.noticed(project, ["tests/test_code.py"], 3.0) == (True, "no end in 3 s")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["al"], "'al' is neither a file nor a group (groups: all, none, lost)"),
        (["lost"], "group 'lost': nothing is called gone.py"),
        (["tests/mutations.yaml"], "no tests belong to tests/mutations.yaml"),
    ],
)
def test_names_that_mean_nothing_are_refused(project, names, message):
    with pytest.raises(SystemExit, match=message.replace("(", r"\(").replace(")", r"\)")):
        mutations.main([*names, "--root", str(project)])


def test_tests_that_fail_anyway_are_no_judges(project):
    (project / "tests" / "test_code.py").write_text("def test_no():\n    assert False\n")
    with pytest.raises(SystemExit, match=r"code_\.py: its tests fail without any change: tests/test_code.py::test_no"):
        mutations.main(["all", "--root", str(project)])


def test_every_group_has_its_files_and_every_file_its_tests():
    settings = mutations.read_settings(mutations.ROOT)
    for group in settings.groups:
        files = settings.files(mutations.ROOT, group)
        assert files
        for file in files:
            assert settings.tests_of(mutations.ROOT, file)
    assert all(reason for reason in mutations.read_known(mutations.ROOT).values())
    assert "procray/report/numbers/headline.py" in settings.files(mutations.ROOT, "claims")
