"""Where the project can be installed, and that a wheel of it is complete."""

import json
import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.movielens import write_world

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("batch", "lookup", "sql")

NOT_WORKERS = ("matplotlib", "mlflow", "pandas", "xgboost")
"""Modules that the extra `batch` brings and `cluster` does not."""


@pytest.mark.parametrize("program", ["batch", "lookup"])
def test_windows_is_refused_in_one_line(program: str) -> None:
    """Before an import of what Windows lacks, which would be a traceback."""
    code = (
        "import runpy, sys; sys.platform = 'win32'; sys.modules['fcntl'] = None;"
        f"sys.modules['resource'] = None; runpy.run_module('{program}', alter_sys=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: MovieLens-XGB runs on Linux and macOS")


class Installed(NamedTuple):
    """A wheel, and a virtual environment in which it is installed."""

    wheel: Path
    folder: Path

    def python(self, *words: str, **variables: str) -> str:
        """Run Python in an empty folder; return what it printed to stdout."""
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [self.folder / "venv" / "bin" / "python", *words],
            cwd=self.folder / "work",
            env=environ | variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def run_module(*words: str) -> None:
    """Run a module of this Python."""
    subprocess.run([sys.executable, "-m", *words], check=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install a wheel outside of the clone, next to the packages that are here."""
    folder = tmp_path_factory.mktemp("installed")
    clone, venv = folder / "clone", folder / "venv"
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, clone / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    (folder / "work").mkdir()
    build = ["pip", "wheel", "--no-build-isolation", "--wheel-dir", str(folder)]
    run_module(*build, "--quiet", "--no-deps", str(clone))
    (wheel,) = folder.glob("*.whl")
    run_module("venv", "--without-pip", str(venv))
    install = ["pip", "--python", str(venv / "bin" / "python"), "install", "--no-index"]
    run_module(*install, "--quiet", "--no-deps", str(wheel))
    # after pip, which would find the project among them; a path in a file of paths
    # does not make Python read the files there, so the clone stays out
    (own,) = venv.glob("lib/python*/site-packages")
    (own / "others.pth").write_text("\n".join(site.getsitepackages()))
    return Installed(wheel, folder)


@pytest.mark.slow
def test_a_wheel_holds_all_files_of_the_packages(installed: Installed) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file()
        and path.name not in ("README.md", "requirements.txt")
        and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(installed.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected


@pytest.mark.slow
def test_a_wheel_runs_without_a_clone(installed: Installed, redis_url: str) -> None:
    where = installed.python("-c", "import batch; print(batch.__file__)")
    assert where.startswith(str(installed.folder))
    for program in ("batch", "lookup"):
        assert "--help" in installed.python("-m", program, "--help")
    write_world(installed.folder / "work" / "world")
    # its own copy of the kernels would have to be compiled
    words = ["-m", "batch", "run", "--scorer", "xgboost", "--quiet", "--json"]
    said = installed.python(*words, REDIS_URL=redis_url, MOVIELENS_RAW="world")
    result = json.loads(said.splitlines()[-1])
    assert (result["n_users"], result["skipped"]) == (40, False)


@pytest.mark.slow
def test_a_worker_needs_the_extra_cluster_only(installed: Installed) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({NOT_WORKERS!r}));"
        "from distributed import Worker; from batch.scoring.dask_cluster import work;"
        "print(work.__module__)"
    )
    assert installed.python("-c", code) == "batch.scoring.dask_cluster\n"
