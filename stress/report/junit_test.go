// SPDX-License-Identifier: MIT

package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"
	"time"
)

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	err := JUnit(&b, "verdict", []Case{
		{Class: "lockd-start", Name: "3.19 create-store-wake", Elapsed: 1500 * time.Millisecond},
		{Class: "lockd-start", Name: "3.19 run-then-store", Failure: "oops: a < b", Text: "1 <- oops\x00\x1b[0m ]]>\n"},
		{Class: "x", Name: "y", Fault: "SVCFUZZ BUG: z"},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="verdict" tests="3" failures="1" errors="1" time="1.500">
    <testcase classname="lockd-start" name="3.19 create-store-wake" time="1.500"></testcase>
    <testcase classname="lockd-start" name="3.19 run-then-store" time="0.000">
      <failure message="oops: a &lt; b" type="finding">1 &lt;- oops??[0m ]]&gt;&#xA;</failure>
    </testcase>
    <testcase classname="x" name="y" time="0.000">
      <error message="SVCFUZZ BUG: z" type="fault"></error>
    </testcase>
  </testsuite>
</testsuites>
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	dec := xml.NewDecoder(&b)
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
