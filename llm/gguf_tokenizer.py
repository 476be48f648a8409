"""The tokenizer of a model folder in GGUF's terms.

llama.cpp's "llama" tokenizer is sentencepiece's: every piece has a score, and the pair whose piece scores highest is
joined first. transformers keeps such tokenizers as a list of joins in the order of these scores, so the scores can be
read back from it: a piece whose first join stands at place n scores -n.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysia_chat.llm.errors import GgufError

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
_GENERATION_TAG = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")


@dataclass(frozen=True)
class GgufTokenizer:
    """Pieces by id with score and type, and how a text begins.

    Attributes:
        pieces, scores, types: one for each row of the embeddings.
        space_prefix: whether a space is put before a text.
        bos_first: whether a text begins with the token of the beginning.
        bos, eos, unknown, padding: ids, None where there is none.
        end_of_turn: id of the token that ends an answer, where it is not `eos`.
        chat_template: in Jinja, None where there is none.
    """

    pieces: list[str]
    scores: list[float]
    types: list[int]
    space_prefix: bool
    bos_first: bool
    bos: int | None
    eos: int | None
    unknown: int | None
    padding: int | None
    end_of_turn: int | None
    chat_template: str | None


def read_tokenizer(folder: Path, rows: int, ends: list[int]) -> GgufTokenizer:
    """Read the tokenizer of a model folder.

    Args:
        folder: with `tokenizer.json`.
        rows: of the embeddings; ids without a piece are marked unused.
        ends: ids that end an answer, from the generation settings.

    Raises:
        GgufError: there is no tokenizer, or one of another kind than sentencepiece's BPE.
    """
    from transformers import AutoTokenizer

    state = _state(folder)
    model = state["model"]
    if model.get("type") != "BPE" or not model.get("byte_fallback"):
        msg = f"The tokenizer in {folder} is not sentencepiece's: convert this model with llama.cpp's own script."
        raise GgufError(msg)
    pieces: list[str] = [f"[PAD{number}]" for number in range(rows)]
    types = [_UNUSED] * rows
    unknown = model.get("unk_token")
    for piece, number in model["vocab"].items():
        pieces[number] = piece
        types[number] = _UNKNOWN if piece == unknown else _BYTE if _BYTE_PIECE.fullmatch(piece) else _NORMAL
    for token in state.get("added_tokens", []):
        number = token["id"]
        pieces[number] = token["content"]
        if types[number] not in (_UNKNOWN, _BYTE):
            types[number] = _CONTROL if token["special"] else _USER_DEFINED
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    eos = tokenizer.eos_token_id
    return GgufTokenizer(
        pieces=pieces,
        scores=_scores(pieces, types, model["merges"]),
        types=types,
        space_prefix=_has_space_prefix(state),
        bos_first=tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id],
        bos=tokenizer.bos_token_id,
        eos=eos,
        unknown=tokenizer.unk_token_id,
        padding=tokenizer.pad_token_id,
        end_of_turn=next((number for number in ends if number != eos), None),
        chat_template=plain_template(tokenizer.chat_template) if tokenizer.chat_template else None,
    )


def plain_template(template: str) -> str:
    """Return a chat template without transformers' own `generation` tags, which llama.cpp does not know."""
    return _GENERATION_TAG.sub(r"{#\1 \2#}", template)


def _scores(pieces: list[str], types: list[int], merges: list[Any]) -> list[float]:
    first: dict[str, int] = {}
    for place, merge in enumerate(merges):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        first.setdefault(left + right, place)
    # What no join makes is never asked for its score but where it must lose.
    lowest = float(-len(merges) - 1)
    return [
        -float(first[piece]) if kind == _NORMAL and piece in first else 0.0 if kind in (_BYTE, _CONTROL) else lowest
        for piece, kind in zip(pieces, types, strict=True)
    ]


def _has_space_prefix(state: dict[str, Any]) -> bool:
    """Tell whether the tokenizer puts a space before a text: by a Prepend normaliser or by Metaspace."""
    normalizer = state.get("normalizer") or {}
    parts = [normalizer, *normalizer.get("normalizers", ())]
    splitter = state.get("pre_tokenizer") or {}
    return any(part.get("type") == "Prepend" for part in parts) or (
        splitter.get("type") == "Metaspace" and splitter.get("prepend_scheme", "always") != "never"
    )


def _state(folder: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{folder} has no tokenizer.json that can be read: save the model with its tokenizer."
        raise GgufError(msg) from error
    return state
