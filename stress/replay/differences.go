// SPDX-License-Identifier: MIT

package replay

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Difference explains why the port answers some cases otherwise than some of the recorded kernels do.
type Difference struct {
	Case    string   `json:"case"`    // pattern of names, as in path.Match
	Kernels []string `json:"kernels"` // from which the port differs
	// As names the recorded kernel that does what the port does. Without it Answer says what the port does.
	As     string       `json:"as,omitempty"`
	Answer *AnswerInHex `json:"answer,omitempty"`
	// Rewrite is what has to be done to the reply of As first: short-bitmaps.
	Rewrite string `json:"rewrite,omitempty"`
	// Sometimes marks what depends on timing: the port may as well do what the kernels do.
	Sometimes bool   `json:"sometimes,omitempty"`
	Reason    string `json:"reason"`
	Source    string `json:"source"`
}

// AnswerInHex is an Answer in a data file. Spaces do not count. In reply and late, XID stands for the first word of the
// request, XID+1 and XID+2 for the numbers after it, COOKIE for what an NLM request has as its cookie, length and
// padding included, LOCKD for the process id of the lockd thread; MARK at the beginning is the mark of a record on TCP,
// and nothing on UDP. 3*(00) is 000000.
type AnswerInHex struct {
	Reply string   `json:"reply,omitempty"` // "" is none, "*" whatever it is
	Conn  string   `json:"conn"`
	After string   `json:"after"`
	Late  string   `json:"late,omitempty"`
	Calls []string `json:"calls,omitempty"` // missing: whatever it is
}

// anything stands for a reply that nobody can foretell.
const anything = "*"

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
			(x.As == "") == (x.Answer == nil) || x.Rewrite != "" && (rewrites[x.Rewrite] == nil || x.As == "") {
			return nil, fmt.Errorf("%s: entry %d (%s) is not complete: it needs case, kernels, reason, source, and as or answer",
				name, i+1, x.Case)
		}
	}
	return list, nil
}

// Explains reports whether x says that the port answers what kernel was sent in c with got, where kernel does otherwise.
func (x *Difference) Explains(c *Case, kernel string, got Answer) bool {
	if ok, _ := path.Match(x.Case, c.Name); !ok || !slices.Contains(x.Kernels, kernel) {
		return false
	}
	if x.As != "" {
		as, ok := c.Takes[x.As]
		if !ok {
			return false
		}
		want := as.Want
		want.Returned = c.Takes[kernel].Want.Returned // by stateids that only this kernel's server gave
		if x.Rewrite != "" {
			want.Reply = rewrites[x.Rewrite](want.Reply)
		}
		return want.Equal(as.masked(got))
	}
	want := Answer{Conn: x.Answer.Conn, After: x.Answer.After, Calls: x.Answer.Calls}
	var err1, err2 error
	if x.Answer.Reply == anything {
		want.Reply = got.Reply
	} else {
		want.Reply, err1 = c.fillIn(kernel, got.Lockd, x.Answer.Reply)
	}
	want.Late, err2 = c.fillIn(kernel, got.Lockd, x.Answer.Late)
	return err1 == nil && err2 == nil && want.Equal(got)
}

// equal reports whether got is what this kernel did.
func (t *Take) equal(got Answer) bool { return t.Want.Equal(t.masked(got)) }

// masked is an answer without what the server chooses by itself, wherever the kernel's had that.
func (t *Take) masked(a Answer) Answer {
	a.Reply = t.mask(a.Reply, a.Lockd)
	return a
}

// repeated is a part of an answer that comes several times.
var repeated = regexp.MustCompile(`\b([0-9]{1,4})\*\(([0-9a-f ]*)\)`)

// fillIn makes octets of an answer, with what it takes from the request of a kernel and from the server.
func (c *Case) fillIn(kernel string, lockd uint32, s string) ([]byte, error) {
	request := bytes.Join(c.Takes[kernel].Writes, nil)
	if !c.UDP {
		request = request[min(4, len(request)):]
	}
	s = repeated.ReplaceAllStringFunc(s, func(r string) string {
		m := repeated.FindStringSubmatch(r)
		n, _ := strconv.Atoi(m[1])
		return strings.Repeat(m[2], n)
	})
	s = strings.ReplaceAll(s, " ", "")
	s = strings.ReplaceAll(s, "LOCKD", fmt.Sprintf("%08x", lockd))
	if h, ok := parseCall(request); ok {
		n := min(4+(int(h.word(0))+3)/4*4, len(h.args))
		s = strings.ReplaceAll(s, "COOKIE", hex.EncodeToString(h.args[:max(n, 0)]))
	}
	if len(request) >= 4 {
		xid := binary.BigEndian.Uint32(request)
		for i, name := range []string{"XID+2", "XID+1", "XID"} {
			s = strings.ReplaceAll(s, name, fmt.Sprintf("%08x", xid+uint32(2-i)))
		}
	}
	s, mark := strings.CutPrefix(s, "MARK")
	b, err := hex.DecodeString(s)
	if mark && !c.UDP {
		b = marked(b)
	}
	return b, err
}

// rewrites are what one kernel's reply has to go through to be what another one says.
var rewrites = map[string]func([]byte) []byte{"short-bitmaps": shortBitmaps}

// opGetattr is the operation of CB_COMPOUND that answers with attributes.
const opGetattr = 3

// shortBitmaps takes the zero words off the ends of the bitmaps of attributes in a reply to CB_COMPOUND. What is no such
// reply stays as it is.
func shortBitmaps(reply []byte) []byte {
	const tag = 4 + 24 + 4 // behind the mark, the header and the status
	at := func(i int) int { return int(binary.BigEndian.Uint32(reply[i:])) }
	if len(reply) < tag+8 || at(tag) > len(reply) {
		return reply
	}
	ops := tag + 4 + (at(tag)+3)/4*4 + 4
	if len(reply) < ops {
		return reply
	}
	short, rest := slices.Clone(reply[4:ops]), reply[ops:]
	for len(rest) >= 8 {
		op, status := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
		short, rest = append(short, rest[:8]...), rest[8:]
		if op != opGetattr || status != 0 {
			continue
		}
		if len(rest) < 4 {
			return reply
		}
		n := int(binary.BigEndian.Uint32(rest))
		if n > 8 || len(rest) < 4+4*n+4 {
			return reply
		}
		bitmap, attrs := rest[4:4+4*n], rest[4+4*n:]
		for len(bitmap) > 0 && binary.BigEndian.Uint32(bitmap[len(bitmap)-4:]) == 0 {
			bitmap = bitmap[:len(bitmap)-4]
		}
		size := 4 + int(binary.BigEndian.Uint32(attrs)+3)/4*4
		if len(attrs) < size {
			return reply
		}
		short = append(append(append(short, words(uint32(len(bitmap)/4))...), bitmap...), attrs[:size]...)
		rest = attrs[size:]
	}
	return marked(append(short, rest...))
}
