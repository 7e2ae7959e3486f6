/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clean.h"
#include "vsock/tsi_policy.h"

static void address(const char *text, uint16_t port, struct sockaddr_in6 *a)
{
	struct sockaddr_in *in = (struct sockaddr_in *)a;

	memset(a, 0, sizeof(*a));
	a->sin6_family = strchr(text, ':') ? AF_INET6 : AF_INET;
	a->sin6_port = htons(port);
	assert_int_equal(inet_pton(a->sin6_family, text,
				   a->sin6_family == AF_INET ? (void *)&in->sin_addr
							     : (void *)&a->sin6_addr),
			 1);
}

static void test_decisions(void **state)
{
	static const char metadata[] = "deny 169.254.0.0/16, deny fe80::/10, deny 127.0.0.0/8, "
				       "deny ::1";
	static const struct {
		const char *rules, *addr;
		uint16_t port;
		enum sm_tsi_proto proto;
		bool allowed;
	} cases[] = {
		{ "", "1.2.3.4", 80, SM_TSI_TCP, true },
		{ "default deny", "1.2.3.4", 80, SM_TSI_TCP, false },
		{ "default deny, allow 10.0.0.0/8", "10.255.0.1", 1, SM_TSI_UDP, true },
		{ "default deny, allow 10.0.0.0/8", "11.0.0.0", 1, SM_TSI_UDP, false },
		{ "allow 10.0.0.0/8\ndefault deny", "10.0.0.0", 1, SM_TSI_ICMP, true },
		/* the first one decides */
		{ "allow 10.1.0.0/16, deny 10.0.0.0/8", "10.1.2.3", 1, SM_TSI_TCP, true },
		{ "deny 10.0.0.0/8, allow 10.1.0.0/16", "10.1.2.3", 1, SM_TSI_TCP, false },
		/* lengths that are no multiple of eight */
		{ "deny 10.16.0.0/12", "10.31.255.255", 1, SM_TSI_TCP, false },
		{ "deny 10.16.0.0/12", "10.32.0.0", 1, SM_TSI_TCP, true },
		{ "deny 1.2.3.4", "1.2.3.4", 1, SM_TSI_TCP, false },
		{ "deny 1.2.3.4", "1.2.3.5", 1, SM_TSI_TCP, true },
		{ "deny 0.0.0.0/0", "9.9.9.9", 1, SM_TSI_TCP, false },
		{ "deny 0.0.0.0/0", "2001:db8::1", 1, SM_TSI_TCP, true },
		{ "deny ::/0", "2001:db8::1", 1, SM_TSI_TCP, false },
		{ "deny ::/0", "9.9.9.9", 1, SM_TSI_TCP, true },
		{ "deny any", "9.9.9.9", 1, SM_TSI_TCP, false },
		{ "deny any", "2001:db8::1", 1, SM_TSI_TCP, false },
		{ "deny fd00::/9", "fd7f::1", 1, SM_TSI_TCP, false },
		{ "deny fd00::/9", "fd80::1", 1, SM_TSI_TCP, true },
		/* ports and protocols */
		{ "deny any:25 tcp", "1.1.1.1", 25, SM_TSI_TCP, false },
		{ "deny any:25 tcp", "1.1.1.1", 26, SM_TSI_TCP, true },
		{ "deny any:25 tcp", "1.1.1.1", 25, SM_TSI_UDP, true },
		{ "deny 1.0.0.0/8:100-200", "1.1.1.1", 100, SM_TSI_UDP, false },
		{ "deny 1.0.0.0/8:100-200", "1.1.1.1", 200, SM_TSI_TCP, false },
		{ "deny 1.0.0.0/8:100-200", "1.1.1.1", 201, SM_TSI_TCP, true },
		{ "deny 1.0.0.0/8:100-200", "1.1.1.1", 100, SM_TSI_ICMP, true },
		{ "deny [fd00::]/8:53 udp", "fd00::1", 53, SM_TSI_UDP, false },
		{ "deny [fd00::/8]:53", "fd00::1", 53, SM_TSI_TCP, false },
		{ "deny [fd00::1]:53", "fd00::2", 53, SM_TSI_TCP, true },
		{ "deny any icmp", "1.1.1.1", 0, SM_TSI_ICMP, false },
		{ "deny any icmp", "1.1.1.1", 80, SM_TSI_TCP, true },
		/* two lists */
		{ "deny 10.0.0.0/8; allow 10.0.0.0/8, default deny", "10.1.1.1", 1, SM_TSI_TCP,
		  false },
		{ "deny 10.0.0.0/8; allow 11.0.0.0/8, default deny", "11.1.1.1", 1, SM_TSI_TCP,
		  true },
		{ "deny 10.0.0.0/8; allow 11.0.0.0/8, default deny", "12.1.1.1", 1, SM_TSI_TCP,
		  false },
		{ "default deny; default allow", "12.1.1.1", 1, SM_TSI_TCP, false },
		{ ";deny any", "12.1.1.1", 1, SM_TSI_TCP, false },
		/* other spellings of an address */
		{ metadata, "169.254.169.254", 80, SM_TSI_TCP, false },
		{ metadata, "::ffff:169.254.169.254", 80, SM_TSI_TCP, false },
		{ metadata, "::ffff:127.0.0.1", 80, SM_TSI_TCP, false },
		{ metadata, "0.0.0.0", 80, SM_TSI_TCP, false },
		{ metadata, "::", 80, SM_TSI_UDP, false },
		{ metadata, "::ffff:0.0.0.0", 80, SM_TSI_TCP, false },
		{ metadata, "fe80::1", 80, SM_TSI_TCP, false },
		{ metadata, "::ffff:1.2.3.4", 80, SM_TSI_TCP, true },
		{ "deny ::ffff:10.0.0.0/104", "10.1.1.1", 80, SM_TSI_TCP, false },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(cases); i++) {
		struct sm_tsi_policy *p;
		struct sockaddr_in6 a;

		assert_int_equal(sm_tsi_policy_new(cases[i].rules, NULL, &p, NULL), 0);
		address(cases[i].addr, cases[i].port, &a);
		sm_tsi_policy_settle(p, (struct sockaddr *)&a);
		if (sm_tsi_policy_allows(p, cases[i].proto, (struct sockaddr *)&a) !=
		    cases[i].allowed)
			fail_msg("%s: %s:%u", cases[i].rules, cases[i].addr, cases[i].port);
		sm_tsi_policy_free(p);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *rules, *ports, *text;
	} cases[] = {
		{ "permit 10.0.0.0/8", NULL,
		  "rule \"permit 10.0.0.0/8\": must be \"allow|deny CIDR[:PORT[-PORT]] "
		  "[tcp|udp|icmp]\" or \"default allow|deny\"" },
		{ "deny", NULL, NULL },
		{ "deny 10.0.0.0/8 tcp udp", NULL, NULL },
		{ "default maybe", NULL,
		  "rule \"default maybe\": the default must be allow or deny" },
		{ "default deny tcp", NULL, NULL },
		{ "deny any; deny any; deny any", NULL, NULL },
		{ "deny 10.0.0.0/33", NULL,
		  "rule \"deny 10.0.0.0/33\": no address such as 10.0.0.0/8:80-90 or "
		  "[fd00::]/8:80" },
		{ "deny fd00::/129", NULL, NULL },
		{ "deny 10.0.0/8", NULL, NULL },
		{ "deny 10.0.0.0/", NULL, NULL },
		{ "deny 10.0.0.0/8x", NULL, NULL },
		{ "deny 10.0.0.0/8:", NULL, NULL },
		{ "deny 10.0.0.0/8:65536", NULL, NULL },
		{ "deny 10.0.0.0/8:9-8", NULL, NULL },
		{ "deny 10.0.0.0/8:1-2-3", NULL, NULL },
		{ "deny [fd00::/8", NULL, NULL },
		{ "deny example.org", NULL, NULL },
		{ "deny any sctp", NULL,
		  "rule \"deny any sctp\": the protocol must be tcp, udp or icmp" },
		{ NULL, "80", "port \"80\": must be HOST:GUEST or HOST:GUEST/tcp|udp" },
		{ NULL, "0:80", NULL },
		{ NULL, "80:0", NULL },
		{ NULL, "80:65536", NULL },
		{ NULL, "80:80/icmp", NULL },
		{ NULL, "80:80/", NULL },
		{ NULL, "80:8080, 80:8081", "port \"80:8081\": stands in the map already" },
		{ NULL, "80:8080/tcp, 81:8080", NULL },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(cases); i++) {
		sm_auto_err struct sm_err err = SM_ERR_INIT;
		struct sm_tsi_policy *p;

		if (sm_tsi_policy_new(cases[i].rules, cases[i].ports, &p, &err) != -EINVAL)
			fail_msg("case %zu", i);
		if (cases[i].text)
			assert_string_equal(sm_err_text(&err), cases[i].text);
	}
}

