"""Character cards inside PNG pictures: base64 JSON in a tEXt chunk, `ccv3` for V3 and `chara` for V1 and V2."""

import base64
import binascii
import io
import struct
from typing import TYPE_CHECKING

from elysia_chat.kb.errors import CardError

if TYPE_CHECKING:
    from elysia_chat.kb.card import CharacterCard

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORDS = ("ccv3", "chara")


def card_json_of_png(content: bytes, name: str) -> bytes:
    """Return the JSON of the card that a PNG carries, that of V3 where there are both.

    Raises:
        CardError: the PNG is broken or carries no card.
    """
    texts = _texts(content, name)
    for keyword in _KEYWORDS:
        if keyword in texts:
            try:
                return base64.b64decode("".join(texts[keyword].split()), validate=True)
            except (binascii.Error, ValueError) as error:
                msg = f"The card in {name} is broken: its '{keyword}' text is not base64."
                raise CardError(msg) from error
    msg = f"{name} carries no character card: a card's picture has a text chunk 'ccv3' or 'chara'."
    raise CardError(msg)


def embed_card(picture: bytes, card: "CharacterCard") -> bytes:
    """Return a PNG with a card in it, as V3 and as V2 for older programs, replacing any that it had.

    Raises:
        CardError: the picture is not a PNG.
    """
    from PIL import Image, UnidentifiedImageError
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for keyword, version in (("ccv3", card.as_version(3)), ("chara", card.as_version(2))):
        info.add_text(keyword, base64.b64encode(version.to_json().encode()).decode("ascii"))
    target = io.BytesIO()
    try:
        with Image.open(io.BytesIO(picture), formats=["PNG"]) as image:
            image.save(target, "PNG", pnginfo=info)
    except (UnidentifiedImageError, OSError, SyntaxError, struct.error) as error:
        msg = "A card can only be put into a PNG picture, and this is none."
        raise CardError(msg) from error
    return target.getvalue()


def _texts(content: bytes, name: str) -> dict[str, str]:
    """Return the text chunks of a PNG, those after the pixels included."""
    from PIL import Image, UnidentifiedImageError
    from PIL.PngImagePlugin import PngImageFile

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            found = {str(key): str(value) for key, value in image.info.items() if isinstance(value, str)}
            if not any(keyword in found for keyword in _KEYWORDS) and isinstance(image, PngImageFile):
                found.update({key: str(value) for key, value in image.text.items()})
            return found
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        msg = f"{name} is a broken PNG picture, so no card can be read from it."
        raise CardError(msg) from error
