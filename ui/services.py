"""The one place where settings become parts and the parts meet.

A front end holds one `Services`. Everything heavy is made on first use, once, whatever thread asks first.
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from elysia_chat.chains.followup import Rewriter, no_rewrite, rewrite_by_model, rewrite_by_rules
from elysia_chat.chains.language import Language
from elysia_chat.configs.paths import index_dir, models_dir
from elysia_chat.configs.settings import RetrievalSettings, Settings

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel
    from langchain_core.retrievers import BaseRetriever

    from elysia_chat.chains.conversation import Conversation
    from elysia_chat.chains.qa import PromptBudget, RetrievalQAChain
    from elysia_chat.ingest.report import DocumentState, IngestReport, Progress
    from elysia_chat.kb.personas import Persona
    from elysia_chat.kb.rerank import Reranker
    from elysia_chat.kb.store import KnowledgeBase
    from elysia_chat.voice.build import Speech
    from elysia_chat.voice.speaker import Speaker

_LANGUAGES: tuple[Language, ...] = ("zh", "en")
_MANIFEST = "manifest.sqlite3"


@runtime_checkable
class _Closable(Protocol):
    """A model in this process."""

    def close(self) -> None:
        """End what it computes."""


class Services:
    """The parts of a running application, made from its settings.

    Args:
        settings: what to make them from.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.RLock()
        # The model takes longest to load; meanwhile the lore can be searched and ingested.
        self._model_lock = threading.Lock()
        self._knowledge_bases: dict[str, KnowledgeBase] = {}
        self._rerankers: dict[str | None, Reranker | None] = {}

    @property
    def model(self) -> "BaseChatModel":
        """The language model; the first use loads it."""
        with self._model_lock:
            return self._model

    @property
    def embeddings(self) -> "Embeddings":
        """The embeddings; the first use loads them."""
        with self._lock:
            return self._embeddings

    def reranker(self, retrieval: RetrievalSettings | None = None) -> "Reranker | None":
        """Return what reads the passages that were found, None where nothing does; the first use loads it.

        Raises:
            RerankerError: it is missing or cannot be loaded.
        """
        from elysia_chat.kb.rerank import build_reranker

        name = (retrieval or self.settings.retrieval).reranker
        with self._lock:
            if name not in self._rerankers:
                self._rerankers[name] = build_reranker(name, self.settings.embeddings)
            return self._rerankers[name]

    @property
    def speech(self) -> "Speech":
        """What speaks; voices are loaded by their first sentences."""
        with self._lock:
            return self._speech

    def speaker(
        self, persona: str | None = None, *, voices: Mapping[str, str] | None = None, speed: float | None = None
    ) -> "Speaker":
        """Return who speaks for a persona.

        Args:
            persona: whose voices.
            voices: by language, before the settings' and the persona's own.
            speed: 2 takes half as long; the settings decide where it is None.

        Raises:
            VoiceError: a voice is unknown or damaged.
        """
        return self.speech.speaker(self.persona(persona).card.voices, chosen=voices, speed=speed)

    def persona_names(self) -> list[str]:
        """Return the names of all personas, bundled and the user's."""
        from elysia_chat.kb.personas import list_personas

        return list_personas()

    def persona(self, name: str | None = None) -> "Persona":
        """Return a persona by name, the configured one without a name.

        Raises:
            UnknownPersonaError: there is none; the message names the known ones.
        """
        from elysia_chat.kb.personas import load_persona

        return load_persona(name or self.settings.persona)

    def knowledge_base(self, persona: str | None = None) -> "KnowledgeBase":
        """Return the open index of a persona, one for the whole process."""
        return self._open(self.persona(persona).name)

    def is_indexed(self, persona: str | None = None) -> bool:
        """Tell whether a persona's index holds passages; it may be older than the documents.

        Raises:
            IndexMismatchError: it does, but under another embedding model.
        """
        knowledge_base = self.knowledge_base(persona)
        knowledge_base.check_embedder()
        return knowledge_base.count() > 0

    def ingest(
        self,
        persona: str | None = None,
        paths: Sequence[Path] = (),
        progress: "Callable[[Progress], None] | None" = None,
    ) -> "IngestReport":
        """Bring a persona's index up to its documents; a damaged one is built anew.

        Args:
            persona: whose documents.
            paths: files and folders that are first copied into the user's lore folder of the persona. What of them
                cannot be read is not copied, and reported among the failed.
            progress: told of every step.

        Raises:
            IngestBusyError: another ingest of this persona is running.
        """
        from elysia_chat.ingest.pipeline import build_options, ingest
        from elysia_chat.ui.additions import add_paths

        who = self.persona(persona)
        options = build_options(self.settings.ingest)
        refused = add_paths(who, paths, options.limits)
        knowledge_base = self._open(who.name, repair=True)
        report = ingest(who.documents(), knowledge_base, self._manifest(who.name), options, progress)
        report.failed.extend(refused)
        return report

    def discard_index(self, persona: str | None = None) -> None:
        """Delete everything that is indexed of a persona; the next `ingest` builds it from nothing.

        Raises:
            IndexInUseError: another process has the index open.
        """
        from elysia_chat.kb.store import discard_index

        name = self.persona(persona).name
        with self._lock:
            if self.settings.store.kind != "chroma":
                self._open(name).clear()
            if (opened := self._knowledge_bases.pop(name, None)) is not None:
                opened.close()
            discard_index(name)

    def prepare(
        self,
        progress: "Callable[[float, str], None] | None" = None,
        *,
        embeddings: bool = True,
        model: bool = True,
    ) -> None:
        """Convert the weights that the settings ask for, where that has not been done.

        Args:
            progress: called with the share done of the present step, from 0 to 1, and what it is.
            embeddings: whether those of the search, embeddings and reranker, are wanted.
            model: whether those of the language model are wanted.

        Raises:
            ElysiaChatError: a package with weights is missing or damaged, or the data folder cannot be written.
        """
        if embeddings:
            from elysia_chat.kb.embedded_search import EMBEDDER, RERANKER

            names = {EMBEDDER: self.settings.embeddings.name, RERANKER: self.settings.retrieval.reranker}
            for part in (part for part, name in names.items() if name == "embedded"):
                if progress is not None and not (models_dir() / part.name).is_dir():
                    progress(0.0, f"making {part.name} (once, some seconds)")
                part.folder()
        if model:
            from elysia_chat.llm.build import prepare_chat_model

            prepare_chat_model(self.settings.model, progress)

    def documents(self, persona: str | None = None) -> "list[DocumentState]":
        """Return what is known of each document of a persona's index, sorted by path."""
        from elysia_chat.ingest.manifest import document_states

        return document_states(self._manifest(self.persona(persona).name))

    def changed_documents(self, persona: str | None = None) -> set[str]:
        """Return the paths that are new, gone or of another size since the last ingest.

        It looks at names and sizes alone and loads nothing; what changed within the same size only an ingest finds.
        """
        who = self.persona(persona)
        indexed = {state.path: state.bytes for state in self.documents(who.name)}
        there = {path: file.stat().st_size for path, file in who.documents().items()}
        return {path for path in indexed.keys() | there.keys() if indexed.get(path) != there.get(path)}

    def search(
        self,
        question: str,
        k: int | None = None,
        persona: str | None = None,
        retrieval: RetrievalSettings | None = None,
        *,
        evidence: bool = True,
    ) -> "list[Document]":
        """Return the best `k` passages for a question, best first, with scores in their metadata.

        Args:
            question: what is asked.
            k: how many; the settings decide where it is None.
            persona: whose lore.
            retrieval: in the place of the settings'.
            evidence: whether they are for a prompt: its sentences are chosen too, and what hardly fits is left out.
        """
        chosen = retrieval or self.settings.retrieval
        values: dict[str, Any] = {} if evidence else {"sentences": None, "min_score": None}
        if k is not None:
            values |= {"k": k, "candidates": max(k, chosen.candidates)}
        if values:
            chosen = RetrievalSettings(**{**chosen.model_dump(), **values})
        return self.retriever(persona, chosen).invoke(question)

    def retriever(self, persona: str | None = None, retrieval: RetrievalSettings | None = None) -> "BaseRetriever":
        """Return the LangChain retriever of a persona's lore."""
        from elysia_chat.kb.retriever import build_retriever

        chosen = retrieval or self.settings.retrieval
        return build_retriever(chosen, self.knowledge_base(persona), self.reranker(chosen))

    def chain(
        self,
        persona: str | None = None,
        *,
        rag: bool | None = None,
        retrieval: RetrievalSettings | None = None,
        sampling: Mapping[str, Any] | None = None,
    ) -> "RetrievalQAChain":
        """Return the retrieval QA chain of a persona.

        Args:
            persona: who answers.
            rag: whether the lore is searched; the settings decide where it is None.
            retrieval: in the place of the settings'.
            sampling: overrides of the model's sampling for every answer.
        """
        from elysia_chat.chains.qa import RetrievalQAChain

        who = self.persona(persona)
        searches = self.settings.chat.rag if rag is None else rag
        return RetrievalQAChain(
            voices={language: who.card.localized(language) for language in _LANGUAGES},
            model=self.model,
            retriever=self.retriever(who.name, retrieval) if searches else None,
            rewrite=self._rewriter(who.name),
            budget=self._budget(sampling or {}),
            sampling=dict(sampling or {}),
        )

    def conversation(
        self,
        persona: str | None = None,
        *,
        language: Language | None = None,
        rag: bool | None = None,
        retrieval: RetrievalSettings | None = None,
        sampling: Mapping[str, Any] | None = None,
    ) -> "Conversation":
        """Return a new conversation that shares no state with any other; arguments as in `chain`."""
        from elysia_chat.chains.conversation import Conversation

        chain = self.chain(persona, rag=rag, retrieval=retrieval, sampling=sampling)
        return Conversation(chain, language, self.settings.chat.max_message_chars)

    def close(self) -> None:
        """Close the indexes, fall silent, end what the model computes; the services can be used again afterwards."""
        with self._lock:
            if isinstance(model := self.__dict__.pop("_model", None), _Closable):
                model.close()
            if (speech := self.__dict__.pop("_speech", None)) is not None:
                speech.close()
            for knowledge_base in self._knowledge_bases.values():
                knowledge_base.close()
            self._knowledge_bases.clear()
            self._rerankers.clear()

    @cached_property
    def _model(self) -> "BaseChatModel":
        from elysia_chat.llm.build import build_chat_model

        return build_chat_model(self.settings.model, self.settings.generation)

    @cached_property
    def _embeddings(self) -> "Embeddings":
        from elysia_chat.kb.embeddings import build_embeddings

        return build_embeddings(self.settings.embeddings)

    @cached_property
    def _speech(self) -> "Speech":
        from elysia_chat.voice.build import build_speech

        return build_speech(self.settings.voice)

    @cached_property
    def _fingerprint(self) -> str:
        from elysia_chat.kb.embeddings import embedding_fingerprint

        return embedding_fingerprint(self.settings.embeddings)

    def _open(self, name: str, *, repair: bool = False) -> "KnowledgeBase":
        from elysia_chat.kb.store import open_knowledge_base

        with self._lock:
            if name not in self._knowledge_bases:
                self._knowledge_bases[name] = open_knowledge_base(
                    name, self.embeddings, self._fingerprint, self.settings.store, repair=repair
                )
            return self._knowledge_bases[name]

    def _manifest(self, persona: str) -> Path:
        # What is in memory or on a server is not what the folder's own manifest tells of.
        kind = self.settings.store.kind
        return index_dir(persona) / (_MANIFEST if kind == "chroma" else f"{kind}-{_MANIFEST}")

    def _rewriter(self, persona: str) -> Rewriter:
        how = self.settings.chat.rewrite
        if how == "off":
            return no_rewrite
        return rewrite_by_model(self.model) if how == "model" else rewrite_by_rules(self._names(persona))

    def _names(self, persona: str) -> list[str]:
        """Names of the persona's world, as the titles of its documents give them (“帕朵菲莉丝 Pardofelis”)."""
        titles = [state.title for state in self.documents(persona)]
        return [name for title in titles for name in re.split(r"[\s·・|/()（）,，、:：\-—]+", title) if name]

    def _budget(self, sampling: Mapping[str, Any]) -> "PromptBudget":
        from elysia_chat.chains.qa import PromptBudget

        context = self.settings.model.context_tokens or getattr(self.model, "context_tokens", None)
        answer = int(sampling.get("max_new_tokens", self.settings.generation.max_new_tokens))
        return PromptBudget(
            history_tokens=self.settings.chat.history_tokens,
            prompt_tokens=context - answer if context else None,
            count_tokens=self.model.get_num_tokens,
        )
