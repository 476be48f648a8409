"""The configs: the tutorials' two come out of their recipes, and every part of a preset reaches its place."""

import ast
from importlib.resources import files
from typing import Any

import pytest
import yaml

from elysia_chat.training.errors import PresetError
from elysia_chat.training.presets import preset_names
from elysia_chat.training.xtuner.config import Place, config_text
from elysia_chat.training.xtuner.recipe import load_recipe, recipe_names
from tests.training.xtuner.read_config import read_config

RECIPES = ["alpaca", "assistant", "openai", "pretrain"]
INTERNLM2 = [name for name in preset_names() if name.startswith("internlm2")]


def config(name: str, *changes: str, **place: Any) -> dict[str, Any]:
    preset, recipe = load_recipe(name, changes)
    form = {"auto": "conversation"}.get(recipe.format, recipe.format)
    where = Place(**{"base": "base", "data": "data.jsonl", "format": form, "internlm2": True, **place})
    return read_config(config_text(preset, recipe, where, name))


QLORA = {
    "type": "BitsAndBytesConfig", "load_in_4bit": True, "load_in_8bit": False, "llm_int8_threshold": 6.0,
    "llm_int8_has_fp16_weight": False, "bnb_4bit_compute_dtype": "torch.float16", "bnb_4bit_use_double_quant": True,
    "bnb_4bit_quant_type": "nf4",
}  # fmt: skip
LORA = {"type": "LoraConfig", "r": 64, "lora_alpha": 16, "lora_dropout": 0.1, "bias": "none",
        "task_type": "CAUSAL_LM"}  # fmt: skip


def tutorial(
    *, epochs: int, rate: float, map_fn: str | None, template: str | None, system: str, questions: list[str]
) -> dict[str, Any]:
    """Return the values of the tutorials' configs, as far as they are of XTuner's five parts.

    Four things are another way here, on purpose: no code comes with the model (`trust_remote_code`), the paths are
    those of the run's folder, a seed is given where the tutorials have none, and the frozen weights are said to be in
    half precision where the second tutorial leaves that to bitsandbytes, which takes the same.
    """
    tokenizer = {
        "type": "AutoTokenizer.from_pretrained", "pretrained_model_name_or_path": "base", "trust_remote_code": False,
        "padding_side": "right",
    }  # fmt: skip
    chat = {"type": "EvaluateChatHook", "tokenizer": tokenizer, "every_n_iters": 500, "evaluation_inputs": questions,
            "system": system}  # fmt: skip
    warmup = {"by_epoch": True, "convert_to_iter_based": True}
    return {
        "tokenizer": tokenizer,
        "model": {
            "type": "SupervisedFinetune", "use_varlen_attn": False,
            "llm": {
                "type": "AutoModelForCausalLM.from_pretrained", "pretrained_model_name_or_path": "base",
                "trust_remote_code": False, "torch_dtype": "torch.float16", "quantization_config": QLORA,
            },
            "lora": LORA,
        },
        "train_dataloader": {
            "batch_size": 1, "num_workers": 0,
            "dataset": {
                "type": "process_hf_dataset",
                "dataset": {"type": "load_dataset", "path": "json", "data_files": {"train": "data.jsonl"}},
                "tokenizer": tokenizer, "max_length": 2048, "dataset_map_fn": map_fn,
                "template_map_fn": {"type": "template_map_fn_factory", "template": template} if template else None,
                "remove_unused_columns": True, "shuffle_before_pack": template is not None,
                "pack_to_max_length": True, "use_varlen_attn": False,
            },
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "collate_fn": {"type": "default_collate_fn", "use_varlen_attn": False},
        },
        "optim_wrapper": {
            "type": "AmpOptimWrapper",
            "optimizer": {"type": "torch.optim.AdamW", "lr": rate, "betas": [0.9, 0.999], "weight_decay": 0},
            "clip_grad": {"max_norm": 1, "error_if_nonfinite": False}, "accumulative_counts": 16,
            "loss_scale": "dynamic", "dtype": "float16",
        },
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 1e-5, "begin": 0, "end": 0.03 * epochs, **warmup},
            {"type": "CosineAnnealingLR", "eta_min": 0.0, "begin": 0.03 * epochs, "end": epochs, **warmup},
        ],
        "train_cfg": {"type": "TrainLoop", "max_epochs": epochs},
        "custom_hooks": [
            {"type": "DatasetInfoHook", "tokenizer": tokenizer},
            {**chat, "prompt_template": template} if template else chat,
        ],
        "default_hooks": {
            "timer": {"type": "IterTimerHook"},
            "logger": {"type": "LoggerHook", "log_metric_by_epoch": False, "interval": 10},
            "param_scheduler": {"type": "ParamSchedulerHook"},
            "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 500, "max_keep_ckpts": 2},
            "sampler_seed": {"type": "DistSamplerSeedHook"},
        },
        "env_cfg": {
            "cudnn_benchmark": False, "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
            "dist_cfg": {"backend": "nccl"},
        },
        "visualizer": None, "log_level": "INFO", "load_from": None, "resume": False,
        "randomness": {"seed": 1, "deterministic": False}, "log_processor": {"by_epoch": False},
    }  # fmt: skip


