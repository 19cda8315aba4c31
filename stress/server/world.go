// SPDX-License-Identifier: MIT

package server

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/lockd"
	"github.com/seed17199236/svcfuzz/target/nfs"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// File is a file of the exported file system.
type File struct {
	Name string
	Gen  uint32 // generation of its inode, as in its handle
}

// usualFiles are there if nobody says otherwise.
var usualFiles = []File{{"hello", 1}, {"f0", 2}, {"f1", 3}, {"f2", 4}, {"f3", 5}, {"f4", 6}, {"f5", 7}, {"f6", 8}, {"f7", 9}}

// Mount is what the machine, as an NFSv4.0 client, has mounted from a server that calls it back.
type Mount struct {
	Ident       uint32 // callback_ident that the server was told; 0: 1
	Delegations []Delegation
}

// Delegation is a file that the server has delegated.
type Delegation struct {
	Fh      []byte
	Stateid [16]byte
	Write   bool   // a write delegation
	Change  uint64 // change attribute that came with it
	Attr    nfs.InodeAttr
}

// World is a running server from the inside.
type World struct {
	Cur     *kernel.Task // the task that brought everything up: the only one to use the rest with
	Net     *sock.Net
	Fs      *fs.VFS
	Lockd   *lockd.Lockd
	Nfs     *nfs.Nfs
	Client  *nfs.NfsClient // of the mount
	Inodes  []*nfs.NfsInode
	mounted *nfs.NfsServer
	handles map[string][]byte
}

// HandleOf is the file handle of an exported file, of the root for "". nil: there is no such file.
func (w *World) HandleOf(name string) []byte { return w.handles[name] }

// Handle reaches a running server.
type Handle struct {
	ask  chan *request
	gone chan struct{}
}

type request struct {
	fn   func(*World)
	done chan struct{}
}

// NewHandle makes the handle of one server.
func NewHandle() *Handle { return &Handle{make(chan *request), make(chan struct{})} }

// Do runs fn inside the server, between the requests of clients, and waits for its end.
func (h *Handle) Do(fn func(*World)) error {
	r := &request{fn, make(chan struct{})}
	select {
	case h.ask <- r:
	case <-h.gone:
		return errors.New("the server has ended")
	}
	select {
	case <-r.done:
		return nil
	case <-h.gone:
		return errors.New("the server has ended")
	}
}

// requests is never ready for a nil handle.
func (h *Handle) requests() <-chan *request {
	if h == nil {
		return nil
	}
	return h.ask
}

// close tells the holder that nobody answers any more.
func (h *Handle) close() {
	if h != nil {
		close(h.gone)
	}
}

// maxGrace is the longest grace period that lockd takes, in seconds.
const maxGrace = 240

// check says what is wrong with a configuration by itself.
func (cfg *Config) check() error {
	if cfg.Grace > maxGrace {
		return &UsageError{fmt.Sprintf("--grace %d: lockd takes %d seconds at most; give fewer, or 0 for none", cfg.Grace, maxGrace)}
	}
	if a, err := netip.ParseAddrPort(cfg.Statd); cfg.Statd != "" && (err != nil || !a.Addr().IsLoopback() || a.Port() == 0) {
		return &UsageError{fmt.Sprintf("--statd %s: give a loopback address with a port (127.0.0.1:4047), or leave the flag out",
			cfg.Statd)}
	}
	return nil
}

