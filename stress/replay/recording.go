// SPDX-License-Identifier: MIT

// Package replay plays what was once sent to real Linux kernels to a server, and compares what comes back octet by
// octet with what those kernels answered. The recordings are in corpus/kernel; README.md there explains them.
package replay

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Kernels are the recorded kernels, oldest first.
var Kernels = []string{"6.1", "6.12", "6.18", "7.3"}

// Answer is what a server did upon a case.
type Answer struct {
	Reply    []byte   // all octets, record marks included
	Conn     string   // open or closed; "" if nobody looked
	After    string   // what a good NULL call got afterwards: answered, silent, closed; "" if it was not asked
	Late     []byte   // octets that came between that call and its answer
	Calls    []string // what the server itself then called at the client, as [Call.String] has it; nil if nobody looked
	Returned []string // delegations that the client gave back to its server: file id and stateid
	Lockd    uint32   // process id of the server's lockd thread; 0 in what was recorded
}

func (a Answer) String() string {
	reply := hex.EncodeToString(a.Reply)
	if reply == "" {
		reply = "none"
	}
	s := "reply " + reply
	if a.Conn != "" {
		s += ", connection " + a.Conn
	}
	if a.After != "" {
		s += ", then " + a.After
	}
	if len(a.Late) > 0 {
		s += ", late " + hex.EncodeToString(a.Late)
	}
	for _, c := range a.Calls {
		s += ", calls " + c
	}
	for _, r := range a.Returned {
		s += ", returns " + r
	}
	return s
}

// Equal compares what both know.
func (a Answer) Equal(b Answer) bool {
	either := func(a, b string) bool { return a == "" || b == "" || a == b }
	return bytes.Equal(a.Reply, b.Reply) && bytes.Equal(a.Late, b.Late) && either(a.Conn, b.Conn) && either(a.After, b.After) &&
		(a.Calls == nil || b.Calls == nil || slices.Equal(a.Calls, b.Calls)) && slices.Equal(a.Returned, b.Returned)
}

// Take is what one kernel was sent in a case, and what it did.
type Take struct {
	Writes   [][]byte
	Want     Answer // volatile octets are lockdPid
	Volatile []int  // where in the reply the process id of the lockd thread is
}

// Case is a request that every kernel got.
type Case struct {
	Name, Group string
	Target      string // nlm or nfs-cb
	Setup       string // in what state the kernel was: main, sm, acl, grace, cbpos
	Session     string
	UDP         bool
	Client      string        // where the request came from, if it was not the usual client
	Delay       time.Duration // between the writes
	HalfClose   bool
	// Step marks a request whose answers are not recorded: it only leads to the state of what follows.
	Step  bool
	Takes map[string]*Take // by kernel
}

// Recording is a file of recordings.
type Recording struct {
	Versions map[string]string // by kernel: its own name
	Cases    []*Case           // in the order in which each kernel was played
	guests   map[string]map[string]guestVars
}

// guestVars are what the requests to a guest in a state refer to: handles by file name, and the rest.
type guestVars map[string]any

// handles lists the file handles in hex by name.
func (v guestVars) handles() map[string]string {
	handles := map[string]string{}
	for _, name := range append([]string{"root"}, guestFiles...) {
		if fh, ok := v[name].(string); ok {
			handles[name] = fh
		}
	}
	return handles
}

// record is a line of the file.
type record struct {
	Name, Group, Target, Transport, Setup, Session, Kernel string
	Before                                                 string // of a step: the case that it leads to
	ClientAddress                                          string `json:"client_address"`
	Request                                                string
	Writes                                                 []string
	WriteDelay                                             float64 `json:"write_delay_s"`
	Runs                                                   []struct {
		Hex   string
		Zeros int
	} `json:"request_runs"`
	HalfClose bool
	Reply     string
	Conn      string
	After     string
	Late      string `json:"late_reply"`
	Volatile  []struct{ Off, Len int }
	Callbacks []struct {
		Transport string
		Port      int
		Request   string
	}
	Returned []struct {
		FileID  uint64
		StateID string
	} `json:"delegreturns_seen"`
}

// Load reads the recordings of a folder.
func Load(folder string) (*Recording, error) {
	name := filepath.Join(folder, "vectors.json.gz")
	var file struct {
		Kernels map[string]struct {
			Kernel string
			Vars   map[string]guestVars
		}
		Vectors []record
	}
	if err := loadGzip(name, &file); err != nil {
		return nil, err
	}
	r := &Recording{Versions: map[string]string{}, guests: map[string]map[string]guestVars{}}
	for kernel, k := range file.Kernels {
		r.Versions[kernel], r.guests[kernel] = k.Kernel, k.Vars
	}
	var err error
	if r.Cases, err = r.cases(name, file.Vectors); err != nil {
		return nil, err
	}
	return r, r.addSteps(filepath.Join(folder, "steps.json.gz"))
}

// cases puts the recordings of one name together.
func (r *Recording) cases(file string, records []record) ([]*Case, error) {
	short := map[string]string{}
	for kernel, version := range r.Versions {
		short[version] = kernel
	}
	pids := map[string]uint32{}
	var list []*Case
	byName := map[string]*Case{}
	for _, v := range records {
		c := byName[v.Name]
		if c == nil {
			c = v.newCase()
			byName[v.Name] = c
			list = append(list, c)
		}
		kernel, ok := short[v.Kernel]
		if !ok || c.Takes[kernel] != nil {
			return nil, fmt.Errorf("%s: %s: kernel %q is not described, or recorded twice", file, v.Name, v.Kernel)
		}
		take, err := v.take(r.guests[kernel][v.Setup])
		if err == nil {
			err = take.maskRecorded(pids, kernel)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", file, v.Name, err)
		}
		c.Takes[kernel] = take
	}
	return list, nil
}

