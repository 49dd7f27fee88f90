"""prefect.yaml agrees with the code, and the embedded server can start at the pinned versions."""

import asyncio
from datetime import date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from tasks.alarm import EVENT

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
BY_NAME = {deployment["name"]: deployment for deployment in DEPLOYMENTS}


def flow_of(deployment: dict[str, Any]) -> Any:
    path, _, name = deployment["entrypoint"].partition(":")
    return getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_deployment_parameters_fit_the_flows_signature(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    assert set(deployment["parameters"]) <= set(flow.parameters.properties)
    flow.validate_parameters(deployment["parameters"])


def test_what_a_team_lets_run_is_deployed() -> None:
    assert list(BY_NAME) == ["pretrain", "nightly", "forecast", "monitor", "ad-hoc"]
    assert [name for name, d in BY_NAME.items() if not d.get("schedules")] == ["ad-hoc"]
    for deployment in DEPLOYMENTS:
        assert deployment["tags"]
        assert deployment["description"]
        assert deployment["concurrency_limit"]["collision_strategy"] in ("CANCEL_NEW", "ENQUEUE")


def test_the_monitors_event_starts_the_night() -> None:
    (trigger,) = BY_NAME["nightly"]["triggers"]
    assert trigger["expect"] == [EVENT]


def test_a_misspelt_deployment_parameter_would_be_refused() -> None:
    flow = flow_of(BY_NAME["nightly"])
    with pytest.raises(Exception, match="horizn"):
        flow.validate_parameters({"window": {"horizn": 3}})


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_deployment_schedules_are_valid_cron_with_a_time_zone(deployment: dict[str, Any]) -> None:
    from prefect.server.schemas.schedules import CronSchedule

    for schedule in deployment.get("schedules", []):
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
@pytest.mark.parametrize("change", [date(2026, 3, 29), date(2026, 10, 25)], ids=["spring", "autumn"])
def test_there_is_one_run_on_each_local_day_when_the_clock_changes(deployment: dict[str, Any], change: date) -> None:
    from prefect.server.schemas.schedules import CronSchedule

    zone = ZoneInfo("Europe/Berlin")  # 2:00 to 3:00 is not there in spring, and is there twice in autumn
    start = datetime.combine(change - timedelta(days=40), datetime.min.time(), zone)
    days = [start.date() + timedelta(days=n) for n in range(80)]
    for schedule in deployment.get("schedules", []):
        cron = CronSchedule(cron=schedule["cron"], timezone=str(zone))
        dates = asyncio.run(cron.get_dates(200, start, start + timedelta(days=80)))
        wanted = [day for day in days if schedule["slug"] != "monthly" or day.day == 1]
        found = [moment.astimezone(zone).date() for moment in dates]
        assert [day for day in found if day <= days[-1]] == wanted


def test_run_form_shows_the_sections_in_declared_order() -> None:
    flow = flow_of(BY_NAME["ad-hoc"])
    shown = sorted(flow.parameters.properties.items(), key=lambda item: item[1]["position"])
    order = [
        "source",
        "target",
        "window",
        "model",
        "pretrain",
        "finetune",
        "backtest",
        "gate",
        "tracking",
        "seed",
        "force",
    ]
    assert [name for name, _ in shown] == order


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_every_field_of_the_run_form_is_described(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    nameless = [
        f"{section}.{name}"
        for section, schema in flow.parameters.definitions.items()
        for name, field in schema.get("properties", {}).items()
        if not field.get("description")
    ]
    assert nameless == []
    assert all(p.get("description") for p in flow.parameters.properties.values())


def test_prefect_server_can_be_imported_with_the_pinned_versions() -> None:
    assert import_module("prefect.server.api.server").create_app
