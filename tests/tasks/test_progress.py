"""What the bar of a training says at its end."""

import pytest

from rnn_model.training import Progress
from tasks import progress
from tasks.handles import Run
from tasks.progress import training_progress


@pytest.mark.parametrize(("steps", "early"), [(20, True), (800, False)])
def test_a_bar_that_ends_before_all_steps_says_so(
    steps: int, early: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logged: list[int] = []
    monkeypatch.setattr(progress, "log_progress", lambda _, told: logged.append(told.step))
    with training_progress(Run(run_id="r", experiment_id="e", uri="u", name="full"), "fine-tune full", 800) as watch:
        watch.tick(steps)
        watch.report(Progress(steps, 800, 0.2, 0.1, 1e-3, 1.0, 10.0))
    assert logged == [steps]
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{steps}/800" in last
    assert "val 0.1000" in last
    assert ("stopped early" in last) is early
