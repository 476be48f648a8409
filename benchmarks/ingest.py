"""How fast documents become an index.

    python benchmarks/ingest.py [--part first|again|both] [--embedder embedded|hash] [--documents 300]
                                [--characters 700] [--json FILE]

first: a first ingest against the plain way (read, RecursiveCharacterTextSplitter 500/150, `Chroma.from_documents`),
       with the same embedding model in the same process, one after the other.
again: a second ingest with 1 % of 1,000 documents changed, as a share of the first one's time.

Both wall time and CPU time of the process are given: on a machine that does other work, the latter is the steadier.
"""

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from elysia_chat.configs.paths import HOME_VARIABLE
from elysia_chat.configs.settings import EmbeddingSettings, IngestSettings, StoreSettings
from elysia_chat.ingest.loaders import discover
from elysia_chat.ingest.pipeline import IngestReport, build_options, ingest
from elysia_chat.kb.embeddings import build_embeddings
from elysia_chat.kb.store import KnowledgeBase, open_knowledge_base

WHO = ["爱莉希雅", "凯文", "梅比乌斯", "阿波尼亚", "伊甸", "维尔薇", "千劫", "苏", "樱", "科斯魔", "格蕾修", "华"]
WHERE = ["花园", "图书馆", "钟楼", "茶馆", "码头", "剧场", "温室", "天文台", "集市", "雪原", "矿山", "学院"]
WHAT = ["种下一排紫藤", "修好旧钟", "写完一封长信", "弹了半首曲子", "泡好一壶红茶", "画下海面", "数清天上的星"]
WHEN = ["清晨", "正午", "黄昏", "深夜", "雨停以后", "节日那天", "初雪时", "出发之前"]
MARKS = ("。", "。", "，", "！", "；", "？")


def write_documents(folder: Path, count: int, characters: int, seed: int = 7) -> None:
    chance = random.Random(seed)
    for number in range(count):
        (folder / f"{number:04}.md").write_text(_lore(chance, number, characters), encoding="utf-8")


def _lore(chance: random.Random, number: int, characters: int) -> str:
    """One page in the manner of lore: a title, an introduction, and a section for each further 700 characters."""
    parts = [f"# {chance.choice(WHERE)}纪事 {number}"]
    for section in range(max(1, characters // 700)):
        if section:
            parts.append(f"## {chance.choice(WHEN)}的{chance.choice(WHERE)}")
        parts.append(_paragraph(chance, characters // max(1, characters // 700)))
    return "\n\n".join(parts) + "\n"


def _paragraph(chance: random.Random, characters: int) -> str:
    text = ""
    while len(text) < characters:
        text += f"{chance.choice(WHEN)}，{chance.choice(WHO)}在{chance.choice(WHERE)}{chance.choice(WHAT)}"
        text += chance.choice(MARKS)
    return text[:-1] + "。"


def timed(step: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = step()
    return result, {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def plain_way(folder: Path, store: Path, embeddings: Embeddings) -> int:
    """What most tutorials do; returns the number of chunks."""
    import chromadb
    from langchain_chroma import Chroma
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    documents = [
        Document(path.read_text(encoding="utf-8"), metadata={"source": path.name})
        for path in sorted(folder.glob("*.md"))
    ]
    chunks = RecursiveCharacterTextSplitter(chunk_size=500, chunk_overlap=150).split_documents(documents)
    client = chromadb.PersistentClient(str(store), chromadb.Settings(anonymized_telemetry=False))
    Chroma.from_documents(chunks, embeddings, client=client)
    return len(chunks)


def run(folder: Path, index: KnowledgeBase, manifest: Path, settings: IngestSettings) -> IngestReport:
    return ingest(discover(folder), index, manifest, build_options(settings))


def first(embeddings: Embeddings, settings: IngestSettings, count: int, characters: int, work: Path) -> dict[str, Any]:
    write_documents(work / "lore", count, characters)
    # Both run once on a single document, so that neither pays for imports and first allocations.
    write_documents(work / "warm-lore", 1, characters)
    plain_way(work / "warm-lore", work / "warm-plain", embeddings)
    with closing(open_knowledge_base("warm", embeddings, "benchmark", StoreSettings())) as index:
        run(work / "warm-lore", index, work / "warm.sqlite3", settings)
    with closing(open_knowledge_base("first", embeddings, "benchmark", StoreSettings())) as index:
        report, ours = timed(lambda: run(work / "lore", index, work / "first.sqlite3", settings))
    chunks, plain = timed(lambda: plain_way(work / "lore", work / "plain", embeddings))
    return {
        "documents": count, "characters": characters,
        "ours": {**ours, "chunks": report.chunks}, "plain": {**plain, "chunks": chunks},
        "ratio_wall": plain["wall_s"] / ours["wall_s"], "ratio_cpu": plain["cpu_s"] / ours["cpu_s"],
    }  # fmt: skip


def again(embeddings: Embeddings, settings: IngestSettings, characters: int, work: Path) -> dict[str, Any]:
    count, changed = 1000, 10
    folder = work / "many"
    write_documents(folder, count, characters)
    with closing(open_knowledge_base("again", embeddings, "benchmark", StoreSettings())) as index:
        _, whole = timed(lambda: run(folder, index, work / "again.sqlite3", settings))
        for number in range(changed):
            path = folder / f"{number * (count // changed):04}.md"
            path.write_text(path.read_text(encoding="utf-8") + "\n后来又添了一句。\n", encoding="utf-8")
        report, part = timed(lambda: run(folder, index, work / "again.sqlite3", settings))
    assert len(report.updated) == changed, report
    return {
        "documents": count, "changed": changed, "characters": characters, "first": whole, "again": part,
        "share_wall": part["wall_s"] / whole["wall_s"], "share_cpu": part["cpu_s"] / whole["cpu_s"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", default="both", choices=("first", "again", "both"))
    parser.add_argument("--embedder", default="embedded", help="'embedded', 'hash', or a sentence-transformers name")
    parser.add_argument("--documents", type=int, default=300, help="of part 'first'")
    parser.add_argument("--characters", type=int, default=700, help="in each document")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    embeddings = build_embeddings(EmbeddingSettings(name=arguments.embedder, threads=arguments.threads))
    settings = IngestSettings()
    result: dict[str, Any] = {"embedder": arguments.embedder, "chunk_size": settings.chunk_size}
    work = Path(tempfile.mkdtemp(prefix="ingest-benchmark-"))
    try:
        # Built after the embedding model was found in the usual data folder: the indexes go into another one.
        os.environ[HOME_VARIABLE] = str(work / "home")
        for name in ("lore", "warm-lore", "many"):
            (work / name).mkdir()
        if arguments.part != "again":
            result["first"] = part = first(embeddings, settings, arguments.documents, arguments.characters, work)
            for name in ("ours", "plain"):
                print(f"{name:6} {part[name]['wall_s']:7.1f} s  {part[name]['cpu_s']:7.1f} s CPU"
                      f"  {part[name]['chunks']} chunks")  # fmt: skip
            print(f"first ingest: {part['ratio_wall']:.2f} times as fast ({part['ratio_cpu']:.2f} in CPU time)")
        if arguments.part != "first":
            result["again"] = part = again(embeddings, settings, arguments.characters, work)
            print(f"first  {part['first']['wall_s']:7.1f} s   again {part['again']['wall_s']:7.2f} s")
            print(f"1 % changed: {part['share_wall']:.2%} of the first ({part['share_cpu']:.2%} in CPU time)")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
