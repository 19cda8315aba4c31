// SPDX-License-Identifier: MIT

package wire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/xdrpp/goxdr/xdr"
)

// TestGenerated generates the Go anew, from what the module cache holds.
func TestGenerated(t *testing.T) {
	cmd := exec.Command("go", "run", "gen.go", "-o", "-")
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=readonly")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	want, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	got, err := os.ReadFile("xdr_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("xdr_gen.go is not what the .x files say: run go generate ./stress/wire")
	}
}

// random fills a value with what the law allows. It implements [xdr.XDR].
type random struct {
	*rand.Rand
	depth int
}

func (*random) Sprintf(string, ...any) string { return "" }

func (r *random) Marshal(name string, v xdr.XdrType) {
	switch v := v.(type) {
	case *xdr.XdrSize:
		n := uint32(r.IntN(3))
		if r.depth > 8 {
			n = 0
		}
		v.SetU32(min(n, v.Bound))
	case xdr.XdrEnum:
		names := v.XdrEnumNames()
		for n := range names { // a map: its first key is a random one
			v.SetU32(uint32(n))
			return
		}
	case *xdr.XdrInt32, *xdr.XdrUint32:
		v.(xdr.XdrNum32).SetU32(r.Uint32() >> r.IntN(32))
	case xdr.XdrNum32: // a bool, or whether a list goes on
		v.SetU32(uint32(r.IntN(2)))
	case xdr.XdrNum64:
		v.SetU64(r.Uint64() >> r.IntN(64))
	case xdr.XdrVarBytes:
		b := make([]byte, min(uint32(r.IntN(9)), v.XdrBound()))
		r.fill(b)
		v.SetByteSlice(b)
	case xdr.XdrBytes:
		r.fill(v.GetByteSlice())
	case xdr.XdrAggregate:
		r.depth++
		v.XdrRecurse(r, name)
		r.depth--
	}
}

