"""Converted weights compute what InternLM2 computes; what is damaged is refused before anything is used."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from elysia_chat.llm.errors import ConversionError, ModelLoadError
from elysia_chat.llm.internlm2.config import convert_config, heads_of
from elysia_chat.llm.internlm2.names import split_rows, unpacked_names
from elysia_chat.llm.internlm2.weights import convert_weights

from .oracle import TINY, InternLM2, save

IDS = torch.randint(3, 400, (2, 24), generator=torch.Generator().manual_seed(1))
LONG = torch.randint(3, 400, (1, 50), generator=torch.Generator().manual_seed(2))


def converted(source: Path, target: Path, **options: Any) -> Any:
    """Convert without a tokenizer, and load the result as transformers does."""
    from transformers import AutoModelForCausalLM

    target.mkdir(exist_ok=True)
    config = convert_config(json.loads((source / "config.json").read_text()))
    (target / "config.json").write_text(json.dumps(config))
    convert_weights(source, target, config, **options)
    return AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32).eval()


@pytest.mark.parametrize("name", ["gqa", "bias", "dynamic"])
def test_logits_and_greedy_tokens_of_the_published_code(shared: Path, tmp_path: Path, name: str):
    source = shared / "data" / "internlm2" / name
    if not source.is_dir():
        pytest.skip(f"the reference model {name} is not here")
    reference = load_file(source / "reference.safetensors")
    (tmp_path / "source").mkdir()
    for file in ("config.json", "model.safetensors"):
        (tmp_path / "source" / file).write_bytes((source / file).read_bytes())
    model = converted(tmp_path / "source", tmp_path / "target")
    with torch.no_grad():
        logits = model(reference["input_ids"]).logits
        written = model.generate(
            reference["input_ids"][:1, :20], max_new_tokens=30, min_new_tokens=30, do_sample=False, pad_token_id=2
        )
    assert torch.allclose(logits, reference["logits"], atol=1e-5, rtol=0)
    assert torch.equal(written, reference["greedy"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bias": True},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": None},
        {"num_key_value_heads": 1, "bias": True},
        {"tie_word_embeddings": True},
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
        {"rope_scaling": {"type": "linear", "factor": 4.0}, "rope_theta": 1000000.0},
    ],
    ids=lambda changes: ", ".join(changes) or "grouped",
)
@torch.no_grad()
def test_it_computes_what_the_architecture_says(tmp_path: Path, changes: dict[str, Any]):
    made = InternLM2(**changes)
    model = converted(save(made, tmp_path / "source"), tmp_path / "target")
    assert torch.allclose(model(IDS).logits, made(IDS), atol=1e-5, rtol=0)
    # Beyond max_position_embeddings, where dynamic RoPE changes.
    assert torch.allclose(model(LONG).logits, made(LONG), atol=2e-5, rtol=0)


@torch.no_grad()
def test_greedy_answers_are_the_same(tmp_path: Path):
    made = InternLM2()
    model = converted(save(made, tmp_path / "source"), tmp_path / "target")
    options = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "pad_token_id": 2}
    written = model.generate(IDS[:1, :10], **options)
    assert torch.equal(written, made.greedy(IDS[:1, :10], 12))


@pytest.mark.parametrize("pickled", [False, True])
@torch.no_grad()
def test_shards_in_and_out(tmp_path: Path, pickled: bool):
    made = InternLM2(bias=True)
    source = save(made, tmp_path / "source", shards=3, pickled=pickled)
    shares: list[float] = []
    model = converted(source, tmp_path / "target", shard_bytes=40_000, progress=shares.append)
    assert torch.allclose(model(IDS).logits, made(IDS), atol=1e-5, rtol=0)
    files = sorted(path.name for path in (tmp_path / "target").glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert all((tmp_path / "target" / name).stat().st_size < 80_000 for name in files)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0, abs=0.1)


def test_the_number_format_is_kept(tmp_path: Path):
    made = InternLM2(torch_dtype="bfloat16").to(torch.bfloat16)
    source = save(made, tmp_path / "source")
    target = tmp_path / "target"
    target.mkdir()
    config = convert_config(json.loads((source / "config.json").read_text()))
    (path,) = convert_weights(source, target, config)
    assert path.name == "model.safetensors"
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.bfloat16}
    assert config["dtype"] == "bfloat16"


class TestDamaged:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return save(InternLM2(), tmp_path / "source", shards=2)

    def refuse(self, source: Path, error: type[Exception], match: str) -> None:
        target = source.parent / "target"
        target.mkdir()
        config = convert_config(json.loads((source / "config.json").read_text()))
        with pytest.raises(error, match=match) as caught:
            convert_weights(source, target, config)
        assert "\n" not in str(caught.value)

    def change(self, source: Path, name: str, tensor: torch.Tensor | None) -> None:
        """Replace a tensor in the shard that holds it, add it, or take it away."""
        paths = sorted(source.glob("model-*.safetensors"))
        path = next((path for path in paths if name in load_file(path)), paths[0])
        kept = {key: value for key, value in load_file(path).items() if key != name}
        save_file(kept if tensor is None else {**kept, name: tensor}, path)

    def test_a_shard_that_is_cut_short(self, source: Path):
        path = source / "model-00002-of-00002.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        self.refuse(source, ModelLoadError, "model-00002-of-00002.safetensors is missing, cut off or damaged")

    def test_a_shard_that_is_not_there(self, source: Path):
        (source / "model-00001-of-00002.safetensors").unlink()
        self.refuse(source, ModelLoadError, "model-00001-of-00002.safetensors is missing")

    def test_an_index_that_leads_out_of_the_folder(self, source: Path):
        index = {"weight_map": {"output.weight": "../secret.safetensors"}}
        (source / "model.safetensors.index.json").write_text(json.dumps(index))
        self.refuse(source, ModelLoadError, "lists no files of its own folder")

    def test_no_weights(self, source: Path):
        for path in source.glob("model*"):
            path.unlink()
        self.refuse(source, ModelLoadError, "holds no weights")

    def test_a_tensor_that_is_missing(self, source: Path):
        self.change(source, "model.layers.1.attention.wo.weight", None)
        self.refuse(source, ConversionError, r"incomplete: model\.layers\.1\.self_attn\.o_proj\.weight is missing")

    def test_a_tensor_of_another_shape(self, source: Path):
        self.change(source, "model.norm.weight", torch.ones(31))
        self.refuse(source, ConversionError, r"model\.norm\.weight is \(31,\), not \(32,\)")

    def test_a_packed_tensor_of_another_shape(self, source: Path):
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps({**config, "num_key_value_heads": 4}))
        self.refuse(source, ConversionError, r"wqkv\.weight has 64 rows are not those of")

    def test_a_tensor_that_is_there_twice(self, source: Path):
        for path in source.glob("model-*.safetensors"):
            save_file({**load_file(path), "output.weight": torch.ones(400, 32)}, path)
        self.refuse(source, ConversionError, r"lm_head\.weight is there twice")

    def test_a_tensor_that_is_not_known(self, source: Path):
        self.change(source, "v_head.weight", torch.ones(1, 32))
        self.refuse(source, ConversionError, r"no plain weights of InternLM2: v_head\.weight")

    def test_a_pickle_that_would_run_code(self, tmp_path: Path):
        """`torch.load` without weights_only runs what the file says."""
        import pickle

        class Attack:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.write_text, (tmp_path / "run", "code was run"))

        source = save(InternLM2(), tmp_path / "source", pickled=True)
        torch.save({"model.norm.weight": Attack()}, source / "pytorch_model.bin", pickle_module=pickle)
        self.refuse(source, ModelLoadError, "holds more than weights, which is never run")
        assert not (tmp_path / "run").exists()

    def test_a_pickle_that_is_cut_short(self, tmp_path: Path):
        source = save(InternLM2(), tmp_path / "source", pickled=True)
        path = source / "pytorch_model.bin"
        path.write_bytes(path.read_bytes()[:-200])
        self.refuse(source, ModelLoadError, r"pytorch_model\.bin is")

    def test_a_pickle_of_something_else(self, tmp_path: Path):
        source = save(InternLM2(), tmp_path / "source", pickled=True)
        torch.save([1, 2], source / "pytorch_model.bin")
        self.refuse(source, ModelLoadError, "something else than named weights")


class TestConfig:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"model_type": "llama"}, "no InternLM2 that writes text, but llama"),
            ({"architectures": ["InternLM2ForRewardModel"]}, "InternLM2ForRewardModel"),
            ({"quantization_config": {"quant_method": "awq"}}, "quantised already.*model.quantization=4bit"),
            ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "scales RoPE by .*yarn"),
            ({"rope_scaling": {"type": "dynamic"}}, "scales RoPE by"),
            ({"hidden_size": None}, "damaged: hidden_size is None"),
            ({"num_hidden_layers": "2"}, "damaged: num_hidden_layers is '2'"),
            ({"num_key_value_heads": 3}, "4 heads over 3 key heads"),
        ],
    )
    def test_what_is_refused(self, changes: dict[str, Any], message: str):
        with pytest.raises(ConversionError, match=message):
            convert_config({**TINY, **changes})

    def test_a_missing_bias_means_true(self):
        assert convert_config({key: value for key, value in TINY.items() if key != "bias"})["attention_bias"] is True

    def test_heads(self):
        heads = heads_of({"num_attention_heads": 48, "num_key_value_heads": 8, "hidden_size": 6144})
        assert (heads.queries, heads.keys, heads.size) == (48, 8, 128)


def test_rows_are_split_without_sharing_memory():
    heads = heads_of(TINY)
    packed = torch.arange(64 * 3).reshape(64, 3)
    query, key, value = split_rows(packed, heads)
    assert (query.shape, key.shape, value.shape) == ((32, 3), (16, 3), (16, 3))
    assert torch.equal(query[:16], packed[:16])
    assert torch.equal(key[:8], packed[16:24])
    assert torch.equal(value[:8], packed[24:32])
    assert len({part.untyped_storage().data_ptr() for part in (packed, query, key, value)}) == 4


def test_names_of_packed_layers():
    assert unpacked_names("model.layers.0.attention.wqkv.bias") == (
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.self_attn.k_proj.bias",
        "model.layers.0.self_attn.v_proj.bias",
    )
    assert unpacked_names("model.layers.0.attention.wo.weight") is None
