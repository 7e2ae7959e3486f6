/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses are compared in IPv6's 16 bytes, an IPv4 one as its mapped form: so a rule
 * for 10.0.0.0/8 is one for ::ffff:10.0.0.0/104, and there is no second spelling of an address to
 * get around it.
 */
#include "config.h"

#include "vsock/tsi_policy.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean.h"

#define RULES_MAX   1024u
#define LISTS_MAX   2
#define WORD_MAX    80
#define MAPPED_BITS 96u

struct rule {
	bool allow;
	bool any;       /* address */
	uint8_t protos; /* bits */
	uint8_t addr[16];
	unsigned int bits; /* of addr that count */
	uint16_t first, last;
};

struct port {
	uint16_t outer, inner;
	uint8_t protos;
};

struct list {
	bool allow; /* what no rule speaks of */
	size_t end; /* of its rules, which begin where those of the list before it end */
};

struct sm_tsi_policy {
	struct list lists[LISTS_MAX];
	struct rule *rules;
	struct port *ports;
	size_t nlists, nrules, nports;
	bool allows_all;
};

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static const char *const proto_names[] = {
	[SM_TSI_TCP] = "tcp",
	[SM_TSI_UDP] = "udp",
	[SM_TSI_ICMP] = "icmp",
};
_Static_assert(SM_ARRAY_SIZE(proto_names) == SM_TSI_PROTO_NUM, "a name for each");

/* ---- reading ---- */

static bool get_number(const char **at, unsigned int max, unsigned int *v)
{
	const char *p = *at;

	if (!isdigit((unsigned char)*p))
		return false;
	for (*v = 0; isdigit((unsigned char)*p); p++) {
		*v = *v * 10 + (unsigned int)(*p - '0');
		if (*v > max)
			return false;
	}
	*at = p;
	return true;
}

static bool get_proto(const char *name, uint8_t *protos)
{
	for (unsigned int i = 0; i < SM_TSI_PROTO_NUM; i++) {
		if (strcmp(name, proto_names[i]) == 0) {
			*protos = (uint8_t)(1u << i);
			return true;
		}
	}
	return false;
}

/* "10.0.0.0", "fd00::", with a length perhaps */
static bool get_net(char *text, struct rule *r)
{
	char *slash = strchr(text, '/');
	const char *len = slash ? slash + 1 : NULL;
	unsigned int bits;
	bool v4;

	if (slash)
		*slash = '\0';
	v4 = inet_pton(AF_INET, text, r->addr + 12) == 1;
	if (v4)
		memcpy(r->addr, mapped, sizeof(mapped));
	else if (inet_pton(AF_INET6, text, r->addr) != 1)
		return false;
	bits = v4 ? 32 : 128;
	if (len && (!get_number(&len, bits, &bits) || *len))
		return false;
	r->bits = v4 ? MAPPED_BITS + bits : bits;
	return true;
}

static bool get_ports(const char *text, struct rule *r)
{
	unsigned int first, last;

	if (!get_number(&text, UINT16_MAX, &first))
		return false;
	last = first;
	if (*text == '-') {
		text++;
		if (!get_number(&text, UINT16_MAX, &last))
			return false;
	}
	r->first = (uint16_t)first;
	r->last = (uint16_t)last;
	return !*text && first <= last;
}

/* Where the ports begin: behind the one colon of an IPv4 address, behind the brackets of another.
 */
static bool get_target(char *text, struct rule *r)
{
	char *ports = NULL, *end;

	r->last = UINT16_MAX;
	if (*text == '[') {
		end = strchr(text, ']');
		if (!end)
			return false;
		ports = strchr(end, ':');
		if (ports)
			*ports++ = '\0';
		/* "[fd00::]/8" and "[fd00::/8]" */
		memmove(end, end + 1, strlen(end));
		text++;
	} else if (strchr(text, ':') == strrchr(text, ':')) {
		ports = strchr(text, ':');
		if (ports)
			*ports++ = '\0';
	}
	if (ports && !get_ports(ports, r))
		return false;
	r->any = strcmp(text, "any") == 0;
	return r->any || get_net(text, r);
}

static int bad(struct sm_err *err, const char *what, const char *text, const char *rule)
{
	return sm_err_set(err, -EINVAL, "%s \"%.100s\": %s", what, text, rule);
}

