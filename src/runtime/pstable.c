/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/pstable.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clean.h"
#include "base/utf8.h"

#define SECOND_NS UINT64_C(1000000000)
#define DAY 86400u

typedef Supermachine__Agent__V1__ProcessInfo info;
typedef Supermachine__Agent__V1__ProcessesResponse list;

/* Prints a process's cell. */
typedef void cell_fn(FILE *out, const list *l, const info *p);

struct sm_ps_column {
	const char *name, *head;
	cell_fn *print;
	bool right;
};

/* ---- cells ---------------------------------------------------------------------------------- */

/* Terminals obey what the guest's processes call themselves, if they get to see it. */
static void put_text(FILE *out, const char *text)
{
	uint32_t c;

	while (*text) {
		size_t len = sm_utf8_decode(text, &c);

		if (!len || c < 0x20 || (c >= 0x7f && c < 0xa0))
			fputc('?', out);
		else
			fwrite(text, 1, len, out);
		text += len ? len : 1;
	}
}

#define NUMBER(field)                                                        \
	static void put_##field(FILE *out, const list *l, const info *p)     \
	{                                                                    \
		(void)l;                                                     \
		fprintf(out, "%" PRId64, (int64_t)p->field);                 \
	}

NUMBER(pid)
NUMBER(ppid)
NUMBER(pgid)
NUMBER(sid)
NUMBER(uid)
NUMBER(ruid)
NUMBER(gid)
NUMBER(rgid)
NUMBER(nice)
NUMBER(threads)
NUMBER(vsz_kib)
NUMBER(rss_kib)

static void put_comm(FILE *out, const list *l, const info *p)
{
	(void)l;
	put_text(out, p->comm);
	if (p->state == 'Z')
		fputs(" <defunct>", out);
}

static void put_args(FILE *out, const list *l, const info *p)
{
	(void)l;
	if (*p->args) {
		put_text(out, p->args);
		return;
	}
	fputc('[', out);
	put_text(out, p->comm);
	fputs(p->state == 'Z' ? "] <defunct>" : "]", out);
}

static void put_state(FILE *out, const list *l, const info *p)
{
	(void)l;
	fputc(p->state > ' ' && p->state < 0x7f ? (int)p->state : '?', out);
}

static void put_stat(FILE *out, const list *l, const info *p)
{
	put_state(out, l, p);
	if (p->nice)
		fputc(p->nice < 0 ? '<' : 'N', out);
	if (p->sid == p->pid)
		fputc('s', out);
	if (p->threads > 1)
		fputc('l', out);
	if (p->foreground)
		fputc('+', out);
}

static void put_pri(FILE *out, const list *l, const info *p)
{
	(void)l;
	fprintf(out, "%" PRId64, 39 - (int64_t)p->priority);
}

/* Device numbers as /proc/PID/stat has them; the names of those that containers can have. */
static void put_tty(FILE *out, const list *l, const info *p)
{
	unsigned int major = p->tty >> 8 & 0xfff;
	unsigned int minor = (p->tty & 0xff) | (p->tty >> 12 & 0xfff00);

	(void)l;
	if (major >= 136 && major <= 143)
		fprintf(out, "pts/%u", (major - 136) * 256 + minor);
	else if (major == 229)
		fprintf(out, "hvc%u", minor);
	else if (major == 5 && minor == 1)
		fputs("console", out);
	else
		fputc('?', out);
}

static uint64_t elapsed_ns(const list *l, const info *p)
{
	return l->boottime_ns > p->start_ns ? l->boottime_ns - p->start_ns : 0;
}

static void put_days(FILE *out, uint64_t seconds)
{
	if (seconds >= DAY)
		fprintf(out, "%" PRIu64 "-", seconds / DAY);
}

static void put_time(FILE *out, const list *l, const info *p)
{
	uint64_t s = p->cpu_ns / SECOND_NS;

	(void)l;
	put_days(out, s);
	fprintf(out, "%02u:%02u:%02u", (unsigned int)(s % DAY / 3600),
		(unsigned int)(s % 3600 / 60), (unsigned int)(s % 60));
}

static void put_bsdtime(FILE *out, const list *l, const info *p)
{
	uint64_t s = p->cpu_ns / SECOND_NS;

	(void)l;
	fprintf(out, "%" PRIu64 ":%02u", s / 60, (unsigned int)(s % 60));
}

static void put_etime(FILE *out, const list *l, const info *p)
{
	uint64_t s = elapsed_ns(l, p) / SECOND_NS;

	put_days(out, s);
	if (s >= 3600)
		fprintf(out, "%02u:", (unsigned int)(s % DAY / 3600));
	fprintf(out, "%02u:%02u", (unsigned int)(s % 3600 / 60), (unsigned int)(s % 60));
}

