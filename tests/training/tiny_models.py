"""Tiny models with random weights, made in place of downloads, and a tokenizer of the kind that sentencepiece makes."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

TEXTS = (
    "爱莉希雅是逐火十三英桀的第二位，刻印是真我。",
    "她在往世乐土里等着每一位来访者，也爱着每一个人。",
    "The lighthouse keeper wrote three letters and sent none of them.",
    "On Mondays the ferry goes at nine, and on Saturdays it goes at ten.",
    "爱莉希雅喜欢粉色的花，伊甸喜欢唱歌，千劫喜欢安静。",
    "What is the name of the ferry? It is called the Quiet Wind.",
)
CHAT_TEMPLATE = (
    "{{- bos_token -}}{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}{{- '<|im_start|>assistant\\n' -}}"
    "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}{{- '\\n' -}}"
    "{%- else -%}{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}{%- endif -%}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
SPECIAL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")

# Layers as llama.cpp knows them: every sixth sees everything.
GEMMA_LAYERS: dict[str, Any] = {
    "num_hidden_layers": 6,
    "layer_types": [*["sliding_attention"] * 5, "full_attention"],
    "sliding_window": 8,
    "initializer_range": 0.05,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a BPE tokenizer with byte fallback, in the form that sentencepiece models take in transformers."""
    inner = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=[*SPECIAL, *bytes_], show_progress=False)
    inner.train_from_iterator(TEXTS, trainer)
    state = json.loads(inner.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in set(bytes_)]
    inner = Tokenizer.from_str(json.dumps(state))
    inner.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def tiny_llama(vocabulary: int = 480, **changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        **changes,
    }
    return LlamaForCausalLM(LlamaConfig(**settings)).eval()


def tiny_gemma(vocabulary: int = 480, **changes: Any) -> Gemma3ForCausalLM:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "query_pre_attn_scalar": 64,
        "sliding_window": 64,
        "max_position_embeddings": 256,
        "layer_types": ["sliding_attention", "full_attention"],
        "initializer_range": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        **changes,
    }
    return Gemma3ForCausalLM(Gemma3TextConfig(**settings)).eval()


def save_model(model: Any, folder: Path) -> Path:
    """Write a model with its tokenizer and its end tokens; its name is the folder's."""
    tokenizer = tiny_tokenizer()
    ends = [2, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=ends, pad_token_id=2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_adapter(base: Path, folder: Path, *, strength: float = 0.2, **changes: Any) -> Path:
    """Write a LoRA adapter with random matrices for the model in `base`."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**{**settings, **changes}))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=strength)
    model.save_pretrained(folder)
    return folder


def save_encoder(folder: Path) -> Path:
    """Write a small BERT of random weights, with one character per word."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 2000)] + list("abcdefghijklmnopqrstuvwxyz0123456789")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{item}" for item in letters[-36:])]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder
