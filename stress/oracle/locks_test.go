// SPDX-License-Identifier: MIT

package oracle

import (
	"fmt"
	"math"
	"testing"

	"github.com/seed17199236/svcfuzz/stress/history"
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
)

// process is a process of the server's host that takes, tests and gives back locks, and records what it is told.
type process struct {
	choosertest.Random
	v    *fs.VFS
	filp *fs.File
	pid  uint32
	rec  *history.Client
	lazy bool // gives nothing back and says that it did
}

// length is a range as the protocol has it.
func length(start, end int64) uint64 {
	if end == math.MaxInt64 {
		return 0
	}
	return uint64(end - start + 1)
}

func (p *process) begin(kind history.Kind, fl *fs.FileLock, block bool) *history.Call {
	return p.rec.Begin(history.Op{
		Kind: kind, File: "file", Owner: history.Owner{Host: "local", Svid: p.pid}, Start: uint64(fl.FlStart),
		Len: length(fl.FlStart, fl.FlEnd), Exclusive: fl.FlType == fs.F_WRLCK, Block: block,
	})
}

func (p *process) step(cur *kernel.Task) {
	fl := &fs.FileLock{FlOwner: p.pid, FlPid: p.pid, FlFlags: fs.FL_POSIX, FlType: uint8(p.N(2)), FlStart: int64(p.N(8))}
	fl.FlEnd = fl.FlStart + int64(p.N(8))
	if p.N(6) == 0 {
		fl.FlEnd = fs.OFFSET_MAX
	}
	switch what := p.N(5); what {
	case 0:
		call := p.begin(history.Test, fl, false)
		p.v.VfsTestLock(cur, p.filp, fl)
		if fl.FlType == fs.F_UNLCK {
			call.End(history.Granted, nil)
			return
		}
		call.End(history.Denied, &history.Holder{
			Owner: history.Owner{Host: "local", Svid: fl.FlOwner.(uint32)}, Start: uint64(fl.FlStart),
			Len:       length(fl.FlStart, fl.FlEnd),
			Exclusive: fl.FlType == fs.F_WRLCK,
		})
	case 1, 2:
		call := p.begin(history.Unlock, fl, false)
		fl.FlType = fs.F_UNLCK
		if !p.lazy {
			p.v.FcntlSetlk(cur, p.filp, fs.F_SETLK, fl)
		}
		call.End(history.Granted, nil)
	default:
		cmd := map[bool]int{false: fs.F_SETLK, true: fs.F_SETLKW}[what == 3]
		call := p.begin(history.Lock, fl, false) // it waits itself: there is no call back
		call.End(map[int]history.Status{
			0: history.Granted, -kernel.EAGAIN: history.Denied, -kernel.EDEADLK: history.Deadlock,
		}[p.v.FcntlSetlk(cur, p.filp, cmd, fl)], nil)
	}
}

// processes lets three of them loose on a file.
func processes(cur *kernel.Task, rec *history.Recorder, seed uint64, lazy bool) {
	m := cur.Machine()
	v := fs.New(cur, m)
	filp, _ := v.Open(cur, v.Create("file", false, 1), fs.FMODE_READ|fs.FMODE_WRITE)
	var tasks []*kernel.Task
	for i := range uint32(3) {
		p := &process{*choosertest.NewRandom(seed + uint64(i)*1000), v, filp, i + 1, rec.Client(fmt.Sprint("process", i)), lazy}
		tasks = append(tasks, m.Spawn(cur, fmt.Sprint("process", i), func(cur *kernel.Task) {
			for range 12 {
				p.step(cur)
			}
			call := p.begin(history.Unlock, &fs.FileLock{FlEnd: fs.OFFSET_MAX}, false)
			v.LocksRemovePosix(cur, filp, p.pid)
			call.End(history.Granted, nil)
		}))
	}
	for _, task := range tasks {
		kernel.Join(cur, task)
	}
	v.Fput(filp)
}

// The port's locks, used by several tasks at once, have a history that the model explains; that of processes whose
// unlocking gets lost it does not.
func TestLocksOfThePort(t *testing.T) {
	wrong := map[bool]int{}
	judge := func(rec *history.Recorder, seed uint64, lazy bool) {
		report := rec.Judge()
		if report.Verdict != history.Linearizable {
			wrong[lazy]++
		}
		if report.Verdict != history.Linearizable && !lazy {
			t.Errorf("seed %d: %s", seed, report.Text)
		}
	}
	m := kernel.NewSim()
	defer m.Close()
	const seeds = 150
	for seed := range uint64(seeds) {
		for _, lazy := range []bool{false, true} {
			rec := history.New(history.Steps())
			r := m.Run(choosertest.NewRandom(seed), kernel.Options{}, "main", func(cur *kernel.Task) {
				processes(cur, rec, seed, lazy)
			})
			for _, f := range r.Findings {
				t.Errorf("seed %d: %s\n%s", seed, f, f.Text)
			}
			judge(rec, seed, lazy)
		}
	}
	if wrong[true] < seeds/2 {
		t.Errorf("of %d histories without unlocking %d were wrong", seeds, wrong[true])
	}
	for seed := range uint64(5) {
		rec := history.New(history.Wall())
		r := kernel.NewFree().Run(nil, kernel.Options{Seed: seed, Noise: 1 << 8}, "main", func(cur *kernel.Task) {
			processes(cur, rec, seed, false)
		})
		for _, f := range r.Findings {
			t.Errorf("free, seed %d: %s\n%s", seed, f, f.Text)
		}
		judge(rec, seed, false)
	}
}
