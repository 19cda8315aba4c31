// SPDX-License-Identifier: MIT

package replay

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/stress/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const folder = "../../corpus/kernel/"

// TestRecordedKernels plays everything that is recorded and holds the answers against those of each kernel.
// What differs must stand in differences.json with its reason, and what stands there must differ.
func TestRecordedKernels(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	report, err := Conform(ctx, Options{Folder: folder})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := report.Text(&b); err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Error(b.String())
	}
	for _, row := range report.rows() {
		t.Log(strings.Join(row, "  "))
	}
	for _, kernel := range Kernels {
		n := report.Count("", kernel)
		if sum := n.Equal + n.Explained + n.Unexplained + n.Skipped; sum != 2613 {
			t.Errorf("%s: %d cases, want all 2613", kernel, sum)
		}
		if n.Equal < 2300 {
			t.Errorf("%s: only %d cases octet for octet", kernel, n.Equal)
		}
		// News of reboots come from ports that only root has. Without them some of their group cannot be played.
		if n.Skipped > 0 && (os.Getuid() == 0 || report.Count("nlm-sm", kernel).Skipped != n.Skipped) {
			t.Errorf("%s: %d cases were not played", kernel, n.Skipped)
		}
	}
	for _, s := range report.skipped() {
		t.Log(s)
	}
	calls := 0
	for _, r := range report.Results {
		if r.Equal() {
			calls += len(r.Case.Takes[r.Kernel].Want.Calls)
		}
	}
	if calls < 150 {
		t.Errorf("%d calls at the client were as those of the kernels, want 150 and more", calls)
	}
	t.Logf("%d calls at the client as those of the kernels", calls)
}

// knfsdsIdent is the callback ident in the calls of nfsd.
const knfsdsIdent = 7