static void put_etimes(FILE *out, const list *l, const info *p)
{
	fprintf(out, "%" PRIu64, elapsed_ns(l, p) / SECOND_NS);
}

static void local_time(uint64_t ns, struct tm *tm)
{
	time_t t = (time_t)(ns / SECOND_NS);

	if (!localtime_r(&t, tm))
		*tm = (struct tm){ .tm_mday = 1 };
}

static uint64_t start_ns(const list *l, const info *p)
{
	uint64_t ago = elapsed_ns(l, p);

	return l->realtime_ns > ago ? l->realtime_ns - ago : 0;
}

static void put_stime(FILE *out, const list *l, const info *p)
{
	struct tm start, now;
	char text[64];

	local_time(start_ns(l, p), &start);
	local_time(l->realtime_ns, &now);
	if (start.tm_year != now.tm_year)
		strftime(text, sizeof(text), "%Y", &start);
	else if (start.tm_yday == now.tm_yday)
		strftime(text, sizeof(text), "%H:%M", &start);
	else
		strftime(text, sizeof(text), "%b%d", &start);
	fputs(text, out);
}

static void put_lstart(FILE *out, const list *l, const info *p)
{
	struct tm start;
	char text[64];

	local_time(start_ns(l, p), &start);
	strftime(text, sizeof(text), "%a %b %e %H:%M:%S %Y", &start);
	fputs(text, out);
}

/* In tenths of a percent. */
static uint64_t cpu_share(const list *l, const info *p)
{
	uint64_t ms = elapsed_ns(l, p) / 1000000;

	return ms ? p->cpu_ns / 1000 / ms : 0;
}

static void put_pcpu(FILE *out, const list *l, const info *p)
{
	uint64_t share = cpu_share(l, p);

	fprintf(out, "%" PRIu64 ".%u", share / 10, (unsigned int)(share % 10));
}

static void put_c(FILE *out, const list *l, const info *p)
{
	uint64_t share = cpu_share(l, p) / 10;

	fprintf(out, "%u", share > 99 ? 99 : (unsigned int)share);
}

static void put_pmem(FILE *out, const list *l, const info *p)
{
	uint64_t share = l->memory_kib ? p->rss_kib % (UINT64_MAX / 1000) * 1000 / l->memory_kib : 0;

	fprintf(out, "%" PRIu64 ".%u", share / 10, (unsigned int)(share % 10));
}

/* ---- columns -------------------------------------------------------------------------------- */

/* By ps(1)'s names. */
static const struct sm_ps_column columns[] = {
	{ "pid", "PID", put_pid, true },
	{ "ppid", "PPID", put_ppid, true },
	{ "pgid", "PGID", put_pgid, true },
	{ "pgrp", "PGRP", put_pgid, true },
	{ "sid", "SID", put_sid, true },
	{ "sess", "SESS", put_sid, true },
	{ "uid", "UID", put_uid, true },
	{ "euid", "EUID", put_uid, true },
	{ "ruid", "RUID", put_ruid, true },
	{ "user", "USER", put_uid, false },
	{ "euser", "EUSER", put_uid, false },
	{ "uname", "USER", put_uid, false },
	{ "ruser", "RUSER", put_ruid, false },
	{ "gid", "GID", put_gid, true },
	{ "egid", "EGID", put_gid, true },
	{ "rgid", "RGID", put_rgid, true },
	{ "group", "GROUP", put_gid, false },
	{ "egroup", "EGROUP", put_gid, false },
	{ "rgroup", "RGROUP", put_rgid, false },
	{ "comm", "COMMAND", put_comm, false },
	{ "ucmd", "CMD", put_comm, false },
	{ "ucomm", "COMMAND", put_comm, false },
	{ "args", "COMMAND", put_args, false },
	{ "cmd", "CMD", put_args, false },
	{ "command", "COMMAND", put_args, false },
	{ "time", "TIME", put_time, true },
	{ "cputime", "TIME", put_time, true },
	{ "bsdtime", "TIME", put_bsdtime, true },
	{ "etime", "ELAPSED", put_etime, true },
	{ "etimes", "ELAPSED", put_etimes, true },
	{ "stime", "STIME", put_stime, true },
	{ "start", "STARTED", put_stime, true },
	{ "start_time", "START", put_stime, false },
	{ "bsdstart", "START", put_stime, true },
	{ "lstart", "STARTED", put_lstart, true },
	{ "stat", "STAT", put_stat, false },
	{ "s", "S", put_state, false },
	{ "state", "S", put_state, false },
	{ "tty", "TTY", put_tty, false },
	{ "tt", "TT", put_tty, false },
	{ "tname", "TTY", put_tty, false },
	{ "rss", "RSS", put_rss_kib, true },
	{ "rssize", "RSS", put_rss_kib, true },
	{ "vsz", "VSZ", put_vsz_kib, true },
	{ "vsize", "VSZ", put_vsz_kib, true },
	{ "pcpu", "%CPU", put_pcpu, true },
	{ "%cpu", "%CPU", put_pcpu, true },
	{ "c", "C", put_c, true },
	{ "pmem", "%MEM", put_pmem, true },
	{ "%mem", "%MEM", put_pmem, true },
	{ "ni", "NI", put_nice, true },
	{ "nice", "NI", put_nice, true },
	{ "pri", "PRI", put_pri, true },
	{ "nlwp", "NLWP", put_threads, true },
	{ "thcount", "THCNT", put_threads, true },
};

