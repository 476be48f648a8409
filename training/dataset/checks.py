"""Checks of a dataset: duplicates, leaks, lengths, empty and contradicting answers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from elysia_chat.training.dataset.example import Example


@dataclass
class Report:
    """What the checks found.

    Attributes:
        examples: number in each split.
        kinds: number of examples by kind.
        languages: number of examples by language.
        characters: smallest, median and largest length of the prompts, and of the answers.
        duplicates: prompts that stand there more than once.
        contradictions: prompts that stand there with different answers.
        empty_answers: examples without an answer.
        unsupported: examples whose expected words are not in the answer, or not in the passage that is named.
        leaked_facts: facts in both splits.
        leaked_documents: documents in both splits.
        distinct_answers: share of different answers among all.
    """

    examples: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)
    characters: dict[str, list[int]] = field(default_factory=dict)
    duplicates: int = 0
    contradictions: int = 0
    empty_answers: int = 0
    unsupported: int = 0
    leaked_facts: list[str] = field(default_factory=list)
    leaked_documents: list[str] = field(default_factory=list)
    distinct_answers: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing was found that spoils training or its measurement."""
        faults = (self.duplicates, self.contradictions, self.empty_answers, self.unsupported)
        return not any(faults) and not self.leaked_facts and not self.leaked_documents

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {**asdict(self), "clean": self.clean}


def check_splits(train: Sequence[Example], test: Sequence[Example]) -> Report:
    """Check a dataset and the split between training and test."""
    report = Report(examples={"train": len(train), "test": len(test)})
    everything = [*train, *test]
    report.kinds = dict(Counter(item.kind for item in everything).most_common())
    report.languages = dict(Counter(item.language for item in everything).most_common())
    prompts = [sum(len(message["content"]) for message in item.messages) for item in everything]
    report.characters = {"prompt": _spread(prompts), "answer": _spread([len(item.answer) for item in everything])}
    answers: dict[str, list[str]] = defaultdict(list)
    for item in everything:
        answers["\x00".join(message["content"] for message in item.messages)].append(item.answer)
    report.duplicates = sum(len(given) - 1 for given in answers.values())
    report.contradictions = sum(len(set(given)) > 1 for given in answers.values())
    report.empty_answers = sum(not item.answer.strip() for item in everything)
    report.unsupported = sum(not supported(item) for item in everything)
    report.leaked_facts = _shared((item.facts for item in train), (item.facts for item in test))
    report.leaked_documents = _shared((item.documents for item in train), (item.documents for item in test))
    report.distinct_answers = round(len({item.answer for item in everything}) / max(1, len(everything)), 3)
    return report


def supported(example: Example) -> bool:
    """Tell whether the expected words stand in the answer, and in the passage that it names."""
    answer, prompt = example.answer.casefold(), example.messages[-1]["content"].casefold()
    if not example.expected or not example.source:
        return True
    return any(word.casefold() in answer and word.casefold() in prompt for word in example.expected)


def _spread(lengths: list[int]) -> list[int]:
    ordered = sorted(lengths) or [0]
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


def _shared(first: Iterable[tuple[str, ...]], second: Iterable[tuple[str, ...]]) -> list[str]:
    ours = {key for keys in first for key in keys}
    return sorted(ours & {key for keys in second for key in keys})[:50]
