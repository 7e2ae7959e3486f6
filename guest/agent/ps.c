/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/ps.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"

typedef Supermachine__Agent__V1__ProcessInfo info;

enum { PROCS_MAX = 1 << 20, DEPTH_MAX = 32, DIRS_MAX = 1024, FILE_LEN_MAX = 8192 };

#define SECOND_NS UINT64_C(1000000000)

struct pids {
	pid_t v[SM_PS_MAX];
	size_t n;
	unsigned int dirs;	/* that were looked at */
	bool truncated;
};

/* ---- which ------------------------------------------------------------------------------------- */

static void add_pids(struct pids *pids, int dir)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(PROCS_MAX);
	char *save = NULL;

	if (sm_read_file_at(dir, "cgroup.procs", &text) < 0 || !text.data)
		return;
	for (char *line = strtok_r((char *)text.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		pid_t pid = (pid_t)strtol(line, NULL, 10);

		if (pids->n == SM_PS_MAX) {
			pids->truncated = true;
			return;
		}
		if (pid > 0)
			pids->v[pids->n++] = pid;
	}
}

static void walk(struct pids *pids, int parent, const char *name, unsigned int depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	sm_auto_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		sm_close(&fd);
		return;
	}
	if (depth > DEPTH_MAX || ++pids->dirs > DIRS_MAX) {
		pids->truncated = true;
		return;
	}
	add_pids(pids, fd);
	while (!pids->truncated && (e = readdir(dir)))
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			walk(pids, fd, e->d_name, depth + 1);
}

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

/* ---- one --------------------------------------------------------------------------------------- */

static int read_proc(pid_t pid, const char *name, struct sm_buf *text)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	r = sm_read_file_at(AT_FDCWD, path, text);
	return r < 0 ? r : text->data ? 0 : -ESRCH;
}

