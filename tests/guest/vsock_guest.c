/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AF_VSOCK for scripts in a guest:
 *
 *	vsock listen PORT	takes one connection, copies it to standard output, answers "got N"
 *	vsock connect PORT	to the host: standard input goes there, what comes to standard
 *output
 */
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static long copy(int from, int to)
{
	char buf[4096];
	long all = 0;
	ssize_t n;

	while ((n = read(from, buf, sizeof(buf))) > 0) {
		for (ssize_t at = 0, w; at < n; at += w) {
			w = write(to, buf + at, (size_t)(n - at));
			if (w < 0)
				return -1;
		}
		all += n;
	}
	return n < 0 ? -1 : all;
}

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm sa = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0), s;
	char text[32];
	long n;

	if (argc != 3 || fd < 0)
		return fail("socket");
	sa.svm_port = (unsigned int)strtoul(argv[2], NULL, 10);
	if (!strcmp(argv[1], "listen")) {
		if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 4) < 0)
			return fail("listen");
		fputs("ready\n", stderr);
		s = accept(fd, NULL, NULL);
		n = s < 0 ? -1 : copy(s, 1);
		if (n < 0)
			return fail("accept");
		snprintf(text, sizeof(text), "got %ld\n", n);
		return write(s, text, strlen(text)) < 0 ? fail("write") : 0;
	}
	sa.svm_cid = VMADDR_CID_HOST;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return fail("connect");
	if (copy(0, fd) < 0 && errno != EPIPE)
		return fail("write");
	shutdown(fd, SHUT_WR);
	return copy(fd, 1) < 0 ? fail("read") : 0;
}
