// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"bytes"
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// The network status monitor.
const (
	NSM_PROGRAM = 100024
	NSM_VERSION = 1

	NSMPROC_NULL       = 0
	NSMPROC_STAT       = 1
	NSMPROC_MON        = 2
	NSMPROC_UNMON      = 3
	NSMPROC_UNMON_ALL  = 4
	NSMPROC_SIMU_CRASH = 5
	NSMPROC_NOTIFY     = 6
)

// NsmArgs is what a status monitor is told: whom to watch, and what to call when he reboots.
//
// C: struct nsm_args, fs/lockd/mon.c
type NsmArgs struct {
	Priv             NsmPrivate // for MON only
	Prog, Vers, Proc uint32
	MonName          string
	Nodename         string
}

// NsmRes is what a status monitor answers: Status is 0 if it did what it was asked to, for MON only; State is its own
// count of reboots, odd while the machine is up.
//
// C: struct nsm_res, fs/lockd/mon.c
type NsmRes struct {
	Status uint32
	State  uint32
}

// NsmPort is the way to the status monitor of a namespace. Call makes a call of NSMPROC_MON or NSMPROC_UNMON: 0, or
// -errno if it was not answered. It may sleep.
type NsmPort interface {
	Call(cur *kernel.Task, net *sock.Net, proc uint32, args *NsmArgs) (NsmRes, int)
}

// NsmClient is a real status monitor, reached by RPC. It is an NsmPort.
type NsmClient struct {
	Rpc   *sunrpc.Sunrpc
	Addr  sunrpc.SockAddr // the zero value: this machine; port 0: to be asked of the rpcbind there
	Proto uint32          // IPPROTO_*; 0: TCP
}

// nsmCreate makes a client of the status monitor. May sleep.
//
// Differs: can be told a port; where nobody listens there, rpcbind is asked. 3.19 asks it always, once for each client.
//
// C: nsm_create, fs/lockd/mon.c
func (c *NsmClient) nsmCreate(cur *kernel.Task, net *sock.Net) (*sunrpc.RpcClnt, int) {
	args := &sunrpc.RpcCreateArgs{
		Rpc:        c.Rpc,
		Net:        net,
		Protocol:   c.Proto,
		Address:    c.Addr,
		Servername: "rpc.statd",
		Program:    nsmProgram,
		Version:    NSM_VERSION,
		Authflavor: sunrpc.RPC_AUTH_NULL,
		Flags:      sunrpc.RPC_CLNT_CREATE_AUTOBIND,
	}
	if args.Protocol == 0 {
		args.Protocol = sunrpc.IPPROTO_TCP
	}
	if args.Address.Family == sock.AF_UNSPEC {
		args.Address = sock.LoopbackAddr(sock.AF_INET, 0)
	}
	return sunrpc.RpcCreate(cur, args)
}

// Call makes a call with a client of its own, once more if nobody listens.
//
// Differs: 3.19 keeps one client for a namespace while it has anything monitored there (0d0f4aab4e4d).
//
// C: nsm_mon_unmon, fs/lockd/mon.c
func (c *NsmClient) Call(cur *kernel.Task, net *sock.Net, proc uint32, args *NsmArgs) (NsmRes, int) {
	var res NsmRes
	clnt, err := c.nsmCreate(cur, net)
	if err != 0 {
		return res, err
	}
	msg := &sunrpc.RpcMessage{
		RpcProc: nsmProgram.Version[NSM_VERSION].Procs[proc], RpcArgp: args, RpcResp: &res,
	}
	err = sunrpc.RpcCallSync(cur, clnt, msg, sunrpc.RPC_TASK_SOFTCONN)
	if err == -kernel.ECONNREFUSED {
		sunrpc.RpcForceRebind(clnt)
		err = sunrpc.RpcCallSync(cur, clnt, msg, sunrpc.RPC_TASK_SOFTCONN)
	}
	sunrpc.RpcShutdownClient(cur, clnt)
	return res, err
}

