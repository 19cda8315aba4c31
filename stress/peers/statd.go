// SPDX-License-Identifier: MIT

package peers

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/stress/nlmclient"
	"github.com/seed17199236/svcfuzz/stress/rpcbind"
	"github.com/seed17199236/svcfuzz/stress/rpcclient"
	"github.com/seed17199236/svcfuzz/stress/server"
	"github.com/seed17199236/svcfuzz/target/lockd"
)

// statdPeer watches the clients of our lockd, as it does for a kernel's.
var statdPeer = &Peer{
	Name:    "statd",
	Doc:     "rpc.statd: whom lockd has watched, clients that reboot, and rpc.statd dying and coming back",
	Needs:   []string{"rpc.statd", "sm-notify", "rpcbind", "rpcinfo", "sh"},
	Install: "install-peers-statd",
	run:     isolated("statd", runStatd),
}

// Clients of lockd, each at an address of its own. Each locks ranges of f0 that nobody else does, one for each protocol
// and version, in which it is another host to lockd.
const (
	alice = "127.0.0.5"
	bob   = "127.0.0.6"
	carol = "127.0.0.7"
	dave  = "127.0.0.8"
	nosy  = "127.0.0.9" // asks who has a lock, and takes none
	six   = "::1"
)

const (
	statusMonitor = "100024"
	statdPort     = 4047
	// serverName is what our machine calls itself, bootState its count of reboots before it was ever started.
	serverName = "lockserver"
	bootState  = 7
	// patience bounds what is done soon or never.
	patience = 20 * time.Second
)

// watch is our lockd, and the rpc.statd that watches its clients.
type watch struct {
	*Checks
	dir       string // where rpc.statd keeps its state
	rb, statd *process
	inside    *server.Handle
	s         *served
	fh        []byte
}

func runStatd(ctx context.Context, c *Checks) error {
	w := &watch{Checks: c, dir: "/run/statd"}
	if err := w.layState(); err != nil {
		return err
	}
	var err error
	if w.rb, err = startRpcbind(ctx); err != nil {
		return err
	}
	defer func() { w.rb.kill() }()
	if err := w.startStatd(ctx, statdPort); err != nil {
		return err
	}
	defer func() { w.statd.kill() }()
	if err := w.serve(ctx); err != nil {
		return err
	}
	defer func() { _ = w.s.stop() }()
	for _, part := range []func(context.Context) error{
		w.registers, w.watches, w.reboots, w.lets, w.dies, w.moves, w.sleeps, w.stops, w.restarts, w.names, w.deserted,
	} {
		if err := part(ctx); err != nil {
			return errors.Join(fmt.Errorf("%w (rpc.statd said: %s)", err, lastLines(w.statd.noise.Bytes())), w.s.stop())
		}
	}
	return w.s.stop()
}

