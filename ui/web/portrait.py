"""A persona's picture, small enough to travel inside the page, so that no file has to be served."""

import base64
import io
import logging
from functools import lru_cache
from pathlib import Path

_PIXELS = 384
_log = logging.getLogger(__name__)


def portrait_uri(picture: Path | None) -> str:
    """Return a picture as a data URI, at most 384 pixels wide and high; "" where there is none that can be read."""
    if picture is None:
        return ""
    try:
        return _encoded(picture, picture.stat().st_mtime_ns)
    except (OSError, ValueError) as error:
        _log.warning("Cannot show the picture %s: %s", picture, error)
        return ""


@lru_cache(maxsize=32)
def _encoded(picture: Path, _changed_at: int) -> str:
    from PIL import Image

    try:
        with Image.open(picture) as image:
            image.draft("RGB", (_PIXELS, _PIXELS))
            image.thumbnail((_PIXELS, _PIXELS))
            target = io.BytesIO()
            image.convert("RGBA" if "A" in image.getbands() else "RGB").save(target, "WEBP", quality=86)
    except (Image.DecompressionBombError, SyntaxError) as error:
        raise ValueError(str(error)) from error
    return "data:image/webp;base64," + base64.b64encode(target.getvalue()).decode("ascii")
