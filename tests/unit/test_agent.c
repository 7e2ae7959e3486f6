/* SPDX-License-Identifier: Apache-2.0 */
/* The agent against real containers on this host: namespaces, mounts, processes, streams. Needs
 * root. */
#include "agent_host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clean.h"
#include "base/io.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

typedef Supermachine__Agent__V1__Mount mount_msg;

enum { ARGS_MAX = 8, MOUNTS_MAX = 16 };

/* but CAP_SYS_RESOURCE, which root in a container like the reference machine does not have */
#define MOST_CAPS (((UINT64_C(1) << 41) - 1) & ~(UINT64_C(1) << 24))

/* A container and what its messages are made of. */
struct box {
	struct agent_host *h;
	Supermachine__Agent__V1__CreateContainerRequest req;
	Supermachine__Agent__V1__Container c;
	Supermachine__Agent__V1__Process p;
	Supermachine__Agent__V1__Capabilities caps;
	Supermachine__Agent__V1__Stdio io;
	mount_msg mount[MOUNTS_MAX];
	mount_msg *mounts[MOUNTS_MAX];
	char *args[ARGS_MAX];
	char *env[2];
	struct agent_stream in, out, err;
};

static char *str(const char *s)
{
	return (char *)(uintptr_t)s;
}

static mount_msg *add_mount(struct box *b, const char *type, const char *dest)
{
	static const mount_msg init = SUPERMACHINE__AGENT__V1__MOUNT__INIT;
	size_t i = b->c.n_mounts++;

	assert_true(i < MOUNTS_MAX);
	b->mount[i] = init;
	b->mount[i].type = str(type);
	b->mount[i].destination = str(dest);
	b->mounts[i] = &b->mount[i];
	return b->mounts[i];
}

static void set_args(struct box *b, const char *const *args)
{
	b->p.n_args = 0;
	while (args[b->p.n_args]) {
		b->args[b->p.n_args] = str(args[b->p.n_args]);
		b->p.n_args++;
	}
}

#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void process_init(struct box *b, const char *const *args)
{
	b->p = (Supermachine__Agent__V1__Process)SUPERMACHINE__AGENT__V1__PROCESS__INIT;
	b->caps = (Supermachine__Agent__V1__Capabilities)SUPERMACHINE__AGENT__V1__CAPABILITIES__INIT;
	b->caps.bounding = b->caps.effective = b->caps.permitted = MOST_CAPS;
	b->p.capabilities = &b->caps;
	b->p.args = b->args;
	b->p.env = b->env;
	b->env[0] = str("PATH=/bin");
	b->p.n_env = 1;
	b->p.cwd = str("/");
	b->p.umask = 022;
	set_args(b, args);
}

static void box_init(struct box *b, struct agent_host *h, const char *const *args)
{
	*b = (struct box){ .h = h };
	b->req = (Supermachine__Agent__V1__CreateContainerRequest)
		SUPERMACHINE__AGENT__V1__CREATE_CONTAINER_REQUEST__INIT;
	b->c = (Supermachine__Agent__V1__Container)SUPERMACHINE__AGENT__V1__CONTAINER__INIT;
	b->io = (Supermachine__Agent__V1__Stdio)SUPERMACHINE__AGENT__V1__STDIO__INIT;
	b->req.container = &b->c;
	b->req.stdio = &b->io;
	b->c.process = &b->p;
	b->c.id = str("box");
	b->c.root_export = str("rootfs");
	b->c.namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
	b->c.hostname = str("inside");
	b->c.default_devices = true;
	b->c.mounts = b->mounts;
	process_init(b, args);
	add_mount(b, "proc", "/proc")->source = str("proc");
	add_mount(b, "tmpfs", "/dev")->data = str("mode=755,size=65536k");
	add_mount(b, "devpts", "/dev/pts")->data = str("newinstance,ptmxmode=0666,mode=0620,gid=5");
}

static void listen_stdio(struct box *b)
{
	agent_stream_listen(b->h, &b->in);
	agent_stream_listen(b->h, &b->out);
	b->io.stdin_port = b->in.port;
	b->io.stdout_port = b->out.port;
	if (!b->io.terminal) {
		agent_stream_listen(b->h, &b->err);
		b->io.stderr_port = b->err.port;
	}
}

static void accept_stdio(struct box *b)
{
	agent_stream_accept(&b->in);
	agent_stream_accept(&b->out);
	if (!b->io.terminal)
		agent_stream_accept(&b->err);
}

static void close_stdio(struct box *b)
{
	struct agent_stream *all[] = { &b->in, &b->out, &b->err };

	for (size_t i = 0; i < 3; i++) {
		if (!all[i]->port)
			continue;
		sm_close(&all[i]->fd);
		sm_close(&all[i]->listen);
	}
}

static enum sm_rpc_code create(struct box *b)
{
	return agent_call(b->h, "CreateContainer", &b->req.base, NULL);
}

static enum sm_rpc_code on_container(struct box *b, const char *method)
{
	Supermachine__Agent__V1__ContainerRequest r = SUPERMACHINE__AGENT__V1__CONTAINER_REQUEST__INIT;

	r.id = b->c.id;
	return agent_call(b->h, method, &r.base, NULL);
}

static int wait_for(struct box *b, const char *exec_id)
{
	Supermachine__Agent__V1__ProcessRequest r = SUPERMACHINE__AGENT__V1__PROCESS_REQUEST__INIT;

	r.id = b->c.id;
	r.exec_id = str(exec_id);
	if (agent_call(b->h, "Wait", &r.base, &supermachine__agent__v1__wait_response__descriptor) !=
	    SM_RPC_OK)
		return -1;
	return (int)((Supermachine__Agent__V1__WaitResponse *)b->h->rsp)->status;
}