// TestKernelCalls sends the services what kernels call by themselves: they are calls to us, so all of them must be
// understood.
func TestKernelCalls(t *testing.T) {
	var calls []struct {
		Kernel, Role, Transport, Request string
		Port                             int
		Prog                             uint32
	}
	if err := loadGzip(folder+"kernel-calls.json.gz", &calls); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := listen(usualClient)
	if err != nil {
		t.Fatal(err)
	}
	defer client.close()
	ready, done := make(chan map[string]string, 1), make(chan error, 1)
	go func() {
		cfg := server.Config{Fsid: guestFsid, PeerRpcbindPort: client.port, Mount: server.Mount{Ident: knfsdsIdent}}
		out, err := server.Run(ctx, cfg, func(all []server.Endpoint) {
			at := map[string]string{}
			for _, e := range all {
				at[e.Service+" "+e.Netid] = e.Addr
			}
			ready <- at
		})
		if err == nil && len(out.Findings) > 0 {
			err = fmt.Errorf("%s\n%s", out.Findings[0], out.Findings[0].Text)
		}
		done <- err
	}()
	at := <-ready
	played := 0
	for i, c := range calls {
		request, err := hex.DecodeString(c.Request)
		if err != nil {
			t.Fatal(err)
		}
		if n, rest := records(request); n == 1 && rest == 0 {
			request = request[4:]
		}
		service, transport := "lockd", "tcp"
		switch {
		case c.Port == rpcbindPort:
			service = "rpcbind"
		case c.Prog == callbackProgram:
			service = "callback0"
		}
		if c.Transport == "udp" {
			transport = "udp"
		}
		reply := exchange(t, transport, at[service+" "+transport], request)
		if len(reply) < 4 {
			t.Errorf("call %d, %s of %s, %s: %s does not answer", i, c.Role, c.Kernel, c.Request, service)
			continue
		}
		if len(reply) < 24 || !bytes.Equal(reply[:4], request[:4]) || !bytes.Equal(reply[4:24], words(1, 0, 0, 0, 0)) {
			t.Errorf("call %d, %s of %s, %s: %s answers %x", i, c.Role, c.Kernel, c.Request, service, reply)
			continue
		}
		played++
	}
	if played != 268 {
		t.Errorf("%d calls were understood, want 268", played)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// exchange makes one call and returns the reply without its mark.
func exchange(t *testing.T, network, addr string, request []byte) []byte {
	t.Helper()
	conn, err := dialFrom(network, usualClient, 0, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if network == "tcp" {
		request = marked(request)
	}
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	return readAll(conn, network)
}

// readAll reads a datagram or a record; nil if that does not come.
func readAll(conn net.Conn, network string) []byte {
	buf, have := make([]byte, 1<<16), 0
	for {
		n, err := conn.Read(buf[have:])
		if err != nil {
			return nil
		}
		have += n
		if network == "udp" {
			return buf[:have]
		}
		if whole, rest := records(buf[:have]); whole == 1 && rest == 0 {
			return buf[4:have]
		}
	}
}

// TestSelection plays a part, with what leads to it, and reports no more.
func TestSelection(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	recording, err := Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	report, err := recording.conform(ctx, Options{
		Folder: folder, Groups: []string{"nlm-proc"}, Kernels: []string{"6.18"}, Case: "nlm-v4-tcp-0[4-9]-*",
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := report.Count("", ""); n != (Counts{Equal: 6}) || !report.OK() {
		t.Errorf("%+v: %+v", n, report.Unexplained())
	}
	for _, opt := range []struct {
		Options
		want string
	}{
		{Options{Groups: []string{"nlm"}}, `there is no group "nlm"; choose from nlm-rpc, `},
		{Options{Kernels: []string{"3.19"}}, `there is no kernel "3.19"; choose from 6.1, `},
		{Options{Case: "["}, "is no pattern"},
		{Options{Case: "nothing"}, "no recorded case matches"},
		{Options{Against: "127.0.0.1:1"}, "which groups another server is to be asked is not said"},
		{Options{Against: "127.0.0.1:1", Groups: []string{"nlm-proc"}}, "needs files and state"},
		{Options{Against: "127.0.0.1:1", Groups: []string{"nlm-rm"}}, "nobody takes connections at 127.0.0.1:1"},
	} {
		opt.Folder = folder
		_, err := recording.conform(ctx, opt.Options)
		if err == nil || !strings.Contains(err.Error(), opt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want %s", opt.Options, err, opt.want)
		}
	}
}

// TestAgainst holds another server against the recordings: nothing explains a difference then.
func TestAgainst(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	other, err := listen(localClient)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	report, err := Conform(ctx, Options{
		Folder: folder, Groups: []string{"nlm-rpc"}, Kernels: []string{"6.18"}, Case: "nlm-tcp-null-v?-*",
		Against: fmt.Sprint("127.0.0.1:", other.lockd),
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := report.Count("", ""); n.Equal == 0 || n.Explained != 0 || n.Unexplained != 0 {
		t.Errorf("%+v: NULL is answered by anybody", n)
	}
}

func TestExplains(t *testing.T) {
	c := &Case{Name: "nlm-tcp-x", Takes: map[string]*Take{}}
	for kernel, want := range map[string]Answer{
		"6.1": {Conn: "closed", After: "closed"}, "6.18": {}, "7.3": {Reply: []byte{9}, Conn: "open", After: "answered"},
	} {
		c.Takes[kernel] = &Take{Writes: [][]byte{{0x80, 0, 0, 4}, {1, 2, 3, 4}}, Want: want}
	}
	shut, open := Answer{Conn: "closed", After: "closed"}, Answer{Conn: "open", After: "answered"}
	says := func(reply string) *AnswerInHex { return &AnswerInHex{Reply: reply, Conn: "open", After: "answered"} }
	with := func(reply ...byte) Answer { return Answer{Reply: reply, Conn: "open", After: "answered"} }
	for i, test := range []struct {
		x      Difference
		kernel string
		got    Answer
		want   bool
	}{
		{Difference{Case: "nlm-*-x", Kernels: []string{"7.3"}, As: "6.1"}, "7.3", shut, true},
		{Difference{Case: "nlm-*-x", Kernels: []string{"7.3"}, As: "6.1"}, "6.18", shut, false},
		{Difference{Case: "nlm-*-y", Kernels: []string{"7.3"}, As: "6.1"}, "7.3", shut, false},
		{Difference{Case: "nlm-*-x", Kernels: []string{"7.3"}, As: "6.1"}, "7.3", Answer{Conn: "open"}, false},
		{Difference{Case: "nlm-*-x", Kernels: []string{"7.3"}, As: "5.0"}, "7.3", shut, false},
		{Difference{Case: "nlm-*", Kernels: []string{"6.1"}, Answer: says("XID05")}, "6.1", with(1, 2, 3, 4, 5), true},
		{Difference{Case: "nlm-*", Kernels: []string{"6.1"}, Answer: says("XID05")}, "6.1", with(1, 2, 3, 4, 6), false},
		{Difference{Case: "nlm-*", Kernels: []string{"6.1"}, Answer: says("MARK 2*(07)")}, "6.1", with(0x80, 0, 0, 2, 7, 7), true},
		{Difference{Case: "nlm-*", Kernels: []string{"6.1"}, Answer: says("MARK 2*(07)")}, "6.1", with(7, 7), false},
		{Difference{Case: "nlm-*", Kernels: []string{"6.1"}, Answer: says("zz")}, "6.1", open, false},
		{Difference{Case: "nlm-*", Kernels: []string{"6.1"}, Answer: says("*")}, "6.1", with(7, 7), true},
		{Difference{Case: "nlm-*", Kernels: []string{"6.1"}, Answer: says("*")}, "6.1", shut, false},
	} {
		if got := test.x.Explains(c, test.kernel, test.got); got != test.want {
			t.Errorf("%d: got %t", i, got)
		}
	}
}

// TestLockdPid: where a kernel named its lockd thread the server has to name its own, and no other number will do; the
// kernel itself has one number everywhere.
func TestLockdPid(t *testing.T) {
	take := func(pid uint32) *Take { return &Take{Want: Answer{Reply: words(1, pid, pid)}, Volatile: []int{4}} }
	recorded, pids := take(124), map[string]uint32{}
	if err := recorded.maskRecorded(pids, "6.1"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		reply []byte
		equal bool
	}{
		{words(1, 7, 124), true}, {words(1, 124, 124), false}, {words(1, 8, 124), false}, {words(1, 0, 124), false},
		{words(1, 7, 7), false}, {words(1), false},
	} {
		if got := recorded.equal(Answer{Reply: test.reply, Lockd: 7}); got != test.equal {
			t.Errorf("%x of process 7: equal %t", test.reply, got)
		}
	}
	if err := take(124).maskRecorded(pids, "6.1"); err != nil {
		t.Error(err)
	}
	if err := take(125).maskRecorded(pids, "6.1"); err == nil {
		t.Error("a kernel with two lockd threads is taken")
	}
}

// TestFillIn takes a cookie from a request, and a process id from the server.
func TestFillIn(t *testing.T) {
	request := words(7, 0, 2, nlmProgram, 4, 1, 0, 0, 0, 0, 5)
	request = append(request, "12345\x00\x00\x00rest"...)
	c := &Case{UDP: true, Takes: map[string]*Take{"6.1": {Writes: [][]byte{request}}}}
	got, err := c.fillIn("6.1", 0x7c, "MARK XID XID+2 COOKIE 00000004 LOCKD")
	want := append(words(7, 9, 5), "12345\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x7c"...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, %v, want %x", got, err, want)
	}
}

func TestShortBitmaps(t *testing.T) {
	head := words(1, 1, 0, 0, 0, 0, 0, 0)
	for _, test := range []struct{ reply, want []byte }{
		{words(1, 3, 0, 3, 0x18, 0, 0, 4, 9), words(1, 3, 0, 1, 0x18, 4, 9)},
		{words(2, 3, 0, 2, 0, 0, 0, 4, 10025), words(2, 3, 0, 0, 0, 4, 10025)},
		{words(1, 3, 10001), words(1, 3, 10001)},
		{words(1, 3, 0, 2, 0, 1, 4, 9), words(1, 3, 0, 2, 0, 1, 4, 9)},
		{words(1, 3, 0, 2, 0), words(1, 3, 0, 2, 0)},
	} {
		if got := shortBitmaps(marked(slices.Concat(head, test.reply))); !bytes.Equal(got, marked(slices.Concat(head, test.want))) {
			t.Errorf("%x becomes %x, want %x", test.reply, got, test.want)
		}
	}
	if got := shortBitmaps([]byte{1, 2}); !bytes.Equal(got, []byte{1, 2}) {
		t.Errorf("two octets become %x", got)
	}
}

// TestCallString masks what a caller chooses by itself, and nothing else.
func TestCallString(t *testing.T) {
	sys := words(1, 20, 0x1234, 0, 0, 0, 0)
	granted := slices.Concat(words(99, 0, 2, nlmProgram, 4, nlmGrantedMsg), sys, words(0, 0, 4, 0xabcdef01, 5))
	for _, test := range []struct {
		call Call
		want string
	}{
		{Call{Request: granted}, "tcp 4145 --------" + hex.EncodeToString(granted[4:32]) + "--------" + hex.EncodeToString(granted[36:64]) +
			"--------00000005"},
		{Call{UDP: true, Rpcbind: true, Request: words(1, 0, 2)}, "udp 111 --------" + hex.EncodeToString(words(0, 2))},
		{Call{}, "tcp 4145 "},
	} {
		if got := test.call.String(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`[{"case": "x", "kernels": ["6.1"], "as": "7.3", "reason": "r"}]`:                                             "is not complete",
		`[{"case": "x", "kernels": ["6.1"], "reason": "r", "source": "s"}]`:                                           "is not complete",
		`[{"case": "x", "kernels": [], "as": "7.3", "reason": "r", "source": "s"}]`:                                   "is not complete",
		`[{"case": "[", "kernels": ["6.1"], "as": "7.3", "reason": "r", "source": "s"}]`:                              "is not complete",
		`[{"case": "x", "kernels": ["6.1"], "as": "7.3", "reason": "r", "source": "s", "why": "because"}]`:            "unknown field",
		`[{"case": "x", "kernels": ["6.1"], "as": "7.3", "reason": "r", "source": "s"}] x`:                            "something follows",
		`[{"case": "x", "kernels": ["6.1"], "as": "7.3", "answer": {}, "reason": "r", "source": "s"}]`:                "is not complete",
		`[{"case": "x", "kernels": ["6.1"], "as": "7.3", "rewrite": "x", "reason": "r", "source": "s"}]`:              "is not complete",
		`[{"case": "x", "kernels": ["6.1"], "answer": {}, "rewrite": "short-bitmaps", "reason": "r", "source": "s"}]`: "is not complete",
		`[{"case": "x", "kernels": ["6.1"], "as": "7.3", "reason": "r", "source": "s"}`:                               "unexpected EOF",
	} {
		name := t.TempDir() + "/d.json"
		writeFile(t, name, text)
		if _, err := LoadDifferences(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	dir := t.TempDir()
	if _, err := Load(dir); err == nil {
		t.Error("an empty folder was read")
	}
	writeFile(t, dir+"/vectors.json.gz", "no gzip")
	if _, err := Load(dir); err == nil {
		t.Error("a file that is no gzip was read")
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
