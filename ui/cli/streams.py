"""Standard streams of the process, and what may be written to a terminal."""

import io
import logging
import re
import sys
import warnings

# Control characters but tab and newline, and the marks that reverse the order in which text is shown: a document or a
# model must not be able to move the cursor, hide text or rename the window.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def prepare_streams(debug: bool) -> None:
    """Make the standard streams UTF-8 whatever the locale, and keep libraries' warnings from the user.

    Args:
        debug: show warnings and the libraries' log as well.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace" if stream is sys.stdin else "backslashreplace")
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.INFO if debug else logging.ERROR)
    logging.getLogger("elysia_chat").setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        warnings.simplefilter("ignore")


def printable(text: str) -> str:
    """Return the text without characters that a terminal obeys instead of showing."""
    return _UNPRINTABLE.sub("", text)
