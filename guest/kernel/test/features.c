// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of a test VM: tries what containers need of the guest kernel, for real, one line of TAP each, and resets the VM.
 *
 * A row of the table is a feature and a function that uses it; 0 is success, -errno is not. What can be told from the configuration
 * alone is check-config's business.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/landlock.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <linux/vm_sockets.h>
#include <mqueue.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* For calls that return -1 and errno, and for descriptors nobody needs afterwards. */
static int done(long ret)
{
	return ret < 0 ? -errno : 0;
}

static int done_fd(long fd)
{
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	int ret;

	if (fd < 0)
		return -errno;
	ret = done(write(fd, text, strlen(text)));
	close(fd);
	return ret;
}

static int read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	close(fd);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	return 0;
}

/* Runs f in a child: 0 if it returns 0, its -errno otherwise, -EINTR if a signal ended it. */
static int in_child(int (*f)(void))
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(-f());
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	if (WIFSIGNALED(status))
		return -EINTR;
	return -WEXITSTATUS(status);
}

static int mount_at(const char *type, const char *target, const char *options)
{
	if (mkdir(target, 0755) < 0 && errno != EEXIST)
		return -errno;
	return done(mount(type, target, type, 0, options));
}

/* ---- filesystems ---- */

static int mount_cgroup2(void) { return mount_at("cgroup2", "/sys/fs/cgroup", ""); }
static int mount_devpts(void) { return mount_at("devpts", "/dev/pts", "newinstance,ptmxmode=0666"); }
static int mount_mqueue(void) { return mount_at("mqueue", "/dev/mqueue", ""); }
static int mount_hugetlbfs(void) { return mount_at("hugetlbfs", "/dev/hugepages", ""); }
static int mount_securityfs(void) { return mount_at("securityfs", "/sys/kernel/security", ""); }
static int mount_binfmt_misc(void) { return mount_at("binfmt_misc", "/proc/sys/fs/binfmt_misc", ""); }
static int mount_tmpfs(void) { return mount_at("tmpfs", "/mnt", "size=16m"); }

static int cgroup_v1(void)
{
	return mount_at("cgroup", "/cgroup1", "none,name=systemd");
}

static int tmpfs_xattr(void)
{
	int ret = write_file("/mnt/file", "x");

	return ret ? ret : done(setxattr("/mnt/file", "trusted.test", "1", 1, 0));
}

static int tmpfs_acl(void)
{
	/* version 2, then {tag, permissions, id}: user::rw- user:1000:r-- group::r-- mask::r-- other::--- */
	static const unsigned char acl[] = {
		2, 0, 0, 0,
		0x01, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
		0x02, 0, 4, 0, 0xe8, 0x03, 0, 0,
		0x04, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
		0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
		0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
	};

	return done(setxattr("/mnt/file", "system.posix_acl_access", acl, sizeof(acl), 0));
}

static int overlay(void)
{
	static const char *const dirs[] = { "/mnt/l", "/mnt/u", "/mnt/w", "/mnt/o" };
	size_t i;

	for (i = 0; i < COUNT(dirs); i++)
		if (mkdir(dirs[i], 0755) < 0)
			return -errno;
	if (mount("overlay", "/mnt/o", "overlay", 0, "lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w") < 0)
		return -errno;
	return write_file("/mnt/o/file", "x");
}

static int filesystems_known(void)
{
	static const char *const types[] = { "ext4", "ext2", "erofs", "squashfs", "fuse", "virtiofs", "autofs" };
	char text[4096], line[32];
	int ret = read_file("/proc/filesystems", text, sizeof(text));
	size_t i;

	for (i = 0; !ret && i < COUNT(types); i++) {
		snprintf(line, sizeof(line), "\t%s\n", types[i]);
		if (!strstr(text, line))
			ret = -ENODEV;
	}
	return ret;
}

static int device_nodes(void)
{
	static const char *const nodes[] = {
		"/dev/fuse", "/dev/net/tun", "/dev/vsock", "/dev/loop-control", "/dev/mapper/control", "/dev/null", "/dev/ptmx",
		"/dev/kmsg", "/dev/hwrng",
	};
	size_t i;

	for (i = 0; i < COUNT(nodes); i++) {
		if (access(nodes[i], F_OK) < 0) {
			printf("# %s: missing\n", nodes[i]);
			return -errno;
		}
	}
	return 0;
}

