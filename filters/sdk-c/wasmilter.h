/* Mail filters for the wasmilter gateway, in C.
 *
 * A filter is a file with one function for each stage it wants (`on_rcpt`, `on_headers`, …); wit/world.wit lists the
 * same stages. It may call everything in target/bindings/wit.h, which `wasmilter filter build` makes of the contract; what is
 * here makes that short. What it calls, the component imports, and the operator grants.
 *
 * Memory. What a stage is given, what the gateway's functions return and what wm_alloc() and wm_format() make lives
 * until the stage has returned, and is then gone as a whole: there is nothing to free. What has to live on goes into
 * a variable of your own (wm_keep() copies a string), or, if it has to outlive the session, into counters or kv.
 *
 * Everything about a mail was written by a stranger. Strings have a length and no NUL at their end, and may hold any
 * octet. Reading beyond `len` is not caught by anything: use the functions below.
 */
#ifndef WASMILTER_H
#define WASMILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <wit.h>

/* ------------------------------------------------------------------ strings --- */

typedef wit_string_t wm_str;

/* A string literal or other C string as a wm_str. */
wm_str wm(const char *text);
/* For "%.*s" of wm_reject(), wm_format(), wm_log(): wm_format("%.*s", WM(name)). */
#define WM(str) (int)(str).len, (const char *)(str).ptr

bool wm_equal(wm_str a, const char *b);
/* The same with ASCII case ignored; so for all that end in _case. */
bool wm_equal_case(wm_str a, const char *b);
bool wm_starts_case(wm_str text, const char *with);
bool wm_ends_case(wm_str text, const char *with);
/* Whether a file of this name may turn out to end so (".exe") when it is saved: systems differ in what they make of a
 * strange name, so each piece between / \ : and NUL counts, and dots, blanks, quotes and octets beyond ASCII in it do not
 * hide its end. */
bool wm_file_ends(wm_str name, const char *ending);
/* The place of `what` at or after `from`; -1 when it is not there. */
long wm_find(wm_str text, wm_str what, size_t from);
long wm_find_case(wm_str text, const char *what, size_t from);
/* Part of a string, cut to what there is. */
wm_str wm_part(wm_str text, size_t from, size_t len);
/* Without blanks and line ends at both ends. */
wm_str wm_trim(wm_str text);
/* The octets of a header's value, a list<u8>, as a string: any octet may be in it. */
wm_str wm_octets(wit_list_u8_t octets);
/* As printf, with %s %.*s %c %d %u %x %% and no others, without what a libc's own one weighs. */
wm_str wm_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A copy that lives as long as the instance. */
wm_str wm_keep(wm_str text);
/* Zeroed memory until the stage has returned. Traps when there is none. */
void *wm_alloc(size_t size);

/* ----------------------------------------------------------------- verdicts --- */

typedef wasmilter_filter_types_verdict_t wm_verdict;
typedef wasmilter_filter_types_path_t wm_path;
typedef wasmilter_filter_types_header_t wm_header;
typedef wasmilter_filter_types_endpoint_t wm_endpoint;
typedef wasmilter_filter_types_tls_info_t wm_tls_info;
typedef wasmilter_filter_types_auth_info_t wm_auth_info;

/* No opinion: the next filter is asked. */
wm_verdict wm_next(void);
/* Content: not asked again in this transaction. */
wm_verdict wm_accept(void);
/* At unknown: this is the answer, with 250 (wm_code() for another of 211, 214 and 250 to 259). */
wm_verdict wm_answer(const char *enhanced, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* In headers and body: no (more) body of this message. */
wm_verdict wm_skip(void);
/* Answers success and delivers nothing; only where granted. */
wm_verdict wm_discard(void);
/* To where the operator's grant says, and not to its recipients: at data, headers and message, only where granted. */
wm_verdict wm_quarantine(void);
/* 550, and a text for the client: wm_reject("5.7.1", "no %.*s here", WM(name)). Each line of it is a line of the reply.
 * What a client could not be shown becomes `?`, and what is too long is cut. */
wm_verdict wm_reject(const char *enhanced, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* 451: refuses for now. */
wm_verdict wm_defer(const char *enhanced, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Answers and closes the connection: 421 when `enhanced` begins with 4, else 554. */
wm_verdict wm_disconnect(const char *enhanced, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* With another code than the usual one: its class must be that of the enhanced code. */
wm_verdict wm_code(wm_verdict verdict, unsigned code);
/* With a reason that the log shows and the client never sees. */
wm_verdict wm_because(wm_verdict verdict, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ------------------------------------------------------------------ helpers --- */

/* All fields of a header block. */
typedef struct {
  const wm_header *at;
  size_t count;
} wm_headers;

/* The nth field of this name (0 is the topmost), or NULL. */
const wm_header *wm_header_at(const wm_headers *headers, const char *name, size_t nth);
/* How many fields have this name. */
size_t wm_header_count(const wm_headers *headers, const char *name);

/* A setting of the operator's ([filter.settings]), by its key at the top of the JSON object. */
bool wm_setting_bool(const char *key, bool otherwise);
double wm_setting_number(const char *key, double otherwise);
/* Escapes other than \" \\ \/ \n \t come back as `?`. */
wm_str wm_setting_text(const char *key, const char *otherwise);

/* A line at level info in the gateway's log. */
void wm_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ------------------------------------------------------------------- stages --- */

/* Yours to write: those that wit/world.wit exports, and no others. */
#ifdef WM_ABOUT
/* What the filter says of itself: all four fields, of which `settings_schema` is an option. */
void on_describe(exports_wasmilter_filter_about_description_t *description);
#endif
#ifdef WM_LIFECYCLE
/* True: ready. False: `why` keeps the instance, and at start-up the gateway, from going on. */
bool on_init(wm_str *why);
#endif
#ifdef WM_ON_CONNECT
wm_verdict on_connect(const wm_endpoint *peer);
#endif
#ifdef WM_ON_HELO
wm_verdict on_helo(wm_str name, bool extended);
#endif
#ifdef WM_ON_TLS
wm_verdict on_tls(const wm_tls_info *info);
#endif
#ifdef WM_ON_AUTH
wm_verdict on_auth(const wm_auth_info *info);
#endif
#ifdef WM_ON_MAIL
wm_verdict on_mail(const wm_path *sender);
#endif
#ifdef WM_ON_RCPT
wm_verdict on_rcpt(const wm_path *recipient);
#endif
#ifdef WM_ON_DATA
wm_verdict on_data(void);
#endif
#ifdef WM_ON_HEADERS
wm_verdict on_headers(const wm_headers *headers);
#endif
#ifdef WM_ON_BODY
wm_verdict on_body(wm_str chunk);
#endif
#ifdef WM_ON_MESSAGE
wm_verdict on_message(void);
#endif
#ifdef WM_ON_ABORT
void on_abort(const exports_wasmilter_filter_on_abort_ending_t *what);
#endif
#ifdef WM_ON_QUIT
void on_quit(const exports_wasmilter_filter_on_quit_summary_t *what);
#endif
#ifdef WM_ON_RCPT_REPLY
void on_rcpt_reply(const wm_path *recipient, const wasmilter_filter_types_reply_t *answer);
#endif
#ifdef WM_ON_UNKNOWN
wm_verdict on_unknown(wm_str verb, wm_str argument);
#endif
#ifdef WM_ON_REPLY
void on_reply(const exports_wasmilter_filter_on_reply_delivery_t *outcome);
#endif

#endif
