/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serves directories by vhost-user to one QEMU, for bench/fs and by hand:
 *
 *	fs_server SOCKET NAME=DIR[:ro]...
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fs/fs.h"
#include "virtio/vhost_user.h"

static int accept_one(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int conn, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(addr.sun_path))
		return -1;
	strcpy(addr.sun_path, path);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0)
		return -1;
	conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	close(fd);
	return conn;
}

static int add(struct sm_fs *fs, char *spec)
{
	char *dir = strchr(spec, '='), *opt;
	int fd;

	if (!dir)
		return -1;
	*dir++ = '\0';
	opt = strrchr(dir, ':');
	if (opt)
		*opt++ = '\0';
	fd = open(dir, O_PATH | O_CLOEXEC);
	return fd < 0 ? -1 : sm_fs_add_export(fs, spec, fd, opt && strcmp(opt, "ro") == 0);
}

static void gone(void *arg, int err)
{
	if (err < 0)
		fprintf(stderr, "fs_server: front end: %s\n", strerror(-err));
	sm_loop_stop(arg);
}

int main(int argc, char **argv)
{
	struct sm_loop *loop = sm_loop_new();
	struct sm_vhost_user *vu;
	struct sm_fs *fs;
	int conn, ret;

	if (argc < 3 || !loop || sm_fs_new(loop, NULL, &fs) < 0)
		return 1;
	for (int i = 2; i < argc; i++) {
		if (add(fs, argv[i]) < 0) {
			fprintf(stderr, "fs_server: cannot export %s\n", argv[i]);
			return 1;
		}
	}
	conn = accept_one(argv[1]);
	if (conn < 0 || sm_vhost_user_new(loop, conn, sm_fs_vdev(fs), gone, loop, &vu) < 0) {
		perror("fs_server");
		return 1;
	}
	ret = sm_loop_run(loop);
	sm_vhost_user_free(vu);
	sm_fs_free(fs);
	sm_loop_free(loop);
	return ret < 0;
}
