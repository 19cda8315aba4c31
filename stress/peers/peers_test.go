// SPDX-License-Identifier: MIT

package peers

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/stress/rpcclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestVerdicts(t *testing.T) {
	good := func(_ context.Context, c *Checks) error { c.ok("x", ""); return nil }
	for _, tc := range []struct {
		name         string
		p            Peer
		verdict, why string
	}{
		{"all well", Peer{run: good}, Passed, ""},
		{"missing program", Peer{Needs: []string{"sh", "no-such-program"}, Install: "install-it", run: good}, NotAvailable,
			"no-such-program: not installed; run make install-it"},
		{"missing later", Peer{run: func(context.Context, *Checks) error { return notAvailable("no tap: reason") }},
			NotAvailable, "no tap: reason"},
		{"wrong", Peer{run: func(_ context.Context, c *Checks) error { c.that(false, "y", "is z"); return good(nil, c) }},
			Failed, "y"},
		{"fault", Peer{run: func(context.Context, *Checks) error { return errors.New("broken pipe") }}, Failed, "broken pipe"},
		{"nothing", Peer{run: func(context.Context, *Checks) error { return nil }}, Failed, "nothing was looked at"},
	} {
		told := 0
		r := tc.p.Run(t.Context(), Options{}, func(Check) { told++ })
		if r.Verdict != tc.verdict || r.Why != tc.why || told != len(r.Checks) {
			t.Errorf("%s: %+v, told of %d", tc.name, r, told)
		}
	}
	if _, err := Find("tlc"); err == nil || !strings.Contains(err.Error(), "there are rpcgen, rpcbind, statd, libnfs, kernel") {
		t.Errorf("%v", err)
	}
}

// TestDecodersDiffer gives the comparison of the decoders answers that are wrong in one place, which it has to see.
func TestDecodersDiffer(t *testing.T) {
	for _, vers := range []uint32{3, 4} {
		d := &decodersDiffer{vers: vers, rng: rand.New(rand.NewPCG(1, 2))}
		seen := map[string]int{}
		for range 3000 {
			proc := nlmArgProcs[d.rng.IntN(len(nlmArgProcs))]
			b := d.message(proc)
			ours := d.ours(proc, b)
			seen[strings.Fields(ours)[0]]++
			d.differ = 0
			wrong := "no"
			if ours == "no" {
				wrong = "ok 4 state=1"
			}
			d.compare(proc, b, wrong)
			if d.differ != 1 {
				t.Fatalf("version %d, procedure %d, %x: %q passes for %q", vers, proc, b, wrong, ours)
			}
			if ours == "no" {
				d.compare(proc, b, "no")
			} else if i := strings.LastIndexByte(ours, '='); vers == 4 {
				d.compare(proc, b, "ok 0 "+ours[3:i+1]+"9"+ours[i+1:])
				d.differ--
			}
			if d.differ != 1 {
				t.Fatalf("version %d, procedure %d, %x: %q", vers, proc, b, d.first)
			}
		}
		if seen["ok"] < 300 || seen["no"] < 300 {
			t.Errorf("version %d: %v", vers, seen)
		}
	}
}

// TestFileServer asks our NFS server as a kernel does that mounts and opens a file, and with octets that are no calls.
func TestFileServer(t *testing.T) {
	fs := &fileServer{root: []byte("root"), files: map[string][]byte{"f0": []byte("handle-of-f0")}}
	srv, err := rpcclient.Serve(rpcclient.ServeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	serveFiles(srv, fs)
	c, err := rpcclient.Dial(t.Context(), "tcp", srv.Addr(), rpcclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	call := func(prog, proc uint32, args []byte) *reader {
		res, err := c.Call(t.Context(), prog, 3, proc, args)
		if err != nil {
			t.Fatalf("%d.%d: %v", prog, proc, err)
		}
		return &reader{b: res}
	}
	r := call(mountProgram, mount3Mnt, opaque([]byte("/export")))
	if status, fh := r.word(), r.opaque(); status != nfs3OK || !bytes.Equal(fh, fs.root) {
		t.Errorf("MNT: %d %q", status, fh)
	}
	lookup := func(name string) []byte { return append(opaque(fs.root), opaque([]byte(name))...) }
	r = call(nfsProgram, nfs3Lookup, lookup("f0"))
	if status, fh := r.word(), r.opaque(); status != nfs3OK || !bytes.Equal(fh, fs.files["f0"]) {
		t.Errorf("LOOKUP: %d %q", status, fh)
	}
	if status := call(nfsProgram, nfs3Lookup, lookup("f9")).word(); status != nfs3NoEnt {
		t.Errorf("LOOKUP of nothing: %d", status)
	}
	r = call(nfsProgram, nfs3Getattr, opaque(fs.root))
	if status, kind := r.word(), r.word(); status != nfs3OK || kind != nfs3Dir || len(r.b) != 20*4 {
		t.Errorf("GETATTR of the root: %d %d, %d octets", status, kind, len(r.b))
	}
	if status := call(nfsProgram, nfs3Getattr, opaque([]byte("?"))).word(); status != nfs3Stale {
		t.Errorf("GETATTR of nothing: %d", status)
	}
	for _, proc := range []uint32{nfs3Access, nfs3Fsstat, nfs3Fsinfo, nfs3Pathconf} {
		if status := call(nfsProgram, proc, append(opaque(fs.root), words(1)...)).word(); status != nfs3OK {
			t.Errorf("procedure %d: %d", proc, status)
		}
	}
	for _, args := range [][]byte{nil, words(1 << 31), words(8), make([]byte, 3)} {
		if _, err := c.Call(t.Context(), nfsProgram, 3, nfs3Lookup, args); !errors.Is(err, rpcclient.ErrGarbageArgs) {
			t.Errorf("LOOKUP of %x: %v", args, err)
		}
	}
}

func TestOpenKernel(t *testing.T) {
	if _, err := openKernel(t.TempDir()); err == nil || !strings.Contains(err.Error(), "unpack a kernel package") {
		t.Errorf("%v", err)
	}
}
