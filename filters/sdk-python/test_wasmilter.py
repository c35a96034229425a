"""Run with `python3 -m unittest` in this folder: what needs no gateway."""

import sys
import types
import unittest
from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    NEXT, ACCEPT, REJECT, DEFER, DISCARD, QUARANTINE, DISCONNECT, SKIP = range(8)


@dataclass
class Reply:
    code: int
    enhanced: str
    text: list


@dataclass
class Verdict:
    action: Action
    reply: Reply
    reason: str


# What componentize-py generates, as far as the SDK uses it.
generated = types.ModuleType("wit_world.imports.types")
generated.Action, generated.Reply, generated.Verdict = Action, Reply, Verdict
for name in ("wit_world", "wit_world.imports"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["wit_world.imports.types"] = generated

import wasmilter as wm  # noqa: E402


class Sdk(unittest.TestCase):
    def test_endings_cannot_be_hidden(self):
        for name in ["a.exe", "A.EXE", ".exe", "a.pdf.exe", "a.exe.", "a.exe . .", "a.exe\u200b", "a.e\u200bxe",
                     "x/y\\a.exe", "a.exe/", "C:\\a.exe", "b:a.exe", "a.exe::$DATA", '"a.exe"', "fdp\u202e.exe",
                     "a.exe\0.txt", "a. exe \t"]:
            self.assertTrue(wm.has_extension(name, ["exe"]), name)
        for name in ["", "exe", "..", "a/exe", "a.exe.pdf", "a.exes", None]:
            self.assertFalse(wm.has_extension(name, ["exe"]), name)

    def test_a_reply_is_always_fit_to_be_said(self):
        reply = wm.reject("5.7.1", "a\rb\u202ec\0\r\nsecond\n" + "ü" * 500).reply
        self.assertEqual(reply.text, ["a?b?c?", "second", "ü" * 200])
        self.assertEqual(wm.answer("2.0.0", "a\rb", 252), Verdict(Action.ACCEPT, Reply(252, "2.0.0", ["a?b"]), None))
        self.assertEqual(wm.quarantine("odd"), Verdict(Action.QUARANTINE, None, "odd"))
        self.assertEqual(len(wm.reject("5.7.1", "x\n" * 99).reply.text), 16)
        self.assertEqual(wm.disconnect("4.7.0", "").reply.code, 421)
        self.assertEqual(wm.disconnect("5.7.0", "").reply.code, 554)
        self.assertEqual(len(wm.next("ü" * 999).reason.encode()), 512)

    def test_fields_and_attachments(self):
        header = types.SimpleNamespace(name="SUBJECT", value=b"a\r\n b\xff")
        self.assertEqual(wm.field([header], "Subject"), "a b\ufffd")
        self.assertEqual(wm.field([header], "From"), "")
        part = lambda name, how: types.SimpleNamespace(file_name=name, disposition=how)  # noqa: E731
        mime = types.SimpleNamespace(parts=lambda: [part(None, None), part("a", None), part(None, "attachment")])
        self.assertEqual(len(list(wm.attachments(mime))), 2)

    def test_what_is_raised_is_logged_and_raised(self):
        lines = []
        log = types.SimpleNamespace(Level=types.SimpleNamespace(ERROR="error"), log=lambda *words: lines.append(words))

        @wm.logged(log)
        def data(_self):
            raise ValueError("no")

        with self.assertRaises(ValueError):
            data(None)
        self.assertIn("ValueError: no", lines[0][1])


if __name__ == "__main__":
    unittest.main()
