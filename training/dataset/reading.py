"""Reading comprehension in SQuAD's form (CMRC 2018 and the like): natural passages with natural questions."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

from elysia_chat.training.dataset.manners import Passage
from elysia_chat.training.dataset.scenes import sentence_of
from elysia_chat.training.errors import DataFileError

_PIECE = re.compile(r"[^。！？\n]+[。！？]?")
_WH = re.compile(r"哪一年|哪年|什么时候|何时|哪里|哪个国家|哪个|哪些|哪位|谁|什么|多少|几")


@dataclass(frozen=True)
class ReadingQuestion:
    """A question on a passage."""

    passage: Passage
    question: str
    answer: str
    key: str


def read_squad(path: Path, *, limit: int = 330) -> tuple[list[Passage], list[ReadingQuestion]]:
    """Read a file in SQuAD's form and cut its contexts into passages at sentence ends.

    Raises:
        DataFileError: it has another form.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        entries = entries["data"] if isinstance(entries, dict) else entries
        contexts = [(str(entry["title"]), part) for entry in entries for part in entry["paragraphs"]]
        passages: list[Passage] = []
        questions: list[ReadingQuestion] = []
        for number, (title, part) in enumerate(contexts):
            document = f"squad/{part.get('id', number)}"
            pieces = [
                Passage(document, title, "", text, (), "zh", frozenset({document}))
                for text in _cut(part["context"], limit)
            ]
            passages += pieces
            for qa in part["qas"]:
                answer = str(qa["answers"][0]["text"]).strip()
                holding = [piece for piece in pieces if answer in piece.text]
                if holding and answer:
                    questions.append(
                        ReadingQuestion(holding[0], str(qa["question"]).strip(), answer, f"squad/{qa['id']}")
                    )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        msg = f"{path.name} is not in SQuAD's form: expected data, paragraphs, context, qas, answers, text."
        raise DataFileError(msg) from error
    return passages, questions


def _cut(text: str, limit: int) -> list[str]:
    pieces, current = [], ""
    for sentence in _PIECE.findall(text):
        if current and len(current) + len(sentence) > limit:
            pieces.append(current.strip())
            current = ""
        current += sentence
    return [*pieces, current.strip()] if current.strip() else pieces


def reading_body(rng: Random, asked: ReadingQuestion) -> str:
    """Word the answer: the question turned into a statement, the sentence of the passage, or the answer alone."""
    answer, chance = asked.answer.rstrip("。！？，"), rng.random()
    if len(answer) < 20 and chance < 0.3 and len(_WH.findall(asked.question)) == 1:
        stated = _WH.sub(lambda _: answer, asked.question.rstrip("？?"), count=1)
        if stated.count(answer) == 1:
            return stated
    sentence = sentence_of(asked.passage.text, answer, "zh").rstrip("。！？…")
    return sentence if sentence and chance < 0.85 else answer