// nsmMonUnmon calls the status monitor of the host's namespace. What it answers to UNMON has no status. May sleep.
//
// C: nsm_mon_unmon, fs/lockd/mon.c
func (l *Lockd) nsmMonUnmon(cur *kernel.Task, host *NlmHost, proc uint32) (NsmRes, int) {
	nsm := host.HNsmhandle
	return l.NsmPort.Call(cur, host.Net, proc, &NsmArgs{
		Priv:     nsm.SmPriv,
		Prog:     NLM_PROGRAM,
		Vers:     3,
		Proc:     NLMPROC_NSM_NOTIFY,
		MonName:  nsm.SmMonName,
		Nodename: l.Rpc.Nodename,
	})
}

// NsmMonitor has the status monitor watch the host's peer, unless it does so already: 0 or -errno. May sleep.
//
// C: nsm_monitor, fs/lockd/mon.c
func (l *Lockd) NsmMonitor(cur *kernel.Task, host *NlmHost) int {
	nsm := host.HNsmhandle
	if nsm.SmMonitored {
		return 0
	}
	nsm.SmMonName = sunrpc.RpcNtop(nsm.SmAddr)
	if l.NsmUseHostnames {
		nsm.SmMonName = nsm.SmName
	}
	res, err := l.nsmMonUnmon(cur, host, NSMPROC_MON)
	if res.Status != 0 {
		err = -kernel.EIO
	}
	if err < 0 {
		l.Machine().Printk("lockd: cannot monitor %s", nsm.SmName)
		return err
	}
	nsm.SmMonitored = true
	l.NsmLocalState.Set(int64(res.State))
	return 0
}

// NsmUnmonitor has the status monitor forget the host's peer, if this host is the last that needs it. NlmHostMutex is
// held; may sleep.
//
// C: nsm_unmonitor, fs/lockd/mon.c
func (l *Lockd) NsmUnmonitor(cur *kernel.Task, host *NlmHost) {
	nsm := host.HNsmhandle
	if nsm.SmCount.Read() != 1 || !nsm.SmMonitored || nsm.SmSticky {
		return
	}
	res, err := l.nsmMonUnmon(cur, host, NSMPROC_UNMON)
	if res.Status != 0 {
		err = -kernel.EIO
	}
	if err < 0 {
		l.Machine().Printk("lockd: cannot unmonitor %s", nsm.SmName)
		return
	}
	nsm.SmMonitored = false
}

// nsmLookup finds a handle of a namespace, nil if there is none. NsmLock is held.
//
// Differs: 3.19 has one list of handles for all namespaces, so that a reboot seen in one of them takes the locks of
// a host with the same address in another (0ad95472bf16).
//
// C: nsm_lookup_hostname, nsm_lookup_addr, nsm_lookup_priv, fs/lockd/mon.c
func (l *Lockd) nsmLookup(net *sock.Net, is func(*NsmHandle) bool) *NsmHandle {
	for _, nsm := range l.NsmHandles {
		if nsm.SmNet == net && is(nsm) {
			return nsm
		}
	}
	return nil
}

// nsmInitPrivate gives a handle the cookie by which its reboots are told, one that no handle had before and that
// nobody guesses.
//
// Differs: random numbers are in the place of the handle's address, which would not be the same in every run.
//
// C: nsm_init_private, fs/lockd/mon.c
func (l *Lockd) nsmInitPrivate(nsm *NsmHandle) {
	m := l.Machine()
	binary.LittleEndian.PutUint64(nsm.SmPriv[:], uint64(m.Jiffies())*uint64(1e9/kernel.HZ))
	binary.LittleEndian.PutUint32(nsm.SmPriv[8:], m.RandomU32())
	binary.LittleEndian.PutUint32(nsm.SmPriv[12:], m.RandomU32())
}

