/* What wasmilter.h promises. */

/* Called by the generated bindings, or by the libc. */
#pragma clang diagnostic ignored "-Wmissing-prototypes"

#include "wasmilter.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Octets of a reply's line, lines of a reply: as the contract allows. */
#define LINE_BYTES_MAX 400
#define LINES_MAX 16
#define REASON_BYTES_MAX 512
#define FORMAT_BYTES_MAX 8192

/* ------------------------------------------------------------------- memory --- */

/* A chunk of a body and some words. In the zeroed part of the initial memory: no octet in the file, no page in a fresh
 * instance before it is touched, and no growing of the memory, which is the dearest thing in an instance's life. */
#define ARENA_BYTES (96 * 1024)

static _Alignas(16) uint8_t arena[ARENA_BYTES];
static size_t used;
/* What did not fit into it, each with the address of the next in front. */
static void *overflow;
/* The last stage has returned, and the host has read its answer by the time it asks for anything. */
static bool over;

void wm_stage_over(void) { over = true; }

static void *take(size_t size, size_t align) {
  if (over) {
    over = false;
    used = 0;
    while (overflow) {
      void *next = *(void **)overflow;
      free(overflow);
      overflow = next;
    }
  }
  size_t at = (used + align - 1) & ~(align - 1);
  if (at <= ARENA_BYTES && size <= ARENA_BYTES - at) {
    used = at + size;
    return arena + at;
  }
  void *block = size < SIZE_MAX - 16 ? malloc(size + 16) : NULL;
  if (!block) __builtin_trap();
  *(void **)block = overflow;
  overflow = block;
  return (uint8_t *)block + 16;
}

/* The host and the bindings get what they pass from here. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  if (size == 0) return (void *)align;
  void *fresh = take(size, align);
  if (old_size) memcpy(fresh, old, old_size < size ? old_size : size);
  return fresh;
}

/* The bindings' free(), by a name of its own: see wm_stage_over(). */
void wm_bindings_free(void *at) { (void)at; }

void *wm_alloc(size_t size) { return memset(take(size ? size : 1, 16), 0, size); }

/* ------------------------------------------------------------------ strings --- */

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

wm_str wm(const char *text) { return (wm_str){(uint8_t *)text, strlen(text)}; }

wm_str wm_octets(wit_list_u8_t octets) { return (wm_str){octets.ptr, octets.len}; }

wm_str wm_part(wm_str text, size_t from, size_t len) {
  if (from > text.len) from = text.len;
  if (len > text.len - from) len = text.len - from;
  return (wm_str){text.ptr + from, len};
}

bool wm_equal(wm_str a, const char *b) {
  size_t len = strlen(b);
  return a.len == len && memcmp(a.ptr, b, len) == 0;
}

bool wm_starts_case(wm_str text, const char *with) {
  size_t len = strlen(with);
  if (text.len < len) return false;
  for (size_t i = 0; i < len; i++)
    if (lower(text.ptr[i]) != lower((uint8_t)with[i])) return false;
  return true;
}

bool wm_equal_case(wm_str a, const char *b) { return a.len == strlen(b) && wm_starts_case(a, b); }

bool wm_ends_case(wm_str text, const char *with) {
  size_t len = strlen(with);
  return text.len >= len && wm_starts_case(wm_part(text, text.len - len, len), with);
}

/* What a system may drop from a name, or not show. */
static bool dropped(uint8_t c) { return c <= ' ' || c >= 0x7f || c == '"' || c == '\''; }

static bool piece_ends(wm_str piece, const char *ending) {
  size_t len = strlen(ending);
  while (piece.len && (dropped(piece.ptr[piece.len - 1]) || piece.ptr[piece.len - 1] == '.')) piece.len--;
  /* From behind, over what is dropped inside of the ending. */
  for (; len && piece.len; piece.len--) {
    uint8_t c = piece.ptr[piece.len - 1];
    if (dropped(c)) continue;
    if (lower(c) != lower((uint8_t)ending[--len])) return false;
  }
  return len == 0;
}

bool wm_file_ends(wm_str name, const char *ending) {
  for (size_t from = 0; from <= name.len;) {
    size_t end = from;
    while (end < name.len && name.ptr[end] && !strchr("/\\:", name.ptr[end])) end++;
    if (piece_ends(wm_part(name, from, end - from), ending)) return true;
    from = end + 1;
  }
  return false;
}

long wm_find(wm_str text, wm_str what, size_t from) {
  for (size_t at = from; at <= text.len && what.len <= text.len - at; at++)
    if (memcmp(text.ptr + at, what.ptr, what.len) == 0) return (long)at;
  return -1;
}

long wm_find_case(wm_str text, const char *what, size_t from) {
  size_t len = strlen(what);
  for (size_t at = from; at <= text.len && len <= text.len - at; at++)
    if (wm_starts_case(wm_part(text, at, len), what)) return (long)at;
  return -1;
}

