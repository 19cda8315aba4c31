// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"strconv"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

const (
	RPCBIND_PROGRAM = 100000
	RPCBIND_PORT    = 111

	RPCBVERS_2 = 2
	RPCBVERS_3 = 3
	RPCBVERS_4 = 4

	RPCBPROC_NULL    = 0
	RPCBPROC_SET     = 1
	RPCBPROC_UNSET   = 2
	RPCBPROC_GETPORT = 3
	RPCBPROC_GETADDR = 3
	RPCBPROC_DUMP    = 4

	RPCBIND_NETID_UDP  = "udp"
	RPCBIND_NETID_TCP  = "tcp"
	RPCBIND_NETID_UDP6 = "udp6"
	RPCBIND_NETID_TCP6 = "tcp6"

	// RPCB_OWNER_STRING is the owner the kernel claims; rpcbind looks at it on the local socket only.
	RPCB_OWNER_STRING = "0"
)

// RpcbindArgs is the argument of an rpcbind call. Version 2 uses RProt and RPort, 3 and 4 use the strings. An RAddr is
// a universal address such as "0.0.0.0.15.255".
type RpcbindArgs struct {
	RProg  uint32
	RVers  uint32
	RProt  uint32
	RPort  uint16
	RNetid string
	RAddr  string
	ROwner string
}

// RpcbindPort is the way to a namespace's rpcbind. Both functions may sleep and return 0 or -errno; an rpcbind that
// does not speak a version says -EPROTONOSUPPORT.
type RpcbindPort interface {
	// Ping calls procedure 0 of a version, over the local socket or over loopback TCP.
	Ping(cur *kernel.Task, afLocal bool, vers uint32) int
	// Call calls SET, UNSET (result: 1 done, 0 not), or GETPORT and GETADDR (result: the port, 0 if there is none).
	Call(cur *kernel.Task, afLocal bool, vers, proc uint32, args *RpcbindArgs) (result uint32, err int)
}

// RpcbState is what rpcb_clnt.c keeps in variables, and the way to rpcbind for all namespaces that have none of their
// own; nil: no rpcbind is running. Port is set before the first service starts. PeerPort is where the rpcbinds of peers
// listen, 0: where they all do; it is set before the first client is made.
type RpcbState struct {
	RpcbCreateLocalMutex kernel.Mutex
	Port                 RpcbindPort
	PeerPort             uint16
}

// init readies what C initialises statically.
func (s *RpcbState) init(rpc *Sunrpc) {
	s.RpcbCreateLocalMutex.Init(&rpc.Obj, "rpcb_create_local_mutex")
}

// rpcbClnt is as much of struct rpc_clnt as rpcbind calls need: the program version it speaks and the calls in flight.
type rpcbClnt struct {
	kernel.Obj
	Vers    uint32
	AfLocal bool
	Port    RpcbindPort // nil: nobody listens
	Tasks   kernel.Atomic
	Idle    kernel.WaitQueueHead
}

// Poison drops the pointers of a freed client.
func (c *rpcbClnt) Poison() { c.Port = nil }

// rpcbClntCreate makes a client of version vers; nil if there is no memory. May sleep.
//
// C: rpc_create, net/sunrpc/clnt.c
func rpcbClntCreate(m *kernel.Machine, port RpcbindPort, afLocal bool, vers uint32) *rpcbClnt {
	c := kernel.Kzalloc[rpcbClnt](m, "rpc_clnt", kernel.GFP_KERNEL)
	if c == nil {
		return nil
	}
	c.Vers = vers
	c.AfLocal = afLocal
	c.Port = port
	c.Tasks.Init(&c.Obj, "cl_tasks")
	c.Idle.Init(&c.Obj, "destroy_wait")
	return c
}

