/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mkinitramfs AGENT OUTPUT: writes the VM's initramfs, an uncompressed newc archive: the agent as
 * /init, the directory its root is made on, and the console that the kernel opens for it. The same
 * agent gives the same bytes.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { AGENT_MAX = 64 << 20 };

struct entry {
	const char *path;
	mode_t mode;
	dev_t dev;
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "mkinitramfs: %s: %s\n", what, why);
	exit(1);
}

static void *load(const char *path, size_t *size)
{
	FILE *f = fopen(path, "re");
	char *data = malloc(AGENT_MAX);

	if (!f || !data)
		die(path, strerror(errno));
	*size = fread(data, 1, AGENT_MAX, f);
	if (ferror(f) || *size == AGENT_MAX)
		die(path, ferror(f) ? "cannot be read" : "too large");
	fclose(f);
	return data;
}

static void put(struct archive *a, const struct entry *e, int64_t ino, const void *data,
		size_t size)
{
	struct archive_entry *ae = archive_entry_new();

	if (!ae)
		die(e->path, "out of memory");
	archive_entry_set_pathname(ae, e->path);
	archive_entry_set_mode(ae, e->mode);
	archive_entry_set_ino64(ae, ino);
	archive_entry_set_nlink(ae, S_ISDIR(e->mode) ? 2 : 1);
	archive_entry_set_rdev(ae, e->dev);
	archive_entry_set_size(ae, (int64_t)size);
	archive_entry_set_mtime(ae, 0, 0);
	if (archive_write_header(a, ae) != ARCHIVE_OK ||
	    archive_write_data(a, data, size) != (ssize_t)size)
		die(e->path, archive_error_string(a));
	archive_entry_free(ae);
}

int main(int argc, char **argv)
{
	const struct entry dirs[] = {
		{ "dev", S_IFDIR | 0755, 0 },
		{ "dev/console", S_IFCHR | 0600, makedev(5, 1) },
		{ "r", S_IFDIR | 0755, 0 },
	};
	const struct entry init = { "init", S_IFREG | 0755, 0 };
	struct archive *a = archive_write_new();
	size_t size, i, n = sizeof(dirs) / sizeof(dirs[0]);
	void *data;

	if (argc != 3)
		die("usage", "mkinitramfs AGENT OUTPUT");
	data = load(argv[1], &size);
	if (!a || archive_write_set_format_cpio_newc(a) != ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(a, 512) != ARCHIVE_OK ||
	    archive_write_open_filename(a, argv[2]) != ARCHIVE_OK)
		die(argv[2], a ? archive_error_string(a) : "out of memory");
	for (i = 0; i < n; i++)
		put(a, &dirs[i], (int64_t)i + 1, NULL, 0);
	put(a, &init, (int64_t)n + 1, data, size);
	if (archive_write_close(a) != ARCHIVE_OK)
		die(argv[2], archive_error_string(a));
	archive_write_free(a);
	free(data);
	return 0;
}