/* Nanoseconds of clock ticks. */
static uint64_t ticks(uint64_t n)
{
	return n * (SECOND_NS / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* The name is whatever the process wants, parentheses and newlines included. */
static int parse_stat(char *text, info *p)
{
	char *open = strchr(text, '('), *close = strrchr(text, ')');
	uint64_t utime, stime, start, vsize;
	int pgrp, tpgid, tty, threads;
	int64_t rss;
	char state;

	if (!open || !close || close < open)
		return -EINVAL;
	if (sscanf(close + 1,
		   " %c %" SCNu32 " %d %*d %d %d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
		   " %*d %*d %" SCNd32 " %" SCNd32 " %d %*d %" SCNu64 " %" SCNu64 " %" SCNd64,
		   &state, &p->ppid, &pgrp, &tty, &tpgid, &utime, &stime, &p->priority, &p->nice,
		   &threads, &start, &vsize, &rss) != 13)
		return -EINVAL;
	*close = '\0';
	p->comm = strdup(open + 1);
	p->state = (unsigned char)state;
	p->tty = (uint32_t)tty;
	p->foreground = tty && tpgid == pgrp;
	p->threads = (uint32_t)threads;
	p->cpu_ns = ticks(utime + stime);
	p->start_ns = ticks(start);
	p->vsz_kib = vsize / 1024;
	p->rss_kib = (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
	return p->comm ? 0 : -ENOMEM;
}

/* The n-th number of a line "Key:\t1\t2", 0 if there is none. */
static uint32_t number_of(const char *text, const char *key, unsigned int n)
{
	const char *at = strstr(text, key);
	uint32_t v = 0;
	char *end;

	if (!at)
		return 0;
	at += strlen(key);
	for (unsigned int i = 0; i <= n; i++) {
		while (*at == '\t' || *at == ' ')
			at++;
		v = (uint32_t)strtoul(at, &end, 10);
		if (end == at || *at == '\n')
			return 0;
		at = end;
	}
	return v;
}

static void parse_status(const char *text, unsigned int level, info *p)
{
	p->ruid = number_of(text, "\nUid:", 0);
	p->uid = number_of(text, "\nUid:", 1);
	p->rgid = number_of(text, "\nGid:", 0);
	p->gid = number_of(text, "\nGid:", 1);
	p->pid = number_of(text, "\nNSpid:", level);
	p->pgid = number_of(text, "\nNSpgid:", level);
	p->sid = number_of(text, "\nNSsid:", level);
}

/* As much of the arguments as is looked at, with spaces between them. NULL: no memory. */
static char *read_args(pid_t pid)
{
	char path[64], args[SM_PS_ARGS_MAX];
	sm_auto_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, args, sizeof(args) - 1);
	if (n < 0)
		n = 0;
	while (n && !args[n - 1])
		n--;
	for (ssize_t i = 0; i < n; i++)
		if (!args[i])
			args[i] = ' ';
	args[n] = '\0';
	return strdup(args);
}

int sm_ps_parse(char *stat, const char *status, unsigned int level, info *p)
{
	int r = parse_stat(stat, p);

	if (r == 0)
		parse_status(status, level, p);
	return r;
}

int sm_ps_read(pid_t pid, unsigned int level, info *p)
{
	sm_auto_buf struct sm_buf stat = SM_BUF_INIT(FILE_LEN_MAX);
	sm_auto_buf struct sm_buf status = SM_BUF_INIT(FILE_LEN_MAX);
	int r = read_proc(pid, "stat", &stat);

	if (r == 0)
		r = read_proc(pid, "status", &status);
	if (r == 0)
		r = sm_ps_parse((char *)stat.data, (char *)status.data, level, p);
	if (r < 0)
		return r;
	p->args = read_args(pid);
	return p->args ? 0 : -ENOMEM;
}

/* ---- all --------------------------------------------------------------------------------------- */

static void info_free(info *p)
{
	if (p)
		supermachine__agent__v1__process_info__free_unpacked(p, NULL);
}

/* Strings that nobody filled in are protobuf's own empty one. */
static info *read_one(pid_t pid, unsigned int level)
{
	info *p = malloc(sizeof(*p));

	if (!p)
		return NULL;
	supermachine__agent__v1__process_info__init(p);
	if (sm_ps_read(pid, level, p) < 0 || !p->pid) {
		info_free(p);
		return NULL;
	}
	return p;
}

/* Until here pids are ours and ppid is: the parent's entry tells what it is called in there. */
static void name_parents(const struct pids *pids, info *const *all)
{
	uint32_t *names = calloc(pids->n ? pids->n : 1, sizeof(*names));

	for (size_t i = 0; names && i < pids->n; i++) {
		pid_t ppid = all[i] ? (pid_t)all[i]->ppid : 0;
		const pid_t *at = bsearch(&ppid, pids->v, pids->n, sizeof(ppid), by_number);
		const info *parent = at ? all[at - pids->v] : NULL;

		names[i] = parent ? parent->pid : 0;
	}
	for (size_t i = 0; i < pids->n; i++)
		if (all[i])
			all[i]->ppid = names ? names[i] : 0;
	free(names);
}

static int by_pid(const void *a, const void *b)
{
	const info *x = *(info *const *)a, *y = *(info *const *)b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static int read_all(struct pids *pids, unsigned int level,
		    Supermachine__Agent__V1__ProcessesResponse *out)
{
	sm_auto_free info **all = calloc(pids->n ? pids->n : 1, sizeof(info *));
	size_t bytes = 0;

	out->processes = calloc(pids->n ? pids->n : 1, sizeof(info *));
	if (!all || !out->processes)
		return -ENOMEM;
	for (size_t i = 0; i < pids->n; i++) {
		all[i] = bytes < SM_PS_BYTES_MAX ? read_one(pids->v[i], level) : NULL;
		pids->truncated |= bytes >= SM_PS_BYTES_MAX;
		if (all[i])
			bytes += strlen(all[i]->args) + strlen(all[i]->comm);
	}
	name_parents(pids, all);
	for (size_t i = 0; i < pids->n; i++)
		if (all[i])
			out->processes[out->n_processes++] = all[i];
	qsort(out->processes, out->n_processes, sizeof(info *), by_pid);
	out->truncated = pids->truncated;
	return 0;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts = { 0 };

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * SECOND_NS + (uint64_t)ts.tv_nsec;
}

int sm_ps_list(const struct sm_cgroup *cg, unsigned int level,
	       Supermachine__Agent__V1__ProcessesResponse *out)
{
	sm_auto_free struct pids *pids = calloc(1, sizeof(*pids));
	struct sysinfo si;

	supermachine__agent__v1__processes_response__init(out);
	if (!pids)
		return -ENOMEM;
	if (cg->fd >= 0)
		walk(pids, cg->fd, ".", 0);
	qsort(pids->v, pids->n, sizeof(pids->v[0]), by_number);
	out->boottime_ns = clock_ns(CLOCK_BOOTTIME);
	out->realtime_ns = clock_ns(CLOCK_REALTIME);
	if (sysinfo(&si) == 0)
		out->memory_kib = (uint64_t)si.totalram * si.mem_unit / 1024;
	return read_all(pids, level, out);
}

void sm_ps_free(Supermachine__Agent__V1__ProcessesResponse *out)
{
	for (size_t i = 0; i < out->n_processes; i++)
		info_free(out->processes[i]);
	free(out->processes);
	out->processes = NULL;
	out->n_processes = 0;
}
