//! Floor 4: the sans-IO state machine of one SMTP session.