static const struct sm_ps_column *find(const char *name)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(columns); i++)
		if (!strcmp(columns[i].name, name))
			return &columns[i];
	return NULL;
}

static int add(struct sm_ps_format *f, const char *name, const char *head, struct sm_err *err)
{
	const struct sm_ps_column *c = find(name);

	if (!c)
		return sm_err_set(err, -EINVAL,
				  "ps: no column \"%s\" here; there are pid, ppid, pgid, sid, uid, "
				  "user, gid, group, comm, args, time, etime, stime, lstart, stat, "
				  "tty, rss, vsz, pcpu, pmem, nice, pri, nlwp",
				  name);
	if (f->n == SM_PS_COLUMNS_MAX)
		return sm_err_set(err, -E2BIG, "ps: more than %d columns", SM_PS_COLUMNS_MAX);
	if (head) {
		f->head[f->n] = strdup(head);
		if (!f->head[f->n])
			return sm_err_sys(err, -ENOMEM, "ps");
	}
	f->column[f->n++] = c;
	return 0;
}

/* "pid,comm" or "pid comm"; "pid=HEADER" takes all that follows for the header. */
static int add_list(struct sm_ps_format *f, const char *text, struct sm_err *err)
{
	sm_auto_free char *copy = strdup(text);
	char *save = NULL, *head;
	int r = 0;

	if (!copy)
		return sm_err_sys(err, -ENOMEM, "ps");
	head = strchr(copy, '=');
	if (head)
		*head++ = '\0';
	for (char *w = strtok_r(copy, ", ", &save), *next; r == 0 && w; w = next) {
		next = strtok_r(NULL, ", ", &save);
		r = add(f, w, next ? NULL : head, err);
	}
	return r;
}

/* ---- options -------------------------------------------------------------------------------- */

struct parse {
	struct sm_ps_format *f;
	char *const *args;
	size_t n, at;
	bool bsd, full, user;	/* how much is asked for without -o */
};

static int unsupported(const char *option, struct sm_err *err)
{
	return sm_err_set(err, -EINVAL,
			  "ps: option %s is not supported here: the processes are those of the "
			  "container; use -e, -f, a, x, u, w, h, -o LIST, --no-headers",
			  option);
}

/* The value of an option that ends with `rest`: that, or the next argument. */
static int take_list(struct parse *p, const char *rest, struct sm_err *err)
{
	if (!*rest && p->at == p->n)
		return sm_err_set(err, -EINVAL, "ps: -o: needs a list of columns");
	return add_list(p->f, *rest ? rest : p->args[p->at++], err);
}

static int parse_long(struct parse *p, const char *arg, struct sm_err *err)
{
	if (!strcmp(arg, "--no-headers") || !strcmp(arg, "--no-headings") ||
	    !strcmp(arg, "--no-heading"))
		p->f->no_heads = true;
	else if (!strncmp(arg, "--format=", 9))
		return add_list(p->f, arg + 9, err);
	else if (!strcmp(arg, "--format"))
		return take_list(p, "", err);
	else if (strcmp(arg, "--everyone") != 0)
		return unsupported(arg, err);
	return 0;
}

static int parse_letters(struct parse *p, const char *arg, bool bsd, struct sm_err *err)
{
	char option[3] = { '-', '\0', '\0' };

	p->bsd |= bsd;
	for (; *arg; arg++) {
		if (*arg == 'o')
			return take_list(p, arg + 1, err);
		if (*arg == 'w' || (!bsd && strchr("eAad", *arg)) || (bsd && strchr("ax", *arg)))
			continue;
		if (!bsd && *arg == 'f') {
			p->full = true;
		} else if (bsd && *arg == 'u') {
			p->user = true;
		} else if (bsd && *arg == 'h') {
			p->f->no_heads = true;
		} else {
			option[1] = *arg;
			return unsupported(bsd ? option + 1 : option, err);
		}
	}
	return 0;
}

