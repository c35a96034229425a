"""Hands one message from standard input to an SMTP server with Python's own client.

Arguments: host, port, plain|starttls|implicit, the address to connect from, sender, recipient, account, password.
Prints `sent`, or `refused CODE TEXT` and ends with 1.
"""
import smtplib
import ssl
import sys

host, port, way, source, sender, recipient, account, password = sys.argv[1:]
message = sys.stdin.buffer.read()
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
common = dict(local_hostname="python.client.test", timeout=60, source_address=(source, 0))
if way == "implicit":
    client = smtplib.SMTP_SSL(host, int(port), context=context, **common)
else:
    client = smtplib.SMTP(host, int(port), **common)
if way == "starttls":
    client.starttls(context=context)
if way != "plain":
    client.login(account, password)
options = ["BODY=8BITMIME"]
client.ehlo_or_helo_if_needed()
if not (sender + recipient).isascii():
    options.append("SMTPUTF8")
    client.command_encoding = "utf-8"
try:
    client.sendmail(sender, [recipient], message, mail_options=options)
    print("sent")
except smtplib.SMTPRecipientsRefused as refused:
    for code, text in refused.recipients.values():
        print("refused", code, text.decode("utf-8", "replace"))
    sys.exit(1)
except smtplib.SMTPResponseException as refused:
    print("refused", refused.smtp_code, refused.smtp_error.decode("utf-8", "replace"))
    sys.exit(1)
finally:
    client.quit()
