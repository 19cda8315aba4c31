// SPDX-License-Identifier: MIT

package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/seed17199236/svcfuzz/stress/server"
)

// stopLimit bounds how long the services may take to stop.
const stopLimit = 30 * time.Second

// served is the services of the port in this process.
type served struct {
	all  []server.Endpoint
	stop func() error // ends them; the error is what was left behind. Any further call returns the same
}

// serve starts the services, and returns when they answer.
func serve(ctx context.Context, cfg server.Config) (*served, error) {
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan []server.Endpoint, 1)
	ended := make(chan error, 1)
	go func() {
		out, err := server.Run(ctx, cfg, func(all []server.Endpoint) { ready <- all })
		if err == nil {
			for _, f := range out.Findings {
				err = errors.Join(err, fmt.Errorf("%s", f))
			}
		}
		ended <- err
	}()
	select {
	case all := <-ready:
		s := &served{all: all}
		s.stop = sync.OnceValue(func() error {
			cancel()
			select {
			case err := <-ended:
				return err
			case <-time.After(stopLimit):
				return fmt.Errorf("the services do not stop within %s", stopLimit)
			}
		})
		return s, nil
	case err := <-ended:
		cancel()
		if err == nil {
			err = errors.New("the services ended before they answered")
		}
		return nil, err
	}
}

// addr is where a service can be reached: service as in server.Endpoint.
func (s *served) addr(service, netid string) string {
	for _, e := range s.all {
		if e.Service == service && e.Netid == netid {
			return e.Addr
		}
	}
	return ""
}

// port is the port of a service.
func (s *served) port(service, netid string) string {
	addr := s.addr(service, netid)
	if strings.HasPrefix(addr, "/") {
		return ""
	}
	_, port, _ := net.SplitHostPort(addr)
	return port
}
