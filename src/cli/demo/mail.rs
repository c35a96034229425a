//! The messages of the demonstration.

/// One message to one recipient.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) sender: &'static str,
    pub(super) recipient: &'static str,
    /// With CRLF.
    pub(super) message: String,
}

impl Mail {
    /// An ordinary message.
    pub(super) fn clean(sender: &'static str, recipient: &'static str) -> Mail {
        let message = format!(
            "From: {sender}\r\nTo: {recipient}\r\nSubject: Lunch on Thursday?\r\n\r\n\
             The usual place, at noon.\r\n.\r\nThe line above holds a single dot.\r\n"
        );
        Mail { sender, recipient, message }
    }

    /// A message with a program attached, under a name that is meant to be overlooked.
    pub(super) fn with_a_program(sender: &'static str, recipient: &'static str) -> Mail {
        let message = format!(
            "From: {sender}\r\nTo: {recipient}\r\nSubject: Your invoice\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=demo\r\n\r\n\
             --demo\r\nContent-Type: text/plain\r\n\r\nPlease pay at once.\r\n\
             --demo\r\nContent-Type: application/pdf\r\n\
             Content-Disposition: attachment; filename*=utf-8''invoice.pdf%2Eexe\r\n\
             Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA//8AALgAAAAAAAAA\r\n--demo--\r\n"
        );
        Mail { sender, recipient, message }
    }
}
