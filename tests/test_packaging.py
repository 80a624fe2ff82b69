"""A wheel and an sdist that install and run where nothing else of the project is, and never beside a namesake."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from waiter.cli import VERBS
from waiter.cli.fleet.commands import fleet

ROOT = Path(__file__).parent.parent
PACKAGED = (".py", ".typed", ".html", ".css", ".js", ".svg")


def called(*words: object, **more) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=100, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with both."""
    folder = tmp_path_factory.mktemp("dist")
    called(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", folder, cwd=ROOT)
    return folder


@pytest.fixture
def environment(tmp_path) -> Path:
    """Python of an environment that has the dependencies, and nothing of the project."""
    called(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env")
    python = tmp_path / "env/bin/python"
    site = Path(called(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # .pth files in there are not read
    return python


def install(python: Path, what: object, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", *options, what]
    return subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=100)


def test_the_wheel_runs_where_nothing_else_of_the_project_is(built, environment, tmp_path, home):
    (wheel,) = built.glob("simple_waiter-*.whl")
    assert install(environment, wheel, "--ignore-installed").returncode == 0
    waiter = environment.with_name("waiter")

    told = called(waiter, "run", "-j2", "echo", "Crunching on:", input="a\nb\n", cwd=tmp_path, env=home)

    assert sorted(told.splitlines()) == ["Crunching on: a", "Crunching on: b"]
    where = called(environment, "-c", "import waiter; print(waiter.__file__, waiter.__version__)", cwd=tmp_path)
    assert where.startswith(str(environment.parents[1] / "lib"))
    assert called(waiter, "--version").split()[-1] == where.split()[-1]
    assert (environment.parents[1] / "share/man/man1/waiter-deliver.1").is_file(), "man finds it beside the PATH"


def test_the_wheel_holds_the_package_and_nothing_else(built):
    (wheel,) = built.glob("simple_waiter-*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert "waiter/py.typed" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"waiter", "simple_waiter"}
    assert sorted(name for name in names if name.startswith("waiter/")) == sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "waiter").rglob("*") if path.suffix in PACKAGED
    )


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_each_verb_has_a_manual_page_that_says_what_its_help_says(built, tmp_path):
    (wheel,) = built.glob("simple_waiter-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        pages = {Path(name).name: archive.read(name) for name in archive.namelist() if "/data/share/man/man1/" in name}
    verbs = {f"waiter-{verb}.1" for verb in VERBS} | {f"waiter-fleet-{verb}.1" for verb in fleet.commands}

    assert {"waiter.1", "waiter-batch-weigh.1", *verbs} <= pages.keys()
    for name, page in pages.items():
        (tmp_path / name).write_bytes(page)
    formatter = ["groff", "-Kutf8", "-Tutf8", "-rLL=200n", "-P-cbou", "-man", "-ww"]
    for name, words in (("waiter-deliver.1", ["deliver"]), ("waiter-fleet-start.1", ["fleet", "start"])):
        shown = " ".join(called(*formatter, tmp_path / name).split())
        help = called(sys.executable, "-m", "waiter", *words, "--help", cwd=ROOT)
        assert all(option in shown for option in re.findall(r"^  (?:-\S+, )*(--[\w-]+)", help, re.MULTILINE))
        assert "WHEN AN ORDER FAILS --retries N Try a failed order N more times." in shown
    complaints = subprocess.run([*formatter, "-z", *tmp_path.iterdir()], capture_output=True, text=True, timeout=60)
    assert (complaints.returncode, complaints.stderr) == (0, "")


def test_the_sdist_makes_the_same_wheel(built, tmp_path):
    (sdist,) = built.glob("simple_waiter-*.tar.gz")
    (wheel,) = built.glob("simple_waiter-*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()

    called(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again", cwd=unpacked)

    (again,) = (tmp_path / "again").iterdir()
    assert zipfile.ZipFile(again).namelist() == zipfile.ZipFile(wheel).namelist()
    for there in ("README.md", "LICENSE", "fabfile.py", "tasks.py", "tests/test_packaging.py", "docs/promises.md"):
        assert (unpacked / there).is_file()


def test_beside_the_other_project_of_that_name_it_is_not_installed(environment, home):
    site = next(environment.parents[1].glob("lib/python*/site-packages"))
    (site / "waiter-1.6.dist-info").mkdir()
    (site / "waiter-1.6.dist-info/METADATA").write_text("Metadata-Version: 2.4\nName: waiter\nVersion: 1.6\n")

    refused = install(environment, ROOT, "--no-build-isolation")

    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    assert "has the distribution waiter-1.6, whose files would mix with those of simple-waiter" in said
    assert "hint: pip uninstall waiter, or install into an environment of its own: pipx install ." in said
    assert not (site / "waiter").exists()
