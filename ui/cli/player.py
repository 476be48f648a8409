"""Plays sound through a program of the system, which reads samples from its standard input."""

import contextlib
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from elysia_chat.ui.errors import PlaybackError

if TYPE_CHECKING:
    from elysia_chat.voice.audio import Audio

_COMMANDS: dict[str, tuple[str, ...]] = {
    "pw-cat": ("--playback", "--format", "s16", "--rate", "{rate}", "--channels", "1", "-"),
    "paplay": ("--raw", "--format=s16le", "--rate={rate}", "--channels=1"),
    "aplay": ("-q", "-t", "raw", "-f", "S16_LE", "-r", "{rate}", "-c", "1", "-"),
    "ffplay": ("-nodisp", "-autoexit", "-loglevel", "error", "-f", "s16le", "-sample_rate", "{rate}", "-i", "-"),
    "play": ("-q", "-t", "raw", "-e", "signed", "-b", "16", "-r", "{rate}", "-c", "1", "-"),
}
_ADVICE = "Install one of aplay (alsa-utils), paplay (pulseaudio-utils), ffplay (ffmpeg) or play (sox)"


class Player:
    """Plays sounds one after the other, without a gap as long as they come in time.

    Args:
        sample_rate: of all sounds, in Hz.

    Raises:
        PlaybackError: there is no program that plays sound.
    """

    def __init__(self, sample_rate: int) -> None:
        name = find_player()
        if name is None:
            msg = f"No program here plays sound, so nothing is heard. {_ADVICE}."
            raise PlaybackError(msg)
        self._name = name
        command = [str(shutil.which(name)), *(part.format(rate=sample_rate) for part in _COMMANDS[name])]
        self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603  # the command is one of ours
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        self._ending = threading.Lock()

    def play(self, audio: "Audio") -> None:
        """Add a sound; returns when the program has taken it, which may be before it is heard.

        Raises:
            PlaybackError: the program has failed: mostly there is no audio device.
        """
        content = (audio.samples * 32767).astype("<i2").tobytes()
        try:
            stdin: Any = self._process.stdin
            stdin.write(content)
            stdin.flush()
        except (BrokenPipeError, ValueError, OSError) as error:
            raise self._failed() from error

    def finish(self) -> None:
        """Wait until everything has been heard.

        Raises:
            PlaybackError: the program has failed.
        """
        try:
            _, message = self._process.communicate()
        except (BrokenPipeError, ValueError, OSError) as error:
            raise self._failed() from error
        if self._process.returncode > 0:
            raise self._failed(message)

    def stop(self) -> None:
        """Fall silent at once. Safe from any thread."""
        with self._ending:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stderr):
                # What the program did not take is thrown away.
                with contextlib.suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()

    def _failed(self, message: bytes = b"") -> PlaybackError:
        with self._ending:
            self._process.kill()
            stderr = self._process.stderr
            if not message and stderr is not None and not stderr.closed:
                message = stderr.read()
        self.stop()
        lines = message.decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else "it ended early"
        return PlaybackError(f"{self._name} cannot play sound here ({why}); the text goes on without.")


def find_player() -> str | None:
    """Return the name of a program that can play, None where there is none."""
    return next((name for name in _COMMANDS if shutil.which(name)), None)