/* ---- control groups ---- */

static int cgroup_controllers(void)
{
	static const char *const names[] = { "cpuset", "cpu", "io", "memory", "hugetlb", "pids" };
	char text[256], enable[16];
	int ret = read_file("/sys/fs/cgroup/cgroup.controllers", text, sizeof(text));
	size_t i;

	for (i = 0; !ret && i < COUNT(names); i++) {
		snprintf(enable, sizeof(enable), "+%s", names[i]);
		ret = write_file("/sys/fs/cgroup/cgroup.subtree_control", enable);
		if (ret)
			printf("# controller %s of: %s", names[i], text);
	}
	return ret;
}

static int cgroup_files(void)
{
	static const char *const files[] = {
		"cpu.max", "cpu.weight", "memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "io.max", "io.weight",
		"cpuset.cpus", "cgroup.kill", "cgroup.freeze", "hugetlb.2MB.max", "cpu.pressure",
	};
	char path[64];
	size_t i;

	if (mkdir("/sys/fs/cgroup/t", 0755) < 0)
		return -errno;
	for (i = 0; i < COUNT(files); i++) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/t/%s", files[i]);
		if (access(path, F_OK) < 0) {
			printf("# %s: missing\n", path);
			return -errno;
		}
	}
	return 0;
}

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* The device controller of cgroup v2: "allow nothing", attached to the group made above, must refuse a mknod. */
static int deny_devices(void)
{
	static const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (unsigned long)program,
		.insn_cnt = COUNT(program),
		.license = (unsigned long)"GPL",
	};
	union bpf_attr attach = { .attach_type = BPF_CGROUP_DEVICE };

	attach.target_fd = open("/sys/fs/cgroup/t", O_RDONLY | O_DIRECTORY);
	attach.attach_bpf_fd = bpf(BPF_PROG_LOAD, &load);
	if ((int)attach.attach_bpf_fd < 0 || bpf(BPF_PROG_ATTACH, &attach) < 0)
		return -errno;
	if (write_file("/sys/fs/cgroup/t/cgroup.procs", "0"))
		return -errno;
	if (mknod("/mnt/null", S_IFCHR | 0600, makedev(1, 3)) == 0)
		return -EEXIST;
	return errno == EPERM ? 0 : -errno;
}

static int cgroup_device(void)
{
	return in_child(deny_devices);
}

static int bpf_jit(void)
{
	char text[8];
	int ret = read_file("/proc/sys/net/core/bpf_jit_enable", text, sizeof(text));

	return ret ? ret : text[0] == '1' ? 0 : -ENOSYS;
}

/* ---- namespaces and confinement ---- */

static int unshare_all(void)
{
	return done(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
			    CLONE_NEWCGROUP | CLONE_NEWTIME));
}

static int namespaces(void)
{
	return in_child(unshare_all);
}

static int refuse_getppid(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { COUNT(code), code };
	long listener;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (listener < 0)
		return -errno;
	return syscall(SYS_getppid) < 0 && errno == EXDEV ? 0 : -ENOSYS;
}

static int seccomp(void)
{
	return in_child(refuse_getppid);
}

static int landlock(void)
{
	return done(syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION));
}

static int keyring(void)
{
	return done(syscall(SYS_add_key, "user", "test", "1", 1, KEY_SPEC_SESSION_KEYRING));
}

/* ---- system calls ---- */

static int io_uring(void)
{
	struct io_uring_params params = { 0 };

	return done_fd(syscall(SYS_io_uring_setup, 4, &params));
}

static int descriptors(void)
{
	sigset_t none;
	int ret = 0;

	sigemptyset(&none);
	ret = ret ? ret : done_fd(epoll_create1(0));
	ret = ret ? ret : done_fd(eventfd(0, 0));
	ret = ret ? ret : done_fd(timerfd_create(CLOCK_BOOTTIME, 0));
	ret = ret ? ret : done_fd(signalfd(-1, &none, 0));
	ret = ret ? ret : done_fd(memfd_create("m", 0));
	ret = ret ? ret : done_fd(syscall(SYS_pidfd_open, getpid(), 0));
	return ret;
}

static int inotify_watch(void)
{
	int fd = inotify_init1(0);

	return fd < 0 ? -errno : done(inotify_add_watch(fd, "/mnt", IN_CREATE));
}