static int parse_arg(struct parse *p, const char *arg, struct sm_err *err)
{
	if (!strncmp(arg, "--", 2))
		return parse_long(p, arg, err);
	if (!strncmp(arg, "-aux", 4))	/* what people write, and ps(1) takes, for aux */
		return parse_letters(p, arg + 1, true, err);
	if (*arg == '-' && arg[1])
		return parse_letters(p, arg + 1, false, err);
	return *arg >= 'a' && *arg <= 'z' ? parse_letters(p, arg, true, err) :
					    unsupported(arg, err);
}

int sm_ps_format_parse(struct sm_ps_format *f, char *const *args, size_t n, struct sm_err *err)
{
	struct parse p = { .f = f, .args = args, .n = n, .full = n == 0 };
	int r = 0;

	while (r == 0 && p.at < n)
		r = parse_arg(&p, args[p.at++], err);
	if (r < 0 || f->n)
		return r;
	if (p.user)
		return add_list(f, "user,pid,%cpu,%mem,vsz,rss,tname,stat,start_time,bsdtime,args",
				err);
	if (p.full)
		return (r = add(f, "user", "UID", err)) < 0 ?
			       r :
			       add_list(f, "pid,ppid,c,stime,tname,time,cmd", err);
	return add_list(f, p.bsd ? "pid,tname,stat,bsdtime,args" : "pid,tname,time,ucmd", err);
}

void sm_ps_format_free(struct sm_ps_format *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->head[i]);
	f->n = 0;
}

/* ---- the table ------------------------------------------------------------------------------ */

static const char *head_of(const struct sm_ps_format *f, size_t i)
{
	return f->head[i] ? f->head[i] : f->column[i]->head;
}

/* Whether there is a line of headers: if none has a text, as ps(1) has it, there is not. */
static bool has_heads(const struct sm_ps_format *f)
{
	for (size_t i = 0; !f->no_heads && i < f->n; i++)
		if (*head_of(f, i))
			return true;
	return false;
}

/* All cells, each with a zero byte at its end; line 0 are the headers. */
static char *write_cells(const struct sm_ps_format *f, const list *l)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	for (size_t i = 0; i < f->n; i++) {
		if (has_heads(f))
			fputs(head_of(f, i), out);
		fputc('\0', out);
	}
	for (size_t k = 0; k < l->n_processes; k++) {
		for (size_t i = 0; i < f->n; i++) {
			f->column[i]->print(out, l, l->processes[k]);
			fputc('\0', out);
		}
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

static size_t width_of(const char *cell)
{
	size_t n = 0;

	for (; *cell; cell++)
		n += ((unsigned char)*cell & 0xc0) != 0x80;
	return n;
}

static void put_line(FILE *out, const struct sm_ps_format *f, const size_t *width,
		     const char **cells)
{
	for (size_t i = 0; i < f->n; i++) {
		size_t len = width_of(*cells);
		int pad = len < width[i] ? (int)(width[i] - len) : 0;
		bool last = i + 1 == f->n;

		if (f->column[i]->right)
			fprintf(out, "%*s", pad, "");
		fputs(*cells, out);
		if (!f->column[i]->right && !last)
			fprintf(out, "%*s", pad, "");
		fprintf(out, "%s", last ? "\n" : " ");
		*cells += strlen(*cells) + 1;
	}
}

static void put_table(FILE *out, const struct sm_ps_format *f, const char *cells, size_t lines)
{
	size_t width[SM_PS_COLUMNS_MAX] = { 0 };
	const char *at = cells;

	for (size_t i = 0; i < lines * f->n; i++) {
		size_t len = width_of(at);

		if (len > width[i % f->n])
			width[i % f->n] = len;
		at += strlen(at) + 1;
	}
	if (!has_heads(f)) {
		cells += f->n;	/* each is empty */
		lines--;
	}
	while (lines--)
		put_line(out, f, width, &cells);
}

char *sm_ps_table(const struct sm_ps_format *f, const list *l)
{
	sm_auto_free char *cells = write_cells(f, l);
	char *text = NULL;
	size_t len;
	FILE *out = cells ? open_memstream(&text, &len) : NULL;

	if (!out)
		return NULL;
	put_table(out, f, cells, l->n_processes + 1);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}
