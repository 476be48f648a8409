"""LangChain messages to token ids, by the model's own chat template."""

import re
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage, ChatMessage

from elysia_chat.llm.errors import ModelError, ModelLoadError

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
        import jinja2

        rows = [{"role": _role(message), "content": self.disarm(_text(message))} for message in messages]
        try:
            encoded = self._tokenizer.apply_chat_template(rows, add_generation_prompt=True, return_dict=True)
        except jinja2.TemplateError as error:
            msg = f"The model's chat template refuses these messages: {error}"
            raise ModelError(msg) from error
        return list(encoded["input_ids"])

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
