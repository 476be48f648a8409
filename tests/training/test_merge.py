"""Merging adapters: the result equals base plus adapter, says how far it is off, and appears whole or not at all."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from elysia_chat.configs import files
from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.llm.errors import AdapterError, ModelLoadError
from elysia_chat.training import merge as merge_module
from elysia_chat.training.errors import CheckpointError
from elysia_chat.training.handover_errors import MergeError
from elysia_chat.training.merge import merge
from elysia_chat.training.merge_difference import compare, encode_texts, measure

from .tiny_models import TEXTS, save_adapter, save_model, tiny_gemma, tiny_llama

IDS = torch.tensor([[1, 40, 301, 330, 270, 12, 400]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model(tiny_llama(), tmp_path_factory.mktemp("models") / "tiny-llama")
    (folder / "NOTICE").write_text("made for a test")
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(base, tmp_path_factory.mktemp("adapters") / "tiny")


def logits(folder: Path, adapter: Path | None = None) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter))
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(IDS).logits
    return found


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("make", [tiny_llama, tiny_gemma], ids=["llama", "gemma"])
def test_into_the_16_bit_base(make: Any, tmp_path: Path) -> None:
    base = save_model(make(), tmp_path / "base")
    adapter = save_adapter(base, tmp_path / "adapter")
    report = merge(adapter, tmp_path / "out", base=str(base), bits=16, dtype="float32", texts=TEXTS)
    assert torch.allclose(logits(tmp_path / "out"), logits(base, adapter), atol=1e-4)
    assert not torch.allclose(logits(tmp_path / "out"), logits(base), atol=0.1)
    assert report.into == "16-bit"
    assert report.difference.mean_kl < 1e-6
    assert report.difference.loss_merged == pytest.approx(report.difference.loss_adapter, abs=1e-4)
    assert json.loads((tmp_path / "out" / "merge.json").read_text())["difference"]["tokens"] > 50


def test_in_half_precision_the_difference_is_small_and_reported(base: Path, adapter: Path, tmp_path: Path) -> None:
    report = merge(adapter, tmp_path / "out", bits=16, dtype="bfloat16", texts=TEXTS)
    assert 0 < report.difference.mean_kl < 1e-2
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16
    assert f"loss {report.difference.loss_adapter:.4f} before" in report.summary()


def test_what_belongs_to_the_model_comes_along(base: Path, adapter: Path, tmp_path: Path) -> None:
    merge(adapter, tmp_path / "out", bits=16, shard_size="100KB", texts=TEXTS)
    tokenizer, before = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "out", base))
    messages = [{"role": "user", "content": "你是谁？"}]
    assert tokenizer.apply_chat_template(messages) == before.apply_chat_template(messages)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.generation_config.eos_token_id == [2, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert (tmp_path / "out" / "NOTICE").read_text() == "made for a test"
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1


def test_the_chat_loads_the_folder(base: Path, adapter: Path, tmp_path: Path) -> None:
    from elysia_chat.llm.transformers_chat import TransformersChatModel

    merge(adapter, tmp_path / "out", bits=16, dtype="float32", texts=TEXTS)
    model = TransformersChatModel.from_folder(tmp_path / "out", max_new_tokens=5, dtype="float32", device="cpu")
    assert isinstance(model.invoke("你是谁？").content, str)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("bitsandbytes")
    folder = tmp_path_factory.mktemp("four-bits")
    base = save_model(tiny_llama(initializer_range=0.1), folder / "base")
    adapter = save_adapter(base, folder / "adapter")
    (folder / "adapter" / "training.yaml").write_text("model: {name: tiny, bits: 4}")
    found = {
        into: merge(adapter, folder / into, into=into, dtype="float32", texts=TEXTS)  # type: ignore[arg-type]
        for into in ("auto", "16-bit")
    }
    return {**found, "folder": folder}


class TestTrainedOn4Bits:
    def test_the_settings_beside_the_adapter_choose_the_dequantised_base(self, reports: dict[str, Any]) -> None:
        assert (reports["auto"].trained_bits, reports["auto"].into) == (4, "dequantised")

    def test_the_dequantised_base_gives_what_was_trained(self, reports: dict[str, Any]) -> None:
        assert reports["auto"].difference.mean_kl < 1e-5

    def test_the_16_bit_base_is_further_away_and_says_so(self, reports: dict[str, Any]) -> None:
        assert reports["16-bit"].difference.mean_kl > 100 * reports["auto"].difference.mean_kl

    def test_the_result_is_not_quantised(self, reports: dict[str, Any]) -> None:
        folder = reports["folder"] / "auto"
        assert "quantization_config" not in json.loads((folder / "config.json").read_text())
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert type(model.model.layers[0].mlp.up_proj) is torch.nn.Linear


def test_the_difference_of_unlike_models_is_seen(base: Path, adapter: Path) -> None:
    """A check that always said 'equal' would pass everything above."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = encode_texts(tokenizer, TEXTS)
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    before = measure(model, rows)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.mul_(3)
    difference = compare(before, measure(model, rows), "float32")
    assert difference.mean_kl > 0.01
    assert difference.same_choice < 1


