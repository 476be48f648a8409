"""Importing this folder loads none of the heavy libraries."""

import subprocess
import sys

LIGHT = ("card", "card_png", "chunk", "embeddings", "embedded_e5", "embedded_search", "fakes", "fusion", "highlight",
         "lexical", "personas", "rerank", "retriever", "store", "vectors")  # fmt: skip
HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "chromadb",
    "langchain_chroma",
    "langchain_huggingface",
    "jieba",
)


def test_modules_are_light():
    imports = "".join(f"import elysia_chat.kb.{module}\n" for module in LIGHT)
    code = f"{imports}import sys\nprint(sorted(set(sys.modules) & {set(HEAVY)!r}))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    ).stdout
    assert output.strip() == "[]"
