"""No secret is left in a text, whatever its form; what is none stands as it was."""

import inspect
import io
import logging
import os
import pickle
import traceback

import pytest
from mlflow.exceptions import MlflowException

from rnn_model import masking
from rnn_model.errors import CarryoverError, ConfigError
from rnn_model.masking import MaskedStream, declare, holds_secret, mask, mask_error, mask_log_records, masks_errors

TOKEN = "CANARYcanary0123456789CANARYcanary"
FORMS = [
    "http://user:CANARY@host:5000/team",
    "http:/user:CANARY@host/team",
    "HTTP:///user:CANARY@host",
    "http:user:CANARY@host",
    "user:CANARY@host/path",
    "https://CANARY@host",
    "http://me:CAN@ARY/CANARY@host",
    "http://me:two words CANARY@host",
    "http://me:it's\"CANARY@host",
    "postgresql+psycopg2://me:CANARY@db/mlflow",
    "models:/user:CANARY@host",
    "http://user:CANARY",  # cut before its @
    "http%3A%2F%2Fuser%3ACANARY%40host",
    "host=db user=me password=CANARY dbname=x",
    "host=db password = 'two CANARY words' user=me",
    "Server=db;Uid=me;Pwd=CANARY;",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=CANARY==;EndpointSuffix=y",
    "https://host/f.csv?token=CANARY&page=2",
    "https://host/f.csv?sv=2024&sig=CANARY%3D",
    "https://b.s3.amazonaws.com/k?X-Amz-Credential=CANARY&X-Amz-Signature=CANARY&X-Amz-Security-Token=CANARY",
    "Max retries exceeded with url: /f.csv?access_token=CANARY (Caused by",
    "https://host/f.csv#access_token=CANARY",
    "{'headers': {'Authorization': 'Bearer CANARY'}}",
    "Authorization: Basic CANARY==",
    f"sent Bearer {TOKEN}",
    '{"password": "CANARY", "user": "me"}',
    "{'token': 'CANARY'}",
    "{password: CANARY}",
    "password: CANARY",
    "aws_secret_access_key = CANARY",
    "--tracking.uri http://u:CANARY@h --seed 1",
    "-----BEGIN RSA PRIVATE KEY-----\nCANARY\n-----END RSA PRIVATE KEY-----",
]
TOKENS = ["AKIA" + "A1" * 8, "ghp_" + "a1" * 18, "pnu_" + "a1" * 18, "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl"]
PLAIN = [
    "models:/us_macro_quarterly@champion: none -> none (kept)",
    "sqlite:////data/m@y.db",
    "http://127.0.0.1:5000/#/compare-runs?runs=%5B%22a%22%5D&experiments=%5B1%5D",
    "MLflow at http://127.0.0.1:9 does not answer, models:/us@champion neither",
    "no password supplied; check user and password in the address",
    "in a user, password or path write it as %40",
    "tracking.password: Extra inputs are not permitted",
    "ask me@example.org at 12:30",
    "window.horizon: Input should be a valid integer (got 'many')",
    "s3://shop/sales/*.csv",
    "set it to postgresql://USER:PASSWORD@HOST:PORT/DATABASE, such as postgresql://user:password@host:5432/carryover",
    "http://[::1]:5000/x and http://host:5000",
    "carryover: 3 windows; key=abc, seed=1",
]


@pytest.mark.parametrize("text", FORMS)
def test_a_secret_is_masked_by_its_form(text: str) -> None:
    said = mask(f"got {text!r}"), mask(text), mask(f"x\nthe address {text}\ny")
    assert all("CANARY" not in each and "***" in each for each in said), said
    assert all(mask(each) == each and not holds_secret(each) for each in said), said
    assert holds_secret(text)


@pytest.mark.parametrize("text", TOKENS)
def test_a_token_is_known_by_its_beginning(text: str) -> None:
    assert mask(f"refused: {text}.") == "refused: ***."


