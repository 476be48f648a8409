from elysia_chat.kb.chunk import Chunk, chunk_id


def test_an_id_depends_on_each_part_and_on_nothing_else():
    base = chunk_id("a.md", "A > B", "text", 0)
    assert base == chunk_id("a.md", "A > B", "text")
    others = {
        chunk_id("b.md", "A > B", "text"),
        chunk_id("a.md", "A", "text"),
        chunk_id("a.md", "A > B", "Text"),
        chunk_id("a.md", "A > B", "text", 1),
        chunk_id("a.mdA > B", "", "text"),
        chunk_id("a.md", "A > Bt", "ext"),
    }
    assert base not in others
    assert len(others) == 6


def test_the_document_carries_the_text_alone_and_the_index_the_headings_too():
    chunk = Chunk(id="1", text="正文", document="a.md", title="标题", heading="标题 > 小节", position=3, start=7)
    document = chunk.to_document()
    assert (document.id, document.page_content) == ("1", "正文")
    assert document.metadata["position"] == 3
    assert chunk.indexed_text == "标题 > 小节\n正文"


def test_a_chunk_without_title_is_indexed_as_it_is():
    assert Chunk(id="1", text="正文", document="a.md").indexed_text == "正文"


def test_a_chunk_survives_being_stored():
    chunk = Chunk(id="1", text="t", document="a", title="b", heading="c", position=1, start=2, language="zh")
    document = chunk.to_document()
    assert Chunk.from_stored("1", document.page_content, document.metadata) == chunk
