"""The memory-lean loss: equal to the plain one in value and gradient, whatever model and whatever wraps it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from elysia_chat.training.errors import PresetError
from elysia_chat.training.loss import LeanLossMixin, answer_loss, output_head

from .tiny_models import save_model, tiny_gemma, tiny_llama


def batch(vocabulary: int = 480) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    ids = torch.randint(5, vocabulary, (3, 17))
    labels = ids.clone()
    labels[:, :6] = -100
    labels[1, 10:] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def assert_equal_to_plain(
    model: nn.Module, inputs: dict[str, torch.Tensor], chunk: int, tolerance: float = 1e-5
) -> None:
    plain = model(**inputs).loss
    plain.backward()
    wanted = gradients(model)
    lean, outputs = answer_loss(model, inputs, chunk_tokens=chunk)
    lean.backward()
    got = gradients(model)
    assert outputs.logits.shape[1] == 0
    assert abs(lean.item() - plain.item()) < tolerance
    assert wanted.keys() == got.keys()
    assert wanted
    for name, gradient in wanted.items():
        assert (got[name] - gradient).abs().max() <= tolerance * max(1.0, gradient.abs().max().item()), name


@pytest.mark.parametrize("chunk", [1, 5, 1000])
@pytest.mark.parametrize(
    "make",
    [
        tiny_llama,
        lambda: tiny_llama(tie_word_embeddings=True),
        tiny_gemma,
        lambda: tiny_gemma(final_logit_softcapping=3.0),
    ],
    ids=["llama", "tied", "gemma", "softcap"],
)
def test_equal_to_the_plain_loss(make: Any, chunk: int) -> None:
    assert_equal_to_plain(make().train(), batch(), chunk)


def lora(model: nn.Module, **changes: Any) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    settings = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False, "task_type": "CAUSAL_LM", **changes}
    return get_peft_model(model, LoraConfig(**settings)).train()


@pytest.mark.parametrize("cap", [None, 3.0])
def test_under_an_adapter_the_frozen_head_gets_no_gradient(cap: float | None) -> None:
    model = lora(tiny_gemma(final_logit_softcapping=cap))
    assert_equal_to_plain(model, batch(), 4)
    assert not output_head(model).weight.requires_grad


def test_an_adapter_on_the_head_itself() -> None:
    model = lora(tiny_llama(), target_modules=["q_proj", "lm_head"])
    assert type(output_head(model)) is not nn.Linear
    assert_equal_to_plain(model, batch(), 4)


def test_with_gradient_checkpointing() -> None:
    model = lora(tiny_llama())
    model.enable_input_require_grads()
    model.base_model.model.activation_checkpointing_enable({"use_reentrant": False})
    assert_equal_to_plain(model, batch(), 4)


def test_over_a_4_bit_base(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from elysia_chat.training.bnb_guard import guard_bitsandbytes

    guard_bitsandbytes()
    folder = save_model(tiny_llama(), tmp_path / "base")
    quantised = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
        ),
    )
    assert_equal_to_plain(lora(quantised), batch(), 4)


def test_under_autocast_it_is_as_near_as_bfloat16_allows() -> None:
    model, inputs = tiny_llama().train(), batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = model(**inputs).loss
        lean, _ = answer_loss(model, inputs, chunk_tokens=5)
    lean.backward()
    assert lean.dtype == torch.float32
    assert abs(lean.item() - plain.item()) < 0.02


def test_the_count_of_items_divides_the_sum() -> None:
    model, inputs = tiny_llama().train(), batch()
    plain = model(**inputs, num_items_in_batch=torch.tensor(100)).loss
    lean, _ = answer_loss(model, inputs, num_items_in_batch=torch.tensor(100))
    assert abs(lean.item() - plain.item()) < 1e-5


def test_a_batch_without_labels_has_a_loss_of_zero_and_gradients() -> None:
    model, inputs = tiny_llama().train(), batch()
    inputs["labels"] = torch.full_like(inputs["labels"], -100)
    loss, _ = answer_loss(model, inputs)
    loss.backward()
    assert loss.item() == 0.0


def test_the_hook_is_gone_after_a_failure() -> None:
    model = tiny_llama()
    with pytest.raises(TypeError):
        answer_loss(model, {**batch(), "nonsense": {}, "input_ids": 3})
    assert model(**{k: v for k, v in batch().items() if k != "labels"}).logits.shape[1] == 17


def test_a_model_that_scales_its_logits_is_refused() -> None:
    model = tiny_llama()
    model.config.logit_scale = 0.25
    with pytest.raises(PresetError, match="logit_scale"):
        answer_loss(model, batch())


def test_the_logits_of_all_positions_are_never_there() -> None:
    """The regression: one matrix of (positions, vocabulary) is what runs a GPU out of memory."""
    vocabulary, positions = 5000, 3 * 16
    model, largest = tiny_llama(vocabulary).train(), 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.shape[-1:] == (vocabulary,) and not is_weight(result):
                largest = max(largest, result.numel() // vocabulary)
            return result

    def is_weight(tensor: torch.Tensor) -> bool:
        return tensor.data_ptr() == model.lm_head.weight.data_ptr()

    inputs = batch(vocabulary)
    for parameter in model.lm_head.parameters():
        parameter.requires_grad_(False)
    with Watch():
        answer_loss(model, inputs, chunk_tokens=4)[0].backward()
    assert 0 < largest <= 4
    with Watch():
        model(**inputs).loss.backward()
    assert largest >= positions


@pytest.mark.slow
def test_a_trainer_learns_the_same_as_with_the_plain_loss(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    class Lean(LeanLossMixin, Trainer):
        pass

    rows = [{key: value[index] for key, value in batch().items()} for index in (0, 1, 2, 0)]
    losses, weights = [], []
    for kind in (Trainer, Lean):
        model = tiny_llama()
        arguments = TrainingArguments(
            output_dir=str(tmp_path), max_steps=3, per_device_train_batch_size=1, gradient_accumulation_steps=2,
            learning_rate=1e-3, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True, logging_steps=1,
            prediction_loss_only=True, dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = kind(model=model, args=arguments, train_dataset=rows, eval_dataset=rows)
        losses.append([trainer.train().training_loss, trainer.evaluate()["eval_loss"]])
        weights.append(model.model.layers[0].mlp.up_proj.weight.detach().clone())
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert torch.allclose(*weights, atol=1e-5)
