"""InternLM2's tokenizer, built anew from its sentencepiece model: the same token ids, and no code from outside.

Two things differ from the published tokenizer, on purpose. The chat template marks what the assistant says, which
training needs. And the pieces `[UNUSED_TOKEN_141]` to `[UNUSED_TOKEN_146]` are only known by the names they got as
control tokens, so that no text can write a control token by its old name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elysia_chat.llm.errors import ConversionError

SENTENCEPIECE = "tokenizer.model"
CHAT_TOKENS = {
    "[UNUSED_TOKEN_141]": "<|plugin|>",
    "[UNUSED_TOKEN_142]": "<|interpreter|>",
    "[UNUSED_TOKEN_143]": "<|action_end|>",
    "[UNUSED_TOKEN_144]": "<|action_start|>",
    "[UNUSED_TOKEN_145]": "<|im_end|>",
    "[UNUSED_TOKEN_146]": "<|im_start|>",
}
"""The control tokens of the chat models, by the placeholders that the sentencepiece model has for them."""

TURN_END = "<|im_end|>"
CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' -}}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}
        {{- message['content'] + '<|im_end|>' -}}
        {%- endgeneration -%}
    {%- else -%}
        {{- message['content'] + '<|im_end|>' -}}
    {%- endif -%}
    {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
# The kinds of pieces, as sentencepiece's model file numbers them.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
_BPE = 2
_SAMPLE = (
    {"role": "system", "content": "a"},
    {"role": "user", "content": "b"},
    {"role": "assistant", "content": "c"},
    {"role": "user", "content": "d"},
)


def convert_tokenizer(source: Path, target: Path, vocabulary: int) -> Any:
    """Write the tokenizer of a published folder in transformers' own form.

    A chat template that writes something else than InternLM2's is kept.

    Args:
        source: folder with `tokenizer.model`, or with a `tokenizer.json` that transformers reads by itself.
        target: folder to write into.
        vocabulary: rows of the model's embeddings.

    Returns:
        The tokenizer, as it was written.

    Raises:
        ConversionError: there is no tokenizer, it is damaged, of another kind, or larger than the vocabulary.
    """
    from transformers import PreTrainedTokenizerFast

    settings = _read_json(source / "tokenizer_config.json")
    extra = _read_json(source / "added_tokens.json")
    inner = _inner(source, settings, extra)
    if inner.get_vocab_size() > vocabulary:
        msg = (
            f"The tokenizer has {inner.get_vocab_size()} tokens and the model only {vocabulary}: it is another model's."
        )
        raise ConversionError(msg)
    control = [token.content for token in inner.get_added_tokens_decoder().values() if token.special]
    ends = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    named = {key: name for key, name in ends.items() if inner.token_to_id(name) is not None}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        **named,
        additional_special_tokens=[token for token in control if token not in ends.values()],
        clean_up_tokenization_spaces=False,
        model_max_length=_longest(settings),
    )
    tokenizer.chat_template = _chat_template(tokenizer, source, settings)
    tokenizer.save_pretrained(target)
    return tokenizer


def build(model_file: Path, control: Mapping[int, str]) -> Any:
    """Return a `tokenizers.Tokenizer` that cuts text as sentencepiece does, without tokens before or after it.

    Args:
        model_file: of sentencepiece's BPE kind, as InternLM2 has it: bytes for unknown characters, no space before
            the text, no other normalisation.
        control: names of control tokens that take the place of a piece or follow the last, by id.

    Raises:
        ConversionError: it cannot be read, or is of another kind.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    pieces = _pieces(model_file)
    names = [control.get(number, piece) for number, (piece, _, _) in enumerate(pieces)]
    vocabulary = {name: number for number, name in enumerate(names)}
    if len(vocabulary) < len(names):
        msg = f"{model_file} and the tokenizer's settings do not go together: a token has two numbers."
        raise ConversionError(msg)
    merges = _merges(pieces, control)
    inner = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    fixed = [(number, names[number], kind) for number, (_, _, kind) in enumerate(pieces)]
    # sentencepiece cuts the pieces that its makers defined out of a text before anything else.
    inner.add_tokens(
        [
            AddedToken(name, normalized=False)
            for number, name, kind in fixed
            if kind == _USER_DEFINED and number not in control
        ]
    )
    own = {number: name for number, name, kind in fixed if kind in (_UNKNOWN, _CONTROL)}
    special = sorted({**own, **control}.items())
    inner.add_special_tokens([AddedToken(name, normalized=False, special=True) for _, name in special])
    if any(inner.token_to_id(name) != number for number, name in special):
        msg = f"{model_file} and the tokenizer's settings do not go together: the numbers of added tokens have gaps."
        raise ConversionError(msg)
    return inner


