"""Text of others becomes HTML that holds none of its markup."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from elysia_chat.ui.web.markup import marked, reply_html
from elysia_chat.ui.web.sources import passage_html, sources_html
from elysia_chat.ui.web.texts import EN

_OURS = {"p", "br", "em", "strong", "code", "pre", "a", "ul", "ol", "li", "blockquote", "hr", "sup"}
_OURS |= {f"h{level}" for level in range(1, 7)}
_ATTRIBUTES = {"a": {"href", "title", "target", "rel"}, "sup": {"class"}, "ol": {"start"}, "code": {"class"}}


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def elements(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Elements()
    parser.feed(html)
    return parser.found


_HOSTILE = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            ["<script>", "</script>", "<img src=x onerror=a()>", "[a](javascript:a)", "[1]", "![a](b)", '"', "'", "`",
             "[a]: javascript:x\n\n[a]", "[x](https://a.b \"[1] onclick=a\")", "\n", "```html\n", "<!--", "&lt;", "]]>",
             "<a href=https://x.y>", "<https://x.y/[1]\">", "&#60;b>"]
        ),
    ),
    max_size=14,
).map("".join)  # fmt: skip


@given(_HOSTILE)
def test_a_reply_has_only_elements_of_ours(text):
    for tag, attributes in elements(reply_html(text, range(1, 100))):
        assert tag in _OURS
        assert set(attributes) <= _ATTRIBUTES.get(tag, set())
        if tag == "a":
            assert re.match(r"https?://", attributes["href"], re.IGNORECASE)


@settings(deadline=None)  # the first example loads the dictionary of words
@given(_HOSTILE, _HOSTILE, _HOSTILE)
def test_a_passage_has_only_elements_of_ours(text, title, question):
    passage = Document(text, metadata={"title": title, "heading": text, "document": title, "score": 0.5})
    tags = {tag for tag, _ in elements(passage_html(question, passage, EN, number=1, note=title))}
    assert tags <= {"details", "summary", "span", "blockquote", "mark", "div", "code"}


def test_markdown_is_shown():
    html = reply_html("**Bold** and *soft*\n\n- one\n- two\n\n`code` [site](https://example.org)")
    assert "<strong>Bold</strong>" in html
    assert html.count("<li>") == 2
    assert 'href="https://example.org" target="_blank" rel="noopener noreferrer nofollow"' in html


def test_numbers_of_passages_become_references_and_others_stay():
    html = reply_html("One [1], two【2】, nine [9].", (1, 2))
    assert re.findall(r'<sup class="cite">(\d)</sup>', html) == ["1", "2"]
    assert "[9]" in html


def test_spans_are_marked():
    assert marked("a<b>c", [(1, 4)]) == "a<mark>&lt;b&gt;</mark>c"
    assert marked("abc", []) == "abc"


def passages(count: int) -> list[Document]:
    return [Document(f"text {n}", metadata={"title": f"T{n}", "document": f"{n}.md"}) for n in range(1, count + 1)]


def test_cited_passages_come_first_with_their_numbers():
    html = sources_html("text", passages(4), (3, 1), EN)
    assert re.findall(r'class="number">(\d)<', html) == ["3", "1", "2", "4"]
    assert html.index("T1") < html.index("Also read 2 more") < html.index("T2")


@pytest.mark.parametrize("cited", [(), (0, 9)])
def test_an_answer_that_cites_nothing_has_only_the_disclosure(cited):
    html = sources_html("text", passages(2), cited, EN)
    assert html.index("Read 2 passages before answering") < html.index("T1")
    assert sources_html("text", [], (), EN) == ""


def test_a_closed_passage_shows_where_most_words_of_the_question_stand():
    text = "lighthouse " + "x " * 200 + "lamp of the lighthouse " + "y " * 200
    html = passage_html("lighthouse lamp", Document(text, metadata={"title": "T"}), EN)
    teaser = re.search(r'class="teaser">(.*?)</span></summary>', html).group(1)
    assert "<mark>lamp</mark> of the <mark>lighthouse</mark>" in teaser
    assert teaser.startswith("…")
