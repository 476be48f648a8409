"""The controls become options by the settings' own rules."""

from dataclasses import replace

import pytest

from elysia_chat.configs.errors import SettingsError
from elysia_chat.configs.settings import Settings
from elysia_chat.ui.web.drawer import read_controls
from elysia_chat.ui.web.options import RETRY_TEMPERATURE, default_controls, reply_options

SETTINGS = Settings()
DEFAULTS = default_controls(SETTINGS)


def test_untouched_controls_are_the_settings():
    options = reply_options(SETTINGS, DEFAULTS)
    assert options.retrieval == SETTINGS.retrieval
    assert options.ways == (True,)
    assert options.sampling == SETTINGS.generation.model_dump(exclude={"stop"})


@pytest.mark.parametrize(("mode", "ways"), [("on", (True,)), ("off", (False,)), ("both", (True, False))])
def test_the_lore_mode_decides_what_is_answered(mode, ways):
    assert reply_options(SETTINGS, replace(DEFAULTS, lore=mode)).ways == ways


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -1.0), ("top_p", 0.0), ("k", 0), ("k", 10_000), ("mode", "psychic"), ("seed", "soon"),
     ("lore", "maybe"), ("max_new_tokens", 10**9)],
)  # fmt: skip
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(SettingsError, match="lore mode" if name == "lore" else f"^{name}: "):
        reply_options(SETTINGS, replace(DEFAULTS, **{name: value}))


def test_more_passages_than_candidates_ask_for_more_candidates():
    settings = SETTINGS.model_copy(update={"retrieval": SETTINGS.retrieval.model_copy(update={"candidates": 5})})
    assert reply_options(settings, replace(DEFAULTS, k=12)).retrieval.candidates == 12


def test_asking_again_is_sampled_anew():
    options = reply_options(SETTINGS, replace(DEFAULTS, seed=7), again=True)
    assert options.sampling["temperature"] == RETRY_TEMPERATURE
    assert options.sampling["seed"] is None
    assert reply_options(SETTINGS, replace(DEFAULTS, temperature=1.2), again=True).sampling["temperature"] == 1.2


def test_emptied_fields_have_their_defaults():
    controls = read_controls((None,) * 10)
    assert reply_options(SETTINGS, controls).sampling["top_k"] == SETTINGS.generation.top_k
    assert read_controls(("off", 1.0, 0.9, 3, 1.0, 64, "12", 2, "dense", 1.0)).seed == "12"
