"""Mail filters for the wasmilter gateway, in Python.

A filter is the module src/filter.py with a class for each stage it wants (`OnMessage`, `OnRcpt`, ...); wit/world.wit
lists the same stages, and the capabilities that are imported. Both are the contract's own names, and nothing here hides
it: this module makes verdicts, reads what strangers wrote, and says where an error came from. It imports no capability
by itself, so that a component asks the operator for nothing but what the filter's own lines import.
"""

import functools
import json
import re
import traceback
from typing import Any, Callable, Iterable, Iterator, Optional

from wit_world.imports.types import Action, Reply, Verdict

__all__ = [
    "Verdict", "accept", "answer", "attachments", "defer", "disconnect", "discard", "endings", "field", "has_extension", "logged",
    "next", "printable", "quarantine", "reject", "settings", "skip", "unfolded",
]

# Lines of a reply, octets of a line and of a reason: as the contract allows.
_LINES_MAX = 16
_LINE_BYTES_MAX = 400
_REASON_BYTES_MAX = 512

_INVISIBLE = "\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_DROPPED = re.compile(f"[\\s\x00-\x1f\x7f-\x9f\"'{_INVISIBLE}]")
_UNPRINTABLE = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_INVISIBLE}]")


def next(because: Optional[str] = None) -> Verdict:
    """No opinion: the next filter is asked. `because` is for the log; the client never sees it."""
    return _verdict(Action.NEXT, None, because)


def accept(because: Optional[str] = None) -> Verdict:
    """Content with it: this filter is not asked again in this transaction. Others still are."""
    return _verdict(Action.ACCEPT, None, because)


def skip(because: Optional[str] = None) -> Verdict:
    """Enough seen: no (more) body of this message for this filter (headers and body only)."""
    return _verdict(Action.SKIP, None, because)


def discard(because: Optional[str] = None) -> Verdict:
    """Answers success and delivers nothing. Only where the operator granted `discard`."""
    return _verdict(Action.DISCARD, None, because)


def quarantine(because: Optional[str] = None) -> Verdict:
    """To where the operator's grant says, and not to its recipients: in data, headers and message, only where granted."""
    return _verdict(Action.QUARANTINE, None, because)


def answer(enhanced: str, text: str, code: int = 250, because: Optional[str] = None) -> Verdict:
    """In `OnUnknown`: this is the answer. `code` is 211, 214 or one of 250 to 259."""
    return _verdict(Action.ACCEPT, _reply(code, enhanced, text), because)


def reject(enhanced: str, text: str, code: int = 550, because: Optional[str] = None) -> Verdict:
    """Refuses for good: `reject("5.7.1", "Not here")`. Each line of the text is a line of the reply."""
    return _verdict(Action.REJECT, _reply(code, enhanced, text), because)


def defer(enhanced: str, text: str, code: int = 451, because: Optional[str] = None) -> Verdict:
    """Refuses for now: `defer("4.7.1", "Come back later")`."""
    return _verdict(Action.DEFER, _reply(code, enhanced, text), because)


def disconnect(enhanced: str, text: str, code: Optional[int] = None, because: Optional[str] = None) -> Verdict:
    """Answers and closes the connection: with 421 when `enhanced` is of class 4, with 554 when it is of class 5."""
    return _verdict(Action.DISCONNECT, _reply(code or (554 if enhanced[:1] == "5" else 421), enhanced, text), because)


def _verdict(action: Action, reply: Optional[Reply], because: Optional[str]) -> Verdict:
    return Verdict(action, reply, None if because is None else _cut(printable(because), _REASON_BYTES_MAX))


def _reply(code: int, enhanced: str, text: str) -> Reply:
    """The text often holds what the client wrote: it is made fit to be said, since anything else is a fault."""
    lines = text.replace("\r\n", "\n").split("\n")[:_LINES_MAX]
    return Reply(code, enhanced, [_cut(printable(line), _LINE_BYTES_MAX) for line in lines])


def _cut(line: str, octets: int) -> str:
    return line.encode()[:octets].decode(errors="ignore")


def printable(line: str) -> str:
    """With `?` for what does not belong into a line that people read."""
    return _UNPRINTABLE.sub("?", line)


def logged(log: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`@logged(log)` before a stage's function: its exceptions come into the gateway's log, with the traceback.

    An exception is a fault of the filter, and the client gets the answer that the operator set as `on-fault`; without
    this the log says only that the component trapped.
    """

    def around(stage: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(stage)
        def told(*words: Any) -> Any:
            try:
                return stage(*words)
            except BaseException:
                log.log(log.Level.ERROR, traceback.format_exc())
                raise

        return told

    return around


def settings(config: Any) -> dict[str, Any]:
    """The operator's settings: `settings(config)`. Read them once, in `Lifecycle.init`."""
    return json.loads(config.json())


def unfolded(value: bytes) -> str:
    """A header's value as text, its folds taken out. Encoded words (RFC 2047) stay as they are."""
    return value.decode(errors="replace").replace("\r", "").replace("\n", "")


def field(fields: Iterable[Any], name: str) -> str:
    """The first field of this name (ASCII case ignored), as text; "" when there is none. For `OnHeaders`."""
    for one in fields:
        if one.name.lower() == name.lower():
            return unfolded(one.value)
    return ""


def attachments(mime: Any) -> Iterator[Any]:
    """The parts that have a file name or are marked as attachments: `attachments(mime)`."""
    return (part for part in mime.parts() if part.file_name is not None or part.disposition == "attachment")


def has_extension(name: Optional[str], extensions: Iterable[str]) -> bool:
    """Whether a file of this name may turn out to end in one of these (lower case, no dot) when it is saved."""
    return not set(extensions).isdisjoint(endings(name or ""))


def endings(name: str) -> Iterator[str]:
    """What a file name may turn out to end in, lower case, without the dot: "a.PDF.exe" gives "exe".

    Systems differ in what they make of a strange name, so it has an ending for each piece between `/`, `\\`, `:` and
    NUL; dots, blanks, quotes and invisible characters at the end of a piece do not count.
    """
    for piece in re.split(r"[/\\:\x00]", name):
        stem, dot, ending = _DROPPED.sub("", piece).rstrip(".").rpartition(".")
        if dot:
            yield ending.lower()
