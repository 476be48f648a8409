"""The model card of a persona model: what it is, how to use it, and the measured figures of its evaluation report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from elysia_chat.training.evaluate.report import comparison_table
from elysia_chat.training.handover_errors import PushError

Contents = Literal["adapter", "model", "gguf"]


@dataclass(frozen=True)
class CardFacts:
    """What a card needs beside the report.

    Attributes:
        repo: "owner/name".
        contents: what the folder holds.
        base: published name of the base model.
        licence: identifier of the licence, as the hubs write it ("apache-2.0", "gemma", "other").
        languages: of the model.
        persona: its name; the report's wins.
    """

    repo: str
    contents: Contents
    base: str
    licence: str
    languages: Sequence[str] = ("zh", "en")
    persona: str = ""


def contents_of(folder: Path) -> Contents:
    """Return what a folder holds: an adapter, a whole model, or GGUF files.

    Raises:
        PushError: none of these.
    """
    if (folder / "adapter_config.json").is_file() and (folder / "adapter_model.safetensors").is_file():
        return "adapter"
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        return "model"
    if any(folder.glob("*.gguf")):
        return "gguf"
    msg = f"{folder} holds neither an adapter nor a model that could be published."
    raise PushError(msg)


def model_card(facts: CardFacts, report: Mapping[str, Any] | None, merged: Mapping[str, Any] | None = None) -> str:
    """Write a model card in Markdown with the hubs' YAML head.

    Args:
        facts: what the report does not know.
        report: of the evaluation; None writes that the model was not evaluated.
        merged: the content of `merge.json`, where the model was merged.
    """
    persona = str(report["persona"]) if report else facts.persona or facts.repo.rpartition("/")[2]
    head = {
        "license": facts.licence,
        "language": list(facts.languages),
        "base_model": facts.base,
        "base_model_relation": {"adapter": "adapter", "model": "finetune", "gguf": "quantized"}[facts.contents],
        "pipeline_tag": "text-generation",
        "library_name": {"adapter": "peft", "model": "transformers", "gguf": "gguf"}[facts.contents],
        "tags": ["persona", "role-play", "rag", "elysia-chat"],
    }
    parts = [
        f"---\n{yaml.safe_dump(head, allow_unicode=True, sort_keys=False)}---",
        f"# {facts.repo.rpartition('/')[2]}",
        _introduction(persona, facts),
        f"## Use\n\n```bash\n{_command(facts)}\n```\n\n{_PROMPTS}",
        "## Measured\n\n" + (_measured(report) if report else "This model has not been evaluated."),
    ]
    if merged:
        parts.append("## Merge\n\n" + _merge_line(merged))
    parts.append(f"## Limits\n\n{_LIMITS}")
    return "\n\n".join(parts).rstrip() + "\n"


_PROMPTS = (
    "The prompts are those of Elysia Chat: a system message with the persona and its rules, and a user message with "
    "numbered passages between fences and the question. Answers name the passage they rest on as `[number]`."
)
_LIMITS = (
    "It speaks in character and makes mistakes. What it says of its world is only as good as the passages it is given; "
    "without them it invents. The figures above come from scripted checks, not from people. Check the licence of the "
    "base model and the rights to the character before you publish or sell anything made with it."
)


def read_merge(folder: Path) -> dict[str, Any] | None:
    """Return the content of a folder's `merge.json`, None where there is none that can be read."""
    try:
        content = json.loads((folder / "merge.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "difference" in content else None


def _introduction(persona: str, facts: CardFacts) -> str:
    what = {
        "adapter": f"A LoRA adapter for `{facts.base}`",
        "model": f"A fine-tune of `{facts.base}`, its adapter merged into the weights,",
        "gguf": f"GGUF files for llama.cpp of a fine-tune of `{facts.base}`",
    }[facts.contents]
    return (
        f"{what} that speaks as the persona **{persona}** and answers from the passages of its lore, or says that they "
        "do not hold the answer. Made with Elysia Chat."
    )


def _command(facts: CardFacts) -> str:
    if facts.contents == "gguf":
        return f"llama-server -hf {facts.repo}"
    if facts.contents == "adapter":
        return f"elysia-chat chat model.kind=transformers model.name={facts.base} model.adapter=<this folder>"
    return f"elysia-chat chat model.kind=transformers model.name={facts.repo}"


def _measured(report: Mapping[str, Any]) -> str:
    numbers = ", ".join(f"{count} {name}" for name, count in report.get("prompts", {}).items())
    said = [*comparison_table(report), "", "✗ marks a figure that misses its goal. All figures are shares of prompts."]
    found = (report.get("sweep") or {}).get("overfitting")
    if found:
        said.append(f"Overfitting set in at step {found['step']}: {found['reason']}.")
    return "\n".join([*said, "", f"Prompts (set/kind/arm): {numbers}."])


def _merge_line(merged: Mapping[str, Any]) -> str:
    found = merged["difference"]
    return (
        f"Merged into the {merged['into']} base in {merged['dtype']}. Against the adapter on its base, over "
        f"{found['tokens']} positions: loss {found['loss_adapter']:.4f} before and {found['loss_merged']:.4f} after, "
        f"mean KL divergence {found['mean_kl']:.1e}, the same likeliest token at {found['same_choice']:.1%}."
    )
