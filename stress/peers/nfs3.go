// SPDX-License-Identifier: MIT

package peers

import (
	"bytes"
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
)

// Programs and procedures of NFS version 3 and of its mount protocol, RFC 1813, as far as a client needs them that
// mounts, looks files up and opens them.
const (
	mountProgram = 100005
	nfsProgram   = 100003

	mount3Mnt  = 1
	mount3Umnt = 3

	nfs3Getattr  = 1
	nfs3Lookup   = 3
	nfs3Access   = 4
	nfs3Write    = 7
	nfs3Fsstat   = 18
	nfs3Fsinfo   = 19
	nfs3Pathconf = 20

	nfs3OK       = 0
	nfs3NoEnt    = 2
	nfs3Stale    = 70
	nfs3Jukebox  = 10008
	nfs3Dir      = 2
	nfs3Regular  = 1
	nfs3Anything = 0x3f // ACCESS: all rights
)

// words is the XDR of unsigned integers.
func words(w ...uint32) []byte {
	var b []byte
	for _, x := range w {
		b = binary.BigEndian.AppendUint32(b, x)
	}
	return b
}

// opaque is the XDR of a string of octets.
func opaque(s []byte) []byte {
	b := append(words(uint32(len(s))), s...)
	return append(b, make([]byte, -len(s)&3)...)
}

// reader takes XDR apart; behind the end everything is 0 and short is set.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b, r.short = nil, true
		return make([]byte, max(min(n, 1024), 0))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) word() uint32 { return binary.BigEndian.Uint32(r.take(4)) }

func (r *reader) opaque() []byte {
	n := int(r.word())
	b := r.take(n)
	r.take(-n & 3)
	return b
}

// fileServer is an NFS version 3 server of a flat directory of empty files: all that a kernel needs in order to take
// locks on them from somebody else.
type fileServer struct {
	root  []byte            // handle
	files map[string][]byte // handles, by name
}

// serveFiles answers for fs on srv.
func serveFiles(srv *rpcclient.Server, fs *fileServer) {
	handle := func(prog, proc uint32, h func(r *reader) []byte) {
		srv.Handle(prog, 3, proc, func(req *rpcclient.Request) ([]byte, error) {
			r := &reader{b: req.Args}
			res := h(r)
			if r.short {
				return nil, &rpcclient.Refusal{Status: rpcclient.GarbageArgs}
			}
			return res, nil
		})
	}
	handle(mountProgram, mount3Mnt, func(r *reader) []byte {
		r.opaque()
		const authSys = 1
		return append(append(words(nfs3OK), opaque(fs.root)...), words(1, authSys)...)
	})
	handle(mountProgram, mount3Umnt, func(*reader) []byte { return nil })
	handle(nfsProgram, nfs3Getattr, func(r *reader) []byte {
		attr := fs.attributes(r.opaque())
		if attr == nil {
			return words(nfs3Stale)
		}
		return append(words(nfs3OK), attr...)
	})
	handle(nfsProgram, nfs3Lookup, fs.lookup)
	handle(nfsProgram, nfs3Access, func(r *reader) []byte {
		attr := fs.postOp(r.opaque())
		return append(append(words(nfs3OK), attr...), words(nfs3Anything)...)
	})
	handle(nfsProgram, nfs3Fsstat, func(r *reader) []byte {
		attr := fs.postOp(r.opaque())
		return append(append(words(nfs3OK), attr...), words(0, 1<<20, 0, 1<<20, 0, 1<<20, 0, 100, 0, 100, 0, 100, 0)...)
	})
	handle(nfsProgram, nfs3Fsinfo, func(r *reader) []byte {
		attr := fs.postOp(r.opaque())
		const size, props = 4096, 0x1b
		return append(append(words(nfs3OK), attr...),
			words(size, size, 8, size, size, 8, size, 1<<31-1, ^uint32(0), 0, 1, props)...)
	})
	handle(nfsProgram, nfs3Pathconf, func(r *reader) []byte {
		attr := fs.postOp(r.opaque())
		return append(append(words(nfs3OK), attr...), words(32, 255, 1, 1, 0, 1)...)
	})
}

// lookup answers LOOKUP.
func (fs *fileServer) lookup(r *reader) []byte {
	dir := r.opaque()
	fh := fs.files[string(r.opaque())]
	if !bytes.Equal(dir, fs.root) || fh == nil {
		return append(words(nfs3NoEnt), fs.postOp(fs.root)...)
	}
	res := append(words(nfs3OK), opaque(fh)...)
	return append(append(res, fs.postOp(fh)...), fs.postOp(fs.root)...)
}

// attributes is fattr3 of a handle, nil if it is none of ours.
func (fs *fileServer) attributes(fh []byte) []byte {
	kind, mode, id := uint32(nfs3Regular), uint32(0o666), uint32(0)
	if bytes.Equal(fh, fs.root) {
		kind, mode, id = nfs3Dir, 0o777, 1
	}
	for _, f := range fs.files {
		if bytes.Equal(fh, f) {
			id = 2 + binary.LittleEndian.Uint32(f[max(len(f)-8, 0):])
		}
	}
	if id == 0 {
		return nil
	}
	return words(kind, mode, 1, 0, 0, 0, 4096, 0, 4096, 0, 0, 0, 1, 0, id, 1, 0, 1, 0, 1, 0)
}

// postOp is post_op_attr of a handle.
func (fs *fileServer) postOp(fh []byte) []byte {
	attr := fs.attributes(fh)
	if attr == nil {
		return words(0)
	}
	return append(words(1), attr...)
}