static int add_rule(struct sm_tsi_policy *p, const char *text, struct sm_err *err)
{
	struct list *l = &p->lists[p->nlists - 1];
	char verb[WORD_MAX], target[WORD_MAX], proto[WORD_MAX] = "", more[2];
	int n = sscanf(text, "%79s %79s %79s %1s", verb, target, proto, more);
	struct rule r = { .protos = (1u << SM_TSI_PROTO_NUM) - 1,
			  .allow = strcmp(verb, "allow") == 0 };
	bool is_default = n >= 1 && strcmp(verb, "default") == 0;

	if (n < 2 || n > 3 || (!is_default && !r.allow && strcmp(verb, "deny") != 0) ||
	    (is_default && n != 2))
		return bad(err, "rule", text,
			   "must be \"allow|deny CIDR[:PORT[-PORT]] [tcp|udp|icmp]\" or "
			   "\"default allow|deny\"");
	if (is_default) {
		l->allow = strcmp(target, "allow") == 0;
		p->allows_all &= l->allow;
		return l->allow || strcmp(target, "deny") == 0
			       ? 0
			       : bad(err, "rule", text, "the default must be allow or deny");
	}
	p->allows_all = false;
	if (!get_target(target, &r))
		return bad(err, "rule", text,
			   "no address such as 10.0.0.0/8:80-90 or [fd00::]/8:80");
	if (*proto && !get_proto(proto, &r.protos))
		return bad(err, "rule", text, "the protocol must be tcp, udp or icmp");
	if (p->nrules == RULES_MAX)
		return sm_err_set(err, -E2BIG, "network policy: more than %u rules", RULES_MAX);
	p->rules[p->nrules++] = r;
	return 0;
}

static int add_port(struct sm_tsi_policy *p, const char *text, struct sm_err *err)
{
	struct port m = { .protos = 1u << SM_TSI_TCP | 1u << SM_TSI_UDP };
	unsigned int outer, inner;
	const char *at = text;

	if (!get_number(&at, UINT16_MAX, &outer) || *at++ != ':' ||
	    !get_number(&at, UINT16_MAX, &inner) || !outer || !inner ||
	    (*at == '/' ? !get_proto(at + 1, &m.protos) : *at != '\0') ||
	    m.protos == 1u << SM_TSI_ICMP)
		return bad(err, "port", text, "must be HOST:GUEST or HOST:GUEST/tcp|udp");
	m.outer = (uint16_t)outer;
	m.inner = (uint16_t)inner;
	for (size_t i = 0; i < p->nports; i++) {
		const struct port *o = &p->ports[i];

		if ((o->protos & m.protos) && (o->outer == m.outer || o->inner == m.inner))
			return bad(err, "port", text, "stands in the map already");
	}
	p->ports[p->nports++] = m;
	return 0;
}

/* Calls add for each item of a list. */
static int each(struct sm_tsi_policy *p, const char *list,
		int (*add)(struct sm_tsi_policy *p, const char *text, struct sm_err *err),
		struct sm_err *err)
{
	sm_auto_free char *copy = strdup(list ? list : "");
	char *item, *at = copy;
	size_t n = 0;

