"""Secrets in texts: found by their form (an address, a named value, a token) or by their value, and written as ***.

Every text that reaches a screen, a log, Prefect or MLflow goes through `mask`: errors when they are made, log records
when they are made, and what a command prints.
"""

import logging
import os
import re
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import unquote

P = ParamSpec("P")
R = TypeVar("R")

MASK = "***"
SHORTEST = 6  # characters of a secret that is masked by its value: shorter ones are parts of words
OWN_WORDS = ("carryover", "password", "postgres", "prefect", "mlflow")  # as a password no secret, but in our sentences
NAME = (
    r"[\w.-]*(?:pass(?:word|wd|phrase)|pwd|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key|"
    r"shared[_-]?key|signature|credential)s?(?:[_-]?id)?"
)
# an @ in these is an alias, or of a file's name; and what our own sentences give as an example
NO_SECRET = r"models:/[^/@:\s]+@[\w.-]+|sqlite(?:\+\w+)?:///|file:///|(?:\w+://)?(?i:user:password)@"
ADDRESS = re.compile(rf"(?<![\w+.-])(?!{NO_SECRET})([A-Za-z][\w+.-]*:(?!:)[/\\]*+)(?!\*\*\*@)\S+@")
SPACED = re.compile(rf"(?<![\w+.-])(?!{NO_SECRET})([A-Za-z][\w+.-]*://)[^\s/@:]*:(?!\d+\s)[^/@\n]*@")  # with blanks
CUT = re.compile(
    r"(?<![\w+.-])([A-Za-z][\w+.-]*://)[^\s/@:?#*\[]+:(?!\d+(?:\D|$)|(?i:port)\b)[^\s/@]+(?!\S*@)"
)  # before its @
ENCODED = re.compile(r"(%3A(?:%2F)++)(?!\*\*\*%40)\S+%40", re.IGNORECASE)  # an address within another one
QUOTED = r"\\*(?P<{0}>[\"'])(?:.*?)\\*(?P={0})"
KEPT = r"(?!\*\*\*)"  # masked already
EQUALS = re.compile(
    rf"(\b(?:{NAME}|pass)\\*+[\"']?+\s*+=\s*+){KEPT}(?:{QUOTED.format('q')}|\S+?(?=[\"')\]}}>,.]*(?:\s|$)))",
    re.IGNORECASE,
)
QUERY = re.compile(rf"([?&#;](?:{NAME}|pass|pw|sig|sas|auth|key|code|jwt)=){KEPT}[^\s&#\"']+", re.IGNORECASE)
COLON = re.compile(
    rf"(\b(?:{NAME}|pass)\\*+[\"']?+\s*+:\s*+){KEPT}(?:{QUOTED.format('q')}|[^\s,\"'{{}}\[\]]+(?=[,\"'}})\]]|\s*$))",
    re.IGNORECASE | re.MULTILINE,
)
HEADER = re.compile(rf"\b(authorization\\*+[\"']?+\s*+[:=]\s*+\\*+[\"']?+){KEPT}[^\"'\n]+", re.IGNORECASE)
SCHEME = re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
TOKEN = re.compile(
    r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|pn[ub]_\w{20,}|dapi[0-9a-f]{32}|hf_\w{20,}|"
    r"xox[abprs]-[\w-]{10,}|glpat-[\w-]{16,}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL)
VARIABLE = re.compile(rf"(?:{NAME}|.*_(?:KEY|PASS|PW|AUTH|AUTH_STRING))", re.IGNORECASE)  # whose value is a secret
LOGIN = re.compile(r"[A-Za-z][\w+.-]*:/+([^\s/@:]*):(\S+)@")

_declared: set[str] = set()


def declare(secret: str) -> None:
    """Mask this value from now on, wherever it turns up."""
    _declared.update(_values(secret))


def mask(text: str) -> str:
    """A text without the secrets in it: what stands in their place is ***. Masking twice changes nothing."""
    for secret in sorted(_declared | known(os.environ), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return mask_forms(text)


def mask_forms(text: str) -> str:
    """The same, by the forms of secrets alone: addresses with a user or password, named values, tokens."""
    text = PRIVATE.sub(MASK, text)
    if "@" in text or "%40" in text:
        text = ENCODED.sub(rf"\1{MASK}%40", SPACED.sub(rf"\1{MASK}@", ADDRESS.sub(rf"\1{MASK}@", text)))
    if "://" in text:
        text = CUT.sub(rf"\1{MASK}", text)
    text = QUERY.sub(rf"\1{MASK}", text)
    if "=" in text or ":" in text:
        text = COLON.sub(rf"\1{MASK}", EQUALS.sub(rf"\1{MASK}", HEADER.sub(rf"\1{MASK}", text)))
    return TOKEN.sub(MASK, SCHEME.sub(rf"\1{MASK}", text))


def holds_secret(text: str) -> bool:
    """Whether a text has the form of one with a secret in it."""
    return mask_forms(text) != text


def holds_login(sql: str) -> bool:
    """The same for SQL, in which a colon, an @ and a column called token are nothing special."""
    return bool(re.search(r"://[^\s/]*@|\b(?:password|passwd|pwd)\s*=", sql) or TOKEN.search(sql))


def known(environment: Mapping[str, str]) -> set[str]:
    """The secrets of an environment: values of variables named as such, passwords in addresses and the like."""
    return set[str]().union(*(_secrets_of(name, value) for name, value in environment.items()))


def mask_error(error: BaseException) -> None:
    """Mask the words of an error of any library, and of those behind it, in place: who keeps it stores no secret."""
    left, done = [error], set[int]()
    while left:
        one = left.pop()
        if id(one) in done:
            continue
        done.add(id(one))
        inner = [*one.args, *vars(one).values(), one.__cause__, one.__context__]
        left += [other for other in inner if isinstance(other, BaseException)]
        if any(isinstance(word, str) and mask(word) != word for word in one.args):
            one.args = tuple(mask(word) if isinstance(word, str) else word for word in one.args)
        own = {
            name: getattr(one, name, None) for name in ("strerror", "filename", "filename2")
        }  # as an OSError is shown
        for name, word in {**own, **vars(one)}.items():
            if isinstance(word, str) and mask(word) != word:
                with suppress(AttributeError, TypeError):  # one that cannot be set
                    setattr(one, name, mask(word))


def masks_errors(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, whose errors hold no secrets."""

    @wraps(function)
    def masked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            mask_error(error)
            raise

    return masked


def mask_log_records() -> None:
    """Make log records without secrets from now on, their tracebacks too, whatever logger and handler they go to."""
    make = logging.getLogRecordFactory()
    if getattr(make, "masks", False):
        return

    def record(*arguments: Any, **more: Any) -> logging.LogRecord:
        made = make(*arguments, **more)
        try:
            made.msg, made.args = mask(made.getMessage()), ()
        except (TypeError, ValueError, KeyError):  # a format that its arguments do not fit, which the handler reports
            return made
        made.stack_info = mask(made.stack_info) if made.stack_info else None
        if isinstance(made.exc_info, tuple) and made.exc_info[0] is not None:
            made.exc_text = mask("".join(traceback.format_exception(*made.exc_info)).rstrip())
            made.exc_info = None  # a formatter would format it anew
        return made

    record.masks = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(record)


class MaskedStream:
    """A stream whose texts are written without secrets."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As that of a text stream."""
        self._stream.write(mask(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@lru_cache(maxsize=4096)
def _secrets_of(name: str, value: str) -> frozenset[str]:
    if VARIABLE.fullmatch(name) and name not in ("PWD", "OLDPWD"):
        return frozenset(_values(value))
    named = [found[0].removeprefix(found[1]).strip("\\'\"") for found in EQUALS.finditer(value)]
    login = LOGIN.search(value)
    return frozenset().union(*map(_values, [*named, *([login[2]] if login else [])]))


def _values(secret: str) -> set[str]:
    """A secret as it stands, and as it is written or read in an address."""
    forms = {secret.strip(), unquote(secret.strip())}
    login = LOGIN.search(secret)
    forms |= {login[2], unquote(login[2])} if login else set()
    return {form for form in forms if len(form) >= SHORTEST and form.lower() not in OWN_WORDS}
