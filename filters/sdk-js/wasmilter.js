/**
 * Mail filters for the wasmilter gateway, in JavaScript.
 *
 * A filter is a module that exports an object for each stage it wants (`onMessage`, `onRcpt`, …); wit/world.wit lists
 * the same stages, and the capabilities that are imported. Both are the contract's own names in camelCase, and nothing
 * here hides it: this module makes verdicts, reads what strangers wrote, and says where an error came from. It imports
 * no capability by itself, so that a component asks the operator for nothing but what the filter's own lines import.
 */

/** Lines of a reply, octets of a line: as the contract allows. */
const LINES_MAX = 16;
const LINE_BYTES_MAX = 400;
const REASON_BYTES_MAX = 512;

/** What a filter decides at a stage: a verdict of the contract, with two ways of saying more. */
class Verdict {
  constructor(action, reply = null) {
    this.action = action;
    this.reply = reply;
    this.reason = null;
  }

  /** Why, for the log; the client never sees it. */
  because(reason) {
    this.reason = cut(printable(String(reason)), REASON_BYTES_MAX);
    return this;
  }

  /** Another code than the usual one. Its class must fit the action and the enhanced code. */
  code(code) {
    if (this.reply) this.reply.code = code;
    return this;
  }
}

/** No opinion: the next filter is asked. */
export const next = () => new Verdict("next");

/** Content with it: this filter is not asked again in this transaction. Others still are. */
export const accept = () => new Verdict("accept");

/** Enough seen: no (more) body of this message for this filter (headers and body only). */
export const skip = () => new Verdict("skip");

/** Answers success and delivers nothing. Only where the operator granted `discard`. */
export const discard = () => new Verdict("discard");

/** To where the operator's grant says, and not to its recipients: in data, headers and message, only where granted. */
export const quarantine = () => new Verdict("quarantine");

/** In `onUnknown`: this is the answer, with 250 (another of 211, 214 and 250 to 259 with `code`). */
export const answer = (enhanced, text) => says("accept", 250, enhanced, text);

/** Refuses for good, with 550: `reject("5.7.1", "Not here")`. Each line of the text is a line of the reply. */
export const reject = (enhanced, text) => says("reject", 550, enhanced, text);

/** Refuses for now, with 451: `defer("4.7.1", "Come back later")`. */
export const defer = (enhanced, text) => says("defer", 451, enhanced, text);

/** Answers and closes the connection: with 421 when `enhanced` is of class 4, with 554 when it is of class 5. */
export const disconnect = (enhanced, text) => says("disconnect", enhanced.startsWith("5") ? 554 : 421, enhanced, text);

/** A reply's text often holds what the client wrote: it is made fit to be said, since anything else is a fault. */
function says(action, code, enhanced, text) {
  const lines = String(text).split(/\r?\n/).slice(0, LINES_MAX);
  return new Verdict(action, { code, enhanced, text: lines.map((line) => cut(printable(line), LINE_BYTES_MAX)) });
}

/**
 * The functions of a stage, with a line in the log for what they throw: `export const onMessage = logged(log, { … })`.
 * An exception is a fault of the filter, and the client gets the answer that the operator set as `on-fault`; without
 * this the log says only that the component trapped.
 */
export function logged(log, stage) {
  const told = {};
  for (const [name, asked] of Object.entries(stage)) {
    told[name] = (...words) => {
      try {
        return asked.apply(stage, words);
      } catch (error) {
        log.log("error", error instanceof Error ? `${error}\n${error.stack}` : `threw ${JSON.stringify(error)}`);
        throw error;
      }
    };
  }
  return told;
}

/** The operator's settings: `settings(config)`. Read them once, in `lifecycle.init`. */
export const settings = (config) => JSON.parse(config.json());

/** Octets as text: UTF-8, and U+FFFD for what is none. */
export function text(octets) {
  let out = "";
  for (let at = 0; at < octets.length; ) {
    const first = octets[at];
    const more = first < 0x80 ? 0 : first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : -1;
    let point = more === 0 ? first : first & (0x3f >> more);
    let here = 0;
    while (here < more && (octets[at + here + 1] & 0xc0) === 0x80) point = (point << 6) | (octets[at + ++here] & 0x3f);
    const whole = here === more && (more < 2 || point >= [0x800, 0x10000][more - 2]) && point <= 0x10ffff && (point & ~0x7ff) !== 0xd800;
    out += whole ? String.fromCodePoint(point) : "\ufffd";
    at += whole ? more + 1 : 1;
  }
  return out;
}

/** Text as octets, in UTF-8. */
export function octets(text) {
  const out = [];
  for (const letter of String(text)) {
    const point = letter.codePointAt(0);
    if (point < 0x80) out.push(point);
    else if (point < 0x800) out.push(0xc0 | (point >> 6), 0x80 | (point & 0x3f));
    else if (point < 0x10000) out.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f));
    else out.push(0xf0 | (point >> 18), 0x80 | ((point >> 12) & 0x3f), 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f));
  }
  return new Uint8Array(out);
}

/** A header's value as text, its folds taken out. Encoded words (RFC 2047) stay as they are. */
export const unfolded = (value) => text(value).replace(/[\r\n]/g, "");

/** The first field of this name (ASCII case ignored), as text; "" when there is none. For `onHeaders`. */
export function field(fields, name) {
  const found = fields.find((field) => field.name.toLowerCase() === name.toLowerCase());
  return found ? unfolded(found.value) : "";
}

/** The parts that have a file name or are marked as attachments: `attachments(mime)`. */
export const attachments = (mime) => mime.parts().filter((part) => part.fileName != null || part.disposition === "attachment");

/** Whether a file of this name may turn out to end in one of these (lower case, without dot) when it is saved. */
export function hasExtension(name, extensions) {
  return endings(name ?? "").some((ending) => extensions.includes(ending));
}

/**
 * What a file name may turn out to end in, lower case, without the dot: "a.PDF.exe" gives "exe". Systems differ in
 * what they make of a strange name, so it has an ending for each piece between `/`, `\`, `:` and NUL; dots, blanks,
 * quotes and invisible characters at the end of a piece do not count.
 */
export function endings(name) {
  const found = [];
  for (const piece of name.split(/[/\\:\0]/)) {
    const bare = [...piece].filter((letter) => !DROPPED.test(letter)).join("").replace(/\.+$/, "");
    const dot = bare.lastIndexOf(".");
    if (dot >= 0) found.push(bare.slice(dot + 1).toLowerCase());
  }
  return found;
}

const INVISIBLE = "\\u00ad\\u061c\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\ufeff";
const DROPPED = new RegExp(`[\\s\\u0000-\\u001f\\u007f-\\u009f"'${INVISIBLE}]`, "u");
const UNPRINTABLE = new RegExp(`[\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029\\ud800-\\udfff${INVISIBLE}]`, "gu");

/** With `?` for what does not belong into a line that people read. */
export const printable = (line) => line.replace(UNPRINTABLE, "?");

/** At most so many octets of UTF-8, not ending inside a character. */
function cut(line, bytes) {
  let length = 0;
  let out = "";
  for (const letter of line) {
    const point = letter.codePointAt(0);
    length += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (length > bytes) break;
    out += letter;
  }
  return out;
}
