// SPDX-License-Identifier: MIT

package report

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	"github.com/davecgh/go-spew/spew"

	"github.com/seed17199236/svcfuzz/stress/oracle"
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// Snapshot is what a run left behind, as plain values: no addresses, no order that depends on any, so that two
// runs of one schedule dump alike.
type Snapshot struct {
	Time      string // virtual, since boot
	Tasks     []TaskState
	Services  []ServState
	Lockd     *LockdState // nil if the scenario has none
	Nfs       []NfsState  // by minor version
	Exchanges []ExchangeState
	Objects   []string // alive: class, and how many
}

// TaskState is a task that had not ended when the run was over.
type TaskState struct {
	Name    string
	State   string
	Doing   string // start or stop call that is under way
	Stop    bool   // kthread_stop was called
	Rqst    string // what a service thread works on
	AboutTo string
}

// ServState is a service with its pools and transports.
type ServState struct {
	Name      string
	Object    string
	Nrthreads int64
	Tmpcnt    int64
	Temptimer bool
	Pools     []PoolState
	Permsocks []XprtState
	Tempsocks []XprtState
	Strays    []RqstState // threads that no pool lists: chosen to exit, or not born yet
}

// PoolState is a pool with its threads.
type PoolState struct {
	ID        uint32
	Flags     []string
	Nrthreads uint32
	Queue     []string // ready transports
	Threads   []RqstState
}

// RqstState is a service thread as the core sees it.
type RqstState struct {
	Object  string
	Task    string // rq_task
	Idle    bool   // may be selected
	Flags   []string
	Xprt    string
	Request string // xid program version procedure
}

// XprtState is a transport.
type XprtState struct {
	Object   string
	Class    string
	Local    string
	Remote   string
	Flags    []string
	Queued   bool
	Refs     int64
	Reserved int64
	Record   string // what of a record has been received, TCP
}

// LockdState is lockd's own state.
type LockdState struct {
	Users uint32
	Task  string
	Rqst  string
	Mutex string // who holds nlmsvc_mutex
}

// NfsState is that of one callback service.
type NfsState struct {
	Minor int
	Users uint32
	Task  string
	Mutex string
}

// ExchangeState is a request of a client.
type ExchangeState struct {
	Who     string
	Xid     uint32
	Sent    bool
	Error   string
	Replies []string // in hex
}

var dumper = spew.ConfigState{
	Indent: "  ", DisablePointerAddresses: true, DisableCapacities: true, DisableMethods: true, SortKeys: true,
	SpewKeys: true, MaxDepth: 8,
}

// Dump shows the structures that the last run on m left behind: to be called before the next one. It is empty for
// a run that did not get as far as a world.
func Dump(m *kernel.Machine, res *kernel.Result) string {
	s := Snap(m, res)
	if s == nil {
		return ""
	}
	return dumper.Sdump(*s)
}

// Snap takes the snapshot that Dump shows, nil if there is no world.
func Snap(m *kernel.Machine, res *kernel.Result) *Snapshot {
	w, ok := m.Tag().(*scenario.World)
	if !ok || w == nil {
		return nil
	}
	sub := &w.Subject
	s := &Snapshot{Time: span(res.Now), Tasks: tasks(m, res)}
	for _, serv := range services(m, sub) {
		s.Services = append(s.Services, servState(m, serv))
	}
	if l := sub.Lockd; l != nil {
		s.Lockd = &LockdState{
			Users: l.NlmsvcUsers, Task: l.NlmsvcTask.Name(), Rqst: name(l.NlmsvcRqst), Mutex: l.NlmsvcMutex.PeekOwner().Name(),
		}
	}
	if n := sub.Nfs; n != nil {
		for minor := range n.NfsCallbackInfo {
			info := &n.NfsCallbackInfo[minor]
			s.Nfs = append(s.Nfs, NfsState{
				Minor: minor, Users: info.Users, Task: info.Task.Name(), Mutex: n.NfsCallbackMutex.PeekOwner().Name(),
			})
		}
	}
	for _, x := range sub.Exchanges {
		e := ExchangeState{Who: x.Who, Xid: x.Xid, Sent: x.Sent}
		if x.Err != 0 {
			e.Error = kernel.ErrName(x.Err)
		}
		for _, reply := range x.Replies {
			e.Replies = append(e.Replies, fmt.Sprintf("%x", reply))
		}
		s.Exchanges = append(s.Exchanges, e)
	}
	s.Objects = objects(m)
	return s
}

// tasks lists who had not ended. A run that is over has unwound them, so the result says who that was.
func tasks(m *kernel.Machine, res *kernel.Result) []TaskState {
	aboutTo := map[string]string{}
	for i := range res.Pending {
		aboutTo[res.Pending[i].Task] = flagText(&res.Pending[i])
	}
	if f := res.Worst(); f != nil && f.Task != "" && aboutTo[f.Task] == "" {
		aboutTo[f.Task] = f.Title
	}
	var out []TaskState
	for _, t := range m.Tasks() {
		what, ok := aboutTo[t.Name()]
		if !ok {
			continue
		}
		s := TaskState{Name: t.Name(), State: t.State().String(), Stop: t.StopRequested(), AboutTo: what}
		s.Doing, _ = t.Doing()
		if rqstp, ok := kernel.KthreadData(t).(*sunrpc.SvcRqst); ok {
			s.Rqst = name(rqstp)
		}
		out = append(out, s)
	}
	return out
}