wm_str wm_trim(wm_str text) {
  while (text.len && text.ptr[0] <= ' ') text = wm_part(text, 1, text.len);
  while (text.len && text.ptr[text.len - 1] <= ' ') text.len--;
  return text;
}

wm_str wm_keep(wm_str text) {
  uint8_t *copy = malloc(text.len ? text.len : 1);
  if (!copy) __builtin_trap();
  memcpy(copy, text.ptr, text.len);
  return (wm_str){copy, text.len};
}

/* --------------------------------------------------------------- formatting --- */

typedef struct {
  uint8_t *at;
  size_t len, room;
} out_t;

static void put(out_t *out, const char *from, size_t len) {
  if (len > out->room - out->len) len = out->room - out->len;
  memcpy(out->at + out->len, from, len);
  out->len += len;
}

static void put_number(out_t *out, uint64_t number, unsigned base, bool negative) {
  char digits[24];
  size_t at = sizeof digits;
  do digits[--at] = "0123456789abcdef"[number % base];
  while (number /= base);
  if (negative) digits[--at] = '-';
  put(out, digits + at, sizeof digits - at);
}

static wm_str format_list(const char *format, va_list values) {
  out_t out = {take(FORMAT_BYTES_MAX, 1), 0, FORMAT_BYTES_MAX};
  for (const char *at = format; *at; at++) {
    if (*at != '%') {
      const char *end = strchr(at, '%');
      size_t len = end ? (size_t)(end - at) : strlen(at);
      put(&out, at, len);
      at += len - 1;
      continue;
    }
    int precision = -1;
    if (at[1] == '.' && at[2] == '*') precision = va_arg(values, int), at += 2;
    while (at[1] == 'l' || at[1] == 'z') at++;
    switch (*++at) {
    case 's': {
      const char *text = va_arg(values, const char *);
      put(&out, text, precision >= 0 ? (size_t)precision : strlen(text));
      break;
    }
    case 'c': {
      char c = (char)va_arg(values, int);
      put(&out, &c, 1);
      break;
    }
    case 'd': {
      int64_t number = va_arg(values, int);
      put_number(&out, (uint64_t)(number < 0 ? -number : number), 10, number < 0);
      break;
    }
    case 'u': put_number(&out, va_arg(values, unsigned), 10, false); break;
    case 'x': put_number(&out, va_arg(values, unsigned), 16, false); break;
    case '%': put(&out, "%", 1); break;
    default: __builtin_trap();
    }
  }
  /* What was not needed is free for the next one. */
  if (out.at + FORMAT_BYTES_MAX == arena + used) used -= FORMAT_BYTES_MAX - out.len;
  return (wm_str){out.at, out.len};
}

wm_str wm_format(const char *format, ...) {
  va_list values;
  va_start(values, format);
  wm_str text = format_list(format, values);
  va_end(values);
  return text;
}

/* ----------------------------------------------------------------- verdicts --- */

static wm_verdict plain(uint8_t action) { return (wm_verdict){.action = action}; }

wm_verdict wm_next(void) { return plain(WASMILTER_FILTER_TYPES_ACTION_NEXT); }
wm_verdict wm_accept(void) { return plain(WASMILTER_FILTER_TYPES_ACTION_ACCEPT); }
wm_verdict wm_skip(void) { return plain(WASMILTER_FILTER_TYPES_ACTION_SKIP); }
wm_verdict wm_discard(void) { return plain(WASMILTER_FILTER_TYPES_ACTION_DISCARD); }
wm_verdict wm_quarantine(void) { return plain(WASMILTER_FILTER_TYPES_ACTION_QUARANTINE); }

/* In place: printable ASCII; anything else a client might not be able to show. */
static void make_printable(wm_str text) {
  for (size_t i = 0; i < text.len; i++)
    if (text.ptr[i] < ' ' || text.ptr[i] > '~') text.ptr[i] = '?';
}

static wm_verdict says(uint8_t action, unsigned code, const char *enhanced, wm_str text) {
  wit_string_t *lines = take(LINES_MAX * sizeof *lines, sizeof(void *));
  size_t count = 0;
  for (size_t from = 0; count < LINES_MAX && from <= text.len;) {
    size_t end = from;
    while (end < text.len && text.ptr[end] != '\n') end++;
    lines[count] = wm_part(text, from, end - from);
    if (lines[count].len > LINE_BYTES_MAX) lines[count].len = LINE_BYTES_MAX;
    make_printable(lines[count++]);
    from = end + 1;
  }
  wm_verdict verdict = plain(action);
  verdict.reply.is_some = true;
  verdict.reply.val.code = (uint16_t)code;
  verdict.reply.val.enhanced.is_some = true;
  verdict.reply.val.enhanced.val = wm(enhanced);
  verdict.reply.val.text.ptr = lines;
  verdict.reply.val.text.len = count;
  return verdict;
}

