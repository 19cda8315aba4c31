// SPDX-License-Identifier: MIT

package replay

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/server"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/nfs"
)

// guest is a recorded guest, as our server plays it.
type guest struct {
	config  server.Config
	files   map[string]string // handles as they were recorded, in hex, by name
	changes []change          // what happened to the mount in the course of the recording, in order
	seen    int               // DELEGRETURN calls that were reported
	lockd   uint32            // process id of its lockd thread, when it is up
}

// change is what an application did before a case was recorded.
type change struct {
	before string // beginning of the name of that case
	server.Delegation
}

// Names of the files in the export of a guest, by inode number from 2 on, and the number of that export.
var guestFiles = []string{"hello", "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "wd"}

const guestFsid = 1

// graceOfGuest is how long the guests with a grace period had one, in seconds: longer than it takes to play.
const graceOfGuest = 240

// guest says how the server has to be set up to be as a kernel was in a setup; peerPort is where the client's
// portmapper listens.
func (r *Recording) guest(kernel, setup string, peerPort uint16) (*guest, error) {
	g := &guest{files: map[string]string{}, config: server.Config{
		Nodename: "guest", PeerRpcbindPort: peerPort, Fsid: guestFsid, Handle: server.NewHandle(),
	}}
	if setup == "grace" {
		g.config.Grace = graceOfGuest
	}
	if kernel == "" {
		return g, nil
	}
	vars := r.guests[kernel][setup]
	g.files = vars.handles()
	for _, name := range guestFiles {
		f := server.File{Name: name}
		if fh, ok := g.files[name]; ok {
			b, err := hex.DecodeString(fh)
			if err != nil || len(b) != 20 {
				return nil, fmt.Errorf("the handle of %s in %s of %s is %q", name, setup, kernel, fh)
			}
			f.Gen = binary.LittleEndian.Uint32(b[8:])
		}
		g.config.Files = append(g.config.Files, f)
	}
	if ident, ok := vars["cb_ident"].(float64); ok {
		g.config.Mount.Ident = uint32(ident)
	}
	var err error
	switch setup {
	case "main":
		err = g.delegateHello(r, kernel, vars)
	case "cbpos":
		err = g.delegateMany(r, kernel)
	}
	return g, err
}

// delegateHello is the one delegation that a guest held in the main run. Linux 7.3 had given it back before the first
// callback was recorded, which is why none of its answers knows the file.
func (g *guest) delegateHello(r *Recording, kernel string, vars guestVars) error {
	id, _ := vars["deleg_stateid"].(string)
	if id == "" || r.neverKnew(kernel, "cb-compound") {
		return nil
	}
	d, err := delegation(g.files["hello"], id)
	if err == nil {
		g.config.Mount.Delegations = append(g.config.Mount.Delegations, d)
	}
	return err
}

// neverKnew reports whether a kernel had no delegation at all in a group: each good recall found none.
func (r *Recording) neverKnew(kernel, group string) bool {
	badHandle := []byte{0, 0, 0x27, 0x11}
	for _, c := range r.Cases {
		t := c.Takes[kernel]
		if c.Group == group && strings.HasSuffix(c.Name, "recall-good") && t != nil && !c.Step {
			return strings.HasSuffix(string(t.Want.Reply), string(badHandle))
		}
	}
	return false
}

// Files of the server that delegated many: w0 to w5 to be written, r0 to r5 to be read, each with six octets. A write
// delegation came with a change attribute of its own.
const (
	fakeWrite  = 101
	fakeRead   = 111
	fakeFiles  = 6
	fakeChange = 0x1111000000000000
	fakeTime   = 1700000000
)

// recalls finds the recalls in a request in hex: stateid, truncate, length and octets of the handle.
var recalls = regexp.MustCompile(`00000004([0-9a-f]{8}46414b45[0-9a-f]{16})0000000[01]00000010(46414b4546485f5f)([0-9a-f]{16})`)

// delegateMany is what a guest held for the positive answers. Which stateids its server had made up the good recalls
// tell; no other file's stateid matters.
func (g *guest) delegateMany(r *Recording, kernel string) error {
	ids := map[uint64]string{}
	for _, c := range r.Cases {
		t := c.Takes[kernel]
		if c.Setup != "cbpos" || t == nil || strings.Contains(c.Name, "seqid") || strings.Contains(c.Name, "other-stateid") {
			continue
		}
		for _, m := range recalls.FindAllStringSubmatch(hex.EncodeToString(slices.Concat(t.Writes...)), -1) {
			var id uint64
			if _, err := fmt.Sscanf(m[3], "%x", &id); err != nil {
				return err
			}
			if !strings.HasPrefix(m[1], "00000009") { // of a recall that is meant to fail
				ids[id] = m[1]
			}
		}
	}
	for i := range uint64(fakeFiles) {
		for _, id := range []uint64{fakeWrite + i, fakeRead + i} {
			d, err := fakeDelegation(id, ids[id], 6)
			if err != nil {
				return err
			}
			g.config.Mount.Delegations = append(g.config.Mount.Delegations, d)
			switch id {
			case fakeWrite:
				d.Attr.Size = 16
				g.changes = append(g.changes, change{"cb-tcp-pos-getattr-after-write", d})
			case fakeWrite + 1:
				d.Attr.Size = 10
				g.changes = append(g.changes, change{"cb-tcp-pos-getattr-dirty-", d})
			}
		}
	}
	return nil
}

// fakeDelegation is a delegation of file id; one whose stateid is not known has some other one.
func fakeDelegation(id uint64, stateid string, size uint64) (server.Delegation, error) {
	if stateid == "" {
		stateid = fmt.Sprintf("0000000146414b45%016x", 1<<32|id)
	}
	d, err := delegation(fmt.Sprintf("46414b4546485f5f%016x", id), stateid)
	at := nfs.Timespec{Sec: fakeTime}
	d.Write, d.Change = id < fakeRead, fakeChange+id
	d.Attr = nfs.InodeAttr{Size: size, Ctime: at, Mtime: at, Open: true}
	return d, err
}

// delegation is one of a handle and a stateid in hex.
func delegation(fh, stateid string) (server.Delegation, error) {
	b, err := hex.DecodeString(fh)
	if err != nil {
		return server.Delegation{}, err
	}
	id, err := hex.DecodeString(stateid)
	if err != nil || len(id) != 16 {
		return server.Delegation{}, fmt.Errorf("%q is no stateid", stateid)
	}
	return server.Delegation{Fh: b, Stateid: [16]byte(id)}, nil
}

// check compares the handles of the server, which is up now, with the recorded ones.
func (g *guest) check() error {
	var err error
	ask := g.config.Handle.Do(func(w *server.World) {
		g.lockd = w.Lockd.NlmsvcTask.Pid()
		for name, fh := range g.files {
			if name == "root" {
				name = ""
			}
			if got := hex.EncodeToString(w.HandleOf(name)); got != fh {
				err = fmt.Errorf("the server's handle of %s is %s, and was %s", name, got, fh)
			}
		}
	})
	if ask != nil {
		return ask
	}
	return err
}

// before brings the guest into the state in which a case was recorded.
func (g *guest) before(c *Case) error {
	for i, change := range g.changes {
		if strings.HasPrefix(c.Name, change.before) {
			g.changes = slices.Delete(g.changes, i, i+1)
			// The newest delegation of a handle is the one that a callback finds.
			return g.config.Handle.Do(func(w *server.World) { w.Delegate(change.Delegation) })
		}
	}
	return nil
}

// Names in the news of a reboot: of the recorded client, which is as long as that of ours, and a cookie that is
// nobody's.
const guestsClient = "10.99.0.1"

// translate puts what the server's status monitor was told in the place of what the guest's was: the name by which it
// watches the client, and its cookie, unless a wrong one is the point.
func (g *guest) translate(c *Case, t *Take) (*Take, error) {
	if c.Setup != "sm" || !strings.Contains(c.Name, "-sm-notify") || !strings.HasPrefix(c.Name, "sm-reboot") {
		return t, nil
	}
	var priv lockd.NsmPrivate
	watched := false
	err := g.config.Handle.Do(func(w *server.World) {
		for _, e := range w.Lockd.NsmPort.(*lockd.Statd).Entries(w.Cur) {
			if e.MonName == usualClient {
				priv, watched = e.Priv, true
			}
		}
	})
	if err != nil || !watched {
		return t, err
	}
	copied := *t
	copied.Writes = nil
	for _, w := range t.Writes {
		w = []byte(strings.Replace(string(w), guestsClient, usualClient, 1))
		if !strings.Contains(c.Name, "wrong-priv") {
			copy(w[len(w)-len(priv):], priv[:])
		}
		copied.Writes = append(copied.Writes, w)
	}
	return &copied, nil
}

// returned lists the delegations that the guest gave back upon a case. It does so behind its answer.
func (g *guest) returned(c *Case) ([]string, error) {
	if c.Target != "nfs-cb" {
		return nil, nil
	}
	var list []nfs.Delegreturn
	busy := true
	for busy {
		err := g.config.Handle.Do(func(w *server.World) {
			busy = w.Client.ClState.Peek(nfs.NFS4CLNT_MANAGER_RUNNING) || w.Client.ClState.Peek(nfs.NFS4CLNT_DELEGRETURN)
			list = w.Client.Delegreturns()
		})
		if err != nil {
			return nil, err
		}
	}
	if c.Setup != "cbpos" {
		return nil, nil
	}
	var text []string
	for _, d := range list[g.seen:] {
		id := binary.BigEndian.Uint64(d.Fh[len(d.Fh)-8:])
		text = append(text, fmt.Sprintf("%d %08x%x", id, d.Stateid.Seqid, d.Stateid.Other))
	}
	g.seen = len(list)
	slices.Sort(text)
	return text, nil
}
