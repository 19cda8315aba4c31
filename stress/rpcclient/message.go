// SPDX-License-Identifier: MIT

// Package rpcclient speaks ONC RPC (RFC 5531) over real sockets, for tests, load and peers: a [Client] with many calls
// in flight over TCP, UDP or a local socket, a [Raw] connection that sends any octets and says how the other side ends,
// and a [Server] that answers the calls which servers make. Arguments and results are octets: their encoding is the
// caller's affair.
package rpcclient

import (
	"encoding/binary"
	"fmt"
)

// Numbers of RFC 5531.
const (
	rpcVersion = 2

	msgCall  = 0
	msgReply = 1

	msgAccepted = 0
	msgDenied   = 1

	rejectRPCMismatch = 0
	rejectAuthError   = 1

	maxAuthBody = 400
)

// Flavours of credentials and verifiers.
const (
	AuthNone  = 0
	AuthSys   = 1
	AuthShort = 2
)

// Auth is a credential or a verifier. The zero value is AUTH_NONE.
type Auth struct {
	Flavour uint32
	Body    []byte // at most 400 octets by the law; more is sent as it is
}

// Sys is an AUTH_SYS credential.
func Sys(stamp uint32, machine string, uid, gid uint32, gids ...uint32) Auth {
	b := binary.BigEndian.AppendUint32(nil, stamp)
	b = appendOpaque(b, []byte(machine))
	b = appendWords(b, uid, gid, uint32(len(gids)))
	return Auth{AuthSys, appendWords(b, gids...)}
}

// Call is a request.
type Call struct {
	Xid              uint32 // 0: the client gives it one
	Prog, Vers, Proc uint32
	Cred, Verf       Auth
	Args             []byte // encoded
}

func (c *Call) String() string { return fmt.Sprintf("call %d.%d.%d", c.Prog, c.Vers, c.Proc) }

// Encode is the message, without a record mark.
func (c *Call) Encode() []byte {
	b := make([]byte, 0, 48+len(c.Cred.Body)+len(c.Verf.Body)+len(c.Args))
	b = appendWords(b, c.Xid, msgCall, rpcVersion, c.Prog, c.Vers, c.Proc)
	b = appendAuth(b, c.Cred)
	b = appendAuth(b, c.Verf)
	return append(b, c.Args...)
}

// Status is what a reply says: an accept status, or why the call was denied.
type Status uint32

// The accept statuses, and the two ways to be denied, which have other numbers on the wire.
const (
	Success      Status = 0
	ProgUnavail  Status = 1
	ProgMismatch Status = 2
	ProcUnavail  Status = 3
	GarbageArgs  Status = 4
	SystemErr    Status = 5
	RPCMismatch  Status = 100
	AuthError    Status = 101
)

func (s Status) String() string {
	switch s {
	case Success:
		return "success"
	case ProgUnavail:
		return "program unavailable"
	case ProgMismatch:
		return "program version mismatch"
	case ProcUnavail:
		return "procedure unavailable"
	case GarbageArgs:
		return "garbage arguments"
	case SystemErr:
		return "system error"
	case RPCMismatch:
		return "RPC version mismatch"
	case AuthError:
		return "authentication error"
	}
	return fmt.Sprintf("status %d", uint32(s))
}

// Refusal is a reply other than success, as an error. [errors.Is] compares the status alone.
type Refusal struct {
	Status    Status
	Low, High uint32 // with a mismatch: what the server speaks
	AuthStat  uint32 // with AuthError
}

func (r *Refusal) Error() string {
	switch r.Status {
	case ProgMismatch, RPCMismatch:
		return fmt.Sprintf("%v: the server speaks %d to %d", r.Status, r.Low, r.High)
	case AuthError:
		return fmt.Sprintf("%v %d", r.Status, r.AuthStat)
	}
	return r.Status.String()
}

// Is reports whether target is a refusal with the same status.
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Status == r.Status
}

// Refusals to compare with, and for handlers to return.
var (
	ErrProgUnavail  = &Refusal{Status: ProgUnavail}
	ErrProgMismatch = &Refusal{Status: ProgMismatch}
	ErrProcUnavail  = &Refusal{Status: ProcUnavail}
	ErrGarbageArgs  = &Refusal{Status: GarbageArgs}
	ErrSystemErr    = &Refusal{Status: SystemErr}
	ErrRPCMismatch  = &Refusal{Status: RPCMismatch}
	ErrAuthError    = &Refusal{Status: AuthError}
)

