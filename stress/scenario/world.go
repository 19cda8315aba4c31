// SPDX-License-Identifier: MIT

package scenario

import (
	"strconv"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// callLimit bounds every start and every stop call, in virtual time: the longest legal wait inside one is that for a
// reply that finds no space.
const callLimit = 120 * kernel.HZ

// World is the machine of one run as a scenario sees it: sunrpc is loaded, the initial namespace is there with an
// rpcbind in it.
type World struct {
	oracle.Subject
	P    Params
	Init *sock.Net
	Rpcb *Rpcbind // of the initial namespace

	clients []*client
	xids    uint32
}

// boot loads what every scenario needs. It reports false, with all taken back, if a step was made to fail.
func (w *World) boot(cur *kernel.Task) bool {
	w.Rpc = sunrpc.New(cur, w.M)
	net, rpcb := w.newNet(cur, "init_net")
	if net == nil {
		w.Rpc.Exit(cur)
		return false
	}
	w.Init, w.Rpcb = net, rpcb
	return true
}

// shutdown takes back what boot did, and closes the clients.
func (w *World) shutdown(cur *kernel.Task) {
	w.finish(cur)
	w.freeNet(cur, w.Init)
	w.Rpc.Exit(cur)
}

// newNet makes a namespace with an rpcbind of its own; nil, nil if a step was made to fail.
func (w *World) newNet(cur *kernel.Task, name string) (*sock.Net, *Rpcbind) {
	net := sock.NewNet(cur, w.M, name)
	if sunrpc.SunrpcInitNet(cur, w.Rpc, net) != 0 {
		net.Put()
		return nil, nil
	}
	r := &Rpcbind{v4: w.P.Get("rpcbind") == 4}
	w.Rpc.SunrpcNet(net).RpcbindPort = r
	w.AddNet(net)
	return net, r
}

// secondNet makes another namespace, nil if a step was made to fail.
func (w *World) secondNet(cur *kernel.Task) (*sock.Net, *Rpcbind) {
	net, rpcb := w.newNet(cur, "net1")
	if net == nil {
		w.StartFailed("copy_net_ns", -kernel.ENOMEM, 1)
	}
	return net, rpcb
}

// freeNet ends a namespace that nobody uses any more.
func (w *World) freeNet(cur *kernel.Task, net *sock.Net) {
	w.DropNet(net)
	sunrpc.SunrpcExitNet(cur, w.Rpc, net)
	net.Put()
}

// Arrive is called at the head of an actor and before a stop: on the free back end, where nobody chooses, it waits for
// a random moment, most often a short one and at most a millisecond. In sim it does nothing.
func (w *World) Arrive(cur *kernel.Task) {
	if w.M.Sim() {
		return
	}
	x := (uint64(w.M.RandomU32()) ^ w.M.Options().Seed) * 0x9e3779b97f4a7c15
	if d := time.Microsecond << (x >> 60) >> 5; d > 0 {
		w.M.Block(cur, func(dead <-chan struct{}) {
			t := time.NewTimer(d)
			defer t.Stop()
			select {
			case <-t.C:
			case <-dead:
			}
		})
	}
}

// within performs a start or stop call that the hang oracle watches.
func within(cur *kernel.Task, what string, call func()) {
	done := cur.Within(callLimit, what)
	call()
	done()
}

// settle waits until nobody has anything to do, so that the oracles see the services up and at rest.
func settle(cur *kernel.Task) { pause(cur, 1) }

// pause sleeps for a time, also if the sleep ends for no reason.
func pause(cur *kernel.Task, wait kernel.Jiffies) {
	m := cur.Machine()
	for end := m.Jiffies() + wait; m.Jiffies() < end; {
		kernel.ScheduleTimeoutUninterruptible(cur, end-m.Jiffies())
	}
}

// report files a finding of the scenario itself under the name of the oracle that it belongs to.
func (w *World) report(name, title, text string) {
	w.M.Report(&kernel.Finding{Oracle: name, Title: title, Text: text, Fatal: true})
}

// join waits for actors.
func join(cur *kernel.Task, actors []*kernel.Task) {
	for _, t := range actors {
		kernel.Join(cur, t)
	}
}

// Rpcbind is the rpcbind of one namespace, in the machine's memory: it answers at once and says yes to everything.
// An early one does not speak version 4, so that services register for IPv4 only, which keeps runs short.
type Rpcbind struct {
	v4    bool
	waits []*portWait
}

// portWait is a client that waits until a service can be reached: until its port is registered, which is after the
// socket is bound and before the transport exists.
type portWait struct {
	kernel.Obj
	prog uint32
	prot int
	port uint16 // valid behind ready
	set  bool
	done kernel.Completion
}

// await lets one actor wait for the registration of prog over prot. It is called before anybody registers.
func (r *Rpcbind) await(m *kernel.Machine, prog uint32, prot int) *portWait {
	pw := kernel.StaticObj[portWait](m, "rpcbind")
	pw.prog, pw.prot = prog, prot
	pw.done.Init(&pw.Obj, "registered")
	r.waits = append(r.waits, pw)
	return pw
}

// Ping implements sunrpc.RpcbindPort.
func (r *Rpcbind) Ping(_ *kernel.Task, _ bool, vers uint32) int {
	if vers == sunrpc.RPCBVERS_4 && !r.v4 {
		return -kernel.EPROTONOSUPPORT
	}
	return 0
}

// Call implements sunrpc.RpcbindPort.
func (r *Rpcbind) Call(_ *kernel.Task, _ bool, vers, proc uint32, args *sunrpc.RpcbindArgs) (uint32, int) {
	if proc != sunrpc.RPCBPROC_SET {
		return 1, 0
	}
	prot, port := int(args.RProt), args.RPort
	if vers != sunrpc.RPCBVERS_2 {
		switch args.RNetid {
		case sunrpc.RPCBIND_NETID_UDP:
			prot = sock.IPPROTO_UDP
		case sunrpc.RPCBIND_NETID_TCP:
			prot = sock.IPPROTO_TCP
		default:
			return 1, 0 // IPv6: no client of ours asks for it
		}
		port = uaddrPort(args.RAddr)
	}
	for _, pw := range r.waits {
		if pw.prog == args.RProg && pw.prot == prot && !pw.set {
			pw.port, pw.set = port, true
			pw.done.Complete()
		}
	}
	return 1, 0
}

// uaddrPort is the port at the end of a universal address: "0.0.0.0.15.205" is 4045.
func uaddrPort(uaddr string) uint16 {
	f := strings.Split(uaddr, ".")
	if len(f) < 2 {
		return 0
	}
	hi, _ := strconv.Atoi(f[len(f)-2])
	lo, _ := strconv.Atoi(f[len(f)-1])
	return uint16(hi<<8 | lo)
}
