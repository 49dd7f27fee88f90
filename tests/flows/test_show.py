"""What commands print when they are done, without running one."""

import pytest

from flows.show import show_monitored, show_rollback
from tasks.handles import Promotion
from tasks.series_config import TargetConfig
from tasks.watch import Figures, Monitored


@pytest.mark.parametrize(
    ("realised", "promised", "lines"),
    [
        ({"MASE": 0.9}, {"MASE": 0.8}, ["MASE         realised      0.9   promised      0.8"]),
        ({"MASE": 0.9, "SQL": None}, {}, ["MASE         realised      0.9", "SQL          realised        -"]),
        ({"MASE": None}, {"MASE": None}, []),
        ({"MASE": None}, {}, []),
    ],
)
def test_the_monitor_prints_no_rows_of_blanks(
    realised: Figures, promised: Figures, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {"target": "sales", "outcome": "as promised", "threshold": 40, "sentence": "What it says."}
    found = Monitored(model="models:/sales/1", realised=realised, promised=promised, account={"waiting": 3}, **fields)
    show_monitored(found, TargetConfig())
    heading, *said = capsys.readouterr().out.splitlines()
    assert said == [*lines, "Forecasts: 3 waiting", "What it says."]
    assert heading.startswith("Accuracy of models:/sales/1 over all forecasts and steps" if lines else "There are no")


def test_a_target_that_was_never_forecast_has_its_sentence_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = "sales: not enough forecasts yet: none is in the log."
    show_monitored(
        Monitored(target="sales", outcome="not enough forecasts yet", sentence=words, threshold=40), TargetConfig()
    )
    assert capsys.readouterr().out == f"{words}\n"


def test_a_rollback_against_the_gate_is_warned_of_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    done = Promotion(name="sales", result="moved", previous=1, version=2, sentence="by hand")
    show_rollback(done)
    assert capsys.readouterr().err == ""
    show_rollback(done.model_copy(update={"warning": "version 2 never was champion; the gate said keep: it is worse."}))
    assert capsys.readouterr().err == "Mind: version 2 never was champion; the gate said keep: it is worse.\n"
