"""Which addresses are reached without the proxy of the environment: those of this machine itself."""

from collections.abc import MutableMapping

LOOPBACK = ("127.0.0.1", "localhost", "::1")
NAMES = ("no_proxy", "NO_PROXY")  # programs read the one or the other; where both are set, most read the first


def spare_loopback(environment: MutableMapping[str, str]) -> None:
    """Add this machine's own addresses to the hosts that are reached directly; what stands there is kept.

    A company's HTTP_PROXY knows no server on 127.0.0.1: Prefect's embedded one would never be reached.
    Other hosts go through the proxy as before. Changes `environment`.
    """
    declared = {name: environment[name] for name in NAMES if name in environment}
    for name in NAMES:
        value = declared.get(name, next(iter(declared.values()), ""))
        hosts = [host.strip() for host in value.split(",") if host.strip()]
        if hosts != ["*"]:  # no proxy at all; in a longer list the star means nothing to urllib
            hosts += [host for host in LOOPBACK if host not in hosts]
        environment[name] = ",".join(hosts)
