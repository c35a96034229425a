// Marks mail from outside in its subject, and refuses attachments that nobody should open.
//
// Stages: headers, message. Grants: mime = true, edit = { headers = ["Subject"] }.
//
//   [filter.settings]
//   domains = ["example.org"]                    # senders that are not from outside
//   tag = "[external]"
//   refused = ["exe", "scr", "js", "iso"]        # what the name of an attachment must not end in

import config from "wasmilter:filter/config@0.1.0";
import edit from "wasmilter:filter/edit@0.1.0";
import envelope from "wasmilter:filter/envelope@0.1.0";
import log from "wasmilter:filter/log@0.1.0";
import mime from "wasmilter:filter/mime@0.1.0";
import { attachments, field, hasExtension, logged, next, octets, reject, settings } from "../sdk/wasmilter.js";

const defaults = { domains: [], tag: "[external]", refused: ["exe", "scr", "js", "iso"] };
let wanted = defaults;

const words = { type: "array", items: { type: "string" } };

// Settings that do not fit keep the gateway from starting, and it says where they stand.
export const about = {
  describe: () => ({
    version: "1.0.0",
    summary: "marks mail from outside, and refuses attachments that nobody should open",
    phase: "transform",
    settingsSchema: JSON.stringify({
      type: "object",
      additionalProperties: false,
      properties: { domains: words, tag: { type: "string" }, refused: words },
    }),
  }),
};

export const lifecycle = {
  init() {
    wanted = { ...defaults, ...settings(config) };
  },
};

function isOurs(address) {
  const domain = address.slice(address.lastIndexOf("@") + 1).toLowerCase();
  return wanted.domains.includes(domain);
}

export const onHeaders = logged(log, {
  headers(fields) {
    const subject = field(fields, "Subject");
    if (isOurs(envelope.sender()?.address ?? "") || subject.startsWith(wanted.tag)) return next();
    const tagged = octets(`${wanted.tag} ${subject}`.trimEnd());
    if (fields.some((one) => one.name.toLowerCase() === "subject")) edit.changeHeader("Subject", 0, tagged);
    else edit.appendHeader({ name: "Subject", value: tagged });
    return next();
  },
});

export const onMessage = logged(log, {
  message() {
    const found = attachments(mime).find((part) => hasExtension(part.fileName, wanted.refused));
    return found ? reject("5.7.1", `attachment ${found.fileName} is not accepted here`).because("file name") : next();
  },
});