	if (!copy)
		return sm_err_sys(err, -ENOMEM, "network policy");
	while ((item = strsep(&at, ",\n"))) {
		int r;

		item += strspn(item, " \t");
		for (char *end = item + strlen(item);
		     end > item && isspace((unsigned char)end[-1]);)
			*--end = '\0';
		if (!*item)
			continue;
		if (n++ == RULES_MAX)
			return sm_err_set(err, -E2BIG, "network policy: more than %u items",
					  RULES_MAX);
		r = add(p, item, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Lists of rules, between semicolons. */
static int add_lists(struct sm_tsi_policy *p, const char *lists, struct sm_err *err)
{
	sm_auto_free char *copy = strdup(lists ? lists : "");
	char *list, *at = copy;

	if (!copy)
		return sm_err_sys(err, -ENOMEM, "network policy");
	while ((list = strsep(&at, ";"))) {
		int r;

		if (p->nlists == LISTS_MAX)
			return bad(err, "network policy", lists, "more than two lists");
		p->lists[p->nlists++].allow = true;
		r = each(p, list, add_rule, err);
		if (r < 0)
			return r;
		p->lists[p->nlists - 1].end = p->nrules;
	}
	return 0;
}

int sm_tsi_policy_new(const char *rules, const char *ports, struct sm_tsi_policy **policy,
		      struct sm_err *err)
{
	struct sm_tsi_policy *p = calloc(1, sizeof(*p));
	int r = -ENOMEM;

	if (p) {
		p->allows_all = true;
		p->rules = sm_calloc_sparse(RULES_MAX * sizeof(*p->rules));
		p->ports = sm_calloc_sparse(RULES_MAX * sizeof(*p->ports));
	}
	if (!p || !p->rules || !p->ports)
		sm_err_sys(err, -ENOMEM, "network policy");
	else
		r = add_lists(p, rules, err);
	if (r == 0)
		r = each(p, ports, add_port, err);
	if (r < 0)
		sm_tsi_policy_free(p);
	else
		*policy = p;
	return r;
}

void sm_tsi_policy_free(struct sm_tsi_policy *p)
{
	if (!p)
		return;
	free(p->rules);
	free(p->ports);
	free(p);
}

/* ---- deciding ---- */

static bool in_net(const struct rule *r, const uint8_t addr[16])
{
	unsigned int bytes = r->bits / 8, rest = r->bits % 8;
	bool v4 = memcmp(addr, mapped, sizeof(mapped)) == 0;

	if (r->any)
		return true;
	/* What is short enough to hold all of IPv4 speaks of IPv6 alone. */
	if (v4 && r->bits < MAPPED_BITS)
		return false;
	return memcmp(r->addr, addr, bytes) == 0 &&
	       (!rest || ((r->addr[bytes] ^ addr[bytes]) >> (8 - rest)) == 0);
}

static bool matches(const struct rule *r, enum sm_tsi_proto proto, const uint8_t addr[16],
		    uint16_t port)
{
	bool all_ports = r->first == 0 && r->last == UINT16_MAX;

	if (!(r->protos & 1u << proto) || !in_net(r, addr))
		return false;
	return all_ports || (proto != SM_TSI_ICMP && port >= r->first && port <= r->last);
}

void sm_tsi_policy_settle(const struct sm_tsi_policy *p, struct sockaddr *addr)
{
	struct sockaddr_in *in = (struct sockaddr_in *)addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)addr;
	static const uint8_t mapped_any[16] = { [10] = 0xff, [11] = 0xff };

	if (p->allows_all)
		return;
	if (addr->sa_family == AF_INET && in->sin_addr.s_addr == htonl(INADDR_ANY))
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (addr->sa_family != AF_INET6)
		return;
	if (memcmp(&in6->sin6_addr, mapped_any, sizeof(mapped_any)) == 0)
		inet_pton(AF_INET6, "::ffff:127.0.0.1", &in6->sin6_addr);
	else if (IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
		in6->sin6_addr = in6addr_loopback;
}

static bool list_allows(const struct sm_tsi_policy *p, size_t list, size_t begin,
			enum sm_tsi_proto proto, const uint8_t addr[16], uint16_t port)
{
	for (size_t i = begin; i < p->lists[list].end; i++)
		if (matches(&p->rules[i], proto, addr, port))
			return p->rules[i].allow;
	return p->lists[list].allow;
}

static void get_bytes(const struct sockaddr *addr, uint8_t bytes[16])
{
	if (addr->sa_family == AF_INET6) {
		memcpy(bytes, &((const struct sockaddr_in6 *)addr)->sin6_addr, 16);
		return;
	}
	memcpy(bytes, mapped, sizeof(mapped));
	memcpy(bytes + sizeof(mapped), &((const struct sockaddr_in *)addr)->sin_addr, 4);
}

bool sm_tsi_is_loopback(const struct sockaddr *addr)
{
	uint8_t bytes[16];

	get_bytes(addr, bytes);
	if (memcmp(bytes, mapped, sizeof(mapped)) == 0)
		return bytes[12] == IN_LOOPBACKNET;
	return memcmp(bytes, &in6addr_loopback, sizeof(bytes)) == 0;
}

bool sm_tsi_policy_maps(const struct sm_tsi_policy *p)
{
	return p->nports;
}

bool sm_tsi_policy_allows(const struct sm_tsi_policy *p, enum sm_tsi_proto proto,
			  const struct sockaddr *addr)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
	uint8_t bytes[16];

	get_bytes(addr, bytes);
	for (size_t i = 0, begin = 0; i < p->nlists; begin = p->lists[i++].end)
		if (!list_allows(p, i, begin, proto, bytes, ntohs(in->sin_port)))
			return false;
	return true;
}

uint16_t sm_tsi_policy_outer(const struct sm_tsi_policy *p, enum sm_tsi_proto proto, uint16_t port)
{
	for (size_t i = 0; i < p->nports; i++)
		if ((p->ports[i].protos & 1u << proto) && p->ports[i].inner == port)
			return p->ports[i].outer;
	return port;
}

uint16_t sm_tsi_policy_inner(const struct sm_tsi_policy *p, enum sm_tsi_proto proto, uint16_t port)
{
	for (size_t i = 0; i < p->nports; i++)
		if ((p->ports[i].protos & 1u << proto) && p->ports[i].outer == port)
			return p->ports[i].inner;
	return port;
}

const char *sm_tsi_proto_name(enum sm_tsi_proto proto)
{
	return proto_names[proto];
}
