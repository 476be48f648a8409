"""llama.cpp in this process: engines that come and go, and requests that are left."""

from pathlib import Path

import pytest

from elysia_chat.llm.answer_engine import Ended, Piece
from elysia_chat.llm.errors import ModelLoadError, PromptTooLongError
from elysia_chat.llm.llama_cpp import LlamaCppEngine
from elysia_chat.llm.loading import load_tokenizer
from elysia_chat.llm.sampling import Sampling

from . import tiny

PROMPT = [[1, 40, 301, 330, 270, 12, 400]]
PLAIN = Sampling(max_new_tokens=8, repetition_penalty=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    tiny.llama_cpp_engine(folder).close()
    return folder


def engine(folder: Path, parallel: int = 1) -> LlamaCppEngine:
    tokenizer = load_tokenizer(folder / "tiny")
    return LlamaCppEngine(folder / "tiny.gguf", tokenizer, context_tokens=128, parallel=parallel, threads=1)


def test_an_engine_that_nobody_asked_can_be_given_up_at_once(folder: Path):
    for _ in range(15):
        engine(folder).close()


def test_a_prompt_is_reused_and_counted(folder: Path):
    made = engine(folder)
    first, second = list(made.answer(PROMPT, PLAIN)), list(made.answer(PROMPT, PLAIN))
    assert first[:-1] == second[:-1] != []
    assert all(isinstance(piece, Piece) for piece in first[:-1])
    ends = first[-1], second[-1]
    assert ends == (Ended("length", 7, 0, 8), Ended("length", 7, 6, 8))
    made.close()


def test_a_left_answer_ends_and_the_next_one_is_right(folder: Path):
    made = engine(folder)
    whole = list(made.answer(PROMPT, PLAIN))
    for taken in range(1, 4):
        answer = made.answer(PROMPT, Sampling(max_new_tokens=100, repetition_penalty=1.0))
        for _ in range(taken):
            next(answer)
        answer.close()
        assert list(made.answer(PROMPT, PLAIN))[:-1] == whole[:-1]
    assert list(made.answer(PROMPT, PLAIN, stopped=lambda: True)) == []
    made.close()


def test_what_does_not_fit_and_what_is_no_model_is_told(folder: Path, tmp_path: Path):
    made = engine(folder)
    with pytest.raises(PromptTooLongError, match="128 tokens and the context only 128"):
        next(made.answer([[5] * 128], PLAIN))
    made.close()
    (tmp_path / "cut.gguf").write_bytes((folder / "tiny.gguf").read_bytes()[:50_000])
    with pytest.raises(ModelLoadError, match="cannot load"):
        LlamaCppEngine(tmp_path / "cut.gguf", load_tokenizer(folder / "tiny"), threads=1)
    with pytest.raises(ModelLoadError, match="There is no file"):
        LlamaCppEngine(tmp_path / "absent.gguf", load_tokenizer(folder / "tiny"), threads=1)
