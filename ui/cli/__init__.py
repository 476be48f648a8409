"""The command line: `elysia-chat`, one module per group of commands.

Every command writes its result to stdout, as text or as one JSON object (`--json`), and everything else to stderr.
"""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command that the process was started with, and end with its exit code.

    0 is success, 1 an error that the user is told of, 2 a command line that cannot be understood, 130 Ctrl-C.
    """
    from elysia_chat.ui.cli.app import app
    from elysia_chat.ui.cli.streams import prepare_streams

    prepare_streams(debug="--debug" in sys.argv)
    try:
        app(prog_name="elysia-chat")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    sys.exit(_flushed(code))


def _flushed(code: int) -> int:
    """Write what is still held back; a reader that has gone away (`| head`) is no error worth a traceback."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code