// rpcbClntPing calls procedure 0; -ECONNREFUSED if nobody listens. May sleep.
//
// C: rpc_ping, net/sunrpc/clnt.c
func rpcbClntPing(cur *kernel.Task, c *rpcbClnt) int {
	if c.Port == nil {
		return -kernel.ECONNREFUSED
	}
	return c.Port.Ping(cur, c.AfLocal, c.Vers)
}

// rpcbClntCall calls a procedure and waits for the answer. May sleep.
//
// C: rpc_call_sync, net/sunrpc/clnt.c
func rpcbClntCall(cur *kernel.Task, c *rpcbClnt, proc uint32, args *RpcbindArgs) (uint32, int) {
	c.Tasks.Inc()
	res, err := uint32(0), -kernel.ECONNREFUSED
	if c.Port != nil {
		res, err = c.Port.Call(cur, c.AfLocal, c.Vers, proc, args)
	}
	if c.Tasks.DecAndTest() {
		c.Idle.WakeUpAll()
	}
	return res, err
}

// rpcbClntShutdown waits until no call is in flight and frees the client. May sleep.
//
// C: rpc_shutdown_client, net/sunrpc/clnt.c
func rpcbClntShutdown(cur *kernel.Task, c *rpcbClnt) {
	kernel.WaitEvent(cur, &c.Idle, func() bool { return c.Tasks.Read() == 0 })
	kernel.Kfree(c)
}

// rpcbGetLocal counts one more user of the clients if there are any; returns the users then, 0 for none.
//
// C: rpcb_get_local, net/sunrpc/rpcb_clnt.c
func rpcbGetLocal(sn *SunrpcNet) int64 {
	sn.RpcbClntLock.Lock()
	// One read, as compilers make of it: the creator stores the first 1 without this lock, and a second read could
	// see that 1 and take it for our own.
	cnt := sn.RpcbUsers.Read()
	if cnt != 0 {
		cnt = sn.RpcbUsers.AddReturn(1)
	}
	sn.RpcbClntLock.Unlock()
	return cnt
}

// RpcbPutLocal gives up what RpcbCreateLocal took; the last user frees the clients. One call too many is ignored as
// long as there is no other user. May sleep.
//
// C: rpcb_put_local, net/sunrpc/rpcb_clnt.c
func RpcbPutLocal(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) {
	sn := rpc.SunrpcNet(net)
	clnt := sn.RpcbLocalClnt.Load()
	clnt4 := sn.RpcbLocalClnt4.Load()
	shutdown := false

	sn.RpcbClntLock.Lock()
	if sn.RpcbUsers.Read() != 0 {
		left := sn.RpcbUsers.AddReturn(-1)
		if left == 0 {
			sn.RpcbLocalClnt.Store(nil)
			sn.RpcbLocalClnt4.Store(nil)
		}
		shutdown = left == 0
	}
	sn.RpcbClntLock.Unlock()

	if shutdown {
		if clnt4 != nil {
			rpcbClntShutdown(cur, clnt4)
		}
		if clnt != nil {
			rpcbClntShutdown(cur, clnt)
		}
	}
}

// rpcbSetLocal publishes the clients with one user. RpcbCreateLocalMutex is held. That they use the local socket, which
// C notes per namespace, the clients know themselves.
//
// C: rpcb_set_local, net/sunrpc/rpcb_clnt.c
func rpcbSetLocal(sn *SunrpcNet, clnt, clnt4 *rpcbClnt) {
	sn.RpcbLocalClnt.Store(clnt)
	sn.RpcbLocalClnt4.Store(clnt4)
	sn.Machine().SmpWmb()
	sn.RpcbUsers.Set(1)
}

// rpcbCreateLocalUnix makes the clients over the local socket, which answers a ping only if an rpcbind listens
// there. RpcbCreateLocalMutex is held; may sleep.
//
// C: rpcb_create_local_unix, net/sunrpc/rpcb_clnt.c
func rpcbCreateLocalUnix(cur *kernel.Task, sn *SunrpcNet, port RpcbindPort) int {
	clnt := rpcbClntCreate(cur.Machine(), port, true, RPCBVERS_2)
	if clnt == nil {
		return -kernel.ENOMEM
	}
	if err := rpcbClntPing(cur, clnt); err != 0 {
		rpcbClntShutdown(cur, clnt)
		return err
	}
	rpcbSetLocal(sn, clnt, rpcbBindV4(cur, clnt))
	return 0
}

