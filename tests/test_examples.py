"""The Python in README.md runs as it stands, block by block, and that of docs/*.md page by page, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text() if page.exists() else "", re.MULTILINE | re.DOTALL)


BLOCKS = {f"README {k + 1}": block for k, block in enumerate(blocks(ROOT / "README.md"))}
BLOCKS |= {page.name: "\n".join(blocks(page)) for page in sorted(ROOT.glob("docs/*.md")) if blocks(page)}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_the_pages_run(block, tmp_path):
    for package in re.findall(r"^import (diffusion)", block, re.MULTILINE):
        pytest.importorskip("torch", reason=f"{package} needs it")
    where = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, text=True, capture_output=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": where, "MPLBACKEND": "Agg"})
    assert done.returncode == 0, done.stderr