static enum sm_rpc_code send_signal(struct box *b, const char *exec_id, int signo, bool all)
{
	Supermachine__Agent__V1__SignalRequest r = SUPERMACHINE__AGENT__V1__SIGNAL_REQUEST__INIT;

	r.id = b->c.id;
	r.exec_id = str(exec_id);
	r.signal = (uint32_t)signo;
	r.all = all;
	return agent_call(b->h, "Signal", &r.base, NULL);
}

static enum sm_rpc_code start_exec(struct box *b, const char *exec_id)
{
	Supermachine__Agent__V1__ExecRequest r = SUPERMACHINE__AGENT__V1__EXEC_REQUEST__INIT;

	r.id = b->c.id;
	r.exec_id = str(exec_id);
	r.process = &b->p;
	r.stdio = &b->io;
	return agent_call(b->h, "Exec", &r.base, &supermachine__agent__v1__exec_response__descriptor);
}

#define assert_ok(b, call)                                                     \
	do {                                                                   \
		enum sm_rpc_code code_ = (call);                               \
		if (code_ != SM_RPC_OK)                                        \
			fail_msg("%s: code %d: %s", #call, code_, (b)->h->text); \
	} while (0)

/* Runs the box to its end with nothing on stdin; what it wrote to stdout and stderr, and how it
 * ended. */
static int run(struct box *b, struct sm_buf *out, struct sm_buf *err)
{
	int status;

	listen_stdio(b);
	assert_ok(b, create(b));
	accept_stdio(b);
	assert_ok(b, on_container(b, "StartContainer"));
	shutdown(b->in.fd, SHUT_WR);
	agent_stream_read(&b->out, out);
	agent_stream_read(&b->err, err);
	status = wait_for(b, "");
	close_stdio(b);
	assert_ok(b, on_container(b, "DeleteContainer"));
	return status;
}

/* Runs a shell script in the box; its output must be `expected`. */
static void check_output(struct box *b, const char *expected)
{
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(1 << 20), err = SM_BUF_INIT(1 << 20);
	int status = run(b, &out, &err);

	if (err.len)
		print_message("stderr: %s", (char *)err.data);
	assert_int_equal(status, 0);
	assert_string_equal(out.data ? (char *)out.data : "", expected);
}

static int setup(void **state)
{
	struct agent_host *h = calloc(1, sizeof(*h));

	agent_host_start(h);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	agent_host_stop(*state);
	free(*state);
	return 0;
}

static void test_hello(void **state)
{
	Supermachine__Agent__V1__HelloRequest r = SUPERMACHINE__AGENT__V1__HELLO_REQUEST__INIT;
	struct agent_host *h = *state;

	assert_int_equal(agent_call(h, "Hello", &r.base,
				    &supermachine__agent__v1__hello_response__descriptor),
			 SM_RPC_OK);
	assert_true(((Supermachine__Agent__V1__HelloResponse *)h->rsp)->uptime_ns > 0);
}

static void test_output_and_status(void **state)
{
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(1 << 20), err = SM_BUF_INIT(1 << 20);
	struct box b;
	int status;

	box_init(&b, *state, ARGS("sh", "-c", "echo out; echo err >&2; exit 42"));
	status = run(&b, &out, &err);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	assert_string_equal((char *)out.data, "out\n");
	assert_string_equal((char *)err.data, "err\n");
}

static void test_namespaces(void **state)
{
	struct box b;

	box_init(&b, *state, ARGS("sh", "-c", "echo $$; hostname; ls -A /; ls /proc/self/fd; pwd; umask"));
	b.p.cwd = str("/made/here");
	check_output(&b, "1\ninside\nbin\ndev\netc\nmade\nproc\nroot\nsys\ntmp\nwork\n"
			 "0\n1\n2\n3\n/made/here\n0022\n");
}

static void test_devices(void **state)
{
	struct box b;

	box_init(&b, *state,
		 ARGS("sh", "-c",
		      "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d;"
		      "done; for l in ptmx fd stdin stdout stderr; do readlink /dev/$l; done;"
		      "stat -c '%t:%T %a %u' /dev/mine"));
	Supermachine__Agent__V1__Device mine = SUPERMACHINE__AGENT__V1__DEVICE__INIT, *devices = &mine;

	mine.path = str("/dev/mine");
	mine.type = S_IFCHR;
	mine.major = 1;
	mine.minor = 3;
	mine.mode = 0644;
	mine.uid = 7;
	b.c.devices = &devices;
	b.c.n_devices = 1;
	check_output(&b, "/dev/null character special file 1:3 666\n"
			 "/dev/zero character special file 1:5 666\n"
			 "/dev/full character special file 1:7 666\n"
			 "/dev/random character special file 1:8 666\n"
			 "/dev/urandom character special file 1:9 666\n"
			 "/dev/tty character special file 5:0 666\n"
			 "pts/ptmx\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n"
			 "1:3 644 7\n");
}

static void test_mounts(void **state)
{
	struct box b;
	mount_msg *m;

	box_init(&b, *state,
		 ARGS("sh", "-c",
		      "cat /mnt/data/file; echo x 2>/dev/null > /mnt/data/new || echo ro;"
		      "cat /mnt/one; stat -c '%a' /t; grep ' /t ' /proc/mounts | grep -o 'ro,nosuid';"
		      "ls -A /etc"));
	m = add_mount(&b, "bind", "/mnt/data");
	m->export = str("data");
	m->flags = MS_BIND | MS_REC | MS_RDONLY;
	m = add_mount(&b, "bind", "/mnt/one");
	m->export = str("plain");
	m->is_file = true;
	m->flags = MS_BIND;
	m = add_mount(&b, "tmpfs", "/t");
	m->source = str("tmpfs");
	m->data = str("mode=1750,size=1m");
	m->flags = MS_RDONLY | MS_NOSUID;
	m = add_mount(&b, "tmpfs", "/etc");
	m->copy_up = true;
	{
		sm_auto_free char *path = sm_strf("%s/host/plain", b.h->dir);

		assert_int_equal(sm_write_file_at(AT_FDCWD, path, "one\n", 4, 0644, 0), 0);
	}
	check_output(&b, "hi\nro\none\n1750\nro,nosuid\npasswd\nplain\n");
}

static void test_mount_error(void **state)
{
	struct box b;

	box_init(&b, *state, ARGS("true"));
	add_mount(&b, "bind", "/x")->export = str("m0");
	assert_int_equal(create(&b), SM_RPC_UNKNOWN);
	assert_string_equal(b.h->text, "mount \"m0\" to \"/x\": no such file or directory");
	/* and nothing of it is left */
	assert_int_equal(on_container(&b, "StartContainer"), SM_RPC_NOT_FOUND);
	b.c.n_mounts--;
	check_output(&b, "");
}

static void test_symlinked_destination(void **state)
{
	struct agent_host *h = *state;
	sm_auto_free char *link = sm_strf("%s/host/rootfs/escape", h->dir);
	struct box b;

	/* points out of the root, where it would be on the host; inside it is made */
	assert_int_equal(symlink("../../../../tmp/../made-here", link), 0);
	box_init(&b, h, ARGS("sh", "-c", "cat /made-here/sub/file; rm -rf /escape"));
	add_mount(&b, "bind", "/escape/sub")->export = str("data");
	check_output(&b, "hi\n");
	assert_int_equal(access("/made-here", F_OK), -1);
}

static void test_readonly_and_masked(void **state)
{
	struct box b;
	char *masked[] = { str("/etc/passwd"), str("/work"), str("/nowhere") };
	char *readonly[] = { str("/tmp"), str("/nowhere") };

	box_init(&b, *state,
		 ARGS("sh", "-c",
		      "wc -c < /etc/passwd; ls -A /work; echo x 2>/dev/null >/tmp/y || echo ro tmp;"
		      "echo x 2>/dev/null > /y || echo ro root; touch /work/z 2>/dev/null || echo ro work"));
	b.c.masked_paths = masked;
	b.c.n_masked_paths = 3;
	b.c.readonly_paths = readonly;
	b.c.n_readonly_paths = 2;
	b.c.root_readonly = true;
	check_output(&b, "0\nro tmp\nro root\nro work\n");
}

static void test_user_and_caps(void **state)
{
	struct box b;
	uint32_t groups[] = { 7, 8 };

	box_init(&b, *state,
		 ARGS("sh", "-c",
		      "id -u; id -g; id -G; echo $HOME; grep -E '^(Cap|NoNewPrivs|Sig(Blk|Ign))' /proc/self/status;"
		      "echo again > /dev/stdout"));
	b.p.uid = b.p.gid = 1000;
	b.p.additional_gids = groups;
	b.p.n_additional_gids = 2;
	b.p.no_new_privileges = true;
	b.caps.bounding = b.caps.permitted = b.caps.inheritable = b.caps.ambient = 0x421;
	b.caps.effective = 0x421;
	check_output(&b, "1000\n1000\n1000 7 8\n/work\n"
			 "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
			 "CapInh:\t0000000000000421\nCapPrm:\t0000000000000421\n"
			 "CapEff:\t0000000000000421\nCapBnd:\t0000000000000421\n"
			 "CapAmb:\t0000000000000421\nNoNewPrivs:\t1\nagain\n");
}

static void test_limits(void **state)
{
	struct box b;
	Supermachine__Agent__V1__Rlimit l = SUPERMACHINE__AGENT__V1__RLIMIT__INIT, *limits = &l;
	Supermachine__Agent__V1__OomScoreAdj oom = SUPERMACHINE__AGENT__V1__OOM_SCORE_ADJ__INIT;

	box_init(&b, *state, ARGS("sh", "-c", "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj"));
	l.resource = RLIMIT_NOFILE;
	l.soft = 50;
	l.hard = 60;
	b.p.rlimits = &limits;
	b.p.n_rlimits = 1;
	oom.value = 500;
	b.p.oom_score_adj = &oom;
	check_output(&b, "50\n60\n500\n");
}

static void test_user_namespace(void **state)
{
	struct box b;
	Supermachine__Agent__V1__IdMap map = SUPERMACHINE__AGENT__V1__ID_MAP__INIT, *maps = &map;

	box_init(&b, *state,
		 ARGS("sh", "-c", "id -u; cat /proc/self/uid_map | wc -w; echo ok > /dev/null && echo null;"
				  "touch /dev/x && stat -c %u /dev/x"));
	b.c.namespaces |= CLONE_NEWUSER;
	map.host_id = 100000;
	map.size = 65536;
	b.c.uid_mappings = b.c.gid_mappings = &maps;
	b.c.n_uid_mappings = b.c.n_gid_mappings = 1;
	check_output(&b, "0\n3\nnull\n0\n");
}

static void test_user_namespace_in_full(void **state)
{
	struct box b;
	Supermachine__Agent__V1__IdMap map = SUPERMACHINE__AGENT__V1__ID_MAP__INIT, *maps = &map;
	mount_msg *m;

	/* sysfs belongs to the network's user namespace: the host's is bound */
	box_init(&b, *state,
		 ARGS("sh", "-c",
		      "ls /sys/kernel > /dev/null && echo sys; touch /sys/x 2>/dev/null || echo ro;"
		      "cat /work/file; grep ^0: /proc/self/cgroup; ls -d /sys/fs/cgroup/cgroup.procs"));
	b.c.namespaces |= CLONE_NEWUSER | CLONE_NEWCGROUP;
	map.host_id = 100000;
	map.size = 65536;
	b.c.uid_mappings = b.c.gid_mappings = &maps;
	b.c.n_uid_mappings = b.c.n_gid_mappings = 1;
	m = add_mount(&b, "sysfs", "/sys");
	m->source = str("sysfs");
	m->flags = MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV;
	add_mount(&b, "cgroup", "/sys/fs/cgroup")->flags = MS_RDONLY;
	m = add_mount(&b, "bind", "/work");
	m->export = str("data");
	m->flags = MS_BIND | MS_REC | MS_RDONLY;
	check_output(&b, "sys\nro\nhi\n0::/\n/sys/fs/cgroup/cgroup.procs\n");
}

static void test_cgroup_without_namespace(void **state)
{
	struct box b;

	box_init(&b, *state,
		 ARGS("sh", "-c", "head -n 1 /cg/cgroup.procs; cat /cg/cgroup.max.depth; mkdir /cg/x 2>&1 | grep -o Read"));
	Supermachine__Agent__V1__KeyValue kv = SUPERMACHINE__AGENT__V1__KEY_VALUE__INIT, *kvs = &kv;

	kv.key = str("cgroup.max.depth");
	kv.value = str("3");
	b.c.cgroup = &kvs;
	b.c.n_cgroup = 1;
	add_mount(&b, "cgroup", "/cg")->flags = MS_RDONLY;
	check_output(&b, "1\n3\nRead\n");
}

static void test_cgroup_errors(void **state)
{
	struct box b;
	Supermachine__Agent__V1__KeyValue kv = SUPERMACHINE__AGENT__V1__KEY_VALUE__INIT, *kvs = &kv;

	box_init(&b, *state, ARGS("true"));
	b.c.cgroup = &kvs;
	b.c.n_cgroup = 1;
	kv.key = str("nosuch.max");
	kv.value = str("3");
	assert_int_equal(create(&b), SM_RPC_UNKNOWN);
	assert_string_equal(b.h->text,
			    "write \"3\" to cgroup file nosuch.max: no such file or directory");
	kv.key = str("../cgroup.procs");
	assert_int_equal(create(&b), SM_RPC_UNKNOWN);
	assert_string_equal(b.h->text, "write \"3\" to cgroup file ../cgroup.procs: invalid argument");
}

static void test_device_rules(void **state)
{
	struct box b;
	Supermachine__Agent__V1__DeviceRule r[2] = { SUPERMACHINE__AGENT__V1__DEVICE_RULE__INIT,
						     SUPERMACHINE__AGENT__V1__DEVICE_RULE__INIT };
	Supermachine__Agent__V1__DeviceRule *rules[] = { &r[0], &r[1] };

	box_init(&b, *state,
		 ARGS("sh", "-c", "echo x > /dev/null && echo null; head -c 1 /dev/zero 2>&1 | grep -o permitted"));
	r[0].major = r[0].minor = -1;
	r[0].access = 7;
	r[1].allow = true;
	r[1].type = S_IFCHR;
	r[1].major = 1;
	r[1].minor = 3;
	r[1].access = 6;
	b.c.device_rules = rules;
	b.c.n_device_rules = 2;
	check_output(&b, "null\npermitted\n");
}

static void test_time_namespace(void **state)
{
	struct box b;
	Supermachine__Agent__V1__KeyValue kv[2] = { SUPERMACHINE__AGENT__V1__KEY_VALUE__INIT,
						    SUPERMACHINE__AGENT__V1__KEY_VALUE__INIT };
	Supermachine__Agent__V1__KeyValue *kvs[] = { &kv[0], &kv[1] };

	box_init(&b, *state,
		 ARGS("sh", "-c", "read up rest < /proc/uptime; test ${up%.*} -gt 7776000 && echo later"));
	b.c.namespaces |= CLONE_NEWTIME;
	kv[0].key = str("boottime");
	kv[1].key = str("monotonic");
	kv[0].value = kv[1].value = str("7776000 0");
	b.c.time_offsets = kvs;
	b.c.n_time_offsets = 2;
	check_output(&b, "later\n");
	/* the agent has not moved itself */
	box_init(&b, *state, ARGS("sh", "-c", "read up rest < /proc/uptime; test ${up%.*} -lt 7776000 && echo now"));
	check_output(&b, "now\n");
}

/* Without a pid namespace the rest does not die by itself: its cgroup is killed. */
static void test_no_pid_namespace(void **state)
{
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(4096), err = SM_BUF_INIT(4096);
	struct box b;
	int status;

	box_init(&b, *state, ARGS("sh", "-c", "sleep 1000 & echo $$; exit 5"));
	b.c.namespaces &= ~(uint64_t)CLONE_NEWPID;
	status = run(&b, &out, &err);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
	assert_true(atoi((char *)out.data) > 1);
}

static void test_signal_all(void **state)
{
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(4096);
	struct box b;
	char c;

	box_init(&b, *state,
		 ARGS("sh", "-c", "trap 'echo outer' USR1; (trap 'echo inner; exit' USR1; echo; while :; do sleep 0.01; done)&"
				  "wait $!; wait $!"));
	listen_stdio(&b);
	assert_ok(&b, create(&b));
	accept_stdio(&b);
	assert_ok(&b, on_container(&b, "StartContainer"));
	assert_int_equal(read(b.out.fd, &c, 1), 1);
	assert_ok(&b, send_signal(&b, "", SIGUSR1, true));
	agent_stream_read(&b.out, &out);
	assert_true(!strcmp((char *)out.data, "outer\ninner\n") ||
		    !strcmp((char *)out.data, "inner\nouter\n"));
	wait_for(&b, "");
	close_stdio(&b);
	assert_ok(&b, on_container(&b, "DeleteContainer"));
}

/* Of the container only, with the ids that it sees; a name can be made to look like what follows it. */
static void test_processes(void **state)
{
	Supermachine__Agent__V1__ContainerRequest req =
		SUPERMACHINE__AGENT__V1__CONTAINER_REQUEST__INIT;
	const Supermachine__Agent__V1__ProcessesResponse *r;
	struct box b;
	char c;

	box_init(&b, *state,
		 ARGS("sh", "-c", "printf 'x) Z 7 (\\ny' > /proc/self/comm; sleep 1000 & echo; wait"));
	b.p.uid = b.p.gid = 0;
	listen_stdio(&b);
	assert_ok(&b, create(&b));
	accept_stdio(&b);
	assert_ok(&b, on_container(&b, "StartContainer"));
	assert_int_equal(read(b.out.fd, &c, 1), 1);
	req.id = str("box");
	assert_ok(&b, agent_call(b.h, "Processes", &req.base,
				 &supermachine__agent__v1__processes_response__descriptor));
	r = (const void *)b.h->rsp;
	assert_int_equal(r->n_processes, 2);
	assert_false(r->truncated);
	assert_true(r->boottime_ns > r->processes[0]->start_ns);
	assert_true(r->memory_kib > 0 && r->realtime_ns > 0);
	assert_int_equal(r->processes[0]->pid, 1);
	assert_int_equal(r->processes[0]->ppid, 0);
	assert_int_equal(r->processes[0]->sid, 1);
	assert_string_equal(r->processes[0]->comm, "x) Z 7 (\ny");
	assert_memory_equal(r->processes[0]->args, "sh -c printf ", 13);
	assert_true(r->processes[0]->state == 'S' || r->processes[0]->state == 'R');
	assert_int_equal(r->processes[0]->threads, 1);
	assert_int_equal(r->processes[1]->ppid, 1);
	assert_true(r->processes[1]->pid > 1 && r->processes[1]->vsz_kib > 0);
	assert_ok(&b, send_signal(&b, "", SIGKILL, false));
	wait_for(&b, "");
	close_stdio(&b);
	assert_ok(&b, on_container(&b, "DeleteContainer"));
	assert_int_equal(agent_call(b.h, "Processes", &req.base,
				    &supermachine__agent__v1__processes_response__descriptor),
			 SM_RPC_NOT_FOUND);
}

static void test_seccomp(void **state)
{
	/* mkdir: EACCES, all else allowed; x86_64 */
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 83, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	Supermachine__Agent__V1__Seccomp s = SUPERMACHINE__AGENT__V1__SECCOMP__INIT;

	s.bpf = (ProtobufCBinaryData){ sizeof(filter), (uint8_t *)filter };
	for (int nnp = 0; nnp < 2; nnp++) {
		struct box b;

		box_init(&b, *state,
			 ARGS("sh", "-c", "mkdir /work/d 2>&1; grep -E '^(CapPrm|NoNew|Seccomp:)' /proc/self/status"));
		b.p.seccomp = &s;
		b.p.no_new_privileges = nnp;
		b.p.uid = 1000;
		b.caps.bounding = b.caps.effective = b.caps.permitted = 0x400;
		check_output(&b, nnp ? "mkdir: can't create directory '/work/d': Permission denied\n"
				       "CapPrm:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n" :
				       "mkdir: can't create directory '/work/d': Permission denied\n"
				       "CapPrm:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n");
	}
}

/* What is bound on /dev/console and masked is where the container's links lead inside of it. */
static void test_links_in_the_way(void **state)
{
	struct agent_host *h = *state;
	sm_auto_free char *cmd = NULL;
	char *masked[] = { str("/etc/trap") };
	struct box b;

	/* /tmp/... of the host has a file of that name; the container's link must not reach it */
	cmd = sm_strf("echo outside > %1$s/outside && ln -s %1$s/outside %1$s/host/rootfs/etc/trap", h->dir);
	assert_int_equal(system(cmd), 0);
	box_init(&b, h, ARGS("cat", "/dev/null"));
	b.c.masked_paths = masked;
	b.c.n_masked_paths = 1;
	check_output(&b, "");
	free(sm_steal_ptr(cmd));
	cmd = sm_strf("test $(cat %s/outside) = outside", h->dir);
	assert_int_equal(system(cmd), 0);
}

static const struct lookup_case {
	const char *program, *text;
} lookup_cases[] = {
	{ "nosuch", "exec: \"nosuch\": executable file not found in $PATH" },
	{ "/nosuch", "exec: \"/nosuch\": stat /nosuch: no such file or directory" },
	{ "/etc/plain", "exec: \"/etc/plain\": permission denied" },
	{ "/etc", "exec: \"/etc\": is a directory: permission denied" },
	{ "./nosuch", "exec: \"./nosuch\": stat ./nosuch: no such file or directory" },
	{ "/etc/passwd/x", "exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory" },
};

static void test_lookup(void **state)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(lookup_cases); i++) {
		struct box b;

		box_init(&b, *state, ARGS(lookup_cases[i].program));
		assert_int_equal(create(&b), SM_RPC_UNKNOWN);
		assert_string_equal(b.h->text, lookup_cases[i].text);
	}
}

