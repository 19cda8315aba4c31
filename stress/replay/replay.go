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
	"io"
	"net"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Programs that the recordings speak to.
const (
	nlmProgram      = 100021
	callbackProgram = 0x40000000
)

// Answer is what a server did upon a case.
type Answer struct {
	Reply []byte // all octets, record marks included
	Conn  string // open or closed
	After string // what a good NULL call got afterwards: answered, silent, closed; "" if it was not asked
	Late  []byte // octets that came between that call and its answer
}

func (a Answer) String() string {
	reply := hex.EncodeToString(a.Reply)
	if reply == "" {
		reply = "none"
	}
	s := fmt.Sprintf("reply %s, connection %s", reply, a.Conn)
	if a.After != "" {
		s += ", then " + a.After
	}
	if len(a.Late) > 0 {
		s += ", late " + hex.EncodeToString(a.Late)
	}
	return s
}

// Equal compares what both know.
func (a Answer) Equal(b Answer) bool {
	return bytes.Equal(a.Reply, b.Reply) && a.Conn == b.Conn && bytes.Equal(a.Late, b.Late) &&
		(a.After == "" || b.After == "" || a.After == b.After)
}

// Case is one request and what each kernel did with it.
type Case struct {
	Name, Group string
	Target      string // nlm or nfs-cb
	UDP         bool
	Writes      [][]byte
	Delay       time.Duration // between the writes
	HalfClose   bool
	Want        map[string]Answer // by kernel: 6.1, 6.12, 6.18, 7.3
}

// record is a line of the file.
type record struct {
	Name, Group, Target, Transport, Kernel string
	Request                                string
	Writes                                 []string
	WriteDelay                             float64 `json:"write_delay_s"`
	Runs                                   []struct {
		Hex   string
		Zeros int
	} `json:"request_runs"`
	HalfClose bool
	Reply     string
	Conn      string
	After     string
	Late      string `json:"late_reply"`
}

// Load reads a file of recordings. Kernels that were sent the same octets share a case.
func Load(name string) ([]*Case, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var file struct{ Vectors []record }
	if err := json.NewDecoder(z).Decode(&file); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var cases []*Case
	byName := map[string][]*Case{}
	for _, r := range file.Vectors {
		c, a, err := r.parse()
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, r.Name, err)
		}
		at := slices.IndexFunc(byName[c.Name], func(o *Case) bool { return slices.EqualFunc(o.Writes, c.Writes, bytes.Equal) })
		if at < 0 {
			at = len(byName[c.Name])
			byName[c.Name] = append(byName[c.Name], c)
			cases = append(cases, c)
		}
		major := strings.SplitN(r.Kernel, ".", 3)
		if len(major) < 3 {
			return nil, fmt.Errorf("%s: %s: kernel %q", name, r.Name, r.Kernel)
		}
		byName[c.Name][at].Want[major[0]+"."+major[1]] = a
	}
	return cases, nil
}

func (r *record) parse() (*Case, Answer, error) {
	c := &Case{
		Name: r.Name, Group: r.Group, Target: r.Target, UDP: r.Transport == "udp", HalfClose: r.HalfClose,
		Delay: time.Duration(r.WriteDelay * float64(time.Second)), Want: map[string]Answer{},
	}
	var errs []error
	octets := func(s string) []byte {
		b, err := hex.DecodeString(s)
		errs = append(errs, err)
		return b
	}
	switch {
	case r.Writes != nil:
		for _, w := range r.Writes {
			c.Writes = append(c.Writes, octets(w))
		}
	case r.Runs != nil:
		var b []byte
		for _, run := range r.Runs {
			b = append(append(b, octets(run.Hex)...), make([]byte, run.Zeros)...)
		}
		c.Writes = [][]byte{b}
	default:
		c.Writes = [][]byte{octets(r.Request)}
	}
	a := Answer{Conn: fate(r.Conn), After: fate(r.After), Late: octets(r.Late)}
	if r.Reply != "none" && r.Reply != "closed" {
		a.Reply = octets(r.Reply)
	}
	return c, a, errors.Join(errs...)
}

