/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "dev/serial.h"

struct port {
	struct sm_serial *s;
	int out;
};

static void port_init(struct port *p)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(fcntl(sv[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(sm_serial_new(sv[1], &p->s), 0);
	p->out = sv[0];
}

static void port_fini(struct port *p)
{
	sm_serial_free(p->s);
	close(p->out);
}

static void out(struct port *p, uint16_t reg, uint8_t v)
{
	sm_serial_io(p->s, reg, &v, true);
}

static uint8_t in(struct port *p, uint16_t reg)
{
	uint8_t v = 0xee;

	sm_serial_io(p->s, reg, &v, false);
	return v;
}

static void print(struct port *p, const char *s)
{
	while (*s) {
		assert_int_equal(in(p, UART_LSR) & UART_LSR_THRE, UART_LSR_THRE);
		out(p, UART_TX, (uint8_t)*s++);
	}
}

static void expect_text(struct port *p, const char *s)
{
	char buf[1024] = "";
	ssize_t n = read(p->out, buf, sizeof(buf) - 1);

	assert_int_equal(n < 0 ? 0 : n, strlen(s));
	assert_string_equal(buf, s);
}

static void test_lines(void **state)
{
	struct port p;

	port_init(&p);
	print(&p, "Linux version\nsecond");
	expect_text(&p, "Linux version\n");
	print(&p, " line\n");
	expect_text(&p, "second line\n");
	print(&p, "unfinished");
	expect_text(&p, "");
	sm_serial_free(p.s);
	expect_text(&p, "unfinished");
	close(p.out);
}

static void test_long_line(void **state)
{
	char line[601], buf[1024];
	struct port p;

	port_init(&p);
	memset(line, 'x', 600);
	line[600] = '\0';
	print(&p, line);
	assert_int_equal(read(p.out, buf, sizeof(buf)), 512); /* two buffers full */
	port_fini(&p);
}

/* What Linux's 8250 driver does to find out what it has before it. */
static void test_autoconfig(void **state)
{
	struct port p;

	port_init(&p);
	out(&p, UART_IER, 0);
	assert_int_equal(in(&p, UART_IER) & 0x0f, 0);
	out(&p, UART_IER, 0xff);
	assert_int_equal(in(&p, UART_IER), 0x0f);
	out(&p, UART_IER, 0);
	out(&p, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	assert_int_equal(in(&p, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out(&p, UART_TX, 'x');
	out(&p, UART_TX, '\n');
	out(&p, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1 | UART_MCR_DTR);
	assert_int_equal(in(&p, UART_MSR) & 0xf0, UART_MSR_RI | UART_MSR_DSR);
	out(&p, UART_MCR, 0);
	expect_text(&p, ""); /* it stayed in the loop */
	assert_int_equal(in(&p, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	out(&p, UART_LCR, UART_LCR_CONF_MODE_B);
	out(&p, UART_EFR, 0);
	out(&p, UART_LCR, 0);
	out(&p, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(in(&p, UART_IIR), UART_IIR_NO_INT); /* no FIFO: 8250 or 16450 */
	out(&p, UART_SCR, 0xa5);
	assert_int_equal(in(&p, UART_SCR), 0xa5);
	out(&p, UART_SCR, 0x5a);
	assert_int_equal(in(&p, UART_SCR), 0x5a); /* with scratch: 16450 */
	port_fini(&p);
}

static void test_divisor(void **state)
{
	struct port p;

	port_init(&p);
	out(&p, UART_IER, 5);
	out(&p, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	assert_int_equal(in(&p, UART_LCR), UART_LCR_DLAB | UART_LCR_WLEN8);
	out(&p, UART_DLL, '\n'); /* is no output */
	out(&p, UART_DLM, 0xff);
	assert_int_equal(in(&p, UART_DLL), '\n');
	assert_int_equal(in(&p, UART_DLM), 0xff);
	out(&p, UART_LCR, UART_LCR_WLEN8);
	assert_int_equal(in(&p, UART_IER), 5);
	assert_int_equal(in(&p, UART_RX), 0);
	expect_text(&p, "");
	port_fini(&p);
}

static void test_only_readable_and_beyond(void **state)
{
	struct port p;

	port_init(&p);
	out(&p, UART_LSR, 0);
	out(&p, UART_MSR, 0);
	assert_int_equal(in(&p, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
	out(&p, SM_SERIAL_PORTS_NUM, 1);
	out(&p, UINT16_MAX, 1);
	assert_int_equal(in(&p, SM_SERIAL_PORTS_NUM), 0xff);
	assert_int_equal(in(&p, UINT16_MAX), 0xff);
	port_fini(&p);
}

static void test_full_socket_loses(void **state)
{
	static char buf[1 << 20];
	struct port p;
	ssize_t n;

	port_init(&p);
	for (int i = 0; i < 1 << 20; i++)
		out(&p, UART_TX, 'x');
	n = read(p.out, buf, sizeof(buf));
	assert_in_range(n, 256, sizeof(buf) - 1);
	port_fini(&p);
}

static void *writer(void *arg)
{
	struct port *p = arg;
	uint8_t v;

	for (int i = 0; i < 2000; i++) {
		v = i % 10 == 9 ? '\n' : 'w';
		sm_serial_io(p->s, UART_TX, &v, true);
		sm_serial_io(p->s, UART_LSR, &v, false);
	}
	return NULL;
}

static void test_many_vcpus(void **state)
{
	static char buf[16384];
	pthread_t t[4];
	struct port p;
	ssize_t n;
	size_t sum = 0;

	port_init(&p);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, writer, &p), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		while ((n = read(p.out, buf, sizeof(buf))) > 0)
			sum += (size_t)n;
	}
	assert_in_range(sum, 1, 8000);
	port_fini(&p);
}

static void test_bad_descriptor(void **state)
{
	struct sm_serial *s;

	assert_int_equal(sm_serial_new(-1, &s), -EBADF);
	sm_serial_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_autoconfig),
		cmocka_unit_test(test_divisor),
		cmocka_unit_test(test_only_readable_and_beyond),
		cmocka_unit_test(test_full_socket_loses),
		cmocka_unit_test(test_many_vcpus),
		cmocka_unit_test(test_bad_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