#define SAYS(action, code)                                                                                             \
  {                                                                                                                    \
    va_list values;                                                                                                    \
    va_start(values, format);                                                                                          \
    wm_verdict verdict = says(WASMILTER_FILTER_TYPES_ACTION_##action, code, enhanced, format_list(format, values));    \
    va_end(values);                                                                                                    \
    return verdict;                                                                                                    \
  }

wm_verdict wm_answer(const char *enhanced, const char *format, ...) SAYS(ACCEPT, 250)
wm_verdict wm_reject(const char *enhanced, const char *format, ...) SAYS(REJECT, 550)
wm_verdict wm_defer(const char *enhanced, const char *format, ...) SAYS(DEFER, 451)
wm_verdict wm_disconnect(const char *enhanced, const char *format, ...) SAYS(DISCONNECT, enhanced[0] == '4' ? 421 : 554)

wm_verdict wm_code(wm_verdict verdict, unsigned code) {
  if (verdict.reply.is_some) verdict.reply.val.code = (uint16_t)code;
  return verdict;
}

wm_verdict wm_because(wm_verdict verdict, const char *format, ...) {
  va_list values;
  va_start(values, format);
  wm_str reason = format_list(format, values);
  va_end(values);
  if (reason.len > REASON_BYTES_MAX) reason.len = REASON_BYTES_MAX;
  make_printable(reason);
  verdict.reason.is_some = true;
  verdict.reason.val = reason;
  return verdict;
}

/* ------------------------------------------------------------------ helpers --- */

const wm_header *wm_header_at(const wm_headers *headers, const char *name, size_t nth) {
  for (size_t i = 0; i < headers->count; i++)
    if (wm_equal_case(headers->at[i].name, name) && nth-- == 0) return &headers->at[i];
  return NULL;
}

size_t wm_header_count(const wm_headers *headers, const char *name) {
  size_t count = 0;
  for (size_t i = 0; i < headers->count; i++) count += wm_equal_case(headers->at[i].name, name);
  return count;
}

void wm_log(const char *format, ...) {
  if (!wasmilter_filter_log_enabled(WASMILTER_FILTER_LOG_LEVEL_INFO)) return;
  va_list values;
  va_start(values, format);
  wm_str line = format_list(format, values);
  va_end(values);
  make_printable(line);
  wasmilter_filter_log_log(WASMILTER_FILTER_LOG_LEVEL_INFO, &line);
}

/* ----------------------------------------------------------------- settings --- */

/* Past a string whose first quote is at `at`. */
static size_t past_string(wm_str json, size_t at) {
  for (at++; at < json.len && json.ptr[at] != '"'; at++)
    if (json.ptr[at] == '\\') at++;
  return at + 1;
}

/* The value of a key of the outermost object, up to the end of the text: the host made it, so it is sound JSON. */
static wm_str setting(const char *key) {
  wm_str json;
  wasmilter_filter_config_json(&json);
  unsigned depth = 0;
  size_t len = strlen(key);
  for (size_t at = 0; at < json.len;) {
    uint8_t c = json.ptr[at];
    if (c == '"') {
      size_t end = past_string(json, at);
      wm_str name = wm_part(json, at + 1, end - at - 2);
      at = end;
      wm_str rest = wm_trim(wm_part(json, at, json.len));
      if (depth == 1 && name.len == len && memcmp(name.ptr, key, len) == 0 && rest.len && rest.ptr[0] == ':')
        return wm_trim(wm_part(rest, 1, rest.len));
      continue;
    }
    if (c == '{' || c == '[') depth++;
    if (c == '}' || c == ']') depth--;
    at++;
  }
  return (wm_str){0};
}

bool wm_setting_bool(const char *key, bool otherwise) {
  wm_str value = setting(key);
  if (wm_starts_case(value, "true")) return true;
  return wm_starts_case(value, "false") ? false : otherwise;
}

double wm_setting_number(const char *key, double otherwise) {
  wm_str value = setting(key);
  size_t at = value.len && value.ptr[0] == '-';
  if (at >= value.len || value.ptr[at] < '0' || value.ptr[at] > '9') return otherwise;
  double number = 0, unit = 1;
  bool fraction = false;
  for (size_t i = at; i < value.len; i++) {
    uint8_t c = value.ptr[i];
    if (c == '.' && !fraction) {
      fraction = true;
    } else if (c >= '0' && c <= '9') {
      number = number * 10 + (c - '0');
      if (fraction) unit *= 10;
    } else {
      break;
    }
  }
  return (at ? -number : number) / unit;
}

wm_str wm_setting_text(const char *key, const char *otherwise) {
  wm_str value = setting(key);
  if (!value.len || value.ptr[0] != '"') return wm(otherwise);
  wm_str text = {take(value.len, 1), 0};
  for (size_t i = 1; i < value.len && value.ptr[i] != '"'; i++) {
    uint8_t c = value.ptr[i];
    if (c == '\\' && ++i < value.len) {
      uint8_t e = value.ptr[i];
      c = e == 'n' ? '\n' : e == 't' ? '\t' : e == '"' || e == '\\' || e == '/' ? e : '?';
      if (e == 'u') i += 4;
    }
    text.ptr[text.len++] = c;
  }
  return text;
}
