// SPDX-License-Identifier: MIT

package mutant

import (
	"errors"
	"fmt"
)

// Word is a verdict of the track record.
type Word string

// The words. Only KILLED is green for a mutant, only CLEAN for a negative control.
const (
	STALE       Word = "STALE"        // the patch does not apply
	BROKEN      Word = "BROKEN"       // the patched tree does not build
	SICK        Word = "SICK"         // the scenario fails without the patch
	SURVIVED    Word = "SURVIVED"     // no finding within the budget
	WRONGORACLE Word = "WRONG ORACLE" // a finding, but not the expected one
	KILLED      Word = "KILLED"       // the expected finding
	CLEAN       Word = "CLEAN"        // a negative control without a finding
)

// Green says whether the track record may show the word.
func (w Word) Green() bool {
	return w == KILLED || w == CLEAN
}

// Outcome is what a search ended with.
type Outcome struct {
	Verdict   string `json:"verdict"` // Clean, or the kind of finding
	Oracle    string `json:"oracle,omitempty"`
	Sentence  string `json:"sentence,omitempty"` // what was found, for a person
	Schedules int    `json:"schedules"`
}

// Judge compares a search on the mutant with the expectation. base is the same search on the era
// without the mutant. The second result says why, in one line.
func Judge(m *Mutant, base, got Outcome) (Word, string) {
	found := func(o Outcome) string {
		s := Expect{o.Verdict, o.Oracle}.String()
		if o.Sentence != "" {
			s += ": " + o.Sentence
		}
		return s
	}
	switch {
	case base.Verdict != Clean:
		return SICK, fmt.Sprintf("%s fails without the patch: %s", m.Scenario, found(base))
	case got.Verdict == Clean && m.Control:
		return CLEAN, fmt.Sprintf("no finding in %d schedules, as it must be", got.Schedules)
	case got.Verdict == Clean:
		return SURVIVED, fmt.Sprintf("no finding in %d schedules, expected %s", got.Schedules, m.Expected())
	case !m.Accepts(got.Verdict, got.Oracle):
		return WRONGORACLE, fmt.Sprintf("expected %s, found %s", m.Expected(), found(got))
	}
	return KILLED, found(got)
}

// JudgeError turns an error of [Pool.Get] into a word. ok is false for an error that says nothing about
// the patch (no space, interrupted): that is a fault of the suite or the machine.
func JudgeError(err error) (w Word, why string, ok bool) {
	var stale *StaleError
	var broken *BrokenError
	switch {
	case errors.As(err, &stale):
		return STALE, err.Error(), true
	case errors.As(err, &broken):
		return BROKEN, err.Error(), true
	}
	return "", err.Error(), false
}
