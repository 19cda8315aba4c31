/* SPDX-License-Identifier: MIT
 *
 * Decodes NLM arguments with what rpcgen makes of our .x files. Each line of the input is "VERSION PROCEDURE HEX"; the
 * answer is one line: "ok CONSUMED FIELD=VALUE ..." or "no". arguments.h is rpcgen's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <rpc/rpc.h>
#include "arguments.h"

static void octets(const char *name, const char *p, unsigned n)
{
	printf(" %s=", name);
	for (unsigned i = 0; i < n; i++)
		printf("%02x", (unsigned char)p[i]);
}

static void number(const char *name, unsigned long long v)
{
	printf(" %s=%llu", name, v);
}

static void text(const char *name, const char *s, unsigned n)
{
	octets(name, s, n);
}

/* The length of a string is not kept by xdr_string: it ends at the first zero octet, which may be one of its own. */
#define LOCK(l) do { \
	text("caller", (l).caller_name, strlen((l).caller_name)); \
	octets("fh", (l).fh.lm_netobj_val, (l).fh.lm_netobj_len); \
	octets("oh", (l).oh.lm_netobj_val, (l).oh.lm_netobj_len); \
	} while (0)
#define RANGE(l, id) do { \
	number("svid", (unsigned)(l).id); number("start", (l).l_offset); number("len", (l).l_len); \
	} while (0)
#define COOKIE(a) octets("cookie", (a).cookie.lm_netobj_val, (a).cookie.lm_netobj_len)

#define VERSION_OF(P, ID) \
static int P##_decode(XDR *x, unsigned proc) \
{ \
	switch (proc) { \
	case 1: case 5: case 6: case 10: { \
		P##_testargs a; memset(&a, 0, sizeof a); \
		if (!xdr_##P##_testargs(x, &a)) return 0; \
		printf("ok %u", xdr_getpos(x)); COOKIE(a); number("exclusive", !!a.exclusive); LOCK(a.alock); RANGE(a.alock, ID); \
		xdr_free((xdrproc_t)xdr_##P##_testargs, &a); return 1; } \
	case 2: case 7: case 22: { \
		P##_lockargs a; memset(&a, 0, sizeof a); \
		if (!xdr_##P##_lockargs(x, &a)) return 0; \
		printf("ok %u", xdr_getpos(x)); COOKIE(a); number("block", !!a.block); number("exclusive", !!a.exclusive); \
		LOCK(a.alock); RANGE(a.alock, ID); number("reclaim", !!a.reclaim); number("state", (unsigned)a.state); \
		xdr_free((xdrproc_t)xdr_##P##_lockargs, &a); return 1; } \
	case 3: case 8: { \
		P##_cancargs a; memset(&a, 0, sizeof a); \
		if (!xdr_##P##_cancargs(x, &a)) return 0; \
		printf("ok %u", xdr_getpos(x)); COOKIE(a); number("block", !!a.block); number("exclusive", !!a.exclusive); \
		LOCK(a.alock); RANGE(a.alock, ID); \
		xdr_free((xdrproc_t)xdr_##P##_cancargs, &a); return 1; } \
	case 4: case 9: { \
		P##_unlockargs a; memset(&a, 0, sizeof a); \
		if (!xdr_##P##_unlockargs(x, &a)) return 0; \
		printf("ok %u", xdr_getpos(x)); COOKIE(a); LOCK(a.alock); RANGE(a.alock, ID); \
		xdr_free((xdrproc_t)xdr_##P##_unlockargs, &a); return 1; } \
	case 15: { \
		P##_res a; memset(&a, 0, sizeof a); \
		if (!xdr_##P##_res(x, &a)) return 0; \
		printf("ok %u", xdr_getpos(x)); COOKIE(a); number("stat", (unsigned)a.stat.stat); \
		xdr_free((xdrproc_t)xdr_##P##_res, &a); return 1; } \
	case 20: case 21: { \
		P##_shareargs a; memset(&a, 0, sizeof a); \
		if (!xdr_##P##_shareargs(x, &a)) return 0; \
		printf("ok %u", xdr_getpos(x)); COOKIE(a); LOCK(a.share); \
		number("mode", (unsigned)a.share.mode); number("access", (unsigned)a.share.access); \
		xdr_free((xdrproc_t)xdr_##P##_shareargs, &a); return 1; } \
	case 23: { \
		P##_notify a; memset(&a, 0, sizeof a); \
		if (!xdr_##P##_notify(x, &a)) return 0; \
		printf("ok %u", xdr_getpos(x)); text("caller", a.name, strlen(a.name)); number("state", (unsigned)a.state); \
		xdr_free((xdrproc_t)xdr_##P##_notify, &a); return 1; } \
	case 16: { \
		sm_status a; memset(&a, 0, sizeof a); \
		if (!xdr_sm_status(x, &a)) return 0; \
		printf("ok %u", xdr_getpos(x)); text("mon", a.mon_name, strlen(a.mon_name)); \
		number("state", (unsigned)a.state); octets("priv", a.priv, sizeof a.priv); \
		xdr_free((xdrproc_t)xdr_sm_status, &a); return 1; } \
	} \
	return 0; \
}

VERSION_OF(nlm, uppid)
VERSION_OF(nlm4, svid)

int main(void)
{
	static char line[40000], buf[20000];
	unsigned vers, proc;
	int at;

	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "%u %u %n", &vers, &proc, &at) != 2) {
			fprintf(stderr, "decode: want VERSION PROCEDURE HEX, not %s", line);
			return 2;
		}
		unsigned n = 0, octet;
		for (char *p = line + at; n < sizeof buf && sscanf(p, "%2x", &octet) == 1; p += 2)
			buf[n++] = octet;
		XDR x;
		xdrmem_create(&x, buf, n, XDR_DECODE);
		if (!(vers == 4 ? nlm4_decode(&x, proc) : nlm_decode(&x, proc)))
			printf("no");
		printf("\n");
		xdr_destroy(&x);
	}
	return 0;
}
