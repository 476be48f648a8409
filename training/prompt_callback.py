"""Prompts answered while a model trains, written down with what was right."""

import json
import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from elysia_chat.training.answers import generate, judge, read_prompts, summarise
from elysia_chat.training.presets import EvaluatePart

_log = logging.getLogger(__name__)


class PromptCallback(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Answers the prompts of a file every so many steps, and appends answers and shares to a file."""

    def __init__(self, settings: EvaluatePart, model: Any, tokenizer: Any, path: Path) -> None:
        self.settings, self.model, self.tokenizer, self.path = settings, model, tokenizer, path
        self.prompts = read_prompts(Path(settings.prompts))[: settings.limit]

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Answer the prompts when it is time."""
        if self.settings.every and state.global_step % self.settings.every == 0 and state.is_world_process_zero:
            self.answer(state.global_step)

    def answer(self, step: int) -> dict[str, Any]:
        """Answer the prompts now.

        Returns:
            Shares by set and kind, see `answers.summarise`.
        """
        texts = generate(
            self.model,
            self.tokenizer,
            [item["messages"] for item in self.prompts],
            max_new_tokens=self.settings.max_new_tokens,
            batch=self.settings.batch,
        )
        verdicts = [judge(prompt, text) for prompt, text in zip(self.prompts, texts, strict=True)]
        summary = summarise(self.prompts, verdicts)
        with self.path.open("a", encoding="utf-8") as file:
            for prompt, text, verdict in zip(self.prompts, texts, verdicts, strict=True):
                entry = {
                    "step": step,
                    "set": prompt.get("set", ""),
                    "question": prompt["messages"][-1]["content"].splitlines()[-1],
                    "answer": text,
                    "any_of": prompt.get("any_of", []),
                    **verdict,
                }
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.write(json.dumps({"step": step, "summary": summary}, ensure_ascii=False) + "\n")
        _log.info("Step %d: %s", step, json.dumps(summary))
        return summary
