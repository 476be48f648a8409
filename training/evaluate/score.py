"""Third step: answers become figures. Nothing judges but the accepted strings and the checks of `checks.py`."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document

from elysia_chat.chains.evaluation import AnswerableQuestion, QuestionSet, evaluate
from elysia_chat.chains.refusal import is_refusal
from elysia_chat.training.evaluate.checks import copies, distinct, introduces_itself, is_sound, loops, names_itself
from elysia_chat.training.evaluate.files import Answer, Answers, Arm, PreparedItem, PreparedPrompts
from elysia_chat.training.handover_errors import EvaluationError

GOALS: Mapping[str, tuple[str, float]] = {
    "answered": (">=", 0.90),
    "refused": (">=", 0.90),
    "source_first": (">=", 0.95),
    "introduced": (">=", 0.95),
    "intrusive": ("<=", 0.05),
    "distinct": (">=", 0.90),
}
"""What a good persona model reaches."""
_HEADLINES = ("answered", "refused", "introduced", "intrusive", "distinct", "general")


def score(prepared: PreparedPrompts, answers: Answers) -> dict[Arm, dict[str, Any]]:
    """Score one model's answers, with and without retrieval apart.

    Returns:
        For each arm that was asked:
        `answered`, `wrongly_refused` (shares of the answerable questions of all sets), `refused` (of the unanswerable
        ones), `cited` (of the right answers, those that name a passage of their source), `source_first` and
        `source_found` (of the answerable ones, those whose source is the first, or any, passage found), `introduced`
        (of the questions who it is, those answered with its name), `intrusive` (of everyday prompts, those answered
        with an introduction), `distinct` (of everyday prompts of one language, those with a reply of their own),
        `general` (of general prompts, those with a sound reply that is not copied from instructions or passages),
        `overall` (mean of the headline shares), `sets` (the question figures of each set), `languages`, `length`, and
        `rows` (one for each question). A share of nothing is None.

    Raises:
        EvaluationError: prompts of the file have no answer.
    """
    missing = [item.id for item in prepared.items if item.id not in answers.answers]
    if missing:
        msg = f"{answers.label} has no answer to {len(missing)} prompts ({missing[0]}, …): answer this file again."
        raise EvaluationError(msg)
    arms: list[Arm] = list(dict.fromkeys(item.arm for item in prepared.items))
    return {
        arm: _score_arm(prepared, [item for item in prepared.items if item.arm == arm], answers.answers) for arm in arms
    }


def overall(figures: Mapping[str, Any]) -> float | None:
    """Return the mean of the headline shares, `intrusive` counted as its opposite; None where there is none."""
    found = [
        1 - figures[name] if name == "intrusive" else figures[name]
        for name in _HEADLINES
        if figures.get(name) is not None
    ]
    return round(statistics.fmean(found), 4) if found else None


def reached(name: str, value: float | None) -> bool | None:
    """Tell whether a figure reaches its goal; None where it has no goal or no value."""
    if name not in GOALS or value is None:
        return None
    sign, goal = GOALS[name]
    return value >= goal if sign == ">=" else value <= goal


def _score_arm(
    prepared: PreparedPrompts, items: Sequence[PreparedItem], answers: Mapping[str, Answer]
) -> dict[str, Any]:
    replies = {item.id: answers[item.id].text for item in items}
    questions = [item for item in items if item.kind in ("answerable", "unanswerable")]
    sets = {
        name: _score_questions([item for item in questions if item.set == name], replies)
        for name in dict.fromkeys(item.set for item in questions)
    }
    rows = [{"set": name, **row} for name, result in sets.items() for row in result.pop("rows")]
    by_language = {
        language: _score_persona(prepared, [item for item in items if item.language == language], replies)
        for language in dict.fromkeys(item.language for item in items)
    }
    figures: dict[str, Any] = {**_pooled(rows), **_score_persona(prepared, items, replies)}
    return {
        **figures,
        "overall": overall(figures),
        "sets": sets,
        "languages": by_language,
        "length": _lengths([answers[item.id] for item in items]),
        "rows": rows + _other_rows(items, replies),
    }


def _score_questions(items: Sequence[PreparedItem], replies: Mapping[str, str]) -> dict[str, Any]:
    """Count one set as `eval qa` counts it."""
    by_question = {item.question: item for item in items}
    retrieved = any(item.found for item in items)

    def answer(question: Any) -> dict[str, Any]:
        item = by_question[question["question"]]
        return {"answer": replies[item.id], "source_documents": [_document(p.document) for p in item.passages]}

    def search(question: str, count: int) -> list[Document]:
        return [_document(name) for name in by_question[question].found[:count]]

    return evaluate(
        QuestionSet(
            answerable=tuple(
                AnswerableQuestion(q=item.question, any_of=item.accepted, source=item.source)
                for item in items
                if item.kind == "answerable"
            ),
            unanswerable=tuple(item.question for item in items if item.kind == "unanswerable"),
        ),
        answer,
        search if retrieved else None,
    )


def _document(name: str) -> Document:
    return Document(page_content="", metadata={"document": name})


def _pooled(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    answerable = [row for row in rows if row["answerable"]]
    right = [row for row in answerable if row["right"]]
    ranked = [row for row in answerable if "rank" in row]
    return {
        "answered": _share([row["right"] for row in answerable]),
        "wrongly_refused": _share([row["refused"] for row in answerable]),
        "refused": _share([row["refused"] for row in rows if not row["answerable"]]),
        "cited": _share([row["cited_source"] for row in right if "cited_source" in row]),
        "source_first": _share([row["rank"] == 1 for row in ranked]),
        "source_found": _share([row["rank"] is not None for row in ranked]),
    }


def _score_persona(
    prepared: PreparedPrompts, items: Sequence[PreparedItem], replies: Mapping[str, str]
) -> dict[str, float | None]:
    who = [replies[item.id] for item in items if item.kind == "introduction"]
    everyday = [item for item in items if item.kind == "everyday"]
    general = [item for item in items if item.kind == "general"]
    every_name = (*prepared.names, *prepared.nicknames)
    talk = [replies[item.id] for item in everyday]
    languages = dict.fromkeys(item.language for item in everyday)
    # By language: two languages cannot give the same reply, which would flatter the share.
    different = sum(distinct([replies[item.id] for item in everyday if item.language == one]) for one in languages)
    return {
        "introduced": _share([names_itself(reply, prepared.names) for reply in who]),
        "intrusive": _share([introduces_itself(reply, every_name) for reply in talk]),
        "distinct": round(different / len(everyday), 4) if everyday else None,
        "general": _share([_keeps_talking(item, replies[item.id]) for item in general]),
        "general_refused": _share([is_refusal(replies[item.id]) for item in general]),
    }


def _keeps_talking(item: PreparedItem, reply: str) -> bool:
    given = [message.content for message in item.messages[:-1]] + [passage.text for passage in item.passages]
    return is_sound(reply, item.language) and not copies(reply, "\n".join(given))


def _lengths(answers: Sequence[Answer]) -> dict[str, float]:
    characters = sorted(len(answer.text) for answer in answers)
    return {
        "mean_characters": round(statistics.fmean(characters), 1),
        "median_characters": round(statistics.median(characters), 1),
        "p95_characters": float(characters[min(len(characters) - 1, int(len(characters) * 0.95))]),
        "mean_tokens": round(statistics.fmean(answer.tokens for answer in answers), 1),
        "truncated": round(statistics.fmean(answer.truncated for answer in answers), 4),
        "empty": round(statistics.fmean(not answer.text.strip() for answer in answers), 4),
        "looping": round(statistics.fmean(loops(answer.text) for answer in answers), 4),
    }


def _other_rows(items: Sequence[PreparedItem], replies: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"set": item.set, "q": item.question, "answer": replies[item.id]}
        for item in items
        if item.kind in ("introduction", "everyday", "general")
    ]


def _share(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