// nsmCreateHandle makes a handle with one reference; nil if there is no memory. May sleep.
//
// C: nsm_create_handle, fs/lockd/mon.c
func (l *Lockd) nsmCreateHandle(net *sock.Net, sap sunrpc.SockAddr, hostname []byte) *NsmHandle {
	nsm := kernel.Kzalloc[NsmHandle](l.Machine(), "nsm_handle", kernel.GFP_KERNEL)
	if nsm == nil {
		return nil
	}
	nsm.SmCount.Init(&nsm.Obj, "sm_count")
	nsm.SmCount.Preset(1)
	name, _, _ := bytes.Cut(hostname, []byte{0}) // C reads it up to there
	nsm.SmNet, nsm.SmName, nsm.SmAddr = net, string(name), sap
	l.nsmInitPrivate(nsm)
	return nsm
}

// Poison drops the pointer of a freed handle.
func (nsm *NsmHandle) Poison() { nsm.SmNet = nil }

// NsmGetHandle finds or makes the handle of a peer, by its address, or by its name with NsmUseHostnames; it comes with
// a reference. nil: no memory, or a name with a slash in it, which a status monitor would take for a path. Takes
// NsmLock; may sleep.
//
// C: nsm_get_handle, fs/lockd/mon.c
func (l *Lockd) NsmGetHandle(net *sock.Net, sap sunrpc.SockAddr, hostname []byte) *NsmHandle {
	if bytes.IndexByte(hostname, '/') >= 0 {
		l.Machine().Printk("Invalid hostname %q in NFS lock request", hostname)
		return nil
	}
	same := func(nsm *NsmHandle) bool {
		if l.NsmUseHostnames && hostname != nil {
			return nsm.SmName == string(hostname)
		}
		return nsm.SmAddr.SameIP(sap)
	}
	var fresh *NsmHandle
	for {
		l.NsmLock.Lock()
		nsm := l.nsmLookup(net, same)
		if nsm != nil {
			nsm.SmCount.Inc()
		} else if fresh != nil {
			l.NsmHandles = append([]*NsmHandle{fresh}, l.NsmHandles...)
		}
		l.NsmLock.Unlock()
		switch {
		case nsm != nil:
			kernel.Kfree(fresh)
			return nsm
		case fresh != nil:
			return fresh
		}
		if fresh = l.nsmCreateHandle(net, sap, hostname); fresh == nil {
			return nil
		}
	}
}

// NsmRebootLookup finds the handle that a reboot is about, by its cookie; it comes with a reference. nil: none. Takes
// NsmLock.
//
// C: nsm_reboot_lookup, fs/lockd/mon.c
func (l *Lockd) NsmRebootLookup(net *sock.Net, info *NlmReboot) *NsmHandle {
	l.NsmLock.Lock()
	nsm := l.nsmLookup(net, func(nsm *NsmHandle) bool { return nsm.SmPriv == info.Priv })
	if nsm != nil {
		nsm.SmCount.Inc()
	}
	l.NsmLock.Unlock()
	if nsm == nil {
		l.Machine().Printk("lockd: never saw rebooted peer %q before", info.Mon)
	}
	return nsm
}

// NsmRelease drops a reference to a handle; the last one frees it, and takes NsmLock for that.
//
// C: nsm_release, fs/lockd/mon.c
func (l *Lockd) NsmRelease(nsm *NsmHandle) {
	if !nsm.SmCount.DecAndLock(&l.NsmLock) {
		return
	}
	for i, x := range l.NsmHandles {
		if x == nsm {
			l.NsmHandles = append(l.NsmHandles[:i], l.NsmHandles[i+1:]...)
			break
		}
	}
	l.NsmLock.Unlock()
	kernel.Kfree(nsm)
}

