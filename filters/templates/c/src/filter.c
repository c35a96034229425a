/* @NAME@: refuses programs among the attachments. */

#include "wasmilter.h"

/* What a file name must not end in. */
static const char *const REFUSED[] = {".exe", ".scr", ".js", ".bat", ".com", ".lnk"};

wm_verdict on_message(void) {
  wasmilter_filter_mime_list_part_t parts;
  wasmilter_filter_mime_error_t error;
  if (!wasmilter_filter_mime_parts(&parts, &error))
    return wm_reject("5.6.0", "a message of this structure is not accepted here");
  for (size_t i = 0; i < parts.len; i++) {
    if (!parts.ptr[i].file_name.is_some) continue;
    wm_str name = parts.ptr[i].file_name.val;
    for (size_t j = 0; j < sizeof REFUSED / sizeof *REFUSED; j++)
      if (wm_file_ends(name, REFUSED[j]))
        return wm_reject("5.7.1", "attachment %.*s is not accepted here", WM(name));
  }
  return wm_next();
}
