/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "dev/serial.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdlib.h>

#include "dev/sink.h"

#define LINE     256
#define IER_BITS 0x0f
#define MCR_BITS 0x1f

struct sm_serial {
	pthread_mutex_t lock; /* guards all that follows */
	struct sm_sink sink;
	uint8_t ier, lcr, mcr, scr;
	uint8_t dll, dlm; /* the divisor; any speed is fine */
	uint8_t line[LINE];
	size_t len;
};

static void flush(struct sm_serial *s)
{
	if (s->len)
		sm_sink_write(&s->sink, s->line, s->len);
	s->len = 0;
}

static void put(struct sm_serial *s, uint8_t byte)
{
	if (s->mcr & UART_MCR_LOOP)
		return; /* would come back as input, of which there is none */
	s->line[s->len++] = byte;
	if (byte == '\n' || s->len == LINE)
		flush(s);
}

/* The other end is always there and ready; in a loop the outputs are what the inputs show. */
static uint8_t modem_status(const struct sm_serial *s)
{
	uint8_t msr = 0;

	if (!(s->mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	if (s->mcr & UART_MCR_RTS)
		msr |= UART_MSR_CTS;
	if (s->mcr & UART_MCR_DTR)
		msr |= UART_MSR_DSR;
	if (s->mcr & UART_MCR_OUT1)
		msr |= UART_MSR_RI;
	if (s->mcr & UART_MCR_OUT2)
		msr |= UART_MSR_DCD;
	return msr;
}

static uint8_t get_register(const struct sm_serial *s, uint16_t reg)
{
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_RX:
		return dlab ? s->dll : 0;
	case UART_IER:
		return dlab ? s->dlm : s->ier;
	case UART_IIR: /* no FIFO bits either, which makes it a 16450 */
		return UART_IIR_NO_INT;
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return UART_LSR_TEMT | UART_LSR_THRE;
	case UART_MSR:
		return modem_status(s);
	case UART_SCR:
		return s->scr;
	default:
		return 0xff;
	}
}

static void set_register(struct sm_serial *s, uint16_t reg, uint8_t v)
{
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (dlab)
			s->dll = v;
		else
			put(s, v);
		break;
	case UART_IER:
		if (dlab)
			s->dlm = v;
		else
			s->ier = v & IER_BITS;
		break;
	case UART_LCR:
		s->lcr = v;
		break;
	case UART_MCR:
		s->mcr = v & MCR_BITS;
		break;
	case UART_SCR:
		s->scr = v;
		break;
	default: /* FIFO control, which a 16450 has not, and those that are only read */
		break;
	}
}

void sm_serial_io(struct sm_serial *s, uint16_t port_off, uint8_t *data, bool write)
{
	/* #syscalls:vcpu futex */
	pthread_mutex_lock(&s->lock);
	if (write)
		set_register(s, port_off, *data);
	else
		*data = get_register(s, port_off);
	pthread_mutex_unlock(&s->lock);
}

int sm_serial_new(int fd, struct sm_serial **out)
{
	struct sm_serial *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	r = sm_sink_open(&s->sink, fd);
	if (r < 0) {
		free(s);
		return r;
	}
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

void sm_serial_free(struct sm_serial *s)
{
	if (!s)
		return;
	flush(s);
	sm_sink_close(&s->sink);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