// encodeMonID writes whom a call is about and what is to be called.
//
// C: encode_mon_id, encode_mon_name, encode_my_id, fs/lockd/mon.c
func encodeMonID(xdr *sunrpc.XdrStream, args *NsmArgs) {
	encodeNetobj(xdr, []byte(args.MonName))
	encodeNetobj(xdr, []byte(args.Nodename))
	encodeInt32(xdr, args.Prog)
	encodeInt32(xdr, args.Vers)
	encodeInt32(xdr, args.Proc)
}

// nsmXdrEncMon writes the arguments of MON.
//
// C: nsm_xdr_enc_mon, fs/lockd/mon.c
func nsmXdrEncMon(xdr *sunrpc.XdrStream, argp any) {
	args := argp.(*NsmArgs)
	encodeMonID(xdr, args)
	p, _ := sunrpc.XdrReserveSpace(xdr, SM_PRIV_SIZE)
	sunrpc.XdrEncodeOpaqueFixed(&p, args.Priv[:])
}

// nsmXdrEncUnmon writes the arguments of UNMON.
//
// C: nsm_xdr_enc_unmon, fs/lockd/mon.c
func nsmXdrEncUnmon(xdr *sunrpc.XdrStream, argp any) {
	encodeMonID(xdr, argp.(*NsmArgs))
}

// nsmXdrDecStatRes reads what MON answers. 0 or -EIO.
//
// C: nsm_xdr_dec_stat_res, fs/lockd/mon.c
func nsmXdrDecStatRes(xdr *sunrpc.XdrStream, resp any) int {
	p, ok := sunrpc.XdrInlineDecode(xdr, 8)
	if !ok {
		return -kernel.EIO
	}
	*resp.(*NsmRes) = NsmRes{Status: p.Get(), State: p.Get()}
	return 0
}

// nsmXdrDecStat reads what UNMON answers. 0 or -EIO.
//
// C: nsm_xdr_dec_stat, fs/lockd/mon.c
func nsmXdrDecStat(xdr *sunrpc.XdrStream, resp any) int {
	p, ok := sunrpc.XdrInlineDecode(xdr, 4)
	if !ok {
		return -kernel.EIO
	}
	*resp.(*NsmRes) = NsmRes{State: p.Get()}
	return 0
}

// nsmProgram is the status monitor as we call it.
//
// C: nsm_program, fs/lockd/mon.c
var nsmProgram = &sunrpc.RpcProgram{
	Name:   "statd",
	Number: NSM_PROGRAM,
	Version: []*sunrpc.RpcVersion{
		NSM_VERSION: {Number: NSM_VERSION, Procs: []*sunrpc.RpcProcinfo{
			NSMPROC_MON:   {PProc: NSMPROC_MON, PEncode: nsmXdrEncMon, PDecode: nsmXdrDecStatRes, PName: "MONITOR"},
			NSMPROC_UNMON: {PProc: NSMPROC_UNMON, PEncode: nsmXdrEncUnmon, PDecode: nsmXdrDecStat, PName: "UNMONITOR"},
		}},
	},
}

// StatdEntry is a host that a Statd watches.
type StatdEntry struct {
	Net *sock.Net
	NsmArgs
}

// Statd is a status monitor inside the machine, for all namespaces: a list of who is watched, without a network. It is
// an NsmPort.
type Statd struct {
	kernel.Obj
	mutex   kernel.Mutex // the daemon serves one call at a time
	entries []StatdEntry // mutex
	state   uint32       // mutex
	fail    int          // mutex
}

// NewStatd makes a status monitor of a machine that was never down.
func NewStatd(m *kernel.Machine) *Statd {
	s := kernel.StaticObj[Statd](m, "statd")
	s.mutex.Init(&s.Obj, "statd")
	s.state = 1
	return s
}

// Peek lists who is watched without a visible operation, for oracles.
func (s *Statd) Peek() []StatdEntry { return append([]StatdEntry(nil), s.entries...) }

