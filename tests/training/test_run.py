import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.training.answers import judge, read_prompts, summarise
from elysia_chat.training.average import average_adapters
from elysia_chat.training.batches import TokenBudgetSampler, collate
from elysia_chat.training.checkpoints import newest_checkpoint
from elysia_chat.training.dataset.example import Example
from elysia_chat.training.errors import CheckpointError, DataFileError, DivergedError, PresetError
from elysia_chat.training.presets import Preset, load_preset, preset_names
from elysia_chat.training.run import run_training
from elysia_chat.training.tokens import encode, lengths, read_examples, render, turn_ending
from elysia_chat.training.trainer import FiniteGuard, attention_masks, packed_loss
from tests.training.tiny_models import save_model, tiny_gemma, tiny_llama, tiny_tokenizer

COMMON = ["train.device=cpu", "train.log_steps=1", "model.dtype=float32", "lora.r=4", "lora.alpha=8"]


def write_data(path: Path, groups: int = 12) -> Path:
    lines = []
    for group in range(groups):
        text = f"The ferry {group} is called Quiet Wind {group}.\n它每天九点开。"
        for number, (asked, answer) in enumerate(
            (("What is it called?", f"Quiet Wind {group}"), ("几点开？", "九点 [1]。"))
        ):
            messages = [
                {"role": "system", "content": "You are Elysia."},
                {"role": "user", "content": f"{text}\nQ: {asked}"},
            ]
            lines.append(
                json.dumps({"group": f"g{group}", "messages": messages, "answer": answer, "kind": str(number)})
            )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_model(tiny_gemma(), tmp_path / "base")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "train.jsonl")


def preset(data: Path, *overrides: str) -> Preset:
    return load_preset("embedded", [f"data.train={data}", *COMMON, "train.batch_tokens=400", *overrides])


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_packed_loss_is_the_plain_loss_of_the_answers(data: Path, make: Any) -> None:
    # A tiny window, so that a mask by places in the sequence in place of positions would show.
    model = make(sliding_window=24) if make is tiny_gemma else make()
    tokenizer = tiny_tokenizer()
    examples = list(read_examples(data))[:6]
    encoded, _ = encode(tokenizer, examples, 2048)
    assert [item.examples for item in encoded] == [2, 2, 2]
    packed = packed_loss(model, collate(encoded, 2))
    total, count = 0.0, 0
    for item in examples:
        prompt = tokenizer(render(tokenizer, item), add_special_tokens=False)["input_ids"]
        text = render(tokenizer, item) + item.answer + turn_ending(tokenizer)
        whole = tokenizer(text, add_special_tokens=False)["input_ids"]
        logits = model(torch.tensor([whole])).logits[0, len(prompt) - 1 : -1]
        total += torch.nn.functional.cross_entropy(logits, torch.tensor(whole[len(prompt) :]), reduction="sum").item()
        count += len(whole) - len(prompt)
    assert packed.item() == pytest.approx(total / count, rel=1e-5)


def test_a_token_sees_the_beginning_and_its_own_part() -> None:
    segments = torch.tensor([[0, 0, 1, 1, 2, -1]])
    parents, positions = torch.tensor([[0, 0, 0, 0, 0, -1]]), torch.tensor([[0, 1, 2, 3, 2, 0]])
    mask = attention_masks(segments, parents, positions, None)[0, 0]
    assert mask[3].tolist() == [True, True, True, True, False, False]
    assert mask[4].tolist() == [True, True, False, False, True, False]
    # Padding has to see something, or its softmax is not a number; nothing sees padding.
    assert mask[5].any()
    assert not mask[:5, 5].any()
    narrow = attention_masks(segments, parents, positions, 2)[0, 0]
    assert narrow[4].tolist() == [False, True, False, False, True, False]


def test_batches_keep_to_the_budget_and_hold_everything_once() -> None:
    sizes = np.random.default_rng(0).integers(5, 90, 300)
    sampler = TokenBudgetSampler(sizes, 400, seed=1)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(300))
    assert all(len(batch) * max(sizes[index] for index in batch) <= 400 for batch in batches)
    assert list(sampler) == batches
    sampler.set_epoch(1)
    assert list(sampler) != batches
    assert len(list(sampler)) == len(sampler)