static int fanotify_watch(void)
{
	int fd = fanotify_init(FAN_CLASS_CONTENT, O_RDONLY);

	return fd < 0 ? -errno : done(fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, "/root"));
}

static int userfault(void) { return done_fd(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY)); }
static int membarriers(void) { return done(syscall(SYS_membarrier, 0, 0, 0)); }
static int ipc_shared_memory(void) { return done(shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600)); }
static int aio(void) { unsigned long context = 0; return done(syscall(SYS_io_setup, 4, &context)); }
static int kcmp(void) { return done(syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0)); }

static int process_vm(void)
{
	char from = 'x', to = 0;
	struct iovec local = { &to, 1 }, remote = { &from, 1 };

	return done(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
}

static int queue(void)
{
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 16 };

	return done_fd(mq_open("/q", O_CREAT | O_RDWR, 0600, &attr));
}

static int proc_files(void)
{
	static const char *const files[] = {
		"/proc/self/io", "/proc/self/smaps", "/proc/self/pagemap", "/proc/self/task/1/children", "/proc/self/map_files",
		"/proc/self/timens_offsets", "/proc/self/setgroups", "/proc/self/cpuset", "/proc/config.gz", "/proc/pressure/memory",
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/ns_last_pid", "/proc/sys/net/bridge/bridge-nf-call-iptables",
		"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/ping_group_range", "/proc/net/nf_conntrack", "/proc/kallsyms",
	};
	size_t i;
	int ret = 0;

	for (i = 0; i < COUNT(files); i++) {
		if (access(files[i], F_OK) < 0) {
			printf("# %s: missing\n", files[i]);
			ret = -errno;
		}
	}
	return ret;
}

static int dump_core(void)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_CORE, &unlimited);
	abort();
}

static int coredump(void)
{
	int ret = write_file("/proc/sys/kernel/core_pattern", "/mnt/core");

	in_child(dump_core);
	return ret ? ret : done(access("/mnt/core", F_OK));
}

/* A whole i386 program, "exit with 42": mov eax,1; mov ebx,42; int 0x80. */
static int run_i386(void)
{
	static const unsigned char program[] = {
		0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,	/* 32-bit, little endian */
		2, 0, 3, 0, 1, 0, 0, 0, 0x54, 0x80, 0x04, 0x08,		/* executable, i386, entry */
		52, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 52, 0, 32, 0, 1, 0, 40, 0, 0, 0, 0, 0,
		1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x04, 0x08, 0, 0x80, 0x04, 0x08,	/* PT_LOAD at 0x8048000 */
		0x60, 0, 0, 0, 0x60, 0, 0, 0, 5, 0, 0, 0, 0, 0x10, 0, 0,
		0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80,
	};
	int fd = open("/mnt/i386", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);

	if (fd < 0 || write(fd, program, sizeof(program)) < 0)
		return -errno;
	close(fd);
	execl("/mnt/i386", "i386", (char *)NULL);
	return -errno;
}

static int ia32(void)
{
	return in_child(run_i386) == -42 ? 0 : -ENOEXEC;
}

static int run_script(void)
{
	int ret = write_file("/mnt/script", "#!/mnt/i386\n");

	if (!ret)
		execl("/mnt/script", "script", (char *)NULL);
	return -errno;
}

static int script(void)
{
	return in_child(run_script) == -42 ? 0 : -ENOEXEC;
}

static int random_at_once(void)
{
	char byte;

	return done(syscall(SYS_getrandom, &byte, 1, 1 /* GRND_NONBLOCK */));
}

/* ---- network ---- */

static int tun_device(void)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : done(ioctl(fd, TUNSETIFF, &request));
}

static int netlink(int protocol, const void *message, size_t length)
{
	struct { struct nlmsghdr header; struct nlmsgerr error; } answer = { 0 };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	struct timeval limit = { 2, 0 };

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (send(fd, message, length, 0) < 0 || recv(fd, &answer, sizeof(answer), MSG_TRUNC) < 0)
		answer.error.error = -errno;
	close(fd);
	return answer.error.error;
}

static int add_link(const char *kind)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg info;
		struct rtattr link;
		struct rtattr kind;
		char name[16];
	} message = {
		.header = { sizeof(message), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, 1, 0 },
		.link = { sizeof(struct rtattr) * 2 + 16, IFLA_LINKINFO },
		.kind = { sizeof(struct rtattr) + 16, IFLA_INFO_KIND },
	};

	snprintf(message.name, sizeof(message.name), "%s", kind);
	return netlink(NETLINK_ROUTE, &message, sizeof(message));
}

