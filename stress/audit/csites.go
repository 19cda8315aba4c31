// SPDX-License-Identifier: MIT

package audit

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// kinds are the primitives of C that are compared, by the floor's function that stands for them. What is missing here
// is no lock, atomic, wait or wake-up, or shows nothing to anybody.
var kinds = map[string]string{
	"Spinlock.Lock": "spin_lock", "Spinlock.Unlock": "spin_unlock", "Spinlock.LockBH": "spin_lock_bh",
	"Spinlock.UnlockBH": "spin_unlock_bh", "Spinlock.TryLock": "spin_trylock",
	"Mutex.Lock": "mutex_lock", "Mutex.Unlock": "mutex_unlock",
	"Flags.SetBit": "set_bit", "Flags.ClearBit": "clear_bit", "Flags.TestBit": "test_bit", "Flags.TestAny": "test_any",
	"Flags.TestAndSetBit": "test_and_set_bit", "Flags.TestAndClearBit": "test_and_clear_bit",
	"Atomic.Read": "atomic_read", "Atomic.Set": "atomic_set", "Atomic.Inc": "atomic_inc", "Atomic.Dec": "atomic_dec",
	"Atomic.Add": "atomic_add", "Atomic.Sub": "atomic_sub", "Atomic.AddReturn": "atomic_add_return",
	"Atomic.DecAndTest": "atomic_dec_and_test", "Atomic.DecAndLock": "atomic_dec_and_lock",
	"Kref.Get": "kref_get", "Kref.Put": "kref_put", "Kref.Read": "kref_read", "Kref.PutMutex": "kref_put_mutex",
	"Kref.PutLock":        "atomic_dec_and_lock",
	"Machine.RcuReadLock": "rcu_read_lock", "Machine.RcuReadUnlock": "rcu_read_unlock", "KfreeRcu": "kfree_rcu",
	"ListOf.AddRcu": "list_add_rcu", "ListOf.DelRcu": "list_del_rcu", "ListOf.FirstRcu": "list_for_each_entry_rcu",
	"Machine.KthreadCreate": "kthread_create", "Machine.KthreadRun": "kthread_run", "KthreadStop": "kthread_stop",
	"Task.KthreadShouldStop": "kthread_should_stop", "WakeUpProcess": "wake_up_process",
	"Task.SetCurrentState": "set_current_state", "Task.SetCurrentStateRelaxed": "set_current_state",
	"Schedule": "schedule", "ScheduleTimeout": "schedule_timeout",
	"Msleep": "msleep", "CondResched": "cond_resched",
	"Task.SignalPending": "signalled", "Task.FlushSignals": "flush_signals", "Task.AllowSignal": "allow_signal",
	"SendSig": "send_sig", "Task.ClearSigpending": "clear_sigpending", "Task.RecalcSigpending": "recalc_sigpending",
	"Task.SetFreezable": "set_freezable", "TryToFreeze": "try_to_freeze", "Task.Freezing": "freezing",
	"WaitQueueHead.PrepareToWait": "prepare_to_wait", "WaitQueueHead.FinishWait": "finish_wait",
	"WaitQueueHead.Active": "waitqueue_active", "WaitQueueHead.WakeUp": "wake_up",
	"WaitQueueHead.WakeUpAll": "wake_up_all", "WaitEvent": "wait_event",
	"Timer.Mod": "mod_timer", "Timer.DelSync": "del_timer_sync", "DelayedWork.Schedule": "schedule_delayed_work",
	"DelayedWork.CancelSync": "cancel_delayed_work_sync",
	"Machine.SmpMb":          "smp_mb", "Machine.SmpWmb": "smp_wmb", "Machine.SmpRmb": "smp_rmb",
	"Machine.GetCpu": "get_cpu", "Machine.PutCpu": "put_cpu",
	"Var.Load": "load", "Var.Store": "store",
}

// notHere are the primitives of C for which the port never stands in with one of the floor.
var notHere = []string{"spin_trylock_bh", "lock_sock", "release_sock", "lg_lock", "lg_unlock"}

// plain are the plain fields whose loads and stores are compared: those that this project is about.
var plain = []string{"rq_task"}

// nameless are the primitives that always operate on the same thing, or whose argument is a number.
var nameless = []string{
	"kthread_should_stop", "signalled", "flush_signals", "set_freezable", "try_to_freeze", "freezing", "cond_resched",
	"schedule", "schedule_timeout", "msleep", "rcu_read_lock", "rcu_read_unlock", "smp_mb", "smp_wmb", "smp_rmb",
	"get_cpu", "put_cpu", "clear_sigpending", "recalc_sigpending",
}

// CSite says how often a function of the kernel uses a primitive on an object, and how often its port does.
type CSite struct {
	File   string `json:"file"` // "net/sunrpc/svc_xprt.c"
	Func   string `json:"func"`
	Kind   string `json:"kind"`             // "spin_lock_bh"
	Object string `json:"object,omitempty"` // "sp_lock"; "" where there is but one
	C      int    `json:"c"`
	Port   int    `json:"port"`
	Why    string `json:"why,omitempty"` // the two differ
}

// key is what a row is about.
func (s *CSite) key() CSite { return CSite{File: s.File, Func: s.Func, Kind: s.Kind, Object: s.Object} }

