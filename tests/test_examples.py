"""The Python in README.md runs as it stands, block by block, each in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text() if README.exists() else "", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block {k + 1}" for k in range(len(BLOCKS))])
def test_the_readme_runs(block, tmp_path):
    for package in re.findall(r"^import (diffusion)", block, re.MULTILINE):
        pytest.importorskip("torch", reason=f"{package} needs it")
    where = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, text=True, capture_output=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": where, "MPLBACKEND": "Agg"})
    assert done.returncode == 0, done.stderr
