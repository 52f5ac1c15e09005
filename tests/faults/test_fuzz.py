"""The fuzzer, for a few seconds."""

import importlib.util

import pytest

from tests.faults import fuzz, parsers

pytestmark = pytest.mark.slow

N_RUNS = 3000


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason='NO ATHERIS: pip install -e ".[fuzz]" (it has no wheel for each Python)',
)
def test_a_short_fuzz(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--runs", str(N_RUNS)]) == 0
    assert f"{N_RUNS * len(parsers.PARSERS):,} inputs tried, 0 parsers mistaken" in (
        capsys.readouterr().out
    )