// world loads the modules and lays out the file system.
func (s *server) world(cur *kernel.Task, rpc *sunrpc.Sunrpc, net *sock.Net) *World {
	m := cur.Machine()
	if s.cfg.Nodename != "" {
		rpc.Nodename = s.cfg.Nodename
	}
	rpc.Rpcb.PeerPort = s.cfg.PeerRpcbindPort
	rpc.Svcauth.ClientPolicy = s.clients
	w := &World{Cur: cur, Net: net, Fs: fs.New(cur, m), Lockd: lockd.New(cur, rpc, net), Nfs: nfs.New(cur, rpc, net)}
	w.Lockd.NlmUdpport, w.Lockd.NlmTcpport, w.Lockd.NlmGracePeriod = s.cfg.LockdUDP, s.cfg.LockdTCP, s.cfg.Grace
	if s.cfg.MaxConnections != 0 {
		w.Lockd.NlmMaxConnections = s.cfg.MaxConnections
	}
	w.Nfs.NfsCallbackSetTcpport = s.cfg.Callback
	if s.cfg.Statd != "" {
		a := netip.MustParseAddrPort(s.cfg.Statd)
		w.Lockd.NsmPort = &lockd.NsmClient{Rpc: rpc, Addr: sockAddr(a)}
	}
	w.Fs.Fsid = s.cfg.Fsid
	files := s.cfg.Files
	if files == nil {
		files = usualFiles
	}
	w.handles = map[string][]byte{"": w.Fs.FhOf(w.Fs.Root())}
	for _, f := range files {
		w.handles[f.Name] = w.Fs.FhOf(w.Fs.Create(f.Name, false, f.Gen))
	}
	w.Lockd.Fs = w.Fs
	w.Lockd.NlmsvcOps.Assign(lockd.NewBinding(w.Fs))
	return w
}

// sockAddr is an address as the machine has it.
func sockAddr(a netip.AddrPort) sunrpc.SockAddr {
	if b := a.Addr().Unmap(); b.Is4() {
		ip := b.As4()
		return sock.Addr4(ip[0], ip[1], ip[2], ip[3], a.Port())
	}
	return sunrpc.SockAddr{Family: sock.AF_INET6, IP: a.Addr().As16(), Port: a.Port()}
}

// clients is the export table: every loopback address but one.
func (s *server) clients(net *sock.Net, class string, addr [16]byte) (string, sunrpc.ClientVerdict) {
	outside := s.cfg.Outside
	if !outside.IsValid() {
		outside = netip.AddrFrom4([4]byte{127, 0, 0, 3})
	}
	if netip.AddrFrom16(addr).Unmap() == outside.Unmap() {
		return "", sunrpc.ClientUnknown
	}
	for _, known := range s.cfg.Clients {
		if known.Contains(netip.AddrFrom16(addr).Unmap()) {
			return known.String(), sunrpc.ClientKnown
		}
	}
	return sunrpc.LoopbackClients(net, class, addr)
}

// endGrace ends the grace period before its time, as an administrator does who knows that nobody has anything to
// reclaim.
func (w *World) endGrace() {
	ln := w.Lockd.LockdNet(w.Net)
	ln.GracePeriodEnd.CancelSync(w.Cur)
	w.Lockd.Grace.LocksEndGrace(ln.GraceNet, &ln.LockdManager)
}

// mount makes the client state that callbacks are about. 0 or -errno; umount cleans up in any case.
func (w *World) mount(mount Mount) int {
	w.Client = w.Nfs.AddClient(w.Cur, w.Net, nfs.ClientArgs{Addr: sock.LoopbackAddr(sock.AF_INET, 0), Ident: max(mount.Ident, 1)})
	if w.Client == nil {
		return -kernel.ENOMEM
	}
	w.mounted = w.Nfs.AddServer(w.Cur, w.Client, nfs.NfsFsid{}, 0)
	if w.mounted == nil {
		return -kernel.ENOMEM
	}
	for _, d := range mount.Delegations {
		if errno := w.Delegate(d); errno != 0 {
			return errno
		}
	}
	return 0
}

// Delegate makes the client hold a delegation. 0 or -errno.
func (w *World) Delegate(d Delegation) int {
	inode := w.Nfs.AddInode(w.Cur, w.mounted, d.Fh, d.Attr)
	if inode == nil {
		return -kernel.ENOMEM
	}
	w.Inodes = append(w.Inodes, inode)
	mode := uint32(nfs.FMODE_READ)
	if d.Write {
		mode = nfs.FMODE_WRITE
	}
	return w.Nfs.AddDelegation(w.Cur, inode, stateid(d.Stateid), mode, d.Change)
}

// stateid takes the octets of a stateid apart.
func stateid(b [16]byte) nfs.Nfs4Stateid {
	return nfs.Nfs4Stateid{
		Seqid: uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]), Other: [12]byte(b[4:]),
	}
}

// umount ends what mount made.
func (w *World) umount() {
	if w.mounted != nil {
		w.Nfs.Umount(w.Cur, w.mounted)
	}
	w.Nfs.NfsPutClient(w.Cur, w.Client)
}