// fate forgets how a connection was closed: whether its end is a FIN or a RST depends on when the octets that were
// still under way arrived, and on who had called shutdown.
func fate(s string) string {
	if strings.HasPrefix(s, "closed") || s == "fin" || s == "rst" {
		return "closed"
	}
	return s
}

// Pace is how long to wait for a server.
type Pace struct {
	First time.Duration // for the first octet of an expected answer, or the end of the connection
	Quiet time.Duration // until nothing more is believed to come
}

// Brisk suits a server on the same host; Patient is for a second look at a case that went wrong at a brisk pace.
var (
	Brisk   = Pace{First: 300 * time.Millisecond, Quiet: 20 * time.Millisecond}
	Patient = Pace{First: 5 * time.Second, Quiet: 500 * time.Millisecond}
)

// probe is the XID of the NULL call that follows a case.
const probe = 0x50524f42

// Play sends a case to addr over a connection of its own.
func Play(c *Case, addr string, pace Pace) (Answer, error) {
	network := "tcp"
	if c.UDP {
		network = "udp"
	}
	conn, err := net.DialTimeout(network, addr, 5*time.Second)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	for i, w := range c.Writes {
		if i > 0 {
			time.Sleep(c.Delay)
		}
		_ = conn.SetWriteDeadline(time.Now().Add(pace.First))
		if _, err := conn.Write(w); err != nil && !closedByPeer(err) {
			return Answer{}, err
		}
	}
	if c.HalfClose {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
			return Answer{}, err
		}
	}
	var a Answer
	wait := pace.Quiet
	if c.expectsAny() {
		wait = pace.First
	}
	a.Conn = "open"
	buf := make([]byte, 1<<16)
	for {
		n, open := read(conn, buf, wait)
		a.Reply = append(a.Reply, buf[:n]...)
		if !open {
			a.Conn = "closed"
			break
		}
		if n == 0 {
			break
		}
		wait = pace.Quiet
		if c.expectsMore(a.Reply) {
			wait = pace.First
		}
	}
	if a.Conn == "closed" {
		a.After = "closed"
		return a, nil
	}
	if c.probed() {
		a.After, a.Late = c.probe(conn, buf, pace)
	}
	return a, nil
}

// probe makes a good NULL call and says what became of it, and what else came.
func (c *Case) probe(conn net.Conn, buf []byte, pace Pace) (fate string, late []byte) {
	prog, vers := uint32(nlmProgram), uint32(4)
	if c.Target != "nlm" {
		prog, vers = callbackProgram, 1
	}
	var call, want []byte
	for _, w := range []uint32{probe, 0, 2, prog, vers, 0, 0, 0, 0, 0} {
		call = binary.BigEndian.AppendUint32(call, w)
	}
	for _, w := range []uint32{probe, 1, 0, 0, 0, 0} {
		want = binary.BigEndian.AppendUint32(want, w)
	}
	if !c.UDP {
		call = append(binary.BigEndian.AppendUint32(nil, 1<<31|uint32(len(call))), call...)
		want = append(binary.BigEndian.AppendUint32(nil, 1<<31|uint32(len(want))), want...)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(pace.First))
	if _, err := conn.Write(call); err != nil {
		return "closed", nil
	}
	wait := pace.First
	if !c.expectsAfter("answered") {
		wait = pace.Quiet
	}
	if c.expectsAfter("closed") {
		wait = pace.First
	}
	for end := time.Now().Add(wait); ; {
		n, open := read(conn, buf, time.Until(end))
		late = append(late, buf[:n]...)
		if before, rest, ok := bytes.Cut(late, want); ok {
			return "answered", append(before, rest...)
		}
		switch {
		case !open:
			return "closed", late
		case n == 0:
			return "silent", late
		}
	}
}

