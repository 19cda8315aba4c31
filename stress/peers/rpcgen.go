// SPDX-License-Identifier: MIT

package peers

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed17199236/svcfuzz/stress/scratch"
	"github.com/seed17199236/svcfuzz/stress/wire"
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/lockd"
)

// rpcgenPeer is the decoder that rpcgen makes of a protocol's description, with the XDR of libtirpc below it.
var rpcgenPeer = &Peer{
	Name:    "rpcgen",
	Doc:     "the decoders that rpcgen generates: the same NLM arguments accepted, with the same values",
	Needs:   []string{"rpcgen", "gcc"},
	Install: "install-peers-rpcgen",
	run:     runRpcgen,
}

//go:embed rpcgen/decode.c
var decodeC embed.FS

// nlmArgProcs are the procedures whose arguments lockd decodes. Those of the *_RES calls but one it ignores.
var nlmArgProcs = []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 16, 20, 21, 22, 23}

func runRpcgen(ctx context.Context, c *Checks) error {
	folder, err := scratch.New("rpcgen")
	if err != nil {
		return err
	}
	defer func() { _ = folder.Remove() }()
	decoder, err := buildDecoder(ctx, folder.Dir)
	if err != nil {
		return err
	}
	c.ok("rpcgen takes our description of the protocol", "")
	for _, vers := range []uint32{4, 3} {
		n := c.Messages
		if vers == 3 {
			n /= 4
		}
		d := &decodersDiffer{vers: vers, rng: rand.New(rand.NewPCG(c.Seed, uint64(vers)))}
		if err := d.run(ctx, decoder, n); err != nil {
			return err
		}
		c.that(d.differ == 0, fmt.Sprintf("version %d arguments", vers),
			"%d messages, %d accepted by both, %d refused by both, %d differ (seed %d)%s", n, d.accepted, d.refused, d.differ,
			c.Seed, d.first)
		c.that(d.accepted > n/10 && d.refused > n/10, fmt.Sprintf("version %d arguments are good and bad ones", vers),
			"%d accepted, %d refused", d.accepted, d.refused)
	}
	return nil
}

// buildDecoder makes the C program in dir.
func buildDecoder(ctx context.Context, dir string) (string, error) {
	source, err := decodeC.ReadFile("rpcgen/decode.c")
	if err != nil {
		return "", err
	}
	// libtirpc has a netobj of its own.
	x := regexp.MustCompile(`\bnetobj\b`).ReplaceAllString(wire.SmX+wire.NlmX, "lm_netobj")
	for name, data := range map[string][]byte{"arguments.x": []byte(x), "decode.c": source} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return "", err
		}
	}
	for _, args := range [][]string{
		{"rpcgen", "-N", "-h", "-o", "arguments.h", "arguments.x"},
		{"rpcgen", "-N", "-c", "-o", "arguments.c", "arguments.x"},
		{"gcc", "-O1", "-w", "-I/usr/include/tirpc", "-o", "decode", "decode.c", "arguments.c", "-ltirpc"},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			if bytes.Contains(out, []byte("rpc/rpc.h")) || bytes.Contains(out, []byte("-ltirpc")) {
				return "", notAvailable("libtirpc's headers: not installed; run make install-peers-rpcgen")
			}
			return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, lastLines(out))
		}
	}
	return filepath.Join(dir, "decode"), nil
}

// decodersDiffer compares the two decoders on generated messages.
type decodersDiffer struct {
	vers                      uint32
	rng                       *rand.Rand
	accepted, refused, differ int
	first                     string // what differs first, for a person
}

func (d *decodersDiffer) run(ctx context.Context, decoder string, n int) error {
	cmd := exec.CommandContext(ctx, decoder)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	type message struct {
		proc uint32
		b    []byte
	}
	sent := make(chan message, 1000)
	go func() {
		w := bufio.NewWriter(in)
		for range n {
			m := message{proc: nlmArgProcs[d.rng.IntN(len(nlmArgProcs))]}
			m.b = d.message(m.proc)
			b := m.b
			if m.proc == 20 || m.proc == 21 {
				// The kernel never looks at the last word of a share request, and does not miss it.
				b = append(bytes.Clone(b), 0, 0, 0, 0)
			}
			fmt.Fprintf(w, "%d %d %x\n", d.vers, m.proc, b)
			sent <- m
		}
		w.Flush()
		in.Close()
		close(sent)
	}()
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	for m := range sent {
		if !s.Scan() {
			_ = cmd.Wait()
			return fmt.Errorf("the decoder of rpcgen ends: %w; the last message was %d %d %x", s.Err(), d.vers, m.proc, m.b)
		}
		d.compare(m.proc, m.b, s.Text())
	}
	return cmd.Wait()
}

