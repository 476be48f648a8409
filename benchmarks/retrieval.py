"""Which search finds the passage with the answer: dense, BM25, and their fusions, over SQuAD-shaped questions.

    python benchmarks/retrieval.py SQUAD.json [--world benchmarks/worlds/dev] [--weights 0.3,0.5,0.7] [--json FILE]

Every passage of the file is one chunk, without a title, so that the text alone decides. A world is a folder with
`documents/` (or `lore/`) and `questions.json`; it is cut as the product cuts it, and a chunk is right where it comes
from the question's source and holds an accepted answer. R@k is the share of questions with a right chunk among the
first k, MRR the mean of 1/rank within the first ten. The row “fusion alone” has the
product's defaults, without a reranker.

    python benchmarks/retrieval.py --world benchmarks/worlds/dev --reranker embedded --rerank 8,12,20 --sentences 3,4

With a reranker, rows follow for each number of candidates that it reads, and a second table: sentence@k is the share
of questions of which an accepted answer stands in what the first k passages bring into the prompt. `--embedder plain`
searches with multilingual-e5-small as it was published, for comparison.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elysia_chat.chains.prompt import prompt_text
from elysia_chat.configs.settings import EmbeddingSettings, IngestSettings, RetrievalSettings, StoreSettings
from elysia_chat.ingest.document import Limits
from elysia_chat.ingest.loaders import load
from elysia_chat.ingest.splitter import split
from elysia_chat.kb.chunk import Chunk, chunk_id
from elysia_chat.kb.embedded_e5 import plain_model_folder
from elysia_chat.kb.embeddings import build_embeddings, embedding_fingerprint
from elysia_chat.kb.fusion import convex_fusion, reciprocal_rank_fusion
from elysia_chat.kb.rerank import Reranker, build_reranker
from elysia_chat.kb.retriever import HybridRetriever, build_retriever
from elysia_chat.kb.store import KnowledgeBase, discard_index, open_knowledge_base

PERSONA = "retrieval-benchmark"
DEPTH = 100
WEIGHTS = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"
CANDIDATES = "10,20,50"


@dataclass(frozen=True)
class Question:
    """A question, the ids of the chunks that answer it, and its accepted answers."""

    text: str
    right: frozenset[str]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What both searches offer for a question, best first."""

    dense: dict[str, float]
    lexical: dict[str, float]

    def first(self, candidates: int) -> "Found":
        """Return the first so many of each."""
        return Found(dict(list(self.dense.items())[:candidates]), dict(list(self.lexical.items())[:candidates]))


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    corpus: str
    method: str
    r1: float
    r3: float
    r8: float
    mrr: float


@dataclass(frozen=True)
class EvidenceRow:
    """One line of the table of sentences; `characters` are those of four passages in the prompt, on average."""

    corpus: str
    rerank: int
    sentences: int | None
    s1: float
    s2: float
    s3: float
    s4: float
    characters: float


class Remembering:
    """A reranker that scores each pair once, however often it is asked for.

    Args:
        reranker: what scores.
    """

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker
        self._known: dict[tuple[str, str], float] = {}

    def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        """Return the relevance of each passage."""
        new = [passage for passage in dict.fromkeys(passages) if (query, passage) not in self._known]
        for passage, score in zip(new, self._reranker.scores(query, new) if new else [], strict=True):
            self._known[query, passage] = score
        return [self._known[query, passage] for passage in passages]


def read_squad(path: Path) -> tuple[list[Chunk], list[Question]]:
    """Return the passages as chunks, and the questions."""
    chunks, questions = [], []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for passage in article["paragraphs"]:
            name = passage.get("id") or passage["qas"][0]["id"]
            chunk = Chunk(id=chunk_id(name, "", passage["context"]), text=passage["context"], document=name)
            chunks.append(chunk)
            for qa in passage["qas"]:
                answers = tuple(dict.fromkeys(answer["text"] for answer in qa.get("answers", ())))
                questions.append(Question(qa["question"], frozenset([chunk.id]), answers))
    return chunks, questions


def read_world(folder: Path) -> tuple[list[Chunk], list[Question]]:
    """Return a world's documents as chunks of the default size, and its answerable questions."""
    sizes = IngestSettings()
    chunks = [
        chunk
        for path in sorted([*(folder / "documents").glob("*.md"), *(folder / "lore").glob("*.md")])
        for chunk in split(load(path, Limits()), path.name, sizes.chunk_size, sizes.chunk_overlap)
    ]
    questions = []
    for item in json.loads((folder / "questions.json").read_text(encoding="utf-8"))["answerable"]:
        answers = [answer.casefold() for answer in item["any_of"]]
        of_source = [chunk for chunk in chunks if chunk.document == item["source"]]
        exact = [c.id for c in of_source if any(answer in c.text.casefold() for answer in answers)]
        questions.append(Question(item["q"], frozenset(exact or [c.id for c in of_source]), tuple(item["any_of"])))
    return chunks, questions