def test_the_personal_assistant_of_the_tutorial() -> None:
    wanted = tutorial(
        epochs=3, rate=2e-4, map_fn=None, template="PROMPT_TEMPLATE.internlm2_chat", system="SYSTEM_TEMPLATE.alpaca",
        questions=["请介绍一下你自己", "请给我介绍五个上海的景点", "Please tell me five scenic spots in Shanghai"],
    )  # fmt: skip
    found = config("assistant")
    assert {key: found[key] for key in wanted} == wanted


def test_the_pre_training_of_the_tutorial() -> None:
    wanted = tutorial(
        epochs=1, rate=2e-5, map_fn="pretrain_map_fn", template=None, system="",
        questions=["书生·浦语大模型实战营第三期是", "上海是", "Shanghai is"],
    )  # fmt: skip
    found = config("pretrain")
    assert {key: found[key] for key in wanted} == wanted


def test_these_are_the_recipes_and_their_heads_give_the_command() -> None:
    assert recipe_names() == RECIPES
    for name in RECIPES:
        text = files("elysia_chat.configs").joinpath("training", "xtuner", f"{name}.yaml").read_text(encoding="utf-8")
        commands = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   elysia-chat")]
        assert len(commands) == 2
        for line in commands:
            words = line.split()
            assert words[:5] == ["elysia-chat", "train", "xtuner", "config", name]
            load_recipe(name, [word for word in words[5:] if "=" in word])
        assert yaml.safe_load(text)["preset"] in preset_names()


@pytest.mark.parametrize("name", [*RECIPES, *INTERNLM2])
@pytest.mark.parametrize("internlm2", [True, False])
def test_every_recipe_and_preset_is_readable_python_in_five_parts(name: str, internlm2: bool) -> None:
    preset, recipe = load_recipe(name)
    place = Place("base", "data.jsonl", "conversation", internlm2)
    text = config_text(preset, recipe, place, name)
    ast.parse(text)
    heads = [line for line in text.splitlines() if " PART " in line]
    assert [line.split()[2] for line in heads] == ["1", "2", "3", "4", "5"]
    assert max(map(len, text.splitlines())) <= 120
    assert "\n\n\n\n" not in text


def test_layers_have_the_names_of_the_base() -> None:
    name = "internlm2-chat-1.8b-qlora"
    assert config(name)["model"]["lora"]["target_modules"] == ["wqkv", "wo", "w1", "w3", "w2"]
    assert config(name, internlm2=False)["model"]["lora"]["target_modules"][:2] == ["q_proj", "k_proj"]
    assert config(name, "lora.targets=[v_proj]")["model"]["lora"]["target_modules"] == ["wqkv"]
    assert "target_modules" not in config(name, "xtuner.every_linear=true")["model"]["lora"]
    with pytest.raises(PresetError, match="InternLM2 has no layers that stand for lm_head"):
        config(name, "lora.targets=[lm_head]")


@pytest.mark.parametrize(("form", "function"), [("openai", "openai_map_fn"), ("alpaca", "alpaca_map_fn")])
def test_data_of_other_forms_gets_xtuners_own_function(form: str, function: str) -> None:
    found = config("internlm2_5-chat-7b-qlora", f"xtuner.format={form}")
    assert found["train_dataset"]["dataset_map_fn"] == function


