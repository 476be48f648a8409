"""The benchmark of the memory-lean loss runs, and all of its ways compute the same losses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "qlora_memory.py"


@pytest.mark.slow
def test_the_benchmark_runs_on_a_tiny_shape(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    subprocess.run(
        [sys.executable, str(SCRIPT), "--tiny", "--json", str(tmp_path / "result.json")], check=True, timeout=300
    )
    result = json.loads((tmp_path / "result.json").read_text())
    losses = {(row["way"], row["tokens"]): row["losses"] for row in result["rows"]}
    assert set(losses) == {(way, tokens) for way in ("plain", "lean", "packed") for tokens in (32, 64)}
    for tokens in (32, 64):
        assert losses["plain", tokens] == pytest.approx(losses["lean", tokens], abs=1e-3)
        assert losses["plain", tokens] == pytest.approx(losses["packed", tokens], abs=1e-3)
    assert result["lean_over_plain"] > 0
    assert result["packed_over_plain"] > 0
