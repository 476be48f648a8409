"""Replies heard in the terminal while they are written."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.cli.player import Player
from elysia_chat.ui.errors import PlaybackError

if TYPE_CHECKING:
    from elysia_chat.chains.events import Event
    from elysia_chat.voice.build import Speech
    from elysia_chat.voice.speaker import Speaker
    from elysia_chat.voice.stream import SpeechStream


class ReplySpeech:
    """Speaks the replies of one chat, each through a player of its own; a failure is told once and ends no chat.

    Args:
        speech: the parts that speak.
        note: writes a line for the user.
    """

    def __init__(self, speech: "Speech", note: Callable[[str], None]) -> None:
        self._speech = speech
        self._note = note
        self._told: set[str] = set()
        self._muted = False
        self._stream: SpeechStream | None = None
        self._player: Player | None = None
        self._thread: threading.Thread | None = None

    def listen(self, events: "Iterable[Event]", speaker: "Speaker") -> "Iterator[Event]":
        """Pass a reply's events on, and have its sentences spoken meanwhile; what was still heard is cut."""
        from elysia_chat.chains.events import Finished, Sentence

        self.stop()
        stream = self._begin(speaker)
        completed = False
        try:
            for event in events:
                if stream is not None and isinstance(event, Sentence):
                    stream.feed(event.text)
                elif stream is not None and isinstance(event, Finished) and event.stopped:
                    self.stop()
                yield event
            completed = True
        finally:
            if stream is not None:
                stream.finish()
            if not completed:
                self.stop()

    def wait(self) -> None:
        """Return when everything has been heard."""
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> None:
        """Fall silent at once."""
        if self._stream is not None:
            self._stream.cancel()
        if self._player is not None:
            self._player.stop()
        self.wait()

    def _begin(self, speaker: "Speaker") -> "SpeechStream | None":
        if self._muted:
            return None
        try:
            self._player = Player(speaker.sample_rate)
        except PlaybackError as error:
            self.give_up(error)
            return None
        self._stream = stream = self._speech.stream(speaker)
        self._thread = threading.Thread(target=self._play, args=(stream, self._player), name="player", daemon=True)
        self._thread.start()
        return stream

    def _play(self, stream: "SpeechStream", player: Player) -> None:
        try:
            for spoken in stream:
                if spoken.problem is not None:
                    self._tell(spoken.problem)
                if spoken.audio is not None:
                    player.play(spoken.audio)
            if not stream.cancelled:
                player.finish()
        except PlaybackError as error:
            if not stream.cancelled:
                stream.cancel()
                self.give_up(error)
        finally:
            player.stop()

    def give_up(self, error: ElysiaChatError) -> None:
        """Speak no more in this chat, and tell why."""
        self._muted = True
        self._tell(error)

    def _tell(self, error: ElysiaChatError) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            self._note(f"(speech: {error})")
