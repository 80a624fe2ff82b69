"""What is sent to a host: Waiter itself as one file, and the command's files as another. Both are named by their hash.

Waiter's file is a zipapp with the pure Python part of the kitchens' drivers in it: a host needs python3 and nothing
else. It also holds byte code for this machine's Python, which a host with the same version starts three times as fast
from; others read the source beside it.
"""

from __future__ import annotations

import atexit
import gzip
import hashlib
import importlib.util
import io
import os
import py_compile
import shlex
import shutil
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from waiter import __version__
from waiter.delivery.function_names import names_function, parted
from waiter.errors import UsageError, naming
from waiter.kitchen import host_packages
from waiter.user_dirs import Kind, own_folder

MODULES = (
    "__init__.py",
    "durations.py",
    "errors.py",
    "failure_groups.py",
    "hashing.py",
    "light_dataclass.py",
    "limits.py",
    "needs.py",
    "orders.py",
    "processes.py",
    "typed_arguments.py",
    "user_dirs.py",
)
ROOMS = (*MODULES, "kitchen", "delivery", "host")
"""The parts of Waiter that work on a host: standard library and PyMongo only."""

_MAIN = "import sys\n\nfrom waiter.host.main import main\n\nsys.exit(main())\n"
_SYSTEM_FOLDERS = ("/bin", "/sbin", "/usr", "/opt", "/lib", "/lib64", "/nix", "/System", "/Library")
_LEFT_OUT = {"__pycache__", ".git"}


@dataclass(frozen=True, slots=True)
class Zipapp:
    """Waiter as one file."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        """Its name on a host."""
        return f"waiter-{self.sha256[:16]}.pyz"


def build_zipapp() -> Zipapp:
    """Waiter as it is here and now, made anew only when one of its sources has changed. Raises OSError."""
    sources = list(_sources())
    stamp = hashlib.sha256(f"{__version__} {sys.version} {_MAIN}".encode())
    for file, name in sources:
        seen = file.stat()
        stamp.update(f"{name} {seen.st_size} {seen.st_mtime_ns}\n".encode())
    kept = _cache() / f"zipapp-{stamp.hexdigest()[:16]}.pyz"
    if not kept.exists():
        content = zipped(sources)
        with naming(kept.parent):
            with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as temporary:
                temporary.write(content)
            Path(temporary.name).replace(kept)
        _forget_old(kept)
    return Zipapp(kept, hashlib.sha256(kept.read_bytes()).hexdigest())


def zipped(sources: Iterable[tuple[Path, str]]) -> bytes:
    """The zipapp; the same sources make the same bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", _MAIN.encode())
        for file, name in sources:
            _add(archive, name, file.read_bytes())
            _add(archive, f"{name}c", _compiled(file, name))
    return made.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _compiled(file: Path, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = f"{folder}/made.pyc"
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(file), made, dfile=name, doraise=True, invalidation_mode=mode)
        return Path(made).read_bytes()


def _sources() -> Iterator[tuple[Path, str]]:
    """Every source file with its name in the zipapp, in order."""
    for package, parts in (("waiter", ROOMS), *((package, (".",)) for package in host_packages())):
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise UsageError(f"the Python package {package} is missing here. Run: pip install {package}")
        root = Path(found.origin).parent
        files = [
            file for part in parts for file in ([root / part] if part.endswith(".py") else (root / part).rglob("*.py"))
        ]
        yield from ((file, f"{package}/{file.relative_to(root).as_posix()}") for file in sorted(files))


