// SPDX-License-Identifier: MIT

package fuzz

import (
	"github.com/seed17199236/svcfuzz/stress/scenario"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/nfs"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// service is a service that a target talks to.
type service struct {
	name     string
	prog     uint32
	low, hi  uint32              // what it says when it does not know a version
	versions map[uint32][]answer // by version, by procedure
	// auth is the program's own look at a caller whose credential is well formed; stranger is what becomes of callers
	// that must be in the export table.
	auth func(flavour, proc uint32, stranger verdict) verdict
	// results is what it answers from the accept status on to a procedure that has arguments; nil: unknown.
	results func(vers, proc uint32, args []byte) []byte
	// export is what the export table says about the clients. Not constant: each run has a service of its own.
	export sunrpc.ClientVerdict
	port   uint16
	up     func(cur *kernel.Task, w *scenario.World) int
	down   func(cur *kernel.Task, w *scenario.World)
}

const (
	lockdPort    = 4045
	callbackPort = 4046

	// maxRecord is the most that both services take: two pages.
	maxRecord = 8192

	startLimit = 120 * kernel.HZ
)

// answer is what a procedure leads to.
type answer uint8

const (
	unavailable answer = iota // no such procedure
	void                      // success, and nothing to say
	asked                     // see service.results
)

// with is the service for one run.
func (s service) with(export sunrpc.ClientVerdict) *service {
	s.export = export
	return &s
}

// stranger is what becomes of a caller that must be in the export table.
func (s *service) stranger() verdict {
	switch s.export {
	case sunrpc.ClientKnown:
		return goOn
	case sunrpc.ClientLater:
		return unknown // it waits for an answer that does not come, or gives up, or is cut off
	}
	return badCred
}

// lockdService and callbackService are written down from the protocols, not from the port.
var lockdService = service{
	name: "lockd", prog: 100021, low: 1, hi: 4, port: lockdPort,
	versions: map[uint32][]answer{1: nlmProcs(17), 3: nlmProcs(24), 4: nlmProcs(24)},
	// Callers without an entry in the export table may only call NULL and what answers a call of this host.
	auth: func(_, proc uint32, stranger verdict) verdict {
		switch proc {
		case 0, 5, 10, 11, 12, 13, 14, 16:
			return goOn
		}
		return stranger
	},
	results: nlmInGrace,
	up: func(cur *kernel.Task, w *scenario.World) int {
		w.Lockd = lockd.New(cur, w.Rpc, w.Init)
		w.Lockd.NlmUdpport, w.Lockd.NlmTcpport = lockdPort, lockdPort
		return w.Lockd.LockdUp(cur, w.Init)
	},
	down: func(cur *kernel.Task, w *scenario.World) { w.Lockd.LockdDown(cur, w.Init) },
}

// nlmProcs is the procedure table of a version with n procedures. NULL has nothing to do, nor have the results of this
// host's own calls, and the numbers that the protocol leaves out, which 3.19 answers as it does NULL.
func nlmProcs(n int) []answer {
	table := make([]answer, n)
	for proc := range table {
		table[proc] = void
		if nlmShapes[uint32(proc)] != nlmNothing {
			table[proc] = asked
		}
	}
	return table
}

var callbackService = service{
	name: "callback", prog: 0x40000000, low: 1, hi: 4, port: callbackPort,
	versions: map[uint32][]answer{1: {void, asked}, 4: {void, asked}},
	// Without a name a caller may only call NULL; others are not even told.
	auth: func(flavour, proc uint32, _ verdict) verdict {
		if flavour == 0 && proc != 0 {
			return silence
		}
		return goOn
	},
	results: cbResults,
	up: func(cur *kernel.Task, w *scenario.World) int {
		w.Nfs = nfs.New(cur, w.Rpc, w.Init)
		w.Nfs.NfsCallbackSetTcpport = callbackPort
		return w.Nfs.NfsCallbackUp(cur, 0, nil, w.Init)
	},
	down: func(cur *kernel.Task, w *scenario.World) { w.Nfs.NfsCallbackDown(cur, 0, w.Init) },
}

// talk is a scenario: the service comes up, the clients talk to it, it goes down, before they are done if early.
func (s *service) talk(name string, clients []func(cur *kernel.Task, net *sock.Net), early bool) *scenario.Scenario {
	return &scenario.Scenario{
		Name: name,
		Main: func(cur *kernel.Task, w *scenario.World) {
			w.Rpc.Svcauth.ClientPolicy = func(*sock.Net, string, [16]byte) (string, sunrpc.ClientVerdict) { return "clients", s.export }
			done := cur.Within(startLimit, s.name+" up")
			errno := s.up(cur, w)
			done()
			if errno != 0 {
				w.M.Report(&kernel.Finding{Oracle: "start", Title: s.name + " does not start: " + kernel.ErrName(errno), Fatal: true})
			}
			var tasks []*kernel.Task
			for _, c := range clients {
				tasks = append(tasks, w.M.Spawn(cur, "client", func(cur *kernel.Task) { c(cur, w.Init) }))
			}
			join := func() {
				for _, t := range tasks {
					kernel.Join(cur, t)
				}
			}
			if !early {
				join()
			}
			done = cur.Within(startLimit, s.name+" down")
			s.down(cur, w)
			done()
			join()
		},
	}
}

// dial connects to the service.
func (s *service) dial(cur *kernel.Task, net *sock.Net, protocol int) (*sock.Conn, int) {
	return sock.Dial(cur, net, protocol, sock.LoopbackAddr(sock.AF_INET, s.port))
}