def _inner(source: Path, settings: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
    from tokenizers import processors

    if (source / SENTENCEPIECE).is_file():
        inner = build(source / SENTENCEPIECE, _control_tokens(source / SENTENCEPIECE, settings, extra))
    elif (source / "tokenizer.json").is_file():
        inner = _read_fast(source / "tokenizer.json")
    else:
        msg = f"{source} holds no tokenizer: copy the model's {SENTENCEPIECE} into it."
        raise ConversionError(msg)
    before = "<s> " if settings.get("add_bos_token", True) else ""
    after = " </s>" if settings.get("add_eos_token", False) else ""
    ends = [(name, inner.token_to_id(name)) for name in ("<s>", "</s>")]
    inner.post_processor = processors.TemplateProcessing(
        single=f"{before}$A{after}", pair=f"{before}$A{after} {before}$B{after}".replace("  ", " "), special_tokens=ends
    )
    return inner


def _read_fast(path: Path) -> Any:
    from tokenizers import Tokenizer

    if "model" not in _read_json(path):
        msg = f"{path} is damaged: copy the model's tokenizer files again."
        raise ConversionError(msg)
    return Tokenizer.from_file(str(path))


def _control_tokens(model_file: Path, settings: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[int, str]:
    """Return the control tokens: those that the settings name, and those of the chat models where they fit."""
    pieces = _pieces(model_file)
    found = {number: CHAT_TOKENS[piece] for number, (piece, _, _) in enumerate(pieces) if piece in CHAT_TOKENS}
    try:
        found |= {int(number): str(name) for name, number in extra.items()}
        listed = settings.get("added_tokens_decoder") or {}
        found |= {int(number): str(token["content"]) for number, token in listed.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f"{model_file.parent / 'tokenizer_config.json'} is damaged: its added tokens cannot be read."
        raise ConversionError(msg) from error
    fixed = (_UNKNOWN, _CONTROL)
    return {
        number: name
        for number, name in found.items()
        if number >= len(pieces) or (pieces[number][2] not in fixed and pieces[number][0] != name)
    }


def _pieces(model_file: Path) -> list[tuple[str, float, int]]:
    """Return text, score and kind of each piece."""
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    messages: Any = sentencepiece_model_pb2
    model = messages.ModelProto()
    try:
        model.ParseFromString(model_file.read_bytes())
    except (OSError, DecodeError) as error:
        msg = f"{model_file} is cut off or damaged: copy the model's tokenizer files again."
        raise ConversionError(msg) from error
    trainer, rules = model.trainer_spec, model.normalizer_spec
    plain = not (rules.precompiled_charsmap or rules.add_dummy_prefix or rules.remove_extra_whitespaces)
    if trainer.model_type != _BPE or not trainer.byte_fallback or trainer.treat_whitespace_as_suffix or not plain:
        msg = f"{model_file} is cut off, or no tokenizer of InternLM2's kind: copy the model's tokenizer files again."
        raise ConversionError(msg)
    return [(piece.piece, piece.score, piece.type) for piece in model.pieces]


def _merges(pieces: list[tuple[str, float, int]], control: Mapping[int, str]) -> list[tuple[str, str]]:
    """Return every pair of pieces whose text together is a piece, the best-scored first."""
    ranks = {piece: (score, number) for number, (piece, score, kind) in enumerate(pieces) if kind == _NORMAL}
    for number in control:
        ranks.pop(pieces[number][0] if number < len(pieces) else "", None)
    found = []
    for piece, (score, _) in ranks.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ranks and right in ranks:
                found.append((-score, ranks[left][1], ranks[right][1], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _chat_template(tokenizer: Any, source: Path, settings: Mapping[str, Any]) -> str | None:
    """Return the chat template with the assistant's words marked, or the folder's own where it writes another form."""
    own = settings.get("chat_template")
    if (source / "chat_template.jinja").is_file():
        own = (source / "chat_template.jinja").read_text(encoding="utf-8")
    if tokenizer.convert_tokens_to_ids(TURN_END) in (None, tokenizer.unk_token_id):
        return own if isinstance(own, str) else None
    if not isinstance(own, str) or _writes_the_same(tokenizer, own):
        return CHAT_TEMPLATE
    return own


def _writes_the_same(tokenizer: Any, template: str) -> bool:
    import jinja2

    def written(chat_template: str, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        return str(
            tokenizer.apply_chat_template(
                messages, chat_template=chat_template, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )

    cases = [(list(_SAMPLE), True), (list(_SAMPLE[1:3]), False)]
    try:
        return all(written(template, *case) == written(CHAT_TEMPLATE, *case) for case in cases)
    except (jinja2.TemplateError, TypeError, ValueError):
        return False


def _longest(settings: Mapping[str, Any]) -> int:
    value = settings.get("model_max_length")
    return value if isinstance(value, int) and 0 < value < 1 << 31 else 1 << 30


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path} is damaged: copy the model's tokenizer files again."
        raise ConversionError(msg) from error
    return content if isinstance(content, dict) else {}