// compare judges one message; theirs is what the C decoder says of it.
func (d *decodersDiffer) compare(proc uint32, b []byte, theirs string) {
	theirs = d.lawOfLinux(proc, b, theirs)
	ours := d.ours(proc, b)
	switch {
	case ours != theirs:
		d.differ++
		if d.first == "" {
			d.first = fmt.Sprintf("; the first: procedure %d, %x: ours %q, rpcgen's %q", proc, b, ours, theirs)
		}
	case ours == "no":
		d.refused++
	default:
		d.accepted++
	}
}

// lawOfLinux narrows what rpcgen's decoder says to what Linux accepts: handles and cookies have bounds that the
// protocol does not give them. The number of octets is left out, since the kernel reads one word less of a share
// request, and an empty cookie is four zero octets.
func (d *decodersDiffer) lawOfLinux(proc uint32, b []byte, theirs string) string {
	fields := strings.Fields(theirs)
	if fields[0] == "no" {
		return "no"
	}
	kept := []string{"ok"}
	var start uint64
	for _, f := range fields[2:] {
		name, value, _ := strings.Cut(f, "=")
		size := len(value) / 2
		switch {
		case name == "cookie" && size > lockd.NLM_MAXCOOKIELEN,
			name == "fh" && d.vers == 4 && size > lockd.NFS_MAXFHSIZE,
			name == "fh" && d.vers != 4 && size != lockd.NFS2_FHSIZE:
			return "no"
		case name == "cookie" && size == 0:
			f = "cookie=00000000"
		case name == "start":
			start, _ = strconv.ParseUint(value, 10, 64)
		case name == "len" && d.vers != 4:
			n, _ := strconv.ParseUint(value, 10, 64)
			f = fmt.Sprintf("end=%d", end32(uint32(start), uint32(n)))
		case name == "caller" && proc == 23 && nameLength(b) > lockd.NLM_MAXSTRLEN:
			return "no"
		}
		kept = append(kept, f)
	}
	return strings.Join(kept, " ")
}

// end32 is the last octet of a range of versions 1 and 3, as lockd keeps it: what leaves 31 bits is all the rest.
func end32(start, n uint32) int64 {
	end := int64(start) + int64(n) - 1
	if n == 0 || end > math.MaxInt32 {
		return fs.OFFSET_MAX
	}
	return end
}

