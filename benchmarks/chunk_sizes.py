"""Which chunk size and overlap bring the answer into the prompt: SQuAD-shaped questions over joined passages.

    python benchmarks/chunk_sizes.py PATH [--sizes 300/0,400/0,400/80] [--embedder embedded|hash] [--json FILE]

Passages are joined into documents of eight. For each size and overlap the documents are cut, indexed and searched as
the product does it. A chunk is right where it lies in the question's passage and holds an accepted answer. R@1 and R@3
count questions with a right chunk among the first; "in budget" those with one among the chunks that fit into a prompt
budget, which is what decides, since large chunks win R@1 by their size alone.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

from elysia_chat.configs.settings import EmbeddingSettings, RetrievalSettings, StoreSettings
from elysia_chat.ingest.document import DocumentBuilder, Limits, LoadedDocument
from elysia_chat.ingest.splitter import split
from elysia_chat.kb.embeddings import build_embeddings
from elysia_chat.kb.retriever import HybridRetriever, build_retriever
from elysia_chat.kb.store import open_knowledge_base

PASSAGES_PER_DOCUMENT = 8
SIZES = "200/0,300/0,400/0,400/80,500/0,500/150,650/0,800/0"


@dataclass(frozen=True)
class Question:
    """A question, its accepted answers, and where its passage lies."""

    text: str
    answers: tuple[str, ...]
    document: str
    start: int
    end: int


class Remembering(Embeddings):
    """Embeds each question once, however many sizes are tried."""

    def __init__(self, inner: Embeddings) -> None:
        self._inner = inner
        self._queries: dict[str, list[float]] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Pass on."""
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector, made once."""
        if text not in self._queries:
            self._queries[text] = self._inner.embed_query(text)
        return self._queries[text]


def read_squad(path: Path) -> tuple[dict[str, LoadedDocument], list[Question]]:
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    documents: dict[str, LoadedDocument] = {}
    questions: list[Question] = []
    for first in range(0, len(paragraphs), PASSAGES_PER_DOCUMENT):
        name = f"group-{first // PASSAGES_PER_DOCUMENT:03}.txt"
        group = paragraphs[first : first + PASSAGES_PER_DOCUMENT]
        builder = DocumentBuilder(Limits())
        for paragraph in group:
            builder.paragraph(paragraph["context"])
        documents[name] = document = builder.build("")
        questions += _questions(name, document, group)
    return documents, questions


def _questions(name: str, document: LoadedDocument, group: Sequence[dict[str, Any]]) -> Iterator[Question]:
    start = 0
    for paragraph in group:
        context = paragraph["context"].strip()
        found = document.text.find(context[:20], start)
        start = found if found >= 0 else start
        for qa in paragraph["qas"]:
            answers = tuple({answer["text"] for answer in qa["answers"]})
            yield Question(qa["question"], answers, name, start, start + len(context))


def is_right(question: Question, metadata: dict[str, Any], text: str) -> bool:
    if metadata["document"] != question.document:
        return False
    start = metadata["start"]
    inside = text[max(0, question.start - start) : max(0, question.end - start)]
    return any(answer in inside for answer in question.answers)


def measure(
    retriever: HybridRetriever, questions: Sequence[Question], budget: int, enough: int
) -> tuple[float, float, float]:
    at_1 = at_3 = in_budget = 0
    for question in questions:
        found = retriever.invoke(question.text, k=enough)
        right = [is_right(question, document.metadata, document.page_content) for document in found]
        at_1 += any(right[:1])
        at_3 += any(right[:3])
        room = budget
        for document, hit in zip(found, right, strict=True):
            room -= len(document.page_content)
            if room < 0:
                break
            if hit:
                in_budget += 1
                break
    return tuple(count / len(questions) for count in (at_1, at_3, in_budget))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="questions in SQuAD's JSON form")
    parser.add_argument("--sizes", default=SIZES, help="SIZE/OVERLAP pairs, in characters")
    parser.add_argument("--budget", type=int, default=1200, help="characters of passages in a prompt")
    parser.add_argument("--mode", default="hybrid", choices=("hybrid", "dense", "lexical"))
    parser.add_argument("--embedder", default="embedded")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    documents, questions = read_squad(arguments.path)
    embeddings = Remembering(build_embeddings(EmbeddingSettings(name=arguments.embedder, threads=arguments.threads)))
    retrieval = RetrievalSettings(mode=arguments.mode, reranker=None)
    print(f"{len(documents)} documents, {len(questions)} questions, {arguments.budget} characters of passages")
    print("size/overlap  chunks  mean  embedded   R@1   R@3  in budget")
    rows = []
    for pair in arguments.sizes.split(","):
        size, overlap = map(int, pair.split("/"))
        began = time.monotonic()
        chunks = [chunk for name, document in documents.items() for chunk in split(document, name, size, overlap)]
        knowledge_base = open_knowledge_base("benchmark", embeddings, pair, StoreSettings(kind="memory"))
        knowledge_base.write(chunks)
        retriever = build_retriever(retrieval, knowledge_base)
        enough = max(3, min(20, arguments.budget // (size // 4)))
        at_1, at_3, in_budget = measure(retriever, questions, arguments.budget, enough)
        characters = sum(len(chunk.text) for chunk in chunks)
        rows.append(
            {"size": size, "overlap": overlap, "chunks": len(chunks), "characters": characters,
             "r_at_1": at_1, "r_at_3": at_3, "in_budget": in_budget, "seconds": time.monotonic() - began}
        )  # fmt: skip
        print(
            f"{pair:>12}  {len(chunks):6}  {characters / len(chunks):4.0f}  {characters:8}"
            f"  {at_1:.3f} {at_3:.3f}  {in_budget:.3f}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
