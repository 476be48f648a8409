"""Models of real shapes with random weights, made where they are computed: for speed alone, they say nothing."""

import itertools
import string
from typing import Any

import torch
from _internlm2 import INTERNLM2
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

SHAPES: dict[str, dict[str, int]] = {
    **INTERNLM2,
    "tiny": {
        "vocab_size": 2000,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
    },
}
WORD = 4
"""Letters of a word that is one token."""
_SPECIAL = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = (
    "{{- bos_token -}}{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def tokenizer(size: int) -> Any:
    """Return a tokenizer of words of four letters, enough of them for whatever a model may say, and of bytes.

    An answer of such words is read again as the tokens that it was written in, as a real tokenizer nearly always does.
    """
    words = ("".join(letters) for letters in itertools.product(string.ascii_lowercase, repeat=WORD))
    names = [*_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    names += itertools.islice(words, size - len(names))
    known = {name: number for number, name in enumerate(names)}
    inner = Tokenizer(models.BPE(vocab=known, merges=[], ignore_merges=True))
    word = pre_tokenizers.Split(Regex(f"[a-z]{{{WORD}}}"), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [word, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(_SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="<|im_end|>",
        pad_token="<pad>",
        additional_special_tokens=list(_SPECIAL[3:]),
        chat_template=_TEMPLATE,
    )


def random_model(shape: str, device: torch.device, dtype: torch.dtype, bits: int = 16, context: int = 32768) -> Any:
    """Return a Llama of a shape with random weights, in 16 bits or, its layers' matrices, in 4 (NF4)."""
    config = LlamaConfig(
        **{**SHAPES[shape], "max_position_embeddings": context},
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e6, "factor": 2.0},
        bos_token_id=1,
        eos_token_id=4,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if bits == 4:
        _in_four_bits(model, dtype)
    return model.eval()


def bytes_of_a_token(model: Any) -> int:
    """Return the bytes of the weights that a token needs: all but the embeddings of other tokens."""
    embeddings = model.get_input_embeddings().weight
    sizes = (part.numel() * part.element_size() for part in model.parameters() if part is not embeddings)
    return sum(sizes)


def _in_four_bits(model: Any, dtype: torch.dtype) -> None:
    import bitsandbytes as bnb

    found = [(name, part) for name, part in model.model.named_modules() if type(part) is torch.nn.Linear]
    for name, part in found:
        small = bnb.nn.Linear4bit(
            part.in_features, part.out_features, bias=False, compute_dtype=dtype, quant_type="nf4", device="meta"
        )
        weight = bnb.nn.Params4bit(
            part.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True, module=small
        )
        small.weight = weight.to(part.weight.device)
        parent, _, child = name.rpartition(".")
        setattr(model.model.get_submodule(parent), child, small)
