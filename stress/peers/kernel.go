// SPDX-License-Identifier: MIT

package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/stress/replay"
	"github.com/seed17199236/svcfuzz/stress/rpcbind"
	"github.com/seed17199236/svcfuzz/stress/rpcclient"
	"github.com/seed17199236/svcfuzz/stress/server"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/nfs"
)

// kernelPeer is a Linux kernel in an emulator: its lock manager and its NFSv4 server talk to the port as to each other.
var kernelPeer = &Peer{
	Name: "kernel",
	Doc:  "a Linux kernel in an emulator: client of our lockd, caller of our callback service",
	Needs: []string{"qemu-system-x86_64", "busybox", "cpio", "depmod", "xz", "ip", "ldd", "go", "rpcbind", "rpcinfo",
		"exportfs", "rpc.mountd", "rpc.nfsd", "rpc.statd", "mount.nfs"},
	Install: "install-peers-kernel",
	run: func(ctx context.Context, c *Checks) error {
		if c.Kernel == "" {
			dir, err := FetchKernel(ctx, c.Cache)
			if err != nil {
				return err
			}
			c.Kernel = dir
		}
		var err error
		if c.Kernel, err = filepath.Abs(c.Kernel); err != nil {
			return err
		}
		if _, err := openKernel(c.Kernel); err != nil {
			return notAvailable("--kernel %v", err)
		}
		return kernelInside(ctx, c)
	},
}

var kernelInside = isolated("kernel", runKernel)

// stage is the guest, the programs of the host that it needs, and the services of the port.
type stage struct {
	*Checks
	g       *guest
	inside  *server.Handle
	s       *served
	handles map[string][]byte
	other   *rpcclient.Client // another client of our lockd than the guest
}

func runKernel(ctx context.Context, c *Checks) error {
	k, err := openKernel(c.Kernel)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/run", "guest")
	if err != nil {
		return err
	}
	initrd, err := buildGuest(ctx, k, dir)
	if err != nil {
		return err
	}
	g, err := boot(ctx, k, initrd, dir)
	if err != nil {
		return err
	}
	defer g.qemu.kill()
	c.ok("a Linux kernel boots", "%s", g.version)
	rb, err := startRpcbind(ctx)
	if err != nil {
		return err
	}
	defer rb.kill()
	st := &stage{Checks: c, g: g}
	if err := st.serve(ctx, 0); err != nil {
		return err
	}
	defer func() { _ = st.s.stop() }()
	srv, err := rpcclient.Serve(rpcclient.ServeOptions{Host: hostIP, Port: 2049})
	if err != nil {
		return err
	}
	defer srv.Close()
	serveFiles(srv, &fileServer{root: st.handles[""], files: st.handles})
	for _, part := range []func(context.Context) error{st.locks, st.blocks, st.reboots, st.callsBack, st.recorded} {
		if err := part(ctx); err != nil {
			return g.blame(err)
		}
	}
	return st.s.stop()
}

// callbackIdent is the ident by which the guest's server names its client to our callback service.
const callbackIdent = 7

// serve starts the port's services with a grace period of so many seconds.
func (st *stage) serve(ctx context.Context, grace uint32) error {
	st.inside = server.NewHandle()
	s, err := serve(ctx, server.Config{
		Rpcbind: rpcbind.DefaultSocket, Handle: st.inside, Grace: grace, Mount: server.Mount{Ident: callbackIdent},
		Exposed: true, Clients: []netip.Prefix{netip.MustParsePrefix(hostIP + "/24")},
	})
	if err != nil {
		return err
	}
	st.s = s
	if st.handles, err = fileHandles(st.inside); err != nil {
		return err
	}
	st.other, err = rpcclient.Dial(ctx, "tcp", st.s.addr("lockd", "tcp"), rpcclient.Options{Cred: rpcclient.Sys(0, "other", 0, 0)})
	return err
}

// nlm4 makes a call of another client than the guest, for an exclusive lock on 100 octets from offset on: TEST, LOCK or
// UNLOCK. It returns the status.
func (st *stage) nlm4(ctx context.Context, proc uint32, file string, offset uint64) (uint32, error) {
	args := opaque([]byte("test"))
	switch proc {
	case lockd.NLMPROC_TEST:
		args = append(args, words(1)...)
	case lockd.NLMPROC_LOCK:
		args = append(args, words(0, 1)...)
	}
	args = append(append(append(args, opaque([]byte("other"))...), opaque(st.handles[file])...), opaque([]byte("o"))...)
	args = append(args, words(1, uint32(offset>>32), uint32(offset), 0, 100)...)
	if proc == lockd.NLMPROC_LOCK {
		args = append(args, words(0, 0)...)
	}
	res, err := st.other.Call(ctx, lockd.NLM_PROGRAM, 4, proc, args)
	if err != nil {
		return 0, err
	}
	r := &reader{b: res}
	r.opaque()
	return r.word(), nil
}

