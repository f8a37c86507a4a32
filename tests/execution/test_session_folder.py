"""The folder of a local Ray: whoever shares /tmp leaves it alone while its command lives, and takes it away after."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from procray.execution.session_folder import session_folder

HOLD = "import sys, pathlib; from procray.execution.session_folder import session_folder as f\n"
HOLD += "with f(pathlib.Path(sys.argv[1])) as folder: print(folder, flush=True); input()"
CONTAINER = ["unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child", "--mount-proc"]


def others() -> list:
    """A command on this system, and one in a container: there this process cannot see it, nor it this one."""
    refused = shutil.which("unshare") is None or subprocess.run([*CONTAINER, "true"], check=False).returncode
    skipped = pytest.mark.skipif(bool(refused), reason="this system makes no PID namespaces for users")
    return [pytest.param([], id="here"), pytest.param(CONTAINER, id="container", marks=skipped)]


@pytest.mark.parametrize("where", others())
def test_it_stays_while_its_command_lives_and_goes_when_that_was_killed(tmp_path, where):
    words = [*where, sys.executable, "-c", HOLD, str(tmp_path)]
    other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    theirs = tmp_path / os.path.basename(other.stdout.readline().strip())
    try:
        assert theirs.is_dir()
        with session_folder(tmp_path) as mine:
            assert mine.stat().st_mode & 0o777 == 0o700
            assert theirs.is_dir(), "its command lives"
        assert not mine.exists()
    finally:
        other.kill()
        other.wait()  # before its input closes: at an end of the input it would end, and clean up, by itself
        other.communicate()
    assert theirs.is_dir()
    with session_folder(tmp_path) as mine:
        assert list(tmp_path.iterdir()) == [mine]
    assert not list(tmp_path.iterdir())


def test_neither_links_nor_files_of_such_a_name_are_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / f"procray-{os.getuid()}-1-x").symlink_to(precious)
    (tmp_path / f"procray-{os.getuid()}-2-x").write_text("")
    with session_folder(tmp_path):
        assert precious.is_dir()
        assert len(list(tmp_path.glob("procray-*"))) == 3
