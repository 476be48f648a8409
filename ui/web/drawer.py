"""The drawer at the side: persona, language and look, sampling and retrieval, export."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import gradio as gr

from elysia_chat.configs.settings import GenerationSettings, RetrievalSettings
from elysia_chat.ui.web.icons import icon
from elysia_chat.ui.web.markup import escape
from elysia_chat.ui.web.options import Controls, default_controls
from elysia_chat.ui.web.sessions import Session
from elysia_chat.ui.web.state import QUIET, PageState
from elysia_chat.ui.web.texts import ZH, Texts
from elysia_chat.voice.registry import list_voices

_LANGUAGES = [("中文", "zh"), ("English", "en")]
_LOOKS = ("auto", "light", "dark")
_LORE_MODES = ("on", "off", "both")
_SEARCH_MODES = ("hybrid", "dense", "lexical")
_MAX_NEW_TOKENS = 2048
# A slider that is pulled says many values while the first is on its way; the last one counts.
_LATEST = {"trigger_mode": "always_last"}


class Drawer:
    """Builds the drawer.

    Args:
        page: the state of the page.
    """

    def __init__(self, page: PageState) -> None:
        self._page = page
        defaults = default_controls(page.services.settings)
        with gr.Column(elem_id="drawer"):
            self.title = gr.HTML(_title(ZH), apply_default_css=False)
            self.persona = gr.Dropdown(label=ZH.persona, choices=[])
            self.lore = gr.Radio(
                _pairs(ZH.lore_choices, _LORE_MODES), value=defaults.lore, label=ZH.lore_mode, info=ZH.lore_info
            )
            self.language = gr.Radio(_LANGUAGES, label=ZH.interface_language, elem_id="language")
            self.look = gr.Radio(_pairs(ZH.appearance_choices, _LOOKS), value="auto", label=ZH.appearance)
            self._build_voice()
            self._build_sampling(defaults)
            self._build_retrieval(defaults)
            self.reset = gr.Button(ZH.reset, size="sm", elem_id="reset")
            self.export_title = gr.HTML(_group(ZH.export), apply_default_css=False)
            with gr.Row(elem_id="export"):
                self.as_markdown = gr.Button("Markdown", size="sm", elem_id="export-markdown")
                self.as_json = gr.Button("JSON", size="sm", elem_id="export-json")

    def _build_voice(self) -> None:
        voice = self._page.services.settings.voice
        with gr.Accordion(ZH.voice, open=False, elem_id="voice", visible=voice.enabled) as self.voice:
            self.voice_zh = gr.Dropdown(label=ZH.voice_zh, choices=[], elem_id="voice-zh")
            self.voice_en = gr.Dropdown(label=ZH.voice_en, choices=[], elem_id="voice-en")
            self.speed = gr.Slider(0.5, 2, voice.speed, step=0.05, label=ZH.voice_speed, elem_id="voice-speed")
            self.volume = gr.Slider(0, 1, 1, step=0.05, label=ZH.voice_volume, elem_id="voice-volume")

    def _build_sampling(self, defaults: Controls) -> None:
        with gr.Accordion(ZH.generation, open=False, elem_id="sampling") as self.generation:
            self.temperature = gr.Slider(
                0, 2, defaults.temperature, step=0.05, label=ZH.temperature, info=ZH.temperature_info
            )
            self.top_p = gr.Slider(0.05, 1, defaults.top_p, step=0.05, label=ZH.top_p)
            self.top_k = gr.Slider(0, 200, defaults.top_k, step=1, label=ZH.top_k)
            self.repetition_penalty = gr.Slider(
                0.5, 2, defaults.repetition_penalty, step=0.05, label=ZH.repetition_penalty
            )
            longest = max(_MAX_NEW_TOKENS, defaults.max_new_tokens)
            self.max_new_tokens = gr.Slider(16, longest, defaults.max_new_tokens, step=16, label=ZH.max_new_tokens)
            self.seed = gr.Textbox(
                _written(defaults.seed), label=ZH.seed, info=ZH.seed_info, max_lines=1, elem_id="seed"
            )

    def _build_retrieval(self, defaults: Controls) -> None:
        with gr.Accordion(ZH.retrieval, open=False, elem_id="retrieval") as self.retrieval:
            self.k = gr.Slider(1, 20, defaults.k, step=1, label=ZH.passages)
            self.mode = gr.Radio(_pairs(ZH.search_choices, _SEARCH_MODES), value=defaults.mode, label=ZH.search_mode)
            self.dense_weight = gr.Slider(0, 1, defaults.dense_weight, step=0.05, label=ZH.dense_weight)

    @property
    def controls(self) -> list[Any]:
        """Components whose values make a `Controls`, in its order."""
        return [
            self.lore, self.temperature, self.top_p, self.top_k, self.repetition_penalty, self.max_new_tokens,
            self.seed, self.k, self.mode, self.dense_weight,
        ]  # fmt: skip

    @property
    def outputs(self) -> list[Any]:
        """Components that `values` fills."""
        return [
            self.title, self.persona, self.lore, self.language, self.look, self.voice, self.voice_zh, self.voice_en,
            self.speed, self.volume, self.generation, self.temperature,
            self.top_p, self.top_k, self.repetition_penalty, self.max_new_tokens, self.seed, self.retrieval, self.k,
            self.mode, self.dense_weight, self.reset, self.export_title,
        ]  # fmt: skip

    def values(self, session: Session) -> list[Any]:
        """Return the labels in a session's language, and what it has chosen."""
        texts = self._page.texts(session)
        services = self._page.services
        titles = [
            (services.persona(name).card.localized(session.language).name, name) for name in services.persona_names()
        ]
        return [
            _title(texts),
            gr.update(label=texts.persona, choices=titles, value=session.persona, visible=len(titles) > 1),
            gr.update(label=texts.lore_mode, info=texts.lore_info, choices=_pairs(texts.lore_choices, _LORE_MODES)),
            gr.update(label=texts.interface_language, value=session.language),
            gr.update(label=texts.appearance, choices=_pairs(texts.appearance_choices, _LOOKS)),
            gr.update(label=texts.voice),
            self._voices(session, "zh", texts.voice_zh),
            self._voices(session, "en", texts.voice_en),
            gr.update(label=texts.voice_speed, value=session.voice.speed),
            gr.update(label=texts.voice_volume),
            gr.update(label=texts.generation),
            gr.update(label=texts.temperature, info=texts.temperature_info),
            gr.update(label=texts.top_p),
            gr.update(label=texts.top_k),
            gr.update(label=texts.repetition_penalty),
            gr.update(label=texts.max_new_tokens),
            gr.update(label=texts.seed, info=texts.seed_info),
            gr.update(label=texts.retrieval),
            gr.update(label=texts.passages),
            gr.update(label=texts.search_mode, choices=_pairs(texts.search_choices, _SEARCH_MODES)),
            gr.update(label=texts.dense_weight),
            gr.update(value=texts.reset),
            _group(texts.export),
        ]

    def _voices(self, session: Session, language: str, label: str) -> Any:
        """Return the voices that have a language, and the one that a session has chosen for its persona."""
        able = [voice.info.name for voice in list_voices() if language in voice.info.languages]
        usual = (self._page.texts(session).voice_of_persona, "")
        chosen = session.voice.names.get(session.persona, {}).get(language, "")
        return gr.update(label=label, choices=[usual, *((name, name) for name in able)], value=chosen)

    def _choose_voice(self, language: str) -> Callable[[gr.Request, str | None], None]:
        def choose(request: gr.Request, name: str | None) -> None:
            session = self._page.session(request)
            session.voice.choose(session.persona, language, name or "")

        return choose

    def _set_speed(self, request: gr.Request, speed: float) -> None:
        self._page.session(request).voice.speed = min(2.0, max(0.5, float(speed)))

    def wire(self) -> None:
        """Connect what needs no other part of the page."""
        for component, language in ((self.voice_zh, "zh"), (self.voice_en, "en")):
            component.input(self._choose_voice(language), component, None, queue=False, **_LATEST, **QUIET)
        self.speed.input(self._set_speed, self.speed, None, queue=False, **_LATEST, **QUIET)
        self.volume.change(None, self.volume, None, js="(volume) => { elysiaVoice.setVolume(volume); }", **QUIET)
        self.look.input(None, self.look, None, js="(look) => { elysia.setLook(look); }", **QUIET)
        self.reset.click(self._defaults, None, self.controls, queue=False, **QUIET)

    def _defaults(self) -> list[Any]:
        defaults = default_controls(self._page.services.settings)
        return [_written(value) if name == "seed" else value for name, value in asdict(defaults).items()]


def read_controls(values: tuple[Any, ...]) -> Controls:
    """Return the values of the components as `Controls`; an emptied field has its default."""
    generation, retrieval = GenerationSettings(), RetrievalSettings()
    fallback = (
        "on", generation.temperature, generation.top_p, generation.top_k, generation.repetition_penalty,
        generation.max_new_tokens, None, retrieval.k, retrieval.mode, retrieval.dense_weight,
    )  # fmt: skip
    chosen: list[Any] = [other if value in (None, "") else value for value, other in zip(values, fallback, strict=True)]
    return Controls(*chosen)


def _written(seed: int | str | None) -> str:
    """Return a seed as it stands in its field; Gradio's number field turns an empty one into 0."""
    return "" if seed is None else str(seed)


def _pairs(labels: tuple[str, ...], values: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(zip(labels, values, strict=True))


def _title(texts: Texts) -> str:
    close = (
        f'<button type="button" class="tool" data-client="close-drawer" title="{escape(texts.close)}" '
        f'aria-label="{escape(texts.close)}">{icon("close")}</button>'
    )
    return f'<div class="drawer-title"><h2>{escape(texts.settings)}</h2>{close}</div>'


def _group(label: str) -> str:
    return f'<div class="group">{escape(label)}</div>'
