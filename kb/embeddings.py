"""Texts to vectors: the embedded model, any sentence-transformers model, or a fake.

Some models want to be told whether a text is a question or a passage. Their own configuration says how, and for
families that are known to want it and whose files do not say so, this module does.
"""

import hashlib
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from elysia_chat.kb.errors import EmbeddingModelError
from elysia_chat.kb.precision import fast_precision

if TYPE_CHECKING:
    import torch
    from langchain_huggingface import HuggingFaceEmbeddings

    from elysia_chat.configs.settings import EmbeddingSettings

EMBEDDED, HASH = "embedded", "hash"
E5_PROMPTS = {"query": "query: ", "passage": "passage: "}
_BGE_ZH_PROMPTS = {"query": "为这个句子生成表示以用于检索相关文章：", "passage": ""}
_BGE_EN_PROMPTS = {"query": "Represent this sentence for searching relevant passages: ", "passage": ""}
_FAMILY_PROMPTS = (
    (re.compile(r"\be5-(small|base|large)(?!.*instruct)", re.IGNORECASE), E5_PROMPTS),
    (re.compile(r"\bbge-(small|base|large)-zh", re.IGNORECASE), _BGE_ZH_PROMPTS),
    (re.compile(r"\bbge-(small|base|large)-en", re.IGNORECASE), _BGE_EN_PROMPTS),
)
_PASSAGE_PROMPT_NAMES = ("passage", "document", "corpus")
_SAMPLES, _SAMPLE_BYTES = 16, 1 << 20


class SentenceEmbeddings(Embeddings):
    """A sentence-transformers model whose vectors have length 1. Threads may share it.

    A tokenizer cannot be used by two threads at once, so they take turns, batch by batch: a question that comes
    while documents are being embedded waits for one batch, not for all of them.

    Args:
        model: LangChain's wrapper of the model.
        batch_size: texts in a batch.
    """

    def __init__(self, model: "HuggingFaceEmbeddings", batch_size: int) -> None:
        self._model = model
        self._batch_size = batch_size
        self._turn = threading.Lock()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector of length 1 for each text; texts of like length share a batch, so little is padding."""
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]), reverse=True)
        vectors: list[list[float]] = [[]] * len(texts)
        for batch in (by_length[i : i + self._batch_size] for i in range(0, len(by_length), self._batch_size)):
            with self._turn, self._precision():
                made = self._model.embed_documents([texts[index] for index in batch])
            for index, vector in zip(batch, made, strict=True):
                vectors[index] = vector
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return a vector of length 1."""
        with self._turn, self._precision():
            return self._model.embed_query(text)

    def _precision(self) -> "torch.autocast":
        return fast_precision(self._model._client.device.type)


def build_embeddings(settings: "EmbeddingSettings") -> Embeddings:
    """Load the embedding model that the settings name.

    Raises:
        EmbeddingModelError: it is missing, corrupt, or cannot be loaded.
    """
    if settings.name == HASH:
        from elysia_chat.kb.fakes import HashEmbeddings

        return HashEmbeddings()
    name = settings.name
    if name == EMBEDDED:
        from elysia_chat.kb.embedded_search import EMBEDDER

        name = str(EMBEDDER.folder())
    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)
    return sentence_embeddings(name, settings.device, settings.batch_size)


def sentence_embeddings(name: str, device: str = "auto", batch_size: int = 32) -> SentenceEmbeddings:
    """Load a sentence-transformers model.

    Args:
        name: hub name or folder.
        device: a torch device, or "auto".
        batch_size: texts in a batch.

    Raises:
        EmbeddingModelError: it cannot be loaded.
    """
    from langchain_huggingface import HuggingFaceEmbeddings

    options: dict[str, Any] = {"trust_remote_code": False}
    if device != "auto":
        options["device"] = device
    prompts = _family_prompts(name)
    if prompts:
        options["prompts"] = prompts
    try:
        with without_progress_bars():
            model = HuggingFaceEmbeddings(model_name=name, model_kwargs=options)
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        msg = f"Cannot load the embedding model '{name}': {first_line}"
        raise EmbeddingModelError(msg) from error
    known = prompts or {key: text for key, text in model._client.prompts.items() if text}
    shared = {"normalize_embeddings": True, "batch_size": batch_size}
    model.query_encode_kwargs = {**shared, **_prompt(known, ("query",))}
    model.encode_kwargs = {**shared, **_prompt(known, _PASSAGE_PROMPT_NAMES)}
    return SentenceEmbeddings(model, batch_size)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars of loading and saving."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def embedding_fingerprint(settings: "EmbeddingSettings") -> str:
    """Return the identity of an embedding model and its prompts, 20 characters within a-z, 0-9 and '-'.

    Vectors of two models can be compared only when these are equal. The weights of a local folder count by their
    sizes and by samples of their bytes.
    """
    if settings.name == HASH:
        from elysia_chat.kb.fakes import HashEmbeddings

        return _short("hash", f"HashEmbeddings {HashEmbeddings().dimensions}".encode())
    if settings.name == EMBEDDED:
        from elysia_chat.kb.embedded_search import EMBEDDER

        return _short("e5", EMBEDDER.identity().encode(), repr(E5_PROMPTS).encode())
    prompts = repr(_family_prompts(settings.name)).encode()
    folder = Path(settings.name)
    if folder.is_dir():
        return _short("st", *_folder_identity(folder), prompts)
    return _short("st", settings.name.encode(), prompts)


def _family_prompts(name: str) -> dict[str, str]:
    if Path(name).is_dir():
        return {}
    return next((prompts for pattern, prompts in _FAMILY_PROMPTS if pattern.search(name)), {})


def _prompt(prompts: dict[str, str], names: Sequence[str]) -> dict[str, str]:
    return next(({"prompt": prompts[name]} for name in names if name in prompts), {})


def _short(kind: str, *parts: bytes) -> str:
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return f"{kind}-{hashlib.sha256(framed).hexdigest()[:16]}"


def _folder_identity(folder: Path) -> list[bytes]:
    identity: list[bytes] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".json", ".safetensors", ".bin", ".txt", ".model"):
            identity += [path.relative_to(folder).as_posix().encode(), _sample(path)]
    return identity


def _sample(path: Path) -> bytes:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for index in range(_SAMPLES):
            file.seek(max(0, size - _SAMPLE_BYTES) * index // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
            if size <= _SAMPLE_BYTES:
                break
    return digest.digest()