// mountCmd mounts our files in the guest.
const mountCmd = "mount -t nfs -o vers=3,proto=tcp,port=2049,mountport=2049,mountproto=tcp,soft " + hostIP + ":/export /mnt"

// locks lets the guest's kernel take locks at our lockd.
func (st *stage) locks(ctx context.Context) error {
	if _, err := st.g.sh(ctx, mountCmd); err != nil {
		return err
	}
	if status, err := st.nlm4(ctx, lockd.NLMPROC_LOCK, "f1", 1000); err != nil || status != 0 {
		return fmt.Errorf("LOCK by another client: status %d, %w", status, err)
	}
	for _, x := range []struct{ what, file, ops, want string }{
		{"lock, ask, unlock", "f0", "w:0:10 t:0:10 u:0:10", "w:0:10: ok|t:0:10: free|u:0:10: ok"},
		{"a shared lock becomes exclusive, and is split", "f0", "r:5:20 w:5:20 u:10:5", "r:5:20: ok|w:5:20: ok|u:10:5: ok"},
		{"a lock of somebody else", "f1", "t:1000:5 w:1050:5 r:1000:1",
			"t:1000:5: held 1000:100|w:1050:5: resource temporarily unavailable|r:1000:1: resource temporarily unavailable"},
		{"beside it", "f1", "w:1100:5 w:990:10", "w:1100:5: ok|w:990:10: ok"},
		{"to the end of the file, and far out", "f2", "w:0:0 u:0:0 w:4294967296:10 w:9223372036854775800:7",
			"w:0:0: ok|u:0:0: ok|w:4294967296:10: ok|w:9223372036854775800:7: ok"},
	} {
		out, err := st.g.sh(ctx, "agent lock /mnt/"+x.file+" "+x.ops)
		if err != nil {
			return err
		}
		got := strings.ReplaceAll(strings.TrimSpace(out), "\n", "|")
		st.that(got == x.want, "the guest's client: "+x.what, "%s, want %s", got, x.want)
	}
	return nil
}

// blocks lets the guest wait for a lock that somebody else has, until our lockd calls it with the news. A client that
// is not called asks again after 30 s, so that is too late.
func (st *stage) blocks(ctx context.Context) error {
	type answer struct {
		out string
		err error
	}
	waiting := make(chan answer, 1)
	go func() {
		out, err := st.g.sh(ctx, "agent lock /mnt/f1 W:1000:5 s:3000 u:1000:5")
		waiting <- answer{out, err}
	}()
	time.Sleep(3 * time.Second) // emulated, the guest takes its time
	start := time.Now()
	if _, err := st.nlm4(ctx, lockd.NLMPROC_UNLOCK, "f1", 1000); err != nil {
		return err
	}
	granted := eventually(ctx, 15*time.Second, func() bool {
		status, err := st.nlm4(ctx, lockd.NLMPROC_TEST, "f1", 1000)
		return err == nil && status == lockd.NLM_LCK_DENIED
	})
	st.that(granted, "the guest's client gets a lock that it waited for", "%s behind the release", time.Since(start).Round(time.Millisecond))
	a := <-waiting
	if a.err != nil {
		return a.err
	}
	got := strings.ReplaceAll(strings.TrimSpace(a.out), "\n", "|")
	took := time.Since(start)
	st.that(got == "W:1000:5: ok|u:1000:5: ok" && took < 20*time.Second, "our GRANTED call reaches it",
		"%s, all of it in %s", got, took.Round(time.Second))
	return nil
}

// grace is the shortest grace period of a lockd, in seconds.
const graceSeconds = 10

// reboots stops our lockd while the guest holds a lock, starts it in grace, and has the guest told: it reclaims.
func (st *stage) reboots(ctx context.Context) error {
	held := make(chan error, 1)
	go func() {
		_, err := st.g.sh(ctx, "agent lock /mnt/f3 w:100:7 s:25000 u:100:7")
		held <- err
	}()
	taken := eventually(ctx, 15*time.Second, func() bool {
		status, err := st.nlm4(ctx, lockd.NLMPROC_TEST, "f3", 100)
		return err == nil && status == lockd.NLM_LCK_DENIED
	})
	if !taken {
		return errors.New("the guest does not take its lock")
	}
	st.other.Close()
	if err := st.s.stop(); err != nil {
		return err
	}
	if err := st.serve(ctx, graceSeconds); err != nil {
		return err
	}
	status, err := st.nlm4(ctx, lockd.NLMPROC_LOCK, "f3", 5000)
	st.that(err == nil && status == lockd.NLM_LCK_DENIED_GRACE_PERIOD, "a lockd that was restarted is in grace", "status %d, %v", status, err)
	if err := notifyReboot(ctx, hostIP+":700", guestIP+":4047", hostIP, 7); err != nil {
		return err
	}
	var last uint32
	free := eventually(ctx, 2*graceSeconds*time.Second, func() bool {
		last, err = st.nlm4(ctx, lockd.NLMPROC_TEST, "f3", 100)
		return err == nil && last != lockd.NLM_LCK_DENIED_GRACE_PERIOD
	})
	st.that(free && last == lockd.NLM_LCK_DENIED, "the guest's client reclaims its lock", "TEST behind the grace period: status %d", last)
	return <-held
}

