from elysia_chat.ingest.document import Limits
from elysia_chat.ingest.load_text import load_markdown, load_text

LORE = """---
title: 爱莉希雅
tags: [a, b]
---

她是往世乐土的主人，
也是*第一位*[律者](https://example.org)。

Two lines
of English.

## 喜好

- 花
- 茶
  1. 红茶
  2. 绿茶

## 数值

| 项 | 值 |
| --- | --- |
| 身高 | 168 |

```python
def greet():
    return "Hi"
```

<!-- hidden -->
"""


def markdown(source: str):
    return load_markdown(source.encode(), "name", Limits())


def test_markdown_becomes_what_a_reader_sees():
    document = markdown(LORE)
    assert document.title == "爱莉希雅"
    assert [section.heading_path for section in document.sections] == [(), ("喜好",), ("数值",)]
    body, likes, figures = (section.text for section in document.sections)
    assert body == "她是往世乐土的主人，也是第一位律者。\n\nTwo lines of English."
    assert likes == "- 花\n- 茶\n  1. 红茶\n  2. 绿茶"
    assert figures == '项 | 值\n身高 | 168\n\ndef greet():\n    return "Hi"'


def test_a_heading_over_everything_is_the_title_and_leaves_the_paths():
    document = markdown("# Elysia\n\nIntro.\n\n## Likes\n\nFlowers.\n\n### Most\n\nLilies.")
    assert document.title == "Elysia"
    assert [s.heading_path for s in document.sections] == [(), ("Likes",), ("Likes", "Most")]


def test_two_outer_headings_stay_in_the_paths():
    document = markdown("# One\n\na\n\n# Two\n\nb")
    assert document.title == "name"
    assert [s.heading_path for s in document.sections] == [("One",), ("Two",)]


def test_text_above_the_first_heading_keeps_it_out_of_the_title():
    document = markdown("Before.\n\n# One\n\nAfter.")
    assert document.title == "name"
    assert [s.heading_path for s in document.sections] == [(), ("One",)]


def test_a_front_matter_title_that_differs_leaves_the_heading():
    document = markdown("---\ntitle: Other\n---\n# One\n\nAfter.")
    assert document.title == "Other"
    assert [s.heading_path for s in document.sections] == [("One",)]


def test_broken_front_matter_is_left_out():
    assert markdown("---\ntitle: [unclosed\n---\n\nText.").text == "Text."
    assert markdown("---\n- a list\n---\n\nText.").title == "name"


def test_a_rule_at_the_top_is_no_front_matter():
    assert markdown("---\n\nText without an end of it.").text == "Text without an end of it."


def test_aliases_in_front_matter_are_not_multiplied():
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    document = markdown("---\ntitle: T\n" + "\n".join(lines) + "\n---\n\nText.")
    assert (document.title, document.text) == ("T", "Text.")


def test_html_in_markdown_loses_its_tags():
    assert markdown("<div>\nkept\n</div>\n\na<br>b <b>c</b>").text == "kept\n\na\nb c"


def test_an_image_is_its_description():
    assert markdown("![a pink flower](flower.png)").text == "a pink flower"


def test_plain_text_keeps_its_lines_and_takes_the_files_name():
    document = load_text("\ufeff第一行\r\n第二行\r\n\r\n\r\n\r\n末行  \r\n".encode(), "日记", Limits())
    assert document.title == "日记"
    assert document.text == "第一行\n第二行\n\n末行"
