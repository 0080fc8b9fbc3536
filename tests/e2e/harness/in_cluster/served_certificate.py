"""Prints the certificate that a PostgreSQL or a PgBouncer shows to a new client, as PEM.

Nothing is verified here, so that one that is wrong is seen rather than refused; and nobody logs in: a certificate is shown before that.

Arguments: host, port.
"""

import socket
import ssl
import struct
import sys

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""PostgreSQL manual, "Message Formats"."""
SECONDS = 5.0

context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=SECONDS) as plain:
    plain.sendall(SSL_REQUEST)
    assert plain.recv(1) == b"S", "it speaks no TLS"
    with context.wrap_socket(plain) as secure:
        print(ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True)), end="")