static int links(void)
{
	/* vlan, macvlan and the like exist but want a parent: -EINVAL, where an unknown kind is -EOPNOTSUPP. */
	static const struct { const char *kind; int expected; } rows[] = {
		{ "veth", 0 }, { "bridge", 0 }, { "dummy", 0 }, { "vlan", -EINVAL }, { "macvlan", -EINVAL }, { "ipvlan", -EINVAL },
		{ "vxlan", -EINVAL },
	};
	size_t i;

	for (i = 0; i < COUNT(rows); i++) {
		int ret = add_link(rows[i].kind);

		if (ret != rows[i].expected) {
			printf("# link %s: %s\n", rows[i].kind, strerror(-ret));
			return ret;
		}
	}
	return 0;
}

static int iptables_tables(void)
{
	static const char *const names[] = { "filter", "nat", "mangle", "raw" };
	int four = socket(AF_INET, SOCK_RAW, IPPROTO_RAW), six = socket(AF_INET6, SOCK_RAW, IPPROTO_RAW);
	size_t i;

	if (four < 0 || six < 0)
		return -errno;
	for (i = 0; i < COUNT(names); i++) {
		struct ipt_getinfo info = { 0 };
		struct ip6t_getinfo info6 = { 0 };
		socklen_t length = sizeof(info), length6 = sizeof(info6);

		strcpy(info.name, names[i]);
		strcpy(info6.name, names[i]);
		if (getsockopt(four, SOL_IP, IPT_SO_GET_INFO, &info, &length) < 0 ||
		    getsockopt(six, SOL_IPV6, IP6T_SO_GET_INFO, &info6, &length6) < 0)
			return -errno;
	}
	return 0;
}

static int iptables_extensions(void)
{
	static const struct { int kind; const char *name; int revision; } rows[] = {
		{ IPT_SO_GET_REVISION_MATCH, "addrtype", 1 }, { IPT_SO_GET_REVISION_MATCH, "conntrack", 3 },
		{ IPT_SO_GET_REVISION_MATCH, "comment", 0 }, { IPT_SO_GET_REVISION_MATCH, "multiport", 1 },
		{ IPT_SO_GET_REVISION_MATCH, "owner", 1 }, { IPT_SO_GET_REVISION_MATCH, "mark", 1 },
		{ IPT_SO_GET_REVISION_MATCH, "physdev", 0 }, { IPT_SO_GET_REVISION_MATCH, "set", 4 },
		{ IPT_SO_GET_REVISION_MATCH, "statistic", 0 }, { IPT_SO_GET_REVISION_MATCH, "recent", 1 },
		{ IPT_SO_GET_REVISION_MATCH, "tcp", 0 }, { IPT_SO_GET_REVISION_MATCH, "bpf", 1 },
		{ IPT_SO_GET_REVISION_TARGET, "MASQUERADE", 0 }, { IPT_SO_GET_REVISION_TARGET, "DNAT", 2 },
		{ IPT_SO_GET_REVISION_TARGET, "SNAT", 1 }, { IPT_SO_GET_REVISION_TARGET, "REDIRECT", 0 },
		{ IPT_SO_GET_REVISION_TARGET, "REJECT", 0 }, { IPT_SO_GET_REVISION_TARGET, "MARK", 2 },
		{ IPT_SO_GET_REVISION_TARGET, "TPROXY", 1 }, { IPT_SO_GET_REVISION_TARGET, "LOG", 0 },
		{ IPT_SO_GET_REVISION_TARGET, "TCPMSS", 0 }, { IPT_SO_GET_REVISION_TARGET, "CT", 2 },
	};
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW), ret = 0;
	size_t i;

	for (i = 0; i < COUNT(rows); i++) {
		struct xt_get_revision request = { .revision = rows[i].revision };
		socklen_t length = sizeof(request);

		strcpy(request.name, rows[i].name);
		if (getsockopt(fd, SOL_IP, rows[i].kind, &request, &length) < 0) {
			ret = -errno;
			printf("# %s revision %d: %s\n", rows[i].name, rows[i].revision, strerror(errno));
		}
	}
	close(fd);
	return ret;
}