// Entries lists who is watched. May sleep.
func (s *Statd) Entries(cur *kernel.Task) []StatdEntry {
	s.mutex.Lock(cur)
	list := s.Peek()
	s.mutex.Unlock(cur)
	return list
}

// Fail makes all later calls fail: with -errno if err is negative, with the status err if it is positive; 0: they
// succeed again.
func (s *Statd) Fail(cur *kernel.Task, err int) {
	s.mutex.Lock(cur)
	s.fail = err
	s.mutex.Unlock(cur)
}

// Call is MON and UNMON. An injected failure stands for a daemon that went away.
func (s *Statd) Call(cur *kernel.Task, net *sock.Net, proc uint32, args *NsmArgs) (NsmRes, int) {
	s.mutex.Lock(cur)
	res, err := s.serve(net, proc, args)
	s.mutex.Unlock(cur)
	return res, err
}

// serve does one call. mutex is held.
func (s *Statd) serve(net *sock.Net, proc uint32, args *NsmArgs) (NsmRes, int) {
	switch {
	case s.fail < 0:
		return NsmRes{}, s.fail
	case s.Machine().AllocFails("statd"):
		return NsmRes{}, -kernel.ECONNREFUSED
	case s.fail > 0:
		return NsmRes{Status: uint32(s.fail), State: s.state}, 0
	}
	kept := s.entries[:0]
	for _, e := range s.entries {
		if e.Net != net || e.MonName != args.MonName {
			kept = append(kept, e)
		}
	}
	s.entries = kept
	if proc == NSMPROC_MON {
		s.entries = append(s.entries, StatdEntry{net, *args})
	}
	return NsmRes{State: s.state}, 0
}

// Notify tells the lock manager on port of this machine that the host called name, if it is watched in net, has
// rebooted and now counts state, over UDP and from a port that only root has: 0 or -errno; -ENOENT if it is not
// watched. May sleep.
func (s *Statd) Notify(cur *kernel.Task, rpc *sunrpc.Sunrpc, net *sock.Net, port uint16, name string,
	state uint32) int {
	s.mutex.Lock(cur)
	var entry *StatdEntry
	for i := range s.entries {
		if e := s.entries[i]; e.Net == net && e.MonName == name {
			entry = &e
		}
	}
	s.mutex.Unlock(cur)
	if entry == nil {
		return -kernel.ENOENT
	}
	proc := &sunrpc.RpcProcinfo{PProc: entry.Proc, PEncode: encodeReboot, PName: "NSM_NOTIFY"}
	versions := make([]*sunrpc.RpcVersion, entry.Vers+1)
	versions[entry.Vers] = &sunrpc.RpcVersion{Number: entry.Vers}
	clnt, err := sunrpc.RpcCreate(cur, &sunrpc.RpcCreateArgs{
		Rpc:        rpc,
		Net:        net,
		Protocol:   sunrpc.IPPROTO_UDP,
		Address:    sock.LoopbackAddr(sock.AF_INET, port),
		Servername: "lockd",
		Program:    &sunrpc.RpcProgram{Name: "lockd", Number: entry.Prog, Version: versions},
		Version:    entry.Vers,
	})
	if err != 0 {
		return err
	}
	args := &NlmReboot{Mon: []byte(name), State: state, Priv: entry.Priv}
	err = sunrpc.RpcCallSync(cur, clnt, &sunrpc.RpcMessage{RpcProc: proc, RpcArgp: args}, 0)
	sunrpc.RpcShutdownClient(cur, clnt)
	return err
}

// encodeReboot writes the news of a reboot.
func encodeReboot(xdr *sunrpc.XdrStream, argp any) {
	args := argp.(*NlmReboot)
	encodeNetobj(xdr, args.Mon)
	encodeInt32(xdr, args.State)
	p, _ := sunrpc.XdrReserveSpace(xdr, SM_PRIV_SIZE)
	sunrpc.XdrEncodeOpaqueFixed(&p, args.Priv[:])
}
