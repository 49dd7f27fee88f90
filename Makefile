# Two commands do everything: `make run` and `make test`. Both set up first, in .venv, from constraints.txt.
PYTHON ?= python3.11
BIN := .venv/bin
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: run test faults kills setup check leaderboard ui services down clean help

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

run: setup  ## set up, then carry the sample through the whole pipeline
	$(BIN)/carryover run

test: setup check  ## set up, then lint, types, import floors and tests
	@echo "== tests"
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations 15

faults: setup  ## try the catalogue of faults, whole commands that are killed included: about half an hour
	$(BIN)/python tests/faults

kills: setup  ## kill a run at 300 random moments and compare what it ends with: hours
	$(BIN)/python tests/faults/kills.py --kills 300

check: setup
	@echo "== lint, format, types, import floors"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: .venv/.ready  ## make .venv with the pinned versions

# torch first: its CPU build is found by pip's own settings where they name one
.venv/.ready: constraints.txt pyproject.toml
	@echo "== setting up .venv (a few minutes the first time)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --progress-bar on -c constraints.txt torch
	$(BIN)/pip install --quiet --progress-bar on -c constraints.txt -e '.[dev]'
	$(BIN)/pip check
	@touch $@

leaderboard: setup  ## score everything on a folder of data sets: make leaderboard DATA=folder
	@test -n "$(DATA)" || { echo "name the folder: make leaderboard DATA=folder"; exit 2; }
	$(BIN)/carryover leaderboard --folder $(DATA) --summary leaderboard.json

ui: setup  ## open the MLflow pages of the local runs on http://127.0.0.1:5000
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --workers 1 --host 127.0.0.1 --port 5000 \
		--backend-store-uri sqlite:///$(or $(CARRYOVER_HOME),$(CURDIR)/data)/mlflow.db

services: setup  ## start Prefect's and MLflow's servers: make services, or make services DB=postgres
	$(BIN)/carryover services $(if $(DB),--db $(DB))

down: setup  ## end the servers that make services started
	$(BIN)/carryover down

clean:  ## remove what runs have written under data (the sample and the base model stay)
	@if [ -f data/services/servers.json ]; then $(BIN)/carryover down; fi
	find data -mindepth 1 -maxdepth 1 ! -name sample ! -name base ! -name README.md -exec rm -rf {} +
