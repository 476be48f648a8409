"""Measures the whole chain on a file of questions: is the source found, the answer right, the unknown refused?

The file is `{"answerable": [{"q": …, "any_of": [accepted strings], "source": document}], "unanswerable": [q, …]}`.
Nothing judges but these strings: an answer is right when it holds one of them and is not a refusal.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elysia_chat.chains.errors import QuestionFileError
from elysia_chat.chains.prompt import cited_numbers, strip_citations
from elysia_chat.chains.qa import QuestionInput
from elysia_chat.chains.refusal import is_refusal

RANKS = (1, 3, 5)
Answer = Callable[[QuestionInput], Mapping[str, Any]]
Search = Callable[[str, int], Sequence[Document]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AnswerableQuestion(_Strict):
    """A question, the strings of which a right answer holds one, and the document that has it."""

    q: str = Field(min_length=1)
    any_of: tuple[str, ...] = Field(min_length=1)
    source: str | None = None


class QuestionSet(_Strict):
    """The content of a question file."""

    answerable: tuple[AnswerableQuestion, ...] = ()
    unanswerable: tuple[str, ...] = ()


def load_questions(path: Path) -> QuestionSet:
    """Read a question file.

    Raises:
        QuestionFileError: it is missing, no JSON, or of another shape; the message names the place.
    """
    try:
        return QuestionSet.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"Cannot read the questions in {path}: {str(error).splitlines()[0]}"
        raise QuestionFileError(msg) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top level"
        msg = f"{path}: {where}: {first['msg']}; expected 'answerable' (q, any_of, source) and 'unanswerable' (q)."
        raise QuestionFileError(msg) from error


def evaluate(
    questions: QuestionSet,
    answer: Answer,
    search: Search | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Ask every question and count.

    Args:
        questions: the set.
        answer: `invoke` of a retrieval QA chain.
        search: finds the best `n` passages for a question, for the recall of the source; None leaves recall out.
        progress: called with (done, total).

    Returns:
        `recall` (share of sources among the first 1, 3, 5 passages), `answered` (share of the answerable ones that
        got a right answer), `refused` (share of the unanswerable ones), `cited` (share of the right answers that name
        a passage of their source), counts, and a row for each question. A share of nothing is None.
    """
    total = len(questions.answerable) + len(questions.unanswerable)
    rows: list[dict[str, Any]] = []
    for item in questions.answerable:
        rows.append(_ask_answerable(item, answer, search))
        _report(progress, len(rows), total)
    for question in questions.unanswerable:
        output = answer({"question": question})
        rows.append({"q": question, "answerable": False, "answer": output["answer"], **_refusal(output)})
        _report(progress, len(rows), total)
    return {**_shares(rows), "rows": rows}


def holds_one_of(answer: str, accepted: Sequence[str]) -> bool:
    """Say whether an answer contains one of the accepted strings, whatever their width, case and spacing.

    A Latin word matches from its beginning only ("ten" is not in "often"), a number only whole ("12" not in "112").
    """
    plain = _plain(strip_citations(answer))
    return any(_pattern(string).search(plain) for string in accepted)


def _ask_answerable(item: AnswerableQuestion, answer: Answer, search: Search | None) -> dict[str, Any]:
    output = answer({"question": item.q})
    documents = output.get("source_documents", [])
    row = {"q": item.q, "answerable": True, "answer": output["answer"], "source": item.source, **_refusal(output)}
    row["right"] = holds_one_of(output["answer"], item.any_of) and not row["refused"]
    if search is not None and item.source is not None:
        found = [passage.metadata.get("document") for passage in search(item.q, max(RANKS))]
        row["rank"] = found.index(item.source) + 1 if item.source in found else None
        cited = [number for number in cited_numbers(output["answer"]) if number <= len(documents)]
        row["cited_source"] = any(documents[number - 1].metadata.get("document") == item.source for number in cited)
    return row


def _refusal(output: Mapping[str, Any]) -> dict[str, bool]:
    return {"refused": is_refusal(output["answer"])}


def _shares(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    answerable = [row for row in rows if row["answerable"]]
    unanswerable = [row for row in rows if not row["answerable"]]
    ranked = [row for row in answerable if "rank" in row]
    right = [row for row in answerable if row["right"]]
    return {
        "recall": {str(k): _share([row["rank"] is not None and row["rank"] <= k for row in ranked]) for k in RANKS},
        "answered": _share([row["right"] for row in answerable]),
        "wrongly_refused": _share([row["refused"] for row in answerable]),
        "refused": _share([row["refused"] for row in unanswerable]),
        "cited": _share([row["cited_source"] for row in right if "cited_source" in row]),
        "counts": {"answerable": len(answerable), "unanswerable": len(unanswerable)},
    }


def _share(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _pattern(accepted: str) -> re.Pattern[str]:
    characters = "".join(_plain(accepted).split())
    before = "(?<![a-z0-9])" if characters[:1].isascii() and characters[:1].isalnum() else ""
    after = "(?![0-9])" if characters[-1:].isdecimal() else ""
    return re.compile(before + r"\s*".join(map(re.escape, characters)) + after)


def _report(progress: Callable[[int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