func (s *CSite) String() string {
	return fmt.Sprintf("%s %s %s(%s): %d in C, %d in the port", s.File, s.Func, s.Kind, s.Object, s.C, s.Port)
}

// CFiles are the files of the kernel that are compared, whole but for what corpus/audit/README.md names.
var CFiles = []string{
	"net/sunrpc/svc.c", "net/sunrpc/svc_xprt.c", "net/sunrpc/svcsock.c", "fs/lockd/svc.c", "fs/nfs/callback.c",
	"fs/nfs/callback_proc.c", "fs/nfs/callback_xdr.c",
	"fs/lockd/svcproc.c", "fs/lockd/svcshare.c", "fs/lockd/clntlock.c", "fs/lockd/host.c", "fs/lockd/mon.c",
	"fs/lockd/svclock.c", "fs/lockd/svcsubs.c", "fs/locks.c",
}

// SitesFile is where the facts about the kernel stand, from the root of the module.
const SitesFile = "corpus/audit/sites.csv"

var csvHead = []string{"file", "function", "kind", "object", "c", "port", "why"}

// ReadSites reads the facts about the kernel. An error is one line that names the file and the line.
func ReadSites(root string) ([]*CSite, error) {
	name := filepath.Join(root, filepath.FromSlash(SitesFile))
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseSites(f, SitesFile)
}

func parseSites(r io.Reader, name string) ([]*CSite, error) {
	rd := csv.NewReader(r)
	rd.FieldsPerRecord = len(csvHead)
	rd.Comment = '#'
	rows, err := rd.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w; write the columns %s", name, err, strings.Join(csvHead, ","))
	}
	if len(rows) == 0 || !slices.Equal(rows[0], csvHead) {
		return nil, fmt.Errorf("%s: the first row must be %s", name, strings.Join(csvHead, ","))
	}
	known := slices.AppendSeq(slices.Clone(notHere), maps.Values(kinds))
	seen := map[CSite]bool{}
	var sites []*CSite
	for _, row := range rows[1:] {
		s := &CSite{File: row[0], Func: row[1], Kind: row[2], Object: row[3], Why: row[6]}
		var err1, err2 error
		s.C, err1 = strconv.Atoi(row[4])
		s.Port, err2 = strconv.Atoi(row[5])
		switch {
		case !slices.Contains(CFiles, s.File):
			err = fmt.Errorf("the file is none of %s", strings.Join(CFiles, ", "))
		case !slices.Contains(known, s.Kind):
			err = fmt.Errorf("the kind %q is not one that is compared; corpus/audit/README.md lists them", s.Kind)
		case err1 != nil || err2 != nil || s.C < 0 || s.Port < 0:
			err = fmt.Errorf("%q and %q must be numbers of sites", row[4], row[5])
		case seen[s.key()]:
			err = fmt.Errorf("there is a row for this already; add them up")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, strings.Join(row[:4], ","), err)
		}
		seen[s.key()] = true
		sites = append(sites, s)
	}
	return sites, nil
}

// counted is how often each function of the port uses each primitive, by what the row of it is about.
func counted(port []*Site) map[CSite]int {
	n := map[CSite]int{}
	for _, s := range port {
		kind := kinds[s.Primitive]
		if kind == "" || !slices.Contains(CFiles, s.CFile) {
			continue
		}
		k := CSite{File: s.CFile, Func: s.CFunc, Kind: kind, Object: s.Object}
		if slices.Contains(nameless, kind) {
			k.Object = ""
		}
		if (kind == "load" || kind == "store") && !slices.Contains(plain, k.Object) {
			continue
		}
		n[k]++
	}
	return n
}

// Comparison is what the sites of the port are against those of the kernel.
type Comparison struct {
	C       int      `json:"c"`       // sites in the kernel
	Same    int      `json:"same"`    // of them in the port, too
	Missing []*CSite `json:"missing"` // fewer in the port, for a reason
	Extra   []*CSite `json:"extra"`   // more in the port, for a reason
	// Unexplained are lines for a person: a difference without a reason, or a reason without that difference.
	Unexplained []string `json:"unexplained"`
}

// Compare compares the facts about the kernel with the source of the port.
func Compare(facts []*CSite, port []*Site) *Comparison {
	c := &Comparison{}
	have := counted(port)
	for _, s := range facts {
		k := s.key()
		n := have[k]
		delete(have, k)
		c.C += s.C
		c.Same += min(s.C, n)
		switch {
		case n != s.Port:
			c.odd("%s; there are %d: correct the row, and say why if they differ", s, n)
		case s.C == s.Port && s.Why != "":
			c.odd("%s: they do not differ; take the reason away", s)
		case s.C != s.Port && s.Why == "":
			c.odd("%s: say why they differ", s)
		case s.C > s.Port:
			c.Missing = append(c.Missing, s)
		case s.C < s.Port:
			c.Extra = append(c.Extra, s)
		}
	}
	for k, n := range have {
		k.Port = n
		c.odd("%s, and no row; add one, and say why if C has none", &k)
	}
	slices.Sort(c.Unexplained)
	return c
}

// odd adds a line to what is not explained.
func (c *Comparison) odd(format string, args ...any) {
	c.Unexplained = append(c.Unexplained, fmt.Sprintf(format, args...))
}