// nameLength is the length of the name that FREE_ALL begins with.
func nameLength(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// ours is what the port makes of a message, in the words of the C decoder.
func (d *decodersDiffer) ours(proc uint32, b []byte) string {
	decode := lockd.Nlm4DecodeArgs
	if d.vers != 4 {
		decode = lockd.NlmDecodeArgs
	}
	args, _, ok := decode(proc, b)
	if !ok {
		return "no"
	}
	w := &fieldWriter{vers: d.vers}
	w.b.WriteString("ok")
	switch a := args.(type) {
	case *lockd.NlmReboot:
		w.text("mon", a.Mon)
		w.number("state", uint64(a.State))
		w.octets("priv", a.Priv[:])
	case *lockd.NlmRes:
		w.octets("cookie", a.Cookie.Data[:a.Cookie.Len])
		w.number("stat", uint64(a.Status))
	case *lockd.NlmArgs:
		w.args(proc, a)
	default:
		return fmt.Sprintf("ok %T", args)
	}
	return w.b.String()
}

// fieldWriter writes values as the C decoder does.
type fieldWriter struct {
	vers uint32
	b    strings.Builder
}

func (w *fieldWriter) octets(name string, v []byte) {
	fmt.Fprintf(&w.b, " %s=%s", name, hex.EncodeToString(v))
}

// text ends at a zero octet, as it does in C.
func (w *fieldWriter) text(name string, v []byte) {
	v, _, _ = bytes.Cut(v, []byte{0})
	w.octets(name, v)
}

func (w *fieldWriter) number(name string, v uint64) { fmt.Fprintf(&w.b, " %s=%d", name, v) }

func (w *fieldWriter) flag(name string, v bool) {
	n := uint64(0)
	if v {
		n = 1
	}
	w.number(name, n)
}

// args writes the arguments of all procedures but the two that have their own.
func (w *fieldWriter) args(proc uint32, a *lockd.NlmArgs) {
	if proc == 23 {
		w.text("caller", a.Lock.Caller)
		w.number("state", uint64(a.State))
		return
	}
	locks, cancels := proc == 2 || proc == 7 || proc == 22, proc == 3 || proc == 8
	w.octets("cookie", a.Cookie.Data[:a.Cookie.Len])
	if locks || cancels {
		w.flag("block", a.Block)
	}
	if proc != 4 && proc != 9 && proc != 20 && proc != 21 {
		w.flag("exclusive", a.Lock.Fl.FlType == fs.F_WRLCK)
	}
	w.text("caller", a.Lock.Caller)
	w.octets("fh", a.Lock.Fh.Data[:a.Lock.Fh.Size])
	w.octets("oh", a.Lock.Oh)
	if proc == 20 || proc == 21 {
		w.number("mode", uint64(a.FsmMode))
		w.number("access", uint64(a.FsmAccess))
		return
	}
	w.number("svid", uint64(a.Lock.Svid))
	if w.vers == 4 {
		w.number("start", a.Lock.LockStart)
		w.number("len", a.Lock.LockLen)
	} else {
		w.number("start", uint64(a.Lock.Fl.FlStart))
		w.number("end", uint64(a.Lock.Fl.FlEnd))
	}
	if locks {
		w.flag("reclaim", a.Reclaim)
		w.number("state", uint64(a.State))
	}
}

// message makes the arguments of a procedure: most of them sound, some at a bound, some broken afterwards.
func (d *decodersDiffer) message(proc uint32) []byte {
	var b []byte
	switch proc {
	case 16:
		b = append(d.name(), words(d.word())...)
		b = append(b, d.random(16)...)
	case 23:
		b = append(d.name(), words(d.word())...)
	case 15:
		b = append(d.object(lockd.NLM_MAXCOOKIELEN), words(d.word())...)
	default:
		b = d.object(lockd.NLM_MAXCOOKIELEN)
		for range map[uint32]int{1: 1, 5: 1, 6: 1, 10: 1, 2: 2, 7: 2, 22: 2, 3: 2, 8: 2}[proc] {
			b = append(b, words(d.truth())...)
		}
		b = append(append(append(b, d.name()...), d.handle()...), d.object(1024)...)
		if proc == 20 || proc == 21 {
			b = append(b, words(d.word(), d.word(), d.truth())...)
			break
		}
		b = append(b, words(d.word(), d.word(), d.word())...)
		if d.vers == 4 {
			b = append(b, words(d.word(), d.word())...)
		}
		if proc == 2 || proc == 7 || proc == 22 {
			b = append(b, words(d.truth(), d.word())...)
		}
	}
	return d.broken(b)
}

// broken is b, or b with something wrong.
func (d *decodersDiffer) broken(b []byte) []byte {
	switch d.rng.IntN(8) {
	case 0: // cut
		return b[:d.rng.IntN(len(b)+1)]
	case 1: // a bit
		b[d.rng.IntN(len(b))] ^= 1 << d.rng.IntN(8)
	case 2: // a word, as a length perhaps
		binary.BigEndian.PutUint32(b[d.rng.IntN(len(b)/4)*4:], d.word())
	case 3: // more than there should be
		return append(b, d.random(d.rng.IntN(40))...)
	}
	return b
}

func (d *decodersDiffer) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(d.rng.Uint32())
	}
	return b
}

func (d *decodersDiffer) word() uint32 {
	edges := []uint32{0, 1, 2, 3, 4, 31, 32, 33, 1<<31 - 1, 1 << 31, 1<<32 - 4, 1<<32 - 1}
	if i := d.rng.IntN(2 * len(edges)); i < len(edges) {
		return edges[i]
	}
	return d.rng.Uint32()
}

func (d *decodersDiffer) truth() uint32 {
	if d.rng.IntN(8) == 0 {
		return d.word()
	}
	return d.rng.Uint32N(2)
}

// size is a length of at most limit, rarely one more.
func (d *decodersDiffer) size(limit int) int {
	switch d.rng.IntN(16) {
	case 0:
		return 0
	case 1:
		return limit
	case 2:
		return limit + 1
	case 3:
		return d.rng.IntN(limit + 1)
	}
	return d.rng.IntN(min(limit, 24) + 1)
}

func (d *decodersDiffer) object(limit int) []byte { return opaque(d.random(d.size(limit))) }

// handle is a file handle, in versions 1 and 3 of the one size that there is, mostly.
func (d *decodersDiffer) handle() []byte {
	if d.vers != 4 && d.rng.IntN(8) != 0 {
		return opaque(d.random(lockd.NFS2_FHSIZE))
	}
	return d.object(lockd.NFS_MAXFHSIZE)
}

// name is a host's name, now and then with octets that no name has.
func (d *decodersDiffer) name() []byte {
	b := d.random(d.size(1024))
	if d.rng.IntN(4) != 0 {
		for i := range b {
			b[i] = 'a' + b[i]%26
		}
	}
	return opaque(b)
}
