"""A tiny model with a byte tokenizer, made on the spot: real code paths, no weights."""

from functools import cache
from pathlib import Path
from typing import Any

from elysia_chat.llm.embedded import CHAT_TEMPLATE
from elysia_chat.llm.engine import Engine
from elysia_chat.llm.gguf import export_gguf
from elysia_chat.llm.llama_cpp import LlamaCppEngine
from elysia_chat.llm.loading import load_tokenizer
from tests.training.tiny_models import save_model, tiny_llama

WINDOW = 16
CONTEXT = 512
SPECIAL = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")


@cache
def tokenizer() -> Any:
    """One token for each byte, so that every character outside ASCII comes in pieces."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *alphabet])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def model(speaks: str | None = None, seed: int = 0, **changes: Any) -> Any:
    """A Gemma 3 of 8 layers with random weights, every third with full attention.

    Args:
        speaks: the characters whose bytes it may say; None: letters and digits.
        seed: of the weights.
        changes: of the configuration.
    """
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(seed)
    layers = ["full_attention" if number % 3 == 2 else "sliding_attention" for number in range(8)]
    settings = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": len(layers),
        "layer_types": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": WINDOW,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": False,
        "initializer_range": 0.3,
        "bos_token_id": 2,
        "eos_token_id": 4,
        "pad_token_id": 0,
    }
    made = Gemma3ForCausalLM(Gemma3TextConfig(**{**settings, **changes})).eval()
    with torch.no_grad():
        said = tokenizer()(speaks or "abcdefghijklmnopqrstuvwxyz 0123456789").input_ids
        silent = [token for token in range(len(tokenizer())) if token not in said]
        made.lm_head.weight[silent] = 0.0
    return made


@cache
def shared_model() -> Any:
    """The model that tests do not change."""
    return model()


def engine(**changes: Any) -> Engine:
    """An engine over the shared model."""
    return Engine(shared_model(), tokenizer(), **{"prefix_tokens": 512, **changes})


def save(folder: Path, made: Any = None) -> Path:
    """Write model and tokenizer as a transformers folder."""
    (made or shared_model()).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def llama_cpp_engine(folder: Path, **settings: Any) -> LlamaCppEngine:
    """An engine of llama.cpp over a tiny Llama with random weights, whose file is written into `folder`."""
    source = save_model(tiny_llama(max_position_embeddings=CONTEXT), folder / "tiny")
    export_gguf(source, folder / "tiny.gguf", "f16")
    return LlamaCppEngine(
        folder / "tiny.gguf", load_tokenizer(source), **{"threads": 1, "context_tokens": CONTEXT, **settings}
    )
