"""What the import of the package does, and that it comes first."""

import ast
import os
import subprocess
import sys

import pytest
import recipe_runs as runs

SCRIPTS = sorted(runs.ROOT.glob("recipes/*/*.py"))
PACKAGE = "speechbrain_dino"


def run_and_print(code, **variables):
    env = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**env, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip(), done.stderr


def test_waiting_threads_sleep_unless_the_user_says_otherwise():
    code = "import os, sys, speechbrain_dino as s\n"
    code += "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    assert run_and_print(code)[0] == "passive False"
    assert run_and_print(code, OMP_WAIT_POLICY="active")[0] == "active False"


@pytest.mark.skipif(sys.platform != "linux", reason="asks GNU's OpenMP")
def test_openmp_reads_it_when_pytorch_is_imported():
    code = "import speechbrain_dino.metrics.verification, torch"
    code = f"{code}; torch.ones(10**6).sum()"
    settings = run_and_print(code, OMP_DISPLAY_ENV="verbose")[1]
    if "GOMP_SPINCOUNT" not in settings:
        pytest.skip("this PyTorch uses another OpenMP")
    assert "GOMP_SPINCOUNT = '0'" in settings
    settings = run_and_print(code, OMP_DISPLAY_ENV="verbose", GOMP_SPINCOUNT="7")[1]
    assert "GOMP_SPINCOUNT = '7'" in settings


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}")
def test_scripts_import_the_package_before_anything_with_threads(script):
    imported = []
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.append((node.lineno, node.module))
    roots = [name.split(".")[0] for _, name in sorted(imported)]
    others = [name for name in roots if name not in sys.stdlib_module_names]
    assert others[0] == PACKAGE