static void test_bad_program(void **state)
{
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(4096), err = SM_BUF_INIT(4096);
	struct box b;
	int status;

	box_init(&b, *state, ARGS("badelf"));
	status = run(&b, &out, &err);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	assert_string_equal((char *)err.data, "exec /bin/badelf: exec format error\n");
}

static void test_cwd_error(void **state)
{
	struct box b;

	box_init(&b, *state, ARGS("true"));
	b.p.cwd = str("/etc/plain");
	assert_int_equal(create(&b), SM_RPC_UNKNOWN);
	assert_string_equal(b.h->text,
			    "chdir to cwd (\"/etc/plain\") set in config.json failed: not a directory");
}

static void test_stdin_to_stdout(void **state)
{
	enum { SIZE = 8 << 20 };
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(SIZE + 1);
	sm_auto_free uint8_t *data = malloc(SIZE);
	struct box b;
	pid_t writer;

	box_init(&b, *state, ARGS("cat"));
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
	listen_stdio(&b);
	assert_ok(&b, create(&b));
	accept_stdio(&b);
	assert_ok(&b, on_container(&b, "StartContainer"));
	writer = fork();
	if (writer == 0) {
		sm_write_full(b.in.fd, data, SIZE);
		shutdown(b.in.fd, SHUT_WR);
		_exit(0);
	}
	agent_stream_read(&b.out, &out);
	waitpid(writer, NULL, 0);
	assert_int_equal(wait_for(&b, ""), 0);
	assert_int_equal(out.len, SIZE);
	assert_memory_equal(out.data, data, SIZE);
	close_stdio(&b);
	assert_ok(&b, on_container(&b, "DeleteContainer"));
}

