"""Optional libraries of `wengert.data`: named where one is missing, and not loaded before they are needed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wengert import data

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
PIXELS = np.zeros((1, 3, 8, 8), np.uint8)
USES: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "read_image": ("PIL.Image", "images", data.read_image),
    "write_image": ("PIL.Image", "images", lambda path: data.write_image(PIXELS[0], path)),
    "MNIST": ("pooch", "images", lambda path: data.MNIST(path, download=True)),
    "SubwordTokenizer": ("tokenizers", "text", lambda path: data.SubwordTokenizer.train([])),
    "read_audio": ("soundfile", "audio", data.audio.read_audio),
    "audio_info": ("soundfile", "audio", data.audio.audio_info),
    "write_audio": ("soundfile", "audio", lambda path: data.audio.write_audio(np.zeros(3), path, 8000)),
    "read_video": ("av", "video", data.read_video),
    "video_info": ("av", "video", data.video_info),
    "read_frames": ("av", "video", lambda path: data.read_frames(path, [0.0])),
    "write_video": ("av", "video", lambda path: data.write_video(PIXELS, path)),
}


@pytest.mark.parametrize("name", USES)
def test_an_extra_that_is_missing_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, extra, use = USES[name]
    library = module.partition(".")[0]
    monkeypatch.setitem(sys.modules, module, None)
    words = rf"{name}: needs the library '{library}'\. pip install 'wengert\[{extra}\]'"
    with pytest.raises(ImportError, match=words):
        use(tmp_path / "a.x")
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    distribution = {"PIL": "pillow"}.get(library, library)
    assert any(requirement.startswith(f"{distribution}>=") for requirement in extras[extra])


@pytest.mark.slow
def test_importing_the_package_loads_none() -> None:
    libraries = {module.partition(".")[0] for module, _, _ in USES.values()} | {"scipy", "sklearn", "pandas"}
    program = f"import sys, wengert.data; print(*sorted({libraries!r} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert not loaded.split()
