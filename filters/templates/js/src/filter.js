// @NAME@: refuses programs among the attachments.

import log from "wasmilter:filter/log@0.1.0";
import mime from "wasmilter:filter/mime@0.1.0";
import { attachments, hasExtension, logged, next, reject } from "../sdk/wasmilter.js";

// What a file name must not end in.
const REFUSED = ["exe", "scr", "js", "bat", "com", "lnk"];

export const onMessage = logged(log, {
  message() {
    const found = attachments(mime).find((part) => hasExtension(part.fileName, REFUSED));
    return found ? reject("5.7.1", `attachment ${found.fileName} is not accepted here`) : next();
  },
});
