"""The `procray` command.

Exit codes: 0 ok, 1 some phases failed, 2 bad input, 3 environment, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Runs one command and turns everything a user can cause into a plain message and an exit code."""
    import typer

    from procray.cli.app import app
    from procray.errors import ProcrayError
    from procray.redaction import redact

    try:
        code = app(standalone_mode=False)
    except ProcrayError as error:
        text = redact(str(error))
        print(f"procray: {text}" if "\n" not in text else text, file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    except (OSError, MemoryError) as error:
        print(f"procray: {type(error).__name__}: {redact(str(error)) or 'not enough memory'}", file=sys.stderr)
        code = 3
    except Exception as error:
        show = getattr(error, "show", None)  # the command-line parser's own errors
        if show is None:
            raise
        show()
        code = getattr(error, "exit_code", 2)
    sys.exit(code if isinstance(code, int) else 0)