// services lists what is alive: the services of all threads, and those of lockd and the callback service, which
// may have none.
func services(m *kernel.Machine, sub *oracle.Subject) []*sunrpc.SvcServ {
	var out []*sunrpc.SvcServ
	add := func(serv *sunrpc.SvcServ) {
		if serv != nil && !serv.Freed() && !slices.Contains(out, serv) {
			out = append(out, serv)
		}
	}
	if l := sub.Lockd; l != nil && l.NlmsvcRqst != nil {
		add(l.NlmsvcRqst.RqServer)
	}
	if n := sub.Nfs; n != nil {
		for minor := range n.NfsCallbackInfo {
			add(n.NfsCallbackInfo[minor].Serv)
		}
	}
	for _, rqstp := range rqsts(m) {
		add(rqstp.RqServer)
	}
	return out
}

// rqsts lists the svc_rqsts of all threads that are alive.
func rqsts(m *kernel.Machine) []*sunrpc.SvcRqst {
	var out []*sunrpc.SvcRqst
	for _, t := range m.Tasks() {
		if rqstp, ok := kernel.KthreadData(t).(*sunrpc.SvcRqst); ok && rqstp != nil && !rqstp.Freed() {
			out = append(out, rqstp)
		}
	}
	return out
}

func servState(m *kernel.Machine, serv *sunrpc.SvcServ) ServState {
	s := ServState{
		Name: serv.SvName, Object: serv.Name(), Nrthreads: serv.SvNrthreads.Peek(), Tmpcnt: serv.SvTmpcnt.Peek(),
		Temptimer: serv.SvTemptimer.Peek(),
	}
	var listed []*sunrpc.SvcRqst
	for _, pool := range serv.SvPools {
		p := PoolState{ID: pool.SpID, Flags: flags(pool, "SpFlags"), Nrthreads: pool.SpNrthreads}
		for _, xprt := range pool.SpSockets.Peek() {
			p.Queue = append(p.Queue, name(xprt))
		}
		for _, rqstp := range pool.SpAllThreads.Peek() {
			listed = append(listed, rqstp)
			p.Threads = append(p.Threads, rqstState(rqstp))
		}
		s.Pools = append(s.Pools, p)
	}
	for _, rqstp := range rqsts(m) {
		if rqstp.RqServer == serv && !slices.Contains(listed, rqstp) {
			s.Strays = append(s.Strays, rqstState(rqstp))
		}
	}
	for _, xprt := range serv.SvPermsocks.Peek() {
		s.Permsocks = append(s.Permsocks, xprtState(xprt))
	}
	for _, xprt := range serv.SvTempsocks.Peek() {
		s.Tempsocks = append(s.Tempsocks, xprtState(xprt))
	}
	return s
}

func rqstState(rqstp *sunrpc.SvcRqst) RqstState {
	s := RqstState{Object: name(rqstp)}
	if rqstp.Freed() {
		return s
	}
	s.Task, s.Idle, s.Flags = rqstp.RqTask.Peek().Name(), rqstp.PeekIdle(), flags(rqstp, "RqFlags")
	s.Xprt = name(rqstp.RqXprt.Peek())
	if rqstp.RqXid != 0 || rqstp.RqProg != 0 {
		s.Request = fmt.Sprintf("xid %#x program %d version %d procedure %d", rqstp.RqXid, rqstp.RqProg, rqstp.RqVers, rqstp.RqProc)
	}
	return s
}

func xprtState(xprt *sunrpc.SvcXprt) XprtState {
	s := XprtState{Object: name(xprt)}
	if xprt.Freed() {
		return s
	}
	s.Local, s.Remote = xprt.XptLocal.String(), xprt.XptRemote.String()
	s.Flags, s.Queued = xprt.XptFlags.PeekNames(), xprt.XptReady.Linked()
	s.Refs, s.Reserved = xprt.XptRef.Peek(), xprt.XptReserved.Peek()
	if xprt.XptClass != nil {
		s.Class = xprt.XptClass.XclName
	}
	if svsk, ok := xprt.XptContainer.(*sunrpc.SvcSock); ok && svsk.SkTcplen != 0 {
		s.Record = fmt.Sprintf("marker %x, %d octets of the fragment, %d of the record", svsk.SkReclen, svsk.SkTcplen, svsk.SkDatalen)
	}
	return s
}

// name is the name of an object, with a word if it is freed.
func name[T any, P interface {
	*T
	Name() string
	Freed() bool
}](p P) string {
	switch {
	case p == nil:
		return "NULL"
	case p.Freed():
		return p.Name() + " (freed)"
	}
	return p.Name()
}

// flags lists the set bits of a field that not every era of the core has.
func flags(of any, field string) []string {
	v := reflect.ValueOf(of).Elem().FieldByName(field)
	if !v.IsValid() {
		return nil
	}
	f, ok := v.Addr().Interface().(*kernel.Flags)
	if !ok {
		return nil
	}
	return f.PeekNames()
}

// objects counts what is alive, by class.
func objects(m *kernel.Machine) []string {
	count := map[string]int{}
	for _, o := range m.LiveObjects() {
		class, _, _ := cutLast(o.Name(), '#')
		count[class]++
	}
	var out []string
	for class, n := range count {
		out = append(out, fmt.Sprintf("%s %d", class, n))
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}

// cutLast cuts s around the last sep.
func cutLast(s string, sep byte) (before, after string, found bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == sep {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
