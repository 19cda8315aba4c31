// SPDX-License-Identifier: MIT

package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// recording is what a test needs of a line of the recordings of real kernels; corpus/kernel/README.md explains them.
type recording struct {
	Name, Transport, Kernel string
	Request, Reply          string
	Writes                  []string
	Runs                    []struct {
		Hex   string
		Zeros int
	} `json:"request_runs"`
	LateReply string `json:"late_reply"`
}

func recordings(t *testing.T) []recording {
	t.Helper()
	var file struct{ Vectors []recording }
	readGzip(t, "../../corpus/kernel/vectors.json.gz", &file)
	if len(file.Vectors) == 0 {
		t.Fatal("no recordings")
	}
	return file.Vectors
}

func readGzip(t *testing.T, name string, v any) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(v); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// request is all that was sent.
func (r *recording) request(t *testing.T) []byte {
	if len(r.Runs) == 0 && len(r.Writes) == 0 {
		return unhex(t, r.Request)
	}
	var b []byte
	for _, run := range r.Runs {
		b = append(append(b, unhex(t, run.Hex)...), make([]byte, run.Zeros)...)
	}
	if len(b) == 0 {
		b = unhex(t, strings.Join(r.Writes, ""))
	}
	return b
}

// messages takes the records of a stream out of their marks; what is left at the end is dropped.
func messages(transport string, b []byte) [][]byte {
	if transport == "udp" {
		return [][]byte{b}
	}
	var all [][]byte
	var rec []byte
	for len(b) >= 4 {
		mark := binary.BigEndian.Uint32(b)
		n := int(mark &^ (1 << 31))
		if n > len(b)-4 {
			break
		}
		rec = append(rec, b[4:4+n]...)
		b = b[4+n:]
		if mark>>31 == 1 {
			all, rec = append(all, rec), nil
		}
	}
	return all
}

// broken are answers of real kernels that break the law: part of the case's name, the kernel, what is wrong.
var broken = []struct{ name, kernel, wrong, why string }{
	{"", "6.1.", "octet 16, reply.body.areply.verf.body: 0 octets are left, 4 needed",
		"GARBAGE_ARGS for a cut credential comes before there is a verifier (94d10a4dba0b)"},
	{"cb-tcp-pos-getattr-x128", "6.1.", "0 octets are left, 4 needed", "a compound is cut where the page ends"},
	{"cb-tcp-pos-getattr-x128", "6.12.", "0 octets are left, 4 needed", "a compound is cut where the page ends"},
}

// TestKernelReplies decodes what real kernels answered, thousands of replies. What this package does not understand
// must be a defect of that kernel.
func TestKernelReplies(t *testing.T) {
	decoded, lawless := 0, 0
	for _, r := range recordings(t) {
		asked := map[uint32]Call_header{}
		for _, m := range messages(r.Transport, r.request(t)) {
			if len(m) >= 24 {
				w := func(i int) uint32 { return binary.BigEndian.Uint32(m[4*i:]) }
				asked[w(0)] = Call_header{Xid: w(0), Prog: w(3), Vers: w(4), Proc: w(5)}
			}
		}
		if r.Reply == "none" || r.Reply == "closed" {
			r.Reply = ""
		}
		for _, m := range messages(r.Transport, unhex(t, r.Reply+r.LateReply)) {
			if len(m) < 4 {
				continue // no reply
			}
			c, ok := asked[binary.BigEndian.Uint32(m)]
			if !ok {
				// 6.1 reads the XID of a tiny datagram from what was in the buffer before.
				if !strings.HasPrefix(r.Name, "nlm-udp-truncated-") || !strings.HasPrefix(r.Kernel, "6.1.") {
					t.Errorf("%s, %s: an answer to nothing: %x", r.Name, r.Kernel, m)
				}
				continue
			}
			reply, err := DecodeReply(c.Prog, c.Vers, c.Proc, m)
			if err != nil {
				lawless++
				if !slices.ContainsFunc(broken, func(b struct{ name, kernel, wrong, why string }) bool {
					return strings.Contains(r.Name, b.name) && strings.HasPrefix(r.Kernel, b.kernel) &&
						strings.Contains(err.Error(), b.wrong)
				}) {
					t.Errorf("%s, %s: %v: %x", r.Name, r.Kernel, err, m)
				}
				continue
			}
			decoded++
			if again := reencode(reply); !bytes.Equal(again, m) {
				t.Errorf("%s, %s: put together again %x, was %x", r.Name, r.Kernel, again, m)
			}
		}
	}
	if decoded < 9900 || lawless > 40 {
		t.Errorf("%d replies decoded, %d not", decoded, lawless)
	}
}

// reencode puts any reply together.
func reencode(r *Reply) []byte {
	h := Reply_header{Xid: r.Xid, Mtype: REPLY}
	if r.Denied {
		h.Body.Stat = MSG_DENIED
		no := h.Body.Rreply()
		if no.Stat = r.Reject; r.Reject == AUTH_ERROR {
			*no.Why() = r.Why
		} else {
			*no.Mismatch_info() = r.Range
		}
		return Encode(&h)
	}
	yes := h.Body.Areply()
	yes.Verf, yes.Reply_data.Stat = r.Verf, r.Accept
	if r.Accept == PROG_MISMATCH {
		*yes.Reply_data.Mismatch_info() = r.Range
	}
	b := Encode(&h)
	if r.Results != nil {
		b = Append(b, r.Results)
	}
	return b
}

// unmark takes the record mark off a message: a few recordings have kept it.
func unmark(b []byte) []byte {
	if m := messages("tcp", b); len(m) == 1 && len(m[0]) == len(b)-4 {
		return m[0]
	}
	return b
}

// TestKernelCalls decodes what real kernels ask by themselves: the lock manager of its callers, their port mappers, the
// server of the callback service, the client of a lock manager.
func TestKernelCalls(t *testing.T) {
	var calls []struct{ Kernel, Role, Request, Answered, Reply string }
	readGzip(t, "../../corpus/kernel/kernel-calls.json.gz", &calls)
	seen := map[string]int{}
	for _, c := range calls {
		b := unmark(unhex(t, c.Request))
		call, err := DecodeCall(b)
		if err != nil {
			t.Errorf("%s, %s: %v: %x", c.Role, c.Kernel, err, b)
			continue
		}
		h := &call.Header
		seen[Name(h.Prog, h.Vers, h.Proc)]++
		if again := EncodeCall(call); !bytes.Equal(again, b) {
			t.Errorf("%s, %s: put together again %x, was %x", c.Role, c.Kernel, again, b)
		}
		if h.Cred.Flavor == uint32(AUTH_SYS) {
			var sys Authsys_parms
			if err := Decode(h.Cred.Body, &sys); err != nil {
				t.Errorf("%s, %s: credential: %v", c.Role, c.Kernel, err)
			}
		}
		for _, answer := range []string{c.Answered, c.Reply} {
			if answer == "" || answer == "none" {
				continue
			}
			if _, err := DecodeReply(h.Prog, h.Vers, h.Proc, unmark(unhex(t, answer))); err != nil {
				t.Errorf("%s, %s: answer: %v: %s", c.Role, c.Kernel, err, answer)
			}
		}
	}
	for _, name := range []string{"PMAP_GETPORT", "CB_NULL", "CB_COMPOUND", "NLM4_LOCK", "NLM4_GRANTED_MSG", "NLM1_TEST_RES"} {
		if seen[name] == 0 {
			t.Errorf("no %s among %v", name, seen)
		}
	}
}
