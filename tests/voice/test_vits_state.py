"""Names and forms of VITS tensors."""

import pytest
import torch

from elysia_chat.voice.vits_state import coqui_name, fit


@pytest.mark.parametrize(
    ("original", "coqui"),
    [
        ("enc_p.encoder.attn_layers.0.emb_rel_k", "text_encoder.encoder.attn_layers.0.emb_rel_k"),
        ("flow.flows.6.enc.in_layers.0.weight_v", "flow.flows.3.enc.in_layers.0.parametrizations.weight.original1"),
        ("dp.flows.0.logs", "duration_predictor.flows.0.log_scale"),
        ("dp.post_flows.0.m", "duration_predictor.post_flows.0.translation"),
        ("dp.flows.7.convs.convs_sep.0.weight", "duration_predictor.flows.4.convs.convs_sep.0.weight"),
        ("dec.cond.weight", "waveform_decoder.cond_layer.weight"),
        ("dec.ups.1.weight_g", "waveform_decoder.ups.1.parametrizations.weight.original0"),
        ("enc_q.pre.bias", "posterior_encoder.pre.bias"),
        ("emb_g.weight", "emb_g.weight"),
    ],
)
def test_names(original: str, coqui: str):
    assert coqui_name(original) == coqui


def test_folded_and_normalised_weights_fit_each_other():
    folded = torch.nn.Sequential(torch.nn.Conv1d(3, 4, 5))
    normal = torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(3, 4, 5)))
    made = fit(folded.state_dict(), normal.state_dict())
    assert made.missing == made.unknown == made.misshapen == ()
    normal.load_state_dict(made.state)
    wave = torch.randn(1, 3, 20)
    assert torch.allclose(normal(wave), folded(wave), atol=1e-6)
    with torch.no_grad():
        normal[0].parametrizations.weight.original0.mul_(2)
    back = fit(normal.state_dict(), folded.state_dict())
    assert back.missing == back.unknown == ()
    folded.load_state_dict(back.state)
    assert torch.allclose(normal(wave), folded(wave), atol=1e-6)


def test_what_does_not_fit_is_named():
    model = {"text_encoder.a": torch.zeros(2), "text_encoder.b": torch.zeros(3), "posterior_encoder.c": torch.zeros(1)}
    made = fit({"text_encoder.b": torch.zeros(4), "other": torch.zeros(1)}, model)
    assert (made.missing, made.unknown, made.misshapen) == (("text_encoder.a",), ("other",), ("text_encoder.b",))