@pytest.mark.parametrize("text", PLAIN)
def test_what_holds_no_secret_stands_as_it_is(text: str) -> None:
    assert mask(text) == text
    assert not holds_secret(text)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wJalr/XUtn+FEMI", "wJalr/XUtn+FEMI"),
        ("MLFLOW_TRACKING_PASSWORD", "open sesame", "open sesame"),
        ("PREFECT_API_KEY", "pnu-0815", "pnu-0815"),
        ("SALES_DB", "postgresql://me:open%2Fsesame@db/shop", "open/sesame"),
        ("SALES_DB", "postgresql://me:open%2Fsesame@db/shop", "open%2Fsesame"),
        ("SHOP", "host=db password='open sesame' user=me", "open sesame"),
        ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=x;AccountKey=opensesame==", "opensesame=="),
    ],
    ids=map(str, range(7)),  # the values would stand in a variable of pytest's
)
def test_the_environments_secrets_are_masked_by_value(
    name: str, value: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mask(f"the server said {shown}!") == f"the server said {shown}!"
    monkeypatch.setenv(name, value)
    assert mask(f"the server said {shown}!") == "the server said ***!"


def test_short_values_and_our_own_words_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "run")
    monkeypatch.setenv("CARRYOVER_DATABASE_PASSWORD", "carryover")
    monkeypatch.setenv("PWD", "/work/open")
    assert mask("carryover run in /work/open") == "carryover run in /work/open"


def test_a_declared_secret_is_masked_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_declared", set())
    declare("postgresql://me:open%20sesame@db/shop")
    assert mask("open sesame, open%20sesame") == "***, ***"


def test_errors_hold_no_secret_from_the_start_and_travel() -> None:
    error = ConfigError("model 'http://u:CANARY@h' is not known")
    assert (str(error), error.args) == ("model 'http://***@h' is not known", ("model 'http://***@h' is not known",))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(CarryoverError()) == ""


def test_log_records_hold_no_secret_in_words_arguments_or_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    before = logging.getLogRecordFactory()
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logger = logging.Logger("any")
    logger.addHandler(handler)
    try:
        mask_log_records()
        mask_log_records()
        logger.error("at %s", "http://u:CANARY@h")
        logger.error("%d", "no number")  # which logging reports by itself
        try:
            try:
                raise ValueError("http://u:CANARY@h")
            except ValueError as error:
                raise OSError("password=CANARY") from error
        except OSError:
            logger.exception("failed", stack_info=True)
    finally:
        logging.setLogRecordFactory(before)
    words = said.getvalue()
    assert "CANARY" not in words
    assert all(part in words for part in ("at http://***@h", "ValueError: http://***@h", "OSError: password=***"))


def test_errors_of_any_library_are_masked_with_those_behind_them() -> None:
    @masks_errors
    def fail(argument: int) -> None:
        """Words."""
        try:
            raise OSError(5, "at http://u:CANARY@h", "/x/password=CANARY")
        except OSError as error:
            raise MlflowException(f"API request to http://u:CANARY@h failed: {error}") from error

    with pytest.raises(MlflowException) as raised:
        fail(1)
    assert "CANARY" not in "".join(
        line for line in traceback.format_exception(raised.value) if "raise " not in line
    ) + repr(raised.value.args) + str(vars(raised.value))
    assert raised.value.message == "API request to http://***@h failed: [Errno 5] at http://***@h: '/x/password=***'"
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == 5
    assert (fail.__name__, fail.__doc__, list(inspect.signature(fail).parameters)) == ("fail", "Words.", ["argument"])


def test_an_error_that_is_its_own_cause_ends() -> None:
    error = ValueError("x")
    error.__context__ = TypeError("password=CANARY")
    error.__context__.__context__ = error
    mask_error(error)
    assert str(error.__context__) == "password=***"


def test_a_masked_stream_is_the_stream_without_secrets() -> None:
    stream = io.StringIO()
    print("at http://u:CANARY@h", os.sep, file=MaskedStream(stream))  # type: ignore[call-overload]
    assert stream.getvalue() == f"at http://***@h {os.sep}\n"
    assert not MaskedStream(stream).isatty()
