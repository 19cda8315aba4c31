// SPDX-License-Identifier: MIT

package explore

import (
	"regexp"
	"strings"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// FailureKey tells failures apart: who says so, where, and of what. It is the same in every schedule that ends in the
// failure.
type FailureKey struct{ Oracle, Func, Class string }

// String is the form for a schedule's head: one line, "use-after-free svc_xprt_put svc_xprt".
func (k FailureKey) String() string {
	where := k.Func
	if where == "" {
		where = nobody
	}
	return strings.Join([]string{k.Oracle, where, k.Class}, " ")
}

// Same reports whether both are one failure even if functions were renamed in between.
func (k FailureKey) Same(l FailureKey) bool { return k.Oracle == l.Oracle && k.Class == l.Class }

// ParseKey reads the form of String. ok is false if it is none.
func ParseKey(text string) (k FailureKey, ok bool) {
	words := strings.SplitN(text, " ", 3)
	if len(words) < 3 {
		return k, false
	}
	if k = (FailureKey{words[0], words[1], words[2]}); k.Func == nobody {
		k.Func = ""
	}
	return k, true
}

var (
	freedClass = regexp.MustCompile(`^\S+ of .+ in freed (\S+)`)
	ordinal    = regexp.MustCompile(`([A-Za-z_])[#/][0-9]+`)
)

// Key is the key of a finding. The class of a use after free in a function of the port is that of the object, whichever
// of its cells was met first; of anything else it is the title, without the function that stands in it and without the
// numbers of objects.
func Key(f *kernel.Finding) FailureKey {
	k := FailureKey{f.Oracle, f.Func, f.Title}
	if f.Symmetric {
		k.Func = ""
	}
	if f.Func != "" {
		k.Class = strings.TrimSuffix(k.Class, " in "+f.Func)
		if m := freedClass.FindStringSubmatch(f.Title); m != nil {
			k.Class = m[1]
		}
	}
	k.Class = ordinal.ReplaceAllString(k.Class, "$1")
	return k
}
