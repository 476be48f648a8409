import pytest

from elysia_chat.ingest.document import Limits
from elysia_chat.ingest.load_html import load_html

PAGE = """<!doctype html><html><head><meta charset="utf-8"><title>Site</title><style>p {color: red}</style>
<script>alert(1)</script></head><body><nav><a href="/">Home</a></nav>
<h1>爱莉希雅</h1><p>She is the   <b>first</b>
Herrscher.<br>Second line.</p>
<ul><li>flower<ul><li>lily</li></ul></li><li><p>tea</p></li></ul>
<h2>Figures</h2><table><tr><th>Item</th><th>Value</th></tr><tr><td>Height</td><td><p>168</p></td></tr></table>
<pre>def f():
    return 1</pre><div>plain <span>div</span></div><p hidden>secret</p><noscript>enable</noscript>
<!-- comment --></body></html>"""


def html(source: str | bytes):
    return load_html(source.encode() if isinstance(source, str) else source, "name", Limits())


def test_a_page_becomes_headings_and_text():
    document = html(PAGE)
    assert document.title == "爱莉希雅"
    assert [s.heading_path for s in document.sections] == [(), ("Figures",)]
    first, second = (section.text for section in document.sections)
    assert first == "She is the first Herrscher.\nSecond line.\n\n- flower\n  - lily\n- tea"
    assert second == "Item | Value\nHeight | 168\n\ndef f():\n    return 1\n\nplain div"


def test_without_one_heading_over_everything_the_page_title_is_used():
    assert html("<title>Site</title><h1>A</h1>a<h1>B</h1>b").title == "Site"


@pytest.mark.parametrize("gone", ["alert", "color", "Home", "secret", "enable", "comment"])
def test_what_is_not_content_is_dropped(gone):
    assert gone not in html(PAGE).text


def test_its_own_declaration_of_the_encoding_is_believed():
    page = '<html><head><meta charset="gb2312"></head><body><p>花</p></body></html>'
    assert html(page.encode("gbk")).text == "花"


def test_xhtml_with_a_declaration_gives_no_warning():
    page = (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body><p>花</p></body></html>'
    )
    assert html(page).text == "花"


def test_entities_of_the_pages_own_are_not_expanded():
    page = '<!DOCTYPE html [<!ENTITY a "boom"><!ENTITY b "&a;&a;&a;">]><html><body><p>x &b; &amp; y</p></body></html>'
    assert "boomboom" not in html(page).text


def test_deep_nesting_is_no_trouble():
    assert "core" in html("<div>" * 20_000 + "core" + "</div>" * 20_000 + "<p>end</p>").text


def test_a_heading_in_a_layout_table_is_a_heading():
    document = html("<h1>A</h1><p>x</p><table><tr><td><h2>B</h2><p>text</p></td></tr></table>")
    assert document.sections[-1].heading_path == ("B",)
    assert document.sections[-1].text == "text"
