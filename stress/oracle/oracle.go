// SPDX-License-Identifier: MIT

// Package oracle turns a run into a verdict: checks of what the target promises, each of which is silent on a sound
// run and names a defect in one stable line otherwise. The floor itself reports what needs no knowledge of the
// target: oopses, warnings, use after free, reference counts, list corruption, lock order, sleeping in atomic
// context, deadlock, hang.
//
// Oracles only look: they perform no visible operation, so that a run with them and one without are the same run.
package oracle

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/stress/history"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/nfs"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// Subject is what the oracles look at. A scenario fills it in while it builds its world, before it starts the actors
// that change what is in it.
type Subject struct {
	M     *kernel.Machine
	Rpc   *sunrpc.Sunrpc
	Lockd *lockd.Lockd // nil if the scenario has none
	Nfs   *nfs.Nfs     // nil if the scenario has none
	Nets  []*sock.Net  // in which sunrpc is initialised

	// Exchanges are the requests that clients make. Each is written by its own client only.
	Exchanges []*Exchange

	// History is what the clients asked lockd for and were told; nil if they do not record it.
	History *history.Recorder

	netLeak string // what DropNet saw
	tracked []Service
	views   []view // scratch of services
	waiters []waiter
	longest int // rounds that a transport has waited on a queue
}

// Service is a service that neither lockd nor the callback service owns.
type Service struct {
	Serv  *sunrpc.SvcServ
	Mutex *kernel.Mutex // its service mutex; nil: nobody else changes it
	Refs  int64         // references besides those of the threads: the creator's
	Bound []*sock.Net   // namespaces in which it holds a reference to rpcbind's clients
}

// Track adds a service that the scenario made itself. It stays until Untrack, or until it is freed.
func (s *Subject) Track(x Service) { s.tracked = append(s.tracked, x) }

// Untrack forgets a service that is about to be destroyed.
func (s *Subject) Untrack(serv *sunrpc.SvcServ) {
	for i := range s.tracked {
		if s.tracked[i].Serv == serv {
			s.tracked = append(s.tracked[:i:i], s.tracked[i+1:]...)
			return
		}
	}
}

// AddNet tells the oracles that sunrpc is initialised in net; DropNet that it no longer is.
func (s *Subject) AddNet(net *sock.Net) { s.Nets = append(s.Nets, net) }

// DropNet is called when nobody uses net any more: only its owner still refers to it. If not, the leak oracle will
// say so, behind what it has to say about objects, whose references they may be.
func (s *Subject) DropNet(net *sock.Net) {
	if n := net.Refs(); n != 1 && s.netLeak == "" {
		s.netLeak = fmt.Sprintf("net %s: %d references", net.Name, n)
	}
	for i := range s.Nets {
		if s.Nets[i] == net {
			s.Nets = append(s.Nets[:i:i], s.Nets[i+1:]...)
			return
		}
	}
}

// view is a live service as the oracles see it at one moment.
type view struct {
	serv    *sunrpc.SvcServ
	settled bool  // its service mutex is free
	refs    int64 // references besides those of the threads, when settled
}

// services lists the live services. The slice is valid until the next call.
func (s *Subject) services() []view {
	s.views = s.views[:0]
	for i := range s.tracked {
		t := &s.tracked[i]
		s.see(t.Serv, t.Mutex == nil || t.Mutex.PeekOwner() == nil, t.Refs)
	}
	if l := s.Lockd; l != nil && l.NlmsvcRqst != nil {
		s.see(l.NlmsvcRqst.RqServer, l.NlmsvcMutex.PeekOwner() == nil, 0)
	}
	if n := s.Nfs; n != nil {
		for i := range n.NfsCallbackInfo {
			s.see(n.NfsCallbackInfo[i].Serv, n.NfsCallbackMutex.PeekOwner() == nil, 0)
		}
	}
	return s.views
}

func (s *Subject) see(serv *sunrpc.SvcServ, settled bool, refs int64) {
	if serv != nil && !serv.Freed() {
		s.views = append(s.views, view{serv, settled, refs})
	}
}

// Oracle is one check.
type Oracle struct {
	Name string
	Doc  string
	// Quiescent looks at a moment when no task can run; nil if the oracle has nothing to say there. Sim only.
	Quiescent func(s *Subject)
	// Rounds looks after every so many fair rounds; nil if the oracle has nothing to say there. Sim only.
	Rounds func(s *Subject)
	// End looks at what a run left behind that found nothing so far; nil if the oracle has nothing to say there.
	End func(s *Subject)
}

// All lists the oracles. Those that name a cause come before those that see its consequences.
func All() []*Oracle {
	return []*Oracle{
		victim, task, busy, lostWakeup, liveness, start, stop, accounting, grace, locks, reply, leak,
	}
}

// Install makes a run with opt apply all oracles to s. It is called before the run; s.M is set.
func Install(s *Subject, opt *kernel.Options) { install(s, opt, All()) }

func install(s *Subject, opt *kernel.Options, all []*Oracle) {
	each := func(hook func(*Oracle) func(*Subject), before func()) func() {
		return func() {
			if before != nil {
				before()
			}
			for _, o := range all {
				f := hook(o)
				if f == nil {
					continue
				}
				if f(s); len(s.M.Findings()) > 0 {
					return
				}
			}
		}
	}
	opt.Quiescent = each(func(o *Oracle) func(*Subject) { return o.Quiescent }, opt.Quiescent)
	opt.Rounds = each(func(o *Oracle) func(*Subject) { return o.Rounds }, opt.Rounds)
	opt.RoundsEvery = roundsAtOnce
	atEnd := each(func(o *Oracle) func(*Subject) { return o.End }, nil)
	also := opt.AtEnd
	opt.AtEnd = func() {
		if also != nil {
			also()
		}
		if len(s.M.Findings()) == 0 {
			atEnd()
		}
	}
}

// fire files a finding. The stack is left out: outside any task it is that of whoever ran last.
func (s *Subject) fire(name, title, text string) {
	s.M.Report(&kernel.Finding{Oracle: name, Title: title, Text: text, Fatal: true, Stack: []kernel.Frame{}})
}

// Verdict is the word that a track record uses for what a finding is about.
func Verdict(f *kernel.Finding) string {
	switch f.Oracle {
	case "use-after-free", "refcount":
		return "use-after-free"
	case "hang", "deadlock", "lost-wakeup", "liveness", "stop":
		return "hang"
	case "leak", "victim":
		return "leak"
	}
	return f.Oracle
}
