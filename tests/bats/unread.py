# SPDX-License-Identifier: Apache-2.0
"""unread.py FIFO: writes 200 bytes to the FIFO each time its reader has taken all, until it takes no more for
2 s. Prints how often.
"""
import array, fcntl, os, sys, termios, time

fifo = os.open(sys.argv[1], os.O_WRONLY)
left = array.array("i", [0])
writes = 0
taken = time.monotonic()
while time.monotonic() - taken < 2:
    fcntl.ioctl(fifo, termios.FIONREAD, left)
    if left[0] == 0:
        writes += 1
        os.write(fifo, b"x" * 200)
        taken = time.monotonic()
    os.sched_yield()
print(writes)
