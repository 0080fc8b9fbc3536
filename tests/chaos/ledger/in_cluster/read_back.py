"""Prints every row of a table as one member has it: `ID CHECKSUM` a line, the checksum made anew from the payload.

A row whose payload does not fit the checksum beside it is printed as `ID damaged`. The last line is `end ROWS`. Arguments: URI, table.
"""

import hashlib
import sys

import psycopg2

connection = psycopg2.connect(sys.argv[1], connect_timeout=5)
cursor = connection.cursor()
cursor.execute(f"select id, payload, checksum from {sys.argv[2]}")
rows = 0
for number, payload, checksum in cursor:
    made = hashlib.sha256(payload.encode()).hexdigest()[:16]
    sys.stdout.write(f"{number} {made if made == checksum else 'damaged'}\n")
    rows += 1
print(f"end {rows}")
