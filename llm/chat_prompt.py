"""LangChain messages to token ids, by the model's own chat template."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from langchain_core.messages import BaseMessage, ChatMessage

from elysia_chat.llm.errors import ModelError, ModelLoadError

# A chunk costs as much as some 50 tokens on a CPU, since the weights are read once more for it.
SHORTEST_SYSTEM = 32
SHORTEST_TURNS = 256
_ROLES = {"system": "system", "human": "user", "ai": "assistant"}


class ChatPrompt:
    """Writes prompts for one tokenizer.

    The model's control tokens are taken apart where they stand in a message, so that no text can end its own turn or
    speak in another role.

    Args:
        tokenizer: of transformers, with a chat template.

    Raises:
        ModelLoadError: it has no chat template.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            msg = "The model has no chat template, so it is no chat model: take its 'chat' or 'instruct' version."
            raise ModelLoadError(msg)
        self._tokenizer = tokenizer
        added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        control = sorted(added | set(tokenizer.all_special_tokens), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, control)) or r"(?!)")

    def tokens(self, messages: Sequence[BaseMessage]) -> list[int]:
        """Return the prompt's token ids, up to where the answer begins.

        Raises:
            ModelError: a message has a role or a content that the model does not take.
        """
        text = self._text(self._rows(messages), add_generation_prompt=True)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def chunks(self, messages: Sequence[BaseMessage]) -> list[list[int]]:
        """Return the prompt's token ids in chunks at whose ends the prompts of a conversation part.

        They are the end of the system message, which all conversations with a persona share, and the ends of answers
        so far, which the next prompt of a conversation repeats; chunks that are too short to be worth it are joined.

        Raises:
            ModelError: a message has a role or a content that the model does not take.
        """
        rows = self._rows(messages)
        text = self._text(rows, add_generation_prompt=True)
        whole, starts = self._tokens_and_starts(text)
        ends = [0]
        for number, row in enumerate(rows, start=1):
            if row["role"] == "user" or not starts:
                continue
            shortest = SHORTEST_SYSTEM if row["role"] == "system" else SHORTEST_TURNS
            end = bisect_left(starts, self._length_of_beginning(rows[:number], text))
            if end - ends[-1] >= shortest:
                ends.append(end)
        return [whole[begin:end] for begin, end in pairwise([*ends, len(whole)]) if begin < end]

    def _length_of_beginning(self, rows: list[dict[str, str]], text: str) -> int:
        """Return how many characters the first messages have in the whole prompt; 0 where the template mixes them."""
        try:
            beginning = self._text(rows, add_generation_prompt=False)
        except ModelError:
            return 0
        return len(beginning) if text.startswith(beginning) else 0

    def _tokens_and_starts(self, text: str) -> tuple[list[int], list[int]]:
        """Return the tokens of a rendered prompt, and the characters at which they begin where the tokenizer tells."""
        told = bool(getattr(self._tokenizer, "is_fast", False))
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=told)
        return list(encoded["input_ids"]), [start for start, _ in encoded["offset_mapping"]] if told else []

    def _rows(self, messages: Sequence[BaseMessage]) -> list[dict[str, str]]:
        return [{"role": _role(message), "content": self.disarm(_text(message))} for message in messages]

    def _text(self, rows: list[dict[str, str]], add_generation_prompt: bool) -> str:
        import jinja2

        try:
            return str(
                self._tokenizer.apply_chat_template(rows, add_generation_prompt=add_generation_prompt, tokenize=False)
            )
        except jinja2.TemplateError as error:
            msg = f"The model's chat template refuses these messages: {error}"
            raise ModelError(msg) from error

    def disarm(self, text: str) -> str:
        """Take the model's control tokens in a text apart: `<end_of_turn>` becomes `< end_of_turn>`."""
        return self._control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def _role(message: BaseMessage) -> str:
    role = message.role if isinstance(message, ChatMessage) else _ROLES.get(message.type)
    if role is None:
        msg = f"The model takes system, user and assistant messages, not '{message.type}' messages."
        raise ModelError(msg)
    return role


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    kinds = {block.get("type") for block in message.content if isinstance(block, dict)}
    if kinds - {"text"}:
        msg = f"The model reads text only, not {', '.join(sorted(map(str, kinds - {'text'})))}."
        raise ModelError(msg)
    return str(message.text)
