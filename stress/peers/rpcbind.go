// SPDX-License-Identifier: MIT

package peers

import (
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/stress/rpcbind"
	"github.com/seed17199236/svcfuzz/stress/server"
)

// rpcbindPeer is where the services of a host register, and its rpcinfo how others see them.
var rpcbindPeer = &Peer{
	Name:    "rpcbind",
	Doc:     "rpcbind and rpcinfo: what lockd registers, what it leaves behind, and rpcbind dying and coming back",
	Needs:   []string{"rpcbind", "rpcinfo"},
	Install: "install-peers-rpcbind",
	run:     isolated("rpcbind", runRpcbind),
}

const nlm = "100021"

func runRpcbind(ctx context.Context, c *Checks) error {
	_, err := serve(ctx, server.Config{Rpcbind: rpcbind.DefaultSocket})
	c.that(err != nil && strings.Contains(err.Error(), "no rpcbind answers"), "a start without rpcbind says so", "%v", err)

	rb, err := startRpcbind(ctx)
	if err != nil {
		return err
	}
	defer func() { rb.kill() }()
	s, err := serve(ctx, server.Config{Rpcbind: rpcbind.DefaultSocket})
	if err != nil {
		return err
	}
	defer func() { _ = s.stop() }()
	if err := c.seenFromOutside(ctx, s); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	list, err := registered(ctx, nlm)
	if err != nil {
		return err
	}
	c.that(len(list) == 0, "nothing is registered behind the stop", "%q", list)

	if err := c.rpcbindDies(ctx, &rb); err != nil {
		return err
	}
	return c.rpcbindComesAndGoes(ctx, &rb)
}

// startRpcbind starts rpcbind and waits until it answers.
func startRpcbind(ctx context.Context) (*process, error) {
	if err := os.MkdirAll("/run/rpcbind", 0o755); err != nil {
		return nil, err
	}
	p, err := start(ctx, "rpcbind", "-f")
	if err != nil {
		return nil, err
	}
	up := eventually(ctx, 10*time.Second, func() bool {
		conn, err := net.Dial("unix", rpcbind.DefaultSocket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if !up {
		p.kill()
		return nil, fmt.Errorf("rpcbind does not come up: %s", lastLines(p.noise.Bytes()))
	}
	return p, nil
}

// registered asks rpcinfo for a program, by its number: lines "vers proto port", sorted.
func registered(ctx context.Context, program string) ([]string, error) {
	out, err := output(ctx, "rpcinfo", "-p", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	var list []string
	for l := range strings.Lines(out) {
		if f := strings.Fields(l); len(f) >= 4 && f[0] == program {
			list = append(list, strings.Join(f[1:4], " "))
		}
	}
	slices.Sort(list)
	return list, nil
}

// wanted is what registered ought to say while s is up.
func wanted(s *served) []string {
	var list []string
	for _, vers := range []int{1, 3, 4} {
		for _, netid := range []string{"udp", "tcp"} {
			list = append(list, fmt.Sprintf("%d %s %s", vers, netid, s.port("lockd", netid)))
		}
	}
	slices.Sort(list)
	return list
}

// seenFromOutside looks at lockd with rpcinfo.
func (c *Checks) seenFromOutside(ctx context.Context, s *served) error {
	list, err := registered(ctx, nlm)
	if err != nil {
		return err
	}
	want := wanted(s)
	c.that(slices.Equal(list, want), "rpcinfo lists lockd", "%q, want %q", list, want)
	for _, netid := range []string{"udp", "tcp", "udp6", "tcp6"} {
		for _, vers := range []string{"1", "3", "4"} {
			host := "127.0.0.1"
			if strings.HasSuffix(netid, "6") {
				host = "::1"
			}
			out, err := output(ctx, "rpcinfo", "-T", netid, host, nlm, vers)
			c.that(err == nil && strings.Contains(out, "ready and waiting"), "rpcinfo calls version "+vers+" over "+netid, "%v %s", err, lastLines([]byte(out)))
		}
	}
	out, _ := output(ctx, "rpcinfo", "-T", "tcp", "127.0.0.1", nlm, "2")
	mismatch := regexp.MustCompile(`low version = 1, high version = 4`)
	c.that(mismatch.MatchString(out), "rpcinfo sees which versions there are", "%s", lastLines([]byte(out)))
	return nil
}

// rpcbindDies takes rpcbind away under a lockd that runs: that answers all the same, and can be stopped; the next one
// registers with the next rpcbind.
func (c *Checks) rpcbindDies(ctx context.Context, rb **process) error {
	s, err := serve(ctx, server.Config{Rpcbind: rpcbind.DefaultSocket})
	if err != nil {
		return err
	}
	defer func() { _ = s.stop() }()
	(*rb).kill()
	port := s.port("lockd", "tcp")
	out, err := output(ctx, "rpcinfo", "-a", uaddr(port), "-T", "tcp", nlm, "4")
	c.that(err == nil, "lockd answers when rpcbind has died", "%v %s", err, out)
	err = s.stop()
	c.that(err == nil, "lockd stops when rpcbind has died", "%v", err)
	if *rb, err = startRpcbind(ctx); err != nil {
		return err
	}
	if s, err = serve(ctx, server.Config{Rpcbind: rpcbind.DefaultSocket}); err != nil {
		return err
	}
	defer func() { _ = s.stop() }()
	list, err := registered(ctx, nlm)
	if err != nil {
		return err
	}
	c.that(slices.Equal(list, wanted(s)), "lockd registers with the rpcbind that came back", "%q, want %q", list, wanted(s))
	return s.stop()
}

// rounds is how often lockd is started while rpcbind comes and goes.
const rounds = 20

// rpcbindComesAndGoes kills and starts rpcbind while lockd starts and stops: each start succeeds and is answered, or
// fails in one line, and nothing is left behind.
func (c *Checks) rpcbindComesAndGoes(ctx context.Context, rb **process) error {
	started := 0
	for i := range rounds {
		down := make(chan error, 1)
		go func(p *process) {
			time.Sleep(time.Duration(i) * time.Millisecond)
			p.kill()
			time.Sleep(time.Duration(rounds-i) * time.Millisecond)
			p, err := startRpcbind(ctx)
			if err == nil {
				*rb = p
			}
			down <- err
		}(*rb)
		s, err := serve(ctx, server.Config{Rpcbind: rpcbind.DefaultSocket})
		if err == nil {
			started++
			out, callErr := output(ctx, "rpcinfo", "-a", uaddr(s.port("lockd", "tcp")), "-T", "tcp", nlm, "4")
			stopErr := s.stop()
			if callErr != nil || stopErr != nil {
				c.that(false, "lockd answers while rpcbind comes and goes", "round %d: %v %v %s", i, callErr, stopErr, out)
			}
		} else if strings.Contains(err.Error(), "\n") {
			c.that(false, "a start that fails says so in one line", "round %d: %v", i, err)
		}
		if err := <-down; err != nil {
			return err
		}
	}
	c.ok("lockd starts while rpcbind comes and goes", "%d of %d starts found one, nothing is left behind", started, rounds)
	return nil
}

// uaddr is the universal address of a port of 127.0.0.1.
func uaddr(port string) string {
	n, _ := strconv.Atoi(port)
	return fmt.Sprintf("127.0.0.1.%d.%d", n>>8, n&0xff)
}