// layState makes the state of a machine that has been up before. rpc.statd runs as the owner of it.
func (w *watch) layState() error {
	for _, d := range []string{w.dir, w.dir + "/sm", w.dir + "/sm.bak"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	state := filepath.Join(w.dir, "state")
	if err := os.WriteFile(state, binary.NativeEndian.AppendUint32(nil, bootState), 0o644); err != nil {
		return err
	}
	u, err := user.Lookup("statd")
	if err != nil {
		return nil // as root, then
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	for _, f := range []string{w.dir, w.dir + "/sm", w.dir + "/sm.bak", state} {
		if err := os.Chown(f, uid, -1); err != nil {
			return err
		}
	}
	return nil
}

// startStatd starts rpc.statd on a port, without news of a reboot, and waits until rpcbind knows it there.
func (w *watch) startStatd(ctx context.Context, port int) error {
	p, err := start(ctx, "rpc.statd", "--foreground", "--no-syslog", "--no-notify", "--port", strconv.Itoa(port),
		"-P", w.dir)
	if err != nil {
		return err
	}
	up := eventually(ctx, patience, func() bool {
		list, err := registered(ctx, statusMonitor)
		if err != nil || !slices.Equal(list, statdAt(port)) {
			return false
		}
		_, err = output(ctx, "rpcinfo", "-T", "tcp", "127.0.0.1", statusMonitor, "1")
		return err == nil
	})
	if !up {
		p.kill()
		return fmt.Errorf("rpc.statd does not come up: %s", lastLines(p.noise.Bytes()))
	}
	w.statd = p
	return nil
}

// statdAt is what registered says of an rpc.statd on a port.
func statdAt(port int) []string {
	return []string{fmt.Sprintf("1 tcp %d", port), fmt.Sprintf("1 udp %d", port)}
}

// serve starts our services, which have clients watched by rpc.statd.
func (w *watch) serve(ctx context.Context) error {
	w.inside = server.NewHandle()
	s, err := serve(ctx, server.Config{
		Rpcbind: rpcbind.DefaultSocket, Statd: fmt.Sprintf("127.0.0.1:%d", statdPort), Handle: w.inside, Nodename: serverName,
	})
	if err != nil {
		return err
	}
	w.s = s
	handles, err := fileHandles(w.inside)
	w.fh = append(handles["f0"], make([]byte, 32)...)[:32] // all that versions below 4 take
	return err
}

// ask is what a client asks for, about a lock.
type ask func(context.Context, *nlmclient.Client, nlmclient.Lock) (nlmclient.Status, error)

func lock(ctx context.Context, c *nlmclient.Client, l nlmclient.Lock) (nlmclient.Status, error) {
	return c.Lock(ctx, l, nlmclient.Options{})
}

func nmLock(ctx context.Context, c *nlmclient.Client, l nlmclient.Lock) (nlmclient.Status, error) {
	return c.NmLock(ctx, l, nlmclient.Options{})
}

func unlock(ctx context.Context, c *nlmclient.Client, l nlmclient.Lock) (nlmclient.Status, error) {
	return c.Unlock(ctx, l)
}

// test is about all ranges of the lock's owner.
func test(ctx context.Context, c *nlmclient.Client, l nlmclient.Lock) (nlmclient.Status, error) {
	l.Offset, l.Len = l.Offset/100*100, 100
	status, _, err := c.Test(ctx, l)
	return status, err
}

// client is somebody who calls lockd.
type client struct {
	addr  string
	name  string // that it gives itself; "": addr
	netid string // udp; "": tcp
	vers  uint32 // 1, 3; 0: 4
}

// as asks as a client does that does nothing unusual, about its own lock.
func (w *watch) as(ctx context.Context, addr string, do ask) (nlmclient.Status, error) {
	return w.by(ctx, client{addr: addr}, addr, do)
}

// by asks as any client, about the lock of the one at an address. What is not answered in time has failed.
func (w *watch) by(ctx context.Context, c client, whose string, do ask) (nlmclient.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	from, owner := netip.MustParseAddr(c.addr), netip.MustParseAddr(whose).AsSlice()
	network := cmp.Or(c.netid, "tcp")
	netid := network
	if from.Is6() {
		netid += "6"
	}
	rpc, err := rpcclient.Dial(ctx, network, w.s.addr("lockd", netid), rpcclient.Options{
		Local: netip.AddrPortFrom(from, 0).String(), Cred: rpcclient.Sys(0, c.addr, 0, 0),
	})
	if err != nil {
		return 0, err
	}
	defer rpc.Close()
	n, err := nlmclient.New(rpc, cmp.Or(c.vers, 4), cmp.Or(c.name, c.addr))
	if err != nil {
		return 0, err
	}
	offset := uint64(owner[len(owner)-1])*100 + uint64(c.vers)*20
	if network == "udp" {
		offset += 10
	}
	return do(ctx, n, nlmclient.Lock{Fh: w.fh, Owner: []byte(whose), Svid: 1, Offset: offset, Len: 10, Exclusive: true})
}

// must asks for what has to be granted before anything else is looked at.
func (w *watch) must(ctx context.Context, c client, do ask) error {
	status, err := w.by(ctx, c, c.addr, do)
	if err == nil && status != lockd.NLM_LCK_GRANTED {
		err = errors.New(status.String())
	}
	if err != nil {
		return fmt.Errorf("a call of %+v: %w", c, err)
	}
	return nil
}

// held tells whether a client has its lock, as another one sees it.
func (w *watch) held(ctx context.Context, whose string) (bool, error) {
	status, err := w.by(ctx, client{addr: nosy}, whose, test)
	if err == nil && status != lockd.NLM_LCK_GRANTED && status != lockd.NLM_LCK_DENIED {
		err = fmt.Errorf("TEST of the lock of %s: %s", whose, status)
	}
	return status == lockd.NLM_LCK_DENIED, err
}

// loses notes whether a client's lock goes, in time.
func (w *watch) loses(ctx context.Context, whose, name string) {
	held, err := true, error(nil)
	eventually(ctx, patience, func() bool {
		held, err = w.held(ctx, whose)
		return err == nil && !held
	})
	w.that(!held && err == nil, name, "held: %t, %v", held, err)
}

// keeps notes whether a client's lock is still there.
func (w *watch) keeps(ctx context.Context, whose, name string) {
	held, err := w.held(ctx, whose)
	w.that(held && err == nil, name, "held: %t, %v", held, err)
}

// says notes whether a call is answered as it has to be.
func (w *watch) says(want nlmclient.Status, name string, status nlmclient.Status, err error) {
	w.that(err == nil && status == want, name, "%s, %v", status, err)
}

// record is what rpc.statd keeps of a client: what lockd said to SM_MON.
type record struct{ prog, vers, proc, priv, name, my string }

// records are those on disk, by the client that lockd named.
func (w *watch) records() (map[string]record, error) {
	all := map[string]record{}
	files, err := filepath.Glob(filepath.Join(w.dir, "sm", "*"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for l := range bytes.Lines(b) {
			x := strings.Fields(string(l))
			if len(x) != 7 {
				return nil, fmt.Errorf("rpc.statd's file %s has the line %q", f, l)
			}
			all[x[5]] = record{prog: x[1], vers: x[2], proc: x[3], priv: x[4], name: x[5], my: x[6]}
		}
	}
	return all, nil
}

// watched are the clients that rpc.statd has on disk, sorted.
func (w *watch) watched() []string {
	all, err := w.records()
	if err != nil {
		return []string{err.Error()}
	}
	list := []string{}
	for name := range all {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// onDisk notes whether it has these on disk, which have to be sorted.
func (w *watch) onDisk(name string, want ...string) {
	got := w.watched()
	w.that(slices.Equal(got, want), name, "on its disk: %q, want %q", got, want)
}

// heard notes whether rpc.statd says that it was told something so many times. What it says takes a moment to get here.
func (w *watch) heard(ctx context.Context, want int, what, name string) {
	var n int
	eventually(ctx, time.Second, func() bool {
		n = bytes.Count(w.statd.noise.Bytes(), []byte("Received "+what))
		return n >= want
	})
	w.that(n == want, name, "%s: %d, want %d", what, n, want)
}

// registers looks at both with rpcinfo.
func (w *watch) registers(ctx context.Context) error {
	list, err := registered(ctx, statusMonitor)
	if err != nil {
		return err
	}
	w.that(slices.Equal(list, statdAt(statdPort)), "rpc.statd registers with rpcbind", "%q", list)
	if list, err = registered(ctx, nlm); err != nil {
		return err
	}
	w.that(slices.Equal(list, wanted(w.s)), "lockd comes up beside it and registers", "%q, want %q", list, wanted(w.s))
	w.onDisk("nobody is watched before there is a lock")
	return nil
}

// watches has clients take locks.
func (w *watch) watches(ctx context.Context) error {
	status, err := w.as(ctx, alice, lock)
	w.says(lockd.NLM_LCK_GRANTED, "a LOCK", status, err)
	all, err := w.records()
	if err != nil {
		return err
	}
	var priv string
	var state int64
	err = w.inside.Do(func(in *server.World) {
		in.Lockd.NsmLock.Lock()
		for _, nsm := range in.Lockd.NsmHandles {
			if nsm.SmMonName == alice {
				priv = hex.EncodeToString(nsm.SmPriv[:])
			}
		}
		in.Lockd.NsmLock.Unlock()
		state = in.Lockd.NsmLocalState.Read()
	})
	if err != nil {
		return err
	}
	want := record{prog: "000186b5", vers: "00000003", proc: "00000010", priv: priv, name: alice, my: serverName}
	w.that(len(all) == 1 && all[alice] == want, "it makes lockd have the client watched", "%+v, want %+v", all, want)
	w.that(state == bootState, "lockd keeps the state that rpc.statd answers with", "%d, want %d", state, bootState)

	for _, x := range []client{{addr: alice, netid: "udp"}, {addr: alice, vers: 3}, {addr: alice, vers: 1, netid: "udp"}} {
		if err := w.must(ctx, x, lock); err != nil {
			return err
		}
	}
	w.heard(ctx, 1, "SM_MON for "+alice+" ", "one SM_MON a client, whatever it calls with")

	status, err = w.as(ctx, carol, nmLock)
	w.says(lockd.NLM_LCK_GRANTED, "an NM_LOCK", status, err)
	if _, err := w.held(ctx, alice); err != nil {
		return err
	}
	w.onDisk("nobody is watched for that, nor for a TEST", alice)
	for _, who := range []string{bob, six} {
		status, err = w.as(ctx, who, lock)
		w.says(lockd.NLM_LCK_GRANTED, "a LOCK of the client "+who, status, err)
	}
	w.onDisk("each client is watched, one with IPv6 as well", alice, bob, six)
	return nil
}

// reboots has clients tell rpc.statd that they have been down.
func (w *watch) reboots(ctx context.Context) error {
	if err := w.notify(ctx, alice, "alice", 3); err != nil {
		return err
	}
	w.loses(ctx, alice, "a client reboots: it loses its lock")
	for _, who := range []string{bob, carol, six} {
		w.keeps(ctx, who, "the lock of "+who+" stays")
	}
	status, err := w.as(ctx, alice, lock)
	w.says(lockd.NLM_LCK_GRANTED, "the client locks again", status, err)
	w.heard(ctx, 1, "SM_MON for "+alice+" ", "which takes no other SM_MON")

	// The news comes twice, and then that of another client, which is behind it in the queue.
	if err := w.notify(ctx, alice, "alice", 3); err != nil {
		return err
	}
	if err := w.notify(ctx, nosy, bob, 5); err != nil {
		return err
	}
	w.loses(ctx, bob, "a client that reboots is known by its name, too")
	w.keeps(ctx, alice, "old news takes nothing")
	if err := w.notify(ctx, carol, carol, 5); err != nil {
		return err
	}
	if err := w.notify(ctx, six, "six", 5); err != nil {
		return err
	}
	w.loses(ctx, six, "a client with IPv6 reboots: it loses its lock")
	w.keeps(ctx, carol, "one that is not watched keeps what it has")
	return nil
}

// notify tells rpc.statd that the host called name has rebooted, from an address.
func (w *watch) notify(ctx context.Context, from, name string, state uint32) error {
	host := "127.0.0.1"
	if strings.Contains(from, ":") {
		host = from
	}
	statd := netip.AddrPortFrom(netip.MustParseAddr(host), statdPort).String()
	return notifyReboot(ctx, netip.AddrPortFrom(netip.MustParseAddr(from), 700).String(), statd, name, state)
}

// collect makes lockd forget the clients that hold nothing, as it does with those that have not called for five
// minutes.
func (w *watch) collect() error {
	return w.inside.Do(func(in *server.World) { in.Lockd.NlmShutdownHostsNet(in.Cur, in.Net) })
}

// lets looks at when lockd has enough of watching.
func (w *watch) lets(ctx context.Context) error {
	if err := w.must(ctx, client{addr: bob}, lock); err != nil {
		return err
	}
	before, err := w.records()
	if err != nil {
		return err
	}
	status, err := w.as(ctx, alice, unlock)
	w.says(lockd.NLM_LCK_GRANTED, "an UNLOCK", status, err)
	w.onDisk("the client stays watched", alice, bob, six)
	if err := w.collect(); err != nil {
		return err
	}
	w.onDisk("those that hold nothing are let go when lockd forgets them", bob)
	w.heard(ctx, 1, "SM_UNMON for "+alice+" ", "by one SM_UNMON")
	status, err = w.as(ctx, alice, lock)
	w.says(lockd.NLM_LCK_GRANTED, "a LOCK after that", status, err)
	after, err := w.records()
	if err != nil {
		return err
	}
	now, then := after[alice].priv, before[alice].priv
	w.that(now != "" && now != then, "the client is watched anew, by another cookie", "%s, before that %s", now, then)
	return nil
}

// dies takes rpc.statd away and brings it back.
func (w *watch) dies(ctx context.Context) error {
	w.statd.kill()
	status, err := w.as(ctx, dave, lock)
	w.says(lockd.NLM_LCK_DENIED_NOLOCKS, "rpc.statd dies: a LOCK of a new client is refused", status, err)
	status, err = w.by(ctx, client{addr: dave, vers: 3, netid: "udp"}, dave, lock)
	w.says(lockd.NLM_LCK_DENIED_NOLOCKS, "so it is in version 3 over UDP", status, err)
	status, err = w.as(ctx, dave, nmLock)
	w.says(lockd.NLM_LCK_GRANTED, "one that nobody is to watch is not", status, err)
	status, err = w.by(ctx, client{addr: alice, netid: "udp"}, alice, lock)
	w.says(lockd.NLM_LCK_GRANTED, "nor is that of a client that is watched", status, err)
	status, err = w.by(ctx, client{addr: alice, netid: "udp"}, alice, unlock)
	w.says(lockd.NLM_LCK_GRANTED, "an UNLOCK needs no rpc.statd", status, err)
	if err := w.must(ctx, client{addr: alice}, unlock); err != nil {
		return err
	}
	if err := w.collect(); err != nil {
		return err
	}
	w.onDisk("whom lockd forgets now stays on its disk", alice, bob)

	if err := w.startStatd(ctx, statdPort); err != nil {
		return err
	}
	status, err = w.as(ctx, dave, lock)
	w.says(lockd.NLM_LCK_GRANTED, "rpc.statd comes back: a LOCK of that client", status, err)
	w.onDisk("it is watched", alice, bob, dave)
	if err := w.notify(ctx, bob, "bob", 7); err != nil {
		return err
	}
	w.loses(ctx, bob, "a client reboots that the one before was to watch: it loses its lock")
	w.keeps(ctx, dave, "the other one does not")
	if err := w.notify(ctx, alice, "alice", 9); err != nil {
		return err
	}
	status, err = w.as(ctx, alice, lock)
	w.says(lockd.NLM_LCK_GRANTED, "there is news of a client that lockd has forgotten: its LOCK", status, err)
	w.keeps(ctx, alice, "which that news does not take")
	return nil
}

// moves lets rpc.statd come back elsewhere: lockd asks rpcbind.
func (w *watch) moves(ctx context.Context) error {
	if err := w.collect(); err != nil {
		return err
	}
	w.onDisk("those with locks are watched on", alice, dave)
	w.statd.kill()
	if err := w.startStatd(ctx, statdPort+1); err != nil {
		return err
	}
	status, err := w.as(ctx, bob, lock)
	w.says(lockd.NLM_LCK_GRANTED, "rpc.statd comes back on another port: a LOCK of a new client", status, err)
	w.onDisk("it is watched there", alice, bob, dave)
	w.statd.kill()
	return w.startStatd(ctx, statdPort)
}

// sleeps stops rpc.statd, as a debugger does, and lets it go on.
func (w *watch) sleeps(ctx context.Context) error {
	if _, err := output(ctx, "sh", "-c", fmt.Sprintf("kill -STOP %d", w.statd.cmd.Process.Pid)); err != nil {
		return err
	}
	type answer struct {
		status nlmclient.Status
		err    error
	}
	got := make(chan answer, 1)
	go func() {
		status, err := w.as(ctx, six, lock)
		got <- answer{status, err}
	}()
	early := eventually(ctx, time.Second/2, func() bool { return len(got) > 0 })
	if _, err := output(ctx, "sh", "-c", fmt.Sprintf("kill -CONT %d", w.statd.cmd.Process.Pid)); err != nil {
		return err
	}
	a := <-got
	w.that(!early && a.err == nil && a.status == lockd.NLM_LCK_GRANTED, "a LOCK waits for an rpc.statd that is slow",
		"%s, %v, before it went on: %t", a.status, a.err, early)
	status, err := w.as(ctx, six, unlock)
	w.says(lockd.NLM_LCK_GRANTED, "and is released", status, err)
	return nil
}

// stops stops lockd with locks and without, and has rpc.statd's clients told.
func (w *watch) stops(ctx context.Context) error {
	w.onDisk("before the stop", alice, bob, dave, six)
	err := w.s.stop()
	w.that(err == nil, "lockd stops", "%v", err)
	w.onDisk("one that holds nothing is let go, those whose locks the stop took are not", alice, bob, dave)
	// Our clients share an address book with us: the news for them arrives at our own rpc.statd.
	if _, err := output(ctx, "sm-notify", "-d", "-f", "-P", w.dir); err != nil {
		return err
	}
	w.heard(ctx, 3, fmt.Sprintf("SM_NOTIFY from %s, state: %d", serverName, bootState+2),
		"sm-notify tells these of our reboot, by the name that lockd gave")
	w.onDisk("and then they are off its disk")
	return nil
}

// restarts serves again: the cookies are other ones.
func (w *watch) restarts(ctx context.Context) error {
	if err := w.serve(ctx); err != nil {
		return err
	}
	for _, who := range []string{alice, bob} {
		if err := w.must(ctx, client{addr: who}, lock); err != nil {
			return err
		}
	}
	w.onDisk("the next lockd has its clients watched", alice, bob)
	if err := w.notify(ctx, alice, "alice", 11); err != nil {
		return err
	}
	w.loses(ctx, alice, "a client reboots: it loses its lock again")
	w.keeps(ctx, bob, "another one does not")
	return nil
}

// names has clients watched by the names that they give themselves, as nsm_use_hostnames says.
func (w *watch) names(ctx context.Context) error {
	if err := w.inside.Do(func(in *server.World) { in.Lockd.NsmUseHostnames = true }); err != nil {
		return err
	}
	status, err := w.by(ctx, client{addr: carol, name: "localhost"}, carol, lock)
	w.says(lockd.NLM_LCK_GRANTED, "with nsm_use_hostnames a LOCK of a client with a name", status, err)
	w.onDisk("it is watched by that", alice, bob, "localhost")
	status, err = w.by(ctx, client{addr: dave, name: "nobody.invalid"}, dave, lock)
	w.says(lockd.NLM_LCK_DENIED_NOLOCKS, "a name that rpc.statd does not find: it refuses, and so does lockd", status, err)
	return nil
}

// deserted stops lockd when rpc.statd has died.
func (w *watch) deserted(ctx context.Context) error {
	w.statd.kill()
	err := w.s.stop()
	w.that(err == nil, "lockd stops when rpc.statd has died", "%v", err)
	return nil
}
