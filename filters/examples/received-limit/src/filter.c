/* Refuses mail that goes in circles, and mail whose header block no reader could trust.
 *
 * Stage: headers. Grants: none.
 *
 *   [filter.settings]
 *   max-received = 30            # fields `Received`, of which each server on the way adds one
 *   trusted = "192.0.2."         # clients whose address begins so may have twice as many; none: ""
 */

#include "wasmilter.h"

/* RFC 5322 3.6: at most one of each. A reader shows one of two, and a filter may have judged the other. */
static const char *const ONCE[] = {"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID"};

/* Settings that do not fit keep the gateway from starting, and it says where they stand. */
static const char SCHEMA[] = "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
                             "\"max-received\": {\"type\": \"integer\", \"minimum\": 1},"
                             "\"trusted\": {\"type\": \"string\"}}}";

void on_describe(exports_wasmilter_filter_about_description_t *description) {
  description->version = wm("1.0.0");
  description->summary = wm("refuses mail that goes in circles, and header blocks no reader could trust");
  description->phase = EXPORTS_WASMILTER_FILTER_ABOUT_PHASE_INSPECT;
  description->settings_schema.is_some = true;
  description->settings_schema.val = wm(SCHEMA);
}

wm_verdict on_headers(const wm_headers *headers) {
  size_t limit = (size_t)wm_setting_number("max-received", 30);
  wm_str trusted = wm_setting_text("trusted", "");
  if (trusted.len) {
    wm_endpoint peer;
    wasmilter_filter_session_peer(&peer);
    wm_str beginning = wm_part(peer.address, 0, trusted.len);
    if (beginning.len == trusted.len && wm_find(beginning, trusted, 0) == 0) limit *= 2;
  }

  size_t received = wm_header_count(headers, "Received");
  if (received > limit)
    return wm_because(wm_reject("5.4.6", "this message has been through %u servers", (unsigned)received),
                      "more than %u fields Received", (unsigned)limit);

  for (size_t i = 0; i < sizeof ONCE / sizeof *ONCE; i++)
    if (wm_header_count(headers, ONCE[i]) > 1)
      return wm_reject("5.6.0", "a message has one field %s, and this one has more", ONCE[i]);
  if (!wm_header_at(headers, "From", 0))
    return wm_reject("5.6.0", "a message without a field From is not accepted here");
  return wm_next();
}
