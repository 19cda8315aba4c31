// SPDX-License-Identifier: MIT

// Package mutant puts historical bugs back into a copy of the port, one patch
// at a time, and says whether the suite noticed.
//
// A mutant is a patch file: header fields as in a mail, a blank line, and a
// unified diff against the port (see [Parse]). An era is the same for a kernel
// version (see [LoadEras]). A [Pool] copies the module to a scratch folder,
// applies era and mutant strictly, adds a marker to every patched package and
// builds the runner there, so that the tree itself carries no flag for any of
// them. [Judge] turns what the runner found into one of the words of the track
// record.
package mutant

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bluekeyes/go-gitdiff/gitdiff"
)

// TreeEra is the era of the unpatched tree: no era patch is applied for it.
const TreeEra = "3.19"

// Clean is the verdict of a run without a finding.
const Clean = "clean"

// Patch is what mutants, eras and a person's own change have in common.
type Patch struct {
	ID               string // file name without .patch
	Path             string // where it was read, for messages
	Subject          string
	WhatHappens      string // one paragraph; folded lines are joined by a space
	KernelFix        string // commit or subject, and release; or none
	KernelIntroduced string
	Licence          string // SPDX identifier

	files []*gitdiff.File
}

// Files lists the paths that the patch touches, relative to the module root, sorted.
func (p *Patch) Files() []string {
	set := map[string]bool{}
	for _, f := range p.files {
		for _, name := range []string{f.OldName, f.NewName} {
			if name != "" {
				set[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// Era is a kernel version of the core as a patch against the tree.
type Era struct {
	Patch
	Base string // the era that is applied first; empty for the tree
}

// Mutant is a bug of the track record, or a negative control.
type Mutant struct {
	Patch
	Era      string // the era it is planted in; TreeEra unless the file says otherwise
	Scenario string
	Params   string // of the scenario: "clients=1,proto=0"; its defaults if empty
	Backend  string // sim or free
	Memory   string // memory model of the sim back end: sc (also ""), tso or weak
	Chooser  string // that finds it; "" leaves it to the search
	Budget   Budget
	Expect   []Expect // any one of them is the right answer
	Control  bool     // must stay clean
	SameAs   string   // the mutant whose diff this one shares, if it has none of its own

	// FailFirst and FailLast bound which fallible step is made to fail; both 0 if none is. See Fails.
	FailFirst, FailLast int
}

// Fails lists the fallible steps to make fail, one search each, counted from 1; 0 stands for a search in
// which none does. The budget is that of each search. A mutant that needs a failure is killed by any one
// of them: which number the step has that matters moves with the code in front of it.
func (m *Mutant) Fails() []int {
	var list []int
	for k := m.FailFirst; k <= m.FailLast; k++ {
		list = append(list, k)
	}
	return list
}

// BuildID names the diff that is compiled in: mutants that share a diff share it.
func (m *Mutant) BuildID() string {
	if m.SameAs != "" {
		return m.SameAs
	}
	return m.ID
}

// Accepts says whether a finding is one that the mutant is meant to cause. An
// expectation without an oracle accepts every oracle of its verdict.
func (m *Mutant) Accepts(verdict, oracle string) bool {
	return slices.ContainsFunc(m.Expect, func(e Expect) bool {
		return e.Verdict == verdict && (e.Oracle == "" || e.Oracle == oracle)
	})
}

// Expected renders the expectation as in the patch header.
func (m *Mutant) Expected() string {
	var s []string
	for _, e := range m.Expect {
		s = append(s, e.String())
	}
	return strings.Join(s, " | ")
}

// Expect is an expected verdict and, if it matters, the oracle that gives it.
type Expect struct {
	Verdict string `json:"verdict"`
	Oracle  string `json:"oracle,omitempty"`
}

// String is the form used in patch headers: the verdict, then the oracle.
func (e Expect) String() string {
	return strings.TrimSpace(e.Verdict + " " + e.Oracle)
}

// Budget bounds a search. A zero part is no bound; at least one part is set.
type Budget struct {
	Schedules int
	For       time.Duration
}

// String is the form used in patch headers.
func (b Budget) String() string {
	switch {
	case b.For == 0:
		return fmt.Sprintf("%d schedules", b.Schedules)
	case b.Schedules == 0:
		return b.For.String()
	}
	return fmt.Sprintf("%d schedules, %s", b.Schedules, b.For)
}

// UnknownError says that no patch of that name exists and which ones do.
type UnknownError struct {
	Kind, Name string
	Known      []string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("unknown %s %q (known: %s)", e.Kind, e.Name, strings.Join(e.Known, ", "))
}

// Load reads every mutant of a folder, sorted by ID, and joins those that share
// a diff with its owner.
func Load(dir string) ([]*Mutant, error) {
	var list []*Mutant
	err := eachPatch(dir, func(name string, data []byte) error {
		m, err := Parse(name, data)
		list = append(list, m)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		if m.SameAs == "" {
			continue
		}
		owner, err := Find(list, m.SameAs)
		if err != nil {
			return nil, fmt.Errorf("%s: Same-as: %w", m.Path, err)
		}
		if owner.SameAs != "" {
			return nil, fmt.Errorf("%s: Same-as: %s has no diff of its own; name %s", m.Path, owner.ID, owner.SameAs)
		}
		m.files = owner.files
	}
	return list, nil
}

// Find picks a mutant by ID.
func Find(list []*Mutant, id string) (*Mutant, error) {
	var known []string
	for _, m := range list {
		if m.ID == id {
			return m, nil
		}
		known = append(known, m.ID)
	}
	return nil, &UnknownError{Kind: "mutant", Name: id, Known: known}
}

// Eras are the era patches by name. The tree itself needs no entry.
type Eras map[string]*Era

// LoadEras reads every era of a folder and checks that each one's bases exist.
func LoadEras(dir string) (Eras, error) {
	eras := Eras{}
	err := eachPatch(dir, func(name string, data []byte) error {
		e, err := ParseEra(name, data)
		if err == nil {
			eras[e.ID] = e
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, name := range eras.Names() {
		if _, err := eras.Series(name); err != nil {
			return nil, err
		}
	}
	return eras, nil
}

// Names lists the eras, the tree included, sorted.
func (e Eras) Names() []string {
	names := slices.Collect(maps.Keys(e))
	if e[TreeEra] == nil {
		names = append(names, TreeEra)
	}
	slices.Sort(names)
	return names
}

// Series lists the patches that turn the tree into an era, in the order of application.
func (e Eras) Series(name string) ([]*Era, error) {
	var series []*Era
	for at := name; at != "" && at != TreeEra; {
		era := e[at]
		if era == nil {
			return nil, &UnknownError{Kind: "era", Name: at, Known: e.Names()}
		}
		if slices.Contains(series, era) {
			return nil, fmt.Errorf("%s: Base: the eras %s and %s are based on each other", era.Path, name, at)
		}
		series = append(series, era)
		at = era.Base
	}
	slices.Reverse(series)
	return series, nil
}

// eachPatch calls fn for the *.patch files of a folder in name order.
func eachPatch(dir string, fn func(name string, data []byte) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() || filepath.Ext(entry.Name()) != ".patch" {
			continue
		}
		name := filepath.Join(dir, entry.Name())
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := fn(name, data); err != nil {
			return err
		}
	}
	return nil
}

// ReadPlain reads a person's own change: a diff, a mail of git format-patch, or a
// mutant file. Its ID is made of the file name and a hash of the content, so
// that it cannot be taken for a mutant of the track record.
func ReadPlain(name string) (*Patch, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, fmt.Errorf("%s: cannot read the patch: %w", name, err)
	}
	return ParsePlain(name, data)
}

// ParsePlain is [ReadPlain] on bytes that are already there.
func ParsePlain(name string, data []byte) (*Patch, error) {
	hash := fnv.New32a()
	hash.Write(data)
	base := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
	p := &Patch{
		ID:   fmt.Sprintf("own-%s-%08x", badIDChars.ReplaceAllString(strings.ToLower(base), "-"), hash.Sum32()),
		Path: name,
	}
	for line := range bytes.Lines(data) {
		if subject, ok := bytes.CutPrefix(line, []byte("Subject:")); ok {
			p.Subject = string(bytes.TrimSpace(subject))
			break
		}
		if isDiffStart(string(line)) {
			break
		}
	}
	if err := p.parseDiff(data, 0, true); err != nil {
		return nil, err
	}
	return p, nil
}

var (
	goodID     = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)
	badIDChars = regexp.MustCompile(`[^a-z0-9.-]+`)
	goodWord   = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	goodParams = regexp.MustCompile(`^[a-z]+=[0-9]+(,[a-z]+=[0-9]+)*$`)
)

// Parse reads a mutant file. The header fields are
//
//	SPDX-License-Identifier  of the diff; required
//	Subject                  one sentence; required
//	What-happens             one paragraph; required
//	Kernel-fix               commit, or subject in quotes, and release that mended it
//	Kernel-introduced        commit and release that brought it
//	Era                      where it is planted, 3.19 if missing
//	Scenario                 the workload that finds it; required
//	Params                   its parameters, "clients=1,proto=0"
//	Fail-at                  which fallible step fails: "20", or "1..40" for a search each
//	Backend                  sim or free; required
//	Memory                   sc, tso or weak: who sees a store when; sc if missing, sim only
//	Chooser                  the chooser that finds it, where the usual one does not; sim only
//	Budget                   "20000 schedules", "30s" or both with a comma; required
//	Expect                   verdict, then oracle; alternatives with " | "; required
//	Control                  yes for a negative control, which expects clean
//	Same-as                  ID of the mutant whose diff this one shares
//
// A line that starts with a blank continues the field above it. Every error is
// one line that names the file and, where there is one, the line.
func Parse(name string, data []byte) (*Mutant, error) {
	m := &Mutant{Era: TreeEra}
	var budget, expect, control, failAt string
	fields := m.common()
	fields["era"] = field{to: &m.Era}
	fields["scenario"] = field{to: &m.Scenario, required: true}
	fields["params"] = field{to: &m.Params}
	fields["fail-at"] = field{to: &failAt}
	fields["backend"] = field{to: &m.Backend, required: true}
	fields["memory"] = field{to: &m.Memory}
	fields["chooser"] = field{to: &m.Chooser}
	fields["budget"] = field{to: &budget, required: true}
	fields["expect"] = field{to: &expect, required: true}
	fields["control"] = field{to: &control}
	fields["same-as"] = field{to: &m.SameAs}
	h, err := m.parseHeader(name, data, fields)
	if err != nil {
		return nil, err
	}

	if m.Backend != "sim" && m.Backend != "free" {
		return nil, h.errorf("backend", "%q is no back end (write: sim, or free)", m.Backend)
	}
	switch m.Memory {
	case "", "sc":
	case "tso", "weak":
		if m.Backend != "sim" {
			return nil, h.errorf("memory", "%q with back end %s, where memory is the machine's own (write: sc)",
				m.Memory, m.Backend)
		}
	default:
		return nil, h.errorf("memory", "%q is no memory model (write: sc, tso or weak)", m.Memory)
	}
	if m.Chooser != "" && m.Backend != "sim" {
		return nil, h.errorf("chooser", "nobody chooses with back end %s (drop the line)", m.Backend)
	}
	if m.Params != "" && !goodParams.MatchString(m.Params) {
		return nil, h.errorf("params", "%q are no parameters (write: clients=1,proto=0)", m.Params)
	}
	if m.FailFirst, m.FailLast, err = parseFailAt(failAt); err != nil {
		return nil, h.errorf("fail-at", "%w", err)
	}
	if m.Budget, err = parseBudget(budget); err != nil {
		return nil, h.errorf("budget", "%w", err)
	}
	if m.Expect, err = parseExpect(expect); err != nil {
		return nil, h.errorf("expect", "%w", err)
	}
	switch control {
	case "", "no":
		if m.Accepts(Clean, "") {
			return nil, h.errorf("expect", "a mutant that stays clean is a negative control (add: Control: yes)")
		}
	case "yes":
		m.Control = true
		if len(m.Expect) != 1 || m.Expect[0] != (Expect{Verdict: Clean}) {
			return nil, h.errorf("expect", "%q, but a negative control expects %s", expect, Clean)
		}
	default:
		return nil, h.errorf("control", "%q is neither yes nor no", control)
	}

	if m.SameAs != "" {
		if rest := bytes.TrimSpace(h.body); len(rest) > 0 {
			return nil, h.errorf("same-as", "the file has a diff of its own as well (drop one of them)")
		}
		return m, nil
	}
	return m, m.parseDiff(h.body, h.bodyLine-1, false)
}

// ParseEra reads an era file: the fields SPDX-License-Identifier, Subject,
// What-happens, Kernel-fix, Kernel-introduced as in [Parse], and Base, the era it is
// applied on top of.
func ParseEra(name string, data []byte) (*Era, error) {
	e := &Era{}
	fields := e.common()
	fields["base"] = field{to: &e.Base}
	h, err := e.parseHeader(name, data, fields)
	if err != nil {
		return nil, err
	}
	return e, e.parseDiff(h.body, h.bodyLine-1, false)
}

// field is a header field and where its value goes.
type field struct {
	to       *string
	required bool
}

// common are the fields that eras and mutants share.
func (p *Patch) common() map[string]field {
	return map[string]field{
		"spdx-license-identifier": {to: &p.Licence, required: true},
		"subject":                 {to: &p.Subject, required: true},
		"what-happens":            {to: &p.WhatHappens, required: true},
		"kernel-fix":              {to: &p.KernelFix},
		"kernel-introduced":       {to: &p.KernelIntroduced},
	}
}

// header is a parsed header: where each field stood, and what follows.
type header struct {
	name     string
	at       map[string]int
	shown    map[string]string
	body     []byte
	bodyLine int
}

// errorf reports a fault in the value of a field.
func (h *header) errorf(key, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if line, ok := h.at[key]; ok {
		return fmt.Errorf("%s:%d: %s: %w", h.name, line, h.shown[key], err)
	}
	return fmt.Errorf("%s: %s: %w", h.name, key, err)
}

// isDiffStart recognises the first line of a diff.
func isDiffStart(line string) bool {
	return strings.HasPrefix(line, "diff ") || strings.HasPrefix(line, "--- ")
}

// parseHeader fills the fields from the lines before the first blank one.
func (p *Patch) parseHeader(name string, data []byte, fields map[string]field) (*header, error) {
	p.Path = name
	p.ID = strings.TrimSuffix(filepath.Base(name), ".patch")
	if !goodID.MatchString(p.ID) {
		return nil, fmt.Errorf("%s: the file name is the ID: lower case letters, digits, dots and dashes only", name)
	}
	h := &header{name: name, at: map[string]int{}, shown: map[string]string{}}
	var last string
	number, offset := 0, 0
	for raw := range bytes.Lines(data) {
		number++
		offset += len(raw)
		line := strings.TrimRight(string(raw), "\r\n")
		if strings.TrimSpace(line) == "" {
			break
		}
		if isDiffStart(line) {
			return nil, fmt.Errorf("%s:%d: the diff starts inside the header (put a blank line before it)", name, number)
		}
		if line[0] == ' ' || line[0] == '\t' {
			if last == "" {
				return nil, fmt.Errorf("%s:%d: a continued line, but no field to continue", name, number)
			}
			*fields[last].to += " " + strings.TrimSpace(line)
			continue
		}
		shown, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%s:%d: %q is no header field (write: Name: value)", name, number, line)
		}
		key := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(shown)), " ", "-")
		f, ok := fields[key]
		if !ok {
			return nil, fmt.Errorf("%s:%d: unknown field %q (known: %s)", name, number, shown,
				strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		}
		if h.at[key] != 0 {
			return nil, fmt.Errorf("%s:%d: %s stands in line %d already", name, number, shown, h.at[key])
		}
		h.at[key], h.shown[key], last = number, shown, key
		*f.to = strings.TrimSpace(value)
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		f := fields[key]
		if f.required && *f.to == "" {
			return nil, fmt.Errorf("%s: the header lacks %s", name, key)
		}
		if h.at[key] != 0 && *f.to == "" {
			return nil, h.errorf(key, "empty")
		}
	}
	h.body, h.bodyLine = data[offset:], number+1
	return h, nil
}

// parseDiff reads the diff and checks that it is one the scratch can take. skip is the number of
// lines before body; they are counted so that an error names the line of the file.
func (p *Patch) parseDiff(body []byte, skip int, textBefore bool) error {
	padded := append(bytes.Repeat([]byte("\n"), skip), body...)
	files, preamble, err := gitdiff.Parse(bytes.NewReader(padded))
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "gitdiff: ")
		return fmt.Errorf("%s: not a diff that applies: %s", p.Path, text)
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: no diff in it (make one with git diff)", p.Path)
	}
	if !textBefore && strings.TrimSpace(preamble) != "" {
		return fmt.Errorf("%s: text between header and diff (put it into What-happens)", p.Path)
	}
	hasCode := false
	for _, f := range files {
		for _, name := range []string{f.OldName, f.NewName} {
			if name == "" {
				continue
			}
			if !filepath.IsLocal(name) || path.Clean(name) != name || !strings.HasPrefix(name, "target/") {
				return fmt.Errorf("%s: touches %s, but only files below target/ can be patched", p.Path, name)
			}
		}
		if f.IsBinary {
			return fmt.Errorf("%s: %s: a binary change cannot be applied strictly", p.Path, nameOf(f))
		}
		hasCode = hasCode || isCode(nameOf(f))
		for i, frag := range f.TextFragments {
			if !f.IsNew && frag.OldLines == 0 {
				return fmt.Errorf("%s: %s: hunk %d has no line to recognise its place by (make the diff with context)",
					p.Path, nameOf(f), i+1)
			}
		}
	}
	if !hasCode {
		return fmt.Errorf("%s: changes no Go code that is built", p.Path)
	}
	p.files = files
	return nil
}

// nameOf is the name of a changed file after the change, or before it if the change removes it.
func nameOf(f *gitdiff.File) string {
	if f.NewName != "" {
		return f.NewName
	}
	return f.OldName
}

// isCode says whether a file is compiled into the runner.
func isCode(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

// parseBudget reads "20000 schedules", "30s", or both with a comma.
func parseBudget(s string) (Budget, error) {
	var b Budget
	bad := fmt.Errorf("%q is no budget (write: 20000 schedules, or 30s, or both with a comma)", s)
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		number, counted := strings.CutSuffix(part, " schedules")
		if n, err := strconv.Atoi(strings.TrimSpace(number)); err == nil && n > 0 && b.Schedules == 0 {
			b.Schedules = n
			continue
		}
		d, err := time.ParseDuration(part)
		if counted || err != nil || d <= 0 || b.For != 0 {
			return Budget{}, bad
		}
		b.For = d
	}
	return b, nil
}

// parseFailAt reads "20" or "1..40"; nothing means that no step fails.
func parseFailAt(s string) (first, last int, err error) {
	if s == "" {
		return 0, 0, nil
	}
	from, to, isRange := strings.Cut(s, "..")
	if !isRange {
		to = from
	}
	first, err = strconv.Atoi(from)
	if err == nil {
		last, err = strconv.Atoi(to)
	}
	if err != nil || first < 1 || last < first {
		return 0, 0, fmt.Errorf("%q names no fallible step (write: 20, or 1..40)", s)
	}
	return first, last, nil
}

// parseExpect reads "oops nil-task | use-after-free".
func parseExpect(s string) ([]Expect, error) {
	var list []Expect
	for part := range strings.SplitSeq(s, "|") {
		words := strings.Fields(part)
		bad := slices.ContainsFunc(words, func(w string) bool { return !goodWord.MatchString(w) })
		if bad || len(words) == 0 || len(words) > 2 {
			return nil, fmt.Errorf("%q is no verdict (write: oops, or oops ORACLE; alternatives with |)",
				strings.TrimSpace(part))
		}
		e := Expect{Verdict: words[0]}
		if len(words) == 2 {
			e.Oracle = words[1]
		}
		list = append(list, e)
	}
	return list, nil
}
