"""Hands one message from standard input to an SMTP server in chunks (BDAT, RFC 3030), which smtplib does not do itself.

Arguments as in submit.py. In clear the whole transaction is sent at once, under TLS each command waits for its answer.
"""
import itertools
import smtplib
import ssl
import sys

host, port, way, source, sender, recipient, account, password = sys.argv[1:]
message = sys.stdin.buffer.read()
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
client = smtplib.SMTP(host, int(port), local_hostname="chunks.client.test", timeout=60, source_address=(source, 0))
if way == "starttls":
    client.starttls(context=context)
    client.login(account, password)
client.ehlo_or_helo_if_needed()
assert client.has_extn("chunking"), client.esmtp_features

commands = [b"MAIL FROM:<%s> BODY=8BITMIME SIZE=%d\r\n" % (sender.encode(), len(message))]
commands.append(b"RCPT TO:<%s>\r\n" % recipient.encode())
rest = message
for size in itertools.chain([0], itertools.cycle([1, 2, 3, 11, 1000, 100_000])):
    chunk, rest = rest[:size], rest[size:]
    commands.append(b"BDAT %d%s\r\n%s" % (len(chunk), b"" if rest else b" LAST", chunk))
    if not rest:
        break

replies = []
if way == "plain":
    client.sock.sendall(b"".join(commands))
    replies = [client.getreply() for _ in commands]
else:
    for command in commands:
        client.sock.sendall(command)
        replies.append(client.getreply())
client.quit()
for code, text in replies:
    if code != 250:
        print("refused", code, text.decode("utf-8", "replace"))
        sys.exit(1)
print("sent")
