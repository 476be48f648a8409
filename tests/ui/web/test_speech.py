"""A session's voice: sounds on demand, one by one, for its own page alone."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from elysia_chat.configs.settings import VoiceSettings
from elysia_chat.ui.web.sessions import Session, Sessions
from elysia_chat.ui.web.speech import PATH, SpokenReply, speech_routes
from elysia_chat.voice.build import Speech
from elysia_chat.voice.errors import VoiceError
from elysia_chat.voice.stream import SpeechStream


class Opened:
    """Opens streams of the silent voice, and counts them."""

    def __init__(self) -> None:
        self.speech = Speech(VoiceSettings(zh="silence", en="silence"))
        self.count = 0

    def __call__(self) -> SpeechStream:
        self.count += 1
        return self.speech.stream(self.speech.speaker())


@pytest.fixture
def opened():
    made = Opened()
    yield made
    made.speech.close()


@pytest.fixture
def session() -> Session:
    return Session("en", "violet")


@pytest.fixture
def client(session: Session):
    sessions = Sessions()
    sessions.get("key", lambda: session)
    again = SpokenReply(Opened())

    def replay(token: str, exchange: int, answer: int) -> SpokenReply | None:
        return again if (token, exchange, answer) == (session.voice.token, 1, 0) else None

    app = Starlette(routes=speech_routes(sessions, replay))
    app.state.again = again.id
    with TestClient(app) as made:
        yield made


def address(session: Session, number: int) -> str:
    return f"{PATH}/{session.voice.token}/{session.voice.reply.id}/{number}"


def test_sentences_come_in_their_order_and_then_an_end(client: TestClient, session: Session, opened: Opened):
    reply = SpokenReply(opened)
    session.voice.begin(reply)
    reply.feed("A first sentence that takes its time.")
    first = client.get(address(session, 0))
    assert first.status_code == 200
    assert first.headers["content-type"] == "audio/wav"
    assert first.content[:4] == b"RIFF"
    reply.feed("Two.")
    reply.finish()
    second = client.get(address(session, 1))
    assert len(second.content) < len(first.content)
    assert client.get(address(session, 2)).status_code == 204
    assert client.get(address(session, 0)).content == first.content


def test_nothing_is_computed_before_the_page_asks(opened: Opened):
    reply = SpokenReply(opened)
    reply.feed("Nobody listens.")
    reply.finish()
    assert opened.count == 0
    known = False
    while not known:
        known, spoken = reply.sound(0)
    assert spoken is not None
    assert opened.count == 1


def test_a_stopped_reply_is_silent(client: TestClient, session: Session, opened: Opened):
    session.voice.begin(SpokenReply(opened))
    where = address(session, 0)
    session.voice.reply.feed("Too late.")
    assert client.post(f"{PATH}/{session.voice.token}/stop").status_code == 204
    assert client.get(where).status_code == 204


def test_a_new_reply_silences_the_one_before(client: TestClient, session: Session, opened: Opened):
    session.voice.begin(old := SpokenReply(opened))
    where = address(session, 0)
    old.feed("Old.")
    session.voice.begin(SpokenReply(opened))
    assert client.get(where).status_code == 204
    assert old.sound(0) == (True, None)


def test_another_token_hears_nothing(client: TestClient, session: Session, opened: Opened):
    session.voice.begin(reply := SpokenReply(opened))
    reply.feed("Between us.")
    reply.finish()
    other = Session("en", "violet")
    assert other.voice.token != session.voice.token
    assert client.get(f"{PATH}/{other.voice.token}/{reply.id}/0").status_code == 204
    assert client.post(f"{PATH}/{other.voice.token}/again/1/0").json() == {"reply": None}
    assert opened.count == 0


def test_an_answer_can_be_heard_again(client: TestClient, session: Session):
    found = client.post(f"{PATH}/{session.voice.token}/again/1/0").json()
    assert found == {"reply": client.app.state.again}
    assert client.post(f"{PATH}/{session.voice.token}/again/9/0").json() == {"reply": None}


def test_why_nothing_is_heard_is_told_in_one_line(client: TestClient, session: Session):
    def broken() -> SpeechStream:
        msg = "The voice “joe” needs espeak-ng: install it.\n"
        raise VoiceError(msg)

    session.voice.begin(reply := SpokenReply(broken))
    reply.feed("Hello.")
    response = client.get(address(session, 0))
    assert response.status_code == 204
    assert "espeak-ng%3A%20install" in response.headers["speech-problem"]


def test_voices_are_chosen_for_each_persona_and_language(session: Session):
    session.voice.choose("violet", "en", "joe")
    session.voice.choose("violet", "zh", "xiaoxiao")
    session.voice.choose("violet", "en", "")
    assert session.voice.names == {"violet": {"zh": "xiaoxiao"}}