// rpcbCreateLocalNet makes the clients over loopback TCP, without asking whether anybody listens.
// RpcbCreateLocalMutex is held; may sleep.
//
// C: rpcb_create_local_net, net/sunrpc/rpcb_clnt.c
func rpcbCreateLocalNet(cur *kernel.Task, sn *SunrpcNet, port RpcbindPort) int {
	clnt := rpcbClntCreate(cur.Machine(), port, false, RPCBVERS_2)
	if clnt == nil {
		return -kernel.ENOMEM
	}
	rpcbSetLocal(sn, clnt, rpcbBindV4(cur, clnt))
	return 0
}

// rpcbBindV4 makes the version 4 client beside clnt, nil if rpcbind does not speak it or there is no memory.
//
// C: rpc_bind_new_program, net/sunrpc/clnt.c
func rpcbBindV4(cur *kernel.Task, clnt *rpcbClnt) *rpcbClnt {
	clnt4 := rpcbClntCreate(cur.Machine(), clnt.Port, clnt.AfLocal, RPCBVERS_4)
	if clnt4 == nil {
		return nil
	}
	if rpcbClntPing(cur, clnt4) != 0 {
		rpcbClntShutdown(cur, clnt4)
		return nil
	}
	return clnt4
}

// RpcbCreateLocal makes the clients of net's rpcbind, or counts one more user of them; 0 or -errno. Every success
// needs one RpcbPutLocal. May sleep.
//
// C: rpcb_create_local, net/sunrpc/rpcb_clnt.c
func RpcbCreateLocal(cur *kernel.Task, rpc *Sunrpc, net *sock.Net) int {
	sn := rpc.SunrpcNet(net)
	result := 0
	if rpcbGetLocal(sn) != 0 {
		return result
	}
	rpc.Rpcb.RpcbCreateLocalMutex.Lock(cur)
	if rpcbGetLocal(sn) == 0 {
		port := sn.RpcbindPort
		if port == nil {
			port = rpc.Rpcb.Port
		}
		if rpcbCreateLocalUnix(cur, sn, port) != 0 {
			result = rpcbCreateLocalNet(cur, sn, port)
		}
	}
	rpc.Rpcb.RpcbCreateLocalMutex.Unlock(cur)
	return result
}

// rpcbRegisterCall makes a SET or UNSET call; -EACCES: rpcbind said no. May sleep.
//
// Differs: each call of an RpcbindPort has a connection of its own, so that there is none to be lost, which an UNSET
// over the local socket does not make again in 3.19.
//
// C: rpcb_register_call, net/sunrpc/rpcb_clnt.c
func rpcbRegisterCall(cur *kernel.Task, clnt *rpcbClnt, proc uint32, args *RpcbindArgs) int {
	result, err := rpcbClntCall(cur, clnt, proc, args)
	if err < 0 {
		return err
	}
	if result == 0 {
		return -kernel.EACCES
	}
	return 0
}

// RpcbRegister tells net's rpcbind, in version 2, that prog and vers are served on port over prot (IPPROTO_*), or
// for port 0 that they are no longer served at all. The clients exist. 0 or -errno; may sleep.
//
// C: rpcb_register, net/sunrpc/rpcb_clnt.c
func RpcbRegister(cur *kernel.Task, rpc *Sunrpc, net *sock.Net, prog, vers, prot uint32, port uint16) int {
	sn := rpc.SunrpcNet(net)
	args := RpcbindArgs{RProg: prog, RVers: vers, RProt: prot, RPort: port}
	proc := uint32(RPCBPROC_UNSET)
	if port != 0 {
		proc = RPCBPROC_SET
	}
	return rpcbRegisterCall(cur, sn.RpcbLocalClnt.Load(), proc, &args)
}

