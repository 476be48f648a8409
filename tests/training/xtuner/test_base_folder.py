import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from elysia_chat.training.xtuner.base_folder import find_base, older_config, prepare_base
from elysia_chat.training.xtuner.errors import XtunerError
from tests.training.tiny_models import TEXTS, save_model, tiny_gemma, tiny_llama, tiny_tokenizer
from tests.training.xtuner.tiny_internlm2 import save_internlm2

ROPE = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1_000_000.0}


def test_rope_has_the_name_that_older_libraries_read(tmp_path: Path) -> None:
    """transformers 4.48 passes over `rope_parameters` without a word, and takes a theta of 10,000."""
    source = save_model(tiny_llama(rope_parameters=ROPE), tmp_path / "llama")
    prepare_base(source, tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text(encoding="utf-8"))
    assert config["rope_theta"] == 1_000_000.0
    assert config["rope_scaling"] == {"rope_type": "dynamic", "factor": 2.0}
    assert config["torch_dtype"] == "float32"
    assert not {"rope_parameters", "dtype"} & config.keys()
    # Newer libraries read it as well, and see the same model.
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert {**again.config.rope_parameters} == ROPE


def test_plain_rope_stays_plain() -> None:
    plain = {"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "dtype": "bfloat16"}
    assert older_config(plain) == {
        "model_type": "llama",
        "rope_theta": 5e5,
        "rope_scaling": None,
        "torch_dtype": "bfloat16",
    }


def test_a_published_model_loses_the_names_of_its_code(tmp_path: Path) -> None:
    source = save_internlm2(tmp_path / "internlm2")
    tokenizer = prepare_base(source, tmp_path / "base")
    names = {path.name for path in (tmp_path / "base").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert "auto_map" not in (tmp_path / "base" / "config.json").read_text(encoding="utf-8")
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == 4


def test_the_tokenizer_is_the_same_in_the_older_form(tmp_path: Path) -> None:
    prepare_base(save_model(tiny_llama(), tmp_path / "llama"), tmp_path / "base")
    settings = json.loads((tmp_path / "base" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["additional_special_tokens"] == ["<|im_end|>", "<|im_start|>"]
    again, before = AutoTokenizer.from_pretrained(tmp_path / "base"), tiny_tokenizer()
    assert [again.encode(text) for text in TEXTS] == [before.encode(text) for text in TEXTS]
    assert again.chat_template == before.chat_template


def test_the_weights_are_links(tmp_path: Path) -> None:
    source = save_model(tiny_llama(), tmp_path / "llama")
    prepare_base(source, tmp_path / "base")
    assert (tmp_path / "base" / "model.safetensors").resolve() == (source / "model.safetensors").resolve()
    (source / "model.safetensors").unlink()
    with pytest.raises(XtunerError, match="holds no weights"):
        prepare_base(source, tmp_path / "base")


def test_models_that_cannot_be_trained_here(tmp_path: Path) -> None:
    with pytest.raises(XtunerError, match=r"no model 'nowhere/at-all' on this machine.*models add"):
        find_base("nowhere/at-all")
    save_model(tiny_gemma(), tmp_path / "gemma")
    with pytest.raises(XtunerError, match="holds gemma3_text: use `train run`"):
        find_base(str(tmp_path / "gemma"))
