"""The soak test and the fuzzer, for a few seconds each."""

import importlib.util
import re

import pytest

from tests.faults import fuzz, parsers, soak

pytestmark = pytest.mark.slow

N_RUNS = 3000


def test_a_short_soak(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["--minutes", "0.1"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    found = re.match(r"([\d,]+) requests .* ([\d,]+) hostile", last)
    assert found, last
    assert "0 wrong answers, 0 of 5xx" in last
    asked = int(found[1].replace(",", ""))
    assert asked > 1000


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason='NO ATHERIS: pip install -e ".[fuzz]" (it has no wheel for each Python)',
)
def test_a_short_fuzz(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--runs", str(N_RUNS)]) == 0
    assert f"{N_RUNS * len(parsers.PARSERS):,} inputs tried, 0 parsers mistaken" in (
        capsys.readouterr().out
    )
