"""What a new persona starts with: a card and one document, written to be edited."""

from elysia_chat.kb.card import CharacterCard

_ZH = {
    "system_prompt": "你是{{char}}。用第一人称说话，语气自然亲切。只说资料里有的事；资料里没有的，就坦白说不知道。",
    "greeting": "你好，我是{{char}}。想聊些什么？",
    "examples": ["你是谁？", "你喜欢什么？"],
    "refusal": ["这件事我的资料里没有写，我不能乱说。"],
}
_EN = {
    "system_prompt": "You are {{char}}. Speak in the first person, warmly and naturally. Tell only what the lore says; "
    "where it says nothing, say that you do not know.",
    "greeting": "Hello, I am {{char}}. What shall we talk about?",
    "examples": ["Who are you?", "What do you like?"],
    "refusal": ["My lore says nothing about that, so I will not make it up."],
}


def template_card(title: str) -> CharacterCard:
    """Return a V3 card with the texts that every persona needs, in Chinese and English."""
    languages = {"zh": {"name": title, **_ZH}, "en": {"name": title, **_EN}}
    data = {
        "name": title,
        "description": "",
        "personality": "",
        "scenario": "",
        "first_mes": _EN["greeting"],
        "mes_example": "",
        "system_prompt": _EN["system_prompt"],
        "extensions": {"elysia_chat": {"languages": languages}},
    }
    return CharacterCard.model_validate({"spec": "chara_card_v3", "spec_version": "3.0", "data": data})


def first_document(title: str) -> str:
    """Return a first document of lore in Markdown, to be replaced by the user's own facts."""
    return (
        f"# {title}\n\n"
        f"{title} is a new persona. Replace this text with what there is to know, one subject to a heading.\n\n"
        f"## Likes\n\nWrite here what {title} likes.\n\n"
        f"## Friends\n\nWrite here whom {title} knows.\n"
    )
