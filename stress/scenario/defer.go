// SPDX-License-Identifier: MIT

package scenario

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// When the export table's helper answers.
const (
	answerSoon  = 1 // as soon as it gets to it
	answerLate  = 2 // when the asking thread has lost patience and put the request aside
	answerNever = 3
)

// deferral lets requests wait for the helper that knows the export table: a thread waits a while, then puts the
// request aside, and replays it when the answer is there.
var deferral = &Scenario{
	Name: "deferral",
	Doc:  "requests wait for the export table: they are put aside and replayed, or given up when lockd goes down",
	Params: []Param{
		{Name: "clients", Doc: "clients, each with one request", Default: 1, Min: 1, Max: 3, Amount: true},
		protoParam,
		{Name: "answer", Doc: "the helper answers 1: soon, 2: when the request has been put aside, 3: never",
			Default: answerLate, Min: 1, Max: 3},
		{Name: "groups", Doc: "1: the user's groups are asked for as well, so a request is put aside twice", Max: 1},
		rpcbindParam,
	},
	Main: func(cur *kernel.Task, w *World) {
		h := newHelper(w)
		w.Lockd = lockd.New(cur, w.Rpc, w.Init)
		for i := range w.P.Get("clients") {
			prot := protocol(w.P.Get("proto"), i)
			c := w.newClient(w.Init, prot, lockd.NLM_PROGRAM, nlmVersion, 1, h.answer == answerNever)
			c.msg = unusedCall
			w.spawn(cur, c, w.Rpcb.await(w.M, lockd.NLM_PROGRAM, prot))
		}
		mountd := w.M.Spawn(cur, "mountd", h.serve)
		w.Arrive(cur)
		w.lockdUp(cur, w.Init)
		if h.answer != answerNever {
			w.joinClients(cur)
		}
		w.Arrive(cur)
		w.lockdDown(cur, w.Init)
		w.joinClients(cur)
		h.quit(cur, mountd)
	},
}

// unusedCall is a call of a procedure that lock managers have a number for and no use: it is answered with nothing, as
// procedure 0 is, but only to clients of the export table. It carries an AUTH_SYS credential.
func unusedCall(xid uint32) []byte {
	const unused = 17
	return sysCall(xid, lockd.NLM_PROGRAM, nlmVersion, unused, "")
}

// helper stands for mountd: it is asked about addresses and users, and answers from a task of its own.
type helper struct {
	kernel.Obj
	w       *World
	answer  int
	lock    kernel.Spinlock
	todo    []func(cur *kernel.Task) int // lock; an answer, with the result of giving it
	ended   bool                         // lock
	waiting kernel.Completion            // one for each of todo, and one for the end
}

func newHelper(w *World) *helper {
	h := kernel.StaticObj[helper](w.M, "mountd")
	h.w, h.answer = w, w.P.Get("answer")
	h.lock.Init(&h.Obj, "mountd")
	h.waiting.Init(&h.Obj, "mountd.asked")
	auth := &w.Rpc.Svcauth
	auth.ClientPolicy = func(net *sock.Net, class string, addr [16]byte) (string, sunrpc.ClientVerdict) {
		h.ask(func(cur *kernel.Task) int {
			return sunrpc.IPMapUpdate(cur, w.Rpc, net, class, addr, "localhost", h.expiry())
		})
		return "", sunrpc.ClientLater
	}
	if w.P.Get("groups") == 1 {
		auth.GroupPolicy = func(net *sock.Net, uid uint32) ([]uint32, sunrpc.ClientVerdict) {
			h.ask(func(cur *kernel.Task) int {
				return sunrpc.UnixGidUpdate(cur, w.Rpc, net, uid, []uint32{100, 101}, h.expiry())
			})
			return nil, sunrpc.ClientLater
		}
	}
	return h
}

// expiry is a second that lies behind every run.
func (h *helper) expiry() int64 { return int64(h.w.M.Jiffies()/kernel.HZ) + 24*60*60 }

// ask leaves a question. It is called from the thread that has a request.
func (h *helper) ask(answer func(cur *kernel.Task) int) {
	h.lock.Lock()
	h.todo = append(h.todo, answer)
	h.lock.Unlock()
	h.waiting.Complete()
}

// serve answers questions until quit. An answer for which there is no memory is given again.
func (h *helper) serve(cur *kernel.Task) {
	for {
		h.waiting.Wait(cur)
		h.lock.Lock()
		var next func(cur *kernel.Task) int
		if len(h.todo) > 0 && h.answer != answerNever {
			next, h.todo = h.todo[0], h.todo[1:]
		}
		ended := h.ended
		h.lock.Unlock()
		switch {
		case ended:
			return
		case next == nil:
			continue
		case h.answer == answerLate:
			// The thread's patience is 5 seconds.
			pause(cur, 6*kernel.HZ)
		}
		for next(cur) != 0 {
			kernel.ScheduleTimeoutUninterruptible(cur, 1)
		}
	}
}

// quit ends serve.
func (h *helper) quit(cur, task *kernel.Task) {
	h.lock.Lock()
	h.ended = true
	h.lock.Unlock()
	h.waiting.Complete()
	kernel.Join(cur, task)
}
