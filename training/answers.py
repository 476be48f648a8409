"""Answers of a model to a list of prompts, and how many of them are right."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elysia_chat.chains.prompt import cited_numbers
from elysia_chat.chains.refusal import is_refusal
from elysia_chat.training.errors import DataFileError


def read_prompts(path: Path) -> list[dict[str, Any]]:
    """Read prompts with what is expected of their answers.

    Each line holds messages, and may hold any_of (strings of which one must be in the answer), refuse (true where the
    answer is not to be known), sources (numbers of the passages that may be cited) and set (a name to group by).

    Raises:
        DataFileError: a line has another shape.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"The prompts in {path} cannot be read: {error}."
        raise DataFileError(msg) from error
    found = []
    # Not splitlines: JSON strings may hold other line ends than this one.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            entry["messages"][-1]["content"]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            msg = f"{path.name}, line {number}: expected an object with messages of role and content."
            raise DataFileError(msg) from error
        found.append(entry)
    return found


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int, batch: int
) -> list[str]:
    """Answer prompts greedily.

    Returns:
        The answers, in the order of the prompts.
    """
    import torch

    texts = [
        tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        for messages in prompts
    ]
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    answers = [""] * len(texts)
    ends = end_tokens(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    training = model.training
    model.eval()
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    try:
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            inputs = tokenizer(
                [texts[index] for index in part], return_tensors="pt", padding=True, add_special_tokens=False
            ).to(model.device)
            with torch.inference_mode():
                output = model.generate(
                    input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=False,
                    max_new_tokens=max_new_tokens, eos_token_id=ends, pad_token_id=pad, top_k=None, top_p=None,
                )  # fmt: skip
            new = output[:, inputs["input_ids"].shape[1] :]
            for index, text in zip(part, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                answers[index] = text.strip()
    finally:
        tokenizer.padding_side = side
        model.train(training)
    return answers


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer: the model's own, and the template's end of turn."""
    known = model.generation_config.eos_token_id
    ends = list(known) if isinstance(known, list) else [known] if known is not None else []
    if tokenizer.eos_token_id is not None:
        ends.append(tokenizer.eos_token_id)
    for name in ("<end_of_turn>", "<|im_end|>", "<|eot_id|>"):
        number = tokenizer.convert_tokens_to_ids(name)
        if isinstance(number, int) and number >= 0 and number != tokenizer.unk_token_id:
            ends.append(number)
    return list(dict.fromkeys(ends))


def judge(prompt: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """Judge one answer: right (a fact stated, or not knowing said where it cannot be known), refused, cited."""
    refused = is_refusal(answer)
    folded = answer.casefold()
    verdict: dict[str, Any] = {"refused": refused, "cited": cited_numbers(answer)}
    if prompt.get("refuse"):
        verdict["right"] = refused
    elif prompt.get("any_of"):
        verdict["right"] = not refused and any(str(item).casefold() in folded for item in prompt["any_of"])
    if prompt.get("sources"):
        verdict["cited_right"] = bool(set(verdict["cited"]) & set(prompt["sources"]))
    return verdict


def summarise(
    prompts: Sequence[Mapping[str, Any]], verdicts: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Return shares by set and kind (answerable, unanswerable): right, refused, cited_right, and the number."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for prompt, verdict in zip(prompts, verdicts, strict=True):
        kind = "unanswerable" if prompt.get("refuse") else "answerable" if prompt.get("any_of") else "talk"
        groups.setdefault(f"{prompt.get('set', 'prompts')}/{kind}", []).append(verdict)
    summary = {}
    for name, found in sorted(groups.items()):
        shares: dict[str, float] = {"count": len(found)}
        for key in ("right", "refused", "cited_right"):
            values = [bool(item[key]) for item in found if key in item]
            if values:
                shares[key] = round(sum(values) / len(values), 4)
        summary[name] = shares
    return summary