def search(knowledge_base: KnowledgeBase, questions: Sequence[Question]) -> list[Found]:
    """Run both searches once for each question."""
    found = []
    for question in questions:
        dense = {str(d.id): score for d, score in knowledge_base.nearest(question.text, DEPTH)}
        lexical = {str(d.id): score for d, score in knowledge_base.matching(question.text, DEPTH)}
        found.append(Found(dense, lexical))
    return found


def measure(corpus: str, method: str, questions: Sequence[Question], rankings: Sequence[Sequence[str]]) -> Row:
    """Return the row of a method from its ranking of each question."""
    ranks = [
        next((rank for rank, identifier in enumerate(ranking, 1) if identifier in question.right), None)
        for question, ranking in zip(questions, rankings, strict=True)
    ]

    def recall(k: int) -> float:
        return sum(rank is not None and rank <= k for rank in ranks) / len(ranks)

    mrr = sum(1.0 / rank for rank in ranks if rank is not None and rank <= 10) / len(ranks)
    return Row(corpus, method, recall(1), recall(3), recall(8), mrr)


def sweep(
    corpus: str,
    questions: Sequence[Question],
    found: Sequence[Found],
    weights: Sequence[float],
    candidates: Sequence[int],
) -> Iterator[Row]:
    """Yield the rows of each search by itself and of every fusion."""
    yield measure(corpus, "dense", questions, [list(f.dense) for f in found])
    yield measure(corpus, "BM25", questions, [list(f.lexical) for f in found])
    for count in candidates:
        cut = [f.first(count) for f in found]
        for weight in weights:
            yield measure(
                corpus, f"RRF, dense {weight:.2f}, candidates {count}", questions, fused(cut, _by_rank(weight))
            )
        for weight in weights:
            yield measure(
                corpus, f"convex, dense {weight:.2f}, candidates {count}", questions, fused(cut, _by_score(weight))
            )


def fused(found: Sequence[Found], fuse: Callable[[Found], Mapping[str, float]]) -> list[list[str]]:
    """Return the ranking of each question under a fusion; equal scores stay in dense order."""
    rankings = []
    for each in found:
        scores = fuse(each)
        rankings.append(sorted(scores, key=lambda identifier: -scores[identifier]))
    return rankings


def run(
    corpus: str, chunks: list[Chunk], questions: list[Question], arguments: argparse.Namespace
) -> tuple[list[Row], list[EvidenceRow], float]:
    """Index a corpus, sweep, and measure the default retriever; also return its seconds for a question."""
    name = str(plain_model_folder()) if arguments.embedder == "plain" else arguments.embedder
    settings = EmbeddingSettings(name=name, threads=arguments.threads)
    store = StoreSettings(kind="memory" if arguments.memory else "chroma")
    knowledge_base = open_knowledge_base(
        "benchmark", build_embeddings(settings), embedding_fingerprint(settings), store
    )
    knowledge_base.clear()
    knowledge_base.write(chunks)
    weights = [float(weight) for weight in arguments.weights.split(",") if weight]
    candidates = [int(count) for count in arguments.candidates.split(",") if count]
    rows = list(sweep(corpus, questions, search(knowledge_base, questions), weights, candidates))
    defaults = RetrievalSettings(reranker=None)
    name = f"fusion alone ({defaults.fusion}, dense {defaults.dense_weight:.2f}, candidates {defaults.candidates})"
    rows.append(measure(corpus, name, questions, ranked(build_retriever(defaults, knowledge_base), questions)))
    evidence = []
    chosen = RetrievalSettings(reranker=arguments.reranker)
    reranker = build_reranker(chosen.reranker, settings)
    begun = time.perf_counter()
    for question in questions:
        build_retriever(chosen, knowledge_base, reranker).invoke(question.text)
    seconds = (time.perf_counter() - begun) / len(questions)
    if reranker is not None:
        made = reranked(corpus, questions, chosen, knowledge_base, reranker, arguments)
        rows += [row for row in made if isinstance(row, Row)]
        evidence = [row for row in made if isinstance(row, EvidenceRow)]
    knowledge_base.close()
    discard_index(PERSONA)
    return rows, evidence, seconds


def ranked(retriever: HybridRetriever, questions: Sequence[Question]) -> list[list[str]]:
    """Return the first ten passages of each question by id."""
    return [[str(d.id) for d in retriever.invoke(question.text, k=10)] for question in questions]