static void test_reader_gone(void **state)
{
	struct box b;
	int status;

	box_init(&b, *state, ARGS("sh", "-c", "trap '' PIPE; while echo line; do :; done 2>/dev/null; exit 9"));
	listen_stdio(&b);
	assert_ok(&b, create(&b));
	accept_stdio(&b);
	sm_close(&b.out.fd);
	assert_ok(&b, on_container(&b, "StartContainer"));
	status = wait_for(&b, "");
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
	close_stdio(&b);
	assert_ok(&b, on_container(&b, "DeleteContainer"));
}

static void test_terminal(void **state)
{
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(4096);
	Supermachine__Agent__V1__ResizeRequest r = SUPERMACHINE__AGENT__V1__RESIZE_REQUEST__INIT;
	struct box b;
	char c;

	box_init(&b, *state,
		 ARGS("sh", "-c", "stty size; tty; stat -c %u /dev/console $(tty); read x; stty size; echo \"[$x]\""));
	b.io.terminal = true;
	b.io.rows = 33;
	b.io.cols = 99;
	b.p.uid = 1000;
	listen_stdio(&b);
	assert_ok(&b, create(&b));
	accept_stdio(&b);
	assert_ok(&b, on_container(&b, "StartContainer"));
	/* the lines before its read first, or the terminal's echo would be among them */
	for (int lines = 0; lines < 4; lines += c == '\n') {
		assert_int_equal(read(b.out.fd, &c, 1), 1);
		sm_buf_put(&out, &c, 1);
	}
	r.id = b.c.id;
	r.rows = 10;
	r.cols = 20;
	assert_ok(&b, agent_call(b.h, "Resize", &r.base, NULL));
	assert_int_equal(write(b.in.fd, "word\n", 5), 5);
	agent_stream_read(&b.out, &out);
	assert_int_equal(wait_for(&b, ""), 0);
	assert_non_null(strstr((char *)out.data, "33 99\r\n/dev/pts/0\r\n1000\r\n1000\r\n"));
	assert_non_null(strstr((char *)out.data, "10 20\r\n[word]\r\n"));
	close_stdio(&b);
	assert_ok(&b, on_container(&b, "DeleteContainer"));
}

