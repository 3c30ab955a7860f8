"""Imports go down: the contracts hold, and each of them catches a planted violation."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# one violation of each contract: (contract, the module that sins, the import it must not have)
PLANTED = [
    ("A floor imports only lower floors", "schema.py", "import polylogit.training"),
    ("A solver sees only the problem", "optim/newton.py", "import polylogit.optim.objective"),
    ("Solvers do not know each other", "optim/newton_cg.py", "import polylogit.optim.newton"),
    (
        "The examiner is not taught by the examined",
        "optim/certificate.py",
        "import polylogit.optim.newton",
    ),
    (
        "Predicting loads nothing that fits or reads",
        "model.py",
        "import polylogit.data.read",
    ),
    ("scikit-learn is met in one file", "design/dense.py", "import sklearn.base"),
    (
        "Questions about a fit do not know each other",
        "diagnostics/metrics.py",
        "import polylogit.app.cli",
    ),
    ("The two witnesses do not talk", "formulas.py", "import polylogit.functional"),
]


def contracts(source: Path) -> subprocess.CompletedProcess:
    environment = dict(os.environ, PYTHONPATH=str(source))
    command = (
        "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-c", command, "--config", str(ROOT / ".importlinter"), "--no-cache"],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def broken(report: str) -> list[str]:
    return [
        line.removesuffix(" BROKEN") for line in report.splitlines() if line.endswith(" BROKEN")
    ]


@pytest.fixture
def source(tmp_path):
    return Path(shutil.copytree(ROOT / "src", tmp_path / "src"))


def test_all_contracts_hold(source):
    report = contracts(source)
    assert report.returncode == 0, report.stdout
    assert broken(report.stdout) == []


@pytest.mark.parametrize(("contract", "module", "sin"), PLANTED, ids=[row[0] for row in PLANTED])
def test_a_planted_violation_is_caught(source, contract, module, sin):
    path = source / "polylogit" / module
    path.write_text(
        path.read_text().replace("import annotations\n", f"import annotations\n{sin}\n", 1)
    )
    report = contracts(source)
    assert contract in broken(report.stdout), report.stdout
    assert report.returncode != 0


def test_every_contract_has_its_violation():
    named = [
        line.removeprefix("name = ")
        for line in (ROOT / ".importlinter").read_text().splitlines()
        if line.startswith("name = ")
    ]
    assert sorted(named) == sorted(row[0] for row in PLANTED)


@pytest.mark.parametrize("sin", ["import torch.autograd", "from torch import distributed"])
def test_the_objective_is_closed_form_and_knows_no_engine(source, sin):
    """Parts of external packages are beyond import-linter, so ruff bans them (TID251)."""
    path = source / "polylogit" / "optim" / "sums.py"
    command = [sys.executable, "-m", "ruff", "check", "--config", ROOT / "pyproject.toml", path]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    path.write_text(
        path.read_text().replace("import torch\n", f"import torch\n{sin}  # noqa: F401\n", 1)
    )
    report = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert report.returncode == 1
    assert "TID251" in report.stdout
