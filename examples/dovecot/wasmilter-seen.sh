#!/bin/sh
# Tells wasmilter that somebody has just logged in to Dovecot, so that devices at that address may send mail for a while
# without a login of their own (SMTP after IMAP or POP). The listener of the gateway has `after-login = true`.
#
# In dovecot.conf (Dovecot 2.3), for IMAP; for POP3 the same with `pop3`:
#
#   service imap {
#     executable = imap wasmilter-seen
#   }
#   service wasmilter-seen {
#     executable = script-login /usr/local/lib/wasmilter/wasmilter-seen.sh
#     user = $default_internal_user
#     unix_listener wasmilter-seen {
#     }
#   }
#
# Dovecot gives the client's address in IP and its own in LOCAL_IP, and nothing else of its environment.
#
# In wasmilter.toml, so that Dovecot may say it and other users of the machine may not:
#
#   [admin]
#   address = "127.0.0.1:9925"
#   socket = "/run/wasmilter/admin.sock"
#   socket-group = "dovecot"
#
# The group is that of $default_internal_user. The gateway's user has to be in it to give the socket away: under systemd, a
# drop-in with SupplementaryGroups=dovecot.

# The program, the socket of [admin], and how long a login counts.
PROGRAM=/usr/bin/wasmilter
ADMIN=/run/wasmilter/admin.sock
TIME=30min

# A login from the machine itself is a webmail's, and says nothing about where a person is.
if [ -n "$IP" ] && [ "$IP" != "$LOCAL_IP" ]; then
    # Nobody's mail waits for it for long, and nobody's login fails because of it.
    timeout 3 "$PROGRAM" seen "$IP" --for "$TIME" --admin "$ADMIN" </dev/null >/dev/null 2>&1
fi
exec "$@"
