"""The flows: each reads like the sentence that describes it."""

import os

from tasks.proxies import spare_loopback

# a cold start of the embedded server takes longer than its default of 20 seconds on a small machine
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "true")  # the word, not 1: MLflow takes nothing else
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # ours say more
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
if "PREFECT__FLOW_RUN_ID" in os.environ:  # a worker started this process for one flow run: no command closes its files
    from rnn_model.masking import mask_log_records
    from tasks.settling import settle

    mask_log_records()
    settle()
spare_loopback(os.environ)  # before any client is made; the processes that a flow starts inherit it