// notifyReboot tells a status monitor, from an address, that a host has rebooted and now counts state: SM_NOTIFY,
// program 100024 version 1 procedure 6.
func notifyReboot(ctx context.Context, from, statd, host string, state uint32) error {
	rpc, err := rpcclient.Dial(ctx, "udp", statd, rpcclient.Options{Local: from, Cred: rpcclient.Sys(0, "host", 0, 0)})
	if err != nil {
		return err
	}
	defer rpc.Close()
	_, err = rpc.Call(ctx, 100024, 1, 6, append(opaque([]byte(host)), words(state)...))
	return err
}

// callsBack makes the guest's NFSv4 server call our callback service: it delegates a file to a client that says it is
// to be called there, and takes it back when somebody else writes.
func (st *stage) callsBack(ctx context.Context) error {
	rpc, err := rpcclient.Dial(ctx, "tcp", guestIP+":2049", rpcclient.Options{Cred: rpcclient.Sys(0, "host", 0, 0)})
	if err != nil {
		return err
	}
	defer rpc.Close()
	n := &nfs4Client{rpc: rpc}
	port, _ := strconv.Atoi(st.s.port("callback0", "tcp"))
	callback := fmt.Sprintf("%s.%d.%d", hostIP, port>>8, port&0xff)
	if err := n.introduce(ctx, "svcfuzz", callback, nfs.NFS4_CALLBACK, callbackIdent); err != nil {
		return err
	}
	var o *opened
	delegated := eventually(ctx, 10*time.Second, func() bool {
		if o != nil {
			_ = n.close(ctx, o)
		}
		o, err = n.open(ctx, "export", "hello")
		return err == nil && o.delegation != nil
	})
	if err != nil {
		return err
	}
	st.that(delegated, "a server that could call our callback service delegates", "%x", o.delegation)
	if !delegated {
		return nil
	}
	d := server.Delegation{Fh: o.fh, Stateid: [16]byte(o.delegation)}
	var errno int
	if err := st.inside.Do(func(w *server.World) { errno = w.Delegate(d) }); err != nil || errno != 0 {
		return fmt.Errorf("noting the delegation: %d, %w", errno, err)
	}
	wrote := make(chan error, 1)
	go func() {
		status, err := write3(ctx, rpc, o.fh)
		if err == nil && status != nfs3OK {
			err = fmt.Errorf("status %d", status)
		}
		wrote <- err
	}()
	recalled := eventually(ctx, 10*time.Second, func() bool {
		var list []nfs.Delegreturn
		err = st.inside.Do(func(w *server.World) { list = w.Client.Delegreturns() })
		return err == nil && len(list) == 1 && bytes.Equal(list[0].Fh, o.fh)
	})
	st.that(recalled, "the server's CB_RECALL makes our client return the delegation", "%v", err)
	err = n.delegreturn(ctx, o)
	st.that(err == nil, "DELEGRETURN of it", "%v", err)
	err = <-wrote
	st.that(err == nil, "then somebody else may write", "%v", err)
	return n.close(ctx, o)
}

// recorded plays the recording of a kernel to the guest's lock manager: whether our way of asking gets the answers
// that were recorded.
func (st *stage) recorded(ctx context.Context) error {
	version := strings.Join(strings.SplitN(st.g.version, ".", 3)[:2], ".")
	if !slices.Contains(replay.Kernels, version) {
		st.ok("its lock manager answers as recorded", "there is no recording of %s", version)
		return nil
	}
	report, err := replay.Conform(ctx, replay.Options{
		Folder: st.Recording, Groups: []string{"nlm-rpc", "nlm-rm"}, Kernels: []string{version}, Against: guestIP + ":4045",
	})
	if err != nil {
		return err
	}
	equal, first := 0, ""
	for _, r := range report.Results {
		switch {
		case r.Equal():
			equal++
		case first == "":
			first = fmt.Sprintf("; the first that differs is %s: %v", r.Case.Name, r.Got)
		}
	}
	// An emulated kernel is late now and then.
	st.that(equal*100 >= len(report.Results)*99, "its lock manager answers as recorded", "%d of %d%s", equal,
		len(report.Results), first)
	return nil
}
