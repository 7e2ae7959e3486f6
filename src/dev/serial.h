/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_DEV_SERIAL_H
#define SM_DEV_SERIAL_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A 16450 UART without input and interrupts, at ports 0x3f8 to 0x3ff: what a kernel prints with
 * earlyprintk=ttyS0 or console=ttyS0, which polls. It is not a terminal for the guest's programs,
 * whose output would wait for interrupts.
 *
 * Output is lossy, as that of console.h, and leaves line by line.
 */
#define SM_SERIAL_PORT      0x3f8
#define SM_SERIAL_PORTS_NUM 8

struct sm_serial;

/* fd: a stream socket or pipe, the port's from now on (not on errors). 0 or -errno. */
int sm_serial_new(int fd, struct sm_serial **serial);
void sm_serial_free(struct sm_serial *serial); /* writes out an unfinished line; NULL allowed */

/* One access of one byte, port_off < SM_SERIAL_PORTS_NUM (what is beyond reads as 0xff). From any
 * thread; never blocks for longer than another one's access takes. */
void sm_serial_io(struct sm_serial *serial, uint16_t port_off, uint8_t *data, bool write);

#endif