// addSteps puts what lies between the recordings into its place. What is recorded is no mere step.
func (r *Recording) addSteps(name string) error {
	var file struct{ Steps []record }
	if err := loadGzip(name, &file); err != nil {
		return err
	}
	recorded := map[string]bool{}
	for _, c := range r.Cases {
		recorded[c.Name] = true
	}
	steps := slices.DeleteFunc(file.Steps, func(s record) bool { return recorded[s.Name] })
	list, err := r.cases(name, steps)
	if err != nil {
		return err
	}
	leadTo := map[string][]*Case{}
	before := map[string]string{}
	for _, s := range steps {
		before[s.Name] = s.Before
	}
	for _, s := range list {
		s.Step = true
		leadTo[before[s.Name]] = append(leadTo[before[s.Name]], s)
	}
	var all []*Case
	for _, c := range r.Cases {
		all = append(append(all, leadTo[c.Name]...), c)
		delete(leadTo, c.Name)
	}
	if len(leadTo) > 0 {
		return fmt.Errorf("%s: %d steps lead to cases that are not recorded", name, len(leadTo))
	}
	r.Cases = all
	return nil
}

// loadGzip reads a compressed JSON file.
func loadGzip(name string, into any) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := json.NewDecoder(z).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (r *record) newCase() *Case {
	return &Case{
		Name: r.Name, Group: r.Group, Target: r.Target, Setup: r.Setup, Session: r.Session, UDP: r.Transport == "udp",
		Client: r.ClientAddress, Delay: time.Duration(r.WriteDelay * float64(time.Second)), HalfClose: r.HalfClose,
		Takes: map[string]*Take{},
	}
}

// take reads what is recorded; vars are those of the guest.
func (r *record) take(vars guestVars) (*Take, error) {
	var errs []error
	octets := func(s string) []byte {
		b, err := hex.DecodeString(s)
		errs = append(errs, err)
		return b
	}
	t := &Take{}
	switch {
	case r.Writes != nil:
		for _, w := range r.Writes {
			t.Writes = append(t.Writes, octets(w))
		}
	case r.Runs != nil:
		var b []byte
		for _, run := range r.Runs {
			b = append(append(b, octets(run.Hex)...), make([]byte, run.Zeros)...)
		}
		t.Writes = [][]byte{b}
	default:
		t.Writes = [][]byte{octets(r.Request)}
	}
	t.Want = Answer{Conn: fate(r.Conn), After: fate(r.After), Late: octets(r.Late)}
	if r.Reply != "none" && r.Reply != "closed" {
		t.Want.Reply = octets(r.Reply)
	}
	for _, v := range r.Volatile {
		t.Volatile = append(t.Volatile, v.Off)
	}
	if r.Setup == "main" || r.Callbacks != nil {
		t.Want.Calls = []string{}
	}
	for _, c := range r.Callbacks {
		call := Call{UDP: c.Transport == "udp", Rpcbind: c.Port == rpcbindPort, Request: octets(c.Request)}
		t.Want.Calls = append(t.Want.Calls, nameHandles(call.String(), vars.handles()))
	}
	for _, d := range r.Returned {
		t.Want.Returned = append(t.Want.Returned, fmt.Sprintf("%d %s", d.FileID, d.StateID))
	}
	slices.Sort(t.Want.Returned) // they are under way at the same time
	return t, errors.Join(errs...)
}

// lockdPid stands for the process id of a server's lockd thread, which no two servers have in common.
const lockdPid = 0x50494421

// mask puts lockdPid where the process id of the lockd thread has to be, and is.
func (t *Take) mask(reply []byte, pid uint32) []byte {
	reply = slices.Clone(reply)
	for _, off := range t.Volatile {
		if off+4 <= len(reply) && binary.BigEndian.Uint32(reply[off:]) == pid {
			binary.BigEndian.PutUint32(reply[off:], lockdPid)
		}
	}
	return reply
}

// maskRecorded is mask for what was recorded: pids are what the lockd threads of the kernels had so far.
func (t *Take) maskRecorded(pids map[string]uint32, kernel string) error {
	for _, off := range t.Volatile {
		if off+4 > len(t.Want.Reply) {
			return fmt.Errorf("the reply of %s has no process id at octet %d", kernel, off)
		}
		pid := binary.BigEndian.Uint32(t.Want.Reply[off:])
		if pids[kernel] == 0 {
			pids[kernel] = pid
		}
		if pid != pids[kernel] {
			return fmt.Errorf("lockd of %s is process %d here, and %d elsewhere", kernel, pid, pids[kernel])
		}
	}
	t.Want.Reply = t.mask(t.Want.Reply, pids[kernel])
	return nil
}

// fate forgets how a connection was closed: whether its end is a FIN or a RST depends on when the octets that were
// still under way arrived, and on who had called shutdown.
func fate(s string) string {
	if strings.HasPrefix(s, "closed") || s == "fin" || s == "rst" {
		return "closed"
	}
	return s
}