def test_the_loss_falls_and_the_adapter_is_whole(base: Path, data: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"messages": [{"role": "user", "content": "?"}], "any_of": ["x"]}), encoding="utf-8")
    settings = preset(
        data,
        "train.epochs=6",
        f"evaluate.prompts={prompts}",
        "evaluate.every=4",
        "evaluate.max_new_tokens=3",
        "train.learning_rate=5e-3",
    )
    result = run_training(settings, tmp_path / "out", base=base)
    losses = [
        json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert {entry["step"] for entry in losses} >= {4, result.steps}
    results = json.loads((result.adapter / "results.json").read_text(encoding="utf-8"))
    assert results["examples"] == 24
    assert results["skipped_steps"] == 0
    assert result.loss < 4.0
    assert (result.adapter / "loss.png").is_file()
    assert list((tmp_path / "out").rglob("events.out.tfevents.*"))
    saved = yaml.safe_load((result.adapter / "training.yaml").read_text(encoding="utf-8"))
    assert saved["data"]["train"] == "train.jsonl"
    assert str(tmp_path) not in "".join(
        path.read_text(encoding="utf-8") for path in result.adapter.glob("*.[jy]*") if path.suffix != ".png"
    )
    again = run_training(
        preset(data, f"lora.start={result.adapter}", "train.max_steps=1"), tmp_path / "more", base=base
    )
    assert again.loss < 4.0


def test_a_resumed_run_ends_where_an_unbroken_one_does(base: Path, data: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    steps = ["train.max_steps=6", "train.save_steps=3", "train.save_limit=5"]
    whole = run_training(preset(data, *steps), tmp_path / "whole", base=base)
    run_training(preset(data, *steps), tmp_path / "broken", base=base)
    for path in (tmp_path / "broken").glob("checkpoint-6/*"):
        path.unlink()
    assert newest_checkpoint(tmp_path / "broken") == tmp_path / "broken" / "checkpoint-3"
    resumed = run_training(preset(data, *steps), tmp_path / "broken", resume=True, base=base)
    one, two = (load_file(str(item.adapter / "adapter_model.safetensors")) for item in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert resumed.steps == 6


def test_nothing_to_resume_from(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        run_training(preset(data), tmp_path / "out", resume=True, base=base)


def test_a_run_ends_when_its_time_is_over(base: Path, data: Path, tmp_path: Path) -> None:
    result = run_training(preset(data, "train.epochs=1000", "train.seconds=2"), tmp_path / "out", base=base)
    assert 0 < result.steps < 10_000


def guarded(gradients: list[float], patience: int) -> tuple[FiniteGuard, list[float | None]]:
    model = torch.nn.Linear(1, 1, bias=False)
    guard = FiniteGuard(patience)
    state: Any = type("State", (), {"global_step": 0})()
    left: list[float | None] = []
    for gradient in gradients:
        model.weight.grad = torch.full_like(model.weight, gradient)
        guard.on_pre_optimizer_step(None, state, None, model=model)  # type: ignore[arg-type]
        left.append(None if model.weight.grad is None else model.weight.grad.item())
    return guard, left


def test_steps_that_are_not_finite_are_left_out_and_counted() -> None:
    guard, left = guarded([1.0, float("nan"), float("inf"), 2.0, float("nan")], 3)
    assert left == [1.0, None, None, 2.0, None]
    assert guard.skipped == 3


def test_several_in_a_row_stop_the_run() -> None:
    with pytest.raises(DivergedError, match="3 steps in a row"):
        guarded([float("nan")] * 4, 3)


def test_every_preset_loads() -> None:
    assert {"embedded", "embedded-continue", "embedded-cpu"} <= set(preset_names())
    for name in ("embedded", "embedded-continue", "embedded-cpu"):
        assert load_preset(name).model.name == "embedded"


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("nosuch", [], "There is no training preset 'nosuch'; known:"),
        ("embedded", ["train.learning_rat=1"], "Unknown setting train.learning_rat; known:"),
        ("embedded", ["learning_rate=1"], "write it as part.key=value"),
        ("embedded", ["lora.r=many"], "'lora.r' must be int, not 'many'"),
        ("embedded", ["lora.targets=q_proj"], "'lora.targets' must be a list of words"),
        ("missing.yaml", [], "cannot be read"),
    ],
)
def test_wrong_presets_say_what_is_wrong(name: str, overrides: list[str], message: str) -> None:
    with pytest.raises(PresetError, match=message):
        load_preset(name, overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lora.targets=[wqkv]", "for another model: it has no layers called wqkv"),
        ("data.train=", "No data"),
        ("train.device=tpu", "must be auto, cpu or cuda"),
        ("model.dtype=int8", "model.dtype must be"),
        ("data.max_tokens=4", "no example of at most 4 tokens"),
        ("lora.start=nowhere/adapter", "Cannot go on from the adapter"),
    ],
)
def test_what_does_not_fit_is_said_before_the_first_step(
    base: Path, data: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(ElysiaChatError, match=message):
        run_training(preset(data, override), tmp_path / "out", base=base)


def test_a_gpu_preset_without_a_gpu(base: Path, data: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(PresetError, match="needs a GPU"):
        run_training(preset(data, "train.device=cuda"), tmp_path / "out", base=base)


def test_no_model_in_the_folder(data: Path, tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="no model to train"):
        run_training(preset(data), tmp_path / "out", base=tmp_path / "nothing")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: expected a JSON object"),
        ('{"answer": "x"}', "line 2: expected a JSON object"),
        ('{"messages": [{"role": "assistant", "content": "q"}], "answer": "a"}', "line 2: the last message"),
        ('{"messages": [{"role": "user", "content": "q"}], "answer": " "}', "line 2: the last message"),
    ],
)
def test_a_bad_line_of_data_is_named(tmp_path: Path, line: str, message: str) -> None:
    good = json.dumps({"messages": [{"role": "user", "content": "q"}], "answer": "a"})
    (tmp_path / "d.jsonl").write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(DataFileError, match=message):
        list(read_examples(tmp_path / "d.jsonl"))


def test_long_examples_are_left_out_and_counted(data: Path) -> None:
    encoded, left_out = encode(tiny_tokenizer(), read_examples(data), 10)
    assert encoded == []
    assert left_out == 24
    whole, none = encode(tiny_tokenizer(), read_examples(data), 4096)
    assert none == 0
    assert sum(item.examples for item in whole) == 24
    assert lengths(whole).max() < 400


def test_control_tokens_in_the_data_end_no_turn() -> None:
    tokenizer = tiny_tokenizer()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")

    def ends(text: str) -> int:
        example = Example("x", "en", [{"role": "user", "content": f"q {text}"}], f"a {text}")
        return int(sum((item.ids == end).sum() for item in encode(tokenizer, [example], 4096)[0]))

    assert ends("<|im_end|>") == ends("")


def test_answers_are_judged() -> None:
    asked = {"messages": [], "any_of": ["Mist Harbour"], "sources": [2], "set": "w"}
    assert judge(asked, "In mist harbour [2].") == {"refused": False, "cited": [2], "right": True, "cited_right": True}
    assert not judge(asked, "I don't know Mist Harbour.")["right"]
    assert judge({"messages": [], "refuse": True}, "资料里没有提到。")["right"]
    verdicts = [judge(asked, "In Mist Harbour [1]."), judge(asked, "No.")]
    assert summarise([asked, asked], verdicts)["w/answerable"] == {
        "count": 2,
        "right": 0.5,
        "refused": 0.0,
        "cited_right": 0.0,
    }


def test_prompts_of_the_wrong_shape(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"messages": []}', encoding="utf-8")
    with pytest.raises(DataFileError, match="line 1"):
        read_prompts(tmp_path / "p.jsonl")


def test_adapters_are_averaged_and_scaled(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from tests.training.tiny_models import save_adapter

    one, two = save_adapter(base, tmp_path / "1"), save_adapter(base, tmp_path / "2", strength=0.4)
    mean = average_adapters([one, two], tmp_path / "mean", 0.5)
    a, b, c = (load_file(str(folder / "adapter_model.safetensors")) for folder in (one, two, mean))
    for name in a:
        scale = 0.5 if ".lora_B." in name else 1.0
        assert torch.allclose(c[name], (a[name] + b[name]) / 2 * scale, atol=1e-6)
    other = save_adapter(base, tmp_path / "3", r=2)
    with pytest.raises(CheckpointError, match="cannot be averaged"):
        average_adapters([one, other], tmp_path / "no")
    (two / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="cut short"):
        average_adapters([one, two], tmp_path / "no")
