//! Floor 6: the SMTP client towards the mail server behind us.