static void test_ports(void **state)
{
	struct sm_tsi_policy *p;

	assert_int_equal(sm_tsi_policy_new(NULL, "8080:80/tcp, 5353:53", &p, NULL), 0);
	assert_int_equal(sm_tsi_policy_outer(p, SM_TSI_TCP, 80), 8080);
	assert_int_equal(sm_tsi_policy_outer(p, SM_TSI_UDP, 80), 80);
	assert_int_equal(sm_tsi_policy_outer(p, SM_TSI_TCP, 53), 5353);
	assert_int_equal(sm_tsi_policy_outer(p, SM_TSI_UDP, 53), 5353);
	assert_int_equal(sm_tsi_policy_outer(p, SM_TSI_TCP, 8080), 8080);
	assert_int_equal(sm_tsi_policy_inner(p, SM_TSI_TCP, 8080), 80);
	assert_int_equal(sm_tsi_policy_inner(p, SM_TSI_UDP, 8080), 8080);
	sm_tsi_policy_free(p);
	/* With no rule at all addresses stay as they are. */
	assert_int_equal(sm_tsi_policy_new(NULL, NULL, &p, NULL), 0);
	struct sockaddr_in6 a, b;

	address("::", 1, &a);
	b = a;
	sm_tsi_policy_settle(p, (struct sockaddr *)&a);
	assert_memory_equal(&a, &b, sizeof(a));
	sm_tsi_policy_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decisions),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_ports),
	};

	return cmocka_run_group_tests_name("tsi policy", tests, NULL, NULL);
}
