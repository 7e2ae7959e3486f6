# SPDX-License-Identifier: Apache-2.0
"""unread.py FIFO: writes 2,000 times 200 bytes to the FIFO, each when its reader has taken the last: it has room for
one page, and no write is added to another's (O_DIRECT, pipe(7)).
"""
import fcntl, os, sys

F_SETPIPE_SZ = 1031
fifo = os.open(sys.argv[1], os.O_WRONLY)
fcntl.fcntl(fifo, F_SETPIPE_SZ, 4096)
fcntl.fcntl(fifo, fcntl.F_SETFL, os.O_DIRECT)
for _ in range(2000):
    os.write(fifo, b"x" * 200)