static void start_sleeper(struct box *b, struct agent_host *h)
{
	box_init(b, h, ARGS("sleep", "1000"));
	assert_ok(b, create(b));
	assert_ok(b, on_container(b, "StartContainer"));
}

static void end_sleeper(struct box *b)
{
	assert_ok(b, send_signal(b, "", SIGKILL, false));
	assert_int_equal(wait_for(b, ""), SIGKILL);
	assert_int_equal(send_signal(b, "", SIGTERM, false), SM_RPC_FAILED_PRECONDITION);
	assert_string_equal(b->h->text, "container not running");
	assert_ok(b, on_container(b, "DeleteContainer"));
}

/* A datagram to the socket that the container sees, with a descriptor, as BARRIER=1 has one. */
static void notify(const char *dir, const char *text)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	sm_auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const int passed = 0;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.80s/notify.sock", dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(sm_send_fds(fd, text, strlen(text), &passed, 1), strlen(text));
}

static void test_notify(void **state)
{
	static const char *const not_it[] = { "STATUS=x\nREADY=0", "READY=1x",   "xREADY=1",
					      "BARRIER=1",         "\n\nREADY=", "ready=1" };
	sm_auto_free char *dir = sm_strf("%s/made/notify", ((struct agent_host *)*state)->dir);
	char big[8192];
	struct box b;

	for (int round = 0; round < 2; round++) { /* without, then with READY=1 */
		box_init(&b, *state, ARGS("sleep", "1000"));
		b.c.notify_dir = dir;
		add_mount(&b, "bind", "/n")->guest_source = dir;
		assert_ok(&b, create(&b));
		assert_ok(&b, on_container(&b, "StartContainer"));
		for (size_t i = 0; i < SM_ARRAY_SIZE(not_it); i++)
			notify(dir, not_it[i]);
		memset(big, 'x', sizeof(big));
		memcpy(big + sizeof(big) - 9, "\nREADY=1", 9); /* too long a datagram */
		notify(dir, big);
		if (round) {
			notify(dir, "STATUS=fine\nREADY=1\n");
			assert_ok(&b, on_container(&b, "WaitReady"));
			assert_ok(&b, on_container(&b, "WaitReady"));
		}
		assert_ok(&b, send_signal(&b, "", SIGKILL, false));
		assert_int_equal(wait_for(&b, ""), SIGKILL);
		assert_int_equal(on_container(&b, "WaitReady"),
				 round ? SM_RPC_OK : SM_RPC_FAILED_PRECONDITION);
		assert_int_equal(access(dir, F_OK), -1);
		assert_ok(&b, on_container(&b, "DeleteContainer"));
		assert_int_equal(on_container(&b, "WaitReady"), SM_RPC_NOT_FOUND);
	}
	start_sleeper(&b, *state);
	assert_int_equal(on_container(&b, "WaitReady"), SM_RPC_NOT_FOUND);
	assert_string_equal(b.h->text, "the container has no notify socket");
	end_sleeper(&b);
}

