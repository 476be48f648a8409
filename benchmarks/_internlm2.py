"""The shapes of InternLM2, in the words of transformers' Llama: for models with random weights."""

_SHARED = {"vocab_size": 92544, "num_key_value_heads": 8, "max_position_embeddings": 32768}

INTERNLM2: dict[str, dict[str, int]] = {
    "internlm2-1.8b": {
        **_SHARED,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    },
    "internlm2-7b": {
        **_SHARED,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
}