// rpcbRegisterInet4 fills in and makes the call for an IPv4 address; port 0 unregisters.
//
// C: rpcb_register_inet4, net/sunrpc/rpcb_clnt.c
func rpcbRegisterInet4(cur *kernel.Task, sn *SunrpcNet, sap *SockAddr, args *RpcbindArgs) int {
	return rpcbRegisterAddr(cur, sn, sap, args)
}

// rpcbRegisterInet6 fills in and makes the call for an IPv6 address; port 0 unregisters.
//
// C: rpcb_register_inet6, net/sunrpc/rpcb_clnt.c
func rpcbRegisterInet6(cur *kernel.Task, sn *SunrpcNet, sap *SockAddr, args *RpcbindArgs) int {
	return rpcbRegisterAddr(cur, sn, sap, args)
}

// rpcbRegisterAddr is the common body of the two functions above, which are twins in C.
//
// C: rpcb_register_inet4, rpcb_register_inet6, net/sunrpc/rpcb_clnt.c
func rpcbRegisterAddr(cur *kernel.Task, sn *SunrpcNet, sap *SockAddr, args *RpcbindArgs) int {
	args.RAddr = RpcSockaddr2uaddr(*sap)
	proc := uint32(RPCBPROC_UNSET)
	if sap.Port != 0 {
		proc = RPCBPROC_SET
	}
	return rpcbRegisterCall(cur, sn.RpcbLocalClnt4.Load(), proc, args)
}

// rpcbUnregisterAllProtofamilies removes all registrations of a program version.
//
// C: rpcb_unregister_all_protofamilies, net/sunrpc/rpcb_clnt.c
func rpcbUnregisterAllProtofamilies(cur *kernel.Task, sn *SunrpcNet, args *RpcbindArgs) int {
	args.RAddr = ""
	return rpcbRegisterCall(cur, sn.RpcbLocalClnt4.Load(), RPCBPROC_UNSET, args)
}

// RpcbV4Register tells net's rpcbind, in version 4, that program and version are served at address under netid; with
// port 0 that they are not; with a nil address that they are not at any. -EPROTONOSUPPORT: rpcbind does not speak
// version 4; -EAFNOSUPPORT: neither IPv4 nor IPv6. May sleep.
//
// C: rpcb_v4_register, net/sunrpc/rpcb_clnt.c
func RpcbV4Register(cur *kernel.Task, rpc *Sunrpc, net *sock.Net, program, version uint32, address *SockAddr,
	netid string) int {
	sn := rpc.SunrpcNet(net)
	args := RpcbindArgs{RProg: program, RVers: version, RNetid: netid, ROwner: RPCB_OWNER_STRING}
	if sn.RpcbLocalClnt4.Load() == nil {
		return -kernel.EPROTONOSUPPORT
	}
	if address == nil {
		return rpcbUnregisterAllProtofamilies(cur, sn, &args)
	}
	switch address.Family {
	case sock.AF_INET:
		return rpcbRegisterInet4(cur, sn, address, &args)
	case sock.AF_INET6:
		return rpcbRegisterInet6(cur, sn, address, &args)
	}
	return -kernel.EAFNOSUPPORT
}

// rpcbNextVersion and rpcbNextVersion6 are the versions and procedures by which a peer's rpcbind is asked for a port,
// in the order in which they are tried.
//
// C: rpcb_next_version, rpcb_next_version6, net/sunrpc/rpcb_clnt.c
var (
	rpcbNextVersion  = []uint32{RPCBVERS_2}
	rpcbNextVersion6 = []uint32{RPCBVERS_4, RPCBVERS_3}
)

