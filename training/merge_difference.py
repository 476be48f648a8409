"""How far a merged model is from the adapter on its base: loss of both on the same texts, and their divergence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

MAX_POSITIONS = 512
"""Positions that are compared. The log-probabilities of one model are kept: 0.5 GB for 262,144 words."""
_MAX_TOKENS = 128
TEXTS = (
    "你是谁？我是爱莉希雅，往世乐土里的粉色妖精小姐，也是你最可靠的向导。",
    "今天有点累，不过窗外的雨停了，空气里有青草的味道。我们去河边走一走，好吗？",
    "资料里写着，这座灯塔建于一百二十年前，塔高三十一米，每晚亮灯两次。[1]",
    "唔，这件事我的资料里没有，我不想随便编一个答案来骗你。",
    "北京是中国的首都。水在标准大气压下于一百摄氏度沸腾。三加五等于八。",
    "Who are you? I am Elysia, your guide through the Elysian Realm, and I have been waiting for you.",
    "The ferry leaves the island on Mondays and Saturdays; the captain says that fog may delay it by an hour.",
    "I really don't know that one. My records say nothing about it, and I will not make anything up.",
    "Paris is the capital of France. A week has seven days, and a leap year has three hundred and sixty-six.",
    "First boil the water, then add the noodles, stir once, and wait for four minutes before you taste them.",
)
"""Short texts in both languages, written for this: introductions, answers with a source, refusals, general talk."""


@dataclass(frozen=True)
class Difference:
    """What merging changed.

    Attributes:
        loss_adapter: mean cross-entropy of the adapter on its base, nats per token.
        loss_merged: that of the merged model.
        mean_kl: mean Kullback-Leibler divergence of the merged model from the adapter on its base, nats.
        max_kl: the largest one.
        same_choice: share of positions at which both have the same likeliest token.
        tokens: positions compared.
        dtype: in which both computed.
    """

    loss_adapter: float
    loss_merged: float
    mean_kl: float
    max_kl: float
    same_choice: float
    tokens: int
    dtype: str


@dataclass(frozen=True)
class Measured:
    """Log-probabilities of one model: (positions, vocabulary) on the CPU in float32, and the tokens that follow."""

    log_probabilities: torch.Tensor
    targets: torch.Tensor


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return token ids of texts of at least two tokens, `MAX_POSITIONS` in all and each cut to 128."""
    rows, room = [], MAX_POSITIONS
    for text in texts:
        ids = list(tokenizer(text)["input_ids"])[: min(_MAX_TOKENS, room + 1)]
        if len(ids) >= 2:
            rows.append(ids)
            room -= len(ids) - 1
        if room < 1:
            break
    return rows


def measure(model: Any, rows: Sequence[Sequence[int]]) -> Measured:
    """Compute what a model expects at every position of some texts.

    Args:
        model: causal language model in evaluation mode.
        rows: token ids of each text.
    """
    device = next(iter(model.parameters())).device
    found, targets = [], []
    with torch.inference_mode():
        for row in rows:
            ids = torch.tensor([list(row)], device=device)
            logits = model(input_ids=ids).logits[0, :-1]
            found.append(logits.float().log_softmax(dim=-1).cpu())
            targets.append(ids[0, 1:].cpu())
    return Measured(torch.cat(found), torch.cat(targets))


def compare(before: Measured, after: Measured, dtype: str) -> Difference:
    """Compare the merged model (`after`) with the adapter on its base (`before`)."""
    width = min(before.log_probabilities.shape[1], after.log_probabilities.shape[1])
    first, second = before.log_probabilities[:, :width], after.log_probabilities[:, :width]
    divergences = (first.exp() * (first - second)).sum(dim=-1).clamp_min(0)
    same = (first.argmax(dim=-1) == second.argmax(dim=-1)).float().mean()
    return Difference(
        loss_adapter=float(functional.nll_loss(before.log_probabilities, before.targets)),
        loss_merged=float(functional.nll_loss(after.log_probabilities, after.targets)),
        mean_kl=float(divergences.mean()),
        max_kl=float(divergences.max()),
        same_choice=float(same),
        tokens=len(before.targets),
        dtype=dtype,
    )
