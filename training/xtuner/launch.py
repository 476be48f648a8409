"""Starts one of XTuner's tools with the Python of XTuner's environment; run as a program, never imported by the chat.

`PYTHONSAFEPATH=1 python launch.py train config.py …`, or `convert pth_to_hf …`: the words of the command `xtuner`,
which itself ends with 0 whatever its tool did. Before the tool starts, what does not work on this machine is set right,
and only that:

| where | what | instead |
| --- | --- | --- |
| no CUDA | torchvision's wheel describes operators that it cannot load | the descriptions are left out |
| no CUDA | AmpOptimWrapper asks for a GPU; half precision is slow or missing | OptimWrapper, float32, gloo |
| no CUDA | each process of a group takes a GPU | none is taken |
| no CUDA | transformers 4.48 refuses bitsandbytes on a CPU | the check is left out |
| AVX512-BF16 | bitsandbytes repacks 4-bit weights in an evaluation, gradients after it are wrong | no repacking |
| everywhere | InternLM2 as it was published names code to be downloaded | XTuner's own class for it |
| everywhere | a checkpoint's log is no tensor, and torch refuses to read it | these few types are allowed by name |
| one process | DeepSpeed looks for MPI | a group of one process |
"""

import importlib
import os
import runpy
import socket
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HELP = "launch.py MODE [ARGUMENTS]: one of XTuner's modes, such as train, 'convert pth_to_hf' or chat"


def main(words: Sequence[str]) -> None:
    """Run the tool that the words name, in this process.

    Raises:
        SystemExit: there is no such tool, or the tool ended by itself.
    """
    import torch

    cpu = not torch.cuda.is_available()
    prepare(cpu)
    from xtuner.entry_point import modes

    found: Any = modes
    rest = list(words)
    while rest and isinstance(found, dict):
        found = found.get(rest.pop(0))
    if not callable(found):
        raise SystemExit(_HELP)
    tool = Path(found())
    if tool.name == "train.py":
        rest = _train_arguments(rest, cpu)
    elif tool.name == "chat.py" and cpu and "--torch-dtype" not in rest:
        rest += ["--torch-dtype", "fp32"]
    sys.argv = [str(tool), *rest]
    runpy.run_path(str(tool), run_name="__main__")


def prepare(cpu: bool) -> None:
    """Set right what does not work here; nothing of XTuner may have been imported before.

    Args:
        cpu: whether torch sees no GPU.
    """
    _forget_compiled_operators()
    if cpu:
        _without_gpu()
    layers: Any = importlib.import_module("bitsandbytes.nn.modules")
    layers.has_avx512bf16 = lambda: False
    _know_internlm2()
    _allow_logs()


def _forget_compiled_operators() -> None:
    """Let torchvision be imported where its operators cannot be loaded; XTuner needs its picture transforms alone."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        name = "torchvision._meta_registrations"
        sys.modules[name] = types.ModuleType(name)


def _without_gpu() -> None:
    import mmengine.optim
    import torch
    import transformers.integrations.bitsandbytes as integration

    cpu: Any = torch.cpu
    cpu.is_bf16_supported = lambda: False
    cuda: Any = torch.cuda
    cuda.set_device = lambda _device: None
    integration._validate_bnb_cuda_backend_availability = lambda raise_exception: True
    integration._validate_bnb_multi_backend_availability = lambda raise_exception: True

    class PlainOptimWrapper(mmengine.optim.OptimWrapper):
        """OptimWrapper that takes the settings of the one for mixed precision."""

        def __init__(self, loss_scale: object = None, dtype: object = None, **settings: Any) -> None:
            super().__init__(**settings)

    mmengine.optim.AmpOptimWrapper = PlainOptimWrapper
    import xtuner.tools.utils

    xtuner.tools.utils.auto_dtype_of_deepspeed_config = _float32


def _float32(settings: dict[str, Any]) -> dict[str, Any]:
    """Return DeepSpeed's settings in full precision."""
    return {**settings, "fp16": {"enabled": False}, "bf16": {"enabled": False}}


def _know_internlm2() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM
    from xtuner._lite.modelings.internlm2 import InternLM2Config, InternLM2ForCausalLM

    AutoConfig.register("internlm2", InternLM2Config, exist_ok=True)
    AutoModelForCausalLM.register(InternLM2Config, InternLM2ForCausalLM, exist_ok=True)
    # Otherwise a saved model would bring its code along.
    InternLM2Config._auto_class = None
    InternLM2ForCausalLM._auto_class = None


def _allow_logs() -> None:
    """Name the types of mmengine's log in a checkpoint, so that torch can go on reading data alone."""
    import numpy as np
    import torch
    from mmengine.logging.history_buffer import HistoryBuffer

    def attribute(owner: object, name: str) -> object:
        """Look up what a log's figures are computed with, and nothing else."""
        if owner is not HistoryBuffer or name not in ("mean", "max", "min", "current"):
            msg = f"A checkpoint asks for {owner}.{name}: it is none that was written here."
            raise RuntimeError(msg)
        return getattr(HistoryBuffer, name)

    kinds: list[Any] = [np.ndarray, np.dtype, *(type(np.dtype(name)) for name in ("f8", "f4", "i8", "i4"))]
    builders: list[Any] = [np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]]
    torch.serialization.add_safe_globals([HistoryBuffer, *kinds, *builders, (attribute, "builtins.getattr")])


def _train_arguments(words: list[str], cpu: bool) -> list[str]:
    """Return the arguments of a training with the settings that this machine needs."""
    # With 32 processes, XTuner's own number, the second map stood still on a machine of many cores.
    options = [f"train_dataloader.dataset.map_num_proc={min(4, os.cpu_count() or 1)}"]
    if cpu:
        options += ["env_cfg.dist_cfg.backend=gloo", *_full_precision(Path(words[0]))]
    if "--deepspeed" in words and "--launcher" not in words and "RANK" not in os.environ:
        os.environ.update(_group_of_one())
    if "--cfg-options" not in words:
        return [*words, "--cfg-options", *options]
    # What the caller says comes last, and wins.
    place = words.index("--cfg-options") + 1
    return [*words[:place], *options, *words[place:]]


def _group_of_one() -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _full_precision(config: Path) -> list[str]:
    from mmengine.config import Config

    llm = Config.fromfile(config).model.llm
    options = ["model.llm.torch_dtype=float32"]
    if llm.get("quantization_config") is not None:
        options.append("model.llm.quantization_config.bnb_4bit_compute_dtype=float32")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