// rpcbGetport asks the peer's rpcbind, over the protocol of the client, on which port the call's program and version
// are served. clWrite of the client is held; it dies with the call. 0 or -errno: -EACCES: they are not served;
// -EPFNOSUPPORT: rpcbind speaks none of the versions. May sleep.
//
// Differs: asks in the call's own task and not by a second one.
//
// C: rpcb_getport_async, rpcb_getport_done, net/sunrpc/rpcb_clnt.c
func rpcbGetport(cur *kernel.Task, task *RpcTask) (uint16, int) {
	clnt := task.TkClient
	addr := RpcPeeraddr(clnt)
	versions := rpcbNextVersion
	if addr.Family == sock.AF_INET6 {
		versions = rpcbNextVersion6
	}
	if clnt.clBindIndex >= len(versions) {
		clnt.clBindIndex = 0
		return 0, -kernel.EPFNOSUPPORT
	}
	port, err := rpcbCallPeer(cur, task, addr, versions[clnt.clBindIndex])
	switch {
	case err == -kernel.EIO || err == -kernel.EPROTONOSUPPORT:
		clnt.clBindIndex++
		return 0, -kernel.EPROTONOSUPPORT
	case err != 0:
		return 0, err
	case port == 0:
		return 0, -kernel.EACCES
	}
	return port, 0
}

// rpcbCallPeer makes the call for rpcbGetport.
//
// C: rpcb_create, rpcb_call_async, net/sunrpc/rpcb_clnt.c
func rpcbCallPeer(cur *kernel.Task, task *RpcTask, addr SockAddr, vers uint32) (uint16, int) {
	clnt := task.TkClient
	port := clnt.Rpc.Rpcb.PeerPort
	if port == 0 {
		port = RPCBIND_PORT
	}
	rpcb, err := RpcCreate(cur, &RpcCreateArgs{
		Rpc:        clnt.Rpc,
		Net:        clnt.ClNet,
		Protocol:   clnt.ClProt,
		Address:    addr.WithPort(port),
		Servername: clnt.ClServername,
		Program:    rpcbProgram,
		Version:    vers,
		Authflavor: RPC_AUTH_UNIX,
		Flags:      RPC_CLNT_CREATE_NONPRIVPORT,
	})
	if err != 0 {
		return 0, err
	}
	args := &RpcbindArgs{
		RProg:  clnt.ClProgram.Number,
		RVers:  clnt.ClVers,
		RProt:  clnt.ClProt,
		RNetid: rpcbNetid(clnt.ClProt, addr.Family),
		RAddr:  RpcSockaddr2uaddr(addr.WithPort(port)), // where rpcbind itself was reached
	}
	var res uint16
	msg := &RpcMessage{RpcProc: rpcbProgram.Version[vers].Procs[RPCBPROC_GETPORT], RpcArgp: args, RpcResp: &res}
	err = rpcCallFor(cur, rpcb, msg, RPC_TASK_SOFTCONN, task)
	RpcShutdownClient(cur, rpcb)
	return res, err
}

// rpcbNetid is the name of a protocol over an address family; "" if it has none.
//
// C: xprt->address_strings[RPC_DISPLAY_NETID], net/sunrpc/xprtsock.c
func rpcbNetid(prot uint32, family int) string {
	netid := ""
	switch prot {
	case IPPROTO_UDP:
		netid = RPCBIND_NETID_UDP
	case IPPROTO_TCP:
		netid = RPCBIND_NETID_TCP
	}
	if netid != "" && family == sock.AF_INET6 {
		netid += "6"
	}
	return netid
}

// rpcbEncMapping writes the arguments of version 2.
//
// C: rpcb_enc_mapping, net/sunrpc/rpcb_clnt.c
func rpcbEncMapping(xdr *XdrStream, argp any) {
	args := argp.(*RpcbindArgs)
	p, _ := XdrReserveSpace(xdr, 16)
	for _, w := range [...]uint32{args.RProg, args.RVers, args.RProt, uint32(args.RPort)} {
		p.Put(w)
	}
}