func (r *random) fill(b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// procedures lists all that the laws have.
func procedures() []xdr.XdrProc {
	var all []xdr.XdrProc
	for _, prog := range []uint32{Rpcbind, NLM, SM, Callback} {
		for vers := range uint32(5) {
			for proc := range uint32(32) {
				if of := xdr.XdrCatalog[uint64(prog)<<32|uint64(vers)]; of != nil && of(proc) != nil {
					all = append(all, of(proc))
				}
			}
		}
	}
	return all
}

// torn is how many messages of each procedure are tried with every octet for their last.
const torn = 8

// TestRoundTrip: what was put together comes apart again, and no part of it does.
func TestRoundTrip(t *testing.T) {
	if n := len(procedures()); n != 17+4+21+7+6+9+13+2 {
		t.Fatalf("%d procedures", n)
	}
	r := &random{Rand: rand.New(rand.NewPCG(1, 2))}
	for _, p := range procedures() {
		for n := range 50 {
			arg := p.GetArg()
			arg.XdrMarshal(r, "")
			c := NewCall(r.Uint32(), p.Prog(), p.Vers(), p.Proc(), arg)
			c.Header.Cred = Sys(&Authsys_parms{Stamp: 1, Machinename: "guest", Gids: []uint32{1, 2}})
			b := EncodeCall(c)
			got, err := DecodeCall(b)
			if err != nil || !bytes.Equal(EncodeCall(got), b) {
				t.Fatalf("%s: %v, %x", p.ProcName(), err, b)
			}
			for i := 0; n < torn && i < len(b); i++ {
				if _, err := DecodeCall(b[:i]); err == nil {
					t.Fatalf("%s: decoded with %d octets of %x", p.ProcName(), i, b)
				}
			}
			if _, err := DecodeCall(append(b, 0)); err == nil {
				t.Fatalf("%s: decoded with an octet more than %x", p.ProcName(), b)
			}
		}
		for n := range 50 {
			res := p.GetRes()
			res.XdrMarshal(r, "")
			b := EncodeReply(7, res)
			got, err := DecodeReply(p.Prog(), p.Vers(), p.Proc(), b)
			if err != nil && p.Proc() == 1 && p.Prog() == Callback {
				continue // an arbitrary compound need not be lawful
			}
			if err != nil || got.Xid != 7 || !bytes.Equal(EncodeReply(7, got.Results), b) {
				t.Fatalf("%s: %v, %x", p.ProcName(), err, b)
			}
			for i := 0; n < torn && i < len(b); i++ {
				if _, err := DecodeReply(p.Prog(), p.Vers(), p.Proc(), b[:i]); err == nil {
					t.Fatalf("%s: decoded with %d octets of %x", p.ProcName(), i, b)
				}
			}
			if _, err := DecodeReply(p.Prog(), p.Vers(), p.Proc(), append(b, 0, 0, 0, 0)); err == nil {
				t.Fatalf("%s: decoded with a word more than %x", p.ProcName(), b)
			}
		}
	}
}

// words spells a message.
func words(w ...uint32) []byte {
	var b []byte
	for _, x := range w {
		b = append(b, byte(x>>24), byte(x>>16), byte(x>>8), byte(x))
	}
	return b
}

func TestDecodeReply(t *testing.T) {
	head := []uint32{3, 1, 0, 0, 0, 0}
	with := func(w ...uint32) []byte { return words(append(append([]uint32(nil), head...), w...)...) }
	for _, tc := range []struct {
		name             string
		prog, vers, proc uint32
		b                []byte
		want             string // part of the error; "": none
	}{
		{"NULL", NLM, 4, 0, with(), ""},
		{"NULL of version 3", NLM, 3, 0, with(), ""},
		{"NULL of callback version 4", Callback, 4, 0, with(), ""},
		{"NULL with results", NLM, 4, 0, with(0), "reply to NLM4_NULL: 4 octets behind it"},
		{"NULL of no program", 5, 4, 0, with(), ""},
		{"an unused number", NLM, 4, 17, with(), ""},
		{"an unused number with results", NLM, 4, 17, with(0), "reply to 100021.4.17: 4 octets behind it"},
		{"no octets", NLM, 4, 0, nil, "octet 0, reply.xid: 0 octets are left, 4 needed"},
		{"a call", NLM, 4, 0, words(3, 0, 0, 0, 0, 0), "message type CALL"},
		{"message type", NLM, 4, 0, words(3, 2, 0, 0, 0, 0), "octet 4, reply.mtype: 2 is no Msg_type"},
		{"reply status", NLM, 4, 0, words(3, 1, 2), "octet 8, reply.body.stat: 2 is no Reply_stat"},
		{"verifier of 4 octets", NLM, 4, 0, words(3, 1, 0, 0, 4, 9, 0), ""},
		{"padding", NLM, 4, 0, words(3, 1, 0, 0, 3, 0x01020304, 0), "octet 16, reply.body.areply.verf.body: padding 04 is not zero"},
		{"verifier of 401 octets", NLM, 4, 0, append(words(3, 1, 0, 0, 401), make([]byte, 408)...), "length 401 is above the bound 400"},
		{"accept status", NLM, 4, 0, words(3, 1, 0, 0, 0, 6), "reply_data.stat: 6 is no Accept_stat"},
		{"mismatch", NLM, 4, 0, words(3, 1, 0, 0, 0, 2, 1, 4), ""},
		{"mismatch cut", NLM, 4, 0, words(3, 1, 0, 0, 0, 2, 1), "mismatch_info.high: 0 octets are left"},
		{"garbage with more", NLM, 4, 1, words(3, 1, 0, 0, 0, 4, 0), "4 octets behind it"},
		{"no such procedure", NLM, 4, 99, words(3, 1, 0, 0, 0, 3), ""},
		{"RPC mismatch", NLM, 4, 1, words(3, 1, 1, 0, 2, 2), ""},
		{"auth error", NLM, 4, 1, words(3, 1, 1, 1, 1), ""},
		{"why", NLM, 4, 1, words(3, 1, 1, 1, 15), "15 is no Auth_stat"},
		{"reject status", NLM, 4, 1, words(3, 1, 1, 2, 1), "2 is no Reject_stat"},
		{"LOCK granted", NLM, 4, 2, with(4, 0xaabbccdd, 0), ""},
		{"LOCK status", NLM, 4, 2, with(4, 0xaabbccdd, 10), "octet 32, NLMPROC4_LOCK result.stat.stat: 10 is no Nlm4_stats"},
		{"LOCK status of version 4 in version 1", NLM, 1, 2, with(0, 5), "NLMPROC_LOCK result.stat.stat: 5 is no Nlm_stats"},
		{"LOCK status of version 1 in version 3", NLM, 3, 2, with(0, 4), ""},
		{"TEST with holder", NLM, 4, 1, with(0, 1, 1, 5, 0, 0, 1, 0, 1), ""},
		{"TEST with a holder that is half exclusive", NLM, 4, 1, with(0, 1, 2, 5, 0, 0, 1, 0, 1), "bool must be 0 or 1"},
		{"TEST without holder", NLM, 4, 1, with(0, 1), "holder.exclusive: 0 octets are left"},
		{"TEST granted with a holder", NLM, 4, 1, with(0, 0, 1, 5, 0, 0, 1, 0, 1), "28 octets behind it"},
		{"SHARE", NLM, 3, 20, with(0, 0, 0), ""},
		{"long cookie", NLM, 4, 2, append(with(1025), make([]byte, 1032)...), "length 1025 is above the bound 1024"},
		{"compound", Callback, 1, 1, with(0, 0, 1, 4, 0), ""},
		{"compound without room", Callback, 1, 1, with(10018, 0, 1, 4, 0), ""},
		{"compound of another version", Callback, 1, 1, with(10021, 0, 0), ""},
		{"compound goes on behind a failure", Callback, 1, 1, with(0, 0, 2, 4, 10025, 4, 0),
			"result 1 follows status NFS4ERR_BAD_STATEID"},
		{"compound with another status", Callback, 1, 1, with(0, 0, 1, 4, 10025),
			"status NFS4_OK, but that of the last result is NFS4ERR_BAD_STATEID"},
		{"unknown operation", Callback, 1, 1, with(10071, 0, 1, 99, 10071), ""},
		{"unknown operation works", Callback, 1, 1, with(0, 0, 1, 99, 0), "operation 99, which is unknown, with status NFS4_OK"},
		{"attributes", Callback, 1, 1, with(0, 0, 1, 3, 0, 1, 0x18, 16, 0, 1, 0, 2), ""},
		{"attributes too short", Callback, 1, 1, with(0, 0, 1, 3, 0, 1, 0x18, 8, 0, 1), "attribute values of 8 octets, want 16"},
		{"attribute", Callback, 1, 1, with(0, 0, 1, 3, 0, 1, 1, 0), "attribute 0, which a callback may not ask for"},
	} {
		r, err := DecodeReply(tc.prog, tc.vers, tc.proc, tc.b)
		switch {
		case tc.want == "" && (err != nil || r.Xid != 3):
			t.Errorf("%s: %+v, %v", tc.name, r, err)
		case tc.want == "" && !bytes.Equal(reencode(r), tc.b):
			t.Errorf("%s: put together again %x, was %x", tc.name, reencode(r), tc.b)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
}

func TestDecodeCall(t *testing.T) {
	head := func(rpcvers, prog, vers, proc uint32, args ...uint32) []byte {
		return words(append([]uint32{3, 0, rpcvers, prog, vers, proc, 0, 0, 0, 0}, args...)...)
	}
	for _, tc := range []struct {
		b    []byte
		want string
	}{
		{head(2, NLM, 4, 0), ""},
		{head(3, NLM, 4, 0), "RPC version 3"},
		{head(2, NLM, 4, 99), "procedure 100021.4.99 is unknown"},
		{head(2, NLM, 4, 0, 0), "4 octets behind the arguments"},
		{words(3, 1, 2, NLM, 4, 0, 0, 0, 0, 0), "message type REPLY"},
		{head(2, NLM, 4, 12, 0, 0), ""},
		{head(2, NLM, 4, 12, 0), "octet 44, NLMPROC4_LOCK_RES.stat.stat: 0 octets are left"},
		{head(2, Callback, 1, 1, 0, 0, 0, 1, 99), "argarray[0].argop: 99 is no Nfs_cb_opnum4"},
		{head(2, Callback, 1, 1, 0, 0, 0, 1<<32-1), "0 octets are left"},
	} {
		_, err := DecodeCall(tc.b)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%x: %v, want %q", tc.b, err, tc.want)
		}
	}
}

func TestName(t *testing.T) {
	for _, tc := range []struct {
		prog, vers, proc uint32
		want             string
	}{
		{NLM, 1, 10, "NLM1_GRANTED_MSG"}, {NLM, 3, 10, "NLM3_GRANTED_MSG"}, {NLM, 3, 20, "NLM3_SHARE"}, {NLM, 4, 23, "NLM4_FREE_ALL"},
		{NLM, 1, 20, "100021.1.20"}, {NLM, 2, 0, "100021.2.0"}, {Callback, 4, 1, "CB_COMPOUND"}, {Rpcbind, 2, 3, "PMAP_GETPORT"},
		{SM, 1, 6, "SM_NOTIFY"}, {7, 1, 0, "7.1.0"},
	} {
		if got := Name(tc.prog, tc.vers, tc.proc); got != tc.want {
			t.Errorf("%d.%d.%d: %s, want %s", tc.prog, tc.vers, tc.proc, got, tc.want)
		}
		if Known(tc.prog, tc.vers, tc.proc) == strings.HasPrefix(tc.want, fmt.Sprint(tc.prog)) {
			t.Errorf("%s is known, or not", tc.want)
		}
	}
}

// TestLawBreakers: the encoder writes what a test wants, the decoder refuses it.
func TestLawBreakers(t *testing.T) {
	long := &Nlm4_res{Cookie: make([]byte, 1025)}
	if err := Decode(Encode(long), &Nlm4_res{}); err == nil || !strings.Contains(err.Error(), "Nlm4_res.cookie: length 1025") {
		t.Errorf("a long cookie: %v", err)
	}
	if err := Decode(append(Encode(&Nlm4_res{}), 0, 0, 0, 0), &Nlm4_res{}); err == nil {
		t.Error("a word too many was decoded")
	}
}

func BenchmarkDecodeReply(b *testing.B) {
	for _, bench := range []struct {
		name string
		proc uint32
		res  Value
	}{{"null", 0, nil}, {"lock", 2, &Nlm4_res{Cookie: []byte("1234")}}} {
		octets := EncodeReply(1, bench.res)
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeReply(NLM, 4, bench.proc, octets); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestEncodeNull(t *testing.T) {
	for _, prog := range []uint32{NLM, Callback} {
		if got, want := EncodeNull(7, prog, 4), EncodeCall(NewCall(7, prog, 4, 0, nil)); !bytes.Equal(got, want) {
			t.Errorf("%x, want %x", got, want)
		}
	}
}
