"""The `procray` command.

Exit codes: 0 done, 1 some phases failed, 2 bad input, 3 environment, 4 out of time (`--max-hours`; the same command
goes on), and 128 plus the number of the signal that interrupted it: 129 hung up, 130 Ctrl-C, 143 terminated.
"""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Runs one command and turns everything a user can cause into a plain message and an exit code."""
    from procray.children import leave_the_users_folder

    leave_the_users_folder()
    gc.disable()  # imports make nothing that could be thrown away
    import typer

    from procray.cli.app import app
    from procray.cli.terminal import say, speak_plainly
    from procray.errors import ProcrayError

    gc.enable()
    speak_plainly()
    try:
        code = app(standalone_mode=False)
    except ProcrayError as error:
        text = _redacted(error)
        say(f"procray: {text}" if "\n" not in text else text)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    except (OSError, MemoryError) as error:
        say(f"procray: {type(error).__name__}: {_redacted(error) or 'not enough memory'}")
        code = 3
    except Exception as error:
        show = getattr(error, "show", None)  # the command-line parser's own errors
        if show is None:
            raise
        show()
        code = getattr(error, "exit_code", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _redacted(error: Exception) -> str:
    from procray.redaction import redact  # only where something went wrong: its patterns take a while

    return redact(str(error))