// probed reports whether any kernel got the call of probe; it would end up inside an unfinished record otherwise.
func (c *Case) probed() bool {
	for _, a := range c.Want {
		if a.After != "" {
			return true
		}
	}
	return false
}

func (c *Case) expectsAfter(what string) bool {
	for _, a := range c.Want {
		if a.After == what {
			return true
		}
	}
	return false
}

// expectsAny reports whether any kernel did anything at all.
func (c *Case) expectsAny() bool {
	for _, a := range c.Want {
		if len(a.Reply) > 0 || a.Conn != "open" {
			return true
		}
	}
	return false
}

// expectsMore reports whether no kernel left it at that.
func (c *Case) expectsMore(got []byte) bool {
	for _, a := range c.Want {
		if bytes.Equal(a.Reply, got) && a.Conn == "open" {
			return false
		}
	}
	return true
}

// read takes what comes within d; no octets and open: nothing came.
func read(conn net.Conn, buf []byte, d time.Duration) (n int, open bool) {
	_ = conn.SetReadDeadline(time.Now().Add(d))
	n, err := conn.Read(buf)
	return n, err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

func closedByPeer(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrDeadlineExceeded)
}

// Difference explains why the port answers some cases otherwise than some of the recorded kernels do.
type Difference struct {
	Case    string   `json:"case"`    // pattern of names, as in path.Match
	Kernels []string `json:"kernels"` // from which the port differs
	// As names the recorded kernel that does what the port does. Without it Answer says what the port does; XID in it
	// stands for the first word of the request, XID+1 and XID+2 for the numbers after it.
	As     string       `json:"as,omitempty"`
	Answer *AnswerInHex `json:"answer,omitempty"`
	// Sometimes marks what depends on timing: the port may as well do what the kernels do.
	Sometimes bool   `json:"sometimes,omitempty"`
	Reason    string `json:"reason"`
	Source    string `json:"source"`
}

// AnswerInHex is an Answer in a data file.
type AnswerInHex struct {
	Reply string `json:"reply,omitempty"` // "" is none
	Conn  string `json:"conn"`
	After string `json:"after"`
	Late  string `json:"late,omitempty"`
}

// LoadDifferences reads a data file; every entry must be complete.
func LoadDifferences(name string) ([]*Difference, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	var list []*Difference
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%s: something follows the list", name)
	}
	for i, x := range list {
		_, err := path.Match(x.Case, "")
		if err != nil || x.Case == "" || len(x.Kernels) == 0 || x.Reason == "" || x.Source == "" ||
			(x.As == "") == (x.Answer == nil) {
			return nil, fmt.Errorf("%s: entry %d (%s) is not complete: it needs case, kernels, reason, source, and as or answer",
				name, i+1, x.Case)
		}
	}
	return list, nil
}

// Explains reports whether x says that the port answers c with got where kernel does otherwise.
func (x *Difference) Explains(c *Case, kernel string, got Answer) bool {
	if ok, _ := path.Match(x.Case, c.Name); !ok || !slices.Contains(x.Kernels, kernel) {
		return false
	}
	if x.As != "" {
		want, ok := c.Want[x.As]
		return ok && got.Equal(want)
	}
	want := Answer{Conn: x.Answer.Conn, After: x.Answer.After}
	var err1, err2 error
	want.Reply, err1 = hex.DecodeString(c.fillIn(x.Answer.Reply))
	want.Late, err2 = hex.DecodeString(c.fillIn(x.Answer.Late))
	return err1 == nil && err2 == nil && got.Equal(want)
}

// fillIn puts the request's XID, and its successors, into an answer.
func (c *Case) fillIn(s string) string {
	request, at := bytes.Join(c.Writes, nil), 4
	if c.UDP {
		at = 0
	}
	if len(request) < at+4 {
		return s
	}
	xid := binary.BigEndian.Uint32(request[at:])
	for i, name := range []string{"XID+2", "XID+1", "XID"} {
		s = strings.ReplaceAll(s, name, fmt.Sprintf("%08x", xid+uint32(2-i)))
	}
	return s
}
