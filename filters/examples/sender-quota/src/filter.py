"""So many messages a sender and hour, whatever address it sends from: those beyond it are deferred.

Stages: mail, data. Grants: kv = true. Who logged in counts by login, everybody else by the sender's domain.

    [filter.settings]
    per-hour = 100
    exempt = ["example.org"]       # domains and logins that are not counted
"""

import json

import wasmilter as wm
from wit_world import exports
from wit_world.exports import about
from wit_world.imports import clock, config, envelope, kv, log, session
from wit_world.imports.types import Path

HOUR_MS = 3_600_000
# Others may write at the same time; who loses so often in a row is served without being counted.
TRIES_MAX = 8

per_hour = 100
exempt: set[str] = set()


# Settings that do not fit keep the gateway from starting, and it says where they stand.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "per-hour": {"type": "integer", "minimum": 1},
        "exempt": {"type": "array", "items": {"type": "string"}},
    },
}


class About(exports.About):
    def describe(self) -> about.Description:
        return about.Description("1.0.0", "so many messages a sender and hour", about.Phase.DECIDE, json.dumps(SCHEMA))


class Lifecycle(exports.Lifecycle):
    def init(self) -> None:
        global per_hour, exempt
        wanted = wm.settings(config)
        per_hour, exempt = wanted.get("per-hour", per_hour), set(wanted.get("exempt", []))


def who(sender: str) -> str:
    login = session.auth()
    return login.identity if login else sender.rpartition("@")[2].lower()


def sent(name: str, now: float) -> list[float]:
    """When this one sent in the last hour."""
    known = kv.get(name)
    return [when for when in json.loads(known or b"[]") if when > now - HOUR_MS]


class OnMail(exports.OnMail):
    @wm.logged(log)
    def mail(self, sender: Path) -> wm.Verdict:
        name = who(sender.address)
        if not name or name in exempt:
            return wm.accept()
        if len(sent(name, clock.now())) >= per_hour:
            return wm.defer("4.7.1", f"{name} has sent {per_hour} messages within an hour, which is all")
        return wm.next()


class OnData(exports.OnData):
    @wm.logged(log)
    def data(self) -> wm.Verdict:
        sender = envelope.sender()
        name, now = who(sender.address if sender else ""), clock.now()
        for _ in range(TRIES_MAX):
            known = kv.get(name)
            times = [when for when in json.loads(known or b"[]") if when > now - HOUR_MS] + [now]
            if kv.swap(name, known, json.dumps(times).encode(), HOUR_MS):
                break
        return wm.next()
