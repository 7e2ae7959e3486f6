// SPDX-License-Identifier: GPL-2.0
/* Which keys and sockets there are: packets from the host name both by number. */
#include <linux/hash.h>
#include <linux/list.h>
#include <linux/slab.h>

#include "tsi.h"

#define TABLE_BITS 11

static struct hlist_head keys[1 << TABLE_BITS];
static struct hlist_head socks[1 << TABLE_BITS];
static DEFINE_SPINLOCK(table_lock);
static u32 last_key;

static struct hlist_head *key_bucket(u32 key)
{
	return &keys[hash_32(key, TABLE_BITS)];
}

static struct hlist_head *sock_bucket(u32 key, u32 host_port)
{
	return &socks[hash_32(key ^ host_port * 0x9e3779b1u, TABLE_BITS)];
}

static struct tsi_key *find_key(u32 key)
{
	struct tsi_key *k;

	hlist_for_each_entry(k, key_bucket(key), node) {
		if (k->key == key)
			return k;
	}
	return NULL;
}

/* Numbers go round, so that one is long out of use before it comes again. */
static u32 pick_key(void)
{
	do {
		if (last_key < TSI_KEY_MIN || last_key >= TSI_KEY_MAX)
			last_key = TSI_KEY_MIN - 1;
		last_key++;
	} while (find_key(last_key));
	return last_key;
}

struct tsi_key *tsi_key_new(void)
{
	struct tsi_key *k = kzalloc(sizeof(*k), GFP_KERNEL_ACCOUNT);

	if (!k)
		return NULL;
	refcount_set(&k->ref, 1);
	mutex_init(&k->lock);
	spin_lock_init(&k->answer_lock);
	init_waitqueue_head(&k->wait);
	spin_lock_bh(&table_lock);
	k->key = pick_key();
	hlist_add_head(&k->node, key_bucket(k->key));
	spin_unlock_bh(&table_lock);
	return k;
}

struct tsi_key *tsi_key_find(u32 key)
{
	struct tsi_key *k;

	spin_lock(&table_lock);
	k = find_key(key);
	if (k)
		refcount_inc(&k->ref);
	spin_unlock(&table_lock);
	return k;
}

void tsi_key_put(struct tsi_key *k)
{
	if (!k)
		return;
	local_bh_disable();
	if (refcount_dec_and_lock(&k->ref, &table_lock)) {
		hlist_del(&k->node);
		spin_unlock(&table_lock);
		kfree(k);
	}
	local_bh_enable();
}

/* The device was reset: nothing that was asked will be answered. */
void tsi_keys_fail(int err)
{
	struct tsi_key *k;
	int i;

	spin_lock_bh(&table_lock);
	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		hlist_for_each_entry(k, &keys[i], node) {
			spin_lock(&k->answer_lock);
			k->waiting = 0;
			if (k->reply) {
				k->reply->result = err;
				k->reply->len = 0;
				smp_store_release(&k->reply->done, true);
				k->reply = NULL;
			}
			wake_up_all(&k->wait);
			spin_unlock(&k->answer_lock);
		}
	}
	spin_unlock_bh(&table_lock);
}

/* The table holds a reference. */
void tsi_hash(struct tsi_sock *tsk)
{
	sock_hold(tsi_sock_sk(tsk));
	spin_lock_bh(&table_lock);
	tsk->hashed = true;
	hlist_add_head(&tsk->node, sock_bucket(tsk->key->key, tsk->host_port));
	spin_unlock_bh(&table_lock);
}

void tsi_unhash(struct tsi_sock *tsk)
{
	bool was;

	spin_lock_bh(&table_lock);
	was = tsk->hashed;
	if (was)
		hlist_del_init(&tsk->node);
	tsk->hashed = false;
	spin_unlock_bh(&table_lock);
	if (was)
		sock_put(tsi_sock_sk(tsk));
}

/* With a reference for the caller. */
struct sock *tsi_find(u32 key, u32 host_port)
{
	struct tsi_sock *tsk;
	struct sock *sk = NULL;

	spin_lock(&table_lock);
	hlist_for_each_entry(tsk, sock_bucket(key, host_port), node) {
		if (tsk->host_port == host_port && tsk->key->key == key) {
			sk = tsi_sock_sk(tsk);
			sock_hold(sk);
			break;
		}
	}
	spin_unlock(&table_lock);
	return sk;
}

/* fn must not sleep. */
void tsi_for_each(void (*fn)(struct sock *sk))
{
	struct tsi_sock *tsk;
	int i;

	spin_lock_bh(&table_lock);
	for (i = 0; i < ARRAY_SIZE(socks); i++) {
		hlist_for_each_entry(tsk, &socks[i], node) fn(tsi_sock_sk(tsk));
	}
	spin_unlock_bh(&table_lock);
}