/* A batch that adds "table inet t". */
static int nftables(void)
{
	struct message { struct nlmsghdr header; struct nfgenmsg family; };
	struct {
		struct message begin;
		struct message table;
		struct nlattr attr;
		char name[4];
		struct message end;
	} batch = {
		.begin = { { sizeof(struct message), NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 0, 0 },
			   { 0, 0, htons(NFNL_SUBSYS_NFTABLES) } },
		.table = { { sizeof(struct message) + sizeof(struct nlattr) + 4, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE,
			     NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK, 1, 0 }, { 1 /* NFPROTO_INET */, 0, 0 } },
		.attr = { sizeof(struct nlattr) + 2, NFTA_TABLE_NAME },
		.name = "t",
		.end = { { sizeof(struct message), NFNL_MSG_BATCH_END, NLM_F_REQUEST, 2, 0 },
			 { 0, 0, htons(NFNL_SUBSYS_NFTABLES) } },
	};

	return netlink(NETLINK_NETFILTER, &batch, sizeof(batch));
}

static int vsock_socket(void)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = 1024 };
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : done(bind(fd, (struct sockaddr *)&address, sizeof(address)));
}

static int ipv6_socket(void) { return done_fd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }
static int packet_socket(void) { return done_fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)); }

static const struct row {
	const char *name;
	int (*test)(void);
} rows[] = {
	{ "tmpfs", mount_tmpfs },
	{ "tmpfs: extended attributes", tmpfs_xattr },
	{ "tmpfs: POSIX ACLs", tmpfs_acl },
	{ "overlayfs on tmpfs", overlay },
	{ "cgroup2", mount_cgroup2 },
	{ "cgroup2: controllers can be enabled", cgroup_controllers },
	{ "cgroup2: files of a group", cgroup_files },
	{ "cgroup2: device program refuses mknod", cgroup_device },
	{ "cgroup v1: named hierarchy", cgroup_v1 },
	{ "bpf: JIT enabled", bpf_jit },
	{ "devpts", mount_devpts },
	{ "mqueue", mount_mqueue },
	{ "hugetlbfs", mount_hugetlbfs },
	{ "securityfs", mount_securityfs },
	{ "binfmt_misc", mount_binfmt_misc },
	{ "filesystem types", filesystems_known },
	{ "device nodes", device_nodes },
	{ "all namespaces", namespaces },
	{ "seccomp filter with listener", seccomp },
	{ "landlock", landlock },
	{ "keys", keyring },
	{ "io_uring", io_uring },
	{ "epoll, eventfd, timerfd, signalfd, memfd, pidfd", descriptors },
	{ "inotify", inotify_watch },
	{ "fanotify with permission events", fanotify_watch },
	{ "userfaultfd", userfault },
	{ "membarrier", membarriers },
	{ "System V shared memory", ipc_shared_memory },
	{ "asynchronous I/O", aio },
	{ "kcmp", kcmp },
	{ "process_vm_readv", process_vm },
	{ "POSIX message queue", queue },
	{ "files in /proc", proc_files },
	{ "core dump", coredump },
	{ "i386 program", ia32 },
	{ "script", script },
	{ "random numbers at once", random_at_once },
	{ "tun device", tun_device },
	{ "links: veth, bridge, dummy, vlan, macvlan, ipvlan, vxlan", links },
	{ "iptables: tables, IPv4 and IPv6", iptables_tables },
	{ "iptables: matches and targets", iptables_extensions },
	{ "nftables: table inet", nftables },
	{ "vsock", vsock_socket },
	{ "IPv6 socket", ipv6_socket },
	{ "packet socket", packet_socket },
};

int main(void)
{
	size_t i, failed = 0;

	mount_at("proc", "/proc", "");
	mount_at("sysfs", "/sys", "");
	mount_at("devtmpfs", "/dev", "");
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("\nTAP version 13\n1..%zu\n", COUNT(rows));
	for (i = 0; i < COUNT(rows); i++) {
		int ret = rows[i].test();

		failed += ret != 0;
		printf("%s %zu - %s%s%s\n", ret ? "not ok" : "ok", i + 1, rows[i].name, ret ? ": " : "", ret ? strerror(-ret) : "");
	}
	printf("# %zu failed\n", failed);
	fflush(stdout);
	tcdrain(1);
	reboot(RB_AUTOBOOT);
	return 1;
}
