"""What the images install: pinned, hashed, and what pyproject.toml asks for."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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
PIN = re.compile(
    r"^(\w.*?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)((?:    #.*\n)*)",
    re.M,
)
PLACES = [
    {"python_version": python, "platform_machine": machine}
    for python in ("3.11", "3.12", "3.13")
    for machine in ("x86_64", "aarch64")
]
"""Where the images are built, and where they could be."""
LINUX = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
}


class Pin(NamedTuple):
    """A locked package: its version and place, its files' hashes, who wants it."""

    requirement: Requirement
    hashes: frozenset[str]
    is_direct: bool

    @property
    def version(self) -> Version:
        """The version that it is pinned to."""
        (only,) = self.requirement.specifier
        assert only.operator == "==", self.requirement
        return Version(only.version)


def pins(part: str) -> list[Pin]:
    """Read a lock, which must hold pins, hashes and comments only."""
    text = (ROOT / part / "requirements.txt").read_text(encoding="utf-8")
    assert re.sub(r"^ *#.*\n", "", PIN.sub("", text), flags=re.M) == ""
    return [
        Pin(Requirement(pin), frozenset(HASH.findall(hashes)), DIRECT in comments)
        for pin, hashes, comments in PIN.findall(text)
    ]


def applying(part: str, place: dict[str, str]) -> dict[str, Pin]:
    """Return what is installed in a place, which must be one version of a package."""
    found: dict[str, Pin] = {}
    for pin in pins(part):
        if applies(pin.requirement, place):
            assert pin.requirement.name not in found, pin.requirement
            found[pin.requirement.name] = pin
    return found


def applies(requirement: Requirement, place: dict[str, str]) -> bool:
    """Return whether a requirement applies in a place."""
    full = {"python_full_version": f"{place['python_version']}.9"}
    marker = requirement.marker
    return marker is None or marker.evaluate({**LINUX, **place, **full})


@pytest.mark.parametrize("place", PLACES, ids=lambda place: "-".join(place.values()))
@pytest.mark.parametrize("part", DEPENDENCIES)
def test_the_lock_is_what_the_project_asks_for(
    part: str, place: dict[str, str]
) -> None:
    """Nothing is missing, too old or left over; else run `make lock`."""
    asked = [Requirement(text) for text in DEPENDENCIES[part]]
    wanted = {one.name: one for one in asked if applies(one, place)}
    locked = applying(part, place)
    assert {one for one, pin in locked.items() if pin.is_direct} == set(wanted)
    for package, requirement in wanted.items():
        assert locked[package].version in requirement.specifier, requirement


@pytest.mark.parametrize("part", DEPENDENCIES)
def test_a_lock_names_no_index_file_or_repository(part: str) -> None:
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