static void test_exec(void **state)
{
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(4096), err = SM_BUF_INIT(4096);
	struct box b;
	int status;

	start_sleeper(&b, *state);
	process_init(&b, ARGS("sh", "-c", "hostname; cat /proc/1/comm; ls /proc/self/fd; echo $HOME; exit 7"));
	b.p.uid = 1000;
	listen_stdio(&b);
	assert_ok(&b, start_exec(&b, "e1"));
	accept_stdio(&b);
	agent_stream_read(&b.out, &out);
	agent_stream_read(&b.err, &err);
	status = wait_for(&b, "e1");
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	assert_string_equal((char *)out.data, "inside\nsleep\n0\n1\n2\n3\n/work\n");
	close_stdio(&b);
	assert_int_equal(wait_for(&b, "nosuch"), -1);
	end_sleeper(&b);
}

static void test_exec_errors(void **state)
{
	struct box b;

	start_sleeper(&b, *state);
	process_init(&b, ARGS("nosuch"));
	assert_int_equal(start_exec(&b, "e1"), SM_RPC_UNKNOWN);
	assert_string_equal(b.h->text, "exec: \"nosuch\": executable file not found in $PATH");
	process_init(&b, ARGS("true"));
	b.p.cwd = str("/x");
	assert_int_equal(start_exec(&b, "e1"), SM_RPC_UNKNOWN);
	assert_string_equal(b.h->text, "chdir to cwd (\"/x\") set in config.json failed: no such file or "
				       "directory");
	end_sleeper(&b);
}

