// Run with `node --test`: what needs no gateway.
import assert from "node:assert/strict";
import { test } from "node:test";

import { answer, attachments, disconnect, endings, field, hasExtension, logged, octets, printable, quarantine, reject, text } from "./wasmilter.js";

test("endings cannot be hidden", () => {
  const hidden = ["a.exe", "A.EXE", ".exe", "a.pdf.exe", "a.exe.", "a.exe . .", "a.exe\u200b", "a.e\u200bxe", "x/y\\a.exe",
    "a.exe/", "C:\\a.exe", "b:a.exe", "a.exe::$DATA", '"a.exe"', "fdp\u202e.exe", "a.exe\0.txt", "a. exe \t"];
  for (const name of hidden) assert.ok(hasExtension(name, ["exe"]), JSON.stringify(name));
  for (const name of ["", "exe", "..", "a/exe", "a.exe.pdf", "a.exes"]) assert.ok(!hasExtension(name, ["exe"]), name);
  assert.ok(!hasExtension(null, ["exe"]));
  assert.deepEqual(endings("a.b"), ["b"]);
});

test("a reply is always fit to be said", () => {
  const { reply } = reject("5.7.1", "a\rb\u202ec\0\r\nsecond\n" + "ü".repeat(500));
  assert.deepEqual(reply.text.slice(0, 2), ["a?b?c?", "second"]);
  assert.equal(reply.text[2], "ü".repeat(200));
  assert.equal(reject("5.7.1", "x\n".repeat(99)).reply.text.length, 16);
  assert.deepEqual({ ...answer("2.0.0", "a\rb").code(252) }, { action: "accept", reply: { code: 252, enhanced: "2.0.0", text: ["a?b"] }, reason: null });
  assert.deepEqual({ ...quarantine() }, { action: "quarantine", reply: null, reason: null });
  assert.equal(disconnect("4.7.0", "").reply.code, 421);
  assert.equal(disconnect("5.7.0", "").code(550).reply.code, 550);
  assert.equal(printable("\ud800"), "?");
});

test("octets and text", () => {
  for (const one of ["", "a", "Grüße", "日本", "😀"]) {
    assert.equal(text(octets(one)), one);
    assert.deepEqual([...octets(one)], [...new TextEncoder().encode(one)]);
  }
  for (const bad of [[0xff], [0xc3], [0xe2, 0x82], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0x61, 0xf5, 0x62]]) {
    assert.ok(text(Uint8Array.from(bad)).includes("\ufffd"), bad.join());
  }
});

test("fields and attachments", () => {
  const fields = [{ name: "SUBJECT", value: octets("a\r\n b") }];
  assert.equal(field(fields, "Subject"), "a b");
  assert.equal(field(fields, "From"), "");
  const parts = [{ fileName: null, disposition: null }, { fileName: "a", disposition: null }, { fileName: null, disposition: "attachment" }];
  assert.equal(attachments({ parts: () => parts }).length, 2);
});

test("what is thrown is logged, and thrown", () => {
  const lines = [];
  const stage = logged({ log: (level, line) => lines.push(level + line) }, { data: () => { throw new Error("no"); } });
  assert.throws(() => stage.data(), /no/);
  assert.match(lines[0], /^errorError: no\n/);
});