class TestBadInput:
    def test_an_adapter_for_another_base(self, adapter: Path, tmp_path: Path) -> None:
        other = save_model(tiny_llama(hidden_size=128), tmp_path / "other")
        with pytest.raises(AdapterError, match="trained on 'tiny-llama', not on 'other'"):
            merge(adapter, tmp_path / "out", base=str(other), bits=16)

    def test_an_adapter_for_another_shape_under_the_same_name(self, adapter: Path, tmp_path: Path) -> None:
        other = save_model(tiny_llama(hidden_size=128), tmp_path / "tiny-llama")
        with pytest.raises(AdapterError, match="does not fit the model tiny-llama"):
            merge(adapter, tmp_path / "out", base=str(other), bits=16)

    def test_a_checkpoint_that_was_cut_short(self, base: Path, adapter: Path, tmp_path: Path) -> None:
        cut = Path(shutil.copytree(adapter, tmp_path / "cut"))
        weights = cut / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        with pytest.raises(AdapterError, match="cut off or damaged"):
            merge(cut, tmp_path / "out", base=str(base), bits=16)

    def test_a_base_of_an_unknown_architecture(self, base: Path, adapter: Path, tmp_path: Path) -> None:
        other = Path(shutil.copytree(base, tmp_path / "tiny-llama"))
        config = json.loads((other / "config.json").read_text())
        (other / "config.json").write_text(json.dumps({**config, "model_type": "nonsense"}))
        with pytest.raises(ModelLoadError, match="Cannot load the model") as caught:
            merge(adapter, tmp_path / "out", base=str(other), bits=16)
        assert "\n" not in str(caught.value)

    def test_no_adapter_at_all(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="is no adapter"):
            merge(base, tmp_path / "out", bits=16)

    def test_nothing_says_how_it_was_trained(self, adapter: Path, tmp_path: Path) -> None:
        with pytest.raises(MergeError, match="4 or 16 bits"):
            merge(adapter, tmp_path / "out")

    def test_dequantised_makes_no_sense_for_16_bits(self, adapter: Path, tmp_path: Path) -> None:
        with pytest.raises(MergeError, match="trained on 16-bit weights"):
            merge(adapter, tmp_path / "out", bits=16, into="dequantised")

    def test_a_head_that_is_tied_cannot_be_merged(self, tmp_path: Path) -> None:
        base = save_model(tiny_llama(tie_word_embeddings=True), tmp_path / "base")
        adapter = save_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
        settings = json.loads((adapter / "adapter_config.json").read_text())
        settings["target_modules"] = ["q_proj", "lm_head"]
        (adapter / "adapter_config.json").write_text(json.dumps(settings))
        with pytest.raises(MergeError, match=r"lm_head, which .* shares"):
            merge(adapter, tmp_path / "out", bits=16)

    def test_too_little_room_is_said_before_anything_is_computed(
        self, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(files.shutil, "disk_usage", lambda _path: usage._replace(free=1000))
        monkeypatch.setattr(merge_module, "load_base", lambda *_a, **_k: pytest.fail("loaded the base"))
        with pytest.raises(MergeError, match=r"needs 0\.0 GB and the disk has 0\.0 GB free"):
            merge(adapter, tmp_path / "out", bits=16)


class TestAFinishedFolderIsNeverDamaged:
    @pytest.fixture
    def finished(self, tmp_path: Path) -> Path:
        folder = tmp_path / "out"
        folder.mkdir()
        (folder / "model.safetensors").write_text("precious")
        return folder

    def test_it_is_not_overwritten_by_accident(self, adapter: Path, finished: Path) -> None:
        with pytest.raises(MergeError, match="exists already"):
            merge(adapter, finished, bits=16)

    @pytest.mark.parametrize("failing", ["save", "measure", "rename"])
    def test_it_survives_a_disk_that_fills_up(
        self, adapter: Path, finished: Path, failing: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_arguments: Any, **_settings: Any) -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

        if failing == "save":
            monkeypatch.setattr("transformers.PreTrainedTokenizerFast.save_pretrained", full)
        elif failing == "measure":
            monkeypatch.setattr(merge_module, "check_folder", full)
        else:
            rename = Path.rename
            monkeypatch.setattr(
                Path, "rename", lambda s, t: full() if t == finished and s.name != "replaced" else rename(s, t)
            )
        before = everything_in(finished)
        with pytest.raises(MergeError, match=r"the disk is full\. Nothing there was changed"):
            merge(adapter, finished, bits=16, overwrite=True, texts=TEXTS)
        assert everything_in(finished) == before
        assert [path.name for path in finished.parent.iterdir() if path.name.startswith(".")] == []

    def test_it_is_replaced_whole_where_that_is_wanted(self, adapter: Path, finished: Path) -> None:
        merge(adapter, finished, bits=16, overwrite=True, texts=TEXTS, dtype="float32")
        assert AutoModelForCausalLM.from_pretrained(finished).num_parameters() > 0


def test_every_error_here_is_one_a_user_can_read() -> None:
    assert issubclass(MergeError, ElysiaChatError)