static void test_exec_terminal(void **state)
{
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(4096);
	struct box b;

	start_sleeper(&b, *state);
	process_init(&b, ARGS("sh", "-c", "tty; echo bye"));
	b.io.terminal = true;
	listen_stdio(&b);
	assert_ok(&b, start_exec(&b, "t"));
	accept_stdio(&b);
	agent_stream_read(&b.out, &out);
	assert_int_equal(wait_for(&b, "t"), 0);
	assert_string_equal((char *)out.data, "/dev/pts/0\r\nbye\r\n");
	close_stdio(&b);
	end_sleeper(&b);
}

/* An exec's Wait does not hang for a process that it left behind with its streams. */
static void test_exec_orphan(void **state)
{
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(4096);
	struct box b;

	start_sleeper(&b, *state);
	process_init(&b, ARGS("sh", "-c", "sleep 1000 & echo left"));
	listen_stdio(&b);
	assert_ok(&b, start_exec(&b, "o"));
	accept_stdio(&b);
	assert_int_equal(wait_for(&b, "o"), 0);
	end_sleeper(&b);
	agent_stream_read(&b.out, &out);
	assert_string_equal((char *)out.data, "left\n");
	close_stdio(&b);
}

/* What an exec has written is with the host when its Wait returns, though an orphan keeps the
 * streams. */
static void test_exec_tail(void **state)
{
	enum { SIZE = 100000 };
	sm_auto_free char *text = malloc(SIZE + 1);
	struct box b;
	char id[16];

	start_sleeper(&b, *state);
	for (int i = 0; i < 30; i++) {
		snprintf(id, sizeof(id), "x%d", i);
		process_init(&b, ARGS("sh", "-c", "sleep 1000 & head -c 100000 /dev/zero"));
		listen_stdio(&b);
		assert_ok(&b, start_exec(&b, id));
		accept_stdio(&b);
		assert_int_equal(wait_for(&b, id), 0);
		assert_int_equal(recv(b.out.fd, text, SIZE + 1, MSG_DONTWAIT | MSG_PEEK), SIZE);
		close_stdio(&b);
	}
	end_sleeper(&b);
}

static void test_many_execs(void **state)
{
	struct box b;
	char id[16];
	sm_auto_free char *fds = NULL;

	start_sleeper(&b, *state);
	process_init(&b, ARGS("true"));
	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "e%d", i);
		assert_ok(&b, start_exec(&b, id));
		assert_int_equal(wait_for(&b, id), 0);
	}
	fds = sm_strf("test $(ls /proc/%d/fd | wc -l) -lt 20", (int)b.h->pid);
	assert_int_equal(system(fds), 0);
	end_sleeper(&b);
}

