"""What is loaded when: the command line has to answer at once."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["build", "embedded", "errors", "loading", "engine", "library.add", "internlm2.convert"]
)
def test_no_heavy_library_is_imported_with(module: str):
    heavy = ("torch", "transformers", "peft", "openai", "langchain_core", "safetensors", "gguf")
    code = f"import sys, elysia_chat.llm.{module}; sys.exit(', '.join(n for n in {heavy!r} if n in sys.modules) or 0)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