// rpcbDecGetport reads a port; -EIO for what is none.
//
// C: rpcb_dec_getport, net/sunrpc/rpcb_clnt.c
func rpcbDecGetport(xdr *XdrStream, resp any) int {
	res := resp.(*uint16)
	*res = 0
	p, ok := XdrInlineDecode(xdr, 4)
	if !ok {
		return -kernel.EIO
	}
	port := p.Get()
	if port > 0xffff {
		return -kernel.EIO
	}
	*res = uint16(port)
	return 0
}

// rpcbEncGetaddr writes the arguments of versions 3 and 4.
//
// C: rpcb_enc_getaddr, net/sunrpc/rpcb_clnt.c
func rpcbEncGetaddr(xdr *XdrStream, argp any) {
	args := argp.(*RpcbindArgs)
	p, _ := XdrReserveSpace(xdr, 8)
	p.Put(args.RProg)
	p.Put(args.RVers)
	for _, s := range [...]string{args.RNetid, args.RAddr, args.ROwner} {
		p, _ = XdrReserveSpace(xdr, 4+uint64(len(s)))
		XdrEncodeString(&p, s)
	}
}

// rpcbMaxUaddrLen bounds a universal address in an answer, in octets.
//
// C: RPCBIND_MAXUADDRLEN, include/linux/sunrpc/msg_prot.h
const rpcbMaxUaddrLen = 56

// rpcbDecGetaddr reads a universal address of which only the port is used, 0 for an empty one; -EIO for what is none.
//
// Differs: does not look at the host in front of the port, with which 3.19 does nothing but to read it.
//
// C: rpcb_dec_getaddr, net/sunrpc/rpcb_clnt.c
func rpcbDecGetaddr(xdr *XdrStream, resp any) int {
	res := resp.(*uint16)
	*res = 0
	p, ok := XdrInlineDecode(xdr, 4)
	if !ok {
		return -kernel.EIO
	}
	n := p.Get()
	if n == 0 {
		return 0
	}
	if n > rpcbMaxUaddrLen {
		return -kernel.EIO
	}
	if p, ok = XdrInlineDecode(xdr, uint64(n)); !ok {
		return -kernel.EIO
	}
	port, ok := uaddrPort(string(p.window(n)))
	if !ok {
		return -kernel.EIO
	}
	*res = port
	return 0
}

// rpcbProgram is rpcbind as its clients know it: as much as is asked of a peer's.
//
// C: rpcb_program, net/sunrpc/rpcb_clnt.c
var rpcbProgram = &RpcProgram{
	Name:   "rpcbind",
	Number: RPCBIND_PROGRAM,
	Version: []*RpcVersion{
		RPCBVERS_2: {RPCBVERS_2, []*RpcProcinfo{
			RPCBPROC_GETPORT: {RPCBPROC_GETPORT, rpcbEncMapping, rpcbDecGetport, "GETPORT"},
		}},
		RPCBVERS_3: {RPCBVERS_3, []*RpcProcinfo{
			RPCBPROC_GETADDR: {RPCBPROC_GETADDR, rpcbEncGetaddr, rpcbDecGetaddr, "GETADDR"},
		}},
		RPCBVERS_4: {RPCBVERS_4, []*RpcProcinfo{
			RPCBPROC_GETADDR: {RPCBPROC_GETADDR, rpcbEncGetaddr, rpcbDecGetaddr, "GETADDR"},
		}},
	},
}

// RpcSockaddr2uaddr is the universal address of RFC 5665 for a: the host, then the port's two bytes in decimal.
//
// C: rpc_sockaddr2uaddr, net/sunrpc/addr.c
func RpcSockaddr2uaddr(a SockAddr) string {
	return RpcNtop(a) + "." + strconv.Itoa(int(a.Port>>8)) + "." + strconv.Itoa(int(a.Port&0xff))
}

