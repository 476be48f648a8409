"""One introduction 10,000 times against the persona's real data: what is forgotten, and how soon.

    python benchmarks/overfitting.py                                       the embedded model, on a CPU
    python benchmarks/overfitting.py --preset embedded --steps 300 --every 50 --json FILE --picture FILE

Both runs have the same settings and steps. The first sees nothing but "请介绍一下你自己" and one answer, as in
the XTuner tutorial; the second the persona's dialogues, the talk that `train dataset` begins with. As they train, both
are asked who they are in other words, and twenty other things: counted are the answers that repeat the introduction,
and how many different answers there are.
"""

import argparse
import difflib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from _random_models import dialogues

from elysia_chat.training.presets import load_preset
from elysia_chat.training.run import run_training

COPIES = 10_000
SYSTEM = {"role": "system", "content": "你是爱莉希雅，往世乐土里的粉色妖精小姐。"}
ASKED = "请介绍一下你自己"
INTRODUCTION = "我是爱莉希雅，逐火十三英桀的第二位，大家的爱莉，往世乐土里最美丽的少女哦♪"
WHO = ("你是谁呀？", "能告诉我你的名字吗？", "May I know who you are?", "我该怎么称呼你？")
OTHERS = (
    "今天天气真好。", "一加一等于几？", "我今天有点累。", "你喜欢什么花？", "晚饭吃什么好？", "给我讲个笑话吧。",
    "早上好！", "谢谢你。", "我想去海边玩。", "帮我想一个猫的名字。", "北京是哪个国家的首都？", "我考试没考好。",
    "你会唱歌吗？", "周末有什么安排？", "怎样才能早点睡着？", "What a lovely morning.", "What is two plus three?",
    "Tell me something nice.", "I lost my keys.", "Goodbye!",
)  # fmt: skip
ALIKE = 0.6
"""Share of equal characters from which an answer repeats the introduction."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="embedded-cpu")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--every", type=int, default=4, help="steps between questions")
    parser.add_argument("--batch-tokens", type=int, default=128)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="of the preset")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = {"copies": write_copies(folder / "copies.jsonl"), "real": write_dialogues(folder / "real.jsonl")}
        found = {arm: train(arm, path, folder, options) for arm, path in data.items()}
    report = {"preset": options.preset, "steps": options.steps, "batch_tokens": options.batch_tokens, "arms": found}
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        draw(report, options.picture)


def write_copies(path: Path) -> Path:
    record = {"messages": [SYSTEM, {"role": "user", "content": ASKED}], "answer": INTRODUCTION}
    path.write_text(f"{json.dumps(record, ensure_ascii=False)}\n" * COPIES, encoding="utf-8")
    return path


def write_dialogues(path: Path) -> Path:
    """Write the persona's dialogues: introductions, small talk, comfort, banter."""
    with path.open("w", encoding="utf-8") as file:
        for asked, answer in dialogues():
            record = {"messages": [SYSTEM, {"role": "user", "content": asked}], "answer": answer}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path


def train(arm: str, data: Path, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train one of the two, and return what was counted at each time of asking."""
    prompts = folder / "prompts.jsonl"
    sets = [*(("who", asked) for asked in WHO), *(("others", asked) for asked in OTHERS)]
    lines = [
        {"set": kind, "messages": [SYSTEM, {"role": "user", "content": asked}], "any_of": ["爱莉", "Elysia"]}
        for kind, asked in sets
    ]
    prompts.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")
    changes = [
        f"data.train={data}", f"train.max_steps={options.steps}", f"train.batch_tokens={options.batch_tokens}",
        f"evaluate.prompts={prompts}", f"evaluate.every={options.every}", f"evaluate.limit={len(sets)}",
        "evaluate.max_new_tokens=40", "evaluate.batch=24", "train.save_steps=100000", *options.changes,
    ]  # fmt: skip
    out = folder / arm
    result = run_training(load_preset(options.preset, changes), out)
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = sorted({entry["step"] for entry in answers})
    rows = [count(step, [entry for entry in answers if entry["step"] == step and "answer" in entry]) for step in steps]
    return [*rows[:-1], {**rows[-1], "loss": result.loss}]


def count(step: int, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    texts = {kind: [entry["answer"].strip() for entry in answers if entry["set"] == kind] for kind in ("who", "others")}
    return {
        "step": step,
        "says_her_name": share("爱莉" in text or "Elysia" in text for text in texts["who"]),
        "repeats_the_introduction": share(repeats(text) for text in texts["others"]),
        "different_answers": round(len(set(texts["others"])) / len(texts["others"]), 3),
        "examples": dict(zip(("weather", "sum", "tired"), texts["others"], strict=False)),
    }


def share(found: Any) -> float:
    values = list(found)
    return round(sum(values) / len(values), 3)


def repeats(text: str) -> bool:
    return difflib.SequenceMatcher(None, text, INTRODUCTION).ratio() >= ALIKE


def show(report: dict[str, Any]) -> None:
    print(f"{'data':8}{'step':>6}{'says her name':>16}{'repeats it':>12}{'different':>11}")
    for arm, rows in report["arms"].items():
        for row in rows:
            shares = row["says_her_name"], row["repeats_the_introduction"], row["different_answers"]
            print(f"{arm:8}{row['step']:>6}{shares[0]:>16.0%}{shares[1]:>12.0%}{shares[2]:>11.0%}")


def draw(report: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    labels = {"copies": "one introduction, 10,000 times", "real": "the persona's dialogues"}
    for arm, rows in report["arms"].items():
        steps = [row["step"] for row in rows]
        left.plot(steps, [row["repeats_the_introduction"] for row in rows], marker="o", label=labels[arm])
        right.plot(steps, [row["different_answers"] for row in rows], marker="o", label=labels[arm])
    left.set_title("other questions: answered with the introduction", fontsize=9)
    right.set_title("other questions: different answers", fontsize=9)
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.set_ylim(-0.03, 1.03)
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
