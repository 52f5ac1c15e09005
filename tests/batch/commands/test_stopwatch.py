"""Where a run's time goes."""

import time

from batch.commands.stopwatch import Stopwatch


def test_a_stage_is_not_charged_for_what_runs_within_it() -> None:
    watch = Stopwatch()

    def slow() -> list[int]:
        values = []
        for value in watch.charged("score", (pause(0.02) for _ in range(3))):
            values.append(value)
            time.sleep(0.01)
        return values

    with watch.stage("publish"):
        slow()
    seconds = watch.seconds("publish", "score", "never")
    assert seconds["score"] >= 0.06
    assert seconds["publish"] >= 0.03
    assert seconds["never"] == 0
    # each is rounded to a thousandth
    assert seconds["total"] >= seconds["score"] + seconds["publish"] - 0.002


def pause(seconds: float) -> int:
    """Take a while to give a value."""
    time.sleep(seconds)
    return 1