static void test_signal_created(void **state)
{
	struct box b;

	box_init(&b, *state, ARGS("sleep", "1000"));
	assert_ok(&b, create(&b));
	assert_ok(&b, send_signal(&b, "", SIGTERM, false));
	assert_int_equal(wait_for(&b, ""), SIGTERM);
	assert_int_equal(on_container(&b, "StartContainer"), SM_RPC_FAILED_PRECONDITION);
	assert_string_equal(b.h->text, "cannot start a container that has stopped");
	assert_ok(&b, on_container(&b, "DeleteContainer"));
}

/* The kernel's rule for the first process of a pid namespace */
static void test_signal_init(void **state)
{
	struct box b;

	start_sleeper(&b, *state);
	assert_ok(&b, send_signal(&b, "", SIGTERM, false));
	process_init(&b, ARGS("kill", "-0", "1"));
	assert_ok(&b, start_exec(&b, "probe"));
	assert_int_equal(wait_for(&b, "probe"), 0);
	end_sleeper(&b);
}

static void test_delete_running(void **state)
{
	struct box b;

	start_sleeper(&b, *state);
	assert_int_equal(create(&b), SM_RPC_ALREADY_EXISTS);
	assert_string_equal(b.h->text, "container with given ID already exists");
	assert_ok(&b, on_container(&b, "DeleteContainer"));
	assert_int_equal(wait_for(&b, ""), -1);
}

static void test_hooks(void **state)
{
	struct box b;
	Supermachine__Agent__V1__Hook hook = SUPERMACHINE__AGENT__V1__HOOK__INIT, *hooks = &hook;
	char *args[] = { str("sh"), str("-c"), str("cat > /work/state; echo $PATH >> /work/state") };
	char json[] = "{\"status\":\"created\"}\n";

	box_init(&b, *state, ARGS("sh", "-c", "cat /work/state; rm /work/state"));
	hook.path = str("/bin/sh");
	hook.args = args;
	hook.n_args = 3;
	b.c.hook_state = (ProtobufCBinaryData){ strlen(json), (uint8_t *)json };
	b.c.start_container_hooks = &hooks;
	b.c.n_start_container_hooks = 1;
	check_output(&b, "{\"status\":\"created\"}\n/bin\n");
}

static void check_failing_hook(struct agent_host *h, const char *script, const char *text)
{
	struct box b;
	Supermachine__Agent__V1__Hook hook = SUPERMACHINE__AGENT__V1__HOOK__INIT, *hooks = &hook;
	char *args[] = { str("sh"), str("-c"), str(script) };

	box_init(&b, h, ARGS("sleep", "1000"));
	hook.path = str("/bin/sh");
	hook.args = args;
	hook.n_args = 3;
	hook.timeout = 1;
	b.c.start_container_hooks = &hooks;
	b.c.n_start_container_hooks = 1;
	assert_ok(&b, create(&b));
	assert_int_equal(on_container(&b, "StartContainer"), SM_RPC_UNKNOWN);
	assert_string_equal(h->text, text);
	assert_int_equal(wait_for(&b, ""), 1 << 8);
	assert_ok(&b, on_container(&b, "DeleteContainer"));
}

static void test_hook_fails(void **state)
{
	check_failing_hook(*state, "echo oops; exit 3",
			   "error running startContainer hook #0: exit status 3, stdout and stderr: oops\n");
	check_failing_hook(*state, "sleep 1000 & wait",
			   "error running startContainer hook #0: hook ran past specified timeout of 1.0s");
}

static void test_bad_requests(void **state)
{
	struct box b;

	box_init(&b, *state, ARGS("true"));
	b.c.id = str("../x");
	assert_int_equal(create(&b), SM_RPC_INVALID_ARGUMENT);
	b.c.id = str("box");
	b.c.namespaces |= CLONE_NEWNET;
	assert_int_equal(create(&b), SM_RPC_INVALID_ARGUMENT);
	b.c.namespaces = 0;
	b.c.root_export = str("..");
	assert_int_equal(create(&b), SM_RPC_UNKNOWN);
	b.c.root_export = str("rootfs");
	b.c.process = NULL;
	assert_int_equal(create(&b), SM_RPC_INVALID_ARGUMENT);
}

/* each with an agent of its own */
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_hello),
		TEST(test_output_and_status),
		TEST(test_namespaces),
		TEST(test_devices),
		TEST(test_mounts),
		TEST(test_mount_error),
		TEST(test_symlinked_destination),
		TEST(test_readonly_and_masked),
		TEST(test_user_and_caps),
		TEST(test_limits),
		TEST(test_user_namespace),
		TEST(test_user_namespace_in_full),
		TEST(test_cgroup_without_namespace),
		TEST(test_cgroup_errors),
		TEST(test_device_rules),
		TEST(test_time_namespace),
		TEST(test_no_pid_namespace),
		TEST(test_signal_all),
		TEST(test_processes),
		TEST(test_seccomp),
		TEST(test_links_in_the_way),
		TEST(test_lookup),
		TEST(test_bad_program),
		TEST(test_cwd_error),
		TEST(test_stdin_to_stdout),
		TEST(test_reader_gone),
		TEST(test_terminal),
		TEST(test_notify),
		TEST(test_exec),
		TEST(test_exec_errors),
		TEST(test_exec_terminal),
		TEST(test_exec_orphan),
		TEST(test_exec_tail),
		TEST(test_many_execs),
		TEST(test_signal_created),
		TEST(test_signal_init),
		TEST(test_delete_running),
		TEST(test_hooks),
		TEST(test_hook_fails),
		TEST(test_bad_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
