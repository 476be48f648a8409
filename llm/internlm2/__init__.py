"""InternLM2 and 2.5 as transformers' own Llama: weights, tokenizer, chat template and LoRA adapters, no remote code.

The two architectures compute the same; InternLM2 only keeps query, key and value in one matrix and calls its parts by
other names. `convert.convert_model` turns a published folder into one that transformers loads by itself, and
`adapter.convert_adapter` does the same for a LoRA that was trained on the published names.
"""
