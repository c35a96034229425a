"""@NAME@: refuses programs among the attachments."""

import wasmilter as wm
from wit_world import exports
from wit_world.imports import log, mime

# What a file name must not end in.
REFUSED = {"exe", "scr", "js", "bat", "com", "lnk"}


class OnMessage(exports.OnMessage):
    @wm.logged(log)
    def message(self) -> wm.Verdict:
        for part in wm.attachments(mime):
            if wm.has_extension(part.file_name, REFUSED):
                return wm.reject("5.7.1", f"attachment {part.file_name} is not accepted here")
        return wm.next()
