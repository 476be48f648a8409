"""What happens while a message is answered, as typed events in the order in which they come.

    Searching? → Retrieved? → Token* with Sentence* among them → Finished

Every front end is a loop over them. `Searching` comes only where a follow-up was turned into another search question,
`Retrieved` only where the lore is searched. A stopped reply ends with `Finished` whose `stopped` is true.
"""

from dataclasses import dataclass, field

from langchain_core.documents import Document


@dataclass(frozen=True)
class Searching:
    """The question that the lore is searched with, where it is not the message itself."""

    question: str


@dataclass(frozen=True)
class Retrieved:
    """The passages that are in the prompt, in its numbering: the first is [1]."""

    passages: tuple[Document, ...]


@dataclass(frozen=True)
class Token:
    """The next piece of the answer; all of them joined are the answer."""

    text: str


@dataclass(frozen=True)
class Sentence:
    """A sentence that is complete, ready to be spoken."""

    text: str


@dataclass(frozen=True)
class Usage:
    """Tokens of one reply."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True)
class Timings:
    """Seconds. `first_token_s` counts from the message; what did not happen is None."""

    retrieval_s: float | None = None
    first_token_s: float | None = None
    total_s: float = 0.0


@dataclass(frozen=True)
class Finished:
    """The whole answer. `cited` are the numbers of the passages that it names, as far as there are such passages."""

    answer: str
    passages: tuple[Document, ...] = ()
    cited: tuple[int, ...] = ()
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    stopped: bool = False
    truncated: bool = False


Event = Searching | Retrieved | Token | Sentence | Finished