def test_a_preset_reaches_every_part() -> None:
    found = config(
        "internlm2-chat-7b-qlora", "model.bits=16", "model.dtype=bfloat16", "model.attention=flash_attention_2",
        "train.learning_rate=1e-4", "train.end_share=0.1", "train.beta2=0.95", "train.weight_decay=0.1",
        "train.accumulation=4", "train.save_steps=50", "train.seed=7", "train.optimizer=paged_adamw_8bit",
        "train.gradient_checkpointing=false", "data.max_tokens=512", "train.batch_tokens=2048", "data.packing=false",
        "xtuner.system=你是{爱莉希雅}。",
    )  # fmt: skip
    llm = found["model"]["llm"]
    assert "quantization_config" not in llm
    assert (llm["torch_dtype"], llm["attn_implementation"]) == ("torch.bfloat16", "flash_attention_2")
    assert found["model"]["use_activation_checkpointing"] is False
    assert found["optim_wrapper"]["optimizer"] == {
        "type": "PagedAdamW8bit", "lr": 1e-4, "betas": [0.9, 0.95], "weight_decay": 0.1,
    }  # fmt: skip
    assert found["optim_wrapper"]["dtype"] == "bfloat16"
    assert found["param_scheduler"][1]["eta_min"] == pytest.approx(1e-5)
    assert found["train_dataloader"]["batch_size"] == 4
    assert found["train_dataset"]["pack_to_max_length"] is False
    # XTuner counts iterations where the preset counts steps.
    assert found["default_hooks"]["checkpoint"]["interval"] == 200
    assert found["randomness"]["seed"] == 7
    # The hook fills the prompt in with str.format.
    assert found["custom_hooks"][1]["system"].format() == "你是{爱莉希雅}。"


def test_a_number_of_steps_becomes_one_of_iterations() -> None:
    found = config("internlm2-chat-1.8b-qlora", "train.max_steps=100", "train.warmup_share=0.1")
    assert found["train_cfg"] == {"type": "TrainLoop", "max_iters": 1600}
    first, second = found["param_scheduler"]
    assert (first["begin"], first["end"], second["begin"], second["end"]) == (0, 160, 160, 1600)


def test_full_precision_needs_no_mixed_one() -> None:
    found = config("internlm2-chat-1.8b-qlora", "model.dtype=float32", "model.bits=16")
    assert found["optim_wrapper"]["type"] == "OptimWrapper"
    assert not {"loss_scale", "dtype"} & found["optim_wrapper"].keys()


def test_a_warm_up_has_two_iterations_at_least() -> None:
    """XTuner fails on a warm-up of none; with one iteration its rate stays at 1e-5 of what it should be, unsaid."""
    found = config("internlm2-chat-1.8b-qlora", rows=4)
    assert int(found["warmup_ratio"] * 3 * 4) == 2
    assert config("internlm2-chat-1.8b-qlora", rows=4000)["warmup_ratio"] == 0.03
    with pytest.raises(PresetError, match=r"would make 1 iterations, and 4 are the least: raise train\.epochs"):
        config("internlm2-chat-1.8b-qlora", "train.epochs=1", rows=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epochs=0.5", "whole number"),
        ("lora.start=runs/1", "nothing for lora.start"),
        ("train.seconds=60", "nothing for train.seconds"),
        ("xtuner.format=csv", "one of auto, conversation"),
        ("xtuner.colour=pink", "Unknown setting xtuner.colour"),
        ("xtuner.questions=why", "must be a list"),
        ("xtuner.every_linear=1", "must be bool"),
        ("xtuner.template=a b", "prompt templates"),
        ("xtuner.format", "write it as xtuner.key=value"),
        ("train.colour=pink", "Unknown setting train.colour"),
    ],
)
def test_what_xtuner_cannot_do_is_said(change: str, message: str) -> None:
    with pytest.raises(PresetError, match=message):
        config("internlm2-chat-1.8b-qlora", change)


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(PresetError, match=r"no recipe 'nothing'.*assistant.*internlm2-chat-7b-qlora"):
        load_recipe("nothing")


def test_a_recipe_of_ones_own(tmp_path: Any) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("preset: internlm2-chat-7b-qlora\nlora: {r: 8}\nxtuner: {questions: [你好]}\n", encoding="utf-8")
    preset, recipe = load_recipe(str(path), ["lora.alpha=4"])
    assert (preset.lora.r, preset.lora.alpha, recipe.questions) == (8, 4, ("你好",))
    path.write_text("preset: internlm2-chat-7b-qlora\nlora: 3\n", encoding="utf-8")
    with pytest.raises(PresetError, match=r"'lora' in .* must be a mapping"):
        load_recipe(str(path))
