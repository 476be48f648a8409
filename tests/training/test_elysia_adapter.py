import json
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open

ADAPTER = Path(__file__).parents[2] / "llm" / "adapters" / "elysia"


def test_the_committed_adapter_is_whole_and_small() -> None:
    files = list(ADAPTER.iterdir())
    assert sum(path.stat().st_size for path in files) <= 32_000_000
    with safe_open(str(ADAPTER / "adapter_model.safetensors"), "pt") as weights:
        names = list(weights.keys())
        assert len(names) == 18 * 7 * 2
        assert all(64 in weights.get_slice(name).get_shape() for name in names)


def test_it_says_what_it_was_made_of() -> None:
    config = json.loads((ADAPTER / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "gemma-3-270m"
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 64, 64)
    results = json.loads((ADAPTER / "results.json").read_text(encoding="utf-8"))
    data = json.loads((ADAPTER / "data.json").read_text(encoding="utf-8"))
    settings = yaml.safe_load((ADAPTER / "training.yaml").read_text(encoding="utf-8"))
    assert [stage["data_sha256"] for stage in results["stages"]] == [stage["train_sha256"] for stage in data]
    assert set(settings) == {f"stage {stage['stage']}" for stage in results["stages"]}


@pytest.mark.parametrize("name", ["adapter_config.json", "training.yaml", "results.json", "data.json"])
def test_it_names_no_folder_of_a_machine(name: str) -> None:
    assert "/" not in (ADAPTER / name).read_text(encoding="utf-8").replace("world/", "").replace("lore/", "")
