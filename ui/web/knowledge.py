"""The lore as HTML: the table of documents, progress and report of an ingest, chunks, and what a search finds."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elysia_chat.ui.services import Services
from elysia_chat.ui.web.icons import icon
from elysia_chat.ui.web.ingest_runs import RunState
from elysia_chat.ui.web.markup import escape
from elysia_chat.ui.web.sources import passage_html
from elysia_chat.ui.web.texts import Texts

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from elysia_chat.ingest.report import DocumentState, IngestReport, Progress

_KILOBYTE = 1000
MAX_PREVIEW_CHUNKS = 200


@dataclass(frozen=True)
class Row:
    """One document as the table shows it.

    Attributes:
        state: "indexed", "failed", "new" (not ingested yet), "gone" (its file is not there any more) or "removed".
        own: whether it is the user's and not one that came with the persona.
    """

    path: str
    title: str
    state: str
    reason: str
    chunks: int
    bytes: int
    changed_at: float | None
    own: bool


def document_rows(services: Services, persona: str) -> list[Row]:
    """Return all documents of a persona: those on disk, those in the index, and those that were removed."""
    who = services.persona(persona)
    files, removed = who.documents(), who.removed_documents()
    known = {state.path: state for state in services.documents(persona)}
    rows = []
    for path in sorted({*files, *known, *removed}):
        state = known.get(path)
        file = files.get(path)
        rows.append(
            Row(
                path=path,
                title=state.title if state and state.title else Path(path).stem,
                state=_condition(state, file, path in removed),
                reason=state.reason if state and file else "",
                chunks=state.chunks if state and file else 0,
                bytes=state.bytes if state else _size(file),
                changed_at=state.updated_at if state else None,
                own=file is not None and file.is_relative_to(who.lore_folders[-1]),
            )
        )
    return rows


def table_html(rows: Sequence[Row], texts: Texts) -> str:
    """Return the table of documents."""
    if not rows:
        return f'<p class="quiet">{escape(texts.no_documents)}</p>'
    head = "".join(f"<th>{escape(column)}</th>" for column in texts.columns)
    body = "".join(_row(row, texts) for row in rows)
    return (
        f'<input type="search" class="filter" placeholder="{escape(texts.filter)}" aria-label="{escape(texts.filter)}">'
        f'<div class="documents"><table><thead><tr>{head}<th></th></tr></thead><tbody>{body}</tbody></table></div>'
    )


def run_html(state: RunState | None, texts: Texts) -> str:
    """Return the progress of an ingest, or its report."""
    if state is None:
        return ""
    if state.error:
        return f'<p class="notice" role="status">{escape(state.error)}</p>'
    if state.report is None:
        return _progress(state.progress, texts)
    return _report(state.report, texts)


def found_html(question: str, passages: Sequence["Document"], texts: Texts) -> str:
    """Return what a search found, with the ranks that each search gave."""
    if not passages:
        return f'<p class="quiet">{escape(texts.nothing_found)}</p>'
    return "".join(
        passage_html(question, passage, texts, number=number, note=_ranks(passage, texts))
        for number, passage in enumerate(passages, 1)
    )


def chunks_html(title: str, chunks: Sequence["Document"], texts: Texts) -> str:
    """Return the chunks of a document in reading order."""
    heading = f"<h3>{escape(texts.passages_of.format(title=title))}</h3>"
    if not chunks:
        return f'{heading}<p class="quiet">{escape(texts.no_passages)}</p>'
    return heading + "".join(_chunk(chunk, texts) for chunk in chunks)


def _condition(state: "DocumentState | None", file: Path | None, removed: bool) -> str:
    if file is None:
        return "removed" if removed else "gone"
    return state.state if state else "new"


def _row(row: Row, texts: Texts) -> str:
    path = escape(row.path)
    own = f'<span class="own">{escape(texts.own)}</span>' if row.own else ""
    title = (
        f'<button type="button" class="open" data-action="preview" data-value="{path}" '
        f'title="{escape(texts.preview)}">{escape(row.title)}</button>'
    )
    reason = f'<span class="reason">{escape(row.reason)}</span>' if row.reason else ""
    changed = time.strftime("%Y-%m-%d", time.localtime(row.changed_at)) if row.changed_at else "–"
    cells = (
        f'<td><div class="document">{title}{own}<code>{path}</code>{reason}</div></td>'
        f'<td><span class="state {row.state}">{escape(texts.states[row.state])}</span></td>'
        f'<td class="figure">{row.chunks}</td><td class="figure">{_readable_size(row.bytes)}</td>'
        f'<td class="figure">{changed}</td><td class="act">{_action(row, texts)}</td>'
    )
    words = escape(f"{row.title} {row.path}".casefold())
    return f'<tr data-path="{path}" data-words="{words}">{cells}</tr>'


def _action(row: Row, texts: Texts) -> str:
    if row.state == "gone":
        return ""
    action, label = ("restore", texts.restore) if row.state == "removed" else ("delete", texts.delete)
    confirm = f' data-confirm="{escape(texts.delete_own)}"' if row.own and action == "delete" else ""
    return (
        f'<button type="button" class="tool" data-action="{action}" data-value="{escape(row.path)}"{confirm} '
        f'title="{escape(label)}" aria-label="{escape(label)}">{icon(action)}</button>'
    )


def _progress(progress: "Progress | None", texts: Texts) -> str:
    what, share, count = texts.starting, 0.0, ""
    if progress is not None:
        what = texts.stages[progress.stage]
        share = progress.done / progress.total if progress.total else 0.0
        count = f"{progress.done} / {progress.total}"
    name = f"<code>{escape(progress.document)}</code>" if progress and progress.document else ""
    percent = round(100 * share)
    return (
        f'<div class="progress" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}">'
        f"<div><span>{escape(what)}</span><span>{count}</span></div>"
        f'<div class="bar"><i style="width:{percent}%"></i></div>{name}</div>'
    )


def _report(report: "IngestReport", texts: Texts) -> str:
    counts = {name: len(getattr(report, name)) for name in texts.report_parts}
    shown = [texts.report_parts[name].format(count=count) for name, count in counts.items() if count]
    parts = (" · " if texts.language == "en" else "、").join(shown) or "–"
    line = texts.report.format(parts=parts, chunks=report.chunks, seconds=report.seconds)
    return f'<div class="report" role="status"><p>{escape(line)}</p>{_failures(report.failed, texts)}</div>'


def _failures(failed: Iterable[tuple[str, str]], texts: Texts) -> str:
    items = "".join(f"<li>{escape(texts.refused.format(name=path, reason=reason))}</li>" for path, reason in failed)
    return f"<p>{escape(texts.failed_because)}</p><ul>{items}</ul>" if items else ""


def _chunk(chunk: "Document", texts: Texts) -> str:
    number = texts.position.format(number=int(chunk.metadata.get("position", 0)) + 1)
    heading = escape(str(chunk.metadata.get("heading", "")))
    return (
        f'<div class="chunk"><div class="from"><span>{escape(number)}</span><span>{heading}</span></div>'
        f"<blockquote>{escape(chunk.page_content)}</blockquote></div>"
    )


def _ranks(passage: "Document", texts: Texts) -> str:
    ranks = {name: passage.metadata.get(f"{name}_rank") or texts.not_ranked for name in ("dense", "lexical")}
    return texts.ranks.format(**ranks)


def _readable_size(size: int) -> str:
    if size < _KILOBYTE:
        return f"{size} B"
    if size < _KILOBYTE**2:
        return f"{size / _KILOBYTE:.1f} kB"
    return f"{size / _KILOBYTE**2:.1f} MB"


def _size(file: Path | None) -> int:
    try:
        return file.stat().st_size if file else 0
    except OSError:
        return 0
