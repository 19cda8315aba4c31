// SPDX-License-Identifier: MIT

// Package sunrpc stands in for the port: what fails in its functions is the target's fault.
package sunrpc

import "github.com/seed17199236/svcfuzz/target/kernel"

// Xprt is a structure of the port.
type Xprt struct {
	kernel.Obj
	Flags kernel.Flags
	next  *Xprt
}

// Failures are the ways to fail, by name.
var Failures = map[string]func(cur *kernel.Task){
	"wake":   func(cur *kernel.Task) { XprtEnqueue(cur) },
	"stop":   func(cur *kernel.Task) { ServDestroy(cur, nil) },
	"signal": func(cur *kernel.Task) { ServDestroy(cur, new(Xprt)) },
	"deref":  func(cur *kernel.Task) { new(Xprt).release() },
	"bit":    func(cur *kernel.Task) { setBusy(nil) },
	"bug":    func(cur *kernel.Task) { bug(cur.Machine()) },
	"softirq": func(cur *kernel.Task) {
		x := kernel.StaticObj[Xprt](cur.Machine(), "xprt")
		var irq kernel.Softirq
		irq.Init(&x.Obj, "udp")
		irq.Raise(func() { XprtEnqueue(cur) })
		kernel.Msleep(cur, 100)
	},
	"index": func(cur *kernel.Task) { lookup(nil) },
}

// XprtEnqueue wakes nobody.
func XprtEnqueue(*kernel.Task) { kernel.WakeUpProcess(nil) }

// ServDestroy stops nobody, or signals nobody.
func ServDestroy(cur *kernel.Task, x *Xprt) {
	if x == nil {
		kernel.KthreadStop(cur, nil)
	}
	func() { kernel.SendSig(kernel.SIGKILL, nil) }()
}

func (x *Xprt) release() { x.next.next = x }

func setBusy(x *Xprt) { x.Flags.SetBit(0) }

func bug(m *kernel.Machine) { m.BugOn(true, "list is empty") }

func lookup(table []int) int { return table[7] }