def reranked(
    corpus: str,
    questions: Sequence[Question],
    settings: RetrievalSettings,
    knowledge_base: KnowledgeBase,
    reranker: Reranker,
    arguments: argparse.Namespace,
) -> list[Row | EvidenceRow]:
    """Return the rows of each number of candidates that the reranker reads, and of each number of sentences."""
    remembering = Remembering(reranker)
    rows: list[Row | EvidenceRow] = []
    for rerank in (int(count) for count in arguments.rerank.split(",")):
        values = {**settings.model_dump(), "rerank": rerank, "candidates": max(rerank, settings.candidates)}
        whole = RetrievalSettings(**{**values, "sentences": None})
        rankings = ranked(build_retriever(whole, knowledge_base, remembering), questions)
        rows.append(measure(corpus, f"reranked, first {rerank}", questions, rankings))
        for sentences in (None if count == "all" else int(count) for count in arguments.sentences.split(",")):
            chosen = RetrievalSettings(**{**values, "sentences": sentences, "k": 4})
            retriever = build_retriever(chosen, knowledge_base, remembering)
            rows.append(evidence_row(corpus, chosen, retriever, questions))
    return rows


def evidence_row(
    corpus: str, settings: RetrievalSettings, retriever: HybridRetriever, questions: Sequence[Question]
) -> EvidenceRow:
    """Return how often an accepted answer stands in the prompt's text of the first one to four passages."""
    found = [0, 0, 0, 0]
    characters = 0
    for question in questions:
        texts = [prompt_text(document) for document in retriever.invoke(question.text)]
        characters += sum(map(len, texts))
        for k in range(len(found)):
            text = "\n".join(texts[: k + 1]).casefold()
            found[k] += any(answer.casefold() in text for answer in question.answers)
    shares = [count / len(questions) for count in found]
    return EvidenceRow(corpus, settings.rerank, settings.sentences, *shares, characters / len(questions))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("squad", nargs="?", type=Path, help="questions in SQuAD form, for example CMRC 2018")
    parser.add_argument("--world", type=Path, action="append", default=[], help="folder of a world; may be repeated")
    parser.add_argument("--embedder", default="embedded", help="as embeddings.name in the settings, or 'plain'")
    parser.add_argument("--weights", default=WEIGHTS, help="shares of the dense search, with commas")
    parser.add_argument("--candidates", default=CANDIDATES, help="candidates of each search, with commas")
    parser.add_argument("--reranker", default="none", help="as retrieval.reranker in the settings")
    parser.add_argument("--rerank", default="8", help="how many candidates the reranker reads, with commas")
    parser.add_argument(
        "--sentences", default="all,3,4,6", help="of all passages together, with commas; 'all' is whole passages"
    )
    parser.add_argument("--threads", type=int, default=None, help="torch threads")
    parser.add_argument("--memory", action="store_true", help="keep the vectors in memory instead of Chroma")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    arguments = parser.parse_args(argv)
    corpora: dict[str, tuple[list[Chunk], list[Question]]] = {}
    if arguments.squad is None or not arguments.squad.is_file():
        print(
            f"Skipping the SQuAD questions: there is no file {arguments.squad or '(none was given)'}.", file=sys.stderr
        )
    else:
        corpora[arguments.squad.stem] = read_squad(arguments.squad)
    corpora |= {folder.name: read_world(folder) for folder in arguments.world}
    if not corpora:
        print("Nothing to measure: give a SQuAD file or --world.", file=sys.stderr)
        return 2
    results: list[Row | EvidenceRow] = []
    for corpus, (chunks, questions) in corpora.items():
        rows, evidence, seconds = run(corpus, chunks, questions, arguments)
        results += [*rows, *evidence]
        print(f"\n{corpus}: {len(chunks)} passages, {len(questions)} questions, {seconds * 1000:.0f} ms a question\n")
        print("| search | R@1 | R@3 | R@8 | MRR |\n| --- | --- | --- | --- | --- |")
        for row in rows:
            print(f"| {row.method} | {row.r1:.3f} | {row.r3:.3f} | {row.r8:.3f} | {row.mrr:.3f} |")
        if evidence:
            print("\n| reranked | sentences | sentence@1 | @2 | @3 | @4 | characters |\n" + "| --- " * 7 + "|")
        for line in evidence:
            shares = " | ".join(f"{share:.3f}" for share in (line.s1, line.s2, line.s3, line.s4))
            print(f"| {line.rerank} | {line.sentences or 'all'} | {shares} | {line.characters:.0f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(row) for row in results], indent=2) + "\n", encoding="utf-8")
    return 0


def _by_rank(weight: float) -> Callable[[Found], Mapping[str, float]]:
    return lambda found: reciprocal_rank_fusion(list(found.dense), list(found.lexical), weight)


def _by_score(weight: float) -> Callable[[Found], Mapping[str, float]]:
    return lambda found: convex_fusion(found.dense, found.lexical, weight)


if __name__ == "__main__":
    sys.exit(main())
