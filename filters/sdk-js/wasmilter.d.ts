// For editors: what is in wasmilter.js, and the words of the contract it uses.

export type Action = "next" | "accept" | "reject" | "defer" | "discard" | "quarantine" | "disconnect" | "skip";

export interface Reply {
  code: number;
  enhanced: string | null;
  text: string[];
}

export interface Verdict {
  action: Action;
  reply: Reply | null;
  reason: string | null;
  /** Why, for the log; the client never sees it. */
  because(reason: string): Verdict;
  /** Another code than the usual one. Its class must fit the action and the enhanced code. */
  code(code: number): Verdict;
}

export interface Header {
  name: string;
  value: Uint8Array;
}

export interface Path {
  address: string;
  params: [string, string | null][];
}

export interface Part {
  parent: number | null;
  mediaType: string;
  disposition: string | null;
  fileName: string | null;
  charset: string | null;
  size: number;
}

export function next(): Verdict;
export function accept(): Verdict;
export function skip(): Verdict;
export function discard(): Verdict;
export function quarantine(): Verdict;
export function answer(enhanced: string, text: string): Verdict;
export function reject(enhanced: string, text: string): Verdict;
export function defer(enhanced: string, text: string): Verdict;
export function disconnect(enhanced: string, text: string): Verdict;

/** The functions of a stage, with a line in the log for what they throw. */
export function logged<Stage extends object>(log: { log(level: string, message: string): void }, stage: Stage): Stage;

/** The operator's settings. */
export function settings(config: { json(): string }): any;

export function text(octets: Uint8Array): string;
export function octets(text: string): Uint8Array;
export function unfolded(value: Uint8Array): string;
export function field(fields: Header[], name: string): string;
export function attachments(mime: { parts(): Part[] }): Part[];
export function hasExtension(name: string | null, extensions: string[]): boolean;
export function endings(name: string): string[];
export function printable(line: string): string;