def _cache() -> Path:
    folder = own_folder(Kind.CACHE)
    with naming(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _forget_old(kept: Path) -> None:
    others = sorted(kept.parent.glob("*.pyz"), key=lambda file: file.stat().st_mtime)
    for file in others[:-4]:
        file.unlink(missing_ok=True)


@dataclass(slots=True)
class Bundle:
    """The command's files, by the names that they have on a host.

    `archive` is made when the first host needs it, and lasts as long as this process.
    """

    files: dict[str, Path]
    digest: str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _archive: tuple[Path, str] | None = None

    def archive(self) -> tuple[Path, str]:
        """A tar file with everything, and its sha256."""
        with self._lock:
            if self._archive is None:
                self._archive = _tarred(self.files)
                atexit.register(self._archive[0].unlink, missing_ok=True)
        return self._archive


def _tarred(files: dict[str, Path]) -> tuple[Path, str]:
    with (
        tempfile.NamedTemporaryFile(prefix="waiter-", suffix=".tgz", delete=False) as out,
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=3) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, file in files.items():
            with file.open("rb") as content:
                entry = archive.gettarinfo(arcname=name, fileobj=content)
                entry.mode, entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = _mode(file), 0, 0, 0, "", ""
                archive.addfile(entry, content)
    with open(out.name, "rb") as made:
        return Path(out.name), hashlib.file_digest(made, "sha256").hexdigest()


def _mode(file: Path) -> int:
    return 0o700 if os.access(file, os.X_OK) else 0o600


@dataclass(frozen=True, slots=True)
class PackedCommand:
    """A command as hosts will run it: the words, and the files that it needs (None: it needs none)."""

    words: tuple[str, ...]
    bundle: Bundle | None
    script: str | None = None  # the hash of the first word's file, where it goes along


def pack_command(line: str, *, shell: bool, files: Sequence[Path] = (), folders: Sequence[Path] = ()) -> PackedCommand:
    """Pack a command line. Its first word goes along when it is a file here; system programs do not.

    Files keep the names that they have below the current folder: the command finds them on a host as it does here.
    Raises UsageError for a file that is missing, and for two of one name.
    """
    words = _split(line)
    sent: dict[str, Path] = {}
    first = words[0]
    is_function = names_function(words, shell=shell)
    for name, file in _module_files(first) if is_function else ():
        _put(sent, name, file)
    if (script := None if is_function else local_script(first)) is not None:
        name = name_there(script)
        _put(sent, name, script)
        if name != PurePosixPath(first).as_posix().removeprefix("./"):
            line = line.replace(first, f"./{name}", 1)
        words[0] = f"./{name}"
    bundle = _bundle_with(sent, files, folders)
    return PackedCommand((line,) if shell else tuple(words), bundle, script_hash(script) if script else None)


def pack_own_commands(
    commands: Iterable[tuple[Sequence[str], bool]], files: Sequence[Path] = (), folders: Sequence[Path] = ()
) -> tuple[PackedCommand, list[str]]:
    """Pack the files of commands that batches are bound to: words, and whether they are a line for the shell.

    The words stay as they are, so hosts must find each file by its own. Returns also what cannot be sent, and why.
    """
    sent: dict[str, Path] = {}
    notes = []
    for words, is_shell in commands:
        try:
            for name, file in _own_files(words, is_shell=is_shell):
                _put(sent, name, file)
        except UsageError as error:
            notes.append(str(error).removeprefix("--cmd "))
    return PackedCommand((), _bundle_with(sent, files, folders)), notes


def _own_files(words: Sequence[str], *, is_shell: bool) -> list[tuple[str, Path]]:
    first = _split(words[0])[0] if is_shell else words[0]
    if names_function(words, shell=is_shell):
        return list(_module_files(first))
    if (script := local_script(first)) is None:
        return []
    name = name_there(script)
    if name != PurePosixPath(first).as_posix().removeprefix("./"):
        raise UsageError(
            f"{first}: hosts have no such path, only what lies below the folder that they are started from"
        )
    return [(name, script)]


def _bundle_with(sent: dict[str, Path], files: Sequence[Path], folders: Sequence[Path]) -> Bundle | None:
    """What is sent, with --file and --dir. Raises UsageError for a file that is missing."""
    for file in files:
        if not file.is_file():
            raise UsageError(f"--file {file}: no such file here")
        _put(sent, name_there(file), file)
    for folder in folders:
        for name, file in _below(folder):
            _put(sent, name, file)
    return Bundle(sent, digest_of(sent)) if sent else None


def script_hash(file: Path) -> str:
    """By what to tell one version of a script from another, 16 hex digits."""
    with naming(file), file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def _module_files(word: str) -> Iterator[tuple[str, Path]]:
    """The files here of a function's module; none of one that is installed here, as it must be on the hosts then."""
    module, _ = parted(word)
    top = module.partition(".")[0]
    if Path(top).is_dir():
        yield from ((name, file) for name, file in _below(Path(top)) if _LEFT_OUT.isdisjoint(Path(name).parts))
    elif (file := Path(f"{top}.py")).is_file():
        yield file.name, file
    elif importlib.util.find_spec(top) is None:
        raise UsageError(f"--cmd {word}: no {top}.py here, nor a folder {top}, nor is it installed")


def _split(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"--cmd {line}: {error}") from error
    if not words:
        raise UsageError(
            'which command?\nhint: give --cmd "./crunch.sh --some-param x", or cmd = … under [fleet] in waiter.toml'
        )
    return words


def local_script(word: str) -> Path | None:
    """The file here that this word of a command means; None when it means a program of the host's own."""
    file = Path(word).expanduser()
    if file.is_absolute() and str(file).startswith(tuple(f"{folder}/" for folder in _SYSTEM_FOLDERS)):
        return None
    if not file.is_file():
        if "/" in word and not file.is_absolute():
            raise UsageError(f"--cmd {word}: no such file here")
        return None
    if "/" not in word and shutil.which(word):
        return None
    if not os.access(file, os.X_OK):
        raise UsageError(f"--cmd {word}: not executable. Run: chmod +x {shlex.quote(word)}")
    return file


def name_there(file: Path) -> str:
    """A file's path below the current folder, or its bare name if it lies elsewhere."""
    full = Path(os.path.abspath(file))  # noqa: PTH100  (resolve() would follow symlinks and lose the name)
    here = Path.cwd()
    return full.relative_to(here).as_posix() if full.is_relative_to(here) else full.name


def _below(folder: Path) -> Iterator[tuple[str, Path]]:
    if not folder.is_dir():
        raise UsageError(f"--dir {folder}: no such folder here")
    top = PurePosixPath(name_there(folder))
    for path, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if name not in _LEFT_OUT)
        for name in below:
            if (Path(path) / name).is_symlink():
                raise UsageError(
                    f"--dir {folder}: {Path(path) / name} is a symlink to a folder\nhint: give it as another --dir"
                )
        for name in sorted(names):
            file = Path(path) / name
            if file.is_file():
                yield (top / Path(path).relative_to(folder).as_posix() / name).as_posix(), file


def _put(sent: dict[str, Path], name: str, file: Path) -> None:
    other = sent.setdefault(name, file)
    if other.resolve() != file.resolve():
        raise UsageError(f"{file} and {other} would both be {name} on the hosts: rename one")


def digest_of(files: dict[str, Path]) -> str:
    """A hash (16 hex digits) of names, modes and contents. Raises UsageError for a file that cannot be read."""
    digest = hashlib.sha256()
    for name in sorted(files):
        try:
            with files[name].open("rb") as content:
                inner = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            raise UsageError(f"{files[name]}: {error.strerror}") from error
        digest.update(f"{name}\0{_mode(files[name]):o}\0{inner}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