// Reply is an answer.
type Reply struct {
	Xid       uint32
	Status    Status
	Low, High uint32 // with a mismatch
	AuthStat  uint32 // with AuthError
	Verf      Auth   // of an accepted call
	Results   []byte // with Success: encoded, all that follows
	Octets    []byte // the whole message
}

// Err is nil for a success and a *Refusal otherwise.
func (r *Reply) Err() error {
	if r.Status == Success {
		return nil
	}
	return &Refusal{r.Status, r.Low, r.High, r.AuthStat}
}

// ParseReply takes a reply apart. The results are not looked into.
func ParseReply(msg []byte) (*Reply, error) {
	d := reader{b: msg}
	r := &Reply{Xid: d.word(), Octets: msg}
	if w := d.word(); w != msgReply && !d.short {
		return nil, fmt.Errorf("reply: message type %d is not REPLY", w)
	}
	stat := d.word()
	switch {
	case d.short:
	case stat == msgAccepted:
		r.Verf = d.auth()
		r.Status = Status(d.word())
		if r.Status > SystemErr {
			return nil, fmt.Errorf("reply: accept status %d is unknown", r.Status)
		}
		if r.Status == ProgMismatch {
			r.Low, r.High = d.word(), d.word()
		}
		if r.Status == Success {
			r.Results = d.b
		}
	case stat == msgDenied:
		switch w := d.word(); w {
		case rejectRPCMismatch:
			r.Status, r.Low, r.High = RPCMismatch, d.word(), d.word()
		case rejectAuthError:
			r.Status, r.AuthStat = AuthError, d.word()
		default:
			return nil, fmt.Errorf("reply: reject status %d is unknown", w)
		}
	default:
		return nil, fmt.Errorf("reply: reply status %d is unknown", stat)
	}
	if d.short {
		return nil, fmt.Errorf("reply: %d octets end within the header", len(msg))
	}
	return r, nil
}

// parseCall takes a call apart; what does not fit the law is not a call.
func parseCall(msg []byte) (c Call, rpcvers uint32, ok bool) {
	d := reader{b: msg}
	c.Xid = d.word()
	if d.word() != msgCall {
		return c, 0, false
	}
	rpcvers = d.word()
	c.Prog, c.Vers, c.Proc = d.word(), d.word(), d.word()
	c.Cred, c.Verf = d.auth(), d.auth()
	c.Args = d.b
	return c, rpcvers, !d.short
}

// appendReply writes the reply to a call: results, or the refusal if that is not nil.
func appendReply(b []byte, xid uint32, results []byte, no *Refusal) []byte {
	b = appendWords(b, xid, msgReply)
	if no == nil {
		return append(appendWords(b, msgAccepted, 0, 0, uint32(Success)), results...)
	}
	switch no.Status {
	case RPCMismatch:
		return appendWords(b, msgDenied, rejectRPCMismatch, no.Low, no.High)
	case AuthError:
		return appendWords(b, msgDenied, rejectAuthError, no.AuthStat)
	case ProgMismatch:
		return appendWords(b, msgAccepted, 0, 0, uint32(no.Status), no.Low, no.High)
	}
	return appendWords(b, msgAccepted, 0, 0, uint32(no.Status))
}

func appendWords(b []byte, w ...uint32) []byte {
	for _, x := range w {
		b = binary.BigEndian.AppendUint32(b, x)
	}
	return b
}

// appendOpaque writes the length and the octets, padded to whole words.
func appendOpaque(b, s []byte) []byte {
	b = append(appendWords(b, uint32(len(s))), s...)
	return append(b, make([]byte, -len(s)&3)...)
}

func appendAuth(b []byte, a Auth) []byte { return appendOpaque(appendWords(b, a.Flavour), a.Body) }

// reader takes words off a message; after the first that is missing it stays short and reads zeros.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) word() uint32 {
	if len(r.b) < 4 {
		r.b, r.short = nil, true
		return 0
	}
	w := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return w
}

func (r *reader) auth() Auth {
	flavour, n := r.word(), r.word()
	padded := (uint64(n) + 3) &^ 3
	if n > maxAuthBody || padded > uint64(len(r.b)) {
		r.b, r.short = nil, true
		return Auth{}
	}
	a := Auth{flavour, r.b[:n:n]}
	r.b = r.b[padded:]
	return a
}
