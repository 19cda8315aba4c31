// SPDX-License-Identifier: MIT

package peers

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
)

// Operations and results of NFS version 4.0, RFC 7530, as far as somebody needs them who wants to be called back.
const (
	opClose              = 4
	opDelegreturn        = 8
	opGetfh              = 10
	opLookup             = 15
	opOpen               = 18
	opOpenConfirm        = 20
	opPutfh              = 22
	opPutrootfh          = 24
	opSetclientid        = 35
	opSetclientidConfirm = 36

	delegateNone, delegateRead = 0, 1
)

// nfs4Client is a client of a version 4.0 server that can be called back.
type nfs4Client struct {
	rpc      *rpcclient.Client
	clientid []byte // 8 octets
	seq      uint32 // of the one open owner
}

// compound performs operations and returns what they say; the error names the one that failed.
func (n *nfs4Client) compound(ctx context.Context, ops ...[]byte) (*reader, uint32, error) {
	args := append(opaque(nil), words(0, uint32(len(ops)))...)
	for _, op := range ops {
		args = append(args, op...)
	}
	res, err := n.rpc.Call(ctx, nfsProgram, 4, 1, args)
	if err != nil {
		return nil, 0, err
	}
	r := &reader{b: res}
	status := r.word()
	r.opaque()
	r.word()
	return r, status, nil
}

// must is compound for operations that have to succeed.
func (n *nfs4Client) must(ctx context.Context, what string, ops ...[]byte) (*reader, error) {
	r, status, err := n.compound(ctx, ops...)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	case status != 0:
		return nil, fmt.Errorf("%s: status %d", what, status)
	}
	return r, nil
}

// introduce tells the server who we are and where it may call back.
func (n *nfs4Client) introduce(ctx context.Context, name, callback string, program, ident uint32) error {
	verifier := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	op := append(words(opSetclientid), verifier...)
	op = append(op, opaque([]byte(name))...)
	op = append(op, words(program)...)
	op = append(append(append(op, opaque([]byte("tcp"))...), opaque([]byte(callback))...), words(ident)...)
	r, err := n.must(ctx, "SETCLIENTID", op)
	if err != nil {
		return err
	}
	r.take(8)
	n.clientid = append([]byte(nil), r.take(8)...)
	confirm := append([]byte(nil), r.take(8)...)
	_, err = n.must(ctx, "SETCLIENTID_CONFIRM", append(append(words(opSetclientidConfirm), n.clientid...), confirm...))
	return err
}

// opened is an open file.
type opened struct {
	fh, stateid []byte
	delegation  []byte // stateid, nil: none
}

// open opens a file of the server's export for reading. A server that has just been told where to call back gives
// no delegation before it has tried to.
func (n *nfs4Client) open(ctx context.Context, export, name string) (*opened, error) {
	op := append(words(opOpen, n.seq, 1 /* read */, 0), n.clientid...)
	op = append(append(op, opaque([]byte("owner"))...), words(0 /* no create */, 0 /* by name */)...)
	op = append(op, opaque([]byte(name))...)
	n.seq++
	r, err := n.must(ctx, "OPEN", words(opPutrootfh), append(words(opLookup), opaque([]byte(export))...), op,
		words(opGetfh))
	if err != nil {
		return nil, err
	}
	r.take(8 + 8 + 8) // PUTROOTFH, LOOKUP, head of OPEN
	o := &opened{stateid: append([]byte(nil), r.take(16)...)}
	r.take(4 + 8 + 8)
	flags := r.word()
	for range r.word() {
		r.word()
	}
	if r.word() == delegateRead {
		o.delegation = append([]byte(nil), r.take(16)...)
		r.take(4 + 4 + 4 + 4)
		r.opaque()
	}
	r.take(8)
	o.fh = append([]byte(nil), r.opaque()...)
	if r.short {
		return nil, fmt.Errorf("OPEN: the answer is too short")
	}
	const wantsConfirm = 2
	if flags&wantsConfirm != 0 {
		confirm := append(append(words(opOpenConfirm), o.stateid...), words(n.seq)...)
		n.seq++
		r, err := n.must(ctx, "OPEN_CONFIRM", n.putfh(o), confirm)
		if err != nil {
			return nil, err
		}
		r.take(8 + 8)
		o.stateid = append([]byte(nil), r.take(16)...)
	}
	return o, nil
}

func (n *nfs4Client) putfh(o *opened) []byte { return append(words(opPutfh), opaque(o.fh)...) }

// delegreturn gives the delegation back.
func (n *nfs4Client) delegreturn(ctx context.Context, o *opened) error {
	_, err := n.must(ctx, "DELEGRETURN", n.putfh(o), append(words(opDelegreturn), o.delegation...))
	return err
}

// close closes the file.
func (n *nfs4Client) close(ctx context.Context, o *opened) error {
	op := append(words(opClose, n.seq), o.stateid...)
	n.seq++
	_, err := n.must(ctx, "CLOSE", n.putfh(o), op)
	return err
}

// write3 writes to a file with version 3, as somebody else, for as long as the server asks for patience.
func write3(ctx context.Context, rpc *rpcclient.Client, fh []byte) (status uint32, err error) {
	args := append(opaque(fh), words(0, 0, 1, 2 /* to disk */)...)
	args = append(args, opaque([]byte("x"))...)
	for range 60 {
		res, err := rpc.Call(ctx, nfsProgram, 3, nfs3Write, args)
		if err != nil {
			return 0, err
		}
		if status = (&reader{b: res}).word(); status != nfs3Jukebox {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return status, nil
}
