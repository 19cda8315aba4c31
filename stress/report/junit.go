// SPDX-License-Identifier: MIT

package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// Case is one line of a JUnit report: something that was asked and what came of it.
type Case struct {
	Class   string // e.g. the scenario
	Name    string
	Elapsed time.Duration
	Failure string // one line: a finding
	Fault   string // one line: a fault of the suite
	Text    string // details of either: the interleaving
}

// JUnit writes the cases as one test suite, in the XML that CI systems read.
func JUnit(w io.Writer, suite string, cases []Case) error {
	x := xmlSuite{Name: suite, Tests: len(cases)}
	var total time.Duration
	for _, c := range cases {
		xc := xmlCase{Class: c.Class, Name: c.Name, Time: seconds(c.Elapsed)}
		switch {
		case c.Fault != "":
			x.Errors++
			xc.Error = &xmlProblem{Message: clean(c.Fault), Type: "fault", Text: clean(c.Text)}
		case c.Failure != "":
			x.Failures++
			xc.Failure = &xmlProblem{Message: clean(c.Failure), Type: "finding", Text: clean(c.Text)}
		}
		total += c.Elapsed
		x.Cases = append(x.Cases, xc)
	}
	x.Time = seconds(total)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(xmlSuites{Suites: []xmlSuite{x}}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// clean takes out what XML 1.0 cannot hold.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r >= 0x20 && r != 0xfffe && r != 0xffff {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(s, "?"))
}

type xmlSuites struct {
	XMLName xml.Name   `xml:"testsuites"`
	Suites  []xmlSuite `xml:"testsuite"`
}

type xmlSuite struct {
	Name     string    `xml:"name,attr"`
	Tests    int       `xml:"tests,attr"`
	Failures int       `xml:"failures,attr"`
	Errors   int       `xml:"errors,attr"`
	Time     string    `xml:"time,attr"`
	Cases    []xmlCase `xml:"testcase"`
}

type xmlCase struct {
	Class   string      `xml:"classname,attr"`
	Name    string      `xml:"name,attr"`
	Time    string      `xml:"time,attr"`
	Failure *xmlProblem `xml:"failure,omitempty"`
	Error   *xmlProblem `xml:"error,omitempty"`
}

type xmlProblem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}
