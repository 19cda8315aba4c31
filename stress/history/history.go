// SPDX-License-Identifier: MIT

// Package history records what clients of a lock manager asked and were told, and decides whether one sequence of
// locks can explain it all: whether the history is linearizable.
//
// The model is its own: it shares no code with what it judges. What it does not look at: whether a request that was
// answered with a deadlock would have made one (only that something was in its way), and share reservations.
package history

import (
	"fmt"
	"math"
	"time"
)

// Kind is what a client asks for.
type Kind uint8

// The requests of the protocol, and what takes all locks of a host.
const (
	Test   Kind = iota
	Lock        // also with Block
	Unlock      // its range only
	Cancel      // of a Lock that was answered Blocked, with the same range
	Drop        // all locks of the host on all files: FREE_ALL, SM_NOTIFY, a restart of the server
)

func (k Kind) String() string { return [...]string{"TEST", "LOCK", "UNLOCK", "CANCEL", "DROP"}[k] }

// Owner is who holds a lock: what the server tells apart. A client that speaks over two transports or in two versions
// is two hosts to it.
type Owner struct {
	Host string
	Svid uint32
}

func (o Owner) String() string {
	if o.Host == "" {
		return "somebody"
	}
	return fmt.Sprintf("%s/%d", o.Host, o.Svid)
}

// Op is one request. Start and Len are octets; Len 0 is up to the end of the file.
type Op struct {
	Kind      Kind
	File      string
	Owner     Owner
	Start     uint64
	Len       uint64
	Exclusive bool
	Block     bool // Lock: wait for it
	// Deferred says that the file's own server may ask for patience, so that Blocked does not mean that something is
	// in the way.
	Deferred bool
}

// end is the last byte of the range.
func (op *Op) end() uint64 {
	if op.Len == 0 || op.Len-1 > math.MaxInt64-min(op.Start, math.MaxInt64) {
		return math.MaxInt64
	}
	return op.Start + op.Len - 1
}

// same tells whether two requests name one lock.
func (op *Op) same(other *Op) bool {
	return op.File == other.File && op.Owner == other.Owner && op.Start == other.Start && op.end() == other.end()
}

func (op *Op) String() string {
	if op.Kind == Drop {
		return "DROP all locks of " + op.Owner.Host
	}
	text := op.Kind.String()
	if op.Kind != Unlock {
		text += map[bool]string{false: " shared", true: " exclusive"}[op.Exclusive]
	}
	return text + " " + op.File + " " + spell(op.Start, op.end()) + " by " + op.Owner.String()
}

// spell writes a range.
func spell(start, end uint64) string {
	if end == math.MaxInt64 {
		return fmt.Sprintf("[%d..]", start)
	}
	return fmt.Sprintf("[%d..%d]", start, end)
}

// Status is an answer.
type Status uint8

// The answers. Refused is any that leaves all as it was: grace period, no memory, stale handle, failed.
const (
	NoAnswer Status = iota
	Granted
	Denied
	Blocked // the answer comes by a call back
	Deadlock
	Refused
)

func (s Status) String() string {
	return [...]string{"no answer", "granted", "denied", "blocked", "deadlock", "refused"}[s]
}

// Status of the network lock manager's answers that Refused does not cover.
const (
	nlmGranted  = 0
	nlmDenied   = 1
	nlmBlocked  = 3
	nlmDeadlock = 5
)

// FromNLM translates a status of any version of the protocol.
func FromNLM(status uint32) Status {
	switch status {
	case nlmGranted:
		return Granted
	case nlmDenied:
		return Denied
	case nlmBlocked:
		return Blocked
	case nlmDeadlock:
		return Deadlock
	}
	return Refused
}

// Holder is the lock that a denied Test names. An Owner without Host is one that the answer does not tell.
type Holder struct {
	Owner     Owner
	Start     uint64
	Len       uint64
	Exclusive bool
}

// Clock orders events: of two that follow each other it gives the later one a larger number, or the same to both if
// it cannot tell.
type Clock func() int64

// Steps is a clock for the sim back end, where tasks run one at a time. The race detector does not see it.
func Steps() Clock {
	n := new(int64)
	return func() int64 { return tick(n) }
}

//go:norace
func tick(n *int64) int64 {
	*n++
	return *n
}

// Wall is a clock for real time; nanoseconds since it was made.
func Wall() Clock {
	start := time.Now()
	return func() int64 { return int64(time.Since(start)) }
}

// Recorder is one history. Its clients are made before they run; then each records by itself, without any
// synchronisation with the others, which might hide a race.
type Recorder struct {
	// Budget is how many steps of the model a file may take; 0: DefaultBudget. Beyond it the verdict is Unknown. It is
	// not a time, so that the same history has the same verdict everywhere.
	Budget  int
	clock   Clock
	clients []*Client
	settled []int64
}

// DefaultBudget bounds the check of a file to a few seconds.
const DefaultBudget = 1_000_000

// New makes an empty history.
func New(clock Clock) *Recorder { return &Recorder{clock: clock} }

// Client adds someone who records. Nobody else may use it.
func (r *Recorder) Client(name string) *Client {
	c := &Client{r: r, name: name, id: len(r.clients)}
	r.clients = append(r.clients, c)
	return c
}

// Settled says that nothing is under way at this moment: what has been answered Blocked, and was neither called back nor
// given up, has something in its way. To be called when the clients rest, or have ended.
func (r *Recorder) Settled() { r.settled = append(r.settled, r.clock()) }

// Client is one thread of a client of the lock manager, or one that receives its calls.
type Client struct {
	r      *Recorder
	name   string
	id     int
	calls  []*Call
	grants []grant
}

// Call is a request under way.
type Call struct {
	Op
	c      *Client
	from   int64
	to     int64 // 0: no answer
	status Status
	holder *Holder
}

// grant is a call back.
type grant struct {
	Op
	c  *Client
	at int64
}

// Begin records a request, before it is sent. Requests that are sent again are one with the first.
func (c *Client) Begin(op Op) *Call {
	call := &Call{Op: op, c: c, from: c.r.clock()}
	c.calls = append(c.calls, call)
	return call
}

// End records the answer, after it has come; holder for a denied Test whose answer names it, else nil. Without End,
// the request may have been obeyed at any time, or never.
func (call *Call) End(status Status, holder *Holder) {
	call.to, call.status, call.holder = call.c.r.clock(), status, holder
}

// Granted records that the lock of a Blocked request was called back as granted.
func (c *Client) Granted(op Op) {
	op.Kind, op.Block = Lock, true
	c.grants = append(c.grants, grant{Op: op, c: c, at: c.r.clock()})
}
