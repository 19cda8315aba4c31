/* SPDX-License-Identifier: MIT
 *
 * nlm HOST PORT HANDLE STEP...: a client of a lock manager, version 4, made with libnfs. PORT 0 asks the host's rpcbind.
 * HANDLE is a file handle in hex. Each step is one call, answered by one line "STEP STATUS [HOLDER]":
 *   null
 *   test:OWNER:OFFSET:LENGTH        for an exclusive lock
 *   lock:OWNER:OFFSET:LENGTH        exclusive, without waiting
 *   block:OWNER:OFFSET:LENGTH       exclusive, the answer may be that it has to wait
 *   cancel:OWNER:OFFSET:LENGTH
 *   unlock:OWNER:OFFSET:LENGTH
 *   sleep:MILLISECONDS
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-nlm.h>

enum { LOCK_MANAGER = 100021 };

static struct rpc_context *rpc;
static const char *step;
static int done, failed;

static void await(void)
{
	for (done = 0; !done; ) {
		struct pollfd p = { rpc_get_fd(rpc), rpc_which_events(rpc), 0 };
		if (poll(&p, 1, 5000) <= 0 || rpc_service(rpc, p.revents) < 0) {
			printf("%s: no answer: %s\n", step, rpc_get_error(rpc));
			exit(1);
		}
	}
}

static int broken(int status, void *data)
{
	done = 1;
	if (status == 0)
		return 0;
	printf("%s: %s\n", step, status == RPC_STATUS_ERROR && data ? (char *)data : "failed");
	failed = 1;
	return 1;
}

static void connected(struct rpc_context *c, int status, void *data, void *priv)
{
	broken(status, data);
}

static void null_answer(struct rpc_context *c, int status, void *data, void *priv)
{
	if (!broken(status, data))
		printf("%s 0\n", step);
}

/* The answers of LOCK, CANCEL and UNLOCK have one form. */
static void answer(struct rpc_context *c, int status, void *data, void *priv)
{
	if (!broken(status, data))
		printf("%s %d\n", step, (int)((NLM4_LOCKres *)data)->status);
}

static void test_answer(struct rpc_context *c, int status, void *data, void *priv)
{
	NLM4_TESTres *r = data;

	if (broken(status, data))
		return;
	printf("%s %d", step, (int)r->reply.status);
	if (r->reply.status == NLM4_DENIED) {
		struct nlm4_holder *h = &r->reply.nlm4_testreply_u.lock.holder;
		printf(" %d %llu:%llu", h->exclusive, (unsigned long long)h->l_offset, (unsigned long long)h->l_len);
	}
	printf("\n");
}

int main(int argc, char **argv)
{
	static char handle[128], cookie[] = "cook", owner[64];
	unsigned size = 0, octet;
	int port;

	if (argc < 5) {
		fprintf(stderr, "nlm: want HOST PORT HANDLE STEP...\n");
		return 2;
	}
	for (char *p = argv[3]; size < sizeof handle && sscanf(p, "%2x", &octet) == 1; p += 2)
		handle[size++] = octet;
	rpc = rpc_init_context();
	step = "connect";
	port = atoi(argv[2]);
	if (port ? rpc_connect_port_async(rpc, argv[1], port, LOCK_MANAGER, 4, connected, NULL)
		 : rpc_connect_program_async(rpc, argv[1], LOCK_MANAGER, 4, connected, NULL)) {
		printf("connect: %s\n", rpc_get_error(rpc));
		return 1;
	}
	await();
	for (int i = 4; i < argc && !failed; i++) {
		unsigned long long offset = 0, length = 0;
		struct nlm4_lock l = { 0 };

		step = argv[i];
		if (!strncmp(step, "sleep:", 6)) {
			usleep(1000 * atoi(step + 6));
			continue;
		}
		char *colon = strchr(step, ':');
		if (colon)
			sscanf(colon, ":%63[^:]:%llu:%llu", owner, &offset, &length);
		l.caller_name = "libnfs";
		l.fh.data.data_len = size;
		l.fh.data.data_val = handle;
		l.oh = owner;
		l.svid = owner[0];
		l.l_offset = offset;
		l.l_len = length;
		if (!strcmp(step, "null")) {
			rpc_nlm4_null_async(rpc, null_answer, NULL);
		} else if (!strncmp(step, "test:", 5)) {
			NLM4_TESTargs a = { .cookie = { { 4, cookie } }, .exclusive = 1, .lock = l };
			rpc_nlm4_test_async(rpc, test_answer, &a, NULL);
		} else if (!strncmp(step, "lock:", 5) || !strncmp(step, "block:", 6)) {
			NLM4_LOCKargs a = { .cookie = { { 4, cookie } }, .block = step[0] == 'b', .exclusive = 1, .lock = l, .state = 3 };
			rpc_nlm4_lock_async(rpc, answer, &a, NULL);
		} else if (!strncmp(step, "cancel:", 7)) {
			NLM4_CANCargs a = { .cookie = { { 4, cookie } }, .block = 1, .exclusive = 1, .lock = l };
			rpc_nlm4_cancel_async(rpc, answer, &a, NULL);
		} else if (!strncmp(step, "unlock:", 7)) {
			NLM4_UNLOCKargs a = { .cookie = { { 4, cookie } }, .lock = l };
			rpc_nlm4_unlock_async(rpc, answer, &a, NULL);
		} else {
			fprintf(stderr, "nlm: %s is no step\n", step);
			return 2;
		}
		await();
	}
	rpc_destroy_context(rpc);
	return failed;
}
