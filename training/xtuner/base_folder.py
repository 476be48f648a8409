"""A model's folder in the form that XTuner's transformers 4.48 reads, made of links; no remote code.

transformers 5 keeps RoPE under another name, which the older one passes over without a word, and takes the theta of the
first Llama for a model that was trained with another. InternLM2 as it was published names code to be downloaded. Both
are set right in a new `config.json`; the weights are links to where they are.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elysia_chat.llm.checkpoint_files import read_config
from elysia_chat.llm.internlm2.config import MODEL_TYPE
from elysia_chat.llm.internlm2.convert import is_internlm2
from elysia_chat.llm.internlm2.tokenizer import convert_tokenizer
from elysia_chat.llm.loading import find_folder
from elysia_chat.training.xtuner.errors import XtunerError

FAMILIES = (MODEL_TYPE, "llama")
_LINKED = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json")
_TOKENIZER_FILES = ("tokenizer.json",)


def find_base(name: str) -> Path:
    """Return the folder of a model that XTuner can train.

    Raises:
        XtunerError: it is not on this machine, or of a kind that this environment does not know.
        ModelLoadError: its configuration is damaged.
    """
    folder = find_folder(name)
    if folder is None:
        msg = (
            f"There is no model '{name}' on this machine: bring it in with `elysia-chat models add`, or give its "
            "folder with model.name=FOLDER (converted or as it was published)."
        )
        raise XtunerError(msg)
    kind = read_config(folder).get("model_type")
    if kind not in FAMILIES:
        msg = f"XTuner's environment trains InternLM2 and Llama, and {folder} holds {kind}: use `train run` for it."
        raise XtunerError(msg)
    return folder.resolve()


def prepare_base(source: Path, target: Path) -> Any:
    """Make the folder that a config names.

    Args:
        source: the model, converted to Llama or as InternLM2 was published.
        target: the folder to make; what is there is replaced.

    Returns:
        The tokenizer, of transformers.

    Raises:
        ConversionError: the tokenizer cannot be read.
        ModelLoadError: the configuration is damaged.
        XtunerError: there are no weights.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    content = read_config(source)
    (target / "config.json").write_text(json.dumps(older_config(content), indent=2) + "\n", encoding="utf-8")
    links = [path for pattern in _LINKED for path in sorted(source.glob(pattern))]
    if not any(path.suffix in (".safetensors", ".bin") for path in links):
        msg = f"{source} holds no weights: copy the model again."
        raise XtunerError(msg)
    for path in links:
        (target / path.name).symlink_to(path.resolve())
    return _tokenizer(source, target, int(content["vocab_size"]))


def older_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's configuration as transformers 4.48 writes it, without names of code."""
    older = {key: value for key, value in config.items() if key not in ("auto_map", "rope_parameters", "dtype")}
    older["torch_dtype"] = config.get("torch_dtype") or config.get("dtype") or "float16"
    rope = config.get("rope_parameters")
    if isinstance(rope, Mapping):
        older["rope_theta"] = rope.get("rope_theta", 10000.0)
        scaled = {key: value for key, value in rope.items() if key != "rope_theta"}
        older["rope_scaling"] = None if rope.get("rope_type", "default") == "default" else scaled
    # The class refuses anything but these two keys.
    if config.get("model_type") == MODEL_TYPE and isinstance(older.get("rope_scaling"), Mapping):
        scaling = older["rope_scaling"]
        older["rope_scaling"] = {"type": scaling.get("type") or scaling.get("rope_type"), "factor": scaling["factor"]}
    return older


def _tokenizer(source: Path, target: Path, vocabulary: int) -> Any:
    """Write the tokenizer in the older form, and return it."""
    from transformers import AutoTokenizer

    if is_internlm2(source):
        tokenizer = convert_tokenizer(source, target, vocabulary)
    else:
        tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
        tokenizer.save_pretrained(target)
    for path in target.iterdir():
        written_here = path.name.startswith(("tokenizer", "special_tokens", "added_tokens", "chat_template"))
        if written_here and path.name not in _TOKENIZER_FILES:
            path.unlink()
    ends = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{name: str(token) for name, token in ends.items() if token is not None},
        "additional_special_tokens": sorted(special - {str(token) for token in ends.values()}),
        "clean_up_tokenization_spaces": False,
        "model_max_length": min(int(tokenizer.model_max_length), 1 << 30),
    }
    if isinstance(tokenizer.chat_template, str):
        settings["chat_template"] = tokenizer.chat_template
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (target / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return tokenizer