// RpcNtop is an address as people write it, without the port.
//
// C: rpc_ntop, net/sunrpc/addr.c
func RpcNtop(a SockAddr) string {
	if a.Family == sock.AF_INET6 {
		return ntop6(a.IP)
	}
	return a.Host()
}

// ntop6 spells an IPv6 address with the longest run of zero groups left out.
func ntop6(ip [16]byte) string {
	var g [8]int
	for i := range g {
		g[i] = int(ip[2*i])<<8 | int(ip[2*i+1])
	}
	if g[0]|g[1]|g[2]|g[3]|g[4] == 0 && g[5] == 0xffff {
		return "::ffff:" + sock.Addr4(ip[12], ip[13], ip[14], ip[15], 0).Host()
	}
	best, blen := -1, 1
	for i := 0; i < 8; {
		j := i
		for j < 8 && g[j] == 0 {
			j++
		}
		if j-i > blen {
			best, blen = i, j-i
		}
		i = max(j, i+1)
	}
	s := ""
	for i := 0; i < 8; {
		if i == best {
			s += "::"
			i += blen
			continue
		}
		if i > 0 && i != best+blen {
			s += ":"
		}
		s += strconv.FormatInt(int64(g[i]), 16)
		i++
	}
	return s
}

// uaddrPort is the port of a universal address; false if it has none.
func uaddrPort(uaddr string) (uint16, bool) {
	port, shift := 0, 0
	end := len(uaddr)
	for range 2 {
		i := end
		for i > 0 && uaddr[i-1] != '.' {
			i--
		}
		n, err := strconv.Atoi(uaddr[i:end])
		if i == 0 || err != nil || n < 0 || n > 255 {
			return 0, false
		}
		port |= n << shift
		shift += 8
		end = i - 1
	}
	return uint16(port), true
}

// RpcbEntry is one line of an rpcbind's table.
type RpcbEntry struct {
	Prog, Vers  uint32
	Netid, Addr string
	Owner       string
}

// RpcbindTable is an rpcbind inside the machine: the table behind versions 2, 3 and 4 of program 100000, without a
// network. It is an RpcbindPort.
type RpcbindTable struct {
	kernel.Obj
	mutex   kernel.Mutex // the daemon serves one call at a time
	entries []RpcbEntry  // mutex
	noV4    bool
	noLocal bool
}

// NewRpcbindTable makes an rpcbind that has registered itself, as the daemon does.
func NewRpcbindTable(m *kernel.Machine) *RpcbindTable {
	t := kernel.StaticObj[RpcbindTable](m, "rpcbind")
	t.mutex.Init(&t.Obj, "rpcbind")
	for _, e := range [...]struct{ netid, addr string }{
		{RPCBIND_NETID_TCP6, "::.0.111"}, {RPCBIND_NETID_UDP6, "::.0.111"},
		{RPCBIND_NETID_TCP, "0.0.0.0.0.111"}, {RPCBIND_NETID_UDP, "0.0.0.0.0.111"},
	} {
		for vers := uint32(RPCBVERS_4); vers >= RPCBVERS_2; vers-- {
			if vers == RPCBVERS_2 && (e.netid == RPCBIND_NETID_TCP6 || e.netid == RPCBIND_NETID_UDP6) {
				continue
			}
			t.entries = append(t.entries, RpcbEntry{RPCBIND_PROGRAM, vers, e.netid, e.addr, "superuser"})
		}
	}
	return t
}

// Portmapper turns the table into an old portmapper: version 2 over TCP only. Before the first call.
func (t *RpcbindTable) Portmapper() { t.noV4, t.noLocal = true, true }

// Peek lists the table without a visible operation, for oracles.
func (t *RpcbindTable) Peek() []RpcbEntry { return append([]RpcbEntry(nil), t.entries...) }

// Ping is procedure 0.
func (t *RpcbindTable) Ping(cur *kernel.Task, afLocal bool, vers uint32) int {
	t.mutex.Lock(cur)
	err := t.speaks(afLocal, vers)
	t.mutex.Unlock(cur)
	return err
}

