"""What people install: the wheel's content, a clean environment with a foreign plugin, and the locked requirements."""

import configparser
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ("requirements.txt", "requirements-dev.txt")
PIN = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+]+)(?: ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")
# Where Python came without `ensurepip` the environment has no pip of its own.
PIP = [sys.executable if importlib.util.find_spec("pip") else sys._base_executable, "-m", "pip", "--python"]


def built(source: Path, directory: Path) -> Path:
    """The wheel of `source`, built with what is installed here."""
    command = [
        *PIP, sys.executable, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
        "--wheel-dir", str(directory), str(source),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    (wheel,) = directory.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def read(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(each for each in archive.namelist() if each.endswith(f".dist-info/{name}"))).decode()


def test_the_wheel_holds_the_two_packages_and_nothing_else(names):
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"gateway", "gateway_plugins", f"ai_gateway-{PROJECT['version']}.dist-info"}


def test_every_source_file_is_in_the_wheel(names):
    files = {
        path.relative_to(base).as_posix()
        for base, package in ((ROOT, "gateway"), (ROOT / "plugins", "gateway_plugins"))
        for path in (base / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files <= set(names)
    assert {"gateway/py.typed", "gateway_plugins/py.typed", "gateway/money/prices.json"} <= files
    assert any(name.startswith("gateway/store/migrations/") for name in files)


def test_installing_runs_nothing_and_starting_python_runs_nothing(names):
    """No .pth file, no script but the entry points, no compiled file that nobody can read."""
    odd = [name for name in names if name.endswith((".pth", ".pyc", ".so", ".sh", ".exe")) or ".data/" in name]
    assert odd == []
    assert not any(Path(name).name in ("sitecustomize.py", "usercustomize.py", "setup.py") for name in names)
    assert not (ROOT / "setup.py").exists()


def test_the_entry_points_are_those_of_the_project(wheel):
    table = configparser.ConfigParser(delimiters=("=",))
    table.optionxform = str
    table.read_string(read(wheel, "entry_points.txt"))
    assert dict(table["console_scripts"]) == PROJECT["scripts"]
    assert {name: dict(table[name]) for name in PROJECT["entry-points"]} == PROJECT["entry-points"]
    assert set(table.sections()) == {"console_scripts", *PROJECT["entry-points"]}


def test_the_metadata_says_licence_and_python(wheel):
    metadata = HeaderParser().parsestr(read(wheel, "METADATA"))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert min(metadata.get_all("Requires-Dist")).startswith("aiohttp")


def test_a_foreign_plugin_installs_beside_it_in_a_clean_environment(wheel, tmp_path):
    """Two wheels without network; the dependencies are lent by this environment, after the clean one's own."""
    foreign = built(ROOT / "contrib/example-guardrail", tmp_path / "foreign")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "clean"], check=True, timeout=60)
    python = tmp_path / "clean/bin/python"
    install = [*PIP, python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, wheel, foreign], check=True, capture_output=True, timeout=100)
    (packages,) = (tmp_path / "clean").glob("lib/python*/site-packages")
    lent = Path(msgspec.__file__).parents[1]
    (packages / "lent.pth").write_text(f"{lent}\n")
    gateway = tmp_path / "clean/bin/gateway"
    options = {"capture_output": True, "text": True, "timeout": 60, "check": True, "cwd": tmp_path, "env": {}}
    listed = msgspec.json.decode(subprocess.run([gateway, "plugins", "--json"], **options).stdout)
    found = {plugin["id"]: plugin for plugin in listed}
    assert set(PROJECT["entry-points"]["ai_gateway.plugins"]) | {"guardrail.codenames"} == set(found)
    assert [plugin["error"] for plugin in listed if plugin["error"]] == []
    assert found["guardrail.codenames"]["about"] == "Finds each name, whatever its case."
    assert all("clean/lib" in plugin["file"] for plugin in listed)
    file = tmp_path / "config.yaml"
    file.write_text("plugins:\n  - {use: guardrail.codenames, with: {names: [falcon]}}\n")
    assert "ok" in subprocess.run([gateway, "check", file], **options).stdout


def pins(name: str) -> dict[str, str]:
    """The pinned packages of a lock file, each with its hashes seen."""
    found: dict[str, str] = {}
    hashes = 1
    for line in (ROOT / name).read_text().splitlines():
        if pin := PIN.fullmatch(line):
            assert hashes, f"{name}: the requirement before {line} has no hash"
            found[canonicalize_name(pin[1])], hashes = pin[2], 0
        elif HASH.fullmatch(line):
            hashes += 1
        else:
            assert re.fullmatch(r" *#.*", line), f"{name}: neither a pin nor a hash nor a comment: {line}"
    assert hashes
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_requirements_are_pins_with_hashes_and_name_no_place_to_get_them(name):
    assert len(pins(name)) > 10
    text = (ROOT / name).read_text().lower()
    assert not re.search(r"https?:|file:|git\+|index|find-links|trusted-host| @ |(^|\n)-", text)


@pytest.mark.parametrize(("name", "extras"), [(LOCKS[0], ["build"]), (LOCKS[1], ["build", "dev"])])
def test_requirements_hold_what_the_project_asks_for(name, extras):
    """`make lock` was run after the last change of a dependency."""
    found = pins(name)
    wanted = [*PROJECT["dependencies"], *(each for extra in extras for each in PROJECT["optional-dependencies"][extra])]
    for text in wanted:
        requirement = Requirement(text)
        version = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{name}: {version} does not satisfy {text}"


def test_developers_run_the_versions_that_users_run():
    users, developers = (pins(name) for name in LOCKS)
    assert users.items() <= developers.items()
