"""What the images install: pinned, hashed, and what pyproject.toml asks for."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
TOML = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(TOML)["project"]
DEPENDENCIES: Mapping[str, Sequence[str]] = {
    "lookup": PROJECT["dependencies"],
    "batch": [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["batch"]],
}
DIRECT = "movielens-xgb (pyproject.toml)"
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
PLACES = [
    {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    for python in ("3.11", "3.12", "3.13")
    for machine in ("x86_64", "aarch64")
]
"""Where the images are built, and where they could be."""


def name(place: Mapping[str, str]) -> str:
    """Name a place for the list of tests."""
    return f"{place['python_version']}-{place['platform_machine']}"


@dataclass(frozen=True)
class Pin:
    """A package as it is locked: which, where, its files' hashes, who wants it."""

    requirement: Requirement
    hashes: frozenset[str]
    is_direct: bool

    @property
    def version(self) -> Version:
        """The one that it is pinned to."""
        (only,) = self.requirement.specifier
        assert only.operator == "==", self.requirement
        return Version(only.version)


def pins(part: str) -> list[Pin]:
    """Read a lock; anything in it that is no pin, hash or comment is a failure."""
    text = (ROOT / part / "requirements.txt").read_text(encoding="utf-8")
    return [read(block) for block in blocks(text.splitlines())]


def blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Give the lines of each package, without the head of the file."""
    begins = [i for i, line in enumerate(lines) if line[:1] not in ("", " ", "#")]
    assert begins
    for begin, end in zip(begins, [*begins[1:], len(lines)], strict=True):
        yield [line.rstrip("\\ ") for line in lines[begin:end]]


def read(block: Sequence[str]) -> Pin:
    """Read what is said of a package."""
    rest = [line.strip() for line in block[1:]]
    hashes = [HASH.fullmatch(line) for line in rest if not line.startswith("#")]
    assert hashes, f"{block[0]} has no hash"
    assert all(hashes), block
    via = [line.removeprefix("#").removeprefix(" via").strip() for line in rest]
    found = frozenset(match[1] for match in hashes if match)
    return Pin(Requirement(block[0]), found, DIRECT in via)


def of(place: Mapping[str, str], requirement: Requirement) -> bool:
    """Tell whether a requirement applies at a place."""
    return requirement.marker is None or requirement.marker.evaluate(dict(place))


def applying(part: str, place: Mapping[str, str]) -> dict[str, Pin]:
    """Give what is installed at a place; two versions of one package are a failure."""
    found: dict[str, Pin] = {}
    for pin in pins(part):
        if of(place, pin.requirement):
            assert pin.requirement.name not in found, pin.requirement
            found[pin.requirement.name] = pin
    return found


@pytest.mark.parametrize("place", PLACES, ids=name)
@pytest.mark.parametrize("part", DEPENDENCIES)
def test_the_lock_is_what_the_project_asks_for(
    part: str, place: Mapping[str, str]
) -> None:
    """Nothing is missing, too old or left over; else run `make lock`."""
    asked = [Requirement(text) for text in DEPENDENCIES[part]]
    wanted = {one.name: one for one in asked if of(place, one)}
    locked = applying(part, place)
    assert {one for one, pin in locked.items() if pin.is_direct} == set(wanted)
    for package, requirement in wanted.items():
        assert locked[package].version in requirement.specifier, requirement


@pytest.mark.parametrize("part", DEPENDENCIES)
def test_a_lock_says_nothing_of_where_packages_come_from(part: str) -> None:
    """No index, file or repository: only names, versions and hashes."""
    for pin in pins(part):
        assert pin.requirement.url is None
        assert pin.version


def test_both_images_have_the_same_of_what_both_have() -> None:
    """The batch is installed over the lookup's packages: what was tried is the same."""
    batch = {(pin.requirement.name, pin.version): pin.hashes for pin in pins("batch")}
    for pin in pins("lookup"):
        assert batch[pin.requirement.name, pin.version] == pin.hashes


def test_the_images_install_what_is_locked_and_no_more() -> None:
    """Each `pip install` of the Dockerfile asks for hashes, and builds nothing."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    installs = re.findall(r"pip \S+ \S+ install ([^&\n]*)", text)
    assert len(installs) == len(re.findall(r"\binstall (?!--directory)", text)) == 2
    for words in installs:
        assert "--require-hashes" in words
        assert "--only-binary :all:" in words
    for part in DEPENDENCIES:
        assert f"COPY {part}/requirements.txt {part}.txt" in text


def test_base_images_have_the_same_names_everywhere() -> None:
    """`make digests` asks for those that are used where none is named."""
    make, docker, compose = (
        (ROOT / file).read_text(encoding="utf-8")
        for file in ("Makefile", "Dockerfile", "docker-compose.yml")
    )
    names = dict(re.findall(r"^([A-Z]+_IMAGE) := (\S+)$", make, re.MULTILINE))
    assert set(names) == {"PYTHON_IMAGE", "REDIS_IMAGE"}
    for setting, image in names.items():
        assert re.fullmatch(r"[a-z]+:[0-9][0-9.]*-[a-z-]+", image), "no moving tag"
        assert f"${{{setting}:-{image}}}" in compose
    assert f"ARG PYTHON_IMAGE={names['PYTHON_IMAGE']}\n" in docker
    assert re.findall(r"^FROM (\S+:\S+)", docker, re.MULTILINE) == []
    assert re.findall(r"image: (.*)", compose) == [
        f"${{REDIS_IMAGE:-{names['REDIS_IMAGE']}}}"
    ]