// speaks is 0 if the daemon listens there and knows the version, else -errno.
func (t *RpcbindTable) speaks(afLocal bool, vers uint32) int {
	if afLocal && t.noLocal {
		return -kernel.ECONNREFUSED
	}
	if vers < RPCBVERS_2 || vers > RPCBVERS_4 || t.noV4 && vers != RPCBVERS_2 {
		return -kernel.EPROTONOSUPPORT
	}
	return 0
}

// Call is procedures SET, UNSET, GETPORT and GETADDR. An injected failure stands for a daemon that went away.
func (t *RpcbindTable) Call(cur *kernel.Task, afLocal bool, vers, proc uint32, args *RpcbindArgs) (uint32, int) {
	t.mutex.Lock(cur)
	res, err := t.serve(cur, afLocal, vers, proc, args)
	t.mutex.Unlock(cur)
	return res, err
}

// serve does one call. mutex is held.
func (t *RpcbindTable) serve(cur *kernel.Task, afLocal bool, vers, proc uint32, args *RpcbindArgs) (uint32, int) {
	if err := t.speaks(afLocal, vers); err != 0 {
		return 0, err
	}
	if cur.Machine().AllocFails("rpcb_register") {
		return 0, -kernel.ECONNREFUSED
	}
	e := RpcbEntry{args.RProg, args.RVers, args.RNetid, args.RAddr, args.ROwner}
	if vers == RPCBVERS_2 {
		e.Netid, e.Addr = "", ""
		switch args.RProt {
		case IPPROTO_UDP:
			e.Netid = RPCBIND_NETID_UDP
		case IPPROTO_TCP:
			e.Netid = RPCBIND_NETID_TCP
		}
		e.Addr = RpcSockaddr2uaddr(sock.AnyAddr(sock.AF_INET, args.RPort))
	}
	switch proc {
	case RPCBPROC_SET:
		return t.set(e), 0
	case RPCBPROC_UNSET:
		if vers != RPCBVERS_2 {
			return t.unset(e.Prog, e.Vers, e.Netid), 0
		}
		// Version 2 ignores the protocol here.
		return t.unset(e.Prog, e.Vers, RPCBIND_NETID_UDP) | t.unset(e.Prog, e.Vers, RPCBIND_NETID_TCP), 0
	case RPCBPROC_GETPORT:
		return t.port(e), 0
	}
	return 0, -kernel.EOPNOTSUPP
}

// port is where e's version is served under its netid, or else any version of the program; 0: none is.
func (t *RpcbindTable) port(e RpcbEntry) uint32 {
	uaddr := ""
	for _, x := range t.entries {
		if x.Prog != e.Prog || x.Netid != e.Netid {
			continue
		}
		if x.Vers == e.Vers {
			uaddr = x.Addr
			break
		}
		if uaddr == "" {
			uaddr = x.Addr
		}
	}
	port, _ := uaddrPort(uaddr)
	return uint32(port)
}

// set adds an entry. A triple that is there already stays as it is, and only the same address is agreed to.
func (t *RpcbindTable) set(e RpcbEntry) uint32 {
	if e.Netid == "" || e.Addr == "" {
		return 0
	}
	for _, x := range t.entries {
		if x.Prog == e.Prog && x.Vers == e.Vers && x.Netid == e.Netid {
			if x.Addr == e.Addr {
				return 1
			}
			return 0
		}
	}
	t.entries = append(t.entries, e)
	return 1
}

// unset removes the entries of a program version under one netid, or under all for "". The answer is 1 also if there
// were none; owners are not modelled.
func (t *RpcbindTable) unset(prog, vers uint32, netid string) uint32 {
	kept := t.entries[:0]
	for _, x := range t.entries {
		if x.Prog != prog || x.Vers != vers || netid != "" && x.Netid != netid {
			kept = append(kept, x)
		}
	}
	t.entries = kept
	return 1
}
