/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports, and the root directory that holds them by name. The root exists only here: read-only,
 * node 1, entries in the order of the table. Its names are never cached by the guest, so that an
 * export is there once it was added and gone once it was removed.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/dir.h"
#include "fs/server.h"

static struct fs_export **find(struct sm_fs *fs, const char *name)
{
	for (size_t i = 0; i < fs->nexports; i++) {
		if (strcmp(fs->exports[i]->name, name) == 0)
			return &fs->exports[i];
	}
	return NULL;
}

static bool name_ok(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > SM_FS_NAME_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("_.-", name[i]))
			return false;
	}
	return true;
}

void fs_export_put_locked(struct fs_export *export)
{
	if (export && --export->refs == 0)
		free(export);
}

/* Only the loop's thread changes the table, so what holds here holds until it adds. */
static int check_new(struct sm_fs *fs, const char *name)
{
	int ret = 0;

	if (!name_ok(name))
		return -EINVAL;
	pthread_mutex_lock(&fs->lock);
	if (find(fs, name))
		ret = -EEXIST;
	else if (fs->nexports == SM_FS_EXPORTS_MAX)
		ret = -ENOSPC;
	pthread_mutex_unlock(&fs->lock);
	return ret;
}

int sm_fs_add_export(struct sm_fs *fs, const char *name, int fd, bool readonly)
{
	struct fs_export *export;
	struct statx stx;
	int ret = check_new(fs, name);

	if (ret == 0)
		ret = fs_statx(fd, "", &stx);
	if (ret == 0 && S_ISLNK(stx.stx_mode))
		ret = -EINVAL; /* nothing that a guest could use a mount of */
	if (ret < 0)
		return ret;
	export = calloc(1, sizeof(*export));
	if (!export)
		return -ENOMEM;
	strcpy(export->name, name);
	export->readonly = readonly;
	export->refs = 1;
	ret = fs_inode_new_root(fs, export, fd, &stx, &export->root);
	if (ret < 0) {
		free(export);
		return ret;
	}
	pthread_mutex_lock(&fs->lock);
	fs->exports[fs->nexports++] = export;
	pthread_mutex_unlock(&fs->lock);
	return 0;
}

int sm_fs_remove_export(struct sm_fs *fs, const char *name)
{
	struct fs_export **at, *export;
	struct fs_inode *root;

	pthread_mutex_lock(&fs->lock);
	at = find(fs, name);
	if (at) {
		export = *at;
		memmove(at, at + 1, (size_t)(fs->exports + --fs->nexports - at) * sizeof(*at));
		root = export->root;
		export->root = NULL;
		fs_inode_put_locked(fs, root);
		fs_export_put_locked(export);
	}
	pthread_mutex_unlock(&fs->lock);
	return at ? 0 : -ENOENT;
}

/* The root inode of the export, referenced. */
static struct fs_inode *get_root(struct sm_fs *fs, const char *name)
{
	struct fs_inode *root = NULL;
	struct fs_export **at;

	pthread_mutex_lock(&fs->lock);
	at = find(fs, name);
	if (at) {
		root = (*at)->root;
		root->refs++;
	}
	pthread_mutex_unlock(&fs->lock);
	return root;
}

int fs_export_lookup(struct fs_req *r)
{
	struct fs_inode *root = get_root(r->fs, r->name[0]);
	struct fuse_entry_out out;
	struct statx stx;
	int ret;

	if (!root)
		return -ENOENT;
	ret = fs_inode_stat(r->fs, root, &stx);
	if (ret == 0) {
		fs_inode_count(r->fs, root);
		fs_entry_set(r->fs, root, r->inode, &stx, &out);
		memcpy(r->out, &out, sizeof(out));
		ret = sizeof(out);
	}
	fs_inode_put(r->fs, root);
	return ret;
}

int fs_export_readdir(struct fs_req *r, bool plus)
{
	static const struct fuse_entry_out no_entry;
	struct fuse_read_in in;
	size_t pos = 0, len = 1, size;

	memcpy(&in, r->arg, sizeof(in));
	size = in.size < r->out_max ? in.size : r->out_max;
	pthread_mutex_lock(&r->fs->lock);
	for (uint64_t i = in.offset; i < r->fs->nexports + 2 && len > 0; i++) {
		struct fs_dirent e = { i == 0 ? "." : "..", FUSE_ROOT_ID, i + 1, S_IFDIR >> 12 };

		if (i >= 2) {
			const struct fs_export *export = r->fs->exports[i - 2];

			e.name = export->name;
			e.ino = export->root->ino;
			e.type = export->root->type >> 12;
		}
		len = fs_dirent_put(r, pos, size, plus, &e, &no_entry);
		pos += len;
	}
	pthread_mutex_unlock(&r->fs->lock);
	return (int)pos;
}

static void sync_root(struct sm_fs *fs, struct fs_inode *root)
{
	int path, fd;

	if (fs_inode_pin(fs, root, &path) < 0)
		return;
	fd = openat(fs->proc_fd, fs_fdname(path).s, O_RDONLY | O_CLOEXEC);
	fs_inode_unpin(fs, root);
	if (fd < 0)
		return;
	syncfs(fd);
	close(fd);
}

/* The file systems of exports that are files, which the guest sees in the root's own one. Each is
 * opened without the lock, for that can take as long as its server likes. */
void fs_export_syncfs(struct sm_fs *fs)
{
	struct fs_inode *roots[SM_FS_EXPORTS_MAX];
	size_t n = 0;

	pthread_mutex_lock(&fs->lock);
	for (size_t i = 0; i < fs->nexports; i++) {
		const struct fs_export *export = fs->exports[i];

		if (export->readonly || export->root->type != S_IFREG)
			continue;
		export->root->refs++;
		roots[n++] = export->root;
	}
	pthread_mutex_unlock(&fs->lock);
	while (n > 0) {
		sync_root(fs, roots[--n]);
		fs_inode_put(fs, roots[n]);
	}
}
