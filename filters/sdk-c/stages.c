/* From the generated exports to the functions of wasmilter.h, for the stages that the world exports. */

#include "wasmilter.h"

void wm_stage_over(void);

#define ASKED(call)                                                                                                    \
  {                                                                                                                    \
    *ret = call;                                                                                                       \
    wm_stage_over();                                                                                                   \
  }
#define TOLD(call)                                                                                                     \
  {                                                                                                                    \
    call;                                                                                                              \
    wm_stage_over();                                                                                                   \
  }

#ifdef WM_ABOUT
void exports_wasmilter_filter_about_describe(exports_wasmilter_filter_about_description_t *ret) TOLD(on_describe(ret))
#endif

#ifdef WM_LIFECYCLE
bool exports_wasmilter_filter_lifecycle_init(wit_string_t *err) {
  wm_str why = {0};
  bool ready = on_init(&why);
  *err = why;
  wm_stage_over();
  return ready;
}
#endif

#ifdef WM_ON_CONNECT
void exports_wasmilter_filter_on_connect_connect(exports_wasmilter_filter_on_connect_endpoint_t *peer,
                                                 exports_wasmilter_filter_on_connect_verdict_t *ret)
    ASKED(on_connect(peer))
#endif

#ifdef WM_ON_HELO
void exports_wasmilter_filter_on_helo_helo(wit_string_t *name, bool extended,
                                           exports_wasmilter_filter_on_helo_verdict_t *ret)
    ASKED(on_helo(*name, extended))
#endif

#ifdef WM_ON_TLS
void exports_wasmilter_filter_on_tls_tls(exports_wasmilter_filter_on_tls_tls_info_t *info,
                                         exports_wasmilter_filter_on_tls_verdict_t *ret)
    ASKED(on_tls(info))
#endif

#ifdef WM_ON_AUTH
void exports_wasmilter_filter_on_auth_auth(exports_wasmilter_filter_on_auth_auth_info_t *info,
                                           exports_wasmilter_filter_on_auth_verdict_t *ret)
    ASKED(on_auth(info))
#endif

#ifdef WM_ON_MAIL
void exports_wasmilter_filter_on_mail_mail(exports_wasmilter_filter_on_mail_path_t *sender,
                                           exports_wasmilter_filter_on_mail_verdict_t *ret)
    ASKED(on_mail(sender))
#endif

#ifdef WM_ON_RCPT
void exports_wasmilter_filter_on_rcpt_rcpt(exports_wasmilter_filter_on_rcpt_path_t *recipient,
                                           exports_wasmilter_filter_on_rcpt_verdict_t *ret)
    ASKED(on_rcpt(recipient))
#endif

#ifdef WM_ON_DATA
void exports_wasmilter_filter_on_data_data(exports_wasmilter_filter_on_data_verdict_t *ret) ASKED(on_data())
#endif

#ifdef WM_ON_HEADERS
void exports_wasmilter_filter_on_headers_headers(exports_wasmilter_filter_on_headers_list_header_t *fields,
                                                 exports_wasmilter_filter_on_headers_verdict_t *ret) {
  wm_headers headers = {fields->ptr, fields->len};
  *ret = on_headers(&headers);
  wm_stage_over();
}
#endif

#ifdef WM_ON_BODY
void exports_wasmilter_filter_on_body_body(wit_list_u8_t *chunk, exports_wasmilter_filter_on_body_verdict_t *ret)
    ASKED(on_body(wm_octets(*chunk)))
#endif

#ifdef WM_ON_MESSAGE
void exports_wasmilter_filter_on_message_message(exports_wasmilter_filter_on_message_verdict_t *ret)
    ASKED(on_message())
#endif

#ifdef WM_ON_ABORT
void exports_wasmilter_filter_on_abort_abort(exports_wasmilter_filter_on_abort_ending_t *what) TOLD(on_abort(what))
#endif

#ifdef WM_ON_QUIT
void exports_wasmilter_filter_on_quit_quit(exports_wasmilter_filter_on_quit_summary_t *what) TOLD(on_quit(what))
#endif

#ifdef WM_ON_RCPT_REPLY
void exports_wasmilter_filter_on_rcpt_reply_rcpt_reply(exports_wasmilter_filter_on_rcpt_reply_path_t *recipient,
                                                       exports_wasmilter_filter_on_rcpt_reply_reply_t *answer)
    TOLD(on_rcpt_reply(recipient, answer))
#endif

#ifdef WM_ON_UNKNOWN
void exports_wasmilter_filter_on_unknown_unknown(wit_string_t *verb, wit_string_t *argument,
                                                 exports_wasmilter_filter_on_unknown_verdict_t *ret)
    ASKED(on_unknown(*verb, *argument))
#endif

#ifdef WM_ON_REPLY
void exports_wasmilter_filter_on_reply_final_reply(exports_wasmilter_filter_on_reply_delivery_t *outcome)
    TOLD(on_reply(outcome))
#endif
