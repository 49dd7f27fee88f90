"""compose.yaml and the work pools' templates, as far as they can be looked at without an engine."""

import json
import re
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from jsonschema import Draft202012Validator
from prefect.utilities.templating import apply_values, find_placeholders

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
KINDS = ("docker", "kubernetes")
KNOWN = json.loads(
    (Path(prefect.__file__).parent / "server/api/collections_data/views/aggregate-worker-metadata.json").read_text()
)


def template(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "deploy" / f"{kind}.json").read_text())
    return found


def filled(kind: str) -> dict[str, Any]:
    """What a worker makes of a template by its defaults, with Prefect's own code."""
    properties = template(kind)["variables"]["properties"]
    defaults = {name: about["default"] for name, about in properties.items() if "default" in about}
    found: dict[str, Any] = apply_values(template(kind)["job_configuration"], defaults)
    return found


# ---- compose.yaml


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_has_a_version(name: str) -> None:
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", SERVICES[name]["image"])


@pytest.mark.parametrize("name", [name for name in SERVICES if "ports" in SERVICES[name]])
def test_a_port_is_open_to_this_machine_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


def test_every_password_comes_from_the_environment_and_has_to_be_there() -> None:
    given = re.findall(r"//carryover:(\S+?)@", (ROOT / "compose.yaml").read_text())
    assert len(given) == 3
    assert all(each.startswith("${CARRYOVER_DATABASE_PASSWORD:?") for each in given)
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${CARRYOVER_DATABASE_PASSWORD:?")
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_what_an_object_store_needs_is_passed_on_only_where_it_is_set() -> None:
    """A name without a value; an empty endpoint is refused by the client."""
    given = SERVICES["mlflow"]["environment"]
    names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "MLFLOW_S3_ENDPOINT_URL"]
    assert [given[name] for name in names] == [None] * 4


def test_two_workers_have_two_host_names() -> None:
    assert "hostname" not in SERVICES["worker"]


def test_services_wait_for_those_that_say_that_they_are_well() -> None:
    awaited = {name: set(about.get("depends_on", {})) for name, about in SERVICES.items()}
    assert awaited == {
        "postgres": set(),
        "prefect": {"postgres"},
        "mlflow": {"postgres"},
        "worker": {"prefect", "mlflow"},
    }
    for name in set().union(*awaited.values()):
        assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_every_volume_is_declared_and_every_file_is_there() -> None:
    for about in SERVICES.values():
        for source in (volume.partition(":")[0] for volume in about.get("volumes", [])):
            assert (ROOT / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]
        if "build" in about:
            assert (ROOT / about["build"]["dockerfile"]).is_file()


def test_everything_that_the_image_copies_is_sent_to_the_engine() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == sent
    assert all((ROOT / each).exists() for each in copied)


# ---- work pools


@pytest.mark.parametrize("kind", KINDS)
def test_the_deployments_for_a_pool_find_the_code_where_the_image_has_it(kind: str) -> None:
    """As the documented command makes the file."""
    parts = ((ROOT / name).read_text() for name in ("prefect.yaml", "deploy/pull.yaml"))
    made = yaml.safe_load(re.sub(r"name: local$", f"name: carryover-{kind}", "".join(parts), flags=re.MULTILINE))
    (pull,) = made["pull"]
    folder = re.search(r"^WORKDIR (\S+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert folder
    assert pull == {"prefect.deployments.steps.set_working_directory": {"directory": folder[1]}}
    assert {each["work_pool"]["name"] for each in made["deployments"]} == {f"carryover-{kind}"}
    assert f"--type {kind}" in (ROOT / "docs" / "team.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_templates_variables_are_a_schema_that_its_defaults_keep(kind: str) -> None:
    variables = template(kind)["variables"]
    Draft202012Validator.check_schema(variables)
    for name, about in variables["properties"].items():
        if "default" in about:
            Draft202012Validator(about).validate(about["default"])
        assert about["title"], name
        assert about["description"], name


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_asks_for_its_variables_and_no_others(kind: str) -> None:
    found = template(kind)
    asked = {place.name for place in find_placeholders(found["job_configuration"])}
    assert asked == set(found["variables"]["properties"])


@pytest.mark.parametrize("kind", KINDS)
def test_prefect_knows_every_setting_of_a_template(kind: str) -> None:
    known = KNOWN[f"prefect-{kind}"][kind]["default_base_job_configuration"]["job_configuration"]
    assert set(template(kind)["job_configuration"]) <= set(known)


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_names_a_version_and_limits_memory(kind: str) -> None:
    made = filled(kind)
    if kind == "docker":
        image, memory = made["image"], made["mem_limit"]
    else:
        container = made["job_manifest"]["spec"]["template"]["spec"]["containers"][0]
        image, memory = container["image"], container["resources"]["limits"]["memory"]
    assert re.fullmatch(r"carryover:\d+\.\d+\.\d+", image)
    assert memory in ("8g", "8Gi")


def test_the_database_reaches_a_container_through_a_secret_block() -> None:
    assert filled("docker")["env"]["CARRYOVER_DATABASE"] == "{{ prefect.blocks.secret.carryover-database }}"


def test_the_database_reaches_a_pod_through_a_kubernetes_secret() -> None:
    made = filled("kubernetes")
    variables = made["job_manifest"]["spec"]["template"]["spec"]["containers"][0]["env"]
    reference = {"secretKeyRef": {"name": "carryover", "key": "database"}}
    assert variables == [{"name": "CARRYOVER_DATABASE", "valueFrom": reference}]
    assert "CARRYOVER_DATABASE" not in made["env"]
