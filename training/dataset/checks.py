"""Checks of a dataset: duplicates, leaks, lengths, empty and contradicting answers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from elysia_chat.training.dataset.example import TEXT_KIND, Example

_LONG = 2000
_SHOWN = 10


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
        long_answers: answers of more than 2,000 characters, which a chat seldom wants; texts do not count.
        places: by fault, where the first ten are ("train.jsonl, line 3").
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
    long_answers: int = 0
    places: dict[str, list[str]] = field(default_factory=dict)

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
    given: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(everything):
        asked = [message["content"] for message in item.messages]
        given["\x00".join([*asked, item.answer] if item.kind == TEXT_KIND else asked)].append(number)
    repeated = [numbers for numbers in given.values() if len(numbers) > 1]
    faults = {
        "duplicates": [number for numbers in repeated for number in numbers[1:]],
        "contradictions": [numbers[0] for numbers in repeated if len({everything[n].answer for n in numbers}) > 1],
        "empty_answers": [number for number, item in enumerate(everything) if not item.answer.strip()],
        "unsupported": [number for number, item in enumerate(everything) if not supported(item)],
        "long_answers": [
            number for number, item in enumerate(everything) if len(item.answer) > _LONG and item.kind != TEXT_KIND
        ],
    }
    for name, numbers in faults.items():
        setattr(report, name, len(numbers))
    report.places = {
        name: [_place(n, len(train)) for n in numbers[:_SHOWN]] for name, numbers in faults.items() if numbers
    }
    report.leaked_facts = _shared((item.facts for item in train), (item.facts for item in test))
    report.leaked_documents = _shared((item.documents for item in train), (item.documents for item in test))
    report.distinct_answers = round(len({item.answer for item in everything}) / max(1, len(everything)), 3)
    return report


def _place(number: int, train: int) -> str:
    """Return where an example is found, counted from the first of the training data."""
    return f"train.jsonl, line {number + 1}" if number < train else f"test.jsonl, line {number - train + 1}"


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
